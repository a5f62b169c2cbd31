"""`zonelock check`: can everything on this floor stop, cross and fit in the room and time that it has?

Rule owned: the figures are `coordinator.floor.check`'s; here they are only shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zonelock_cli.commands.floors import outline
from zonelock_cli.exits import ExitCode
from zonelock_cli.failures import floor_failure
from zonelock_cli.options import output_option
from zonelock_cli.output import View, progress

if TYPE_CHECKING:
    from coordinator.floor import Floor
    from coordinator.floor.check import Budget, Crossing, Fit, Report

NAMES_SHOWN = 3

BUDGET_COLUMNS = {
    "SPEED mm/s": "speed_mm_s",
    "DETECT ms": "detection_ms",
    "LATENCY ms": "stop_latency_ms",
    "REACTION mm": "reaction_mm",
    "BRAKING mm": "braking_mm",
    "NEEDED mm": "needed_mm",
    "MARGIN mm": "margin_mm",
    "SLACK mm": "slack_mm",
}
CROSSING_COLUMNS = {"CROSSING ms": "crossing_ms", "HOLD MAX ms": "hold_max_ms"}
BUDGET_FIELDS = ("kind", "zones", *BUDGET_COLUMNS.values(), "late_mm", "passed", "remedy")
CROSSING_FIELDS = ("kind", "zones", *CROSSING_COLUMNS.values(), "passed", "remedy")
FIT_FIELDS = ("kind", "length_mm", "width_mm", "cell_mm", "passed", "remedy")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--detection-ms", type=click.IntRange(min=0), help="Measured time until a fault is seen; replaces every kind's own."
)
@click.option(
    "--stop-latency-ms",
    type=click.IntRange(min=0),
    help="Measured time until the brakes bite; replaces every kind's own.",
)
@output_option
def check(file: Path, detection_ms: int | None, stop_latency_ms: int | None, view: View) -> None:
    """Validate a floor file and print its stopping-distance budget.

    Needed way = speed x (detection + stop latency) + speed^2 / (2 x braking), against each zone's margin. Exits with 6
    when the file is invalid and with 1 when it is valid but some kind cannot stop, cross or fit.
    """
    from coordinator.floor import Floor, FloorError
    from coordinator.floor.check import check as survey

    try:
        with progress(f"checking {file}"):
            loaded = Floor.load(file)
            report = survey(loaded, detection_ms=detection_ms, stop_latency_ms=stop_latency_ms)
    except FloorError as error:
        raise floor_failure(error, f"Mend the fields named above and run `zonelock check {file}` again.") from error
    if view.json:
        view.document(report_document(file, loaded, report))
    else:
        _show_report(view, file, loaded, report)
    if not report.passed:
        raise SystemExit(int(ExitCode.FAILURE))


def report_document(file: Path, loaded: Floor, report: Report) -> dict[str, Any]:
    """The JSON shape of the answer."""
    return {
        "file": str(file),
        **outline(loaded),
        "passed": report.passed,
        "budgets": [_row(budget, BUDGET_FIELDS) for budget in report.budgets],
        "crossings": [_row(crossing, CROSSING_FIELDS) for crossing in report.crossings],
        "fits": [_row(fit, FIT_FIELDS) for fit in report.fits],
    }


def _row(row: Budget | Crossing | Fit, fields: tuple[str, ...]) -> dict[str, Any]:
    values = {field: getattr(row, field) for field in fields}
    return {field: list(value) if isinstance(value, tuple) else value for field, value in values.items()}


def _show_report(view: View, file: Path, loaded: Floor, report: Report) -> None:
    from rich.markup import escape

    view.block(
        [
            ("floor", f"{escape(str(file))} is valid: {loaded.width} x {loaded.height} cells of {loaded.cell_mm} mm"),
            ("zones", str(len(loaded.zones))),
            ("groups", escape(", ".join(loaded.stop_groups))),
            ("hash", loaded.hash),
        ]
    )
    view.say("\n[bold]stopping-distance budget[/bold]: speed x (detection + latency) + braking, against the margin")
    _show_rows(view, BUDGET_COLUMNS, report.budgets)
    for budget in {b.kind: b for b in report.budgets}.values():
        view.say(f"  100 ms later, {escape(budget.kind)} is {budget.late_mm} mm further on")
    view.say("\n[bold]crossing time[/bold] of the slowest kind, against hold_max_ms")
    _show_rows(view, CROSSING_COLUMNS, report.crossings)
    rows: list[Budget | Crossing | Fit] = [*report.budgets, *report.crossings, *report.fits]
    for row in rows:
        if not row.passed:
            view.say(f"[bold red]fails[/bold red]  {escape(row.kind)}: {escape(row.remedy)}")
    if report.passed:
        view.say("[green]passes[/green]: every kind can stop within its margins, cross in time and fit its cells")


def _show_rows(view: View, columns: dict[str, str], rows: Sequence[Budget | Crossing]) -> None:
    from rich.markup import escape

    view.table(
        ["KIND", *columns, "", "ZONES"],
        [
            [
                escape(r.kind),
                *(str(getattr(r, field)) for field in columns.values()),
                mark(r.passed),
                escape(some(r.zones)),
            ]
            for r in rows
        ],
        right=list(columns),
    )


def mark(passed: bool) -> str:
    return "[green]ok[/green]" if passed else "[bold red]FAILS[/bold red]"


def some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more

"""`python -m benchmarks [NAME...]`: runs the named benchmarks, all without names; `zonelock bench NAME` does the same.

Every benchmark prints the machine, the versions, raw figures and their ratios to peers measured in the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.report import Effort, Report, machine, versions
from coordinator.compiled import CoreUnavailable, how_to_compile, prefer
from coordinator.compiled import chosen as build_chosen

NAMES = (
    "locks",
    "wide",
    "contended",
    "stops",
    "failover",
    "soak",
    "scale",
    "acquire",
    "safe_step",
    "edge",
    "edge_ring",
    "cost",
    "edge_rules",
)
"""Every benchmark is a module of this package with `async def run(effort: Effort) -> Report`."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--list", action="store_true", help="say what each benchmark measures, and measure nothing")
    parser.add_argument("--json", action="store_true", help="one JSON object a benchmark, a line each")
    parser.add_argument("--out", type=Path, help="also write each one's JSON to this folder, as NAME.json")
    parser.add_argument("--rounds", type=int, default=3, help="figures are medians over this many rounds (default 3)")
    parser.add_argument("--scale", type=float, default=1.0, help="a share of the long ones' length (default 1)")
    parser.add_argument(
        "--only", action="append", default=[], metavar="PART", help="a part, repeatable: sigterm, sigkill"
    )
    parser.add_argument("--smoke", action="store_true", help="seconds only: shows that it works, measures nothing")
    chosen = parser.parse_args()
    unknown = [n for n in chosen.names if n not in NAMES]
    if unknown:
        parser.error(f"NAME = {unknown[0]!r}: not one of {', '.join(NAMES)}")
    if chosen.list:
        summaries = {name: summary(name) for name in NAMES}
        print(json.dumps(summaries) if chosen.json else "\n".join(f"{n:<10} {s}" for n, s in summaries.items()))
        return 0
    if chosen.rounds < 1 or not 0 < chosen.scale <= 1:
        parser.error(f"--rounds {chosen.rounds}, --scale {chosen.scale}: use 1 or more, and a share above 0, at most 1")
    prefer()  # as `zonelock serve` does, which most of them start: what is measured in this process does, too
    try:
        if build_chosen() is None:
            print(f"zonelock: measuring with the core in Python; `{how_to_compile()}` compiles it", file=sys.stderr)
    except CoreUnavailable as error:
        parser.error(str(error))
    for name in chosen.names or NAMES:
        parts = getattr(importlib.import_module(f"benchmarks.{name}"), "PARTS", ())
        strange = [part for part in chosen.only if part not in parts]
        if strange:
            parser.error(
                f"--only {strange[0]!r}: {name} has {'the parts ' + ', '.join(parts) if parts else 'no parts'}"
            )
    effort = Effort(1 if chosen.smoke else chosen.rounds, chosen.smoke, chosen.scale, tuple(chosen.only))
    for name in chosen.names or NAMES:
        report: Report = asyncio.run(importlib.import_module(f"benchmarks.{name}").run(effort))
        document = json.dumps(report.as_json())
        if chosen.out is not None:
            chosen.out.mkdir(parents=True, exist_ok=True)
            (chosen.out / f"{name}.json").write_text(document + "\n", encoding="utf-8")
        if chosen.json:
            print(document, flush=True)
        else:
            show(name, report)
    return 0


def summary(name: str) -> str:
    """The first line of the benchmark's own description."""
    return (importlib.import_module(f"benchmarks.{name}").__doc__ or "").partition("\n")[0]


def show(name: str, report: Report) -> None:
    console = Console()
    about = {**machine(), **versions()}
    rows: tuple[tuple[str, dict[str, object]], ...] = (
        ("where", about),
        (f"figures (medians of {report.rounds} rounds)", dict(report.figures)),
        ("ratios", dict(report.ratios)),
    )
    for title, values in rows:
        table = Table(title=f"{name}: {title}", title_justify="left", show_header=False)
        table.add_column(justify="left")
        table.add_column(justify="right")
        for key, value in values.items():
            table.add_row(key, number(value) if isinstance(value, float) else str(value))
        console.print(table)


def number(value: float) -> str:
    return f"{value:,.3f}" if value < 100 else f"{value:,.0f}"


if __name__ == "__main__":
    sys.exit(main())

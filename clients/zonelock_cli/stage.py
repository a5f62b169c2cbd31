"""Performs a simulated run for an audience: addresses when it is ready, what happens while it goes, how it went.

Rule owned: standard output carries the block of addresses and the outcome (or, for machines, the outcome alone); what
happens in between goes to standard error. An interrupt ends a run as its time would, with the report so far.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from zonelock_cli.exits import ExitCode
from zonelock_cli.failures import Failure
from zonelock_cli.options import DEFAULT_SERVER
from zonelock_cli.output import View

if TYPE_CHECKING:
    from zonelock_sim.options import Progress, Report, SimOptions

LINE_EVERY_S = 10.0
"""How often a run that nobody watches on a terminal says that it is still going."""


@dataclass(slots=True)
class Stage:
    """Where the run is told to people. `hints`: also say what to try next."""

    view: View
    hints: bool
    last: Progress | None = None
    _status: Any = field(default=None, repr=False)
    _next_line_s: float = LINE_EVERY_S

    def tell(self, progress: Progress) -> None:
        """Takes every piece of progress as the run makes it."""
        self.last = progress
        match progress.kind:
            case "ready":
                self._quiet()
                if not self.view.json:
                    self._addresses(progress)
                self._show(progress.message)
            case "running":
                self._running(progress)
            case "incident" | "stop" | "finding":
                self._line(f"{progress.elapsed_s:6.1f} s  {progress.message}")
            case _ if sys.stderr.isatty():
                self._show(progress.message)
            case _:
                self._line(progress.message)

    def conclude(self, report: Report) -> None:
        """The outcome for people."""
        self._quiet()
        verdict = (
            "[green]no two bodies met[/green]" if not report.collisions else f"[bold red]{report.collisions}[/bold red]"
        )
        self.view.say()
        self.view.block(
            [
                ("agents", f"{report.agents}" + (f", {report.arms} of them arms" if report.arms else "")),
                ("time", _time(report)),
                ("tasks done", _tasks(report)),
                ("grants", str(report.grants)),
                ("collisions", verdict),
                *([("standstill", f"for good since {report.frozen_at_s:.1f} s")] if report.frozen_at_s else []),
                ("travel", f"{report.travel_ratio:.3f} times the shortest ways"),
                ("stops", str(report.stops)),
                (
                    "acquire",
                    f"p50 {report.acquire_p50_ms} ms, p99 {report.acquire_p99_ms} ms, time in the queue included",
                ),
            ]
        )
        for finding in report.findings:
            self.view.say(f"[bold red]finding[/bold red]  {finding}")

    def close(self) -> None:
        self._quiet()

    def _addresses(self, progress: Progress) -> None:
        server = progress.target
        rows = [("gRPC", server)]
        if progress.web_url:
            rows.append(("floor map", f"{progress.web_url}  (open it in a browser)"))
        self.view.block(rows)
        if not self.hints:
            return
        self.view.say("\nwhat to try next, in another terminal:")
        if server != DEFAULT_SERVER:
            self.view.say(f"  export ZONELOCK_SERVER={server}")
        for line in (
            "zonelock status",
            "zonelock watch",
            "zonelock explain AGV_01",
            "zonelock hold Z_32 -- sleep 5",
            'zonelock stop --zone Z_32 --reason "trying a stop"',
            'zonelock reset STOP_ID --reason "area checked"',
        ):
            self.view.say(f"  {line}")
        self.view.say("Ctrl-C ends it.\n")

    def _running(self, progress: Progress) -> None:
        report = progress.report
        text = progress.message
        if report is not None and not report.virtual:
            text = (
                f"{progress.elapsed_s:.0f} s: {report.tasks_done} tasks, {report.grants} grants, "
                f"{report.collisions} collisions, {report.stops} stops"
            )
        if sys.stderr.isatty():
            self._show(text)
        elif progress.elapsed_s >= self._next_line_s:
            self._next_line_s += LINE_EVERY_S
            self._line(text)

    def _show(self, text: str) -> None:
        """The spinner's text on a terminal; nothing elsewhere, where a line would be noise."""
        if not sys.stderr.isatty():
            return
        if self._status is None:
            from rich.console import Console

            self._status = Console(stderr=True).status(text)
            self._status.start()
        self._status.update(text)

    def _line(self, text: str) -> None:
        if self._status is not None:
            self._status.console.print(text, highlight=False, markup=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def _quiet(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None


def _time(report: Report) -> str:
    if report.virtual:
        return f"{report.seconds:.1f} virtual s in {report.wall_seconds:.1f} s, store {report.store}"
    return f"{report.seconds:.1f} s, store {report.store or 'of the coordinator'}"


def _tasks(report: Report) -> str:
    if not report.tasks_total:
        return str(report.tasks_done)
    reachable = report.tasks_total - report.tasks_unreachable
    cut_off = f"; {report.tasks_unreachable} more cannot be reached" if report.tasks_unreachable else ""
    return f"{report.tasks_done} of {reachable}{cut_off}"


async def perform(options: SimOptions, stage: Stage) -> Report:
    """Runs the simulation to its end or to SIGINT/SIGTERM. Raises SimError, FloorError; Failure when nothing was
    measured.
    """
    from zonelock_sim.run import run_sim

    run = asyncio.create_task(run_sim(options, stage.tell), name="simulated floor")
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, run.cancel)
    try:
        with contextlib.suppress(asyncio.CancelledError):
            return await run
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        stage.close()
    if stage.last is not None and stage.last.report is not None:
        return stage.last.report
    raise Failure(ExitCode.INTERRUPTED, "interrupted before the run began", "Run it again.")

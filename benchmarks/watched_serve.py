"""`zonelock serve` with a watch on its own event loop: `python -m benchmarks.watched_serve REPORT OPTIONS...`.

A task sleeps BEAT_S again and again and notes by how much it woke late, in wall time (which counts what other programs
took from it) and in processor time of the loop's own thread (which does not). At the end REPORT has one line of JSON a
second: the second (monotonic clock, which all processes of a machine share) and the worst of both, in milliseconds.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from zonelock_cli.main import main

import coordinator.app
from coordinator.config import CoordinatorConfig

BEAT_S = 0.005


@dataclass(slots=True)
class Second:
    """The worst pauses of one second. `collecting_ms`: the longest garbage collection."""

    second: int
    late_ms: float = 0.0
    busy_ms: float = 0.0
    collecting_ms: float = 0.0


class LoopWatch:
    """Watches the loop that it runs on."""

    def __init__(self) -> None:
        self.seconds: dict[int, Second] = {}
        self._collection_began = 0.0

    def now(self) -> Second:
        number = int(time.monotonic())
        return self.seconds.setdefault(number, Second(number))

    async def run(self) -> None:
        gc.callbacks.append(self._collection)
        while True:
            wall, own = time.monotonic(), time.thread_time()
            await asyncio.sleep(BEAT_S)
            current = self.now()
            current.late_ms = max(current.late_ms, (time.monotonic() - wall - BEAT_S) * 1000)
            current.busy_ms = max(current.busy_ms, (time.thread_time() - own) * 1000)

    def write(self, report: Path) -> None:
        lines = [json.dumps(asdict(second)) for second in self.seconds.values()]
        report.write_text("\n".join(lines), encoding="utf-8")

    def _collection(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._collection_began = time.monotonic()
        else:
            current = self.now()
            current.collecting_ms = max(current.collecting_ms, (time.monotonic() - self._collection_began) * 1000)


def watching(serve: Callable[..., Any], report: Path) -> Callable[..., Any]:
    """`serve` with the watch beside it."""

    async def watched(config: CoordinatorConfig, *arguments: Any) -> None:
        watch = LoopWatch()
        task = asyncio.create_task(watch.run())
        try:
            await serve(config, *arguments)
        finally:
            task.cancel()
            watch.write(report)

    return watched


def read_report(report: Path, since: float, until: float) -> Second:
    """The worst between two moments of the monotonic clock."""
    worst = Second(int(until))
    for line in report.read_text(encoding="utf-8").splitlines():
        said = Second(**json.loads(line))
        if int(since) <= said.second < until:
            worst.late_ms = max(worst.late_ms, said.late_ms)
            worst.busy_ms = max(worst.busy_ms, said.busy_ms)
            worst.collecting_ms = max(worst.collecting_ms, said.collecting_ms)
    return worst


if __name__ == "__main__":
    coordinator.app.serve = watching(coordinator.app.serve, Path(sys.argv[1]))
    main(["serve", *sys.argv[2:]])

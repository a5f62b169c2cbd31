"""Processor time that a large floor takes to import, load and route over.

No test: `python tests/floor/bench.py MAP SCENARIO`.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from coordinator.floor import Floor
from coordinator.floor.importers import from_moving_ai, read_scenario
from coordinator.floor.routing import Router

ROUNDS = 7
AVOIDED = 40


def median_ms(what: Callable[[], object]) -> float:
    """The median of ROUNDS runs, in milliseconds of processor time: others on the machine do not count."""
    times = []
    for _ in range(ROUNDS):
        start = time.process_time()
        what()
        times.append((time.process_time() - start) * 1_000)
    return statistics.median(times)


def main(map_path: str, scenario_path: str) -> None:
    text = Path(map_path).read_text()
    floor = from_moving_ai(text)
    written = floor.to_yaml()
    print(f"{floor.width} x {floor.height}, {len(floor.zones)} zones, {len(written)} characters of YAML")
    print(f"import        {median_ms(lambda: from_moving_ai(text)):7.1f} ms")
    print(f"load YAML     {median_ms(lambda: Floor.parse(written)):7.1f} ms")
    print(f"spec          {median_ms(floor.spec):7.1f} ms")
    print(f"build router  {median_ms(lambda: Router(floor)):7.1f} ms")
    router, tasks = Router(floor), read_scenario(Path(scenario_path).read_text(), floor)
    chance = random.Random(1)
    cells = list(floor.grid.open_cells())
    for label, count in (("nothing avoided", 0), (f"{AVOIDED} cells avoided", AVOIDED)):
        times = []
        for task in tasks:
            avoid = frozenset(chance.sample(cells, count)) - {task.start, task.goal}
            start = time.process_time()
            router.cells(task.start, task.goal, avoid)
            times.append((time.process_time() - start) * 1_000)
        p50, p99 = statistics.median(times), statistics.quantiles(times, n=100)[98]
        print(f"route, {label}: p50 {p50:.2f} ms, p99 {p99:.2f} ms, worst {max(times):.2f} ms")


if __name__ == "__main__":
    main(*sys.argv[1:3])

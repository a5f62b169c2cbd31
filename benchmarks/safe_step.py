"""What a safe-step decision costs, and how that grows with the agents: 60-zone routes between shelves.

Every decision is one that a moving fleet asks for: the vehicles of `lockstep` drive on a floor of 161 x 63 cells, a
zone per cell, each always on a route of about 60 zones. Times are the thread's own processor time, so that other load
on the machine does not count as the decision's; loading caches that others emptied still does.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Mapping

from benchmarks.lockstep import Cell, Grid, Site
from benchmarks.report import Effort, Report, medians, percentile

FLEETS = (50, 100, 200, 300, 500)
SMOKE_FLEETS = (5, 10)
ROUTE_ZONES = 60
WARM_UP_TURNS = 5
DECISIONS = 3_000
WIDTH, HEIGHT, SHELF_LONG, SHELF_DEEP, MARGIN = 161, 63, 10, 2, 6


def warehouse() -> Grid:
    """Shelves of ten by two cells with one-wide aisles between them, and a margin around."""
    rows = []
    for y in range(HEIGHT):
        row = ""
        for x in range(WIDTH):
            inside = MARGIN <= x < WIDTH - MARGIN and 1 <= y < HEIGHT - 1
            shelf = (x - MARGIN) % (SHELF_LONG + 1) < SHELF_LONG and (y - 1) % (SHELF_DEEP + 1) < SHELF_DEEP
            row += "@" if inside and shelf else "."
        rows.append(row)
    return Grid(rows)


async def run(effort: Effort) -> Report:
    grid = warehouse()
    fleets, decisions = (SMOKE_FLEETS, 100) if effort.smoke else (FLEETS, DECISIONS)
    seeds = range(effort.rounds)
    figures = medians([await asyncio.to_thread(measure, grid, seed, fleets, decisions) for seed in seeds])
    few, many = (figures[f"decision_p50_{fleet}_agents_us"] for fleet in (fleets[0], fleets[-1]))
    return Report(effort.rounds, figures, {f"p50_{fleets[-1]}_to_{fleets[0]}_agents": many / few})


def measure(grid: Grid, seed: int, fleets: tuple[int, ...], decisions: int) -> Mapping[str, float]:
    figures: dict[str, float] = {}
    for fleet in fleets:
        site = Site(grid, tasks(grid, fleet, random.Random(seed)), fleet)
        for _ in range(WARM_UP_TURNS):
            site.turn()
        site.outcome.decisions_us.clear()
        began = time.thread_time()
        while len(site.outcome.decisions_us) < decisions and site.open_tasks:
            site.turn()
        took_s = time.thread_time() - began
        figures[f"decision_p50_{fleet}_agents_us"] = percentile(site.outcome.decisions_us, 0.50)
        figures[f"decision_p99_{fleet}_agents_us"] = percentile(site.outcome.decisions_us, 0.99)
        figures[f"cells_per_second_{fleet}_agents"] = site.outcome.travel_cells / took_s
    return figures


def tasks(grid: Grid, fleet: int, rng: random.Random) -> list[tuple[Cell, Cell]]:
    """Pairs of cells about ROUTE_ZONES apart by road, more than the fleet gets done while it is measured."""
    starts = rng.sample(grid.cells, 3 * fleet)
    return [(start, far_from(grid, start, rng)) for start in starts]


def far_from(grid: Grid, start: Cell, rng: random.Random) -> Cell:
    """A cell that is ROUTE_ZONES moves away, or as far as it goes."""
    seen, edge = {start: 0}, deque([start])
    ring = [start]
    while edge and seen[edge[0]] < ROUTE_ZONES:
        here = edge.popleft()
        for cell in grid.beside[here]:
            if cell not in seen:
                seen[cell] = seen[here] + 1
                edge.append(cell)
        ring = list(edge) or ring
    return rng.choice(sorted(ring))

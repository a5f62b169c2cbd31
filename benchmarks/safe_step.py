"""What a safe-step decision costs, and how that grows with the agents: 60-zone routes between shelves.

Every decision is one that a moving fleet asks for: the vehicles of `lockstep` drive on a floor of 161 x 63 cells, a
zone per cell, each always on a route of about 60 zones. Times are the thread's own processor time, so that other load
on the machine does not count as the decision's; loading caches that others emptied still does. A look is the search
for an order for everybody that a coordinator makes every half second, apart from any decision.
`python -m benchmarks.safe_step PNG` draws how both grow with the fleet.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path

from benchmarks.lockstep import Cell, Grid, Site
from benchmarks.report import Effort, Report, medians, percentile

FLEETS = (10, 30, 100, 200, 300, 500)
SMOKE_FLEETS = (5, 10)
ROUTE_ZONES = 60
WARM_UP_TURNS = 5
DECISIONS = 3_000
CURVES = (("p50", 0.50), ("p99", 0.99), ("max", 1.0))
GOAL_P99_US = 2_000
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
        site.outcome.looks_us.clear()
        began = time.thread_time()
        while len(site.outcome.decisions_us) < decisions and site.open_tasks:
            site.turn()
        took_s = time.thread_time() - began
        times, looks = site.outcome.decisions_us, site.outcome.looks_us
        for name, share in CURVES:
            figures[f"decision_{name}_{fleet}_agents_us"] = percentile(times, share)
        figures[f"look_max_{fleet}_agents_us"] = max(looks)
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


def draw(figures: Mapping[str, float], out: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(7.5, 4.2), constrained_layout=True)
    for (name, _), colour in zip(CURVES, ("#0b6e4f", "#c84c09", "#9a9a9a"), strict=True):
        times = [figures[f"decision_{name}_{fleet}_agents_us"] / 1e3 for fleet in FLEETS]
        axis.plot(FLEETS, times, marker="o", color=colour, label=f"decision, {name}")
    looks = [figures[f"look_max_{fleet}_agents_us"] / 1e3 for fleet in FLEETS]
    axis.plot(FLEETS, looks, marker=".", linestyle=":", color="#4a6fa5", label="look every 0.5 s, max")
    axis.axhline(GOAL_P99_US / 1e3, color="black", linewidth=0.8, linestyle="--", label="goal for p99")
    axis.set(xscale="log", yscale="log", xlabel=f"agents on {ROUTE_ZONES}-zone routes", ylabel="ms")
    axis.set_xticks(FLEETS, [str(fleet) for fleet in FLEETS], minor=False)
    axis.minorticks_off()
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    report = asyncio.run(run(Effort()))
    draw(report.figures, Path(sys.argv[1]))

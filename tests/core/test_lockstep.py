"""Whole fleets in lock-step, by the policy of docs/routes.md: nobody freezes where the naive way does."""

from __future__ import annotations

import random

import pytest

from benchmarks.lockstep import Cell, Grid, Site

OPEN_AISLES = """
...............
.@@@@@@.@@@@@@.
...............
.@@@@@@.@@@@@@.
...............
.@@@@@@.@@@@@@.
...............
"""
ROOMS = """
.....@.....@.....
.....@.....@.....
...........@.....
.....@...........
.....@.....@.....
@@.@@@@@.@@@@@.@@
.....@.....@.....
.....@.....@.....
.................
.....@.....@.....
"""


def obstacles(seed: int, width: int = 16, height: int = 12) -> str:
    """A random floor of which the largest connected part is kept."""
    rng = random.Random(seed)
    grid = Grid(["".join("@" if rng.random() < 0.25 else "." for _ in range(width)) for _ in range(height)])
    best: set[Cell] = set()
    for start in grid.cells:
        if start in best:
            continue
        part, edge = {start}, [start]
        while edge:
            for cell in grid.beside[edge.pop()]:
                if cell not in part:
                    part.add(cell)
                    edge.append(cell)
        best = max(best, part, key=len)
    return "\n".join("".join("." if (x, y) in best else "@" for x in range(width)) for y in range(height))


def site(text: str, agents: int, orders: int, seed: int, *, naive: bool = False) -> Site:
    grid, rng = Grid(text.strip().splitlines()), random.Random(seed)
    pairs = [tuple(rng.sample(grid.cells, 2)) for _ in range(orders)]
    return Site(grid, [(start, goal) for start, goal in pairs], agents, naive=naive)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("text", "agents"), [(OPEN_AISLES, 8), (ROOMS, 12), (obstacles(1), 10), (obstacles(2), 10)], ids=str
)
def test_every_order_is_done(text: str, agents: int, seed: int) -> None:
    outcome = site(text, agents, 40, seed).run(max_turns=6_000)
    assert not outcome.frozen, outcome
    assert outcome.done == outcome.tasks


def test_the_naive_way_freezes_on_the_same_floor() -> None:
    outcome = site(OPEN_AISLES, 8, 40, 0, naive=True).run(max_turns=6_000)
    assert outcome.frozen
    assert outcome.done < outcome.tasks

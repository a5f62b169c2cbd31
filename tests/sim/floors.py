"""Floors that nobody has seen before, with transport orders: drawn by a seed, in Moving AI's formats."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Cell = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Site:
    """Rows of `.` (open) and `@`, all open cells connected."""

    name: str
    rows: tuple[str, ...]

    @property
    def cells(self) -> list[Cell]:
        return [(x, y) for y, row in enumerate(self.rows) for x, mark in enumerate(row) if mark == "."]

    def write(self, folder: Path, tasks: int, seed: int) -> tuple[Path, Path]:
        """The map and a scenario of so many tasks between different cells."""
        width, height, rng = len(self.rows[0]), len(self.rows), random.Random(f"{self.name} tasks {seed}")
        lines = ["version 1"]
        for number in range(tasks):
            (x, y), (gx, gy) = rng.sample(self.cells, 2)
            lines.append(f"{number // 10}\t{self.name}.map\t{width}\t{height}\t{x}\t{y}\t{gx}\t{gy}\t0")
        plan, scenario = folder / f"{self.name}.map", folder / f"{self.name}.scen"
        plan.write_text("\n".join(["type octile", f"height {height}", f"width {width}", "map", *self.rows]) + "\n")
        scenario.write_text("\n".join(lines) + "\n")
        return plan, scenario


def shelves(columns: int, rows: int, length: int = 6) -> Site:
    """Shelves `length` long with one-wide aisles between them, two-wide cross ways around."""
    width, height = columns * (length + 2) + 2, rows * 2 + 3
    grid = [["."] * width for _ in range(height)]
    for column in range(columns):
        for row in range(rows):
            for x in range(length):
                grid[2 + 2 * row][2 + column * (length + 2) + x] = "@"
    return _site(f"shelves{columns}x{rows}", grid)


def aisles(columns: int, rows: int, gap: int = 5) -> Site:
    """One-wide aisles in both directions, `gap` cells apart: no two vehicles pass but at crossings."""
    width, height = columns * (gap + 1) + 1, rows * (gap + 1) + 1
    grid = [["." if x % (gap + 1) == 0 or y % (gap + 1) == 0 else "@" for x in range(width)] for y in range(height)]
    return _site(f"aisles{columns}x{rows}", grid)


def rooms(columns: int, rows: int, seed: int, side: int = 5) -> Site:
    """Rooms with one-cell doors to each neighbour."""
    rng = random.Random(f"rooms {seed}")
    width, height = columns * (side + 1) + 1, rows * (side + 1) + 1
    grid = [["@" if x % (side + 1) == 0 or y % (side + 1) == 0 else "." for x in range(width)] for y in range(height)]
    for column in range(columns):
        for row in range(rows):
            left, top = column * (side + 1), row * (side + 1)
            if column + 1 < columns:
                grid[top + 1 + rng.randrange(side)][left + side + 1] = "."
            if row + 1 < rows:
                grid[top + side + 1][left + 1 + rng.randrange(side)] = "."
    return _site(f"rooms{columns}x{rows}s{seed}", grid)


def obstacles(width: int, height: int, seed: int, percent: int = 20) -> Site:
    """Cells closed at random; what is cut off from the largest part is closed too."""
    rng = random.Random(f"obstacles {seed}")
    grid = [["@" if rng.randrange(100) < percent else "." for _ in range(width)] for _ in range(height)]
    return _site(f"obstacles{width}x{height}s{seed}", grid)


KINDS: dict[str, Callable[[int], Site]] = {
    "aisles": lambda seed: aisles(6, 3 + seed % 2),
    "rooms": lambda seed: rooms(6, 4, seed),
    "obstacles": lambda seed: obstacles(36, 24, seed),
}


def _site(name: str, grid: list[list[str]]) -> Site:
    parts: list[set[Cell]] = []
    left = {(x, y) for y, row in enumerate(grid) for x, mark in enumerate(row) if mark == "."}
    while left:
        start = min(left)
        part, edge = {start}, deque([start])
        while edge:
            x, y = edge.popleft()
            for cell in ((x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)):
                if cell in left and cell not in part:
                    part.add(cell)
                    edge.append(cell)
        left -= part
        parts.append(part)
    main = max(parts, key=lambda part: (len(part), min(part)))
    return Site(
        name, tuple("".join("." if (x, y) in main else "@" for x in range(len(grid[0]))) for y in range(len(grid)))
    )

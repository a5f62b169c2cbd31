"""Cells, and which moves between them a vehicle may make.

x counts columns from the left, y rows from the top, both from 0. A move goes to one of four neighbours. An arrow cell
is one-way: it is left only in its direction and never entered against it. That is a rule for planners; exclusion is the
zones' business and does not lean on it. Never imports anything of zonelock but `problems`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from coordinator.floor.problems import Problem, shown

Cell = tuple[int, int]

BLOCKED = "#@T"
OPEN = "."
ARROWS: dict[str, Cell] = {">": (1, 0), "v": (0, 1), "<": (-1, 0), "^": (0, -1)}
STEPS: tuple[Cell, ...] = ((1, 0), (0, 1), (-1, 0), (0, -1))
MAX_CELLS = 1_000_000


@dataclass(frozen=True, slots=True)
class Grid:
    """A rectangle of cells that passed `check_rows`."""

    rows: tuple[str, ...]

    @property
    def width(self) -> int:
        return len(self.rows[0])

    @property
    def height(self) -> int:
        return len(self.rows)

    def contains(self, cell: Cell) -> bool:
        return 0 <= cell[0] < self.width and 0 <= cell[1] < self.height

    def is_open(self, cell: Cell) -> bool:
        return self.contains(cell) and self.rows[cell[1]][cell[0]] not in BLOCKED

    def open_cells(self) -> Iterator[Cell]:
        """Row by row from the top left."""
        for y, row in enumerate(self.rows):
            for x, mark in enumerate(row):
                if mark not in BLOCKED:
                    yield x, y

    def beside(self, cell: Cell) -> Iterator[Cell]:
        """Open 4-neighbours, whatever the arrows say."""
        for dx, dy in STEPS:
            beside = (cell[0] + dx, cell[1] + dy)
            if self.is_open(beside):
                yield beside

    def moves(self, cell: Cell) -> Iterator[Cell]:
        """Where a vehicle may drive from `cell` in one step."""
        own = ARROWS.get(self.rows[cell[1]][cell[0]])
        for step in STEPS:
            if own is not None and step != own:
                continue
            there = (cell[0] + step[0], cell[1] + step[1])
            if not self.is_open(there):
                continue
            arrow = ARROWS.get(self.rows[there[1]][there[0]])
            if arrow is None or arrow != (-step[0], -step[1]):
                yield there


def check_rows(rows: list[str]) -> list[Problem]:
    """Ragged rows, unknown characters, nothing open, too large."""
    width = Counter(len(row) for row in rows).most_common(1)[0][0]
    if width * len(rows) > MAX_CELLS:
        return [
            Problem(
                "grid",
                f"{width} x {len(rows)}",
                "too large",
                f"Use at most {MAX_CELLS:,} cells: a larger cell_mm, or two floors",
            )
        ]
    problems = []
    for y, row in enumerate(rows):
        if len(row) != width:
            problems.append(
                Problem(
                    f"grid[{y}]",
                    shown(row),
                    f"row {y} has {len(row)} cells, most rows have {width}",
                    "Make all rows the same width",
                )
            )
        strange = sorted(set(row) - set(BLOCKED) - {OPEN} - set(ARROWS))
        if strange:
            problems.append(
                Problem(
                    f"grid[{y}]",
                    shown(strange[0]),
                    f"row {y}, column {row.index(strange[0])} holds a character that is no cell",
                    f"Use {' '.join(BLOCKED)} for blocked, {OPEN} for open, {' '.join(ARROWS)} for one-way",
                )
            )
    if not problems and all(mark in BLOCKED for row in rows for mark in row):
        problems.append(Problem("grid", f"{width} x {len(rows)}", "no cell is open", f"Draw open cells as {OPEN}"))
    return problems


def patch_cells(patch: list[int]) -> Iterator[Cell]:
    """The cells of [x, y] or [x, y, width, height], row by row."""
    x, y = patch[:2]
    width, height = patch[2:] if len(patch) == 4 else (1, 1)
    for row in range(y, y + height):
        for column in range(x, x + width):
            yield column, row


def as_patches(cells: Iterable[Cell]) -> list[list[int]]:
    """The fewest-looking patches for `cells`: runs along a row, equal runs below one another joined."""
    patches: list[list[int]] = []
    standing: dict[tuple[int, int], list[int]] = {}
    rows: dict[int, list[int]] = {}
    for x, y in sorted(set(cells), key=lambda cell: (cell[1], cell[0])):
        rows.setdefault(y, []).append(x)
    for y, columns in rows.items():
        growing: dict[tuple[int, int], list[int]] = {}
        for start, width in _runs(columns):
            patch = standing.get((start, width))
            if patch is not None and patch[1] + patch[3] == y:
                patch[3] += 1
            else:
                patch = [start, y, width, 1]
                patches.append(patch)
            growing[(start, width)] = patch
        standing = growing
    return [patch[:2] if patch[2:] == [1, 1] else patch for patch in patches]


def _runs(columns: list[int]) -> Iterator[tuple[int, int]]:
    start = previous = columns[0]
    for x in columns[1:]:
        if x != previous + 1:
            yield start, previous - start + 1
            start = x
        previous = x
    yield start, previous - start + 1

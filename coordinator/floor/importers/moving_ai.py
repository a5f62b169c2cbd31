"""Floors and tasks from the Moving AI benchmark formats (https://movingai.com/benchmarks/formats.html).

Map: four header lines (`type octile`, `height H`, `width W`, `map`), then H rows of W characters: `.` `G` `S` are
passable, `@` `O` `T` `W` are not. Scenario: `version 1`, then one task a line: bucket, map, width, height, start x,
start y, goal x, goal y, length. x counts from the left, y from the top, as in a floor.

Rule owned here: a map that is cut off, misshapen or not a map is refused with every problem; nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from coordinator.floor.document import FORMAT, AgentKindEntry, FloorDocument, ZoneDefaults, ZoneEntry, ZonePerCell
from coordinator.floor.grid import MAX_CELLS, Cell, Grid, as_patches, check_rows
from coordinator.floor.importers.common import hold_max_ms, usable_name
from coordinator.floor.model import Floor
from coordinator.floor.problems import FloorError, Problem, shown
from coordinator.floor.survey import main_part

PASSABLE = ".GS"
IMPASSABLE = "@OTW"
AGV = AgentKindEntry(speed_mm_s=1_000, braking_mm_s2=1_000, length_mm=900, width_mm=700)
"""The map says nothing of vehicles: an ordinary small AGV, to be replaced by one's own."""
MAX_TASKS = 1_000_000
MAX_PROBLEMS = 100
_HEADER = ("type octile", "height H", "width W", "map")
_SCENARIO_FIELDS = 9


@dataclass(frozen=True, slots=True)
class Task:
    """Drive from `start` to `goal`. `length` is the scenario's own shortest length, in cells."""

    start: Cell
    goal: Cell
    length: float


def from_moving_ai(
    text: str,
    *,
    aisles: bool = False,
    largest_only: bool = False,
    site: str = "imported",
    cell_mm: int = 1_000,
    source: str = "map",
) -> Floor:
    """A floor with a zone `c_<x>_<y>` per open cell.

    `aisles` merges each one-wide run between junctions into one zone `A_<n>`. `largest_only` blocks open cells that the
    largest connected part cannot reach, which are an error otherwise. Raises FloorError.
    """
    rows = _rows(text, source)
    if largest_only:
        kept = main_part(Grid(tuple(rows)))
        rows = ["".join(mark if (x, y) in kept else "@" for x, mark in enumerate(row)) for y, row in enumerate(rows)]
    grid = Grid(tuple(rows))
    runs = _aisles(grid) if aisles else []
    rest = sum(1 for _ in grid.open_cells()) - sum(len(run) for run in runs)
    zones: dict[str, ZoneEntry] = {}
    for number, run in enumerate(runs, start=1):
        hold = hold_max_ms(len(run), cell_mm, AGV.speed_mm_s)
        zones[f"A_{number:03d}"] = ZoneEntry(cells=as_patches(run), hold_max_ms=hold)
    document = FloorDocument(
        format=FORMAT,
        site=usable_name(site, set()),
        version=1,
        description=f"Imported from a Moving AI map of {grid.width} x {grid.height} cells.",
        cell_mm=cell_mm,
        grid=rows,
        defaults=ZoneDefaults(hold_max_ms=hold_max_ms(1, cell_mm, AGV.speed_mm_s), margin_mm=cell_mm),
        zones=zones,
        zone_per_cell=ZonePerCell() if rest else None,
        agent_kinds={"agv": AGV},
    )
    return Floor.from_document(document, source)


def read_scenario(text: str, floor: Floor | None = None, *, source: str = "scenario") -> list[Task]:
    """The tasks of a scenario in file order; with `floor`, each must lie on open cells of a floor of its size.

    Raises FloorError naming every bad line, up to MAX_PROBLEMS.
    """
    problems: list[Problem] = []
    tasks: list[Task] = []
    lines = text.splitlines()
    if not lines or lines[0].split()[:1] != ["version"]:
        value = shown(lines[0]) if lines else ""
        problems.append(
            Problem("version", value, "not a scenario", "The first line of a Moving AI scenario is: version 1", 1)
        )
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        task = _task(line, number, floor)
        if isinstance(task, Task):
            tasks.append(task)
        else:
            problems.append(task)
        if len(problems) >= MAX_PROBLEMS or len(tasks) > MAX_TASKS:
            break
    if len(tasks) > MAX_TASKS:
        problems.append(Problem("tasks", "", f"more than {MAX_TASKS:,}", "Cut the file"))
    if not tasks and not problems:
        problems.append(
            Problem("tasks", "", "the scenario has none", "Add lines below version 1, or choose another file")
        )
    if problems:
        raise FloorError(source, problems)
    return tasks


def _task(line: str, number: int, floor: Floor | None) -> Task | Problem:
    fields = line.split()
    if len(fields) != _SCENARIO_FIELDS:
        form = "bucket map width height start-x start-y goal-x goal-y length"
        return Problem("task", shown(line), f"{len(fields)} fields, not {_SCENARIO_FIELDS}", f"Write {form}", number)
    try:
        width, height, start_x, start_y, goal_x, goal_y = (int(field) for field in fields[2:8])
        length = float(fields[8])
    except ValueError:
        return Problem(
            "task", shown(line), "a size, place or length is no number", "Write whole cells, then the length", number
        )
    if floor is not None and (width, height) != (floor.width, floor.height):
        message = f"made for a map of {width} x {height} cells; this floor has {floor.width} x {floor.height}"
        return Problem("task", fields[1], message, "Use the scenario that belongs to the map", number)
    for name, cell in (("start", (start_x, start_y)), ("goal", (goal_x, goal_y))):
        if not (0 <= cell[0] < width and 0 <= cell[1] < height):
            return Problem(name, str(cell), f"outside the map of {width} x {height}", "Name a cell of the map", number)
        if floor is not None and not floor.is_open(*cell):
            return Problem(name, str(cell), "blocked on this floor", "Use the scenario that belongs to the map", number)
    return Task((start_x, start_y), (goal_x, goal_y), length)


def _rows(text: str, source: str) -> list[str]:
    """The map's rows as a floor draws them. Raises FloorError with everything that is wrong with the map."""
    lines = text.splitlines()
    sizes, problems = _header(lines)
    if problems:
        raise FloorError(source, problems)
    width, height = sizes
    if width * height > MAX_CELLS:
        message = f"{width * height:,} cells are more than {MAX_CELLS:,}"
        raise FloorError(source, [Problem("width", str(width), message, "Cut the map", 3)])
    body = lines[4:]
    for number in range(height):
        if number >= len(body):
            problems.append(_cut_off(number, height, len(lines)))
            break
        problems += _row_problems(body[number], number, width, height, last=number == len(body) - 1)
        if len(problems) >= MAX_PROBLEMS:
            break
    problems += [
        Problem(
            "height",
            str(height),
            f"row {number} is one more than height says",
            "Raise height, or cut the row",
            number + 5,
        )
        for number, row in enumerate(body[height:], start=height)
        if row.strip()
    ][:1]
    rows = ["".join("." if mark in PASSABLE else "@" for mark in row) for row in body[:height]]
    problems = problems or check_rows(rows)
    if problems:
        raise FloorError(source, problems)
    return rows


def _header(lines: list[str]) -> tuple[tuple[int, int], list[Problem]]:
    problems: list[Problem] = []
    sizes: dict[str, int] = {}
    for number, form in enumerate(_HEADER, start=1):
        line = lines[number - 1].strip() if number <= len(lines) else ""
        key, _, given = form.partition(" ")
        words = line.split()
        if words[:1] != [key] or len(words) != len(form.split()) or (key == "type" and words[1] != given):
            problems.append(
                Problem(key, shown(line), "not the header of a Moving AI map", f"Line {number} reads: {form}", number)
            )
        elif key in ("height", "width"):
            if words[1].isascii() and words[1].isdigit() and int(words[1]) > 0:
                sizes[key] = int(words[1])
            else:
                problems.append(
                    Problem(key, shown(words[1]), "not a number of cells", "Give a whole number, 1 or more", number)
                )
    return (sizes.get("width", 0), sizes.get("height", 0)), problems


def _row_problems(row: str, number: int, width: int, height: int, *, last: bool) -> Iterator[Problem]:
    field, line = f"row {number}", number + 5
    if len(row) != width:
        cut = " and the file ends there: it was cut off" if last and len(row) < width else ""
        message = f"row {number} of 0..{height - 1} has {len(row)} characters, width says {width}{cut}"
        yield Problem(field, shown(row[:40]), message, "Fetch the map again, or mend the row or the width", line)
    strange = sorted(set(row) - set(PASSABLE) - set(IMPASSABLE))
    if strange:
        message = f"column {row.index(strange[0])} holds a character that no Moving AI map has"
        yield Problem(
            field, shown(strange[0]), message, f"Passable: {' '.join(PASSABLE)}; blocked: {' '.join(IMPASSABLE)}", line
        )


def _cut_off(rows: int, height: int, lines: int) -> Problem:
    message = f"the map was cut off: height says {height} rows, row {rows} is missing and the file ends"
    return Problem(f"row {rows}", "", message, "Fetch the map again, or mend the height", lines)


def _aisles(grid: Grid) -> list[list[Cell]]:
    """One-wide runs between junctions, each from its topmost, leftmost cell; single cells are no run."""
    narrow = {cell for cell in grid.open_cells() if _is_narrow(grid, cell)}
    runs = []
    for start in sorted(narrow, key=lambda cell: (cell[1], cell[0])):
        if start not in narrow:
            continue
        narrow.discard(start)
        run, edge = [start], [start]
        while edge:
            for beside in grid.beside(edge.pop()):
                if beside in narrow:
                    narrow.discard(beside)
                    run.append(beside)
                    edge.append(beside)
        if len(run) > 1:
            runs.append(run)
    return runs


def _is_narrow(grid: Grid, cell: Cell) -> bool:
    """A cell of a one-wide run: at most two ways on, and not the corner of a room (where the two meet again)."""
    beside = list(grid.beside(cell))
    if len(beside) != 2:
        return len(beside) == 1
    (ax, ay), (bx, by) = beside
    if ax == bx or ay == by:
        return True
    return not grid.is_open((ax + bx - cell[0], ay + by - cell[1]))

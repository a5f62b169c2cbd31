"""Surveys a floor document: what its fields say together, every contradiction reported at once.

Invariants owned here, on which exclusion (I1) leans: the zones partition the open cells, so each open cell is in
exactly one zone; every open cell can be reached from, and left towards, the main part of the floor; every name that is
used is defined once. Never imports the core.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import networkx as nx

from coordinator.floor.document import FloorDocument
from coordinator.floor.grid import Cell, Grid, as_patches, check_rows, patch_cells
from coordinator.floor.problems import Problem, shown

MAX_NAMED = 3
"""How many cells or names a message lists before it counts the rest."""


@dataclass(frozen=True, slots=True)
class Survey:
    """`grid` is None when its rows were no grid; `zones` maps each zone to its open cells, row by row."""

    grid: Grid | None
    zones: Mapping[str, tuple[Cell, ...]]
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class Omitted:
    """What a document lacks because it was wrong and is reported already; what follows from that is no news.

    `zones` and `kinds` are the names that the file gives all the same; `cells`: some zone's cells are not known.
    """

    zones: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()
    cells: bool = False


NOTHING = Omitted()


def survey(document: FloorDocument, omitted: Omitted = NOTHING) -> Survey:
    """Checks the whole document."""
    problems = check_rows(document.grid)
    grid = Grid(tuple(document.grid)) if not problems else None
    zones: dict[str, tuple[Cell, ...]] = {}
    if grid is not None:
        zones, found = _partition(document, grid, omitted)
        problems += found
        problems += _reachability(grid, zones)
        problems += _places(document, grid)
    names_known = grid is not None and not (omitted.cells and document.zone_per_cell is not None)
    problems += _names(document, set(zones) | omitted.zones, omitted.kinds, names_known)
    return Survey(grid, zones, tuple(problems))


def _partition(
    document: FloorDocument, grid: Grid, omitted: Omitted
) -> tuple[dict[str, tuple[Cell, ...]], list[Problem]]:
    owner: dict[Cell, str] = {}
    overlaps: dict[tuple[str, str], list[Cell]] = {}
    problems: list[Problem] = []
    zones: dict[str, tuple[Cell, ...]] = {}
    for name, entry in document.zones.items():
        claimed: set[Cell] = set()
        blocked: list[Cell] = []
        for index, patch in enumerate(entry.cells):
            if not _inside(grid, patch):
                problems.append(_outside(f"zones.{name}.cells[{index}]", patch, grid))
                continue
            for cell in patch_cells(patch):
                if not grid.is_open(cell):
                    blocked.append(cell)
                    continue
                claimed.add(cell)
                if owner.setdefault(cell, name) != name:
                    overlaps.setdefault((owner[cell], name), []).append(cell)
        if blocked:
            problems.append(
                Problem(
                    f"zones.{name}.cells",
                    _named(blocked),
                    "blocked in the grid" if len(blocked) == 1 else f"{len(blocked)} cells are blocked in the grid",
                    "Leave them out of the zone, or open them in the grid",
                )
            )
        zones[name] = tuple(sorted(claimed, key=lambda cell: (cell[1], cell[0])))
    for (first, second), cells in overlaps.items():
        problems.append(
            Problem(
                f"zones.{second}.cells",
                _named(cells),
                f"zones {first} and {second} overlap in {_count(cells)}",
                f"Give {'it' if len(cells) == 1 else 'each'} to one of the two; to group zones, name an area",
            )
        )
    problems += _capacities(document, zones)
    free = [cell for cell in grid.open_cells() if cell not in owner]
    if document.zone_per_cell is not None:
        problems += _one_each(document, free, zones)
    elif free and not omitted.cells:
        problems += [_uncovered(region) for region in _regions(grid, free)]
    return zones, problems


def _one_each(document: FloorDocument, free: list[Cell], zones: dict[str, tuple[Cell, ...]]) -> Iterator[Problem]:
    prefix = document.zone_per_cell.prefix if document.zone_per_cell is not None else ""
    for x, y in free:
        name = f"{prefix}_{x}_{y}"
        if name in zones:
            yield Problem(
                f"zones.{name}",
                "",
                f"zone_per_cell makes a zone of this name of cell ({x}, {y})",
                "Rename the zone or the prefix",
            )
        else:
            zones[name] = ((x, y),)


def _inside(grid: Grid, patch: list[int]) -> bool:
    width, height = patch[2:] if len(patch) == 4 else (1, 1)
    return patch[0] + width <= grid.width and patch[1] + height <= grid.height


def _outside(field: str, patch: list[int], grid: Grid) -> Problem:
    return Problem(
        field,
        shown(patch),
        f"reaches outside the grid of {grid.width} x {grid.height} cells",
        f"Keep x within 0..{grid.width - 1} and y within 0..{grid.height - 1}",
    )


def _uncovered(region: list[Cell]) -> Problem:
    patches = as_patches(region)
    suggestion = shown(patches) if len(patches) <= MAX_NAMED else f"{shown(patches[:MAX_NAMED])[:-1]}, ...]"
    return Problem(
        "zones",
        _named(region),
        f"{_count(region)} in no zone",
        f"Add a zone with cells: {suggestion}, block the cells in the grid, or set zone_per_cell",
    )


def _regions(grid: Grid, cells: Iterable[Cell]) -> list[list[Cell]]:
    """`cells` cut into connected pieces, each row by row, ordered by their first cell."""
    left = set(cells)
    regions = []
    for start in sorted(left, key=lambda cell: (cell[1], cell[0])):
        if start not in left:
            continue
        left.discard(start)
        region, edge = [start], [start]
        while edge:
            for beside in grid.beside(edge.pop()):
                if beside in left:
                    left.discard(beside)
                    region.append(beside)
                    edge.append(beside)
        regions.append(sorted(region, key=lambda cell: (cell[1], cell[0])))
    return regions


def _capacities(document: FloorDocument, zones: Mapping[str, tuple[Cell, ...]]) -> Iterator[Problem]:
    default = document.defaults.capacity
    for name, entry in document.zones.items():
        capacity = default if entry.capacity is None else entry.capacity
        cells = zones.get(name, ())
        if cells and capacity > len(cells):
            yield Problem(
                f"zones.{name}.capacity",
                shown(capacity),
                f"more agents than the zone has cells ({len(cells)})",
                f"Give 1..{len(cells)}",
            )
    per_cell = document.zone_per_cell
    if per_cell is not None and (default if per_cell.capacity is None else per_cell.capacity) > 1:
        yield Problem(
            "zone_per_cell.capacity",
            shown(per_cell.capacity or default),
            "a zone of one cell holds one agent",
            "Give 1",
        )


def move_graph(grid: Grid) -> nx.DiGraph[Cell]:
    """Every open cell with its moves, in a fixed order."""
    graph: nx.DiGraph[Cell] = nx.DiGraph()
    graph.add_nodes_from(grid.open_cells())
    graph.add_edges_from((cell, there) for cell in grid.open_cells() for there in grid.moves(cell))
    return graph


def main_part(grid: Grid) -> set[Cell]:
    """The largest set of open cells of which each can be reached from each; the topmost, leftmost of equals."""
    return _main_part(move_graph(grid))


def _main_part(graph: nx.DiGraph[Cell]) -> set[Cell]:
    def size_then_place(part: set[Cell]) -> tuple[int, int, int]:
        x, y = min(part, key=lambda cell: (cell[1], cell[0]))
        return len(part), -y, -x

    return max(nx.strongly_connected_components(graph), key=size_then_place)


def _reachability(grid: Grid, zones: Mapping[str, tuple[Cell, ...]]) -> Iterator[Problem]:
    graph = move_graph(grid)
    main = _main_part(graph)
    if len(main) == len(graph):
        return
    root = min(main)
    entered = nx.descendants(graph, root) | {root}
    leaving = nx.ancestors(graph, root) | {root}
    zone_of = {cell: name for name, cells in zones.items() for cell in cells}
    cases = (
        (
            set(graph) - entered,
            "cannot be reached from the rest of the floor",
            "Open a way in (mind the arrows), or block the cells",
        ),
        (entered - leaving, "can be entered but never left", "Open a way out (mind the arrows), or block the cells"),
    )
    for cells, message, remedy in cases:
        for region in _regions(grid, cells):
            names = list(dict.fromkeys(zone_of[cell] for cell in region if cell in zone_of))
            inside = f" (zone {_listed(names)})" if names else ""
            yield Problem("grid", _named(region), f"{_count(region)}{inside} {message}", remedy)


def _places(document: FloorDocument, grid: Grid) -> Iterator[Problem]:
    for name, station in document.stations.items():
        yield from _standing(f"stations.{name}.cell", station.cell, grid, want_open=True)
    for name, cell in document.parking.items():
        yield from _standing(f"parking.{name}", cell, grid, want_open=True)
    for name, arm in document.arms.items():
        yield from _standing(f"arms.{name}.base", arm.base, grid, want_open=False)
    for name, patches in document.machines.items():
        for index, patch in enumerate(patches):
            field = f"machines.{name}[{index}]"
            if not _inside(grid, patch):
                yield _outside(field, patch, grid)
                continue
            opened = [cell for cell in patch_cells(patch) if grid.is_open(cell)]
            if opened:
                yield Problem(
                    field, _named(opened), "a machine stands on an open cell", "Block it in the grid, or leave it out"
                )


def _standing(field: str, cell: Cell, grid: Grid, *, want_open: bool) -> Iterator[Problem]:
    if not grid.contains(cell):
        yield _outside(field, list(cell), grid)
    elif grid.is_open(cell) != want_open:
        state, remedy = (
            ("blocked", "Choose an open cell")
            if want_open
            else ("open", "An arm's base is a blocked cell beside its zones")
        )
        yield Problem(field, shown(list(cell)), f"the cell is {state} in the grid", remedy)


def _names(document: FloorDocument, zones: set[str], kinds: frozenset[str], zones_known: bool) -> Iterator[Problem]:
    kinds |= set(document.agent_kinds)
    for area, members in document.areas.items():
        if area in zones:
            yield Problem(
                f"areas.{area}", "", "a zone has this name too", "Zones and areas share one set of names; rename one"
            )
        for index, member in enumerate(members):
            if zones_known and member not in zones:
                yield _unknown(f"areas.{area}[{index}]", member, "zone", zones)
            if member in members[:index]:
                yield Problem(f"areas.{area}[{index}]", shown(member), "named twice in this area", "Name it once")
    for name, arm in document.arms.items():
        for index, zone in enumerate(arm.zones):
            if zones_known and zone not in zones:
                yield _unknown(f"arms.{name}.zones[{index}]", zone, "zone", zones)
        if arm.kind not in kinds:
            yield _unknown(f"arms.{name}.kind", arm.kind, "agent kind", set(kinds))
    yield from _shared_cells(document)


def _shared_cells(document: FloorDocument) -> Iterator[Problem]:
    """Two vehicles cannot be parked on one cell."""
    parked: dict[Cell, str] = {}
    for name, cell in document.parking.items():
        other = parked.setdefault(cell, name)
        if other != name:
            yield Problem(
                f"parking.{name}",
                shown(list(cell)),
                f"parking place {other} has this cell too",
                "Give each a cell of its own",
            )


def _unknown(field: str, name: str, what: str, known: set[str]) -> Problem:
    close = difflib.get_close_matches(name, sorted(known), n=1)
    remedy = f"Did you mean {close[0]}?" if close else f"Known: {_listed(sorted(known)) or 'none'}"
    return Problem(field, shown(name), f"no such {what}", remedy)


def _named(cells: list[Cell]) -> str:
    return _listed([f"({x}, {y})" for x, y in cells])


def _count(cells: list[Cell]) -> str:
    return f"cell ({cells[0][0]}, {cells[0][1]})" if len(cells) == 1 else f"{len(cells)} cells"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more

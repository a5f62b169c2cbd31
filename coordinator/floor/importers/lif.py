"""Floors from the VDMA Layout Interchange Format (LIF), guideline 1.0 of 2024, read with the `vdma-lif` package.

The mapping, told in full in docs/floor.md: a node is a zone of one cell; an edge and its counter-edge are one zone, the
cells that their paths cross; cells that several edges cross are zones of their own (`X_<n>`), so that whoever drives
one edge excludes whoever would drive across it. Everything else is blocked. LIF's y points up, a floor's down.

Rule owned here: no two paths of the layout share a cell without sharing its zone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from vdma_lif.models import Edge, Layout

from coordinator.floor.document import (
    FORMAT,
    MAX_MM,
    AgentKindEntry,
    FloorDocument,
    StationEntry,
    ZoneDefaults,
    ZoneEntry,
)
from coordinator.floor.grid import MAX_CELLS as MAX_FLOOR_CELLS
from coordinator.floor.grid import Cell, as_patches
from coordinator.floor.importers.common import DEFAULT_HOLD_MS, hold_max_ms, usable_name
from coordinator.floor.importers.lif_paths import Point, crossed_cells, edge_paths
from coordinator.floor.importers.lif_reading import choose, layouts, reference_problems
from coordinator.floor.model import Floor
from coordinator.floor.problems import FloorError, Problem

MAX_CELLS = 40_000
"""The grid an automatic cell size aims below; a given cell_mm may go beyond it, up to the floor's own bound."""
MIN_CELL_MM, MAX_CELL_MM = 200, 1_000
CELL_STEP_MM = 50
DEFAULT_SPEED_MM_S = 1_000
BRAKING_MM_S2 = 1_000
LENGTH_MM, WIDTH_MM = 1_000, 700
"""LIF says nothing of bodies and brakes: an ordinary small AGV, to be replaced by one's own."""
_STEP_MARKS = {(1, 0): ">", (0, 1): "v", (-1, 0): "<", (0, -1): "^"}


@dataclass(frozen=True, slots=True)
class LayoutSummary:
    """What a file offers to import."""

    layout_id: str
    name: str
    nodes: int
    edges: int
    stations: int


def lif_layouts(text: str, *, source: str = "LIF") -> list[LayoutSummary]:
    """The layouts of a LIF file in file order. Raises FloorError."""
    return [
        LayoutSummary(
            layout.layout_id, layout.layout_name or "", len(layout.nodes), len(layout.edges), len(layout.stations)
        )
        for layout in layouts(text, source)
    ]


def from_lif(
    text: str,
    *,
    layout_id: str | None = None,
    cell_mm: int | None = None,
    unit_mm: int = 1_000,
    site: str | None = None,
    one_way: bool = True,
    source: str = "LIF",
) -> Floor:
    """A floor from one layout: the first, or the one named.

    `cell_mm` defaults to half the smallest distance between nodes, within MIN_CELL_MM..MAX_CELL_MM, coarser where the
    grid would pass MAX_CELLS. `unit_mm` is the length of one unit of the file: 1,000, for LIF counts metres; 1 for
    files that were written in millimetres. `one_way=False` lets every edge be driven both ways. Raises FloorError.
    """
    for name, value in (("cell_mm", cell_mm), ("unit_mm", unit_mm)):
        if value is not None and not 1 <= value <= MAX_MM:
            raise FloorError(source, [Problem(name, str(value), "out of range", f"Give 1..{MAX_MM:,} millimetres")])
    found = layouts(text, source)
    index = choose(found, layout_id, source)
    layout = found[index]
    problems = list(reference_problems(layout, f"layouts[{index}]"))
    if problems:
        raise FloorError(source, problems)
    points = {node.node_id: (node.node_position.x, node.node_position.y) for node in layout.nodes}
    paths = {
        edge.edge_id: edge_paths(edge, points[edge.start_node_id], points[edge.end_node_id]) for edge in layout.edges
    }
    corners = [point for ways in paths.values() for way in ways for point in way]
    frame = _frame([*points.values(), *corners], unit_mm, cell_mm, points)
    problems = list(_too_coarse_or_fine(layout, points, frame, f"layouts[{index}]"))
    if problems:
        raise FloorError(source, problems)
    return Floor.from_document(_document(layout, points, paths, frame, site, one_way), source)


@dataclass(frozen=True, slots=True)
class _Frame:
    """From the file's coordinates to cells: a border of one cell, y turned over."""

    left: float
    top: float
    unit_mm: int
    cell_mm: int
    width: int
    height: int

    def place(self, point: Point) -> Point:
        """In cells, with fractions; a cell's centre is at its number."""
        scale = self.unit_mm / self.cell_mm
        return (point[0] - self.left) * scale + 1, (self.top - point[1]) * scale + 1

    def cell(self, point: Point) -> Cell:
        x, y = self.place(point)
        return math.floor(x + 0.5), math.floor(y + 0.5)


def _frame(points: list[Point], unit_mm: int, cell_mm: int | None, nodes: dict[str, Point]) -> _Frame:
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    bottom, top = min(y for _, y in points), max(y for _, y in points)
    span_x, span_y = (right - left) * unit_mm, (top - bottom) * unit_mm
    size = cell_mm or _cell_size(span_x, span_y, unit_mm, sorted(nodes.values()))
    return _Frame(left, top, unit_mm, size, math.floor(span_x / size + 0.5) + 3, math.floor(span_y / size + 0.5) + 3)


def _cell_size(span_x: float, span_y: float, unit_mm: int, nodes: list[Point]) -> int:
    nearest = min(
        (math.dist(a, b) * unit_mm for i, a in enumerate(nodes) for b in nodes[i + 1 :] if a != b),
        default=float(MAX_CELL_MM),
    )
    size = min(max(MIN_CELL_MM, int(nearest / 2) // CELL_STEP_MM * CELL_STEP_MM), MAX_CELL_MM)
    while (span_x / size + 3) * (span_y / size + 3) > MAX_CELLS:
        size += max(CELL_STEP_MM, size // 10 // CELL_STEP_MM * CELL_STEP_MM)
    return size


def _too_coarse_or_fine(layout: Layout, points: dict[str, Point], frame: _Frame, field: str) -> Iterator[Problem]:
    if frame.width * frame.height > MAX_FLOOR_CELLS:
        message = f"makes a grid of {frame.width:,} x {frame.height:,} cells, more than {MAX_FLOOR_CELLS:,}"
        yield Problem("cell_mm", str(frame.cell_mm), message, "Give a larger cell_mm, or check unit_mm")
        return
    first: dict[Cell, str] = {}
    for index, node in enumerate(layout.nodes):
        other = first.setdefault(frame.cell(points[node.node_id]), node.node_id)
        if other != node.node_id:
            message = f"lies in one cell of {frame.cell_mm} mm with node {other}"
            yield Problem(f"{field}.nodes[{index}]", node.node_id, message, "Give a smaller cell_mm, or join the nodes")


def _document(
    layout: Layout,
    points: dict[str, Point],
    paths: dict[str, list[list[Point]]],
    frame: _Frame,
    site: str | None,
    one_way: bool,
) -> FloorDocument:
    nodes = {node_id: frame.cell(point) for node_id, point in points.items()}
    tracks = _tracks(layout, paths, frame, nodes)
    kinds = _agent_kinds(layout)
    slowest = min(kind.speed_mm_s for kind in kinds.values())
    marks, zones = _zones(layout, nodes, tracks, one_way)
    rows = ["".join(marks.get((x, y), "#") for x in range(frame.width)) for y in range(frame.height)]
    half = frame.cell_mm + frame.cell_mm // 2
    name = usable_name(site or layout.layout_id, set())
    return FloorDocument(
        format=FORMAT,
        site=name,
        version=1,
        description=(
            f"Imported from LIF layout {layout.layout_id}, version {layout.layout_version}. "
            f"A point (X, Y) of the file lies at x_mm = (X - {frame.left!r}) * {frame.unit_mm} + {half}, "
            f"y_mm = ({frame.top!r} - Y) * {frame.unit_mm} + {half}."
        )[:4_000],
        cell_mm=frame.cell_mm,
        grid=rows,
        defaults=ZoneDefaults(margin_mm=frame.cell_mm, hold_max_ms=hold_max_ms(1, frame.cell_mm, slowest)),
        zones={
            name: ZoneEntry(cells=as_patches(cells), hold_max_ms=_own_hold(len(cells), frame.cell_mm, slowest))
            for name, cells in zones.items()
        },
        agent_kinds=kinds,
        stations=_stations(layout, nodes),
    )


def _own_hold(cells: int, cell_mm: int, speed_mm_s: int) -> int | None:
    hold = hold_max_ms(cells, cell_mm, speed_mm_s)
    return hold if hold > max(DEFAULT_HOLD_MS, hold_max_ms(1, cell_mm, speed_mm_s)) else None


@dataclass(frozen=True, slots=True)
class _Track:
    """An edge with its counter-edge: the cells between their nodes, in `order` when they are driven one way only."""

    edge_id: str
    cells: frozenset[Cell]
    order: tuple[Cell, ...] | None


def _tracks(layout: Layout, paths: dict[str, list[list[Point]]], frame: _Frame, nodes: dict[str, Cell]) -> list[_Track]:
    pairs: dict[tuple[str, str], list[Edge]] = {}
    for edge in layout.edges:
        low, high = sorted((edge.start_node_id, edge.end_node_id))
        pairs.setdefault((low, high), []).append(edge)
    tracks = []
    for edges in pairs.values():
        crossed = [
            crossed_cells([frame.place(point) for point in path], reverse=edge.start_node_id > edge.end_node_id)
            for edge in edges
            for path in paths[edge.edge_id]
        ]
        both_ways = len({edge.start_node_id for edge in edges}) > 1
        order = None if both_ways or len(crossed) > 1 else tuple(crossed[0])
        cells = frozenset(cell for way in crossed for cell in way) - set(nodes.values())
        tracks.append(_Track(edges[0].edge_id, cells, order))
    return tracks


def _zones(
    layout: Layout, nodes: dict[str, Cell], tracks: list[_Track], one_way: bool
) -> tuple[dict[Cell, str], dict[str, list[Cell]]]:
    """The grid's marks and the zones' cells: nodes first, then edges, then what several edges share."""
    marks: dict[Cell, str] = dict.fromkeys(nodes.values(), ".")
    taken: set[str] = set()
    zones = {usable_name(node.node_id, taken): [nodes[node.node_id]] for node in layout.nodes}
    users: dict[Cell, int] = {}
    for track in tracks:
        for cell in track.cells:
            users[cell] = users.get(cell, 0) + 1
            marks[cell] = "."
    for track in tracks:
        own = sorted(cell for cell in track.cells if users[cell] == 1)
        if own:
            zones[usable_name(track.edge_id, taken)] = own
        for here, there in zip(track.order or (), (track.order or ())[1:], strict=False):
            if one_way and users.get(here) == 1 and here in track.cells:
                marks[here] = _STEP_MARKS[there[0] - here[0], there[1] - here[1]]
    for number, region in enumerate(_pieces(cell for cell, count in users.items() if count > 1), start=1):
        zones[usable_name(f"X_{number}", taken)] = region
    return marks, zones


def _pieces(cells: Iterable[Cell]) -> list[list[Cell]]:
    left = set(cells)
    pieces = []
    for start in sorted(left):
        if start not in left:
            continue
        left.discard(start)
        piece, edge = [start], [start]
        while edge:
            x, y = edge.pop()
            for beside in ((x + 1, y), (x, y + 1), (x - 1, y), (x, y - 1)):
                if beside in left:
                    left.discard(beside)
                    piece.append(beside)
                    edge.append(beside)
        pieces.append(piece)
    return pieces


def _agent_kinds(layout: Layout) -> dict[str, AgentKindEntry]:
    """One per vehicle type, at the highest speed that any edge allows it."""
    speeds: dict[str, int] = {}
    for node in layout.nodes:
        for at_node in node.vehicle_type_node_properties:
            speeds.setdefault(at_node.vehicle_type_id, 0)
    for edge in layout.edges:
        for on_edge in edge.vehicle_type_edge_properties:
            known = speeds.get(on_edge.vehicle_type_id, 0)
            speeds[on_edge.vehicle_type_id] = max(known, round((on_edge.max_speed or 0) * 1_000))
    taken: set[str] = set()
    return {
        usable_name(name, taken): AgentKindEntry(
            speed_mm_s=min(speed if speed > 0 else DEFAULT_SPEED_MM_S, MAX_MM),
            braking_mm_s2=BRAKING_MM_S2,
            length_mm=LENGTH_MM,
            width_mm=WIDTH_MM,
        )
        for name, speed in (speeds or {"agv": 0}).items()
    }


def _stations(layout: Layout, nodes: dict[str, Cell]) -> dict[str, StationEntry]:
    taken: set[str] = set()
    stations = {}
    for station in layout.stations:
        for node_id in dict.fromkeys(station.interaction_node_ids):
            stations[usable_name(station.station_id, taken)] = StationEntry(cell=nodes[node_id])
    return stations

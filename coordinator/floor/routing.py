"""Shortest routes over a floor's cells.

Rule owned here: a route makes only allowed moves (four neighbours, arrows obeyed), is as short as any that avoids what
must be avoided, and is the same on every run. Search is networkx's A* with the Manhattan distance; the graph is built
once per router. Never imports the core.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet

import networkx as nx

from coordinator.floor.grid import Cell
from coordinator.floor.model import Floor
from coordinator.floor.survey import move_graph


class Router:
    """Routes on one floor. Holds no state between calls; safe to share between threads that only plan."""

    def __init__(self, floor: Floor) -> None:
        self.floor = floor
        self._graph = move_graph(floor.grid)

    def cells(self, start: Cell, goal: Cell, avoid: AbstractSet[Cell | str] = frozenset()) -> list[Cell]:
        """A shortest route from `start` to `goal`, both included; empty when there is none.

        `avoid` names cells as (x, y) and zones by name. The start may lie in it: that is where the vehicle stands.
        Raises ValueError for a start or goal that is no open cell, KeyError for an unknown zone.
        """
        for role, cell in (("start", start), ("goal", goal)):
            if not self.floor.is_open(*cell):
                raise ValueError(
                    f"{role} {cell}: not an open cell of {self.floor.site}; choose one that Floor.zone_at knows"
                )
        avoided = self.floor.cells_of(avoid)
        if goal in avoided and goal != start:
            return []

        def cost(_: Cell, there: Cell, __: object) -> int | None:
            return None if there in avoided else 1

        try:
            return list(nx.astar_path(self._graph, start, goal, heuristic=_manhattan, weight=cost))
        except nx.NetworkXNoPath:
            return []

    def zones(self, start: Cell, goal: Cell, avoid: AbstractSet[Cell | str] = frozenset()) -> list[str]:
        """The zones of `cells(start, goal, avoid)` in the order they are entered; a zone entered twice stands twice."""
        return self.zones_along(self.cells(start, goal, avoid))

    def zones_along(self, cells: list[Cell]) -> list[str]:
        """The zones of a route, each once per entry. KeyError for a cell that is not open."""
        names: list[str] = []
        for cell in cells:
            name = self.floor.zone_at(*cell)
            if name is None:
                raise KeyError(f"cell {cell} of the route is not open")
            if not names or names[-1] != name:
                names.append(name)
        return names


def _manhattan(a: Cell, b: Cell) -> int:
    return abs(a[0] - b[0]) + abs(a[1] - b[1])

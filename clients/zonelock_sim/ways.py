"""Shortest ways for a fleet that asks for thousands of them: the floor's moves, and how far every cell is from a goal.

The rule owned here: a way is as short as any that avoids what must be avoided, and the same on every run. The distances
from all cells to a goal are worked out once and kept while there is room; with them as its estimate networkx's A* looks
at little more than the way itself and the cells around what it avoids. Imports nothing of the coordinator but its
floor.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Set as AbstractSet

import networkx as nx

from coordinator.floor import Floor
from coordinator.floor.survey import move_graph
from zonelock_sim.bodies import Cell

MAX_GOALS_KEPT = 1_024
"""Two bytes a cell for each: 20 MB on a floor of 160 × 63 cells."""

FAR = 0xFFFF
"""No way, or one that is longer than any the sim drives."""


class Ways:
    """Takes the place of `coordinator.floor.routing.Router` where it is asked often."""

    def __init__(self, floor: Floor) -> None:
        self.floor = floor
        self._graph = move_graph(floor.grid)
        self._reversed = self._graph.reverse(copy=False)
        self._distances: OrderedDict[Cell, array[int]] = OrderedDict()
        self._parts = {
            cell: number for number, part in enumerate(nx.strongly_connected_components(self._graph)) for cell in part
        }

    def distance(self, start: Cell, goal: Cell) -> int:
        """Moves on a shortest way when nothing is in the way; FAR when there is none."""
        return self._to(goal)[start[1] * self.floor.width + start[0]]

    def connected(self, *cells: Cell) -> bool:
        """Whether each of the cells can be reached from each other one."""
        return len({self._parts[cell] for cell in cells}) <= 1

    def cells(
        self, start: Cell, goal: Cell, avoid: AbstractSet[Cell | str] = frozenset(), longest: int | None = None
    ) -> list[Cell]:
        """A shortest way, both ends included; empty when there is none of at most `longest` moves.

        `avoid` names cells as (x, y) and zones by name; the start may lie in it.
        """
        distances, width = self._to(goal), self.floor.width
        if distances[start[1] * width + start[0]] == FAR:
            return []
        avoided = self._avoided(avoid)
        if goal in avoided and goal != start:
            return []

        def cost(_: Cell, there: Cell, __: object) -> int | None:
            return None if there in avoided else 1

        def left(cell: Cell, _: Cell) -> int:
            return distances[cell[1] * width + cell[0]]

        try:
            return list(nx.astar_path(self._graph, start, goal, heuristic=left, weight=cost, cutoff=longest))
        except nx.NetworkXNoPath:
            return []

    def _to(self, goal: Cell) -> array[int]:
        found = self._distances.get(goal)
        if found is None:
            width = self.floor.width
            found = array("H", [FAR]) * (width * self.floor.height)
            for (x, y), moves in nx.single_source_shortest_path_length(self._reversed, goal).items():
                found[y * width + x] = min(moves, FAR)
            self._distances[goal] = found
            if len(self._distances) > MAX_GOALS_KEPT:
                self._distances.popitem(last=False)
        else:
            self._distances.move_to_end(goal)
        return found

    def _avoided(self, avoid: AbstractSet[Cell | str]) -> set[Cell]:
        cells: set[Cell] = set()
        for item in avoid:
            if isinstance(item, str):
                cells.update(self.floor.zones[item].cells)
            else:
                cells.add(item)
        return cells

"""Shortest ways for a fleet that asks for thousands of them: the floor's moves, and how far every cell is from a goal.

The rule owned here: a way is as cheap as any that avoids what must be avoided, and the same on every run. The distances
from all cells to a goal are worked out once and kept while there is room; with them as its estimate A* looks at little
more than the way itself and the cells around what it avoids. Both searches are written out because networkx's took ten
times as long, which a fleet of hundreds feels. Imports nothing of the coordinator but its floor.
"""

from __future__ import annotations

import heapq
from array import array
from collections import OrderedDict
from collections.abc import Mapping
from collections.abc import Set as AbstractSet

import networkx as nx

from coordinator.floor import Floor
from coordinator.floor.survey import move_graph
from zonelock_sim.bodies import Cell

MAX_GOALS_KEPT = 1_024
"""Two bytes a cell for each: 20 MB on a floor of 160 × 63 cells."""

FAR = 0xFFFF
"""No way, or one that is longer than any the sim drives."""

NOTHING_DEARER: Mapping[tuple[Cell, Cell], int] = {}


class Ways:
    """Takes the place of `coordinator.floor.routing.Router` where it is asked often."""

    def __init__(self, floor: Floor) -> None:
        self.floor = floor
        self._graph = move_graph(floor.grid)
        self._back = [tuple(self._index(c) for c in self._graph.pred.get(cell, ())) for cell in self._every_cell()]
        self._moves: dict[Cell, tuple[Cell, ...]] = {cell: tuple(sorted(self._graph[cell])) for cell in self._graph}
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
        self,
        start: Cell,
        goal: Cell,
        avoid: AbstractSet[Cell | str] = frozenset(),
        longest: int | None = None,
        dearer: Mapping[tuple[Cell, Cell], int] = NOTHING_DEARER,
    ) -> list[Cell]:
        """A cheapest way, both ends included; empty when there is none, or when that takes more than `longest` moves.

        `avoid` names cells as (x, y) and zones by name; the start may lie in it. A move costs 1, and what `dearer` has
        for it besides.
        """
        distances, width = self._to(goal), self.floor.width
        if distances[start[1] * width + start[0]] == FAR:
            return []
        avoided = self.floor.cells_of(avoid)
        if goal in avoided and goal != start:
            return []
        came: dict[Cell, Cell] = {start: start}
        costs, passed, moves = {start: 0}, avoided, self._moves
        edge = [(distances[start[1] * width + start[0]], 0, start)]
        while edge:
            _, _, here = heapq.heappop(edge)
            if here in passed and here != start:
                continue
            if here == goal:
                way = _back(came, goal)
                return way if longest is None or len(way) - 1 <= longest else []
            passed.add(here)
            cost = costs[here] + 1
            for there in moves[here]:
                if there in passed:
                    continue
                whole = cost + dearer.get((here, there), 0) if dearer else cost
                if whole < costs.get(there, FAR):
                    costs[there], came[there] = whole, here
                    estimate = whole + distances[there[1] * width + there[0]]
                    heapq.heappush(edge, (estimate, -whole, there))
        return []

    def _to(self, goal: Cell) -> array[int]:
        found = self._distances.get(goal)
        if found is None:
            found = self._distances[goal] = self._measure(goal)
            if len(self._distances) > MAX_GOALS_KEPT:
                self._distances.popitem(last=False)
        else:
            self._distances.move_to_end(goal)
        return found

    def _measure(self, goal: Cell) -> array[int]:
        """How many moves it takes from each cell, breadth first."""
        found = array("H", [FAR]) * len(self._back)
        edge, moves = [self._index(goal)], 0
        while edge and moves < FAR:
            further: list[int] = []
            for cell in edge:
                if found[cell] == FAR:
                    found[cell] = moves
                    further += self._back[cell]
            edge, moves = further, moves + 1
        return found

    def _every_cell(self) -> list[Cell]:
        return [(x, y) for y in range(self.floor.height) for x in range(self.floor.width)]

    def _index(self, cell: Cell) -> int:
        return cell[1] * self.floor.width + cell[0]


def _back(came: Mapping[Cell, Cell], goal: Cell) -> list[Cell]:
    way = [goal]
    while came[way[-1]] != way[-1]:
        way.append(came[way[-1]])
    return way[::-1]

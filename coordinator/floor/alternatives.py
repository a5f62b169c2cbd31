"""Ways from zone to zone by time: up to three, around or through what is held.

Rule owned here: a way is as quick as any by travel time plus the waits that are to be expected on it; each further one
leaves the ways found before wherever that costs less than DETOUR times the time. Search is networkx's Dijkstra over a
graph of zones built once per floor. Reads a floor and a picture of who is where; decides nothing. Of the core it
imports nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import networkx as nx

from coordinator.floor.model import Floor, Zone

MAX_ALTERNATIVES = 3
DETOUR_PERCENT = 150
"""What a zone of a way already found costs the next one, against its own time."""

MAX_TRIES = 6
"""How many searches may be spent on finding ways that differ."""


@dataclass(frozen=True, slots=True)
class Way:
    """`zones` in the order in which they are entered, the first one left out. Times in milliseconds."""

    zones: tuple[str, ...]
    travel_ms: int
    wait_ms: int


class Planner:
    """Plans on one floor. Holds no state between calls; safe to use from several threads at once."""

    def __init__(self, floor: Floor) -> None:
        self.floor = floor
        self._graph: nx.DiGraph[str] = nx.DiGraph()
        self._graph.add_nodes_from(sorted(floor.zones))
        for start, goal in floor.spec().neighbours:
            self._graph.add_edge(start, goal, mm=_apart_mm(floor.zones[start], floor.zones[goal], floor.cell_mm))

    def ways(
        self, start: str, goal: str, speed_mm_s: int, busy_ms: Mapping[str, int | None], most: int = MAX_ALTERNATIVES
    ) -> list[Way]:
        """Quickest first. `busy_ms` says of each full zone how long it still is, None: nobody knows, go around.

        Raises KeyError for an unknown zone, ValueError for a speed that is not positive.
        """
        for zone in (start, goal):
            if zone not in self._graph:
                raise KeyError(zone)
        if speed_mm_s < 1:
            raise ValueError(f"speed_mm_s {speed_mm_s}: must be at least 1")
        shut = {zone for zone, left_ms in busy_ms.items() if left_ms is None and zone != start}
        found: dict[tuple[str, ...], Way] = {}
        used: set[str] = set()

        def cost(_: str, there: str, edge: Mapping[str, int]) -> int | None:
            if there in shut:
                return None
            own = edge["mm"] * 1_000 // speed_mm_s + (busy_ms.get(there) or 0)
            return own * DETOUR_PERCENT // 100 if there in used else own

        for _ in range(MAX_TRIES):
            try:
                zones = tuple(nx.dijkstra_path(self._graph, start, goal, weight=cost))
            except nx.NetworkXNoPath:
                break
            found.setdefault(zones, self._timed(zones, speed_mm_s, busy_ms))
            used.update(zones)
            if len(found) == most:
                break
        return sorted(found.values(), key=lambda way: (way.travel_ms + way.wait_ms, way.zones))

    def _timed(self, zones: tuple[str, ...], speed_mm_s: int, busy_ms: Mapping[str, int | None]) -> Way:
        """A zone is waited for only as long as it is still held when the vehicle gets there."""
        now_ms = travel_mm = wait_ms = 0
        for here, there in pairwise(zones):
            step_mm = self._graph.edges[here, there]["mm"]
            waits = max(0, (busy_ms.get(there) or 0) - now_ms)
            travel_mm += step_mm
            wait_ms += waits
            now_ms = travel_mm * 1_000 // speed_mm_s + wait_ms
        return Way(zones[1:], travel_mm * 1_000 // speed_mm_s, wait_ms)


def _apart_mm(start: Zone, goal: Zone, cell_mm: int) -> int:
    """Between the middles of two zones, along the grid; at least one cell."""
    (ax, ay), (bx, by) = _middle_mm(start, cell_mm), _middle_mm(goal, cell_mm)
    return max(cell_mm, abs(ax - bx) + abs(ay - by))


def _middle_mm(zone: Zone, cell_mm: int) -> tuple[int, int]:
    count = len(zone.cells)
    return sum(x for x, _ in zone.cells) * cell_mm // count, sum(y for _, y in zone.cells) * cell_mm // count

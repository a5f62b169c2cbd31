"""What a fleet controller knows of its own vehicles: who occupies what, who wants where, who waits for whom.

Knowing it makes driving smoother and is never what keeps vehicles apart: a vehicle enters a zone only on a grant. The
one place where vehicles do rely on each other here is *inside* a zone of capacity above 1, where a grant says that
several fit and their own sensors must keep them off each other; `take_lane` stands for those sensors. Sorts before it
chooses, so that two vehicles that look at the same picture come to opposite conclusions. Never imports the SDK.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from coordinator.floor import Floor
from zonelock_sim.bodies import Cell

MAX_REFUGE_SEARCH_CELLS = 400
MAX_RING = 64


class Traffic:
    def __init__(self, floor: Floor) -> None:
        self.floor = floor
        self._occupies: dict[str, frozenset[str]] = {}
        self._foreign: dict[str, int] = {}
        self._by_zone: dict[str, set[str]] = {}
        self._routes: dict[str, tuple[Cell, ...]] = {}
        self._against: dict[tuple[Cell, Cell], int] = {}
        self._resting: set[str] = set()
        self._wants: dict[str, tuple[str, ...]] = {}
        self._lanes: dict[Cell, str] = {}

    # -- told by vehicles

    def occupies(self, agent_id: str, zones: Iterable[str]) -> None:
        """Everything the agent holds or stands in."""
        now = frozenset(zones)
        before = self._occupies.get(agent_id, frozenset())
        for zone in before - now:
            self._by_zone[zone].discard(agent_id)
        for zone in now - before:
            self._by_zone.setdefault(zone, set()).add(agent_id)
        self._occupies[agent_id] = now

    def follows(self, agent_id: str, route: Sequence[Cell]) -> None:
        """The cells the agent is on and still means to drive over; empty when it drives nowhere."""
        before, now = self._routes.get(agent_id, ()), tuple(route)
        if now == before:
            return
        self._routes[agent_id] = now
        driven = len(before) - len(now)
        if now and driven > 0 and before[driven:] == now:
            before, now = before[: driven + 1], ()
        self._count(before, -1)
        self._count(now, 1)

    def _count(self, route: Sequence[Cell], by: int) -> None:
        against = self._against
        for move in zip(route[1:], route, strict=False):
            against[move] = against.get(move, 0) + by
            if not against[move]:
                del against[move]

    def rests(self, agent_id: str, rests: bool) -> None:
        """The agent stands somewhere and means to stay until it is asked to go."""
        (self._resting.add if rests else self._resting.discard)(agent_id)

    def wants(self, agent_id: str, zones: Sequence[str]) -> None:
        """The zones of the agent's open ask; empty when it waits for nothing."""
        self._wants[agent_id] = tuple(zones)

    def foreign(self, occupied: dict[str, int]) -> None:
        """How many units of each zone agents outside this fleet occupy, from the coordinator's floor picture."""
        self._foreign = occupied

    # -- asked by vehicles

    def is_full(self, zone: str, but: str) -> bool:
        """No unit is left beside what others than `but` occupy."""
        others = len(self._by_zone.get(zone, frozenset()) - {but}) + self._foreign.get(zone, 0)
        return others >= self.floor.zones[zone].capacity

    def full_zones(self, but: str) -> frozenset[str]:
        zones = {zone for zone, agents in self._by_zone.items() if agents} | self._foreign.keys()
        return frozenset(zone for zone in zones if self.is_full(zone, but))

    def full_zones_near(self, cell: Cell, reach: int, but: str) -> frozenset[str]:
        """The full ones among the zones at most `reach` cells away, in x and in y."""
        x0, y0 = cell
        cells = ((x, y) for x in range(x0 - reach, x0 + reach + 1) for y in range(y0 - reach, y0 + reach + 1))
        zones = {zone for zone in (self.floor.zone_at(*c) for c in cells if self.floor.is_open(*c)) if zone}
        return frozenset(zone for zone in zones if self._by_zone.get(zone) and self.is_full(zone, but))

    def resting_zones(self, but: str) -> frozenset[str]:
        """Full zones that only another task or a request will empty: idle vehicles are there, or agents unknown."""
        zones = {zone for agent in self._resting for zone in self._occupies.get(agent, ())} | self._foreign.keys()
        return frozenset(zone for zone in zones if self.is_full(zone, but))

    def against(self) -> Mapping[tuple[Cell, Cell], int]:
        """For each move, over how many vehicles' routes it would go head-on."""
        return self._against

    def route_of(self, agent_id: str) -> tuple[Cell, ...]:
        return self._routes.get(agent_id, ())

    def blockers(self, agent_id: str) -> tuple[str, ...]:
        """Vehicles of the fleet that fill a zone which this one waits for, sorted."""
        wanted = self._wants.get(agent_id, ())
        found = {a for zone in wanted if self.is_full(zone, agent_id) for a in self._by_zone.get(zone, ())}
        return tuple(sorted(found - {agent_id}))

    def ring(self, agent_id: str) -> tuple[str, ...]:
        """The vehicles that this one waits for, directly or through others, and that wait for it: sorted, with itself.

        Empty when nothing waits for it in turn: then waiting may help.
        """
        ahead = self._reach(agent_id)
        if agent_id not in ahead:
            return ()
        return tuple(sorted(other for other in ahead if agent_id in self._reach(other)))

    def stuck_ahead(self, agent_id: str) -> tuple[str, ...]:
        """A ring among those that this one waits for, without itself in it, sorted: it may have to make way."""
        return tuple(sorted(other for other in self._reach(agent_id) - {agent_id} if self.ring(other)))

    def refuge(self, agent_id: str, start: Cell, off: AbstractSet[Cell]) -> list[Cell]:
        """The shortest drive from `start`, over zones nobody else fills, to a cell not in `off`; empty if none."""
        closed = self.full_zones(agent_id)
        came_from: dict[Cell, Cell | None] = {start: None}
        frontier = deque([start])
        while frontier and len(came_from) < MAX_REFUGE_SEARCH_CELLS:
            cell = frontier.popleft()
            if cell not in off and cell != start:
                return _back(came_from, cell)
            for there in self.floor.moves(*cell):
                if there not in came_from and self.floor.zone_at(*there) not in closed:
                    came_from[there] = cell
                    frontier.append(there)
        return []

    # -- inside a zone that several fit into

    def take_lane(self, agent_id: str, cells: Collection[Cell]) -> bool:
        """All of the cells, unless another vehicle has one of them."""
        if any(self._lanes.get(cell, agent_id) != agent_id for cell in cells):
            return False
        self._lanes.update(dict.fromkeys(cells, agent_id))
        return True

    def keep_lane(self, agent_id: str, cells: Collection[Cell]) -> None:
        """Gives back every lane cell of the agent's but these."""
        for cell in [c for c, owner in self._lanes.items() if owner == agent_id and c not in cells]:
            del self._lanes[cell]

    def _reach(self, agent_id: str) -> set[str]:
        seen: set[str] = set()
        frontier = [agent_id]
        while frontier and len(seen) < MAX_RING:
            for other in self.blockers(frontier.pop()):
                if other not in seen:
                    seen.add(other)
                    frontier.append(other)
        return seen


def _back(came_from: dict[Cell, Cell | None], cell: Cell) -> list[Cell]:
    route: list[Cell] = []
    at: Cell | None = cell
    while at is not None:
        route.append(at)
        at = came_from[at]
    return route[::-1]

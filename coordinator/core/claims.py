"""Who waits for what, in which order, and what is kept for whom. Owns the queue's half of I9 (liveness).

The rules in words. Waiters go by priority, then by arrival. The oldest waiter of each priority *reserves*: a free
slot of a zone that it wants is kept for it against everyone behind it, so that small asks cannot starve a large one.
A reservation does not bind the agents that must move before the reserver can ever be served: whoever is in its way,
whoever is in theirs (inside a zone, or ahead with a reservation), and so on; nor, where both claimed their routes,
whoever goes first in the order by which all can arrive. A waiter whose stream has been silent for two heartbeats is
passed over and reserves nothing until it speaks.

The queue is volatile. After a failover agents ask again; their grants and their occupancy are what is durable.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from coordinator.core.model import MAX_PRIORITY, UnitRecord, UnitState
from coordinator.core.routes import Unsafe
from coordinator.core.zones import Units


@dataclass(slots=True, eq=False)
class Waiter:
    """One queued ask. `order` sorts before everyone that it goes before."""

    agent_id: str
    session: str
    request_id: str
    payload: str
    zones: tuple[str, ...]
    expected_ms: int
    priority: int
    conn: int
    arrival: int
    since_ms: int
    silent: bool = False
    unsafe: Unsafe | None = None
    order: tuple[int, int] = field(init=False)

    def __post_init__(self) -> None:
        self.order = (-self.priority, self.arrival)


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a zone cannot be given to a waiter now. `unit` is who is inside; `reserver` is who it is kept for;
    `unsafe` why taking it would lock others in.
    """

    zone: str
    unit: UnitRecord | None = None
    reserver: Waiter | None = None
    unsafe: Unsafe | None = None


class Queue:
    """Waiters in order, indexed by zone and by agent."""

    def __init__(self, units: Units) -> None:
        self._units = units
        self._orders: list[tuple[int, int]] = []
        self._waiters: dict[tuple[int, int], Waiter] = {}
        self._by_zone: dict[str, dict[tuple[int, int], Waiter]] = {}
        self._by_agent: dict[str, dict[str, Waiter]] = {}
        self._arrivals = 0
        self.goes_first: Callable[[str, str], bool] = lambda agent, other: False
        self.claimed_before: Callable[[str, str], bool] = lambda agent, other: False

    def __len__(self) -> int:
        return len(self._orders)

    def next_arrival(self) -> int:
        self._arrivals += 1
        return self._arrivals

    # -- membership ----------------------------------------------------------------------------------------------

    def add(self, waiter: Waiter) -> None:
        insort(self._orders, waiter.order)
        self._waiters[waiter.order] = waiter
        for zone in waiter.zones:
            self._by_zone.setdefault(zone, {})[waiter.order] = waiter
        self._by_agent.setdefault(waiter.agent_id, {})[waiter.request_id] = waiter

    def remove(self, waiter: Waiter) -> None:
        del self._orders[bisect_left(self._orders, waiter.order)]
        del self._waiters[waiter.order]
        for zone in waiter.zones:
            del self._by_zone[zone][waiter.order]
            if not self._by_zone[zone]:
                del self._by_zone[zone]
        mine = self._by_agent[waiter.agent_id]
        del mine[waiter.request_id]
        if not mine:
            del self._by_agent[waiter.agent_id]

    def get(self, agent_id: str, request_id: str) -> Waiter | None:
        return self._by_agent.get(agent_id, {}).get(request_id)

    def of_agent(self, agent_id: str) -> list[Waiter]:
        return sorted(self._by_agent.get(agent_id, {}).values(), key=lambda w: w.order)

    def in_order(self) -> list[Waiter]:
        return [self._waiters[order] for order in self._orders]

    def waiting_for(self, zones: Iterable[str]) -> list[Waiter]:
        """Waiters that want any of the zones, in order."""
        found = {w.order: w for z in zones for w in self._by_zone.get(z, {}).values()}
        return [found[order] for order in sorted(found)]

    def count_for(self, zone: str) -> int:
        return len(self._by_zone.get(zone, ()))

    def position(self, waiter: Waiter) -> int:
        """1 for the waiter that goes first among those it competes with."""
        return 1 + sum(1 for w in self.waiting_for(waiter.zones) if w.order < waiter.order)

    # -- reservation ---------------------------------------------------------------------------------------------

    def reservers(self) -> list[Waiter]:
        """The oldest waiter of each priority that can hear its grant, in order."""
        found: list[Waiter] = []
        if not self._orders:
            return found
        for priority in range(MAX_PRIORITY, -1, -1):
            place = bisect_left(self._orders, (-priority, 0))
            while place < len(self._orders) and self._orders[place][0] == -priority:
                waiter = self._waiters[self._orders[place]]
                if not waiter.silent:
                    found.append(waiter)
                    break
                place += 1
        return found

    def obstacles(self, waiter: Waiter) -> list[Obstacle]:
        """What keeps the zones of a (queued or just arrived) waiter from it; empty when it can be granted now."""
        binding: list[Waiter] | None = None  # of no interest while the zones are full, as those of most waiters are
        found: list[Obstacle] = []
        for zone in waiter.zones:
            if self._units.residue(zone, waiter.agent_id, waiter.session) is not None:
                continue
            free = len(self._units.free_slots(zone))
            if free == 0:
                found.extend(Obstacle(zone, unit=u) for u in self._units.of(zone))
                continue
            if not self._orders:
                continue  # nobody waits, so nothing is kept for anybody
            if binding is None:
                binding = self._binding(waiter)
            keepers = [r for r in binding if zone in r.zones and not self._has_residue(r, zone)]
            if free <= len(keepers):
                found.extend(Obstacle(zone, reserver=r) for r in keepers)
        if not found and waiter.unsafe is not None:
            return [Obstacle(waiter.zones[0], unsafe=waiter.unsafe)]
        return found

    def _binding(self, waiter: Waiter) -> list[Waiter]:
        """Whose reservations hold against this waiter."""
        ahead = (r for r in self.reservers() if r.order < waiter.order and r.agent_id != waiter.agent_id)
        return [r for r in ahead if not self._exempt(waiter.agent_id, r, waiter.zones)]

    def _has_residue(self, waiter: Waiter, zone: str) -> bool:
        return self._units.residue(zone, waiter.agent_id, waiter.session) is not None

    def _exempt(self, agent_id: str, reserver: Waiter, zones: tuple[str, ...]) -> bool:
        """Whether the reserver cannot be served before this agent has moved on."""
        if not any(zone in reserver.zones for zone in zones):
            return False  # nothing of the reserver's is touched; whether it binds makes no difference
        if reserver.unsafe is not None and self.goes_first(agent_id, reserver.agent_id):
            return True
        if self.claimed_before(agent_id, reserver.agent_id):
            return True
        return agent_id in self.in_the_way_of(reserver)

    def in_the_way_of(self, waiter: Waiter) -> set[str]:
        """Agents that must move before the waiter can be served: its obstacles' occupants, theirs, and so on."""
        found: set[str] = set()
        pending = [waiter]
        reservers = self.reservers()
        while pending:
            current = pending.pop()
            for agent_id in self._agents_against(current, reservers):
                if agent_id not in found and agent_id != waiter.agent_id:
                    found.add(agent_id)
                    pending.extend(self.of_agent(agent_id))
        return found

    def _agents_against(self, waiter: Waiter, reservers: list[Waiter]) -> list[str]:
        """Who is inside the waiter's full zones, and who may be keeping the others by reservation."""
        against: list[str] = list(waiter.unsafe.waits_for) if waiter.unsafe is not None else []
        for zone in waiter.zones:
            if self._has_residue(waiter, zone):
                continue
            units = self._units.of(zone)
            if any(u.state is UnitState.FREE for u in units):
                against.extend(r.agent_id for r in reservers if r.order < waiter.order and zone in r.zones)
            else:
                against.extend(u.agent_id for u in units if u.agent_id)
        return against

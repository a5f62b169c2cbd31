"""Routes in the machine: mirrors every unit to the route book, asks it before each grant, and follows up on its words.

Owns when an unsafe ask is decided again (I9): as soon as something changed that its verdict stands on (`verdicts`), and
in its turn, MAX_LOOKS waiters every LOOK_MS, besides. A waiter that has become part of a ring is told so, one of each
ring, so that not all of them draw back from each other at once. Idle agents in the way of a route are asked to yield.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from coordinator.core import effects as fx
from coordinator.core import events as ev
from coordinator.core.claims import Obstacle, Waiter
from coordinator.core.model import BlockCause, FloorSpec, Ledger, Timing, UnitRecord, UnitState
from coordinator.core.rejections import Refusal, Rejection
from coordinator.core.routes import RouteBook, Unsafe, Why
from coordinator.core.standoff import ring_of_asks
from coordinator.core.state import Refused, State
from coordinator.core.verdicts import RING_TOLD_MS, Verdicts
from coordinator.core.zones import InvariantViolation, Move

MAX_CLAIM_ZONES = 2_000
LOOK_MS = 500
MAX_LOOKS = 16
"""How many waiters are decided again in one look, whether anything happened to them or not."""

MAX_VISITS = 8
"""In how many zones at once idle agents are asked to make room for visitors from off the floor, in turn."""

YIELD_AGAIN_MS = 5_000
"""An agent that was asked to yield and still stands there is asked again after this long."""

_LOST_CLAIM = frozenset({BlockCause.OVERDUE, BlockCause.ABANDONED, BlockCause.UNCERTAIN})
"""Ends of a grant after which nobody can count on the holder's route any more."""


class Routing(State):
    """The layer of routes."""

    def __init__(self, floor: FloorSpec, ledger: Ledger, timing: Timing, now_ms: int) -> None:
        super().__init__(floor, ledger, timing, now_ms)
        self.routes = RouteBook(((z.name, z.capacity) for z in floor.zones), floor.neighbours)
        self.queue.goes_first = self.routes.goes_first
        self.queue.claimed_before = self.routes.claimed_before
        self._verdicts = Verdicts()
        self._asked_to_yield: dict[str, int] = {}
        self._last_visited = ""
        self._looked_at_ms = now_ms
        for unit in self.units:
            occupant = _occupant(unit)
            if occupant is not None:
                self.routes.occupy(unit.zone, occupant)

    # -- the mirror ----------------------------------------------------------------------------------------------

    def _move(self, before: UnitRecord, move: Move, after: UnitRecord) -> None:
        super()._move(before, move, after)
        was, now = _occupant(before), _occupant(after)
        if was != now:
            if was is not None:
                self.routes.vacate(after.zone, was)
                self._look_at(self._verdicts.freed(after.zone))
            if now is not None:
                self.routes.occupy(after.zone, now, visit=move is Move.GRANT)
                if not self.routes.remaining(now):
                    self._turned(now)
        elif before.state is UnitState.HELD and after.state is UnitState.BLOCKED:
            if after.cause in _LOST_CLAIM:
                self.routes.forget(after.agent_id)
            else:
                self.routes.stands(after.agent_id)
            self._turned(after.agent_id)

    def _confirm_empty(self) -> list[UnitRecord]:
        """Every UNKNOWN unit becomes FREE in one write of the counter."""
        freed = self.units.confirm_empty(self.counter.incarnation)
        for unit in freed:
            self.routes.vacate(unit.zone, "")
            self._look_at(self._verdicts.freed(unit.zone))
        return freed

    def _distrust_units(self, incarnation: int) -> list[UnitRecord]:
        """Every FREE unit becomes UNKNOWN without a write of its own; returns the occupied ones, to be written."""
        free = [unit.zone for unit in self.units if unit.state is UnitState.FREE]
        carried = self.units.distrust(incarnation)
        for zone in free:
            self.routes.occupy(zone, "")
        return carried

    def _turned(self, agent_id: str) -> None:
        """The agent goes elsewhere than it said, has arrived, or is not counted on any more."""
        self._recheck_kept_waiting()  # the order by which all can arrive may be another now
        self._look_at(self._verdicts.turned(agent_id))

    def _look_at(self, waiters: Iterable[Waiter]) -> None:
        for waiter in waiters:
            self._dirty.update(waiter.zones)

    # -- claims --------------------------------------------------------------------------------------------------

    def _on_claimed(self, event: ev.Claimed) -> None:
        self._speaker(event)
        if len(event.zones) > MAX_CLAIM_ZONES:
            raise Refused(
                Refusal.TOO_MANY_ZONES,
                f"zones: {len(event.zones)} of them; at most {MAX_CLAIM_ZONES} in one claim",
                zones=len(event.zones),
            )
        for zone in event.zones:
            self._check_zone(zone)
        self.routes.declare(event.agent_id, event.zones)
        self._asked_to_yield.pop(event.agent_id, None)
        for waiter in self.queue.of_agent(event.agent_id):
            self._dirty.update(waiter.zones)
        self._turned(event.agent_id)
        self._changes.agents.add(event.agent_id)
        remaining = self.routes.remaining(event.agent_id)
        self._answer(event, fx.Claimed(remaining, not remaining or self.routes.can_finish(event.agent_id)))

    # -- asks ----------------------------------------------------------------------------------------------------

    def _obstacles(self, waiter: Waiter) -> list[Obstacle]:
        """What keeps the zones from a waiter now; decides whether the step would be safe unless that is known."""
        if self._verdicts.stands(waiter):
            return self.queue.obstacles(waiter)
        waiter.unsafe = None
        obstacles = self.queue.obstacles(waiter)
        if not obstacles:
            full = [zone for zone in waiter.zones if not self.routes.has_room(zone, waiter.agent_id)]
            if full:
                raise InvariantViolation(
                    f"I1: {', '.join(full)}: free by the units, taken by the routes' mirror of them"
                )
            verdict = self.routes.decide(waiter.agent_id, waiter.zones)
            if isinstance(verdict, Unsafe):
                waiter.unsafe = verdict
                obstacles = self.queue.obstacles(waiter)
        return obstacles

    def _ring(self, waiter: Waiter, obstacles: list[Obstacle]) -> Unsafe | None:
        """The ring that the asker's own holding closes, if it does."""
        verdict = waiter.unsafe
        if verdict is None and any(o.unit is not None for o in obstacles) and self.units.of_agent(waiter.agent_id):
            decided = self.routes.decide(waiter.agent_id, waiter.zones)
            verdict = decided if isinstance(decided, Unsafe) else None
        if verdict is not None and verdict.why is Why.WOULD_DEADLOCK:
            return verdict
        return self._ring_of_asks(waiter) if obstacles else None

    def _ring_of_asks(self, waiter: Waiter) -> Unsafe | None:
        """A ring that would not be one if the asker went on by a part of what it asks for, which it can do now."""
        if not self.routes.declared(waiter.agent_id) or self._steps(waiter) < 2:
            return None
        patient = self._has_waited_long(waiter)
        ring = ring_of_asks(self.queue, self.units, waiter, lambda agent: patient and self._stays(agent))
        onward = self.routes.part_of_the_way(waiter.agent_id, waiter.zones) if ring else ""
        if not onward:
            return None
        others = tuple(sorted({link.agent for link in ring} - {waiter.agent_id}))
        return Unsafe(Why.WOULD_DEADLOCK, others, cycle=ring, retreat=onward)

    def _stays(self, agent_id: str) -> bool:
        """Whether it has arrived and was not asked to yield of late."""
        asked_ms = self._asked_to_yield.get(agent_id)
        waits_for_nothing = self.routes.declared(agent_id) and not self.routes.remaining(agent_id)
        return waits_for_nothing and (asked_ms is None or self.now_ms - asked_ms > YIELD_AGAIN_MS)

    def _steps(self, waiter: Waiter) -> int:
        """How many zones the ask names that the asker is not in."""
        return sum(self.units.residue(z, waiter.agent_id, waiter.session) is None for z in waiter.zones)

    def _should_hear(self, waiter: Waiter, ring: Unsafe) -> bool:
        """Whether to refuse the ask for its ring. One with a claim waits while another of the ring may draw back."""
        declared = self.routes.declared(waiter.agent_id)
        return not declared or self._verdicts.to_be_told(waiter.agent_id, ring, self.now_ms)

    def _would_deadlock(self, waiter: Waiter, ring: Unsafe) -> fx.Rejected:
        self._verdicts.told(waiter.agent_id, ring, self.now_ms)
        # A closed zone would turn it away.
        retreat = "" if ring.retreat in self.closures else ring.retreat
        way_out = f"draw back to {retreat}, or plan another way" if retreat else "plan another way"
        if retreat in waiter.zones:
            way_out = f"ask for less at once, as far as {retreat}, or plan another way"
        message = f"waiting cannot help {waiter.agent_id}: {ring.story()}; {way_out}"
        return fx.Rejected(Rejection.WOULD_DEADLOCK, message, zones=waiter.zones, retreat_zone=retreat)

    # -- looking again -------------------------------------------------------------------------------------------

    def _look_again(self) -> list[tuple[Waiter, Unsafe]]:
        """Every LOOK_MS: some waiters afresh, idle agents asked to yield; returns the waiters to be told of rings."""
        if self.now_ms - self._looked_at_ms < LOOK_MS:
            return []
        self._looked_at_ms = self.now_ms
        self._drop_claims_of_the_lost()
        self._ask_to_yield()
        self._serve_the_able()
        self._recheck_kept_waiting()
        waiters = [w for w in self.queue.in_order() if not w.silent and (w.unsafe or self._may_be_in_a_ring(w))]
        told: list[tuple[Waiter, Unsafe]] = []
        involved: set[str] = set()
        for waiter in self._verdicts.looked_at(waiters, MAX_LOOKS):
            self._dirty.update(waiter.zones)
            if waiter.agent_id in involved or not self.routes.declared(waiter.agent_id):
                continue
            ring = self._ring(waiter, self.queue.obstacles(waiter))
            if ring is not None:
                members = {link.agent for link in ring.cycle}
                if not members & involved and self._verdicts.to_be_told(waiter.agent_id, ring, self.now_ms):
                    told.append((waiter, ring))
                    involved |= members  # where this one is not to hear of it, another may who can draw back
        return told

    def _serve_the_able(self) -> None:
        for agent_id in self.routes.newly_able():
            for waiter in self.queue.of_agent(agent_id):
                self._verdicts.reconsider(waiter)
                self._dirty.update(waiter.zones)

    def _may_be_in_a_ring(self, waiter: Waiter) -> bool:
        if not self.routes.declared(waiter.agent_id):
            return False
        long = self._has_waited_long(waiter) and self._steps(waiter) > 1
        return long or not self.routes.can_finish(waiter.agent_id)

    def _has_waited_long(self, waiter: Waiter) -> bool:
        return self.now_ms - waiter.since_ms >= RING_TOLD_MS

    def _drop_claims_of_the_lost(self) -> None:
        for agent_id in self.routes.claimants():
            session = self.sessions.get(agent_id)
            gone = session.gone_since_ms if session is not None else None
            away = session is not None and session.stream is None
            if session is None or (away and (gone is None or self.now_ms - gone > self.timing.lost_ms)):
                self.routes.forget(agent_id)
                self._turned(agent_id)

    def _ask_to_yield(self) -> None:
        idle = [a for a in self.routes.claimants() if not self.routes.remaining(a) and self._would_hear(a)]
        for agent_id, zone in [*self.routes.yield_requests(idle), *self._room_for_visitors(idle)]:
            if zone in self.closures:
                continue  # it would be turned away there
            last = self._asked_to_yield.get(agent_id)
            if last is None or self.now_ms - last >= YIELD_AGAIN_MS:
                self._asked_to_yield[agent_id] = self.now_ms
                self._tell(agent_id, fx.Yield(zone))

    def _room_for_visitors(self, idle: list[str]) -> list[tuple[str, str]]:
        """Idle agents that stand where somebody from off the floor waits to work, who is on no schedule."""
        wanted: set[str] = set()
        if idle:
            for waiter in self.queue.in_order():
                if not (waiter.silent or self.routes.declared(waiter.agent_id) or self.units.of_agent(waiter.agent_id)):
                    wanted.update(waiter.zones)
        zones = sorted(zone for zone in wanted if self.routes.room(zone) < 1)
        turn = bisect_right(zones, self._last_visited)
        asked: dict[str, str] = {}
        for zone in (zones[turn:] + zones[:turn])[:MAX_VISITS]:
            self._last_visited = zone
            found = self.routes.make_room(zone, idle, wanted.union(asked.values()))
            if found is not None:
                asked.setdefault(*found)
        return sorted(asked.items())

    def _would_hear(self, agent_id: str) -> bool:
        session = self.sessions.get(agent_id)
        conn = self.conns.get(session.stream) if session is not None and session.stream is not None else None
        return conn is not None and not conn.silent and not self.queue.of_agent(agent_id)


def _occupant(unit: UnitRecord) -> str | None:
    """Who is in the unit: an agent, nobody (None), or somebody unknown (empty)."""
    if unit.state is UnitState.FREE:
        return None
    return "" if unit.state is UnitState.UNKNOWN else unit.agent_id

"""Any order of events keeps the invariants and the ground truth; and each invariant's check fails on a planted bug."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from core.bench import FLOOR, Bench, Broken, only
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from coordinator.core import effects as fx
from coordinator.core import events as ev
from coordinator.core import holding, presence, stopping, zones
from coordinator.core.claims import Queue
from coordinator.core.estop import Stops
from coordinator.core.grants import Grants
from coordinator.core.invariants import check
from coordinator.core.machine import Machine
from coordinator.core.model import BlockCause, UnitState
from coordinator.core.sessions import RequestState
from coordinator.core.zones import InvariantViolation, Units

AGENTS = ("a", "b", "c", "d")
NAMES = tuple(z.name for z in FLOOR.zones)


class Floor(RuleBasedStateMachine):
    """Agents, operators, time and crashes in any order."""

    @initialize(stops_first=st.booleans())
    def begin(self, stops_first: bool) -> None:
        self.bench = Bench(stops_first=stops_first)
        for agent in AGENTS:
            self.bench.hello(agent)

    def tokens(self, agent: str) -> list[int]:
        return sorted({u.token for u in self.bench.machine.units.of_agent(agent)})

    @rule(agent=st.sampled_from(AGENTS), zones=st.sets(st.sampled_from(NAMES), min_size=1), priority=st.integers(0, 2))
    def ask(self, agent: str, zones: set[str], priority: int) -> None:
        self.bench.ask(agent, *sorted(zones), ms=2_000, priority=priority)

    @rule(agent=st.sampled_from(AGENTS), pick=st.integers(0, 3))
    def release(self, agent: str, pick: int) -> None:
        tokens = self.tokens(agent)
        if tokens:
            self.bench.release(agent, tokens[pick % len(tokens)])

    @rule(agent=st.sampled_from(AGENTS), block=st.sampled_from([BlockCause.PARKED, BlockCause.ABANDONED]))
    def abandon(self, agent: str, block: BlockCause) -> None:
        for token in self.tokens(agent)[:1]:
            self.bench.abandon(agent, token, block=block)

    @rule(agent=st.sampled_from(AGENTS))
    def come_and_go(self, agent: str) -> None:
        if agent in self.bench.streams:
            self.bench.close(agent)
        else:
            self.bench.hello(agent)

    @rule(agent=st.sampled_from(AGENTS))
    def acknowledge(self, agent: str) -> None:
        if agent in self.bench.streams:
            self.bench.acknowledge(agent)

    @rule(ms=st.sampled_from([1, 400, 1_500, 3_000]), heard=st.booleans())
    def wait(self, ms: int, heard: bool) -> None:
        self.bench.wait(ms, heard=heard)

    @rule(zone=st.sampled_from(NAMES))
    def stop(self, zone: str) -> None:
        self.bench.stop(zone=zone)

    @rule(zone=st.sampled_from(NAMES))
    def stop_and_crash(self, zone: str) -> None:
        self.bench.do_and_crash(self.bench.stop_asked(zone=zone))

    @rule()
    def reset(self) -> None:
        for stop in self.bench.machine.stops.active()[:1]:
            self.bench.reset(stop.stop_id)

    @rule(agent=st.sampled_from(AGENTS))
    def clear(self, agent: str) -> None:
        self.bench.clear(agent_id=agent)

    @rule(zone=st.sampled_from(NAMES))
    def shut_or_open(self, zone: str) -> None:
        if zone in self.bench.machine.closures:
            self.bench.open(zone)
        else:
            self.bench.shut(zone)

    @rule()
    def crash(self) -> None:
        self.bench.start()

    @precondition(lambda self: hasattr(self, "bench"))
    @invariant()
    def sound(self) -> None:
        violations = check(self.bench.machine)
        if violations:
            self.bench.fail("; ".join(violations))


TestAnyOrderOfEvents = Floor.TestCase
TestAnyOrderOfEvents.settings = settings(
    max_examples=120, stateful_step_count=60, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def story(bench: Bench) -> None:
    """One history in which every planted bug below breaks something."""
    for agent in ("a", "b", "c"):
        bench.hello(agent)
    token = only(bench.ask("a", "A", "X", ms=1_000), fx.Granted).token
    bench.ask("b", "A", ms=1_000)
    bench.ask("c", "X", ms=1_000)
    bench.close("a")
    bench.wait(1_200)
    bench.ask("b", "A", ms=1_000)
    bench.ask("b", "C", ms=1_000)
    bench.hello("a")
    bench.acknowledge("a")
    bench.acknowledge("c")
    bench.start()
    stops = [s.stop_id for s in bench.machine.stops.active()]
    if stops != [f"deadline:{token}"]:
        bench.fail(f"I5: active stops after the take-over are {stops}")
    for agent in ("a", "b", "c"):
        bench.hello(agent)
    bench.ask("b", "A", "X", ms=1_000)
    bench.acknowledge("a")
    bench.acknowledge("b")
    bench.acknowledge("c")
    stops = [s.stop_id for s in bench.machine.stops.active()]
    if stops != [f"deadline:{token}"]:
        bench.fail(f"I5: active stops before the reset are {stops}")
    bench.reset(*stops)
    bench.ask("b", "X", ms=1_000)
    only(bench.ask("a", "A", "X", ms=1_000), fx.Granted)
    bench.ask("b", "A", ms=1_000)
    bench.release("a", bench.machine.units.of_agent("a")[0].token)
    for agent in ("b", "c"):
        for number in sorted({u.token for u in bench.machine.units.of_agent(agent)}):
            bench.release(agent, number)
    bench.ask("c", "A", ms=1_000)
    if bench.machine.units.of("A")[0].agent_id != "c":
        bench.fail("I9: c was not served although A is free")


def test_the_story_itself_is_legal() -> None:
    story(Bench())


def free_on_expiry(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(stopping, "ended", lambda unit, cause, remaining_ms=0: zones.given_back(unit))
    patch.setitem(zones.TRANSITIONS, (UnitState.HELD, zones.Move.END), frozenset(UnitState))


def free_on_stream_end(patch: pytest.MonkeyPatch) -> None:
    original = presence.Presence._on_closed

    def closed(self: presence.Presence, event: ev.ConnClosed) -> None:
        for agent in sorted(self.conns[event.conn].agents):
            for unit in self.units.of_agent(agent):
                if unit.state is UnitState.HELD:
                    self._move(unit, zones.Move.RELEASE, zones.given_back(unit))
                    self._shrink(unit.token, [unit.zone], RequestState.RELEASED)
        original(self, event)

    patch.setattr(presence.Presence, "_on_closed", closed)


def repeat_tokens(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Machine, "_next_token", lambda self: 1 << 40)


def count_blocked_as_free(patch: pytest.MonkeyPatch) -> None:
    taken = (UnitState.FREE, UnitState.BLOCKED)
    patch.setattr(Units, "free_slots", lambda self, zone: [u.slot for u in self.of(zone) if u.state in taken])


def grant_without_the_units_own_check(patch: pytest.MonkeyPatch) -> None:
    count_blocked_as_free(patch)
    patch.setattr(Units, "move", lambda self, before, move, after: self._store(after))


def stop_covers_only_its_zone(patch: pytest.MonkeyPatch) -> None:
    def scope(self: object, stop: object, zone: str) -> bool:
        return False

    patch.setattr(Stops, "covers", scope)


def forget_stops_at_take_over(patch: pytest.MonkeyPatch) -> None:
    original = Stops.__init__
    patch.setattr(Stops, "__init__", lambda self, floor, records: original(self, floor, ()))


def never_trip(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Grants, "due", lambda self, now_ms: [])


def reset_at_release(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Machine, "unconfirmed", lambda self, stop: [])
    original = Machine._on_hello

    def hello(self: Machine, event: ev.Hello) -> None:
        original(self, event)
        for stop in self.stops.active():
            asked = ev.ResetAsked(now_ms=self.now_ms, conn=0, operator="x", reason="x", stop_ids=(stop.stop_id,))
            self._reset(stop, asked)

    patch.setattr(Machine, "_on_hello", hello)


def lose_waiters(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Machine, "_serve_waiters", lambda self: self._dirty.clear())


def forget_the_deadline_of_a_vanished_agent(patch: pytest.MonkeyPatch) -> None:
    original = holding.Holding._on_committed

    def committed(self: holding.Holding, event: ev.Committed) -> None:
        original(self, event)
        for grant in self.grants.all():
            if (session := self.sessions.get(grant.agent_id)) is not None and session.stream is None:
                self.grants.remove(grant.token)

    patch.setattr(Machine, "_on_committed", committed)


def grant_over_capacity(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Queue, "obstacles", lambda self, waiter: [])
    patch.setattr(Units, "free_slots", lambda self, zone: [0])
    patch.setattr(Units, "move", lambda self, before, move, after: self._store(after))


PLANTED: tuple[Callable[[pytest.MonkeyPatch], None], ...] = (
    free_on_expiry,
    free_on_stream_end,
    repeat_tokens,
    count_blocked_as_free,
    grant_without_the_units_own_check,
    stop_covers_only_its_zone,
    forget_stops_at_take_over,
    never_trip,
    reset_at_release,
    lose_waiters,
    forget_the_deadline_of_a_vanished_agent,
    grant_over_capacity,
)


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_caught(plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    bench = Bench()
    with pytest.raises((Broken, InvariantViolation, AssertionError)):
        story(bench)

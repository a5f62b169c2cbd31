"""Nothing stands still without an explanation, over any history: no zone, waiter, grant, latch or stop."""

from __future__ import annotations

from typing import Any

from core.bench import FLOOR, Bench, only
from core.test_histories import AGENTS, Floor
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from coordinator.core import effects as fx
from coordinator.core import events as ev
from coordinator.core.explaining import agent_clauses, explain, explain_stop, stops_on, zone_clauses
from coordinator.core.machine import Machine
from coordinator.core.model import BlockCause, FloorSpec, UnitState, ZoneState
from coordinator.core.views import agent_ids, agent_view, shown_state, zone_view

ROAD = FloorSpec("test", 1, "h", FLOOR.zones, neighbours=tuple((a, b) for a in "ABCX" for b in "ABCX" if a != b))


def unexplained(machine: Machine, now_ms: int) -> list[str]:
    """Everything that stands still and of which nothing is said, or nothing that would end it."""
    found: list[str] = []
    for name in machine.units.zone_names:
        clauses = zone_clauses(machine, name, now_ms)
        stops = tuple(s.stop_id for s in machine.stops.covering(name))
        closed = name in machine.closures
        free = shown_state(machine.units.of(name), stops, closed=closed) is ZoneState.FREE
        taken = sum(u.state is not UnitState.FREE for u in machine.units.of(name))
        if free == bool(clauses) or len(clauses) < taken + len(stops) + closed:
            found.append(f"{name}: {[str(c) for c in clauses]}")
    for agent in agent_ids(machine):
        clauses, said = agent_clauses(machine, agent, now_ms), explain(machine, agent, now_ms)
        found += [f"{agent}: {c!r}" for c in clauses if not c.cause or not c.remedy]
        units, waits = machine.units.of_agent(agent), machine.queue.of_agent(agent)
        latches = machine.sessions[agent].acked_stops if agent in machine.sessions else set()
        wanted = [*(u.zone for u in units), *(z for w in waits for z in w.zones)]
        wanted += [s.stop_id for s in machine.stops.active() if s.stop_id in latches]
        wanted += list(machine.routes.remaining(agent)[:1])
        found += [f"{agent}: {word} is not in {said!r}" for word in wanted if word not in said]
        if any(not w.silent for w in waits) and "it is next" in said:
            found.append(f"{agent}: waits for nothing that could be named: {said}")
        if wanted and "is idle" in said:
            found.append(said)
    found += [f"{s.stop_id}: no way out" for s in machine.stops.active() if ": " not in explain_stop(machine, s)]
    return found


class Explained(Floor):
    """The histories of `test_histories`, with routes, declarations and revocations among them."""

    @rule(agent=st.sampled_from(AGENTS), zones=st.lists(st.sampled_from("ABCX"), unique=True))
    def claim(self, agent: str, zones: list[str]) -> None:
        if agent in self.bench.streams:
            who: dict[str, Any] = {"now_ms": self.bench.now_ms, "conn": self.bench.streams[agent], "agent_id": agent}
            self.bench.do(ev.Claimed(**who, zones=tuple(zones)))

    @rule(agent=st.sampled_from(AGENTS))
    def revoke(self, agent: str) -> None:
        self.bench.do(ev.RevokeAsked(now_ms=self.bench.now_ms, conn=0, operator="ann", reason="needed", agent_id=agent))

    @precondition(lambda self: hasattr(self, "bench"))
    @invariant()
    def explained(self) -> None:
        missing = unexplained(self.bench.machine, self.bench.now_ms)
        if missing:
            self.bench.fail("unexplained: " + "; ".join(missing))


TestNothingIsLeftUnexplained = Explained.TestCase
TestNothingIsLeftUnexplained.settings = settings(
    max_examples=120, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def test_an_idle_agent_with_a_claim_is_told_from_one_that_wants_nothing() -> None:
    bench = Bench(floor=ROAD)
    bench.hello("a")
    assert explain(bench.machine, "a", bench.now_ms) == "a is idle: it holds nothing and waits for nothing"
    who: dict[str, Any] = {"now_ms": bench.now_ms, "conn": bench.streams["a"], "agent_id": "a"}
    bench.do(ev.Claimed(**who, zones=("B", "C")))
    said = explain(bench.machine, "a", bench.now_ms)
    assert said == (
        "a claims a route of 2 zones, B first, and has not asked for the next step: "
        "it asks for B, or claims no zones when it is not going there"
    )


def test_an_agent_latched_by_a_stop_elsewhere_is_told_so() -> None:
    bench = Bench()
    bench.hello("a")
    only(bench.ask("a", "A"), fx.Granted)
    stop_id = only(bench.stop(zone="A"), fx.StopsReported).stops[0].stop_id
    bench.acknowledge("a")
    bench.clear("A")
    assert [s.stop_id for s in stops_on(bench.machine, "a")] == [stop_id]
    assert stop_id in explain(bench.machine, "a", bench.now_ms)
    assert agent_view(bench.machine, "a", bench.now_ms).stop_ids == (stop_id,)


def test_a_zone_says_who_keeps_it_and_what_would_end_that() -> None:
    bench = Bench()
    bench.hello("a")
    token = only(bench.ask("a", "A", ms=10_000), fx.Granted).token
    held = zone_view(bench.machine, "A", bench.now_ms).explanation
    assert held == "a holds A: it releases or extends within 10.1 s, or their stop group stops"
    bench.abandon("a", token, block=BlockCause.PARKED)
    assert "a is parked in A: it asks for A again" in zone_view(bench.machine, "A", bench.now_ms).explanation
    assert zone_view(bench.machine, "B", bench.now_ms).explanation == ""

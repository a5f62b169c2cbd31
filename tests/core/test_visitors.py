"""Idle agents make room for somebody who comes from off the floor: an arm that reaches in, a person at a gate."""

from __future__ import annotations

from core.bench import only
from core.test_verdicts import FLOOR, Fleet

from coordinator.core import effects as fx
from coordinator.core import events as ev
from coordinator.core.model import BlockCause, FloorSpec, ZoneSpec
from coordinator.core.routing import LOOK_MS, MAX_VISITS, YIELD_AGAIN_MS


class Yard(Fleet):
    """Notes who is asked to yield, and whereto."""

    def __init__(self, floor: FloorSpec = FLOOR) -> None:
        super().__init__(floor)
        self.asked: list[tuple[str, str]] = []

    def _deliver(self, send: fx.Send) -> None:
        super()._deliver(send)
        if isinstance(send.answer, fx.Yield):
            self.asked.append((send.agent_id, send.answer.to_zone))

    def asked_within(self, ms: int) -> list[tuple[str, str]]:
        self.asked.clear()
        for _ in range(ms // LOOK_MS):
            self.wait(LOOK_MS)
        return self.asked


def parked(agent: str, zone: str) -> Yard:
    yard = Yard()
    yard.enter(agent, zone)
    yard.abandon(agent, yard.tokens[agent, zone], block=BlockCause.PARKED)
    yard.hello("Arm")
    return yard


def test_an_idle_agent_is_asked_to_leave_the_zone_that_an_arm_waits_for() -> None:
    yard = parked("Idle", "m")
    only(yard.ask("Arm", "m"), fx.Queued)
    assert yard.asked_within(LOOK_MS) == [("Idle", "a")]
    assert yard.asked_within(LOOK_MS) == []
    assert yard.asked_within(YIELD_AGAIN_MS) == [("Idle", "a")]


def test_nobody_is_asked_to_go_where_the_arm_waits_or_another_is_bound() -> None:
    yard = parked("Idle", "m")
    yard.enter("Mover", "f1", "f2", "a")
    only(yard.ask("Arm", "m", "o"), fx.Queued)
    assert yard.asked_within(LOOK_MS) == [("Idle", "t")]


def test_nobody_is_asked_who_has_nowhere_to_go_or_has_not_said_that_it_arrived() -> None:
    yard = parked("Idle", "t")
    yard.enter("Mover", "m", "o")
    only(yard.ask("Arm", "t"), fx.Queued)
    assert yard.asked_within(LOOK_MS) == []
    busy = Yard()
    busy.hello("Busy")
    busy.abandon("Busy", only(busy.ask("Busy", "m"), fx.Granted).token, block=BlockCause.PARKED)
    busy.hello("Arm")
    only(busy.ask("Arm", "m"), fx.Queued)
    assert busy.asked_within(LOOK_MS) == []


def test_nobody_is_asked_for_an_agent_on_the_floor_that_claims_nothing_beyond_what_the_schedule_says() -> None:
    """It is on the schedule by what it asks for, so this rule leaves it alone: one request, not two."""
    yard = parked("Idle", "m")
    yard.hello("Silent")
    yard.tokens["Silent", "a"] = only(yard.ask("Silent", "a", ms=300_000), fx.Granted).token
    yard.do(ev.Asked(**yard._who("Silent"), request_id="ahead", payload="p", zones=("m",), expected_ms=10_000))
    assert len(yard.asked_within(LOOK_MS)) <= 1


def test_zones_with_idle_agents_have_their_turn_when_more_are_waited_for_than_are_looked_at_at_once() -> None:
    rows = 2 * MAX_VISITS
    names = [f"{kind}{i:02}" for i in range(rows) for kind in ("p", "q")]
    ways = [(f"p{i:02}", f"q{i:02}") for i in range(rows)]
    both = tuple(sorted(pair for a, b in ways for pair in ((a, b), (b, a))))
    yard = Yard(
        FloorSpec("rows", 1, "rows-hash", tuple(ZoneSpec(n, hold_max_ms=600_000) for n in names), neighbours=both)
    )
    for i in range(rows):
        yard.enter(f"Idle{i:02}", f"p{i:02}")
        yard.abandon(f"Idle{i:02}", yard.tokens[f"Idle{i:02}", f"p{i:02}"], block=BlockCause.PARKED)
        yard.hello(f"Arm{i:02}")
        only(yard.ask(f"Arm{i:02}", f"p{i:02}"), fx.Queued)
    first = list(yard.asked_within(LOOK_MS))
    assert len(first) == MAX_VISITS
    both_looks = [*first, *yard.asked_within(LOOK_MS)]
    assert sorted(both_looks) == [(f"Idle{i:02}", f"q{i:02}") for i in range(rows)]

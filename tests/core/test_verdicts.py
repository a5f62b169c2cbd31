"""When an unsafe ask is decided again, and who is told of a ring: on the machine, with claims."""

from __future__ import annotations

import pytest
from core.bench import Bench, only

from coordinator.core import effects as fx
from coordinator.core import events as ev
from coordinator.core.model import FloorSpec, ZoneSpec
from coordinator.core.rejections import Rejection
from coordinator.core.routing import LOOK_MS, MAX_LOOKS
from coordinator.core.verdicts import RING_TOLD_MS

WAYS = [("a", "m"), ("m", "t"), ("m", "o"), ("f1", "f2"), ("f2", "f3")]
FLOOR = FloorSpec(
    "junction",
    1,
    "junction-hash",
    tuple(ZoneSpec(name, hold_max_ms=600_000) for name in ("a", "m", "t", "o", "f1", "f2", "f3")),
    neighbours=tuple(sorted(pair for a, b in WAYS for pair in ((a, b), (b, a)))),
)
BAY_WAYS = [("a", "bay"), ("bay", "b"), ("a", "c")]
BAY = FloorSpec(
    "bay",
    1,
    "bay-hash",
    tuple(ZoneSpec(name, hold_max_ms=600_000, capacity=2 if name == "bay" else 1) for name in ("a", "b", "bay", "c")),
    neighbours=tuple(sorted(pair for a, b in BAY_WAYS for pair in ((a, b), (b, a)))),
)


LANE_WAYS = [("w", "x"), ("x", "z"), ("z", "o"), ("y", "z")]
LANE = FloorSpec(
    "lane",
    1,
    "lane-hash",
    tuple(ZoneSpec(name, hold_max_ms=600_000) for name in ("w", "x", "z", "o", "y")),
    neighbours=tuple(sorted(pair for a, b in LANE_WAYS for pair in ((a, b), (b, a)))),
)


class Fleet(Bench):
    """Agents that hold one zone each and claim their ways; counts how often the route book has to decide."""

    def __init__(self, floor: FloorSpec = FLOOR) -> None:
        super().__init__(floor=floor)
        self.tokens: dict[tuple[str, str], int] = {}
        self.decided: list[str] = []
        self.refused: list[fx.Rejected] = []
        decide = self.machine.routes.decide

        def counted(agent: str, zones: tuple[str, ...]) -> object:
            self.decided.append(agent)
            return decide(agent, zones)

        self.machine.routes.decide = counted  # type: ignore[method-assign, assignment]

    def _deliver(self, send: fx.Send) -> None:
        super()._deliver(send)
        if isinstance(send.answer, fx.Rejected):
            self.refused.append(send.answer)

    def enter(self, agent: str, zone: str, *way: str) -> None:
        self.hello(agent)
        self.tokens[agent, zone] = only(self.ask(agent, zone, ms=300_000), fx.Granted).token
        self.claim(agent, *way)

    def claim(self, agent: str, *zones: str) -> None:
        self.do(ev.Claimed(**self._who(agent), request_id="claim", zones=zones))

    def step(self, agent: str, zone: str, leaves: str) -> list[fx.Answer]:
        self.tokens[agent, zone] = only(self.ask(agent, zone, ms=300_000), fx.Granted).token
        return self.release(agent, self.tokens.pop((agent, leaves)))


@pytest.fixture
def fleet() -> Fleet:
    """First has to come out of the dead end `t` before Second, which waits for `m`, can go in."""
    fleet = Fleet()
    fleet.enter("First", "t", "m", "o")
    fleet.enter("Second", "a", "m", "t")
    fleet.enter("Far", "f1", "f2", "f3")
    waiting = only(fleet.ask("Second", "m", ms=300_000), fx.Queued)
    assert [b.kind for b in waiting.blockers] == ["UNSAFE"]
    return fleet


def test_a_verdict_is_kept_while_others_move_elsewhere(fleet: Fleet) -> None:
    fleet.decided.clear()
    fleet.step("Far", "f2", leaves="f1")
    fleet.step("Far", "f3", leaves="f2")
    fleet.claim("Far", "f2", "f1")
    assert "Second" not in fleet.decided


def test_a_waiter_is_served_as_soon_as_what_its_verdict_stood_on_is_given_back(fleet: Fleet) -> None:
    fleet.step("First", "m", leaves="t")
    served = fleet.step("First", "o", leaves="m")
    assert only(served, fx.Granted).zones == ("m",)


def test_a_waiter_is_served_as_soon_as_the_one_it_waits_for_goes_elsewhere(fleet: Fleet) -> None:
    fleet.do(ev.Claimed(**fleet._who("First"), request_id="claim", zones=()))
    fleet.decided.clear()
    fleet.claim("Second", "m", "o")
    assert "Second" in fleet.decided
    assert fleet.machine.queue.get("Second", f"r{fleet.requests}") is None  # granted: it no longer wants First's place


def test_every_waiter_is_looked_at_in_its_turn_even_if_nothing_changed(fleet: Fleet) -> None:
    fleet.decided.clear()
    for _ in range(3):
        fleet.wait(LOOK_MS)
    assert fleet.decided.count("Second") == 3
    assert MAX_LOOKS >= 3


def test_a_waiter_for_whom_a_look_found_an_order_need_not_wait_for_its_turn(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coordinator.core.routing.MAX_LOOKS", 0)
    fleet.decided.clear()
    fleet.wait(LOOK_MS)
    assert "Second" not in fleet.decided
    monkeypatch.setattr(fleet.machine.routes, "newly_able", lambda: ["Second"])
    fleet.wait(LOOK_MS)
    assert fleet.decided == ["Second"]


def test_a_ring_is_told_once_and_again_only_after_something_changed_or_a_while(fleet: Fleet) -> None:
    fleet.claim("First", "m", "a")  # now each needs the other's place
    fleet.wait(LOOK_MS)
    assert [(told.reason, told.retreat_zone) for told in fleet.refused] == [(Rejection.WOULD_DEADLOCK, "o")]
    assert [type(answer) for answer in fleet.ask("Second", "m", ms=300_000)] == [fx.Queued]
    assert [type(answer) for answer in fleet.ask("First", "m", ms=300_000)] == [fx.Queued]
    for _ in range(RING_TOLD_MS // LOOK_MS - 1):
        fleet.wait(LOOK_MS)
    assert len(fleet.refused) == 1
    fleet.wait(LOOK_MS)
    assert len(fleet.refused) == 2


def test_a_ring_that_closes_anew_is_told_at_once(fleet: Fleet) -> None:
    fleet.claim("First", "m", "a")
    fleet.wait(LOOK_MS)
    fleet.claim("Second", "m", "t")
    assert only(fleet.ask("Second", "m", ms=300_000), fx.Rejected).reason is Rejection.WOULD_DEADLOCK


def test_nobody_is_sent_to_draw_back_into_a_closed_zone(fleet: Fleet) -> None:
    fleet.shut("o")
    fleet.claim("First", "m", "a")
    fleet.wait(LOOK_MS)
    assert [(told.reason, told.retreat_zone) for told in fleet.refused] == [(Rejection.WOULD_DEADLOCK, "")]
    assert fleet.refused[0].message.endswith("plan another way")


def test_two_that_ask_past_the_bay_where_they_could_pass_are_told_to_ask_for_less() -> None:
    fleet = Fleet(BAY)
    fleet.enter("East", "a", "bay", "b")
    fleet.enter("West", "b", "bay", "a", "c")
    assert fleet.machine.routes.can_finish("East")
    assert fleet.machine.routes.can_finish("West")
    only(fleet.ask("East", "bay", "b", ms=300_000), fx.Queued)
    told = only(fleet.ask("West", "bay", "a", ms=300_000), fx.Rejected)
    assert (told.reason, told.retreat_zone) == (Rejection.WOULD_DEADLOCK, "bay")
    assert "West holds b and needs a; East holds a and needs b; ask for less at once, as far as bay" in told.message
    fleet.step("West", "bay", leaves="b")
    assert {"bay", "b"} <= fleet.inside["East"]


def test_whoever_is_not_told_at_once_to_ask_for_less_is_told_later() -> None:
    fleet = Fleet(BAY)
    fleet.enter("East", "a", "bay", "b")
    fleet.enter("West", "b", "bay", "a", "c")
    only(fleet.ask("East", "bay", "b", ms=300_000), fx.Queued)
    only(fleet.ask("West", "bay", "a", ms=300_000), fx.Rejected)
    only(fleet.ask("West", "bay", "a", ms=300_000), fx.Queued)  # it does not do as it was told
    fleet.refused.clear()
    fleet.wait(RING_TOLD_MS + 3 * LOOK_MS)
    assert [(told.reason, told.retreat_zone) for told in fleet.refused] == [(Rejection.WOULD_DEADLOCK, "bay")]


def test_whoever_a_new_verdict_waits_for_is_no_longer_bound_by_a_reservation() -> None:
    """Seed 2980: Arm keeps x for itself and needs y, where Second stands, which now must let First pass through x."""
    fleet = Fleet(LANE)
    fleet.hello("Stranger")
    held = only(fleet.ask("Stranger", "z", ms=300_000), fx.Granted).token
    fleet.enter("First", "w", "x", "z", "o")
    fleet.enter("Second", "y", "z", "x", "w")
    fleet.hello("Arm")
    only(fleet.ask("Arm", "x", "y"), fx.Queued)
    kept = only(fleet.ask("First", "x", ms=300_000), fx.Queued)
    assert [b.kind for b in kept.blockers] == ["RESERVED"]
    only(fleet.ask("Second", "z", ms=300_000), fx.Queued)  # asked later, so it is decided after First
    granted = only(fleet.release("Stranger", held), fx.Granted)
    assert granted.zones == ("x",)

"""Closed zones: nothing new is granted there, holders carry on, and somebody with a name opens them."""

from __future__ import annotations

import pytest
from core.bench import Bench, Broken, only

from coordinator.core import effects as fx
from coordinator.core import events as ev
from coordinator.core.asking import Asking
from coordinator.core.model import BlockCause, ZoneState
from coordinator.core.rejections import Refusal, Rejection
from coordinator.core.views import zone_view


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    for agent in ("a", "b"):
        bench.hello(agent)
    return bench


def shown(bench: Bench, zone: str) -> ZoneState:
    return zone_view(bench.machine, zone, bench.now_ms).state


def test_a_closed_zone_is_refused_with_who_closed_it_and_why_and_granted_once_open(bench: Bench) -> None:
    closed = only(bench.shut("A", operator="mara", reason="bearing"), fx.ZonesClosed)
    assert [(c.zone, c.closed_by, c.reason) for c in closed.closures] == [("A", "mara", "bearing")]
    assert shown(bench, "A") is ZoneState.CLOSED
    rejected = only(bench.ask("a", "A", "C"), fx.Rejected)
    assert (rejected.reason, rejected.zones) == (Rejection.CLOSED, ("A",))
    assert "closed by mara (bearing)" in rejected.message
    only(bench.ask("b", "C"), fx.Granted)
    assert only(bench.open("A", "C"), fx.ZonesOpened).zones == ("A",)
    assert shown(bench, "A") is ZoneState.FREE
    only(bench.ask("a", "A"), fx.Granted)


def test_a_holder_carries_on_extends_and_leaves(bench: Bench) -> None:
    token = only(bench.ask("a", "A", ms=5_000), fx.Granted).token
    bench.shut("A")
    assert shown(bench, "A") is ZoneState.CLOSED
    bench.report("a", "A")
    only(bench.do(ev.ExtendAsked(**bench._who("a"), token=token, expected_ms=6_000)), fx.Extended)
    bench.report("a")
    only(bench.release("a", token), fx.Released)
    assert only(bench.ask("a", "A"), fx.Rejected).reason is Rejection.CLOSED


def test_waiters_are_turned_away_when_the_zone_closes_and_others_move_up(bench: Bench) -> None:
    bench.hello("c")
    token = only(bench.ask("a", "A"), fx.Granted).token
    bench.ask("b", "A", "C")
    bench.ask("c", "C")  # kept waiting by b's reservation
    answers = bench.shut("A")
    assert only(answers, fx.Rejected).reason is Rejection.CLOSED
    assert only(answers, fx.Granted).zones == ("C",)
    bench.release("a", token)
    assert len(bench.machine.queue) == 0


def test_who_was_left_standing_in_a_closed_zone_may_ask_for_it_to_get_out(bench: Bench) -> None:
    token = only(bench.ask("a", "A"), fx.Granted).token
    bench.abandon("a", token, block=BlockCause.PARKED)
    bench.shut("A")
    assert only(bench.ask("b", "A"), fx.Rejected).reason is Rejection.CLOSED
    only(bench.ask("a", "A", "C"), fx.Granted)


def test_a_waiter_that_was_cleared_out_of_a_closed_zone_is_not_let_in_again(bench: Bench) -> None:
    parked = only(bench.ask("a", "A"), fx.Granted).token
    bench.abandon("a", parked, block=BlockCause.PARKED)
    held = only(bench.ask("b", "C"), fx.Granted).token
    bench.shut("A")
    only(bench.ask("a", "A", "C"), fx.Queued)
    bench.clear("A")
    answers = bench.release("b", held)
    assert [a.reason for a in answers if isinstance(a, fx.Rejected)] in ([Rejection.CLOSED], [])
    assert bench.machine.units.of("A")[0].agent_id != "a" or bench.machine.units.free_slots("A")
    assert len(bench.machine.queue) == 0


def test_a_closure_outlives_a_takeover_and_an_opening_does_too(bench: Bench) -> None:
    bench.shut("A")
    bench.start()
    bench.hello("a")
    assert only(bench.ask("a", "A"), fx.Rejected).reason is Rejection.CLOSED
    bench.open("A")
    bench.start()
    bench.hello("a")
    only(bench.ask("a", "A"), fx.Granted)


def test_a_zone_stays_closed_by_whoever_closed_it_first_and_areas_are_taken_apart(bench: Bench) -> None:
    bench.shut("A", operator="mara")
    again = only(bench.shut("A", operator="otto"), fx.ZonesClosed)
    assert [c.closed_by for c in again.closures] == ["mara"]
    assert [e.action for e in bench.machine.audit].count("closure") == 1


def test_closing_and_opening_are_audited_with_the_machine_that_asked(bench: Bench) -> None:
    bench.shut("A", operator="edge-press", agent_id="edge-press", reason="envelope_outer 14, usual 2")
    bench.open("A", operator="mara", reason="bearing changed")
    entries = [(e.action, e.actor, e.subjects) for e in bench.machine.audit][-2:]
    assert entries == [("closure", "edge-press", ("A",)), ("opening", "mara", ("A",))]


@pytest.mark.parametrize(
    ("changed", "refusal"),
    [
        ({"operator": " "}, Refusal.OPERATOR_REQUIRED),
        ({"reason": ""}, Refusal.REASON_REQUIRED),
    ],
)
def test_closing_needs_a_name_and_a_reason(bench: Bench, changed: dict[str, str], refusal: Refusal) -> None:
    assert only(bench.shut("A", **changed), fx.Failed).refusal is refusal
    assert only(bench.open("A", **changed), fx.Failed).refusal is refusal
    assert not bench.machine.closures


def test_an_unknown_zone_closes_nothing(bench: Bench) -> None:
    assert only(bench.shut("A", "nowhere"), fx.Failed).refusal is Refusal.UNKNOWN_ZONE
    assert not bench.machine.closures


def test_a_coordinator_that_forgets_to_look_is_found_by_the_invariants(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Asking, "_closed_to", lambda self, agent, session, zones: [])
    bench.shut("A")
    with pytest.raises(Broken, match="granted to a while A is closed"):
        bench.ask("a", "A")

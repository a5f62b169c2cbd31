"""Asks: atomic, ordered, idempotent; reservation without starvation and without deadlock by reservation."""

from __future__ import annotations

import pytest
from core.bench import Bench, only

from coordinator.core import effects as fx
from coordinator.core.model import MAX_ZONES_PER_ASK, FloorSpec, ZoneSpec
from coordinator.core.rejections import Refusal, Rejection


def bench_with(*agents: str) -> Bench:
    bench = Bench()
    for agent in agents:
        bench.hello(agent)
    return bench


def test_an_ask_gets_all_of_its_zones_or_waits_for_all() -> None:
    bench = bench_with("a", "b")
    token = only(bench.ask("a", "A"), fx.Granted).token
    queued = only(bench.ask("b", "A", "B"), fx.Queued)
    assert [(b.zone, b.kind, b.agent_id) for b in queued.blockers] == [("A", "HELD", "a")]
    granted = only(bench.release("a", token), fx.Released)
    assert granted.zones == ("A",)
    assert {u.agent_id for u in bench.machine.units.of_agent("b")} == {"b"}
    assert [u.zone for u in bench.machine.units.of_agent("b")] == ["A", "B"]


def test_a_zone_of_capacity_two_is_given_in_slots_with_rising_tokens() -> None:
    bench = bench_with("a", "b", "c")
    first = only(bench.ask("a", "X"), fx.Granted)
    second = only(bench.ask("b", "X"), fx.Granted)
    assert (first.slots, second.slots) == ((0,), (1,))
    assert second.token > first.token
    only(bench.ask("c", "X"), fx.Queued)
    only(bench.release("a", first.token), fx.Released)
    assert [u.slot for u in bench.machine.units.of_agent("c")] == [0]


def test_higher_priority_goes_first_and_arrival_decides_among_equals() -> None:
    bench = bench_with("holder", "early", "late", "urgent")
    token = only(bench.ask("holder", "A"), fx.Granted).token
    bench.ask("early", "A")
    bench.ask("late", "A")
    bench.ask("urgent", "A", priority=5)
    assert [w.agent_id for w in bench.machine.queue.in_order()] == ["urgent", "early", "late"]
    bench.release("holder", token)
    assert [u.zone for u in bench.machine.units.of_agent("urgent")] == ["A"]


def test_small_asks_cannot_starve_the_oldest_large_one() -> None:
    bench = bench_with("a", "b", "big", "small")
    first = only(bench.ask("a", "A"), fx.Granted).token
    second = only(bench.ask("b", "B"), fx.Granted).token
    only(bench.ask("big", "A", "B"), fx.Queued)
    bench.release("a", first)
    blocked = only(bench.ask("small", "A"), fx.Queued)
    assert [(b.kind, b.agent_id) for b in blocked.blockers] == [("RESERVED", "big")]
    bench.release("b", second)
    assert [u.zone for u in bench.machine.units.of_agent("big")] == ["A", "B"]


def test_a_reservation_does_not_bind_an_agent_that_must_move_first() -> None:
    bench = bench_with("a", "big", "other")
    only(bench.ask("a", "A"), fx.Granted)
    only(bench.ask("big", "A", "B"), fx.Queued)
    only(bench.ask("a", "B"), fx.Granted)  # a stands in big's way, so B is not kept from it
    assert isinstance(bench.ask("other", "C")[0], fx.Granted)


def test_a_new_wait_frees_whoever_now_stands_in_the_reservers_way() -> None:
    """Kept waits for B, reserved by big; once what stops big waits for kept, kept is let through."""
    bench = bench_with("a", "kept", "big")
    only(bench.ask("a", "A"), fx.Granted)
    only(bench.ask("kept", "C"), fx.Granted)
    only(bench.ask("big", "A", "B"), fx.Queued)
    only(bench.ask("kept", "B"), fx.Queued)
    bench.ask("a", "C")
    assert [u.zone for u in bench.machine.units.of_agent("kept")] == ["B", "C"]


def test_a_grant_frees_whoever_now_stands_in_the_reservers_way() -> None:
    bench = bench_with("a", "big", "c")
    only(bench.ask("a", "A"), fx.Granted)
    only(bench.ask("big", "A", "B", "C"), fx.Queued)
    only(bench.ask("c", "B"), fx.Queued)
    bench.ask("c", "C", priority=1)  # ahead of big, and from now on in its way
    assert [u.zone for u in bench.machine.units.of_agent("c")] == ["B", "C"]


def test_a_silent_waiter_is_passed_over_until_it_speaks() -> None:
    bench = bench_with("holder", "silent", "lively")
    token = only(bench.ask("holder", "A"), fx.Granted).token
    bench.ask("silent", "A")
    bench.ask("lively", "A")
    silent = bench.streams.pop("silent")
    bench.wait(600)
    bench.wait(600)
    bench.release("holder", token)
    assert [u.zone for u in bench.machine.units.of_agent("lively")] == ["A"]
    bench.streams["silent"] = silent
    bench.wait(1)
    bench.release("lively", bench.machine.units.of("A")[0].token)
    assert [u.zone for u in bench.machine.units.of_agent("silent")] == ["A"]


def test_a_repeat_gets_the_current_state_and_the_remaining_time() -> None:
    bench = bench_with("a", "b")
    granted = only(bench.ask("a", "A", request="r"), fx.Granted)
    assert granted.remaining_ms == 10_000
    bench.wait(4_000)
    again = only(bench.ask("a", "A", request="r"), fx.Granted)
    assert again.token == granted.token
    assert 6_000 <= again.remaining_ms <= 6_040  # what a holder may count on
    bench.release("a", granted.token)
    assert only(bench.ask("a", "A", request="r"), fx.Rejected).reason is Rejection.ALREADY_RELEASED


def test_a_repeat_is_recognised_by_the_next_coordinator() -> None:
    bench = bench_with("a")
    granted = only(bench.ask("a", "A", request="r"), fx.Granted)
    bench.start()
    bench.hello("a")
    assert only(bench.ask("a", "A", request="r"), fx.Granted).token == granted.token
    bench.release("a", granted.token)
    bench.start()
    bench.hello("a")
    assert only(bench.ask("a", "A", request="r"), fx.Rejected).reason is Rejection.ALREADY_RELEASED


def test_the_same_request_id_with_other_contents_is_refused_and_changes_nothing() -> None:
    bench = bench_with("a")
    bench.ask("a", "A", request="r")
    before = list(bench.machine.units)
    failed = only(bench.ask("a", "B", request="r"), fx.Failed)
    assert failed.refusal is Refusal.PAYLOAD_MISMATCH
    assert list(bench.machine.units) == before


@pytest.mark.parametrize(
    ("zones", "more", "refusal"),
    [
        ((), {}, Refusal.EMPTY_ASK),
        (("nowhere",), {}, Refusal.UNKNOWN_ZONE),
        (("A", "A"), {}, Refusal.DUPLICATE_ZONE),
        (("A",), {"ms": 0}, Refusal.BAD_DURATION),
        (("A",), {"ms": 60_001}, Refusal.BAD_DURATION),
        (("A",), {"priority": 10}, Refusal.BAD_PRIORITY),
    ],
)
def test_a_wrong_ask_is_refused_by_field_and_value_with_nothing_half_done(
    zones: tuple[str, ...], more: dict[str, int], refusal: Refusal
) -> None:
    bench = bench_with("a")
    assert only(bench.ask("a", *zones, **more), fx.Failed).refusal is refusal  # type: ignore[arg-type]
    assert len(bench.machine.grants) == 0
    assert len(bench.machine.queue) == 0


def test_more_than_thirty_two_zones_are_refused() -> None:
    names = tuple(f"Z{i}" for i in range(MAX_ZONES_PER_ASK + 1))
    bench = Bench(floor=FloorSpec("wide", 1, "h", tuple(ZoneSpec(n) for n in names)))
    bench.hello("a")
    assert only(bench.ask("a", *names), fx.Failed).refusal is Refusal.TOO_MANY_ZONES
    only(bench.ask("a", *names[:-1]), fx.Granted)


def test_an_agent_that_never_said_hello_is_refused() -> None:
    bench = bench_with("a")
    assert only(bench.ask("stranger", "A"), fx.Failed).refusal is Refusal.UNKNOWN_AGENT


def test_no_wait_is_answered_busy_with_who_is_in_the_way() -> None:
    bench = bench_with("a", "b")
    bench.ask("a", "A")
    busy = only(bench.ask("b", "A", no_wait=True), fx.Rejected)
    assert busy.reason is Rejection.BUSY
    assert "held by a" in busy.message
    assert len(bench.machine.queue) == 0


def test_asking_for_what_one_holds_is_rejected() -> None:
    bench = bench_with("a")
    bench.ask("a", "X")
    assert only(bench.ask("a", "X"), fx.Rejected).reason is Rejection.ALREADY_HELD


def test_waits_end_with_their_stream_and_grants_do_not() -> None:
    bench = bench_with("a", "b")
    token = only(bench.ask("a", "A"), fx.Granted).token
    bench.ask("b", "A")
    bench.close("b")
    assert len(bench.machine.queue) == 0
    bench.close("a")
    assert bench.machine.grants.get(token) is not None
    welcome = only(bench.hello("a"), fx.Welcome)
    assert [g.token for g in welcome.grants] == [token]


def test_a_second_live_session_of_an_agent_is_refused_and_the_same_session_resumes() -> None:
    bench = bench_with("a")
    token = only(bench.ask("a", "A"), fx.Granted).token
    other = only(bench.hello("a", session="stolen"), fx.Failed)
    assert other.refusal is Refusal.DUPLICATE_AGENT
    assert [g.token for g in only(bench.hello("a"), fx.Welcome).grants] == [token]


def test_another_session_of_a_vanished_agent_gets_none_of_its_grants() -> None:
    bench = bench_with("a")
    token = only(bench.ask("a", "A"), fx.Granted).token
    bench.close("a")
    welcome = only(bench.hello("a", session="rebooted"), fx.Welcome)
    assert welcome.grants == ()
    assert only(bench.release("a", token), fx.Failed).refusal is Refusal.NOT_HOLDER
    bench.inside["a"] = {"A"}
    bench.wait(11_000)
    only(bench.reset(f"deadline:{token}"), fx.Failed)  # the old session never confirmed that it stands

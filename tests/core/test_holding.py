"""Releases, extensions, ends: a zone is freed by its holder, or by an operator, and by nothing else."""

from __future__ import annotations

from core.bench import Bench, only

from coordinator.core import effects as fx
from coordinator.core import events as ev
from coordinator.core.model import BlockCause, UnitState
from coordinator.core.rejections import Refusal, Rejection


def holding(*zones: str, ms: int = 10_000) -> tuple[Bench, int]:
    bench = Bench()
    bench.hello("a")
    bench.hello("b")
    return bench, only(bench.ask("a", *zones, ms=ms), fx.Granted).token


def state(bench: Bench, zone: str) -> UnitState:
    return bench.machine.units.of(zone)[0].state


def test_zones_can_be_given_back_one_by_one() -> None:
    bench, token = holding("A", "B")
    assert only(bench.release("a", token, "A"), fx.Released).zones == ("A",)
    only(bench.ask("b", "A"), fx.Granted)
    assert only(bench.release("a", token, "B"), fx.Released).zones == ("B",)
    assert bench.machine.grants.get(token) is None


def test_a_repeated_release_is_answered_as_before_and_frees_nobody_elses_zone() -> None:
    bench, token = holding("A")
    bench.release("a", token)
    only(bench.release("a", token), fx.Released)
    only(bench.ask("b", "A"), fx.Granted)
    assert only(bench.release("a", token), fx.Failed).refusal is Refusal.STALE_TOKEN
    assert bench.machine.units.of("A")[0].agent_id == "b"


def test_a_release_said_again_after_some_of_its_zones_are_granted_anew_is_answered_as_done() -> None:
    """Its answer was lost with the leader that carried it out; an error would be the agent's to explain."""
    bench, token = holding("A", "B")
    bench.release("a", token, "A", "B")
    only(bench.ask("b", "B"), fx.Granted)
    assert only(bench.release("a", token, "A", "B"), fx.Released).zones == ("A", "B")
    assert bench.machine.units.of("B")[0].agent_id == "b"
    assert only(bench.release("a", token, "A", "C"), fx.Failed).refusal is Refusal.ZONE_NOT_IN_GRANT


def test_a_release_that_the_latest_position_contradicts_is_rejected() -> None:
    bench, token = holding("A", "B")
    bench.report("a", "B")
    assert only(bench.release("a", token), fx.Rejected).reason is Rejection.STILL_INSIDE
    only(bench.release("a", token, "A"), fx.Released)
    bench.report("a")
    only(bench.release("a", token), fx.Released)


def test_somebody_elses_token_is_refused() -> None:
    bench, token = holding("A")
    assert only(bench.release("b", token), fx.Failed).refusal is Refusal.NOT_HOLDER
    assert only(bench.release("a", token + 1), fx.Failed).refusal is Refusal.STALE_TOKEN
    assert only(bench.release("a", token, "C"), fx.Failed).refusal is Refusal.ZONE_NOT_IN_GRANT
    assert state(bench, "A") is UnitState.HELD


def test_an_abandoned_zone_stays_occupied_without_a_stop_and_its_holder_can_ask_for_it_again() -> None:
    bench, token = holding("A")
    bench.abandon("a", token)
    assert state(bench, "A") is UnitState.BLOCKED
    assert bench.wait(60_000) == []
    only(bench.ask("b", "A"), fx.Queued)
    again = only(bench.ask("a", "A"), fx.Granted)
    assert again.token > token
    bench.release("a", again.token)
    assert bench.machine.units.of("A")[0].agent_id == "b"


def test_a_declined_grant_was_never_used() -> None:
    bench, token = holding("A")
    bench.inside["a"].clear()
    bench.do(ev.Declined(now_ms=bench.now_ms, conn=bench.streams["a"], agent_id="a", token=token))
    assert state(bench, "A") is UnitState.FREE


def test_declining_a_grant_for_ones_own_residue_leaves_the_residue() -> None:
    bench, token = holding("A")
    bench.abandon("a", token, block=BlockCause.PARKED)
    again = only(bench.ask("a", "A"), fx.Granted).token
    bench.do(ev.Declined(now_ms=bench.now_ms, conn=bench.streams["a"], agent_id="a", token=again))
    unit = bench.machine.units.of("A")[0]
    assert (unit.state, unit.cause, unit.agent_id) == (UnitState.BLOCKED, BlockCause.PARKED, "a")


def test_extending_needs_fresh_telemetry_and_never_passes_the_zones_limit() -> None:
    bench, token = holding("A", ms=10_000)

    def extend(ms: int) -> fx.Answer:
        return bench.do(ev.ExtendAsked(**bench._who("a"), token=token, expected_ms=ms))[0]

    rejected = extend(5_000)
    assert isinstance(rejected, fx.Rejected)
    assert rejected.reason is Rejection.STALE_TELEMETRY
    bench.report("a", "A")
    bench.wait(1_000)
    assert isinstance(extend(20_000), fx.Extended)
    assert bench.wait(15_000) == []
    bench.report("a", "A")
    limit = extend(50_000)
    assert isinstance(limit, fx.Rejected)
    assert limit.reason is Rejection.HOLD_LIMIT
    assert isinstance(extend(30_000), fx.Extended)


def test_an_extension_never_shortens_a_hold() -> None:
    bench, token = holding("A", ms=20_000)
    bench.report("a", "A")
    bench.do(ev.ExtendAsked(**bench._who("a"), token=token, expected_ms=1_000))
    answers = bench.wait(19_000)
    assert [type(a) for a in answers] == [fx.Warned]


def test_four_fifths_of_the_time_are_warned_of_once() -> None:
    bench, token = holding("A", ms=10_000)
    assert bench.wait(7_000) == []
    assert only(bench.wait(1_200), fx.Warned).token == token
    assert bench.wait(500) == []


def test_goodbye_is_rejected_while_something_is_occupied() -> None:
    bench, token = holding("A")
    goodbye = ev.SaidGoodbye(**bench._who("a"))
    assert only(bench.do(goodbye), fx.Rejected).reason is Rejection.STILL_HOLDING
    bench.release("a", token)
    bench.do(ev.SaidGoodbye(**bench._who("a")))
    assert "a" not in bench.machine.sessions

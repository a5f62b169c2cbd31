"""Deadlines, stops, resets, clearances, cold starts and take-overs."""

from __future__ import annotations

from typing import Any

import pytest
from core.bench import FLOOR, Bench, only

from coordinator.core import effects as fx
from coordinator.core import events as ev
from coordinator.core.estop import Stops
from coordinator.core.machine import FloorChanged
from coordinator.core.model import BlockCause, FloorSpec, StopCause, StopRecord, UnitState, Vacancy, ZoneSpec
from coordinator.core.rejections import Refusal, Rejection
from coordinator.core.views import stop_view


def overdue() -> tuple[Bench, str]:
    """Agent a holds A past its time; returns the stop's id."""
    bench = Bench()
    bench.hello("a")
    bench.hello("b")
    token = only(bench.ask("a", "A", ms=1_000), fx.Granted).token
    answers = bench.wait(1_100)
    assert only(answers, fx.StopRaised).stop.stop_id == f"deadline:{token}"
    return bench, f"deadline:{token}"


def test_the_coordinators_deadline_allows_for_the_clocks_error() -> None:
    bench = Bench()
    bench.hello("a")
    bench.ask("a", "A", ms=10_000)
    bench.wait(10_099)
    assert bench.machine.stops.active() == []
    assert only(bench.wait(1), fx.Expired).zones == ("A",)


def test_an_overdue_hold_stops_its_group_and_the_zone_stays_occupied() -> None:
    bench, stop_id = overdue()
    unit = bench.machine.units.of("A")[0]
    assert (unit.state, unit.cause, unit.agent_id) == (UnitState.BLOCKED, BlockCause.OVERDUE, "a")
    rejected = only(bench.ask("b", "B"), fx.Rejected)
    assert (rejected.reason, rejected.stop_ids) == (Rejection.STOPPED, (stop_id,))
    only(bench.ask("b", "C"), fx.Granted)  # another stop group


def test_a_stop_leaves_in_the_step_itself_and_the_rest_behind_its_commit() -> None:
    bench = Bench()
    bench.hello("a")
    bench.ask("a", "A")
    step = bench.machine.handle(
        ev.StopAsked(now_ms=bench.now_ms, conn=0, operator="ann", reason="smoke", stop_id="s", floor=True)
    )
    assert [s.answer.stop.stop_id for s in step.stops if isinstance(s.answer, fx.StopRaised)] == ["s"]
    assert [type(s.answer) for s in step.sends] == [fx.StopsReported]


def test_a_late_release_is_rejected_and_never_frees() -> None:
    bench, stop_id = overdue()
    token = int(stop_id.partition(":")[2])
    assert only(bench.release("a", token), fx.Rejected).reason is Rejection.GRANT_ENDED
    assert bench.machine.units.of("A")[0].state is UnitState.BLOCKED


def test_a_stop_outlives_the_coordinator_and_only_a_named_operator_with_a_reason_ends_it() -> None:
    bench, stop_id = overdue()
    bench.acknowledge("a")
    bench.start()
    assert [s.stop_id for s in bench.machine.stops.active()] == [stop_id]
    bench.hello("a")
    bench.hello("b")
    assert only(bench.ask("b", "B"), fx.Rejected).reason is Rejection.STOPPED
    assert only(bench.reset(stop_id, operator=" "), fx.Failed).refusal is Refusal.OPERATOR_REQUIRED
    assert only(bench.reset(stop_id, reason=""), fx.Failed).refusal is Refusal.REASON_REQUIRED
    assert only(bench.reset("deadline:1"), fx.Failed).refusal is Refusal.UNKNOWN_STOP
    only(bench.reset(stop_id), fx.StopsReported)
    only(bench.ask("b", "B"), fx.Granted)


def test_a_reset_waits_until_every_occupant_is_confirmed_standing_or_cleared() -> None:
    bench, stop_id = overdue()
    failed = only(bench.reset(stop_id), fx.Failed)
    assert failed.refusal is Refusal.OCCUPANT_UNCONFIRMED
    assert "a" in failed.message
    bench.close("a")  # it vanishes: nobody can confirm for it but an operator
    only(bench.reset(stop_id), fx.Failed)
    bench.clear("A")
    only(bench.reset(stop_id), fx.StopsReported)


def test_a_reset_restarts_nothing_and_a_standing_occupant_converts_its_own_residue() -> None:
    bench, stop_id = overdue()
    bench.acknowledge("a")
    answers = bench.reset(stop_id)
    assert not any(isinstance(a, fx.Granted) for a in answers)
    assert len(bench.machine.grants) == 0
    again = only(bench.ask("a", "A"), fx.Granted)
    only(bench.release("a", again.token), fx.Released)


def test_a_stop_ends_every_grant_of_an_agent_in_scope_and_rejects_waiters() -> None:
    bench = Bench()
    for agent in ("a", "b", "c"):
        bench.hello(agent)
    only(bench.ask("a", "A"), fx.Granted)
    elsewhere = only(bench.ask("a", "C"), fx.Granted).token
    bench.ask("b", "A")
    far = only(bench.ask("c", "X"), fx.Granted).token
    answers = bench.stop(stop_group="west")
    assert [a.reason for a in answers if isinstance(a, fx.Rejected)] == [Rejection.STOPPED]
    assert bench.machine.grants.get(elsewhere) is None
    assert bench.machine.grants.get(far) is not None
    assert len(bench.machine.queue) == 0


def test_a_grant_that_nobody_was_told_of_is_taken_back_by_a_stop() -> None:
    bench = Bench()
    bench.hello("a")
    asked = ev.Asked(**bench._who("a"), request_id="r", zones=("A",), expected_ms=1_000, payload="p")
    step = bench.machine.handle(asked)
    bench.stop(zone="A")
    bench.machine.handle(ev.Committed(now_ms=bench.now_ms, upto=step.seq + 1))
    assert [bench.machine.as_of_now(s) for s in step.sends] == [None]
    assert bench.machine.units.of("A")[0].state is UnitState.FREE


def test_a_stop_is_idempotent_by_its_id_and_an_old_id_is_not_reused() -> None:
    bench = Bench()
    bench.stop(floor=True, stop_id="s")
    bench.stop(floor=True, stop_id="s")
    assert bench.machine.totals.stops == 1
    bench.reset("s")
    assert only(bench.stop(floor=True, stop_id="s"), fx.Failed).refusal is Refusal.BAD_FIELD


def test_a_stop_needs_exactly_one_known_scope() -> None:
    bench = Bench()
    assert only(bench.stop(), fx.Failed).refusal is Refusal.BAD_SCOPE
    assert only(bench.stop(zone="A", floor=True), fx.Failed).refusal is Refusal.BAD_SCOPE
    assert only(bench.stop(zone="nowhere"), fx.Failed).refusal is Refusal.UNKNOWN_ZONE
    assert only(bench.stop(stop_group="nowhere"), fx.Failed).refusal is Refusal.UNKNOWN_STOP_GROUP


def test_a_latch_that_the_ledger_never_heard_of_is_adopted() -> None:
    """The stop left, the coordinator died before its commit, the agent stands latched."""
    bench = Bench()
    bench.hello("a")
    bench.ask("a", "A")
    bench.latched["a"] = {"lost-stop"}
    bench.start()
    bench.hello("a")
    assert [s.stop_id for s in bench.machine.stops.active()] == ["lost-stop"]
    only(bench.reset("lost-stop"), fx.StopEnded)
    assert bench.latched["a"] == set()


def test_an_adopted_stop_is_widened_when_its_whole_scope_comes_to_light() -> None:
    bench = Bench()
    bench.hello("a")
    bench.ask("a", "A")
    bench.hello("b")
    only(bench.ask("b", "C"), fx.Granted)
    bench.latched["a"] = {"s"}
    bench.hello("a")
    assert bench.machine.stops.active()[0].stop_groups == ("west",)
    tripped = only(bench.stop(floor=True, stop_id="s"), fx.StopsReported).stops[0]
    assert tripped.floor
    assert bench.machine.units.of("C")[0].state is UnitState.BLOCKED
    again = only(bench.stop(zone="A", stop_id="s"), fx.StopsReported).stops[0]
    assert again.floor  # a scope never shrinks


def test_who_tripped_a_stop_and_why_comes_to_light_though_an_agent_told_of_it_first() -> None:
    bench = Bench()
    bench.hello("a")
    bench.ask("a", "A")
    bench.latched["a"] = {"s"}
    bench.hello("a")  # it heard of the stop at a standby, before that one could hand it over
    handed = StopRecord("s", StopCause.OPERATOR, False, ("west",), ("A",), "mara", "smoke")
    for _ in range(2):
        bench.do(ev.StopRecovered(now_ms=bench.now_ms, stop=handed, recorded_at="now"))
        stop = bench.machine.stops.active()[0]
        assert (stop.cause, stop.tripped_by, stop.reason) == (StopCause.OPERATOR, "mara", "smoke")
    assert [e.actor for e in bench.machine.audit if e.action == "stop"] == ["a", "mara"]


def test_acknowledging_a_stop_heard_elsewhere_ends_the_agents_grants() -> None:
    bench = Bench()
    bench.hello("a")
    bench.stop(stop_group="east", stop_id="s")
    token = only(bench.ask("a", "A"), fx.Granted).token
    bench.do(ev.StopAcked(**bench._who("a"), stop_ids=("s",)))
    assert bench.machine.grants.get(token) is None
    assert bench.machine.units.of("A")[0].state is UnitState.BLOCKED


def test_nothing_trips_on_a_tick_without_a_fresh_fence() -> None:
    bench = Bench()
    bench.hello("a")
    bench.ask("a", "A", ms=1_000)
    bench.now_ms += 5_000
    bench.do(ev.Ticked(now_ms=bench.now_ms, fence_fresh=False))
    assert bench.machine.stops.active() == []
    bench.do(ev.Ticked(now_ms=bench.now_ms))
    assert len(bench.machine.stops.active()) == 1


def test_an_inherited_deadline_counts_from_the_take_over_and_not_before_reattach_ms() -> None:
    bench = Bench()
    bench.hello("a")
    token = only(bench.ask("a", "A", ms=500), fx.Granted).token
    bench.now_ms += 100_000
    bench.start()
    bench.wait(1_999)
    assert bench.machine.stops.active() == []
    bench.wait(1)
    assert [s.stop_id for s in bench.machine.stops.active()] == [f"deadline:{token}"]


def test_a_new_ledgers_zones_are_unknown_until_a_person_looked() -> None:
    bench = Bench(assume_empty=False)
    bench.hello("a")
    queued = only(bench.ask("a", "A"), fx.Queued)
    assert [b.kind for b in queued.blockers] == ["UNKNOWN"]
    bench.clear("B")
    assert bench.machine.units.of("B")[0].state is UnitState.FREE
    answers = bench.clear(all_unknown=True)
    assert only(answers, fx.ZonesCleared).zones == ("A", "C", "X")
    only(answers, fx.Granted)
    bench.start()
    assert bench.machine.units.unknown_count == 0


def test_an_agent_that_declares_where_it_stands_blocks_the_zone_and_can_ask_for_it() -> None:
    bench = Bench(assume_empty=False)
    welcome = only(bench.hello("a", standing_zones=("A",)), fx.Welcome)
    assert welcome.blocked_zones == ("A",)
    bench.hello("b")
    assert only(bench.hello("c", standing_zones=("A",)), fx.Failed).refusal is Refusal.STANDING_CONFLICT
    bench.clear(all_unknown=True)
    only(bench.ask("b", "A"), fx.Queued)
    only(bench.ask("a", "A"), fx.Granted)


def test_clearing_refuses_live_grants_and_contradicted_zones_with_nothing_half_done() -> None:
    bench = Bench()
    bench.hello("a")
    bench.hello("b")
    token = only(bench.ask("a", "A"), fx.Granted).token
    blocked = only(bench.ask("b", "B"), fx.Granted).token
    bench.abandon("b", blocked)
    assert only(bench.clear("B", "A"), fx.Failed).refusal is Refusal.STILL_GRANTED
    assert bench.machine.units.of("B")[0].state is UnitState.BLOCKED
    bench.report("b", "B")
    assert only(bench.clear("B"), fx.Failed).refusal is Refusal.OCCUPANT_INSIDE
    bench.report("b")
    only(bench.clear(agent_id="b"), fx.ZonesCleared)
    bench.release("a", token)
    assert only(bench.clear("all"), fx.Failed).refusal is Refusal.NOTHING_TO_CLEAR


def test_safety_actions_are_audited_and_the_audit_is_bounded() -> None:
    bench, stop_id = overdue()
    bench.acknowledge("a")
    bench.reset(stop_id)
    actions = [(a.action, a.actor) for a in bench.machine.audit]
    assert actions == [("clearance", "assume-empty"), ("stop", "coordinator"), ("reset", "ann")]


def test_a_floor_with_someone_on_it_cannot_be_changed_under_them() -> None:
    bench = Bench()
    bench.hello("a")
    token = only(bench.ask("a", "A"), fx.Granted).token
    bench.floor = FloorSpec("test", 2, "other-hash", (*FLOOR.zones, ZoneSpec("D")))
    with pytest.raises(FloorChanged, match="occupied"):
        bench.start()
    bench.floor = FLOOR
    bench.start()
    bench.hello("a")
    bench.release("a", token)
    bench.floor = FloorSpec("test", 2, "other-hash", (*FLOOR.zones, ZoneSpec("D")))
    bench.start()
    bench.hello("a")
    only(bench.ask("a", "D"), fx.Granted)


def test_a_release_that_was_received_and_lost_ends_without_a_stop() -> None:
    bench = Bench()
    bench.hello("a")
    token = only(bench.ask("a", "A", ms=1_000), fx.Granted).token
    bench.start()
    bench.do(ev.ReleasesRecalled(now_ms=bench.now_ms, tokens=(token,)))
    bench.wait(5_000)
    assert bench.machine.stops.active() == []
    assert bench.machine.units.of("A")[0].state is UnitState.BLOCKED


def test_an_agent_that_is_slow_to_acknowledge_a_stop_is_named_once() -> None:
    bench = Bench()
    bench.hello("a")
    bench.ask("a", "A")
    bench.stop(zone="A")
    bench.now_ms += 1_001
    first = bench.machine.handle(ev.Ticked(now_ms=bench.now_ms))
    assert ["a did not acknowledge" in alarm for alarm in first.alarms] == [True]
    view = stop_view(bench.machine, bench.machine.stops.active()[0].stop_id, bench.now_ms)
    assert view is not None
    assert view.late == ("a",)
    assert bench.machine.handle(ev.Ticked(now_ms=bench.now_ms)).alarms == ()
    bench.acknowledge("a")
    assert bench.machine.late_to_acknowledge(bench.machine.stops.active()[0], bench.now_ms) == []


def test_whoever_was_rejected_by_a_stop_is_told_when_it_ends() -> None:
    bench, stop_id = overdue()
    bench.ask("b", "B")
    bench.acknowledge("a")
    told = [a for a in bench.reset(stop_id) if isinstance(a, fx.StopEnded)]
    assert len(told) == 2


def test_an_acknowledgement_that_crosses_the_reset_is_answered_with_the_end() -> None:
    bench, stop_id = overdue()
    bench.acknowledge("a")
    bench.reset(stop_id)
    late = ev.StopAcked(**bench._who("a"), stop_ids=(stop_id,))
    assert only(bench.do(late), fx.StopEnded).stop.stop_id == stop_id


def test_a_zone_is_not_cleared_while_a_stopped_holder_may_still_drive_into_it() -> None:
    """Its link is cut: it has not heard of the stop, and its own deadline is all that halts it."""
    bench = Bench()
    bench.hello("a")
    only(bench.ask("a", "A", "B", ms=10_000), fx.Granted)
    bench.close("a")
    bench.stop(zone="A", stop_id="s")
    bench.now_ms += 4_000
    assert only(bench.clear("B"), fx.Failed).refusal is Refusal.HOLDER_MAY_MOVE
    bench.start()  # the next coordinator knows too, and counts from its take-over
    assert only(bench.clear("B"), fx.Failed).refusal is Refusal.HOLDER_MAY_MOVE
    bench.now_ms += 10_101
    only(bench.clear("B"), fx.ZonesCleared)


def test_a_stopped_holder_that_confirms_standing_can_be_cleared_at_once() -> None:
    bench = Bench()
    bench.hello("a")
    only(bench.ask("a", "A", ms=10_000), fx.Granted)
    bench.stop(zone="A", stop_id="s")
    bench.acknowledge("a")
    only(bench.clear("A"), fx.ZonesCleared)


# -- revoking ----------------------------------------------------------------------------------------------------------


def revoke(bench: Bench, *, operator: str = "ann", **target: Any) -> list[fx.Answer]:
    return bench.do(ev.RevokeAsked(now_ms=bench.now_ms, conn=0, operator=operator, reason="maintenance", **target))


def test_a_revoked_grant_is_held_until_its_holder_confirms() -> None:
    bench = Bench()
    bench.hello("a")
    bench.hello("b")
    token = only(bench.ask("a", "A"), fx.Granted).token
    bench.ask("b", "A")
    answers = revoke(bench, token=token)
    assert only(answers, fx.Revoked).zones == ("A",)
    assert only(answers, fx.GrantsRevoked).tokens == (token,)
    assert bench.machine.units.of("A")[0].agent_id == "a"
    bench.report("a", "A")
    extend = ev.ExtendAsked(**bench._who("a"), token=token, expected_ms=1_000)
    assert only(bench.do(extend), fx.Rejected).reason is Rejection.REVOKED
    bench.start()  # the revocation is durable
    assert only(bench.hello("a"), fx.Revoked).token == token
    bench.report("a", "A")
    assert only(bench.do(extend_again(bench, token)), fx.Rejected).reason is Rejection.REVOKED
    bench.report("a")
    only(bench.release("a", token), fx.Released)


def extend_again(bench: Bench, token: int) -> ev.ExtendAsked:
    return ev.ExtendAsked(**bench._who("a"), token=token, expected_ms=1_000)


def test_a_revoked_holder_that_stands_leaves_the_zone_blocked() -> None:
    bench = Bench()
    bench.hello("a")
    token = only(bench.ask("a", "A", "X"), fx.Granted).token
    revoke(bench, agent_id="a")
    bench.abandon("a", token, block=BlockCause.ABANDONED)
    assert {u.state for u in bench.machine.units.of_agent("a")} == {UnitState.BLOCKED}


def test_a_revocation_names_its_operator_and_a_live_grant() -> None:
    bench = Bench()
    assert only(revoke(bench, token=7), fx.Failed).refusal is Refusal.NOTHING_TO_REVOKE
    assert only(revoke(bench, token=7, agent_id="a"), fx.Failed).refusal is Refusal.BAD_FIELD
    assert only(revoke(bench, token=7, operator=""), fx.Failed).refusal is Refusal.OPERATOR_REQUIRED


# -- proof of vacancy --------------------------------------------------------------------------------------------------

PROVABLE = FloorSpec(
    "test", 1, "provable", (ZoneSpec("A", vacancy=Vacancy.HOLDER), ZoneSpec("B", vacancy=Vacancy.OPERATOR))
)


def blocked(*zones: str) -> tuple[Bench, int]:
    bench = Bench(floor=PROVABLE)
    bench.hello("a")
    token = only(bench.ask("a", *zones), fx.Granted).token
    bench.abandon("a", token)
    return bench, token


def prove(bench: Bench, token: int) -> list[fx.Answer]:
    return bench.do(ev.ProofAsked(**bench._who("a"), token=token))


def sample(bench: Bench, nonce: int, *inside: str, after_ms: int = 100) -> list[fx.Answer]:
    bench.now_ms += after_ms
    if "A" not in inside and not inside:
        bench.inside["a"].clear()
    return bench.do(ev.Reported(**bench._who("a"), inside=inside, nonce=nonce))


def test_a_holder_proves_that_it_left_with_fresh_reports_from_outside() -> None:
    bench, token = blocked("A")
    challenged = only(prove(bench, token), fx.Challenged)
    assert challenged.nonce > token
    for _ in range(challenged.samples - 1):
        assert sample(bench, challenged.nonce) == []
    assert bench.machine.units.of("A")[0].state is UnitState.BLOCKED
    assert only(sample(bench, challenged.nonce), fx.Released).zones == ("A",)
    assert bench.machine.units.of("A")[0].state is UnitState.FREE


def test_reports_without_the_nonce_or_too_close_together_prove_nothing() -> None:
    bench, token = blocked("A")
    nonce = only(prove(bench, token), fx.Challenged).nonce
    for _ in range(10):
        sample(bench, nonce - 1)  # a replayed log cannot know the nonce
    for _ in range(10):
        sample(bench, nonce, after_ms=1)
    assert bench.machine.units.of("A")[0].state is UnitState.BLOCKED


def test_one_report_from_inside_ends_the_proof() -> None:
    bench, token = blocked("A")
    nonce = only(prove(bench, token), fx.Challenged).nonce
    sample(bench, nonce)
    sample(bench, nonce, "A")
    for _ in range(5):
        sample(bench, nonce)
    assert bench.machine.units.of("A")[0].state is UnitState.BLOCKED


def test_where_the_policy_wants_an_operator_no_proof_is_taken() -> None:
    bench, token = blocked("A", "B")
    rejected = only(prove(bench, token), fx.Rejected)
    assert (rejected.reason, rejected.zones) == (Rejection.GRANT_ENDED, ("B",))


def test_a_proof_that_ends_early_says_why() -> None:
    bench, token = blocked("A")
    nonce = only(prove(bench, token), fx.Challenged).nonce
    over = only(sample(bench, nonce, "A"), fx.Rejected)
    assert (over.reason, over.zones, over.token) == (Rejection.STILL_INSIDE, ("A",), token)
    assert sample(bench, nonce) == []  # that nonce counts no more
    again = only(prove(bench, token), fx.Challenged).nonce
    bench.clear("A")
    over = only(sample(bench, again), fx.Rejected)
    assert (over.reason, over.zones, over.token) == (Rejection.GRANT_ENDED, (), token)


def test_another_session_of_the_agent_proves_nothing() -> None:
    bench, token = blocked("A")
    bench.close("a")
    bench.hello("a", session="rebooted")
    assert only(prove(bench, token), fx.Failed).refusal is Refusal.NOT_HOLDER


def halves() -> tuple[Bench, fx.Step]:
    """A stop of the group where a holds A and b waits for it, b has a grant for B that nobody was told of yet, and c
    holds X elsewhere: latched and told, and no further.
    """
    bench = Bench(stops_first=True)
    for agent in "abc":
        bench.hello(agent)
    bench.ask("a", "A", ms=8_000)
    bench.ask("c", "X", ms=30_000)
    bench.ask("b", "A")
    bench.do(ev.Asked(**bench._who("b"), request_id="late", zones=("B",), expected_ms=9_000, payload=""), commit=False)
    return bench, bench.machine.handle(bench.stop_asked(zone="A", stop_id="s"), stops_first=True)


def test_a_stop_is_told_before_anything_that_it_covers_is_gone_through() -> None:
    bench, step = halves()
    assert [s.agent_id for s in step.stops] == ["a", "b"]
    assert [w.key for w in step.writes] == ["stop/s", "audit/0000000000000002"]
    assert [s.stop_id for s in bench.machine.winding_down] == ["s"]
    assert bench.machine.units.of("A")[0].state is UnitState.HELD
    step = bench.machine.handle(ev.WindDown(now_ms=bench.now_ms))
    assert {w.key for w in step.writes} >= {"unit/A/0", "unit/B/0"}
    assert step.stops == ()
    assert bench.machine.winding_down == []
    assert bench.machine.units.of("A")[0].state is UnitState.BLOCKED
    assert bench.machine.units.of("B")[0].state is UnitState.FREE  # nobody knew of it
    assert bench.machine.units.of("X")[0].state is UnitState.HELD


@pytest.mark.parametrize("event", ["commit", "ask", "release", "extend", "tick", "reset", "clear", "goodbye"])
def test_whatever_comes_between_the_halves_of_a_stop_meets_it_whole(event: str) -> None:
    """It is decided as if the stop had been handled in one."""
    outcomes = []
    for whole in (True, False):
        bench, _ = halves()
        machine, now_ms = bench.machine, bench.now_ms
        token = machine.units.of("A")[0].token
        a, b = bench._who("a"), bench._who("b")
        follower: ev.Event = {
            "commit": ev.Committed(now_ms=now_ms, upto=machine.seq),
            "ask": ev.Asked(**b, request_id="n", zones=("C",), expected_ms=1_000, payload=""),
            "release": ev.Released(**a, token=token),
            "extend": ev.ExtendAsked(**a, token=token, expected_ms=5_000, request_id="e"),
            "tick": ev.Ticked(now_ms=now_ms + 20_000),
            "reset": ev.ResetAsked(now_ms=now_ms, conn=0, operator="ann", reason="looked", stop_ids=("s",)),
            "clear": ev.ClearAsked(now_ms=now_ms, conn=0, operator="ann", reason="looked", agent_id="a"),
            "goodbye": ev.SaidGoodbye(**b),
        }[event]
        steps = [machine.handle(ev.WindDown(now_ms=follower.now_ms))] if whole else []
        steps.append(machine.handle(follower, stops_first=True))
        assert machine.winding_down == []
        outcomes.append(
            (
                sorted(machine.units, key=lambda u: u.key),
                [g.token for g in machine.grants.all()],
                [s.answer for step in steps for s in step.sends],
                [w for step in steps for w in step.writes],
            )
        )
    assert outcomes[0] == outcomes[1]
    assert not any(isinstance(answer, (fx.Released, fx.Extended, fx.Expired)) for answer in outcomes[1][2])


def test_a_grant_under_a_stop_that_was_told_and_never_wound_down_is_ended_by_the_next_coordinator() -> None:
    """Its holder may not have heard, and may still move on the grant's own time: nobody is let in before that."""
    bench = Bench(stops_first=True)
    bench.hello("a")
    bench.ask("a", "A", ms=5_000)
    bench.do_and_crash(bench.stop_asked(zone="A", stop_id="s"))
    assert bench.kept["unit/A/0"].state is UnitState.BLOCKED
    assert bench.machine.grants.all() == []
    assert only(bench.clear("A"), fx.Failed).refusal is Refusal.HOLDER_MAY_MOVE
    bench.start()
    assert only(bench.clear("A"), fx.Failed).refusal is Refusal.HOLDER_MAY_MOVE
    bench.wait(5_051)
    assert only(bench.clear("A"), fx.ZonesCleared).zones == ("A",)


def test_a_stop_that_never_wound_down_ends_what_its_agents_hold_elsewhere_at_the_next_coordinator() -> None:
    """Seed 25727: the overdue holder went on under a grant outside the scope, latched."""
    bench = Bench(stops_first=True)
    bench.hello("a")
    bench.hello("b")
    bench.ask("a", "A", ms=5_000)
    bench.ask("a", "C", ms=30_000)
    bench.ask("b", "X", ms=30_000)
    bench.do_and_crash(bench.stop_asked(zone="A", stop_id="s"))
    assert bench.machine.units.of("C")[0].state is UnitState.BLOCKED
    assert bench.machine.units.of("X")[0].state is UnitState.HELD
    assert only(bench.clear("C"), fx.Failed).refusal is Refusal.HOLDER_MAY_MOVE


@pytest.mark.parametrize("floor", [False, True])
@pytest.mark.parametrize("groups", [(), ("west",), ("east",), ("west", "east"), ("gone",)])
@pytest.mark.parametrize("zones", [(), ("A",), ("C", "X"), ("A", "X"), ("nowhere",)])
def test_the_zones_of_a_stop_are_those_that_it_covers(
    floor: bool, groups: tuple[str, ...], zones: tuple[str, ...]
) -> None:
    stops = Stops(FLOOR, ())
    stop = StopRecord("s", StopCause.OPERATOR, floor, groups, zones, "ann", "test")
    assert stops.zones_in(stop) == [z.name for z in FLOOR.zones if stops.covers(stop, z.name)]

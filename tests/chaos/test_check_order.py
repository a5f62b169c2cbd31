"""The checkers of I4, I5, I6 and I9 refuse illegal histories made by hand, and let the legal ones beside them pass."""

from __future__ import annotations

import pytest
from planted.cases import Cases, Made, must_accept, must_refuse
from planted.hand import Hand, held, unit

CASES = Cases()
illegal, legal = CASES.illegal, CASES.legal

# -- I4 ------------------------------------------------------------------------------------------------------------


@illegal("I4", "before a commit that c1 knows of")
def granted_before_the_commit() -> Hand:
    return Hand().confirmed().step(held("A", "V1", 1)).emit("V1", "granted", token=1, zones=["A"], slots=[0])


@illegal("I4", "before a commit that c1 knows of")
def granted_on_a_commit_whose_answer_was_lost() -> Hand:
    h = Hand().confirmed().commit(held("A", "V1", 1), outcome="lost", applied=True, txn=3)
    return h.emit("V1", "granted", token=1, zones=["A"], slots=[0])


@illegal("I4", "still holds it")
def released_before_the_commit() -> Hand:
    h = Hand().confirmed().grant("V1", 1, "A").send("V1", "release", token=1).step(unit("A", "FREE", "V1", 1))
    return h.emit("V1", "released", token=1, zones=["A"])


@illegal("I4", "extended before the commit")
def extended_before_the_commit() -> Hand:
    h = Hand().confirmed().grant("V1", 1, "A").commit(upto=4, run=1)
    h.event("ExtendAsked", "V1", seq=5, run=None, token=1)
    return h.emit("V1", "extended", token=1, expected_ms=5_000, run=1)


@illegal("I4", "has it active")
def end_of_a_stop_told_before_the_commit() -> Hand:
    h = Hand().leads().commit(stops=[{"stop_id": "s-1", "active": True}]).person("reset", stop_ids=["s-1"])
    return h.emit("V1", "stop_ended", stop_id="s-1")


@illegal("I4", "only after its commit")
def stop_waits_for_its_commit() -> Hand:
    stops = [{"stop_id": "s-1", "active": True}]
    h = Hand().leads().step(stops=stops, stop_to=["V1"]).commit(stops=stops)
    return h.emit("V1", "stop_raised", stop_id="s-1", stop=True)


@illegal("I4", "while epoch 2 has begun")
def deposed_leader_commits() -> Hand:
    return Hand().leads("c1", 1).leads("c2", 2).commit(held("A", "V1", 1), coord="c1", epoch=1)


@illegal("I4", "what was loaded is not what is decided on")
def lost_transaction_applies_after_the_load() -> Hand:
    h = Hand().leads().commit(held("A", "V1", 1), outcome="lost", txn=9).leads(epoch=2)
    return h.commit(held("A", "V1", 1), outcome="late", txn=9)


@illegal("I4", "which someone else changed")
def foreign_change_overwritten() -> Hand:
    return Hand().leads().fault("foreign_write", keys=["unit/A/0"]).commit(held("A", "V1", 1))


@illegal("I4", "before step 7 was committed")
def answer_ahead_of_its_step() -> Hand:
    return Hand().leads().commit(upto=6, run=1).emit("V1", "expired", token=1, zones=["A"], seq=7, run=1)


@illegal("I4", "no commit has held it")
def a_grant_arrives_that_was_never_durable() -> Hand:
    return Hand().confirmed().deliver("V1", "granted", token=1, zones=["A"], slots=[0])


@legal("I4")
def granted_after_a_reload_that_found_it() -> Hand:
    h = Hand().confirmed().commit(held("A", "V1", 1), outcome="lost", applied=True, txn=3).leads(epoch=2)
    return h.emit("V1", "welcome", grants=[{"token": 1, "zones": ["A"], "slots": [0]}])


@legal("I4")
def stop_leaves_and_is_committed_after() -> Hand:
    stops = [{"stop_id": "s-1", "active": True}]
    h = Hand().leads().step(stops=stops, stop_to=["V1"]).emit("V1", "stop_raised", stop_id="s-1", stop=True)
    return h.commit(stops=stops)


@legal("I4")
def lost_transaction_never_applies() -> Hand:
    return Hand().confirmed().commit(held("A", "V1", 1), outcome="lost", txn=9, applied=False).leads(epoch=2)


@legal("I4")
def deposed_leader_is_refused() -> Hand:
    h = Hand().confirmed().leads("c2", 2).commit(held("A", "V1", 1), coord="c1", outcome="refused")
    return h.commit(held("A", "V2", 2), coord="c2", epoch=2)


# -- I5 ------------------------------------------------------------------------------------------------------------

S1 = {"stop_id": "s-1", "active": True, "groups": ["west"]}
S1_ENDED = {"stop_id": "s-1", "active": False, "groups": ["west"], "reset_by": "ann", "reset_reason": "looked"}


@illegal("I5", "no named operator asked")
def stop_ends_by_itself() -> Hand:
    return Hand().leads().commit(stops=[S1]).commit(stops=[S1_ENDED])


@illegal("I5", "no named operator asked")
def reset_without_a_name() -> Hand:
    h = Hand().leads().commit(stops=[S1]).person("reset", operator=" ", stop_ids=["s-1"])
    return h.commit(stops=[S1_ENDED])


@illegal("I5", "no named operator asked")
def reset_of_another_stop() -> Hand:
    return Hand().leads().commit(stops=[S1]).person("reset", stop_ids=["s-2"]).commit(stops=[S1_ENDED])


@illegal("I5", "forgotten while active")
def active_stop_forgotten() -> Hand:
    gone = {"stop_id": "s-1", "active": False, "deleted": True}
    return Hand().leads().commit(stops=[S1]).commit(stops=[gone])


@illegal("I5", "is active again")
def ended_stop_returns() -> Hand:
    h = Hand().leads().commit(stops=[S1]).person("reset", stop_ids=["s-1"]).commit(stops=[S1_ENDED])
    return h.commit(stops=[S1])


@illegal("I5", "which stop s-1 covers")
def granted_in_a_stopped_group() -> Hand:
    h = Hand().leads().step(stops=[S1]).commit(held("B", "V1", 1), stops=[S1])
    return h.emit("V1", "granted", token=1, zones=["B"], slots=[0])


@illegal("I5", "while latched by s-1")
def granted_elsewhere_while_latched() -> Hand:
    h = Hand().leads().step(stops=[S1], stop_to=["V1"]).emit("V1", "stop_raised", stop_id="s-1", stop=True)
    h.commit(held("C", "V1", 1), stops=[S1])
    return h.emit("V1", "granted", token=1, zones=["C"], slots=[0])


@illegal("I5", "moves while latched")
def moves_while_latched() -> Hand:
    return Hand().hears_stop("V1", "s-1").at(100).body("V1", "start")


@illegal("I5", "still moves")
def does_not_stop() -> Hand:
    h = Hand().agent("V1", "boot", stop_ms=200).body("V1", "start").at(1_000).hears_stop("V1", "s-1")
    return h.at(1_300).commit()


@illegal("I5", "without a grant that came later")
def reset_restarts_motion() -> Hand:
    h = Hand().leads().hears_stop("V1", "s-1").commit(stops=[S1]).person("reset", stop_ids=["s-1"])
    h.commit(stops=[S1_ENDED]).deliver("V1", "stop_ended", stop_id="s-1").agent("V1", "unlatched", stop_id="s-1")
    return h.body("V1", "start")


@illegal("I5", "takes stop s-1 as ended")
def agent_unlatches_by_itself() -> Hand:
    return Hand().hears_stop("V1", "s-1").agent("V1", "unlatched", stop_id="s-1")


@illegal("I5", "was lost")
def stop_forgotten_with_its_core() -> Hand:
    h = Hand().leads().emit("V1", "stop_raised", stop_id="s-1", stop=True).hears_stop("V1", "s-1")
    return h.at(5_000).liveness(1_000).at(9_000).add("nemesis", "phase", name="end")


@legal("I5")
def reset_and_asked_again() -> Hand:
    h = Hand().confirmed().hears_stop("V1", "s-1").commit(stops=[S1]).person("reset", stop_ids=["s-1"])
    h.commit(stops=[S1_ENDED]).emit("V1", "stop_ended", stop_id="s-1").deliver("V1", "stop_ended", stop_id="s-1")
    h.agent("V1", "unlatched", stop_id="s-1").grant("V1", 1, "A")
    return h.body("V1", "start").body("V1", "stop")


@legal("I5")
def comes_to_a_stand_in_time() -> Hand:
    h = Hand().confirmed().agent("V1", "boot", stop_ms=300).body("V1", "start").at(1_000).hears_stop("V1", "s-1")
    return h.at(1_340).body("V1", "stop").at(3_000).commit()


@legal("I5")
def granted_beside_a_stopped_group() -> Hand:
    h = Hand().confirmed().step(stops=[S1]).commit(stops=[S1])
    return h.grant("V2", 1, "C")


@legal("I5")
def stop_overtaken_by_its_own_reset() -> Hand:
    """A stop that was slow on its way arrives after the reset; its end follows it."""
    h = Hand().confirmed().step(stops=[S1]).commit(stops=[S1]).person("reset", stop_ids=["s-1"])
    h.step(stops=[S1_ENDED]).commit(stops=[S1_ENDED]).hears_stop("V1", "s-1")
    return h.deliver("V1", "stop_ended", stop_id="s-1").grant("V1", 1, "A").body("V1", "start").body("V1", "stop")


# -- I6 ------------------------------------------------------------------------------------------------------------


def overdue(token: int) -> dict[str, object]:
    return {"stop_id": f"deadline:{token}", "active": True, "cause": "OVERDUE", "groups": ["west"]}


@illegal("I6", "was over at 5000 ms by any clock")
def cut_off_holder_drives_on() -> Hand:
    h = Hand().send("V1", "ask", frame=1, conn=1)
    h.deliver("V1", "granted", token=1, zones=["A"], conn=1, echo_frame=1, remaining_ms=5_000)
    return h.body("V1", "start").at(5_100).commit()


@illegal("I6", "has tripped nothing")
def overdue_hold_goes_unnoticed() -> Hand:
    return Hand().confirmed().ticks(500).grant("V1", 1, "A", ms=2_000).ticks(3_000)


@illegal("I6", "before its time is over")
def tripped_too_early() -> Hand:
    h = Hand().confirmed().grant("V1", 1, "A", ms=5_000).ticks(4_000)
    return h.step(unit("A", "BLOCKED", "V1", 1, cause="OVERDUE"), stops=[overdue(1)])


@illegal("I6", "before its time is over")
def inherited_hold_tripped_at_once() -> Hand:
    h = Hand().confirmed().grant("V1", 1, "A", ms=1_000).at(900).leads("c2", 2).ticks(1_200, coord="c2", epoch=2)
    return h.step(unit("A", "BLOCKED", "V1", 1, cause="OVERDUE"), coord="c2", stops=[overdue(1)])


@illegal("I6", "while its body moves")
def tripped_under_a_moving_holder() -> Hand:
    h = Hand().confirmed().at(400).send("V1", "ask", frame=1, conn=1)
    h.grant("V1", 1, "A", ms=2_000, conn=1, echo_frame=1).body("V1", "start").ticks(2_403)
    return h.step(unit("A", "BLOCKED", "V1", 1, cause="OVERDUE"), stops=[overdue(1)])


@illegal("I6", "no stop is tripped")
def overdue_and_nobody_stopped() -> Hand:
    h = Hand().confirmed().grant("V1", 1, "A", ms=1_000).ticks(1_015)
    return h.step(unit("A", "BLOCKED", "V1", 1, cause="OVERDUE"))


@legal("I6")
def tripped_in_time() -> Hand:
    h = Hand().confirmed().ticks(500).grant("V1", 1, "A", ms=2_000).ticks(2_510)
    stops = [overdue(1)]
    blocked = unit("A", "BLOCKED", "V1", 1, cause="OVERDUE")
    return h.step(blocked, stops=stops).commit(blocked, stops=stops).ticks(4_000)


@legal("I6")
def tripped_late_after_a_gap_in_the_commits() -> Hand:
    h = Hand().confirmed().ticks(500).grant("V1", 1, "A", ms=2_000).ticks(1_500).at(4_000).commit().at(4_010)
    stops = [overdue(1)]
    blocked = unit("A", "BLOCKED", "V1", 1, cause="OVERDUE")
    return h.step(blocked, stops=stops).commit(blocked, stops=stops)


@legal("I6")
def extended_in_time() -> Hand:
    h = Hand().confirmed().ticks(100).send("V1", "ask", frame=1, conn=1)
    h.grant("V1", 1, "A", ms=2_000, conn=1, echo_frame=1).body("V1", "start").ticks(1_500)
    h.send("V1", "extend", frame=2, conn=1, token=1).step(held("A", "V1", 1, ms=3_000))
    h.commit(held("A", "V1", 1, ms=3_000)).emit("V1", "extended", token=1, expected_ms=2_970)
    h.deliver("V1", "extended", token=1, conn=1, echo_frame=2, remaining_ms=2_970).ticks(4_000)
    h.body("V1", "stop").send("V1", "release", token=1).commit(unit("A", "FREE", "V1", 1))
    return h.ticks(6_000)


@legal("I6")
def released_in_time_and_drives_on() -> Hand:
    h = Hand().confirmed().send("V1", "ask", frame=1, conn=1)
    h.grant("V1", 1, "A", ms=2_000, conn=1, echo_frame=1).body("V1", "start").ticks(1_500)
    h.send("V1", "release", token=1).commit(unit("A", "FREE", "V1", 1))
    return h.ticks(4_000)


@legal("I6")
def inherited_hold_has_time_to_come_back() -> Hand:
    h = Hand().confirmed().grant("V1", 1, "A", ms=1_000).at(900).leads("c2", 2).ticks(2_910, coord="c2", epoch=2)
    stops = [overdue(1)]
    blocked = unit("A", "BLOCKED", "V1", 1, cause="OVERDUE")
    return h.step(blocked, coord="c2", stops=stops).commit(blocked, coord="c2", epoch=2, stops=stops)


@legal("I6")
def a_declined_grant_that_is_told_again() -> Hand:
    h = Hand().confirmed().send("V1", "ask", frame=1, conn=1)
    h.grant("V1", 1, "A", ms=2_000, conn=1, echo_frame=1).send("V1", "decline", token=1)
    h.deliver("V1", "granted", token=1, zones=["A"], conn=1, echo_frame=1, remaining_ms=1_990)
    h.commit(unit("A", "FREE", "V1", 1)).grant("V1", 2, "B", ms=9_000)
    return h.body("V1", "start").body("V1", "enter", "B").ticks(4_000)


@legal("I6")
def drives_on_in_the_next_zone_when_the_time_of_the_last_one_ends() -> Hand:
    h = Hand().confirmed().send("V1", "ask", frame=1, conn=1).grant("V1", 1, "A", ms=2_000, conn=1, echo_frame=1)
    h.body("V1", "enter", "A").grant("V1", 2, "B", ms=9_000).body("V1", "start").body("V1", "enter", "B")
    h.body("V1", "leave", "A").ticks(2_010)
    stops = [overdue(1)]
    blocked = unit("A", "BLOCKED", "V1", 1, cause="OVERDUE")
    return h.step(blocked, stops=stops).commit(blocked, stops=stops)


# -- I9 ------------------------------------------------------------------------------------------------------------


@illegal("I9", "V1 has waited")
def waits_beyond_the_bound() -> Hand:
    h = Hand().confirmed().send("V1", "ask", request_id="r1", zones=["A"]).liveness(1_000)
    return h.ticks(3_000)


@illegal("I9", "V2 waits for A")
def two_wait_for_each_other() -> Hand:
    h = Hand().confirmed().grant("V1", 1, "A", ms=60_000).grant("V2", 2, "B", ms=60_000)
    h.send("V1", "ask", request_id="r1", zones=["B"]).send("V2", "ask", request_id="r2", zones=["A"])
    return h.liveness(1_000).ticks(2_500)


@illegal("I9", "V1 has waited")
def rejected_and_asks_again_and_again() -> Hand:
    h = Hand().confirmed().liveness(3_000)
    for number in range(8):
        h.at(number * 1_000).send("V1", "ask", request_id=f"r{number}", zones=["A"])
        h.at(number * 1_000 + 500).deliver("V1", "rejected", request_id=f"r{number}", reason="BUSY")
    return h.send("V1", "ask", request_id="last", zones=["A"]).commit()


@illegal("I9", "stop s-1 is active")
def stop_that_nobody_resets() -> Hand:
    h = Hand().confirmed().commit(stops=[S1]).send("V1", "ask", request_id="r1", zones=["A"])
    return h.liveness(1_000).ticks(3_000)


@legal("I9")
def served_within_the_bound() -> Hand:
    h = Hand().confirmed().send("V1", "ask", request_id="r1", zones=["A"]).liveness(1_000).at(900)
    return h.grant("V1", 1, "A", request_id="r1").ticks(5_000)


@legal("I9")
def waits_long_while_faults_last() -> Hand:
    h = Hand().confirmed().send("V1", "ask", request_id="r1", zones=["A"]).ticks(60_000).liveness(1_000)
    return h.ticks(60_900).grant("V1", 1, "A", request_id="r1")


@legal("I9")
def waits_for_a_place_where_somebody_parks() -> Hand:
    h = Hand().confirmed().event("Hello", "P1").commit(unit("A", "BLOCKED", "P1", 1, cause="PARKED"))
    return h.send("V1", "ask", request_id="r1", zones=["A"]).liveness(1_000).ticks(5_000)


@legal("I9")
def gives_up() -> Hand:
    h = Hand().confirmed().send("V1", "ask", request_id="r1", zones=["A"]).liveness(1_000).at(500)
    h.send("V1", "cancel", request_id="r1").deliver("V1", "cancelled", request_id="r1")
    return h.ticks(20_000)


# -- the tests -----------------------------------------------------------------------------------------------------


@CASES.of_refused()
def test_an_illegal_history_is_refused_in_words(invariant: str, says: str, made: Made) -> None:
    must_refuse(invariant, says, made)


@CASES.of_accepted()
def test_a_legal_history_is_accepted_by_every_checker(made: Made) -> None:
    must_accept(made)


@pytest.mark.parametrize("invariant", ["I4", "I5", "I6", "I9"])
def test_each_checker_has_three_illegal_histories_and_a_near_miss(invariant: str) -> None:
    refused, accepted = CASES.shares(invariant)
    assert refused >= 3
    assert accepted >= 1

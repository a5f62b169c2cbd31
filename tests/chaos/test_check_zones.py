"""The checkers of I1, I2 and I3 refuse illegal histories made by hand, and let the legal ones beside them pass."""

from __future__ import annotations

import pytest
from planted.cases import Cases, Made, must_accept, must_refuse
from planted.hand import Hand, held, unit

CASES = Cases()
illegal, legal = CASES.illegal, CASES.legal

# -- I1 ------------------------------------------------------------------------------------------------------------


@illegal("I1", "inside V1")
def two_bodies_in_a_zone_for_one() -> Hand:
    h = Hand().granted("V1", 1, "A").body("V1", "enter", "A")
    return h.granted("V2", 2, "A").body("V2", "enter", "A")


@illegal("I1", "V2 may enter A")
def granted_while_somebody_may_still_enter() -> Hand:
    return Hand().granted("V1", 1, "A").at(50).granted("V2", 2, "A")


@illegal("I1", "was never told that it may")
def body_enters_without_a_grant() -> Hand:
    return Hand().body("V1", "enter", "A")


@illegal("I1", "had to stand since")
def body_enters_after_its_time() -> Hand:
    h = Hand().send("V1", "ask", frame=1, conn=1)
    h.granted("V1", 1, "A", echo_frame=1, conn=1, remaining_ms=1_000)
    return h.at(1_500).body("V1", "enter", "A")


@illegal("I1", "slot 1")
def a_slot_that_does_not_exist() -> Hand:
    return Hand().step(held("A", "V1", 1, slot=1))


@illegal("I1", "inside V1, V2; may enter besides: V3")
def third_body_in_a_zone_for_two() -> Hand:
    h = Hand()
    for number, agent in enumerate(("V1", "V2", "V3"), 1):
        h.granted(agent, number, "X").body(agent, "enter", "X")
    return h


@illegal("I1", "inside P1")
def a_declared_occupant_is_overlooked() -> Hand:
    h = Hand().body("P1", "enter", "A", by="people").commit(unit("A", "BLOCKED", "P1", 1, cause="DECLARED"))
    return h.granted("V2", 2, "A")


@legal("I1")
def next_one_enters_after_a_release() -> Hand:
    h = Hand().confirmed().grant("V1", 1, "A").body("V1", "enter", "A").at(10).body("V1", "leave", "A")
    h.send("V1", "release", token=1).commit(unit("A", "FREE", "V1", 1))
    return h.grant("V2", 2, "A").body("V2", "enter", "A")


@legal("I1")
def two_bodies_in_a_zone_for_two() -> Hand:
    h = Hand().confirmed().grant("V1", 1, "X").body("V1", "enter", "X")
    return h.grant("V2", 2, "X", slot=1).body("V2", "enter", "X")


@legal("I1")
def a_late_copy_of_a_grant_that_was_given_back() -> Hand:
    h = Hand().confirmed().grant("V1", 1, "A").send("V1", "release", token=1).commit(unit("A", "FREE", "V1", 1))
    return h.grant("V2", 2, "A").deliver("V1", "granted", token=1, zones=["A"])


@legal("I1")
def braking_into_the_next_zone_that_was_granted() -> Hand:
    """Stopped in the middle of a crossing: it comes to a stand within its stopping time, one zone further."""
    h = Hand().confirmed().agent("V1", "boot", stop_ms=200)
    h.commit(held("A", "V1", 1), held("B", "V1", 1)).granted("V1", 1, "A", "B")
    h.body("V1", "enter", "A").body("V1", "start").at(1_000).hears_stop("V1", "s-1")
    return h.at(1_100).body("V1", "enter", "B").body("V1", "stop")


@legal("I1")
def a_grant_that_arrived_after_its_time() -> Hand:
    h = Hand().confirmed().send("V1", "ask", frame=1, conn=1).commit(held("A", "V1", 1, ms=1_000))
    h.emit("V1", "granted", token=1, zones=["A"]).at(5_000)
    h.step(unit("A", "BLOCKED", "V1", 1, cause="STOPPED")).person("clear", zones=["A"])
    h.commit(unit("A", "FREE", "V1", 1)).commit(held("A", "V2", 2)).granted("V2", 2, "A")
    return h.deliver("V1", "granted", token=1, zones=["A"], echo_frame=1, conn=1, remaining_ms=1_000)


@legal("I1")
def people_push_a_vehicle_in() -> Hand:
    return Hand().confirmed().grant("V1", 1, "A").body("V1", "enter", "A").body("P1", "enter", "A", by="people")


@legal("I1")
def a_new_process_resumes_what_the_old_one_could_not_give_back() -> Hand:
    h = Hand().confirmed().grant("V1", 1, "A").send("V1", "release", token=1).agent("V1", "boot")
    grants = [{"token": 1, "zones": ["A"], "slots": [0]}]
    h.emit("V1", "welcome", grants=grants).deliver("V1", "welcome", grants=grants)
    return h.body("V1", "enter", "A")


@legal("I1")
def one_zone_given_back_and_the_other_refused() -> Hand:
    h = Hand().confirmed().commit(held("A", "V1", 1), held("B", "V1", 1)).granted("V1", 1, "A", "B")
    h.body("V1", "enter", "B").send("V1", "release", token=1, zones=["A"]).commit(unit("A", "FREE", "V1", 1))
    h.emit("V1", "released", token=1, zones=["A"]).deliver("V1", "released", token=1, zones=["A"])
    h.fault("early_release", target="V1").send("V1", "release", token=1, zones=["B"])
    h.deliver("V1", "rejected", reason="STILL_INSIDE", token=1)
    return h.grant("V2", 2, "A").body("V2", "enter", "A")


@legal("I1")
def an_extension_that_overtakes_nobody() -> Hand:
    """It was given up while its extension was on its way; hearing of the extension does not bring it back."""
    h = Hand().confirmed().grant("V1", 1, "A").send("V1", "extend", token=1, frame=1, conn=1)
    h.send("V1", "abandon", token=1).commit(held("A", "V1", 1, ms=20_000)).emit("V1", "extended", token=1)
    h.deliver("V1", "extended", token=1, conn=1, echo_frame=1, remaining_ms=20_000)
    h.commit(unit("A", "BLOCKED", "V1", 1, cause="ABANDONED")).person("clear", zones=["A"])
    h.commit(unit("A", "FREE", "V1", 1)).at(1_000).grant("V2", 2, "A")
    return h.body("V1", "start").body("V2", "enter", "A").body("V1", "stop")


@legal("I1")
def a_release_that_was_refused_as_still_inside() -> Hand:
    h = Hand().confirmed().grant("V1", 1, "A").body("V1", "enter", "A").body("V1", "leave", "A")
    h.send("V1", "release", token=1, zones=["A"]).emit("V1", "rejected", reason="STILL_INSIDE", token=1)
    h.deliver("V1", "rejected", reason="STILL_INSIDE", token=1)
    return h.body("V1", "enter", "A").body("V1", "leave", "A").send("V1", "release", token=1)


# -- I2 ------------------------------------------------------------------------------------------------------------


@illegal("I2", "becomes FREE without proof")
def freed_by_time() -> Hand:
    h = Hand().confirmed().grant("V1", 1, "A", ms=1_000).at(1_100)
    return h.commit(unit("A", "FREE", "V1", 1))


@illegal("I2", "becomes HELD by V2 without proof")
def given_on_while_blocked() -> Hand:
    h = Hand().confirmed().grant("V1", 1, "A").commit(unit("A", "BLOCKED", "V1", 1, cause="ABANDONED"))
    return h.commit(held("A", "V2", 2))


@illegal("I2", "with its body still inside")
def released_from_inside() -> Hand:
    return Hand().confirmed().grant("V1", 1, "A").body("V1", "enter", "A").send("V1", "release", token=1)


@illegal("I2", "becomes FREE without proof")
def cleared_by_nobody_in_particular() -> Hand:
    h = Hand().confirmed().grant("V1", 1, "A").step(unit("A", "BLOCKED", "V1", 1, cause="STOPPED"))
    h.commit(unit("A", "BLOCKED", "V1", 1, cause="STOPPED")).person("clear", operator="", zones=["A"])
    return h.commit(unit("A", "FREE", "V1", 1))


@illegal("I2", "becomes FREE without proof")
def proof_with_a_nonce_from_before() -> Hand:
    h = Hand().confirmed().grant("V1", 1, "A").emit("V1", "challenged", token=1, nonce=5, samples=2)
    h.send("V1", "telemetry", nonce=5).send("V1", "telemetry", nonce=5)
    h.step(unit("A", "BLOCKED", "V1", 1)).commit(unit("A", "BLOCKED", "V1", 1))
    return h.commit(unit("A", "FREE", "V1", 1))


@illegal("I2", "another session")
def residue_given_to_another_session() -> Hand:
    h = Hand().confirmed().commit(held("A", "V1", 1, session="s1")).emit("V1", "granted", token=1, zones=["A"])
    h.commit(unit("A", "BLOCKED", "V1", 1, session="s1", cause="STOPPED"))
    return h.commit(held("A", "V1", 2, session="s2"))


@illegal("I2", "nobody confirmed")
def unknown_zone_granted() -> Hand:
    return Hand().leads().commit(held("A", "V1", 1))


@illegal("I2", "no named person confirmed")
def floor_confirmed_by_nobody() -> Hand:
    return Hand().leads().commit(confirmed=True, counter=1)


@illegal("I2", "as if nobody had been told")
def a_grant_that_fell_back_is_told_after_all() -> Hand:
    h = Hand().confirmed().commit(held("A", "V1", 1)).commit(unit("A", "FREE", "V1", 1))
    return h.emit("V1", "granted", token=1, zones=["A"])


@legal("I2")
def a_grant_that_nobody_was_told_of_falls_back() -> Hand:
    h = Hand().confirmed().commit(held("A", "V1", 1)).commit(unit("A", "FREE", "V1", 1))
    return h.grant("V2", 2, "A")


@legal("I2")
def release_and_next_grant_in_one_commit() -> Hand:
    h = Hand().confirmed().grant("V1", 1, "A").send("V1", "release", token=1, zones=["A"])
    return h.commit(held("A", "V2", 2)).granted("V2", 2, "A")


@legal("I2")
def cleared_by_a_named_person() -> Hand:
    h = Hand().confirmed().grant("V1", 1, "A").step(unit("A", "BLOCKED", "V1", 1, cause="STOPPED"))
    h.person("clear", zones=["A"]).commit(unit("A", "BLOCKED", "V1", 1, cause="STOPPED"))
    return h.commit(unit("A", "FREE", "V1", 1))


@legal("I2")
def proof_with_a_fresh_nonce_from_outside() -> Hand:
    h = Hand().confirmed().grant("V1", 1, "A").body("V1", "enter", "A")
    h.step(unit("A", "BLOCKED", "V1", 1)).commit(unit("A", "BLOCKED", "V1", 1)).body("V1", "leave", "A")
    h.emit("V1", "challenged", token=1, nonce=5, samples=2)
    h.send("V1", "telemetry", nonce=5).at(500).send("V1", "telemetry", nonce=5)
    return h.commit(unit("A", "FREE", "V1", 1))


@legal("I2")
def own_residue_converted() -> Hand:
    h = Hand().confirmed().commit(held("A", "V1", 1, session="s1")).granted("V1", 1, "A")
    h.commit(unit("A", "BLOCKED", "V1", 1, session="s1", cause="PARKED"))
    return h.commit(held("A", "V1", 2, session="s1")).granted("V1", 2, "A")


@legal("I2")
def declined_unused() -> Hand:
    h = Hand().confirmed().grant("V1", 1, "A").send("V1", "decline", token=1)
    return h.commit(unit("A", "FREE", "V1", 1)).grant("V2", 2, "A")


@legal("I2")
def a_restored_ledger_is_distrusted() -> Hand:
    h = Hand().confirmed().grant("V1", 1, "A").fault("restore")
    high = 2 << 40
    return h.leads(epoch=2).commit(confirmed=False, counter=high, incarnation=2, epoch=2)


@illegal("I2", "becomes FREE without proof")
def freed_after_a_release_that_was_refused() -> Hand:
    h = Hand().confirmed().grant("V1", 1, "A").send("V1", "release", token=1, zones=["A"])
    h.emit("V1", "rejected", reason="STILL_INSIDE", token=1)
    return h.commit(unit("A", "FREE", "V1", 1))


@legal("I2")
def an_agent_that_was_made_to_lie() -> Hand:
    h = Hand().confirmed().grant("V1", 1, "A").body("V1", "enter", "A").fault("early_release", target="V1")
    return h.send("V1", "release", token=1).commit(unit("A", "FREE", "V1", 1))


# -- I3 ------------------------------------------------------------------------------------------------------------


@illegal("I3", "falls from 5 to 3")
def token_falls() -> Hand:
    return Hand().commit(held("A", "V1", 5)).commit(held("A", "V2", 3))


@illegal("I3", "passes from V1 to V2")
def token_shared() -> Hand:
    return Hand().commit(held("A", "V1", 1)).commit(held("A", "V2", 1))


@illegal("I3", "under token 1 after token 2")
def token_order_over_a_restored_ledger() -> Hand:
    h = Hand().emit("V1", "granted", token=2, zones=["A"], slots=[0]).fault("restore")
    return h.emit("V2", "granted", token=1, zones=["A"], slots=[0])


@illegal("I3", "is given to V1 (request r1) and to V2")
def one_token_for_two() -> Hand:
    h = Hand().emit("V1", "granted", token=1, zones=["A"], request_id="r1")
    return h.emit("V2", "granted", token=1, zones=["A"], request_id="r1")


@illegal("I3", "although that token is stale")
def stale_release_answered_as_done() -> Hand:
    h = Hand().leads().step(held("A", "V1", 1)).step(unit("A", "FREE", "V1", 1)).step(held("A", "V2", 2))
    return h.event("Released", "V1", token=1).emit("V1", "released", token=1, zones=["A"])


@illegal("I3", "although that token is stale or not its own")
def release_of_somebody_elses_grant() -> Hand:
    h = Hand().leads().step(held("A", "V1", 1)).event("Released", "V2", token=1)
    return h.step(unit("A", "FREE", "V1", 1)).emit("V2", "released", token=1, zones=["A"])


@illegal("I3", "it is the newest of X/0")
def current_token_refused_because_of_the_next_slot() -> Hand:
    h = Hand().leads().step(held("X", "V1", 1)).step(held("X", "V2", 2, slot=1))
    return h.event("Released", "V1", token=1).emit("V1", "failed", reason="STALE_TOKEN", token=1)


@illegal("I3", "another session holds")
def session_taken_over_by_name() -> Hand:
    h = Hand().leads().step(held("A", "V1", 1, session="s1")).event("Hello", "V1", session="s2")
    return h.emit("V1", "welcome", grants=[{"token": 1, "zones": ["A"]}])


@illegal("I3", "under request r1 and is granted A")
def request_id_answered_for_other_zones() -> Hand:
    h = Hand().leads().event("Asked", "V1", request_id="r1", zones=["B"])
    return h.emit("V1", "granted", token=1, zones=["A"], request_id="r1")


@illegal("I3", "the counter falls")
def counter_falls() -> Hand:
    return Hand().commit(counter=7).commit(counter=6)


@legal("I3")
def release_repeated_before_the_next_grant() -> Hand:
    h = Hand().confirmed().step(held("A", "V1", 1)).grant("V1", 1, "A").send("V1", "release", token=1)
    h.event("Released", "V1", token=1).step(unit("A", "FREE", "V1", 1)).commit(unit("A", "FREE", "V1", 1))
    h.emit("V1", "released", token=1, zones=["A"]).event("Released", "V1", token=1)
    return h.emit("V1", "released", token=1, zones=["A"])


@legal("I3")
def stale_release_refused() -> Hand:
    h = Hand().confirmed().step(held("A", "V1", 1)).grant("V1", 1, "A").send("V1", "release", token=1)
    h.event("Released", "V1", token=1).step(unit("A", "FREE", "V1", 1)).step(held("A", "V2", 2))
    h.commit(held("A", "V2", 2)).emit("V1", "released", token=1, zones=["A"])
    return h.event("Released", "V1", token=1).emit("V1", "failed", reason="STALE_TOKEN", token=1)


@legal("I3")
def older_token_in_the_other_slot() -> Hand:
    h = Hand().confirmed().step(held("X", "V1", 1)).grant("V1", 1, "X")
    h.step(held("X", "V2", 2, slot=1)).grant("V2", 2, "X", slot=1)
    h.send("V1", "release", token=1).event("Released", "V1", token=1)
    h.step(unit("X", "FREE", "V1", 1)).commit(unit("X", "FREE", "V1", 1))
    return h.emit("V1", "released", token=1, zones=["X"])


@legal("I3")
def same_grant_told_twice() -> Hand:
    h = Hand().confirmed().grant("V1", 1, "A", request_id="r1")
    return h.emit("V1", "granted", token=1, zones=["A"], slots=[0], request_id="r1")


# -- the tests -----------------------------------------------------------------------------------------------------


@CASES.of_refused()
def test_an_illegal_history_is_refused_in_words(invariant: str, says: str, made: Made) -> None:
    must_refuse(invariant, says, made)


@CASES.of_accepted()
def test_a_legal_history_is_accepted_by_every_checker(made: Made) -> None:
    must_accept(made)


@pytest.mark.parametrize("invariant", ["I1", "I2", "I3"])
def test_each_checker_has_three_illegal_histories_and_a_near_miss(invariant: str) -> None:
    refused, accepted = CASES.shares(invariant)
    assert refused >= 3
    assert accepted >= 1

"""Histories that long campaigns came upon: legal ones that a checker once refused, each beside an illegal neighbour."""

from __future__ import annotations

from typing import Any

import pytest
from planted.cases import Cases, Made, must_accept, must_refuse
from planted.hand import Hand, held, unit

CASES = Cases()
illegal, legal = CASES.illegal, CASES.legal

LISTED = {"token": 1, "zones": ["A"], "slots": [0], "remaining_ms": 9_000}
S1 = {"stop_id": "s-1", "active": True, "groups": ["west"]}


# -- an old copy of the ledger --------------------------------------------------------------------------------------


def given_back_before_the_copy() -> Hand:
    h = Hand().confirmed().grant("V1", 1, "A").send("V1", "release", token=1, zones=["A"])
    h.event("Released", "V1", seq=1, token=1, zones=["A"]).step(unit("A", "FREE", "V1", 1))
    return h.commit(unit("A", "FREE", "V1", 1)).emit("V1", "released", token=1, zones=["A"])


@legal("I3")
def a_release_repeated_to_a_copy_that_the_history_does_not_describe() -> Hand:
    h = given_back_before_the_copy().fault("restore").leads(epoch=2)
    return h.event("Released", "V1", seq=2, token=1, zones=["A"]).emit("V1", "released", token=1, zones=["A"])


@illegal("I3", "although that token is stale")
def a_release_repeated_after_the_zone_was_given_on() -> Hand:
    h = given_back_before_the_copy().step(held("A", "V2", 2)).commit(held("A", "V2", 2))
    return h.event("Released", "V1", seq=3, token=1, zones=["A"]).emit("V1", "released", token=1, zones=["A"])


@legal("I4")
def a_straggler_from_before_the_copy_is_refused() -> Hand:
    h = Hand().confirmed().leads(epoch=49).fault("restore")
    return h.commit(held("A", "V1", 1), epoch=49, outcome="refused").leads(epoch=27).commit(epoch=27)


@illegal("I4", "leads in epoch 27 after epoch 49 had begun")
def a_lower_epoch_without_an_old_copy() -> Hand:
    return Hand().confirmed().leads(epoch=49).leads(epoch=27)


# -- latches and processes that begin anew --------------------------------------------------------------------------


def latched(*in_scope: str) -> Hand:
    h = Hand().confirmed().step(stops=[S1], stop_to=list(in_scope)).commit(stops=[S1])
    return h.hears_stop("V1", "s-1").at(1_000).agent("V1", "reboot")


@legal("I5")
def a_latch_that_only_memory_held_goes_with_the_memory() -> Hand:
    return latched("V2").grant("V1", 1, "C").body("V1", "start").body("V1", "stop")


@illegal("I5", "moves while latched")
def a_latch_of_who_stood_in_the_scope_outlives_its_reboot() -> Hand:
    return latched("V1").body("V1", "start")


@legal("I5")
def a_machine_that_people_put_down_elsewhere_may_move() -> Hand:
    return latched("V1").body("V1", "enter", "C", by="people").grant("V1", 1, "C").body("V1", "start")


@illegal("I5", "while latched by s-1")
def granted_to_who_said_what_latches_it() -> Hand:
    return says_hello(latched_stop_ids=["s-1"])


@legal("I5")
def granted_to_a_process_that_nothing_latches() -> Hand:
    return says_hello()


def says_hello(**fields: Any) -> Hand:
    h = Hand().confirmed().step(stops=[S1], stop_to=["V1"]).commit(stops=[S1])
    h.event("Hello", "V1", session="s", latched_stop_ids=["s-1"]).event("Hello", "V1", session="s", **fields)
    h.commit(held("C", "V1", 1))
    return h.emit("V1", "granted", token=1, zones=["C"], slots=[0])


def starts_as_the_stop_arrives(after_ms: int) -> Hand:
    h = Hand().agent("V1", "boot", stop_ms=200).at(1_000).hears_stop("V1", "s-1")
    return h.at(1_000 + after_ms).body("V1", "start")


@legal("I5")
def a_start_in_the_moment_of_the_stop_that_ends_in_time() -> Hand:
    return starts_as_the_stop_arrives(0).at(1_240).body("V1", "stop").at(2_000).commit()


@illegal("I5", "still moves")
def a_start_in_the_moment_of_the_stop_that_goes_on() -> Hand:
    return starts_as_the_stop_arrives(0).at(1_300).commit()


@illegal("I5", "moves while latched")
def a_start_when_the_stop_had_been_read() -> Hand:
    return starts_as_the_stop_arrives(60)


# -- who may still enter --------------------------------------------------------------------------------------------


def takes_its_place_again_and_leaves_it(h: Hand) -> Hand:
    """A, left BLOCKED under token 1, is granted to V1 anew, and given back under that."""
    h.commit(unit("A", "BLOCKED", "V1", 1, cause="ABANDONED")).grant("V1", 2, "A")
    h.send("V1", "release", token=2, zones=["A"]).event("Released", "V1", token=2, zones=["A"])
    return h.commit(unit("A", "FREE", "V1", 2))


def comes_back(*listed: int) -> Hand:
    """V1 was told that it may enter A, comes back, and hears which grants are left to it."""
    h = Hand().confirmed().send("V1", "ask", frame=1).grant("V1", 1, "A", echo_frame=1).at(100)
    grants = [{**LISTED, "token": token} for token in listed]
    return h.send("V1", "hello", frame=2).deliver("V1", "welcome", grants=grants, echo_frame=2)


@legal("I1")
def a_grant_that_a_welcome_does_not_list_is_lost() -> Hand:
    return takes_its_place_again_and_leaves_it(comes_back()).at(1_000).grant("V2", 3, "A")


@illegal("I1", "may enter besides: V1, V2")
def a_grant_that_a_welcome_lists_is_not() -> Hand:
    return takes_its_place_again_and_leaves_it(comes_back(1)).at(1_000).grant("V2", 3, "A")


def loses_its_grant_under_way(*, stands: bool, before: bool = False) -> Hand:
    h = Hand().confirmed().agent("V1", "boot", stop_ms=500).grant("V1", 1, "A").body("V1", "start").at(1_000)
    if before:
        h.body("V1", "stop")
    h.agent("V1", "lost", token=1)
    if stands:
        h.body("V1", "stop")
    takes_its_place_again_and_leaves_it(h.at(1_200)).grant("V1", 3, "C")
    return h.body("V1", "start").at(1_300).grant("V2", 4, "A")


@legal("I1")
def who_has_stood_since_it_gave_up_moves_under_something_else() -> Hand:
    return loses_its_grant_under_way(stands=True)


@legal("I1")
def who_stood_when_it_gave_up_moves_under_something_else() -> Hand:
    return loses_its_grant_under_way(stands=False, before=True)


@illegal("I1", "may enter besides: V1, V2")
def who_has_not_stood_yet_may_still_roll_in() -> Hand:
    return loses_its_grant_under_way(stands=False)


def enters_under_what_was_extended(*, listed: bool) -> Hand:
    """V1 has given its grant up, begins anew, and extends it."""
    h = Hand().confirmed().send("V1", "ask", frame=1).grant("V1", 1, "A", echo_frame=1, ms=2_000).at(100)
    h.body("V1", "start").agent("V1", "lost", token=1).send("V1", "hello", frame=2)
    if listed:
        h.deliver("V1", "welcome", grants=[{**LISTED, "remaining_ms": 1_900}], echo_frame=2)
    h.send("V1", "extend", frame=3, token=1).deliver("V1", "extended", token=1, remaining_ms=8_000, echo_frame=3)
    return h.at(5_000).body("V1", "enter", "A")


@legal("I1")
def a_grant_that_is_listed_again_can_be_extended() -> Hand:
    return enters_under_what_was_extended(listed=True)


@illegal("I1", "had to stand since")
def a_grant_that_was_given_up_is_not_extended_by_a_late_answer() -> Hand:
    return enters_under_what_was_extended(listed=False)


# -- clearances, requests, promises ---------------------------------------------------------------------------------


def left_by_one_session() -> Hand:
    h = Hand().confirmed().commit(unit("A", "BLOCKED", "V1", 1, cause="ABANDONED", session="old"))
    return h.body("V1", "enter", "C", by="people")


@legal("I2")
def cleared_and_granted_again_by_one_commit() -> Hand:
    h = left_by_one_session().event("ClearAsked", operator="ann", reason="looked", zones=["A"])
    return h.commit(held("A", "V1", 2, session="new"))


@illegal("I2", "another session")
def granted_again_and_cleared_by_nobody() -> Hand:
    return left_by_one_session().commit(held("A", "V1", 2, session="new"))


def gives_back_to_an_old_copy(*, said_before: bool) -> Hand:
    """V1 stands in A under token 2 when a copy is put back in which it still has token 1 there."""
    h = Hand().confirmed().grant("V1", 1, "A")
    if said_before:  # from outside; the answer was lost
        h.send("V1", "release", token=1, zones=["A"])
    h.commit(unit("A", "BLOCKED", "V1", 1, cause="ABANDONED")).event(
        "ClearAsked", operator="ann", reason="x", zones=["A"]
    )
    h.commit(unit("A", "FREE", "V1", 1)).grant("V1", 2, "A").body("V1", "enter", "A")
    h.fault("restore").leads(epoch=2, incarnation=2)
    h.commit(unit("A", "BLOCKED", "V1", 1, cause="STOPPED"), epoch=2, incarnation=2)
    return h.send("V1", "release", token=1, zones=["A"])


@legal("I2")
def a_release_said_again_where_it_stands_by_now_to_a_copy_that_knows_no_better() -> Hand:
    return gives_back_to_an_old_copy(said_before=True)


@illegal("I2", "with its body still inside")
def a_release_said_for_the_first_time_where_it_stands() -> Hand:
    return gives_back_to_an_old_copy(said_before=False)


def granted_what_another_ask_of_that_id_named() -> Hand:
    h = Hand().confirmed().event("Hello", "V1", session="s")
    h.event("Asked", "V1", request_id="r1", zones=["B"]).commit(held("A", "V1", 1, request_id="r1"))
    return h.emit("V1", "granted", token=1, zones=["A"], slots=[0], request_id="r1")


@illegal("I3", "under request r1 and is granted A")
def other_zones_than_the_request_named() -> Hand:
    return granted_what_another_ask_of_that_id_named()


@legal("I3")
def other_zones_to_who_was_made_to_change_its_requests() -> Hand:
    h = granted_what_another_ask_of_that_id_named()
    fault = Hand().fault("misuse", target="V1", detail={"how": "change_ask"}).lines[-1]
    h.history.lines.insert(2, fault)
    return h


def asked_for_another_zone_by_an_old_id() -> Hand:
    h = Hand().confirmed().event("Hello", "V1", session="s").event("Asked", "V1", request_id="r1", zones=["A"])
    h.commit(held("A", "V1", 1, request_id="r1")).emit(
        "V1", "granted", token=1, zones=["A"], slots=[0], request_id="r1"
    )
    h.leads(epoch=2, coord="c2").event("Hello", "V1", session="s", coord="c2")
    return h.event("Asked", "V1", request_id="r1", zones=["B"], coord="c2")


@legal("I3")
def an_old_grant_listed_after_its_id_was_used_for_another_zone() -> Hand:
    """Weak random numbers give a rebooted agent its old ids again; the ask was refused."""
    listed = {**LISTED, "request_id": "r1"}
    return asked_for_another_zone_by_an_old_id().emit("V1", "welcome", grants=[listed], coord="c2")


@illegal("I3", "under request r1 and is granted A")
def an_old_grant_for_an_answer_to_an_ask_for_another_zone() -> Hand:
    h = asked_for_another_zone_by_an_old_id()
    return h.emit("V1", "granted", token=1, zones=["A"], slots=[0], request_id="r1", coord="c2")


def granted_to_another_after_an_old_copy(after_ms: int) -> Hand:
    h = Hand(suspend_ms=1_500).confirmed().agent("V1", "boot", stop_ms=300).grant("V1", 1, "A").at(1_000)
    h.fault("restore").at(1_000 + after_ms).commit(held("A", "V2", (1 << 40) + 1))
    return h.granted("V2", (1 << 40) + 1, "A", slots=[0], expected_ms=10_000, remaining_ms=10_000)


@legal("I1")
def a_grant_that_only_the_replaced_ledger_knew_ends_with_the_link() -> Hand:
    return granted_to_another_after_an_old_copy(1_500 + 15 + 300)


@illegal("I1", "may enter besides: V1, V2")
def a_grant_that_only_the_replaced_ledger_knew_lasts_as_long_as_the_link_may() -> Hand:
    return granted_to_another_after_an_old_copy(1_500 + 15 + 299)


@illegal("I1", "may enter besides: V1, V2")
def a_grant_that_the_old_copy_has_too_goes_on() -> Hand:
    h = Hand(suspend_ms=1_500).confirmed().grant("V1", 1, "A").at(1_000).fault("restore").at(2_000).leads(epoch=2)
    h.emit("V1", "welcome", grants=[LISTED]).deliver("V1", "welcome", grants=[LISTED]).at(8_000)
    return h.commit(held("A", "V2", 2)).granted("V2", 2, "A", slots=[0], expected_ms=10_000, remaining_ms=10_000)


def listed_from_an_old_copy(token: int) -> Hand:
    h = Hand().confirmed().grant("V1", 1, "A").fault("restore").at(1_000).leads(epoch=2)
    return h.emit("V1", "welcome", grants=[{**LISTED, "token": token}])


@legal("I4")
def a_grant_that_an_old_copy_may_well_hold() -> Hand:
    return listed_from_an_old_copy(1)


@illegal("I4", "before a commit that c1 knows of holds it")
def a_grant_that_no_copy_can_hold() -> Hand:
    return listed_from_an_old_copy(2)


@illegal("I4", "before a commit that c1 knows of holds it")
def a_grant_of_an_old_copy_after_it_was_found_out() -> Hand:
    h = Hand().confirmed().commit(incarnation=1).grant("V1", 1, "A").fault("restore").leads(epoch=2)
    h.commit(epoch=2, incarnation=2)
    return h.emit("V1", "welcome", grants=[LISTED])


def blocked_as_overdue_after_a_takeover(*, tripped: bool) -> Hand:
    """The stop became durable and its leader did not hear of that; the next one ends the hold."""
    h = Hand().confirmed().commit(held("A", "V1", 1, ms=1_000)).at(1_200)
    if tripped:
        stop = {"stop_id": "deadline:1", "active": True, "cause": "OVERDUE", "groups": ["west"]}
        h.step(stops=[stop], stop_to=["V1"]).commit(stops=[stop], outcome="lost", applied=True)
    return h.at(1_900).leads(epoch=2).step(unit("A", "BLOCKED", "V1", 1, cause="OVERDUE"))


@legal("I6")
def a_hold_that_was_tripped_by_the_leader_before() -> Hand:
    return blocked_as_overdue_after_a_takeover(tripped=True)


@illegal("I6", "is overdue (token 1) and no stop is tripped")
def a_hold_that_nobody_tripped() -> Hand:
    return blocked_as_overdue_after_a_takeover(tripped=False)


@CASES.of_refused()
def test_an_illegal_history_is_refused_in_words(invariant: str, says: str, made: Made) -> None:
    must_refuse(invariant, says, made)


@CASES.of_accepted()
def test_a_legal_history_is_accepted_by_every_checker(made: Made) -> None:
    must_accept(made)


@pytest.mark.parametrize("invariant", ["I1", "I2", "I3", "I4", "I5", "I6"])
def test_no_case_is_let_pass_without_a_neighbour_that_is_not(invariant: str) -> None:
    refused, accepted = CASES.shares(invariant)
    assert refused >= 1 and accepted >= 1

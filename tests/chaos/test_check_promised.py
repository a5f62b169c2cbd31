"""What claimed routes were promised (I9), and whose session speaks on a stream: illegal histories and near misses."""

from __future__ import annotations

from planted.cases import Cases, Made, must_accept, must_refuse
from planted.hand import Hand

CASES = Cases()
illegal, legal = CASES.illegal, CASES.legal


def standing_apart() -> Hand:
    """V1 in A is to go to B, V2 in C through B to A; both were told that they can finish."""
    h = Hand().confirmed()
    for agent, token, zone in (("V1", 1, "A"), ("V2", 2, "C")):
        h.grant(agent, token, zone, ms=60_000).body(agent, "enter", zone)
    h.send("V1", "claim", zones=["B"]).deliver("V1", "claimed", zones=["B"], can_finish=True)
    return h.send("V2", "claim", zones=["B", "A"]).deliver("V2", "claimed", zones=["B", "A"], can_finish=True)


def two_stand_in_each_others_way(*, claims_last: str = "") -> Hand:
    """V1 in A is to go through B, V2 in B through A; both claimed, and V2 was told that it can finish."""
    h = standing_apart()
    if claims_last:
        h.send(claims_last, "claim", zones=["B"])
    h.send("V2", "ask", request_id="r2", zones=["B"]).grant("V2", 3, "B", ms=60_000, request_id="r2")
    h.body("V2", "enter", "B").body("V2", "leave", "C").send("V2", "release", token=2, zones=["C"])
    return h.commit({"zone": "C", "slot": 0, "state": "FREE", "agent": "V2", "token": 2})


@illegal("I9", "wait for each other in a ring, and V2 was told")
def steps_that_close_a_ring() -> Hand:
    h = two_stand_in_each_others_way()
    return h.send("V1", "ask", request_id="r1", zones=["B"]).send("V2", "ask", request_id="r3", zones=["A"])


@legal("I9")
def ring_after_somebody_claimed_anew() -> Hand:
    h = two_stand_in_each_others_way(claims_last="V1")
    return h.send("V1", "ask", request_id="r1", zones=["B"]).send("V2", "ask", request_id="r3", zones=["A"])


@illegal("I9", "is told that waiting for A cannot help")
def told_that_it_can_finish_and_that_it_cannot() -> Hand:
    h = two_stand_in_each_others_way().send("V2", "ask", request_id="r3", zones=["A"])
    return h.deliver("V2", "rejected", request_id="r3", reason="WOULD_DEADLOCK")


@legal("I9")
def told_to_go_on_by_a_part_of_what_it_asked_for() -> Hand:
    h = standing_apart().send("V2", "ask", request_id="r3", zones=["B", "A"])
    return h.deliver("V2", "rejected", request_id="r3", reason="WOULD_DEADLOCK", retreat_zone="B")


@illegal("I9", "is told that waiting for A, B cannot help")
def told_to_leave_a_way_that_it_can_finish() -> Hand:
    h = standing_apart().send("V2", "ask", request_id="r3", zones=["B", "A"])
    return h.deliver("V2", "rejected", request_id="r3", reason="WOULD_DEADLOCK", retreat_zone="X")


@legal("I9")
def told_so_after_an_ask_beside_every_route() -> Hand:
    h = two_stand_in_each_others_way().send("V3", "ask", request_id="r9", zones=["X"])
    h.send("V2", "ask", request_id="r3", zones=["A"])
    return h.deliver("V2", "rejected", request_id="r3", reason="WOULD_DEADLOCK")


def turned_away_after(event: str, agent: str) -> Hand:
    """V2 is told that waiting for A cannot help; before that something arrives that had been sent long ago."""
    h = Hand().confirmed().send("V3", "claim", zones=["X"]).send("V3", "ask", request_id="r9", zones=["C"])
    h.grant("V2", 2, "B", ms=60_000).send("V2", "claim", zones=["A"])
    h.deliver("V2", "claimed", zones=["A"], can_finish=True)
    h.event(event, agent, request_id="r9", zones=["C"]).send("V2", "ask", request_id="r3", zones=["A"])
    return h.deliver("V2", "rejected", request_id="r3", reason="WOULD_DEADLOCK")


@legal("I9")
def promised_before_a_claim_arrived_that_had_been_under_way() -> Hand:
    return turned_away_after("Claimed", "V3")


@legal("I9")
def promised_before_an_ask_beside_its_claim_arrived_that_had_been_under_way() -> Hand:
    return turned_away_after("Asked", "V3")


@illegal("I9", "is told that waiting for A cannot help")
def promised_before_something_else_arrived() -> Hand:
    return turned_away_after("Heard", "V3")


@illegal("I9", "is told that waiting for A cannot help")
def promised_when_its_own_claim_arrived() -> Hand:
    return turned_away_after("Claimed", "V2")


def turned_away_when_another_gives_up(*, its_claim: str) -> Hand:
    """V3 in A waits for X, and gives that up; V2 in B had been told that it can finish by A."""
    h = Hand().confirmed().grant("V3", 1, "A", ms=60_000).grant("V2", 2, "B", ms=60_000)
    h.send("V3", "claim", zones=[its_claim]).send("V3", "ask", request_id="r9", zones=["X"])
    h.send("V2", "claim", zones=["A"]).deliver("V2", "claimed", zones=["A"], can_finish=True)
    h.send("V2", "ask", request_id="r3", zones=["A"]).send("V3", "cancel", request_id="r9")
    return h.deliver("V2", "rejected", request_id="r3", reason="WOULD_DEADLOCK")


@legal("I9")
def promised_when_another_still_meant_to_go_where_it_had_claimed_nothing() -> Hand:
    return turned_away_when_another_gives_up(its_claim="C")


@illegal("I9", "is told that waiting for A cannot help")
def promised_when_another_waited_for_what_it_has_still_claimed() -> Hand:
    return turned_away_when_another_gives_up(its_claim="X")


def two_are_bound_for_one_zone(*, granted: str) -> Hand:
    """V1 in A and V2 in C are both bound for B, and V1 is told that waiting for it cannot help."""
    h = standing_apart().send("V2", "claim", zones=["B"]).send("V1", "claim", zones=["B"])
    h.deliver("V1", "claimed", zones=["B"], can_finish=True)
    h.send("V2", "ask", request_id="r2", zones=[granted]).grant("V2", 3, granted, ms=60_000, request_id="r2")
    h.send("V1", "ask", request_id="r1", zones=["B"])
    return h.deliver("V1", "rejected", request_id="r1", reason="WOULD_DEADLOCK")


@legal("I9")
def one_that_comes_second_to_where_both_mean_to_stay() -> Hand:
    return two_are_bound_for_one_zone(granted="B")


@illegal("I9", "is told that waiting for B cannot help")
def one_that_could_still_come_first() -> Hand:
    return two_are_bound_for_one_zone(granted="C")


def one_turns_back_from_beside_its_route(*, before_the_promise: bool) -> Hand:
    """V1 in A, bound for B, was granted X, where it never says to be bound, and gives it back; V2 drives up to it."""
    h = Hand().confirmed()
    for agent, token, zone in (("V1", 1, "A"), ("V2", 2, "C")):
        h.grant(agent, token, zone, ms=60_000).body(agent, "enter", zone)
    h.send("V1", "claim", zones=["B"]).deliver("V1", "claimed", zones=["B"], can_finish=True)
    h.send("V1", "ask", request_id="r0", zones=["X"]).grant("V1", 3, "X", ms=60_000, request_id="r0")

    def turns_back() -> None:
        h.send("V1", "release", token=3, zones=["X"])
        h.commit({"zone": "X", "slot": 0, "state": "FREE", "agent": "V1", "token": 3})

    if before_the_promise:
        turns_back()
    h.send("V2", "claim", zones=["B", "A"]).deliver("V2", "claimed", zones=["B", "A"], can_finish=True)
    if not before_the_promise:
        turns_back()
    h.send("V2", "ask", request_id="r2", zones=["B"]).grant("V2", 4, "B", ms=60_000, request_id="r2")
    h.body("V2", "enter", "B").body("V2", "leave", "C").send("V2", "release", token=2, zones=["C"])
    h.commit({"zone": "C", "slot": 0, "state": "FREE", "agent": "V2", "token": 2})
    return h.send("V1", "ask", request_id="r1", zones=["B"]).send("V2", "ask", request_id="r3", zones=["A"])


@legal("I9")
def ring_with_one_that_was_reckoned_to_go_on_and_turned_back() -> Hand:
    return one_turns_back_from_beside_its_route(before_the_promise=False)


@illegal("I9", "wait for each other in a ring, and V2 was told")
def ring_with_one_that_had_turned_back_before_the_promise() -> Hand:
    return one_turns_back_from_beside_its_route(before_the_promise=True)


@legal("I3")
def grant_to_the_session_whose_stream_it_is() -> Hand:
    """A second client of the name says hello on a stream of its own, and is not welcome."""
    h = Hand().confirmed().event("Hello", "V1", conn=1, session="s1").event("Hello", "V1", conn=2, session="s2")
    h.emit("V1", "failed", conn=2, reason="DUPLICATE_AGENT")
    return h.step(of_session("s1")).commit(of_session("s1")).emit("V1", "granted", conn=1, token=1, zones=["A"])


@illegal("I3", "that another session holds")
def grant_to_the_stream_of_another_session() -> Hand:
    h = Hand().confirmed().event("Hello", "V1", conn=1, session="s1").event("Hello", "V1", conn=2, session="s2")
    return (
        h.step(of_session("s1"))
        .commit(of_session("s1"))
        .emit("V1", "welcome", conn=2, grants=[{"token": 1, "zones": ["A"]}])
    )


@legal("I4")
def stop_for_who_was_out_of_reach() -> Hand:
    stops = [{"stop_id": "s-1", "active": True}]
    h = Hand().leads().step(stops=stops, stop_to=["V1"]).commit(stops=stops).event("Hello", "V1", conn=3, session="s1")
    return h.emit("V1", "stop_raised", stop_id="s-1", stop=True)


@legal("I4")
def stop_that_is_tripped_once_more_when_it_is_durable() -> Hand:
    """An agent told of it before; its sender's own request arrives later."""
    stops = [{"stop_id": "s-1", "active": True}]
    h = Hand().leads().step(stops=stops).commit(stops=stops).step(stops=stops, stop_to=["V1"])
    return h.emit("V1", "stop_raised", stop_id="s-1", stop=True)


@legal("I1")
def drives_on_a_grant_after_a_reset_that_it_heard_of_elsewhere() -> Hand:
    h = Hand().confirmed().agent("V1", "reboot").commit(stops=[{"stop_id": "s-1", "active": True}])
    h.hears_stop("V1", "s-1").person("reset", stop_ids=["s-1"])
    ended = {"stop_id": "s-1", "active": False, "reset_by": "ann", "reset_reason": "looked"}
    return h.commit(stops=[ended]).grant("V1", 1, "A").body("V1", "start").body("V1", "enter", "A")


@legal("I2")
def repeats_a_release_where_it_stands_under_a_newer_token() -> Hand:
    h = Hand().confirmed().grant("V1", 1, "A").send("V1", "release", token=1, zones=["A"])
    h.commit({"zone": "A", "slot": 0, "state": "FREE", "agent": "V1", "token": 1}).grant("V1", 2, "A")
    return h.body("V1", "enter", "A").send("V1", "release", token=1, zones=["A"])


def of_session(session: str) -> dict[str, object]:
    return {"zone": "A", "slot": 0, "state": "HELD", "agent": "V1", "token": 1, "session": session}


@CASES.of_refused()
def test_an_illegal_history_is_refused_in_words(invariant: str, says: str, made: Made) -> None:
    must_refuse(invariant, says, made)


@CASES.of_accepted()
def test_a_legal_history_is_accepted_by_every_checker(made: Made) -> None:
    must_accept(made)

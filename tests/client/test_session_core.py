"""The session without a socket: what leaves when, what an answer means, and until when one may move."""

from __future__ import annotations

import pytest
from client.wire import RHO_PPM, START_NS, Wire, failed, rejected, spec, stop
from hypothesis import given
from hypothesis import strategies as st
from zonelock.v1 import zone_service_pb2 as pb
from zonelock_client.errors import OutboxFull
from zonelock_client.session_core import LostReason
from zonelock_client.session_core.agent import PLACES
from zonelock_client.session_core.frames import FRAMES_REMEMBERED, MAX_UNACKNOWLEDGED, FrameLog
from zonelock_client.session_core.values import (
    NS_PER_MS,
    AskEnded,
    AskGranted,
    Done,
    ExtendEnded,
    GrantGone,
    HelloRefused,
    Late,
    Rejection,
    Settled,
    holder_deadline_ns,
)

INVALID_ARGUMENT, UNAVAILABLE = 3, 14


# -- frames ----------------------------------------------------------------------------------------------------------


def test_the_first_frame_of_a_stream_says_hello_and_nothing_else_leaves_before_the_welcome() -> None:
    wire = Wire(welcome=False)
    assert [o.WhichOneof("kind") for o in wire.frames[0].operations] == ["hello"]
    assert wire.frames[0].operations[0].hello.standing_zones == ["Z_STAND"]
    wire.agent.ask(("Z_1",), 5_000)
    wire.agent.report(pb.Telemetry(activity="waiting"), wire.now_ns)
    assert wire.flush() == []
    wire.welcome()
    assert wire.kinds() == ["telemetry", "ask"]


def test_everything_queued_before_a_write_leaves_in_one_frame_with_telemetry_first_and_only_the_newest() -> None:
    wire = Wire()
    wire.hold(7, "Z_1")
    held = wire.agent.grants[7]
    wire.agent.report(pb.Telemetry(activity="old"), wire.now_ns)
    wire.agent.release(held)
    wire.agent.ask(("Z_2",), 5_000)
    wire.agent.report(pb.Telemetry(activity="new"), wire.now_ns)
    (frame,) = wire.flush()
    assert [o.WhichOneof("kind") for o in frame.operations] == ["telemetry", "release", "ask"]
    assert frame.operations[0].telemetry.activity == "new"


def test_a_frame_carries_at_most_256_operations_and_the_rest_follows_in_order() -> None:
    wire = Wire()
    for _ in range(600):
        wire.agent.ask(("Z_1",), 5_000)
    frames = wire.flush()
    assert [len(f.operations) for f in frames] == [256, 256, 88]
    ids = [o.ask.request_id for f in frames for o in f.operations]
    assert ids == [f"r-{n}" for n in range(1, 601)]


def test_a_frame_stays_far_below_the_coordinators_size_limit() -> None:
    wire = Wire()
    zones = tuple(f"{n:02}" + "z" * 126 for n in range(32))
    for _ in range(300):
        wire.agent.ask(zones, 5_000)
    assert max(f.ByteSize() for f in wire.flush()) < 1 << 20


def test_agents_of_a_fleet_share_frames() -> None:
    wire = Wire(spec("A"), spec("B"))
    assert [o.agent_id for o in wire.frames[0].operations] == ["A", "B"]
    for agent in wire.agents:
        agent.ask(("Z_1",), 5_000)
    (frame,) = wire.flush()
    assert [o.agent_id for o in frame.operations] == ["A", "B"]


def test_a_silent_stream_sends_a_heartbeat_when_it_is_due_and_not_before() -> None:
    wire = Wire()
    wire.pass_ms(499)
    assert wire.flush() == []
    wire.pass_ms(1)
    (frame,) = wire.flush()
    assert not frame.operations


def test_unacknowledged_frames_are_bounded() -> None:
    wire = Wire()
    sent = 0
    for _ in range(MAX_UNACKNOWLEDGED + 10):
        wire.agent.report(pb.Telemetry(), wire.now_ns)
        sent += len(wire.flush())
    assert sent == MAX_UNACKNOWLEDGED
    wire.say(ack=wire.newest)
    assert wire.kinds() == ["telemetry"]


# -- the deadline ----------------------------------------------------------------------------------------------------


def test_the_deadline_counts_from_the_send_time_of_the_echoed_frame() -> None:
    wire = Wire()
    request_id = wire.agent.ask(("Z_1",), 8_000)
    wire.flush()
    sent_ns, echo = wire.now_ns, wire.newest
    wire.pass_ms(500)
    wire.flush()  # a younger heartbeat, not the one that is echoed
    wire.pass_ms(300)
    wire.say(wire.granted(7, "Z_1", request_id=request_id, echo=echo))
    assert wire.agent.grants[7].deadline_ns == sent_ns + (8_000 * 99 // 100 - 200) * NS_PER_MS


@given(
    expected_ms=st.integers(2, 10_000_000),
    stop_share=st.floats(0, 1),
    holder_rate=st.floats(1 - RHO_PPM / 1e6, 1 + RHO_PPM / 1e6),
    coordinator_rate=st.floats(1 - RHO_PPM / 1e6, 1 + RHO_PPM / 1e6),
    handled_after_ms=st.integers(0, 60_000),
    committed_after_ms=st.integers(0, 60_000),
)
def test_a_holder_stands_before_the_coordinators_deadline_whatever_the_delays_and_the_clocks_within_rho(
    expected_ms: int,
    stop_share: float,
    holder_rate: float,
    coordinator_rate: float,
    handled_after_ms: int,
    committed_after_ms: int,
) -> None:
    stop_ms = int(stop_share * (expected_ms - 1))
    sent_ns = START_NS
    local_ns = holder_deadline_ns(sent_ns, expected_ms, rho_ppm=RHO_PPM, stop_ms=stop_ms) - sent_ns
    # In true time, from the moment the frame left; rates are local time per true time.
    stands_ms = local_ns / NS_PER_MS / holder_rate + stop_ms
    coordinator_ms = -(-expected_ms * (1_000_000 + RHO_PPM) // 1_000_000)
    trips_ms = handled_after_ms + committed_after_ms + coordinator_ms / coordinator_rate
    assert stands_ms <= trips_ms + 1e-3


def test_a_grant_that_comes_after_its_deadline_is_declined_and_told_as_late() -> None:
    wire = Wire()
    request_id = wire.agent.ask(("Z_1",), 1_000)
    wire.flush()
    echo = wire.newest
    wire.pass_ms(790)
    wire.say(wire.granted(7, "Z_1", request_id=request_id, expected_ms=1_000, echo=echo))
    (ended,) = wire.of(AskEnded)
    assert isinstance(ended, AskEnded)
    assert isinstance(ended.ending, Late)
    assert "0 ms after its own deadline" in ended.ending.message
    (operation,) = wire.operations()
    assert operation.decline.token == 7
    assert not wire.agent.grants


def test_a_grant_whose_echo_was_never_sent_or_is_forgotten_is_declined() -> None:
    wire = Wire()
    request_id = wire.agent.ask(("Z_1",), 1_000)
    wire.flush()
    wire.say(wire.granted(7, "Z_1", request_id=request_id, echo=wire.newest + 1))
    (ended,) = wire.of(AskEnded)
    assert isinstance(ended, AskEnded)
    assert isinstance(ended.ending, Late)
    assert wire.kinds() == ["decline"]


def test_send_times_are_kept_for_a_bounded_number_of_frames_and_never_guessed() -> None:
    log = FrameLog()
    for n in range(FRAMES_REMEMBERED + 1):
        log.open(n)
    assert log.sent_ns(1) is None
    assert log.sent_ns(2) == 1
    assert log.sent_ns(FRAMES_REMEMBERED + 1) == FRAMES_REMEMBERED


def test_a_grant_is_lost_at_its_deadline_once() -> None:
    wire = Wire()
    wire.hold(7, "Z_1", expected_ms=1_000)
    wire.pass_ms(789)
    assert not wire.of(GrantGone)
    wire.pass_ms(1)
    wire.pass_ms(1_000)
    (gone,) = wire.of(GrantGone)
    assert isinstance(gone, GrantGone)
    assert gone.grant.lost_reason is LostReason.DEADLINE


def test_a_release_on_its_way_ends_the_deadline_and_its_refusal_revives_it() -> None:
    wire = Wire()
    wire.hold(7, "Z_1", expected_ms=1_000)
    held = wire.agent.grants[7]
    entry_id = wire.agent.release(held)
    wire.flush()
    wire.pass_ms(2_000)
    assert held.lost_reason is None
    wire.say(rejected(pb.REJECT_REASON_STILL_INSIDE, token=7))
    (settled,) = wire.of(Settled)
    assert isinstance(settled, Settled)
    assert settled.entry_id == entry_id
    assert isinstance(settled.outcome, Rejection)
    wire.pass_ms(0)
    assert held.lost_reason is LostReason.DEADLINE


def test_the_next_wakeup_is_the_earliest_of_heartbeat_warning_deadline_and_link() -> None:
    wire = Wire()
    assert wire.core.next_wakeup_ns() == wire.now_ns + 500 * NS_PER_MS
    wire.hold(7, "Z_1", expected_ms=500)
    held = wire.agent.grants[7]
    assert wire.core.next_wakeup_ns() == held.warn_ns == wire.now_ns + 236 * NS_PER_MS
    wire.pass_ms(236)
    assert wire.core.next_wakeup_ns() == held.deadline_ns == wire.now_ns + 59 * NS_PER_MS


# -- asks ------------------------------------------------------------------------------------------------------------


def test_a_cancelled_ask_that_is_granted_all_the_same_is_declined_once() -> None:
    wire = Wire()
    request_id = wire.agent.ask(("Z_1",), 8_000)
    wire.flush()
    wire.agent.cancel(request_id)
    assert wire.kinds() == ["cancel"]
    wire.say(wire.granted(7, "Z_1", request_id=request_id), wire.granted(7, "Z_1", request_id=request_id))
    assert wire.kinds() == ["decline"]
    assert not wire.of(AskGranted)
    wire.say(pb.Answer(released=pb.Released(token=7, zones=["Z_1"])))
    assert len(wire.agent.outbox) == 0


def test_repeated_and_unknown_answers_change_nothing() -> None:
    wire = Wire()
    request_id = wire.hold(7, "Z_1")
    before = wire.agent.grants[7].deadline_ns
    wire.pass_ms(100)
    wire.flush()
    wire.say(
        wire.granted(7, "Z_1", request_id=request_id),
        pb.Answer(agent_id="STRANGER", cancelled=pb.Cancelled()),
        pb.Answer(request_id="r-99", cancelled=pb.Cancelled()),
        pb.Answer(request_id="r-99", extended=pb.Extended(token=99)),
        pb.Answer(released=pb.Released(token=99)),
        pb.Answer(warned=pb.Warned(token=99)),
        pb.Answer(expired=pb.Expired(token=99)),
        rejected(pb.REJECT_REASON_STILL_INSIDE, token=99),
        failed(3, "BAD_FIELD", request_id="r-99"),
        stop("s-unknown", ended=True),
        pb.Answer(),
    )
    assert list(wire.agent.grants) == [7]
    assert wire.agent.grants[7].deadline_ns == before
    assert wire.operations() == []


def test_a_late_repeat_of_a_grant_that_was_given_back_is_not_taken_for_a_new_one() -> None:
    wire = Wire()
    request_id = wire.hold(7, "Z_1")
    wire.agent.release(wire.agent.grants[7])
    wire.flush()
    wire.say(pb.Answer(released=pb.Released(token=7, zones=["Z_1"])))
    wire.say(wire.granted(7, "Z_1", request_id=request_id))
    assert not wire.agent.grants
    assert wire.operations() == []


def test_a_grant_for_nobody_is_declined() -> None:
    wire = Wire()
    wire.say(wire.granted(7, "Z_1", request_id="r-99"))
    assert wire.kinds() == ["decline"]


def test_a_place_in_the_queue_for_nobody_is_given_up_and_for_who_waits_is_kept() -> None:
    wire = Wire()
    request_id = wire.agent.ask(("Z_1",), 8_000)
    wire.flush()
    for asked in (request_id, "r-99"):
        wire.say(pb.Answer(agent_id=wire.agent.spec.agent_id, request_id=asked, queued=pb.Queued(position=1)))
    assert [o.cancel.request_id for o in wire.operations()] == ["r-99"]
    wire.say(pb.Answer(agent_id=wire.agent.spec.agent_id, request_id="r-99", cancelled=pb.Cancelled()))
    assert wire.operations() == []
    wire.agent.cancel(request_id)
    assert wire.kinds() == ["cancel"]
    wire.say(pb.Answer(agent_id=wire.agent.spec.agent_id, request_id=request_id, queued=pb.Queued(position=1)))
    assert wire.operations() == []


def test_a_place_in_the_queue_under_an_id_that_was_used_for_something_else_is_given_up() -> None:
    """The simulator, seed 10079: the agent took the refusal of the other ask for its own, and waited for ever."""
    wire = Wire()
    request_id = wire.agent.ask(("Z_1",), 8_000)
    wire.flush()
    wire.say(pb.Answer(agent_id=wire.agent.spec.agent_id, request_id=request_id, queued=pb.Queued(position=1)))
    wire.say(failed(INVALID_ARGUMENT, "PAYLOAD_MISMATCH", request_id=request_id))
    assert [o.cancel.request_id for o in wire.operations()] == [request_id]
    assert wire.agent.asks == {}
    wire.say(pb.Answer(agent_id=wire.agent.spec.agent_id, request_id=request_id, cancelled=pb.Cancelled()))
    assert wire.operations() == []


def test_an_id_that_was_used_for_a_grant_that_is_known_is_left_alone() -> None:
    """Weak random numbers give a rebooted agent its old ids again; its welcome has listed what came of them."""
    wire = Wire()
    wire.hold(7, "Z_2")
    request_id = wire.agent.ask(("Z_1",), 8_000)
    wire.agent.grants[7].request_id = request_id
    wire.flush()
    wire.say(failed(INVALID_ARGUMENT, "PAYLOAD_MISMATCH", request_id=request_id))
    assert wire.operations() == []
    assert wire.agent.asks == {}
    assert list(wire.agent.grants) == [7]


def test_an_ask_that_fails_for_another_reason_needs_no_cancelling() -> None:
    wire = Wire()
    request_id = wire.agent.ask(("nowhere",), 8_000)
    wire.flush()
    wire.say(failed(INVALID_ARGUMENT, "UNKNOWN_ZONE", request_id=request_id))
    assert wire.operations() == []


def test_unavailable_is_retried_after_its_pause_under_the_same_request_id() -> None:
    wire = Wire()
    request_id = wire.agent.ask(("Z_1",), 8_000)
    wire.flush()
    wire.say(failed(UNAVAILABLE, "STORE_UNAVAILABLE", request_id=request_id, retry_ms=300))
    wire.pass_ms(299)
    assert wire.operations() == []
    wire.pass_ms(1)
    (operation,) = wire.operations()
    assert operation.ask.request_id == request_id


def test_not_leading_sends_the_stream_elsewhere() -> None:
    wire = Wire(welcome=False)
    wire.say(failed(UNAVAILABLE, "NOT_LEADER"))
    assert "NOT_LEADER" in wire.core.restart_because
    assert wire.agent.refused is None


def test_a_refused_hello_ends_the_agent() -> None:
    wire = Wire(welcome=False)
    wire.say(failed(6, "DUPLICATE_AGENT"))
    (refused,) = wire.of(HelloRefused)
    assert isinstance(refused, HelloRefused)
    assert refused.failure.reason == "DUPLICATE_AGENT"
    assert wire.reconnect() == []


def test_places_run_out_for_asks_and_partial_releases_but_never_for_giving_a_grant_up() -> None:
    wire = Wire()
    wire.hold(7, "Z_1", "Z_2")
    for _ in range(PLACES - 1):
        wire.agent.ask(("Z_3",), 8_000)
    held = wire.agent.grants[7]
    with pytest.raises(OutboxFull, match=str(PLACES)):
        wire.agent.ask(("Z_3",), 8_000)
    with pytest.raises(OutboxFull):
        wire.agent.release(held, ("Z_1",))
    assert not held.returning
    wire.agent.abandon(held)
    assert "abandon" in wire.kinds()


# -- extensions ------------------------------------------------------------------------------------------------------


def extended(token: int, request_id: str, echo: int, remaining_ms: int = 8_000) -> pb.Answer:
    answer = pb.Extended(token=token, expected_ms=8_000, remaining_ms=remaining_ms, echo_frame=echo)
    return pb.Answer(request_id=request_id, extended=answer)


def test_an_extension_moves_the_deadline_and_never_back() -> None:
    wire = Wire()
    wire.hold(7, "Z_1")
    held = wire.agent.grants[7]
    first = held.deadline_ns
    wire.pass_ms(4_000)
    request_id = wire.agent.extend(held, 8_000)
    wire.flush()
    wire.say(extended(7, request_id, wire.newest))
    assert held.deadline_ns == first + 4_000 * NS_PER_MS
    shorter = wire.agent.extend(held, 1_000)
    wire.flush()
    wire.say(extended(7, shorter, wire.newest, remaining_ms=1_000))
    assert held.deadline_ns == first + 4_000 * NS_PER_MS


def test_an_extension_that_comes_after_the_loss_revives_nothing() -> None:
    wire = Wire()
    wire.hold(7, "Z_1", expected_ms=1_000)
    held = wire.agent.grants[7]
    request_id = wire.agent.extend(held, 1_000)
    wire.flush()
    wire.pass_ms(900)
    wire.say(extended(7, request_id, wire.newest))
    assert held.lost_reason is LostReason.DEADLINE
    (ended,) = wire.of(ExtendEnded)
    assert isinstance(ended, ExtendEnded)
    assert isinstance(ended.outcome, Rejection)


def progress(wire: Wire, permille: int) -> list[str]:
    wire.agent.report(pb.Telemetry(progress_permille=permille), wire.now_ns)
    return wire.kinds()


def test_auto_extension_needs_four_fifths_of_the_time_and_risen_progress() -> None:
    wire = Wire(spec(auto_extend=True))
    progress(wire, 100)
    wire.hold(7, "Z_1", expected_ms=1_000)
    assert progress(wire, 200) == ["telemetry"]
    held = wire.agent.grants[7]
    assert held.warn_ns == wire.now_ns + 632 * NS_PER_MS  # of the 790 that are its own
    wire.pass_ms(631)
    assert "extend" not in wire.kinds()
    wire.pass_ms(1)
    assert "extend" in wire.kinds()
    wire.say(extended(7, held.extending, wire.newest))
    assert not held.warned
    held.warn_ns = wire.now_ns
    wire.pass_ms(1)
    assert held.warned
    assert "extend" not in wire.kinds()  # no progress since
    assert progress(wire, 201) == ["telemetry", "extend"]


def test_auto_extension_follows_a_warning_and_gives_up_at_the_hold_limit_but_not_over_stale_telemetry() -> None:
    wire = Wire(spec(auto_extend=True))
    wire.hold(7, "Z_1")
    wire.say(pb.Answer(warned=pb.Warned(token=7)))
    held = wire.agent.grants[7]
    assert progress(wire, 10) == ["telemetry", "extend"]
    wire.say(rejected(pb.REJECT_REASON_STALE_TELEMETRY, token=7, request_id=held.extending))
    assert progress(wire, 20) == ["telemetry", "extend"]
    wire.say(rejected(pb.REJECT_REASON_HOLD_LIMIT, token=7, request_id=held.extending))
    assert progress(wire, 30) == ["telemetry"]


def test_a_new_task_begins_a_new_count_of_progress() -> None:
    wire = Wire(spec(auto_extend=True))
    progress(wire, 900)
    wire.hold(7, "Z_1")
    progress(wire, 0)
    wire.say(pb.Answer(warned=pb.Warned(token=7)))
    assert progress(wire, 50) == ["telemetry", "extend"]


# -- giving back -----------------------------------------------------------------------------------------------------


def test_zones_are_given_back_one_by_one() -> None:
    wire = Wire()
    wire.hold(7, "Z_1", "Z_2")
    held = wire.agent.grants[7]
    wire.agent.release(held, ("Z_1",))
    (operation,) = wire.operations()
    assert operation.release.zones == ["Z_1"]
    assert not held.returning
    wire.say(pb.Answer(released=pb.Released(token=7, zones=["Z_1"])))
    assert held.zones == ("Z_2",)
    wire.agent.release(held)
    (operation,) = wire.operations()
    assert operation.release.zones == ["Z_2"]  # never "all of it": a restored ledger may count Z_1 to it again
    wire.say(pb.Answer(released=pb.Released(token=7, zones=["Z_2"])))
    assert not wire.agent.grants


def test_a_release_after_the_end_of_its_grant_loses_it() -> None:
    wire = Wire()
    wire.hold(7, "Z_1")
    held = wire.agent.grants[7]
    wire.agent.release(held)
    wire.flush()
    wire.say(rejected(pb.REJECT_REASON_GRANT_ENDED, token=7, zones=("Z_1",)))
    assert held.lost_reason is LostReason.EXPIRED
    assert not wire.agent.grants


def test_an_expired_grant_is_lost() -> None:
    wire = Wire()
    wire.hold(7, "Z_1")
    held = wire.agent.grants[7]
    wire.say(pb.Answer(expired=pb.Expired(token=7, zones=["Z_1"], stop_id="deadline:7")))
    assert held.lost_reason is LostReason.EXPIRED


def test_a_goodbye_is_settled_by_its_answer_and_not_by_an_acknowledgement_that_overtakes_it() -> None:
    wire = Wire()
    entry_id = wire.agent.goodbye()
    wire.flush()
    wire.say(ack=wire.newest)
    assert not wire.of(Settled)
    wire.say(rejected(pb.REJECT_REASON_STILL_HOLDING, zones=("Z_1",)))
    (settled,) = wire.of(Settled)
    assert isinstance(settled, Settled)
    assert settled.entry_id == entry_id
    assert isinstance(settled.outcome, Rejection)
    again = wire.agent.goodbye()
    wire.flush()
    wire.say(pb.Answer(cancelled=pb.Cancelled()))
    settled = wire.of(Settled)[-1]
    assert settled == Settled("A", again, Done())


def test_the_holder_of_a_revoked_grant_still_says_what_became_of_its_zones() -> None:
    wire = Wire()
    wire.hold(7, "Z_1")
    held = wire.agent.grants[7]
    wire.say(pb.Answer(revoked=pb.Revoked(token=7, zones=["Z_1"], message="make way")))
    assert held.lost_reason is LostReason.REVOKED
    wire.agent.abandon(held, pb.ABANDON_CAUSE_STANDING)
    assert wire.kinds() == ["abandon"]
    wire.say(pb.Answer(abandoned=pb.Abandoned(token=7, zones=["Z_1"])))
    assert not wire.agent.grants


def test_an_extension_refused_as_revoked_tells_the_holder_what_it_missed() -> None:
    wire = Wire()
    wire.hold(7, "Z_1")
    held = wire.agent.grants[7]
    request_id = wire.agent.extend(held, 8_000)
    wire.flush()
    wire.say(rejected(pb.REJECT_REASON_REVOKED, token=7, request_id=request_id))
    assert held.lost_reason is LostReason.REVOKED
    assert [n.grant.token for n in wire.of(GrantGone) if isinstance(n, GrantGone)] == [7]
    assert 7 in wire.agent.grants  # its holder still says what became of the zones

"""What survives a stream: asks, grants, what is owed, stops; and what a reconnection may and may not change."""

from __future__ import annotations

from client.wire import Wire, failed, grant, rejected, spec, stop
from zonelock.v1 import zone_service_pb2 as pb
from zonelock_client.session_core import LostReason
from zonelock_client.session_core.values import (
    NS_PER_MS,
    AskEnded,
    AskGranted,
    DeadlineMoved,
    Done,
    GrantGone,
    HelloRefused,
    Rejection,
    Settled,
    Welcomed,
)


def test_the_hello_presents_what_was_seen_held_and_confirmed_but_declares_its_standing_only_once() -> None:
    wire = Wire(spec(highest_token=3))
    assert wire.frames[0].operations[0].hello.highest_token == 3
    wire.hold(7, "Z_1")
    wire.say(epoch=42, revision=99)
    wire.say(stop("s-unconfirmed"))
    (hello,) = wire.reconnect()
    assert hello.hello.highest_token == 7
    assert (hello.hello.highest_epoch, hello.hello.highest_revision) == (42, 99)
    assert not hello.hello.held_tokens  # the stop ended it
    assert not hello.hello.latched_stop_ids
    assert not hello.hello.standing_zones
    wire.agent.acknowledge_stops(("s-unconfirmed",))
    (hello,) = wire.reconnect()
    assert hello.hello.latched_stop_ids == ["s-unconfirmed"]


def test_an_ask_is_sent_again_under_its_own_id() -> None:
    wire = Wire()
    request_id = wire.agent.ask(("Z_1",), 8_000)
    wire.flush()
    wire.reconnect()
    wire.welcome()
    (operation,) = wire.operations()
    assert operation.ask.request_id == request_id


def test_a_grant_whose_answer_was_lost_is_taken_from_the_welcome_and_not_asked_for_again() -> None:
    wire = Wire()
    request_id = wire.agent.ask(("Z_1",), 8_000)
    wire.flush()
    wire.reconnect()
    wire.welcome(grant(7, "Z_1", echo=1, remaining_ms=7_000, request_id=request_id))
    (granted,) = wire.of(AskGranted)
    assert isinstance(granted, AskGranted)
    assert granted.grant.deadline_ns == wire.now_ns + (7_000 * 99 // 100 - 200) * NS_PER_MS
    assert wire.operations() == []


def test_a_grant_for_an_ask_that_was_cancelled_meanwhile_is_declined() -> None:
    wire = Wire()
    request_id = wire.agent.ask(("Z_1",), 8_000)
    wire.flush()
    wire.core.stream_closed(wire.now_ns)
    wire.agent.cancel(request_id)
    wire.core.stream_opened(wire.now_ns)
    wire.flush()
    wire.welcome(grant(7, "Z_1", echo=1, request_id=request_id))
    assert wire.kinds() == ["decline"]


def test_a_cancelled_ask_is_forgotten_with_its_stream_because_the_coordinator_drops_its_waiters() -> None:
    wire = Wire()
    request_id = wire.agent.ask(("Z_1",), 8_000)
    wire.flush()
    wire.agent.cancel(request_id)
    wire.flush()
    wire.reconnect()
    wire.welcome()
    assert wire.operations() == []
    assert not wire.agent.asks


def test_a_resumed_grant_keeps_its_deadline_even_when_the_coordinator_would_give_more() -> None:
    wire = Wire()
    wire.hold(7, "Z_1")
    held = wire.agent.grants[7]
    before = held.deadline_ns
    wire.reconnect(away_ms=1_000)
    wire.welcome(grant(7, "Z_1", echo=1, remaining_ms=9_000))
    assert held.deadline_ns == before
    assert held.lost_reason is None


def test_a_resumed_grant_takes_an_earlier_deadline() -> None:
    wire = Wire()
    wire.hold(7, "Z_1")
    held = wire.agent.grants[7]
    wire.reconnect(away_ms=1_000)
    wire.welcome(grant(7, "Z_1", echo=1, remaining_ms=2_000))
    assert held.deadline_ns == wire.now_ns + (1_980 - 200) * NS_PER_MS
    assert len(wire.of(DeadlineMoved)) == 1


def test_a_grant_that_is_not_listed_after_a_reconnection_is_lost() -> None:
    wire = Wire()
    wire.hold(7, "Z_1")
    held = wire.agent.grants[7]
    wire.reconnect()
    wire.welcome()
    assert held.lost_reason is LostReason.NOT_RESUMED
    assert len(wire.of(GrantGone)) == 1


def test_a_lost_grant_that_is_still_listed_stays_lost() -> None:
    wire = Wire()
    wire.hold(7, "Z_1", expected_ms=1_000)
    held = wire.agent.grants[7]
    wire.pass_ms(900)
    wire.reconnect()
    wire.welcome(grant(7, "Z_1", echo=1, remaining_ms=60_000))
    assert held.lost_reason is LostReason.DEADLINE


def test_grants_of_an_earlier_process_are_handed_over_and_never_declined() -> None:
    wire = Wire(welcome=False)
    wire.welcome(grant(7, "Z_1", echo=1, remaining_ms=5_000), grant(8, "Z_2", echo=1, remaining_ms=100))
    (welcomed,) = wire.of(Welcomed)
    assert isinstance(welcomed, Welcomed)
    assert [(g.token, g.lost_reason) for g in welcomed.resumed] == [(7, None), (8, LostReason.DEADLINE)]
    assert wire.operations() == []


def test_what_is_owed_is_sent_again_in_order_behind_the_telemetry_that_it_rests_on() -> None:
    wire = Wire()
    wire.hold(7, "Z_1")
    wire.hold(8, "Z_2")
    wire.agent.report(pb.Telemetry(inside_known=True, inside_zones=["Z_3"]), wire.now_ns)
    wire.agent.release(wire.agent.grants[7])
    wire.agent.abandon(wire.agent.grants[8])
    wire.flush()
    wire.reconnect(away_ms=4_000)
    wire.welcome(grant(7, "Z_1", echo=1), grant(8, "Z_2", echo=1))
    operations = wire.operations()
    assert [o.WhichOneof("kind") for o in operations] == ["telemetry", "release", "abandon"]
    assert operations[0].telemetry.inside_zones == ["Z_3"]


def test_old_telemetry_on_which_nothing_rests_is_not_passed_off_as_fresh() -> None:
    wire = Wire()
    wire.agent.report(pb.Telemetry(activity="long ago"), wire.now_ns)
    wire.flush()
    wire.reconnect(away_ms=2_000)
    wire.welcome()
    assert wire.operations() == []


def test_a_release_that_was_carried_out_before_the_break_counts_as_done() -> None:
    for answer in (
        rejected(pb.REJECT_REASON_ALREADY_RELEASED, token=7),
        failed(9, "STALE_TOKEN", token=7),  # given back, and granted to somebody else since
        pb.Answer(released=pb.Released(token=7, zones=["Z_1"])),
    ):
        wire = Wire()
        wire.hold(7, "Z_1")
        entry_id = wire.agent.release(wire.agent.grants[7])
        wire.flush()
        wire.reconnect()
        wire.welcome()
        assert wire.kinds() == ["release"]
        wire.say(answer)
        assert wire.of(Settled) == [Settled("A", entry_id, Done())]
        assert len(wire.agent.outbox) == 0


def test_a_stale_token_at_the_first_attempt_is_an_error() -> None:
    wire = Wire()
    wire.hold(7, "Z_1")
    wire.agent.release(wire.agent.grants[7])
    wire.flush()
    wire.say(failed(9, "STALE_TOKEN", token=7))
    (settled,) = wire.of(Settled)
    assert isinstance(settled, Settled)
    assert not isinstance(settled.outcome, Done | Rejection)


def test_a_partial_release_whose_answer_was_lost_is_learnt_from_the_welcome() -> None:
    wire = Wire()
    wire.hold(7, "Z_1", "Z_2")
    held = wire.agent.grants[7]
    wire.agent.release(held, ("Z_1",))
    wire.flush()
    wire.reconnect()
    wire.welcome(grant(7, "Z_2", echo=1))
    assert held.zones == ("Z_2",)
    assert held.lost_reason is None


def test_an_extension_is_sent_again_under_its_own_id() -> None:
    wire = Wire()
    wire.hold(7, "Z_1")
    request_id = wire.agent.extend(wire.agent.grants[7], 8_000)
    wire.flush()
    wire.reconnect()
    wire.welcome(grant(7, "Z_1", echo=1))
    (operation,) = wire.operations()
    assert operation.extend.request_id == request_id


def test_confirmed_stops_are_acknowledged_again_to_the_next_coordinator() -> None:
    wire = Wire()
    wire.say(stop("s1"))
    wire.say(stop("s2"))
    wire.agent.acknowledge_stops(("s1",))
    wire.flush()
    wire.say(ack=wire.newest)
    wire.reconnect()
    wire.welcome(stops=("s1", "s2"))
    (operation,) = wire.operations()
    assert operation.stop_ack.stop_ids == ["s1"]


def test_a_stop_elsewhere_that_a_welcome_lists_does_not_latch() -> None:
    wire = Wire(welcome=False)
    wire.welcome(stops=("elsewhere",))
    assert not wire.agent.latched


def test_a_stop_that_ended_while_its_halt_was_unconfirmed_is_asked_about_by_a_second_hello() -> None:
    wire = Wire()
    wire.say(stop("s1"))
    wire.reconnect()
    wire.welcome()  # s1 is not active any more, and the hello could not name it
    assert wire.kinds() == []
    assert list(wire.agent.latched) == ["s1"]
    wire.agent.acknowledge_stops(("s1",))
    operations = wire.operations()
    assert operations[0].hello.latched_stop_ids == ["s1"]


def test_an_agent_that_another_client_took_over_is_refused() -> None:
    wire = Wire()
    wire.hold(7, "Z_1")
    held = wire.agent.grants[7]
    request_id = wire.agent.ask(("Z_2",), 8_000)
    wire.flush()
    wire.say(failed(16, "UNKNOWN_AGENT", request_id=request_id))
    assert held.lost_reason is LostReason.REFUSED
    assert len(wire.of(HelloRefused)) == 1
    assert len(wire.of(AskEnded)) == 1


def test_a_refusal_after_a_reconnection_loses_the_grants() -> None:
    wire = Wire()
    wire.hold(7, "Z_1")
    held = wire.agent.grants[7]
    wire.reconnect()
    wire.say(failed(9, "FLOOR_MISMATCH"))
    assert held.lost_reason is LostReason.REFUSED
    assert len(wire.of(HelloRefused)) == 1

"""Link states by the age of acknowledgements, and stops as the session core takes them."""

from __future__ import annotations

from client.wire import Wire, failed, stop
from zonelock_client.session_core import LinkState, LostReason
from zonelock_client.session_core.values import AskEnded, GrantGone, LinkMoved, Rejection, StopLatched, StopLifted

UNAVAILABLE = 14


# -- the link --------------------------------------------------------------------------------------------------------


def states(wire: Wire) -> list[LinkState]:
    return [n.state for n in wire.of(LinkMoved) if isinstance(n, LinkMoved)]


def test_the_link_is_suspended_and_lost_by_the_age_of_the_newest_acknowledged_frame() -> None:
    wire = Wire()
    assert states(wire) == [LinkState.CONNECTED]
    wire.pass_ms(1_000)
    wire.flush()
    wire.pass_ms(400)
    wire.say(ack=wire.newest)  # sent 400 ms ago, and so that old
    wire.pass_ms(1_099)
    assert wire.agent.link(wire.now_ns) is LinkState.CONNECTED
    wire.pass_ms(1)
    assert states(wire) == [LinkState.CONNECTED, LinkState.SUSPENDED]
    wire.pass_ms(3_500)
    assert states(wire)[-1] is LinkState.LOST
    assert wire.agent.link_lost_ns == wire.now_ns


def test_an_acknowledgement_brings_a_suspended_link_back() -> None:
    wire = Wire()
    wire.pass_ms(700)
    wire.pass_ms(700)
    wire.flush()
    wire.pass_ms(700)
    assert states(wire)[-1] is LinkState.SUSPENDED
    wire.say(ack=wire.newest)
    assert states(wire)[-1] is LinkState.CONNECTED


def test_an_acknowledgement_of_a_frame_that_was_never_sent_counts_for_nothing() -> None:
    wire = Wire()
    for _ in range(3):
        wire.pass_ms(700)
        wire.say(ack=wire.newest + 5)
    assert states(wire)[-1] is LinkState.SUSPENDED


def test_the_only_coordinator_is_kept_until_the_link_is_lost_because_stops_still_come_from_it() -> None:
    wire = Wire(alternatives=False)
    for _ in range(9):
        wire.pass_ms(500)
        assert not wire.core.restart_because
    assert wire.agent.link(wire.now_ns) is LinkState.SUSPENDED
    wire.say(stop("s1"))
    assert list(wire.agent.latched) == ["s1"]
    wire.pass_ms(501)
    assert "5000 ms" in wire.core.restart_because


def test_a_store_that_fails_under_a_welcomed_agent_does_not_end_its_stream() -> None:
    wire = Wire()
    wire.hold(7, "Z_1")
    wire.agent.release(wire.agent.grants[7])
    wire.flush()
    wire.say(failed(UNAVAILABLE, "NOT_LEADER", retry_ms=500))
    assert not wire.core.restart_because
    wire.pass_ms(500)
    assert "release" in wire.kinds()


def test_a_silent_stream_is_to_be_replaced() -> None:
    wire = Wire()
    for _ in range(3):
        wire.pass_ms(499)
        assert not wire.core.restart_because
    wire.pass_ms(3)
    assert "1500 ms" in wire.core.restart_because


def test_a_shell_that_stood_still_itself_waits_before_it_blames_the_coordinator() -> None:
    wire = Wire()
    wire.pass_ms(3_000)  # a blocked event loop: no heartbeat left either
    assert wire.agent.link(wire.now_ns) is LinkState.SUSPENDED
    assert not wire.core.restart_because
    wire.flush()
    wire.pass_ms(100)
    wire.say(ack=wire.newest)
    wire.pass_ms(100)
    assert wire.agent.link(wire.now_ns) is LinkState.CONNECTED
    assert not wire.core.restart_because


# -- stops -----------------------------------------------------------------------------------------------------------


def test_a_stop_loses_every_grant_and_latches_until_its_own_reset() -> None:
    wire = Wire()
    wire.hold(7, "Z_1")
    wire.hold(8, "Z_2")
    wire.say(stop("s1"))
    lost = [n.grant for n in wire.of(GrantGone) if isinstance(n, GrantGone)]
    assert [(g.token, g.lost_reason) for g in lost] == [(7, LostReason.STOPPED), (8, LostReason.STOPPED)]
    assert len(wire.of(StopLatched)) == 1
    wire.say(stop("s2", ended=True))
    assert list(wire.agent.latched) == ["s1"]
    wire.say(stop("s1", ended=True))
    assert not wire.agent.latched
    assert len(wire.of(StopLifted)) == 1


def test_a_grant_that_a_stop_overtook_is_declined() -> None:
    wire = Wire()
    request_id = wire.agent.ask(("Z_1",), 8_000)
    wire.flush()
    wire.say(stop("s1"))
    wire.say(wire.granted(7, "Z_1", request_id=request_id))
    (ended,) = wire.of(AskEnded)
    assert isinstance(ended, AskEnded)
    assert isinstance(ended.ending, Rejection)
    assert ended.ending.stop_ids == ("s1",)
    assert wire.kinds() == ["decline"]


def test_a_stop_is_acknowledged_only_when_told_so_and_kept_until_a_commit() -> None:
    wire = Wire()
    wire.say(stop("s1"))
    assert wire.operations() == []
    wire.agent.acknowledge_stops(("s1",))
    (operation,) = wire.operations()
    assert operation.stop_ack.stop_ids == ["s1"]
    wire.say(ack=wire.newest - 1)
    assert len(wire.agent.outbox) == 1
    wire.say(ack=wire.newest)
    assert len(wire.agent.outbox) == 0


def test_a_repeated_stop_is_acknowledged_again() -> None:
    wire = Wire()
    wire.say(stop("s1"))
    wire.agent.acknowledge_stops(("s1",))
    wire.flush()
    wire.say(stop("s1"))
    assert wire.kinds() == ["stop_ack"]
    assert len(wire.of(StopLatched)) == 1


def test_late_answers_of_a_superseded_leader_change_nothing_but_its_stops_are_taken() -> None:
    wire = Wire()
    wire.hold(7, "Z_1")
    wire.say(epoch=9, revision=90, newest_token=(1 << 40) + 7)
    wire.pass_ms(1_000)
    before = wire.agent.contact_ns
    ask = wire.agent.ask(("Z_2",), 8_000)
    wire.flush()
    wire.say(wire.granted(8, "Z_2", request_id=ask), ack=wire.newest, epoch=8, revision=95)
    assert sorted(wire.agent.grants) == [7]
    assert wire.agent.contact_ns == before
    assert "fence 8" in wire.core.restart_because
    wire.say(stop("s"), epoch=8, revision=95)
    assert sorted(wire.agent.latched) == ["s"]


def test_a_lower_fence_in_a_higher_incarnation_is_no_superseded_leader() -> None:
    """A restored ledger that was found out: its store counts on from the copy, its tokens from above everything."""
    wire = Wire()
    wire.say(epoch=900, revision=950, newest_token=(1 << 40) + 7)
    wire.say(epoch=500, revision=510, newest_token=2 << 40)
    assert wire.core.restart_because == ""
    (hello,) = wire.reconnect()
    seen = hello.hello
    assert (seen.highest_epoch, seen.highest_revision, seen.highest_token) == (500, 510, 2 << 40)

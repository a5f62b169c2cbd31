"""What waits for one client: stops first, frames that are bounded, bytes that are what a message would encode to."""

from __future__ import annotations

import pytest
from zonelock.v1 import zone_service_pb2 as zpb

from coordinator.core import effects as fx
from coordinator.core.model import Mark, StopCause, StopRecord, Timing
from coordinator.rpc.limits import RpcLimits
from coordinator.rpc.outbox import Outbox
from coordinator.rpc.translate import Greeting, answer_message, encoded_answer

GREETING = Greeting("site", "hash", 1, Timing())


def stop_for(agent_id: str, stop_id: str = "s", request_id: str = "") -> fx.Send:
    stop = StopRecord(stop_id, StopCause.OPERATOR, False, ("g",), ("Z1",), "ann", "smoke", token=1 << 40)
    return fx.Send(1, agent_id, request_id, fx.StopRaised(stop))


def released(i: int, zones: int = 1) -> bytes:
    names = tuple(f"Z{n}" for n in range(zones))
    return encoded_answer(fx.Send(1, "a", f"r{i}", fx.Released(i, names)), 0, GREETING)


def taken(outbox: Outbox) -> zpb.SessionResponse:
    frame = outbox.next_frame()
    assert frame is not None
    return zpb.SessionResponse.FromString(frame)


@pytest.mark.parametrize("size", [0, 1, 60, 127, 128, 300, 16_383, 16_384, 40_000])
def test_a_frame_holds_its_answers_whole_whatever_their_size(size: int) -> None:
    outbox = Outbox(RpcLimits())
    answers = [zpb.Answer(agent_id="a", released=zpb.Released(token=i, zones=["z" * size])) for i in range(3)]
    for answer in answers:
        outbox.put(answer.SerializeToString())
    found: list[zpb.Answer] = []
    while (frame := outbox.next_frame()) is not None:
        found.extend(zpb.SessionResponse.FromString(frame).answers)
    assert found == answers
    assert outbox.size_bytes == 0


def test_a_frame_says_how_far_the_ledger_is_and_what_was_handled() -> None:
    outbox = Outbox(RpcLimits(), epoch=3)
    outbox.acknowledge(7, Mark(5, 11, (1 << 40) + 2))
    outbox.put(released(1))
    frame = taken(outbox)
    said = (frame.frame, frame.ack_frame, frame.epoch, frame.revision, frame.newest_token)
    assert said == (1, 7, 5, 11, (1 << 40) + 2)
    assert outbox.next_frame() is None


def test_a_stop_that_was_encoded_once_for_all_is_the_message_that_each_would_get() -> None:
    for send in (stop_for("a"), stop_for("b"), stop_for("b", "t"), stop_for("a"), stop_for("", "u", "r")):
        assert zpb.Answer.FromString(encoded_answer(send, 0, GREETING)) == answer_message(send, 0, GREETING)


def test_a_stop_leaves_in_a_frame_of_its_own_ahead_of_what_is_queued() -> None:
    outbox = Outbox(RpcLimits())
    for i in range(300):
        outbox.put(released(i))
    for agent_id in "ab":
        outbox.put(encoded_answer(stop_for(agent_id), 0, GREETING), stop=True)
    assert [(a.agent_id, a.WhichOneof("kind")) for a in taken(outbox).answers] == [
        ("a", "stop_raised"),
        ("b", "stop_raised"),
    ]
    assert [a.released.token for a in taken(outbox).answers] == list(range(256))
    assert [a.released.token for a in taken(outbox).answers] == list(range(256, 300))


def test_a_frame_is_closed_at_its_size_in_bytes_but_never_empty() -> None:
    outbox = Outbox(RpcLimits(response_bytes=1_000))
    for i in range(3):
        outbox.put(released(i, zones=400))
    assert [a.released.token for a in taken(outbox).answers] == [0]
    assert len(outbox) == 2

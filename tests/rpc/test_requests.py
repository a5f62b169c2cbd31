from __future__ import annotations

import contextlib

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from rpc.site import FLOOR_YAML, SECRET, ask, hello, operation
from zonelock.v1 import zone_service_pb2 as zpb

from coordinator.core import events as ev
from coordinator.core.model import BlockCause
from coordinator.floor import Floor
from coordinator.rpc.errors import RequestRefused
from coordinator.rpc.requests import ask_payload, event_of, session_hash

FLOOR = Floor.parse(FLOOR_YAML)


def event(op: zpb.Operation) -> ev.Event:
    return event_of(op, conn=7, now_ms=1_000, cause="7.1.0", floor=FLOOR)


def test_the_secret_is_hashed_and_appears_nowhere_in_the_event() -> None:
    said = event(hello("AGV_1"))
    assert isinstance(said, ev.Hello)
    assert said.session == session_hash(SECRET)
    assert len(said.session) == 64
    assert SECRET.decode() not in repr(said)


def test_every_event_carries_its_time_its_connection_and_its_cause() -> None:
    asked = event(ask("AGV_1", "r1", "A"))
    assert isinstance(asked, ev.Asked)
    assert (asked.now_ms, asked.conn, asked.cause, asked.agent_id) == (1_000, 7, "7.1.0", "AGV_1")


@pytest.mark.parametrize(
    ("op", "field"),
    [
        (ask("", "r1", "A"), "agent_id"),
        (ask("A" * 65, "r1", "A"), "agent_id"),
        (ask("AGV/1", "r1", "A"), "agent_id"),
        (ask("AGV_1\n", "r1", "A"), "agent_id"),
        (ask("AGV_1", "", "A"), "ask.request_id"),
        (ask("AGV_1", "r" * 65, "A"), "ask.request_id"),
        (ask("AGV_1", "ré", "A"), "ask.request_id"),
        (ask("AGV_1", "r1", "A", ""), "ask.zones[1]"),
        (ask("AGV_1", "r1", "Z" * 129), "ask.zones[0]"),
        (ask("AGV_1", "r1", *("A" for _ in range(1_025))), "ask.zones"),
        (hello("AGV_1", b"x" * 15), "session_secret"),
        (hello("AGV_1", b"x" * 65), "session_secret"),
        (operation("a", hello=zpb.Hello(session_secret=SECRET, agent_kind="a b")), "hello.agent_kind"),
        (operation("a", hello=zpb.Hello(session_secret=SECRET, floor_hash="f" * 129)), "hello.floor_hash"),
        (operation("a", hello=zpb.Hello(session_secret=SECRET, highest_token=1 << 63)), "hello.highest_token"),
        (operation("a", hello=zpb.Hello(session_secret=SECRET, held_tokens=[0])), "hello.held_tokens"),
        (operation("a", hello=zpb.Hello(session_secret=SECRET, held_tokens=[1] * 1_025)), "hello.held_tokens"),
        (operation("a", hello=zpb.Hello(session_secret=SECRET, latched_stop_ids=["x y"])), "hello.latched_stop_ids"),
        (operation("a", hello=zpb.Hello(session_secret=SECRET, standing_zones=[""])), "hello.standing_zones[0]"),
        (operation("a", cancel=zpb.Cancel()), "cancel.request_id"),
        (operation("a", release=zpb.Release()), "release.token"),
        (operation("a", release=zpb.Release(token=1, zones=["A"] * 1_025)), "release.zones"),
        (operation("a", abandon=zpb.Abandon(token=1)), "abandon.cause"),
        (operation("a", abandon=zpb.Abandon(token=1, cause=99)), "abandon.cause"),  # type: ignore[arg-type]
        (operation("a", decline=zpb.Decline()), "decline.token"),
        (operation("a", extend=zpb.Extend(token=1)), "extend.request_id"),
        (operation("a", extend=zpb.Extend(request_id="x")), "extend.token"),
        (operation("a", telemetry=zpb.Telemetry(has_position=True, x_mm=1 << 40)), "telemetry.x_mm"),
        (operation("a", telemetry=zpb.Telemetry(has_position=True, y_mm=-(1 << 40))), "telemetry.y_mm"),
        (operation("a", telemetry=zpb.Telemetry(heading_mdeg=360_001)), "telemetry.heading_mdeg"),
        (operation("a", telemetry=zpb.Telemetry(progress_permille=1_001)), "telemetry.progress_permille"),
        (operation("a", telemetry=zpb.Telemetry(activity="x" * 201)), "telemetry.activity"),
        (operation("a", telemetry=zpb.Telemetry(activity="\x1b[31m")), "telemetry.activity"),
        (operation("a", stop_ack=zpb.StopAck()), "stop_ack.stop_ids"),
        (operation("a"), "kind"),
    ],
)
def test_a_malformed_operation_is_refused_by_field_value_and_what_would_be_right(op: zpb.Operation, field: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        event(op)
    metadata = dict(refused.value.metadata)
    assert metadata["field"] == field
    assert "value" in metadata
    assert field in refused.value.message or field == "kind"


@pytest.mark.parametrize(
    ("cause", "block"),
    [
        (zpb.ABANDON_CAUSE_ABANDONED, BlockCause.ABANDONED),
        (zpb.ABANDON_CAUSE_PARKED, BlockCause.PARKED),
        (zpb.ABANDON_CAUSE_STANDING, BlockCause.STOPPED),
    ],
)
def test_abandon_says_why_the_agent_stays(cause: zpb.AbandonCause.ValueType, block: BlockCause) -> None:
    abandoned = event(operation("AGV_1", abandon=zpb.Abandon(token=5, cause=cause)))
    assert isinstance(abandoned, ev.Abandoned)
    assert abandoned.block is block


@pytest.mark.parametrize(
    ("telemetry", "inside"),
    [
        (zpb.Telemetry(), None),
        (zpb.Telemetry(inside_known=True), ()),
        (zpb.Telemetry(inside_zones=["A"]), ("A",)),
        (zpb.Telemetry(has_position=True, x_mm=1_500, y_mm=500), ("B",)),
        (zpb.Telemetry(has_position=True, x_mm=1_500, y_mm=500, inside_zones=["A"]), ("A", "B")),
        (zpb.Telemetry(has_position=True, x_mm=1_500, y_mm=500, inside_zones=["B"]), ("B",)),
        (zpb.Telemetry(has_position=True, x_mm=1_500, y_mm=500, inside_zones=["A"], inside_known=True), ("A",)),
        (zpb.Telemetry(has_position=True, x_mm=99_000, y_mm=500), ()),
    ],
)
def test_what_telemetry_says_of_zones(telemetry: zpb.Telemetry, inside: tuple[str, ...] | None) -> None:
    reported = event(operation("AGV_1", telemetry=telemetry))
    assert isinstance(reported, ev.Reported)
    assert reported.inside == inside


asks = st.builds(
    zpb.Ask,
    request_id=st.text(max_size=5),
    zones=st.lists(st.text(max_size=4), max_size=4),
    expected_ms=st.integers(0, 3),
    priority=st.integers(0, 2),
    no_wait=st.booleans(),
)


@given(asks, asks)
def test_two_asks_have_one_payload_exactly_when_they_say_the_same(one: zpb.Ask, other: zpb.Ask) -> None:
    def says(said: zpb.Ask) -> tuple[tuple[str, ...], int, int, bool]:
        return tuple(said.zones), said.expected_ms, said.priority, said.no_wait

    assert (ask_payload(*says(one)) == ask_payload(*says(other))) == (says(one) == says(other))


def test_a_payload_stays_what_it_was_in_ledgers_that_earlier_versions_wrote() -> None:
    written = "fb28585da11a3b2f62ad224fe1f73ee86ee8f994b5b4a9e465cdb4a23c205a54"
    assert ask_payload(("A", "Bé"), 30_000, 2, True) == written


@given(st.binary(max_size=300))
def test_whatever_bytes_arrive_they_become_an_event_or_a_refusal(raw: bytes) -> None:
    try:
        op = zpb.Operation.FromString(raw)
    except DecodeError:
        return  # gRPC refuses what is not a message before anything here sees it
    with contextlib.suppress(RequestRefused):
        assert isinstance(event(op), ev.Event)

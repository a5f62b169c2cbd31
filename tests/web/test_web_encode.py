"""The hand-made conversion says exactly what protobuf's own says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf import struct_pb2
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st
from web import fake_floor
from web.fake_feed import FakeFloor
from zonelock.v1 import floor_pb2, zone_service_pb2

from coordinator.web.drawing import floor_json, furniture
from coordinator.web.encode import to_json
from coordinator.web.picture import Picture


def canonical(message: Message) -> dict[str, Any]:
    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def busy_floor() -> FakeFloor:
    floor = FakeFloor()
    for _ in range(400):
        floor.step(100)
    floor.overstay("AGV_02")
    floor.step(100)
    return floor


def test_a_whole_floor_converts_as_protobuf_itself_would() -> None:
    message = busy_floor().message(snapshot=True)
    assert to_json(message) == canonical(message)
    assert json.loads(json.dumps(to_json(message))) == canonical(message)


@pytest.mark.parametrize(
    "empty", [zone_service_pb2.WatchFloorResponse(), floor_pb2.Stop(), floor_pb2.Floor(), floor_pb2.ZoneView()]
)
def test_an_empty_message_keeps_its_defaults(empty: Message) -> None:
    assert to_json(empty) == canonical(empty)


@given(token=st.integers(0, 2**64 - 1), remaining=st.integers(-(2**63), 2**63 - 1), name=st.text(max_size=20))
def test_integers_of_64_bits_and_any_text_survive(token: int, remaining: int, name: str) -> None:
    occupant = floor_pb2.Occupant(agent_id=name, token=token, remaining_ms=remaining, state=floor_pb2.SLOT_STATE_HELD)
    zone = floor_pb2.ZoneView(name=name, occupants=[occupant])
    assert to_json(zone) == canonical(zone)


def test_an_enum_number_from_a_newer_coordinator_stays_a_number() -> None:
    zone = floor_pb2.ZoneView(name="Z", state=97)  # type: ignore[arg-type]
    assert to_json(zone)["state"] == 97


def test_a_field_type_that_is_not_converted_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match=r"google\.protobuf\.(Struct|Value)\."):
        to_json(struct_pb2.Struct())


def test_the_page_gets_machines_arms_and_lanes_but_not_the_source() -> None:
    floor = fake_floor.floor_message()
    floor.source_yaml += "grid: |\n  #>#\n  #v#\n"
    found = floor_json(floor)
    assert "source_yaml" not in found
    assert found["zones"][0]["cells"] == [{"x": 1, "y": 1}]
    drawing = found["drawing"]
    assert drawing["arms"][fake_floor.ARM] == {"base": [19, 3], "zones": ["Z_32"]}
    assert drawing["machines"]["CNC_2"] == [[x, y] for y in (3, 4) for x in (7, 8, 9, 10)]
    assert drawing["lanes"] == [[1, 0, 1, 0], [1, 1, 0, 1]]


@pytest.mark.parametrize(
    "source", ["", "- 1\n- 2", "arms: {A: 3}", "machines: {M: [[1]]}", "{", "grid: 7", "a: &a [*a]"]
)
def test_a_source_that_cannot_be_drawn_leaves_the_floor_bare(source: str, caplog: pytest.LogCaptureFixture) -> None:
    found = furniture(source)
    assert not any(found[part] for part in ("machines", "stations", "parking", "lanes"))


def test_a_late_snapshot_moves_running_times_on_and_leaves_the_rest() -> None:
    floor = busy_floor()
    message = floor.message(snapshot=True)
    picture = Picture()
    picture.apply(to_json(message), at_ms=10_000)
    first, later = picture.whole(10_000), picture.whole(12_500)
    assert first == to_json(message)
    for before, after in zip(first["stops"], later["stops"], strict=True):
        assert int(after["age_ms"]) == int(before["age_ms"]) + 2_500
    for before, after in zip(first["waits"], later["waits"], strict=True):
        assert int(after["waiting_ms"]) == int(before["waiting_ms"]) + 2_500
    seen = set()
    for zone_before, zone_after in zip(first["zones"], later["zones"], strict=True):
        for before, after in zip(zone_before["occupants"], zone_after["occupants"], strict=True):
            assert int(after["since_ms"]) == int(before["since_ms"]) + 2_500
            held = before["state"] == "SLOT_STATE_HELD"
            seen.add(held)
            assert int(after["remaining_ms"]) == int(before["remaining_ms"]) - (2_500 if held else 0)
    assert seen == {True, False}


def test_what_left_is_not_in_the_picture_any_more() -> None:
    floor = busy_floor()
    picture = Picture()
    picture.apply(to_json(floor.message(snapshot=True)), at_ms=0)
    (stop_id,) = floor.stops
    ended = floor.reset(stop_id)
    update = zone_service_pb2.WatchFloorResponse(
        stops=[ended], agents=[floor_pb2.AgentView(agent_id="AGV_09", removed=True)], waits_changed=True
    )
    picture.apply(to_json(update), at_ms=100)
    whole = picture.whole(100)
    assert whole["stops"] == []
    assert whole["waits"] == []
    assert "AGV_09" not in {agent["agent_id"] for agent in whole["agents"]}
    assert len(whole["zones"]) == len(fake_floor.ZONES)

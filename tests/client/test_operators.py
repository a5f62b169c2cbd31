"""What operators do through the SDK, and what is said of wrong arguments before anything is sent."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest
from zonelock.v1 import floor_pb2
from zonelock_client import ArgumentError, GrantRejected, Operator, RequestError, connect
from zonelock_client.testing import TestServer


@pytest.fixture
async def server() -> AsyncIterator[TestServer]:
    async with TestServer() as server:
        yield server


async def test_an_operator_sees_the_floor_and_its_zones(server: TestServer) -> None:
    async with Operator(server.target, operator="mara") as operator:
        floor = await operator.floor()
        assert floor.site == "test"
        assert floor.hash == server.floor.hash
        assert [z.name for z in await operator.zones("Z_31", "Z_32")] == ["Z_31", "Z_32"]
        assert len(await operator.zones()) == 5


async def test_a_watch_begins_with_the_whole_picture_and_goes_on_with_changes(server: TestServer) -> None:
    async with Operator(server.target, operator="mara") as operator:
        pictures = operator.watch()
        first = await anext(pictures)
        assert first.snapshot
        assert len(first.zones) == 5
        async with connect(server.target, agent_id="A") as agent:
            grant = await agent.acquire("Z_31", expected_ms=8_000)
            async for picture in pictures:
                if any(z.name == "Z_31" and z.state == floor_pb2.ZONE_STATE_HELD for z in picture.zones):
                    break
            await grant.cleared()
        await pictures.aclose()


async def test_a_stop_its_reset_and_a_clearance_are_in_the_audit(server: TestServer) -> None:
    async with Operator(server.target, operator="mara") as operator:
        stop = await operator.trip_stop("smoke", stop_group="east", stop_id="fire-1")
        assert (await operator.trip_stop("smoke", stop_group="east", stop_id="fire-1")).stop_id == "fire-1"
        assert [s.stop_id for s in await operator.stops()] == ["fire-1"]
        (ended,) = await operator.reset([stop.stop_id], "no smoke any more")
        assert not ended.active
        assert await operator.stops() == []
        assert len(await operator.stops(include_ended=True)) == 1
        agent = await connect(server.target, agent_id="A")
        await (await agent.acquire("Z_31", expected_ms=8_000)).abandon()
        await agent.close()
        assert await operator.clear(["west"], "walked there") == ["Z_31"]
        assert [(e.action, e.actor) for e in await operator.audit()][-3:] == [
            ("stop", "mara"),
            ("reset", "mara"),
            ("clearance", "mara"),
        ]


async def test_refusals_carry_code_reason_and_metadata(server: TestServer) -> None:
    async with Operator(server.target, operator="mara") as operator:
        with pytest.raises(RequestError) as caught:
            await operator.reset(["nope"], "test")
        assert caught.value.code is grpc.StatusCode.NOT_FOUND
        assert caught.value.reason == "UNKNOWN_STOP"
        with pytest.raises(RequestError) as caught:
            await operator.zones("Z_99")
        assert caught.value.reason == "UNKNOWN_ZONE"


async def test_a_call_finds_the_coordinator_that_serves(server: TestServer, free_port: int) -> None:
    async with Operator(f"127.0.0.1:{free_port},{server.target}", operator="mara") as operator:
        assert len(await operator.zones()) == 5
        async for picture in operator.watch():
            assert picture.snapshot
            break
    async with Operator(f"127.0.0.1:{free_port}", operator="mara") as operator:
        with pytest.raises(RequestError) as caught:
            await operator.zones()
        assert caught.value.code is grpc.StatusCode.UNAVAILABLE


async def test_wrong_arguments_of_operators_are_refused_before_anything_is_sent(free_port: int) -> None:
    with pytest.raises(ArgumentError, match="operator=''"):
        Operator("127.0.0.1:1", operator="")
    async with Operator(f"127.0.0.1:{free_port}", operator="mara") as operator:
        with pytest.raises(ArgumentError, match="exactly one scope"):
            await operator.trip_stop("smoke")
        with pytest.raises(ArgumentError, match="reason=' ' must say why"):
            await operator.trip_stop(" ", floor=True)
        with pytest.raises(ArgumentError, match="names no stop"):
            await operator.reset([], "test")
        with pytest.raises(ArgumentError, match="nothing to clear"):
            await operator.clear((), "test")
        with pytest.raises(ArgumentError, match="limit=0"):
            await operator.audit(limit=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"agent_id": "AGV 07"}, "agent_id='AGV 07' must have 1 to 64 characters"),
        ({"agent_id": ""}, "agent_id=''"),
        ({"target": "host:7600,"}, "target='host:7600,' must be host:port"),
        ({"session_secret": b"short"}, "session_secret must be 16 to 64 random bytes"),
        ({"stop_ms": -1}, "stop_ms=-1 must be a whole number from 0 to 60000"),
        ({"stop_ms": 1.5}, "stop_ms=1.5 must be a whole number"),
        ({"standing_zones": "Z_31"}, r"standing_zones='Z_31' is one string; give a sequence"),
        ({"connect_timeout_s": 0}, "connect_timeout_s=0 must be a positive number"),
        ({"highest_token": -5}, "highest_token=-5"),
    ],
)
async def test_wrong_arguments_of_connect_name_field_value_and_remedy(
    arguments: dict[str, object], message: str
) -> None:
    values: dict[str, object] = {"target": "127.0.0.1:1", "agent_id": "A", **arguments}
    with pytest.raises(ArgumentError, match=message):
        await connect(**values)  # type: ignore[arg-type]


async def test_wrong_arguments_of_an_ask_are_refused_before_anything_is_sent(server: TestServer) -> None:
    async with connect(server.target, agent_id="A", stop_ms=300) as agent:
        with pytest.raises(ArgumentError, match="zones names 0 zones; name 1 to 32"):
            agent.hold(expected_ms=1_000)
        with pytest.raises(ArgumentError, match="zones names 33 zones"):
            agent.hold(*(f"Z_{n}" for n in range(33)), expected_ms=1_000)
        with pytest.raises(ArgumentError, match="Z_31 more than once"):
            agent.hold("Z_31", "Z_31", expected_ms=1_000)
        with pytest.raises(ArgumentError, match="expected_ms=300 leaves no time to move"):
            agent.hold("Z_31", expected_ms=300)
        with pytest.raises(ArgumentError, match="priority=10 must be a whole number from 0 to 9"):
            agent.hold("Z_31", expected_ms=1_000, priority=10)
        with pytest.raises(ArgumentError, match="give both or none"):
            agent.report(x_mm=5)
        with pytest.raises(ArgumentError, match="progress_permille=1001"):
            agent.report(progress_permille=1_001)
        async with agent.hold("Z_31", expected_ms=8_000) as grant:
            with pytest.raises(ArgumentError, match=r"Z_42.*not held by grant"):
                await grant.cleared("Z_42")
            await grant.cleared()


async def test_a_closed_zone_is_refused_until_it_is_opened_and_its_holder_carries_on(server: TestServer) -> None:
    async with Operator(server.target, operator="mara") as operator, connect(server.target, agent_id="A") as agent:
        grant = await agent.acquire("Z_31", expected_ms=8_000)
        [closure] = await operator.close_zones("Z_31", "bearing")
        assert (closure.zone, closure.closed_by, closure.reason) == ("Z_31", "mara", "bearing")
        assert grant.may_move()
        await grant.cleared()
        with pytest.raises(GrantRejected, match="closed by mara") as caught:
            await agent.acquire("Z_31", expected_ms=8_000)
        assert caught.value.reason == "CLOSED"
        assert await operator.open_zones(["Z_31", "Z_32"], "mended") == ["Z_31"]
        await (await agent.acquire("Z_31", expected_ms=8_000)).cleared()


async def test_closing_and_opening_name_zones_and_a_reason(server: TestServer) -> None:
    async with Operator(server.target, operator="mara") as operator:
        for call in (operator.close_zones, operator.open_zones):
            with pytest.raises(ArgumentError, match="name zones or areas"):
                await call([], "reason")
            with pytest.raises(ArgumentError, match="must say why"):
                await call(["Z_31"], " ")


async def test_an_agent_may_be_of_no_kind(server: TestServer) -> None:
    async with connect(server.target, agent_id="edge-1", agent_kind="") as agent:
        assert agent.agent_id == "edge-1"

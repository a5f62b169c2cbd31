from __future__ import annotations

import asyncio
import socket

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from rpc.site import greeted, running, until

from coordinator.rpc.server import ListenError, PortInUse, RpcLimits, RpcServer, split_address

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
READY = "zonelock.v1.ZoneService"


async def health_of(channel: grpc.aio.Channel, service: str) -> int:
    stub = health_pb2_grpc.HealthStub(channel)
    response = await stub.Check(  # type: ignore[attr-defined]
        health_pb2.HealthCheckRequest(service=service)
    )
    return int(response.status)


async def test_a_second_server_on_the_port_is_refused_by_name_with_what_to_do() -> None:
    async with running() as site:
        second = RpcServer(site.runtime, site.floor, site.target)
        with pytest.raises(PortInUse) as refused:
            await second.start()
        assert site.target in str(refused.value)
        assert "--listen" in str(refused.value)
        assert refused.value.listen == site.target
        await second.stop(0)
        await greeted(site, "AGV_1")


async def test_a_port_that_any_other_program_listens_on_is_refused() -> None:
    async with running(lead=False) as site:
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen(1)
            address = f"127.0.0.1:{other.getsockname()[1]}"
            with pytest.raises(PortInUse, match=address):
                await RpcServer(site.runtime, site.floor, address).start()


@pytest.mark.parametrize("listen", ["no-such-host.invalid:7600", "203.0.113.7:7600"])
async def test_an_address_of_another_machine_is_refused_with_what_would_be_right(listen: str) -> None:
    async with running(lead=False) as site:
        with pytest.raises(ListenError) as refused:
            await RpcServer(site.runtime, site.floor, listen).start()
        assert not isinstance(refused.value, PortInUse)
        assert listen in str(refused.value)
        assert "address of this machine" in str(refused.value)


@pytest.mark.parametrize("listen", ["7600", ":7600", "localhost", "localhost:", "localhost:http", "h:65536", ""])
def test_what_is_not_an_address_is_refused_with_an_example(listen: str) -> None:
    with pytest.raises(ValueError, match=r"such as 127\.0\.0\.1:7600"):
        split_address(listen)


@pytest.mark.parametrize(
    ("listen", "parts"), [("127.0.0.1:7600", ("127.0.0.1", 7600)), ("[::1]:0", ("[::1]", 0)), ("h:65535", ("h", 65535))]
)
def test_addresses_are_split_at_the_last_colon(listen: str, parts: tuple[str, int]) -> None:
    assert split_address(listen) == parts


async def test_health_tells_alive_from_ready_to_grant_and_follows_leadership() -> None:
    async with running(lead=False) as site:
        assert await health_of(site.channel, "") == SERVING
        assert await health_of(site.channel, READY) == NOT_SERVING
        stub = health_pb2_grpc.HealthStub(site.channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service=READY))  # type: ignore[attr-defined]
        assert (await watch.read()).status == NOT_SERVING
        lead = asyncio.create_task(site.runtime.run())
        assert (await watch.read()).status == SERVING
        site.store.unavailable = True
        assert (await watch.read()).status == NOT_SERVING
        assert await health_of(site.channel, "") == SERVING
        site.store.unavailable = False
        assert (await watch.read()).status == SERVING
        watch.cancel()
        lead.cancel()
        await asyncio.gather(lead, return_exceptions=True)
        await until(lambda: not site.runtime.leading)


async def test_reflection_lists_every_service_and_knows_their_messages() -> None:
    async with running(lead=False) as site:
        stub = reflection_pb2_grpc.ServerReflectionStub(site.channel)  # type: ignore[arg-type]

        async def questions() -> list[reflection_pb2.ServerReflectionResponse]:
            call = stub.ServerReflectionInfo()  # type: ignore[operator]
            await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
            await call.write(reflection_pb2.ServerReflectionRequest(file_containing_symbol="zonelock.v1.Granted"))
            await call.done_writing()
            return [response async for response in call]

        listed, described = await questions()
        names = {service.name for service in listed.list_services_response.service}
        assert names >= {READY, "zonelock.v1.SafetyService", "grpc.health.v1.Health"}
        assert len(described.file_descriptor_response.file_descriptor_proto) > 0


async def test_a_client_that_pings_as_often_as_the_protocol_allows_is_not_sent_away() -> None:
    async with running() as site:
        options = [
            ("grpc.keepalive_time_ms", 1_000),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
        ]
        async with grpc.aio.insecure_channel(site.target, options=options) as channel:
            assert await health_of(channel, "") == SERVING
            await asyncio.sleep(3.5)  # three pings; with gRPC's own limits the third is one too many
            assert channel.get_state() is grpc.ChannelConnectivity.READY


@pytest.mark.parametrize(
    ("limits", "field"),
    [
        ({"frame_bytes": 0}, "frame_bytes"),
        ({"transport_bytes": 1_000}, "transport_bytes"),
        ({"unread_answers": 100}, "unread_answers"),
    ],
)
def test_limits_that_contradict_each_other_are_refused_by_name(limits: dict[str, int], field: str) -> None:
    with pytest.raises(ValueError, match=field):
        RpcLimits(**limits)

"""What the coordinator says of its floor: a zone in one string, and waiting until something shows."""

from __future__ import annotations

from collections.abc import Callable

from zonelock.v1 import floor_pb2
from zonelock.v1 import zone_service_pb2 as pb
from zonelock_client.testing import TestServer


async def shown(server: TestServer, zone: str) -> str:
    async with server.operator() as operator:
        (view,) = await operator.zones(zone)
    state = floor_pb2.ZoneState.Name(view.state).removeprefix("ZONE_STATE_")
    causes = {floor_pb2.BlockCause.Name(o.cause).removeprefix("BLOCK_CAUSE_") for o in view.occupants if o.cause}
    return " ".join([state, *sorted(causes - {"UNSPECIFIED"})])


async def until(server: TestServer, shows: Callable[[pb.WatchFloorResponse], bool]) -> None:
    """Watches the floor until a picture shows it."""
    async with server.operator() as operator:
        async for picture in operator.watch():
            if shows(picture):
                return


async def until_acknowledged(server: TestServer, stop_id: str, agent_id: str = "A") -> None:
    await until(server, lambda p: any(s.stop_id == stop_id and agent_id in s.acknowledged_by for s in p.stops))


async def until_waiting(server: TestServer, agent_id: str) -> None:
    await until(server, lambda p: any(wait.agent_id == agent_id for wait in p.waits))

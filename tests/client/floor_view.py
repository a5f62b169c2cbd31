"""What the coordinator says of its floor: a zone in one string, and waiting until something shows."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import pytest
from zonelock.v1 import floor_pb2
from zonelock.v1 import zone_service_pb2 as pb
from zonelock_client.testing import TestServer

PATIENCE_S = 20.0


def in_words(view: floor_pb2.ZoneView) -> str:
    state = floor_pb2.ZoneState.Name(view.state).removeprefix("ZONE_STATE_")
    causes = {floor_pb2.BlockCause.Name(o.cause).removeprefix("BLOCK_CAUSE_") for o in view.occupants if o.cause}
    return " ".join([state, *sorted(causes - {"UNSPECIFIED"})])


async def shown(server: TestServer, zone: str) -> str:
    """The zone now: for what the coordinator has answered, and for what must not have happened yet."""
    async with server.operator() as operator:
        (view,) = await operator.zones(zone)
    return in_words(view)


async def until_shown(server: TestServer, zone: str, expected: str) -> None:
    """Watches a held zone until it shows what its holder said without waiting for the answer (leaving a block, closing
    an agent). Until then it must stay HELD: whatever else it shows fails at once.
    """
    now = "nothing"
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_S), server.operator() as operator:
            async for picture in operator.watch():
                now = next((in_words(view) for view in picture.zones if view.name == zone), now)
                if now == expected:
                    return
                assert now in ("HELD", "nothing"), f"{zone} shows {now} on its way from HELD to {expected}"
    pytest.fail(f"{zone} shows {now} to the end and never {expected}")


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

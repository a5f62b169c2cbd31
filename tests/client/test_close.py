"""Closing an agent says what is owed first: a stop that it stands for is acknowledged before the stream ends."""

from __future__ import annotations

import time

from zonelock_client import Halt, connect
from zonelock_client.testing import TestServer


async def test_an_agent_closed_while_it_halts_has_acknowledged_the_stop() -> None:
    """Without its acknowledgement nobody could clear its zones before its own time had run out."""

    def halt_slowly(halt: Halt) -> None:
        time.sleep(0.2)

    async with TestServer() as server:
        agent = await connect(server.target, agent_id="AGV_1", on_halt=halt_slowly)
        zone = next(iter(server.floor.zones))
        grant = await agent.acquire(zone, expected_ms=20_000)
        stop = await server.stop_floor()
        await grant.lost
        await agent.close(flush_s=5.0)
        assert await server.clear(zone) == [zone]
        (ended,) = await server.reset(stop.stop_id)
        assert not ended.active

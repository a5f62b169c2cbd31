"""A second client that calls itself by an agent's id: somebody's laptop with a copied configuration. It has no body."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from zonelock_client import connect
from zonelock_client.errors import ZonelockError

from chaos.sim.loop import NS_PER_MS, Process

if TYPE_CHECKING:
    from chaos.sim.world import World


class Clone:
    """Connects again and again, and asks for a zone when it is let in."""

    def __init__(self, world: World, agent_id: str, zone: str, number: int) -> None:
        self.world, self.agent_id, self.zone = world, agent_id, zone
        self.process = Process(world.loop, f"{agent_id}-clone{number}", boot_ns=NS_PER_MS)
        self.secret = world.chance(f"clone {agent_id} {number}").randbytes(24)

    def start(self) -> None:
        self.process.launch(self._live, "life")

    def kill(self) -> None:
        self.process.kill()

    async def _live(self) -> None:
        while True:
            try:
                async with connect(
                    self.world.targets_for(self.process.name),
                    agent_id=self.agent_id,
                    session_secret=self.secret,
                    connect_timeout_s=3.0,
                ) as agent:
                    agent.report(inside=())  # as far as it knows it is nowhere, so it tidies up what it finds
                    for grant in agent.grants:
                        await grant.cleared()
                    await agent.acquire(self.zone, expected_ms=5_000, timeout_s=3.0)
                    await asyncio.sleep(2.0)
            except (ZonelockError, TimeoutError):
                await asyncio.sleep(0.5)

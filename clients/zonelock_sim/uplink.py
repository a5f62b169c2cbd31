"""The sim's agents on the real SDK: a stream for each, or all of them on one fleet stream.

The rule owned here: the coordinator is reached by `zonelock_client` alone. The floor picture is watched as any observer
would, only to see where agents that are not of this fleet stand in the way.
"""

from __future__ import annotations

import asyncio
import logging
from types import TracebackType
from typing import Self

from zonelock.v1.floor_pb2 import SLOT_STATE_FREE, ZoneView
from zonelock_client import Agent, Fleet, Operator, RequestError, connect, connect_fleet

from zonelock_sim.traffic import Traffic
from zonelock_sim.world import Introduction, Link

logger = logging.getLogger("zonelock.sim")

WATCH_INTERVAL_MS = 500
WATCH_AGAIN_S = 1.0
STOP_WITHIN_S = 10.0


class Uplink:
    """Implements `world.Links`. An async context manager; on the way out every agent's client is closed."""

    def __init__(self, target: str, *, floor_hash: str, gateway: bool) -> None:
        self._target = target
        self._floor_hash = floor_hash
        self._gateway = gateway
        self._fleet: Fleet | None = None
        self._agents: dict[int, Agent] = {}

    async def __aenter__(self) -> Self:
        if self._gateway:
            self._fleet = await connect_fleet(self._target)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(agent.close() for agent in self._agents.values()), return_exceptions=True)
        if self._fleet is not None:
            await self._fleet.close()

    async def connect(self, introduction: Introduction) -> Link:
        if self._fleet is not None:
            agent = await self._fleet.agent(
                introduction.agent_id,
                agent_kind=introduction.kind,
                stop_ms=introduction.stop_ms,
                floor_hash=self._floor_hash,
                standing_zones=introduction.standing_zones,
                on_halt=lambda _: introduction.halt(),
                on_stop=introduction.stopped,
                halt_timeout_s=STOP_WITHIN_S,
            )
        else:
            agent = await connect(
                self._target,
                agent_id=introduction.agent_id,
                agent_kind=introduction.kind,
                stop_ms=introduction.stop_ms,
                floor_hash=self._floor_hash,
                standing_zones=introduction.standing_zones,
                on_halt=lambda _: introduction.halt(),
                on_stop=introduction.stopped,
                halt_timeout_s=STOP_WITHIN_S,
            )
        self._agents[id(agent)] = agent
        return agent

    async def abort(self, link: Link) -> None:
        """Ends the agent's client without a word: its grants stay as they are until their deadline trips."""
        agent = self._agents.pop(id(link), None)
        if agent is not None:
            await agent.close(keep_grants=True, flush_s=0)

    async def watch(self, traffic: Traffic, own: frozenset[str]) -> None:
        """Tells `traffic` what others than `own` occupy, for ever."""
        while True:
            taken: dict[str, int] = {}
            try:
                async with Operator(self._target, operator="zonelock-sim") as operator:
                    async for picture in operator.watch(min_interval_ms=WATCH_INTERVAL_MS):
                        if picture.snapshot:
                            taken.clear()
                        for zone in picture.zones:
                            _note(taken, zone, own)
                        traffic.foreign(dict(taken))
            except RequestError as error:
                logger.info("the floor picture broke off: %s", error)
            await asyncio.sleep(WATCH_AGAIN_S)


def _note(taken: dict[str, int], zone: ZoneView, own: frozenset[str]) -> None:
    count = sum(1 for unit in zone.occupants if unit.state != SLOT_STATE_FREE and unit.agent_id not in own)
    if count:
        taken[zone.name] = count
    else:
        taken.pop(zone.name, None)

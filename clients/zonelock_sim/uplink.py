"""The sim's agents on the real SDK: a stream for each, or all of them on one fleet stream.

The rule owned here: the coordinator is reached by `zonelock_client` alone. The floor picture is watched as any observer
would, only to see where agents that are not of this fleet stand in the way.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable

import grpc
from zonelock.v1.floor_pb2 import SLOT_STATE_FREE
from zonelock.v1.zone_service_pb2 import WatchFloorResponse
from zonelock_client import Agent, Fleet, Operator, RequestError, connect, connect_fleet

from zonelock_sim.traffic import Traffic
from zonelock_sim.world import Introduction, Link

logger = logging.getLogger("zonelock.sim")

WATCH_INTERVAL_MS = 250
WATCH_AGAIN_S = 1.0
STOP_WITHIN_S = 10.0


class Uplink:
    """Implements `world.Links`."""

    def __init__(self, *, floor_hash: str, gateway: bool, credentials: grpc.ChannelCredentials | None = None) -> None:
        self._target = ""
        self._credentials = credentials
        self._floor_hash = floor_hash
        self._gateway = gateway
        self._fleet: Fleet | None = None
        self.on_agent: Callable[[Agent], None] = lambda _: None
        self._agents: dict[int, Agent] = {}
        self._occupants: dict[str, tuple[str, ...]] = {}
        self._pictured = asyncio.Condition()

    @contextlib.asynccontextmanager
    async def open(self, target: str) -> AsyncIterator[None]:
        """Agents can connect to the coordinator at `target` inside; on the way out every client is closed."""
        self._target = target
        if self._gateway:
            self._fleet = await connect_fleet(target, credentials=self._credentials)
        try:
            yield
        finally:
            await asyncio.gather(*(agent.close() for agent in self._agents.values()), return_exceptions=True)
            if self._fleet is not None:
                await self._fleet.close()

    async def connect(self, introduction: Introduction) -> Link:
        if self._fleet is not None:
            agent = await self._fleet.agent(
                introduction.agent_id,
                vehicle_watchdog=True,  # the simulated bodies move in this process, under its dead-man
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
                credentials=self._credentials,
                agent_id=introduction.agent_id,
                agent_kind=introduction.kind,
                stop_ms=introduction.stop_ms,
                floor_hash=self._floor_hash,
                standing_zones=introduction.standing_zones,
                on_halt=lambda _: introduction.halt(),
                on_stop=introduction.stopped,
                halt_timeout_s=STOP_WITHIN_S,
            )
        self.on_agent(agent)
        agent.on_yield(introduction.asked_aside)
        self._agents[id(agent)] = agent
        return agent

    async def abort(self, link: Link) -> None:
        """Ends the agent's client without a word: its grants stay as they are until their deadline trips."""
        agent = self._agents.pop(id(link), None)
        if agent is not None:
            await agent.close(keep_grants=True, flush_s=0)

    async def cleared(self, agent_id: str) -> None:
        """Returns when the coordinator's picture has shown the agent somewhere, and then nowhere."""
        async with self._pictured:
            await self._pictured.wait_for(lambda: self._is_shown(agent_id))
            await self._pictured.wait_for(lambda: not self._is_shown(agent_id))

    def _is_shown(self, agent_id: str) -> bool:
        return any(agent_id in occupants for occupants in self._occupants.values())

    async def watch(self, traffic: Traffic, own: frozenset[str]) -> None:
        """Tells `traffic` what others than `own` occupy, for ever."""
        while True:
            try:
                async with Operator(self._target, operator="zonelock-sim", credentials=self._credentials) as operator:
                    async for picture in operator.watch(min_interval_ms=WATCH_INTERVAL_MS):
                        await self._take(picture)
                        traffic.foreign(self._foreign(own))
            except RequestError as error:
                logger.info("the floor picture broke off: %s", error)
            await asyncio.sleep(WATCH_AGAIN_S)

    async def _take(self, picture: WatchFloorResponse) -> None:
        async with self._pictured:
            if picture.snapshot:
                self._occupants.clear()
            for zone in picture.zones:
                self._occupants[zone.name] = tuple(u.agent_id for u in zone.occupants if u.state != SLOT_STATE_FREE)
            self._pictured.notify_all()

    def _foreign(self, own: frozenset[str]) -> dict[str, int]:
        """Units taken by others, or by nobody knows whom, by zone."""
        taken = {zone: sum(who not in own for who in agents) for zone, agents in self._occupants.items()}
        return {zone: count for zone, count in taken.items() if count}

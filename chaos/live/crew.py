"""Agents at work on a whole local cluster, and the test's own books of who is inside what.

The books are the ground truth: between the grant that let an agent in and the release that said it left, nobody else
may be let into that zone, and tokens of a zone only rise.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from grpc import aio
from zonelock.v1 import cluster_service_pb2 as cpb
from zonelock.v1 import cluster_service_pb2_grpc as cgrpc
from zonelock_client import Agent, Operator, connect
from zonelock_sim.cluster import LocalCluster

from chaos.live.relay import Relay
from coordinator.store.etcd_client import EtcdClient

ZONES = tuple(f"Z_{i:02}" for i in range(16))
PREFIX = "/zonelock/"


def write_floor(folder: Path) -> Path:
    zones = "".join(f"  {z}: {{cells: [[{i}, 0]], hold_max_ms: 60000}}\n" for i, z in enumerate(ZONES))
    head = "format: zonelock.floor/1\nsite: failover\nversion: 1\ncell_mm: 1000\ngrid: |\n"
    path = folder / "floor.yaml"
    path.write_text(f"{head}  {'.' * len(ZONES)}\nzones:\n{zones}", encoding="utf-8")
    return path


class Crew:
    """Agents that take zones and give them back, over whatever happens to the cluster."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.agents: list[Agent] = []
        self.grants = 0
        self.by_agent: Counter[str] = Counter()
        self.news = asyncio.Event()
        self.granted_at: list[float] = []
        """Monotonic seconds of every grant, as its agent has it."""
        self._inside: dict[str, str] = {}
        self._tokens: dict[str, int] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, count: int) -> None:
        self.agents = [await connect(self.target, agent_id=f"AGV_{i:02}") for i in range(count)]
        self._tasks = [asyncio.create_task(self._work(a, random.Random(a.agent_id))) for a in self.agents]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(agent.close(flush_s=0.2) for agent in self.agents))

    async def granted(self, more: int) -> None:
        """Waits until so many more grants were given; raises what ended an agent's work."""
        wanted = self.grants + more
        await self._until(lambda: self.grants >= wanted)

    async def each_granted(self, more: int) -> None:
        """Waits until every agent was given so many more; raises what ended an agent's work."""
        wanted = {agent.agent_id: self.by_agent[agent.agent_id] + more for agent in self.agents}
        await self._until(lambda: all(self.by_agent[name] >= count for name, count in wanted.items()))

    async def _until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            for task in self._tasks:
                if task.done():
                    task.result()
            self.news.clear()
            waiting = asyncio.create_task(self.news.wait())
            await asyncio.wait({waiting, *self._tasks}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()

    async def _work(self, agent: Agent, rng: random.Random) -> None:
        while True:
            zones = tuple(sorted(rng.sample(ZONES, rng.choice((1, 1, 2)))))
            grant = await agent.acquire(*zones, expected_ms=50_000)
            self._enter(agent.agent_id, zones, grant.token)
            await asyncio.sleep(rng.uniform(0, 0.03))
            if not grant.may_move():
                raise AssertionError(f"{agent.agent_id} lost {zones}: {grant.lost_reason}")
            for zone in zones:
                del self._inside[zone]
            await grant.cleared()

    def _enter(self, agent_id: str, zones: tuple[str, ...], token: int) -> None:
        for zone in zones:
            if zone in self._inside:
                raise AssertionError(f"{agent_id} was let into {zone} with {self._inside[zone]} inside")
            if token <= self._tokens.get(zone, 0):
                raise AssertionError(f"{zone}: token {token} after {self._tokens[zone]}")
            self._inside[zone], self._tokens[zone] = agent_id, token
        self.grants += 1
        self.by_agent[agent_id] += 1
        self.granted_at.append(time.monotonic())
        self.news.set()


@asynccontextmanager
async def way_to_etcd(cluster: LocalCluster) -> AsyncIterator[dict[int, list[Relay]]]:
    """Relays between each coordinator and every etcd member. Enter it between `start_etcd` and the coordinators."""
    relays: dict[int, list[Relay]] = {}
    async with AsyncExitStack() as stack:
        for index in range(len(cluster.places)):
            relays[index] = [await stack.enter_async_context(Relay(e)) for e in cluster.etcd.endpoints]
            cluster.ways_to_etcd[index] = [relay.target for relay in relays[index]]
        yield relays


@asynccontextmanager
async def at_work(cluster: LocalCluster, agents: int = 6) -> AsyncIterator[Crew]:
    """A crew whose first grants are given; at the end no stop may be left that a failover alone caused."""
    crew = Crew(cluster.target)
    try:
        await crew.start(agents)
        await crew.granted(20)
        yield crew
        await crew.granted(20)
        async with Operator(cluster.target, operator="test") as operator:
            stops = await operator.stops(include_ended=True)
        if stops:
            raise AssertionError(f"a failover alone caused {[stop.stop_id for stop in stops]}")
    finally:
        await crew.stop()


async def leader_of(cluster: LocalCluster) -> int:
    """Which coordinator the leader key names, once it names one."""
    return await change_of_leader(cluster, None)


async def change_of_leader(cluster: LocalCluster, before: int | None) -> int:
    """Waits until another leads; returns which."""
    client = EtcdClient(cluster.etcd.endpoints)
    try:
        while True:
            kv, _ = await client.read_key(f"{PREFIX}leader".encode())
            if kv is not None:
                name = json.loads(kv.value)["name"]
                now = next(i for i, place in enumerate(cluster.places) if place.name == name)
                if now != before:
                    return now
            await asyncio.sleep(0.02)
    finally:
        await client.close()


async def describe(address: str) -> cpb.GetClusterResponse:
    async with aio.insecure_channel(address) as channel:
        response: cpb.GetClusterResponse = await cgrpc.ClusterServiceStub(channel).GetCluster(
            cpb.GetClusterRequest(), timeout=5
        )
        return response


async def settled(cluster: LocalCluster) -> int:
    """Waits until one leads and all that run follow it; returns which. Early take-over needs a followed leader."""
    while True:
        leader = await leader_of(cluster)
        place = cluster.places[leader]
        if place.process is not None:
            seen = await describe(place.listen)
            running = [p.name for p in cluster.places if p.process is not None]
            if seen.leader_name == place.name and sorted(c.name for c in seen.coordinators) == sorted(running):
                return leader
        await asyncio.sleep(0.05)

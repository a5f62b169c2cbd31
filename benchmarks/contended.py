"""32 agents for one zone: how long it stands empty between two of them, and whether who came first goes first.

A hand-over is from the moment a holder begins to say that it has left to the moment the next one knows that it may
enter. Beside etcd's Lock service under the same name, on the same members.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable

import grpc
from zonelock.v1 import zone_service_pb2 as pb

from benchmarks.peers import EtcdLocks
from benchmarks.plant import open_floor, plant
from benchmarks.report import Effort, Report, medians, percentile
from benchmarks.streams import StreamAgent

AGENTS = 32
SMOKE_AGENTS = 4
WINDOW_S = 2.0
ZONE = "c_0_0"
SAME_MOMENT_S = 0.005
"""Two asks closer together than this may arrive in either order."""

Acquire = Callable[[int], Awaitable[object]]
Release = Callable[[int, object], Awaitable[None]]


class Turns:
    """Who asked when, who got it when: the hand-overs of one window."""

    def __init__(self, agents: int, seconds: float) -> None:
        self.agents, self.closes = agents, time.perf_counter() + seconds
        self.hand_over_ms: list[float] = []
        self.overtaken = 0
        self.grants: Counter[int] = Counter()
        self._asked: dict[int, float] = {}
        self._left: float | None = None

    async def work(self, agent: int, acquire: Acquire, release: Release) -> None:
        while time.perf_counter() < self.closes:
            self._asked[agent] = time.perf_counter()
            held = await acquire(agent)
            self._entered(agent, time.perf_counter())
            self._left = time.perf_counter()
            await release(agent, held)

    def _entered(self, agent: int, now: float) -> None:
        asked = self._asked.pop(agent)
        self.grants[agent] += 1
        self.overtaken += any(other < asked - SAME_MOMENT_S for other in self._asked.values())
        if self._left is not None and self._asked:
            self.hand_over_ms.append((now - self._left) * 1000)

    def figures(self, name: str) -> dict[str, float]:
        total = self.grants.total()
        return {
            f"{name}_hand_over_p50_ms": percentile(self.hand_over_ms, 0.5),
            f"{name}_hand_over_p99_ms": percentile(self.hand_over_ms, 0.99),
            f"{name}_grants": float(total),
            f"{name}_out_of_order_percent": 100 * self.overtaken / total,
            f"{name}_most_over_fewest_grants": max(self.grants.values()) / max(1, min(self.grants.values())),
        }


async def ours(target: str, agents: int, seconds: float, run: int) -> Turns:
    async with grpc.aio.insecure_channel(target) as channel:
        fleet = [StreamAgent(channel, f"x{run}-{i}", [ZONE]) for i in range(agents)]
        for agent in fleet:
            await agent.hello()

        async def acquire(agent: int) -> object:
            await fleet[agent].ask()
            return (await fleet[agent].next("granted")).granted.token

        async def release(agent: int, token: object) -> None:
            await fleet[agent].send(release=pb.Release(token=token))  # type: ignore[arg-type]
            await fleet[agent].next("released")

        turns = Turns(agents, seconds)
        await asyncio.gather(*(turns.work(i, acquire, release) for i in range(agents)))
        for each in fleet:
            each.end()
    return turns


async def etcds(endpoints: list[str], agents: int, seconds: float) -> Turns:
    locks = EtcdLocks(endpoints)
    await locks.open(agents)

    async def release(agent: int, key: object) -> None:
        await locks.release(key)  # type: ignore[arg-type]

    turns = Turns(agents, seconds)
    await asyncio.gather(*(turns.work(i, lambda n: locks.acquire(n, "contended"), release) for i in range(agents)))
    await locks.close()
    return turns


async def run(effort: Effort) -> Report:
    agents, seconds = (SMOKE_AGENTS, 0.3) if effort.smoke else (AGENTS, WINDOW_S)
    rounds = []
    async with plant(open_floor(4, 4), coordinators=1 if effort.smoke else 3) as site:
        for number in range(effort.rounds):
            figures = (await ours(site.leader, agents, seconds, number)).figures("zonelock")
            rounds.append(figures | (await etcds(site.endpoints, agents, seconds)).figures("etcd_lock"))
    found = medians(rounds)
    ratios = {
        f"hand_over_{what}_ms_over_etcd_lock": (
            found[f"zonelock_hand_over_{what}_ms"] / found[f"etcd_lock_hand_over_{what}_ms"]
        )
        for what in ("p50", "p99")
    }
    ratios["grants_over_etcd_lock"] = found["zonelock_grants"] / found["etcd_lock_grants"]
    return Report(effort.rounds, found, ratios)

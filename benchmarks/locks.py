"""Acquire and release, uncontended: ours by agent streams and by fleet frames, beside the locks one would use instead.

Three etcd members and three coordinators. In every round each contender has its turn at each number of agents, so that
a slow moment of the machine hits all of them. Peers: etcd's own Lock service on the same members, kazoo's Lock on three
ZooKeeper servers. Limits: a bare grpc.aio echo, a bare etcd put.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import grpc

from benchmarks.peers import bare_server, echoes, etcd_locks, etcd_puts
from benchmarks.plant import Plant, open_floor, plant
from benchmarks.report import Effort, Report, medians
from benchmarks.streams import FleetStream, StreamAgent, Window, zones_in_turn
from benchmarks.zookeeper import Ensemble, ensemble, kazoo_locks

AGENTS = (1, 16, 128, 512)
SMOKE_AGENTS = (1, 16)
WINDOW_S = 1.0
WIDTH = 32

Contender = Callable[[int], Awaitable[Window]]


async def agent_streams(target: str, agents: int, seconds: float, run: str, of_each: int = 1) -> Window:
    """A stream an agent, all from this process."""
    async with grpc.aio.insecure_channel(target) as channel:
        zones = zones_in_turn(agents, WIDTH, of_each)
        fleet = [StreamAgent(channel, f"{run}-{i}", zone) for i, zone in enumerate(zones)]
        await asyncio.gather(*(agent.hello() for agent in fleet))
        window = Window(seconds)
        await asyncio.gather(*(agent.work(window) for agent in fleet))
        for agent in fleet:
            agent.end()
    return window


async def fleet_frames(target: str, agents: int, seconds: float, run: str, of_each: int = 1) -> Window:
    """All agents on one stream."""
    async with grpc.aio.insecure_channel(target) as channel:
        zones = zones_in_turn(agents, WIDTH, of_each)
        fleet = FleetStream(channel, {f"{run}-{i}": [zone] for i, zone in enumerate(zones)})
        await fleet.hello()
        window = Window(seconds)
        await fleet.work(window)
        fleet.end()
    return window


def contenders(site: Plant, bare: str, zookeeper: Ensemble | None, seconds: float) -> dict[str, Contender]:
    """Name to what has its turn, ours first."""
    names = [[f"lock-{i}"] for i in range(max(AGENTS))]
    found: dict[str, Contender] = {
        "agent_streams": lambda n: agent_streams(site.leader, n, seconds, f"s{n}"),
        "fleet_frames": lambda n: fleet_frames(site.leader, n, seconds, f"f{n}"),
        "etcd_lock": lambda n: etcd_locks(site.endpoints, names[:n], seconds),
        "etcd_put": lambda n: etcd_puts(site.endpoints, n, seconds),
        "grpc_echo": lambda n: echoes(bare, n, seconds),
    }
    if zookeeper is not None:
        found["kazoo_lock"] = lambda n: kazoo_locks(zookeeper, n, seconds)
    return found


async def run(effort: Effort) -> Report:
    sizes = SMOKE_AGENTS if effort.smoke else AGENTS
    seconds = 0.2 if effort.smoke else WINDOW_S
    async with (
        plant(open_floor(WIDTH, WIDTH), coordinators=1 if effort.smoke else 3) as site,
        bare_server() as bare,
        ensemble(wanted=not effort.smoke) as zookeeper,
    ):
        everyone = contenders(site, bare, zookeeper, seconds)
        rounds = []
        for _ in range(effort.rounds):
            figures: dict[str, float] = {}
            for size in sizes:
                for name, turn in everyone.items():
                    figures |= (await turn(size)).figures(f"{name}_{size}")
            rounds.append(figures)
    found = medians(rounds)
    return Report(effort.rounds, found, ratios(found, sizes))


def ratios(figures: dict[str, float], sizes: tuple[int, ...]) -> dict[str, float]:
    """Ours over each peer at each size, pairs a second and the 99th percentile; and one agent's median over the put."""
    found: dict[str, float] = {}
    for ours in ("agent_streams", "fleet_frames"):
        for peer in ("etcd_lock", "kazoo_lock", "etcd_put", "grpc_echo"):
            for size in sizes:
                for what in ("pairs_per_s", "acquire_p99_ms"):
                    mine, theirs = f"{ours}_{size}_{what}", f"{peer}_{size}_{what}"
                    if theirs in figures:
                        found[f"{mine}_over_{peer}"] = figures[mine] / figures[theirs]
    put = figures["etcd_put_1_acquire_p50_ms"]
    found["agent_streams_1_acquire_p50_ms_over_etcd_put"] = figures["agent_streams_1_acquire_p50_ms"] / put
    return found

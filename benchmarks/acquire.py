"""How long a grant takes: acquire and release over one stream per agent, beside the raw etcd put.

A durable grant cannot beat the put. Every store and the put are measured in turn within each round, so that a slow
moment of the machine hits all of them.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
from zonelock_sim.processes import ServeProcess

from benchmarks.plant import serve_arguments
from benchmarks.report import Effort, Report, medians, percentile
from benchmarks.streams import StreamAgent
from coordinator.store.etcd_client import EtcdClient
from coordinator.store.etcdpb import rpc_pb2
from coordinator.store.local_etcd import LocalEtcd

PAIRS = 400
AGENTS = (1, 16)
FLOOR = """\
format: zonelock.floor/1
site: bench
version: 1
cell_mm: 1000
grid: |
  ................................
zone_per_cell: {prefix: c}
"""


async def pairs(target: str, agents: int, run: int, count: int) -> tuple[float, list[float]]:
    """Pairs per second and every acquire's milliseconds, `agents` of them at once on zones of their own."""
    async with grpc.aio.insecure_channel(target) as channel:
        fleet = [StreamAgent(channel, f"r{run}-{agents}-{i}", [f"c_{i}_0"]) for i in range(agents)]
        for agent in fleet:
            await agent.hello()
        each = max(count // agents, 25)

        async def work(agent: StreamAgent) -> list[float]:
            return [await agent.pair() for _ in range(each)]

        began = time.perf_counter()
        times = await asyncio.gather(*(work(agent) for agent in fleet))
        rate = each * agents / (time.perf_counter() - began)
        return rate, [t for one in times for t in one]


async def puts(endpoints: list[str], count: int) -> float:
    """The median milliseconds of a put, one in flight, through the coordinator's own etcd client."""
    client = EtcdClient(endpoints)
    times = []
    for number in range(count):
        put = rpc_pb2.PutRequest(key=b"/bench/put", value=str(number).encode().rjust(200))
        began = time.perf_counter()
        await client.txn(rpc_pb2.TxnRequest(success=[rpc_pb2.RequestOp(request_put=put)]), repeatable=True)
        times.append((time.perf_counter() - began) * 1000)
    await client.close()
    return percentile(times, 0.5)


@asynccontextmanager
async def coordinators(folder: Path, endpoints: list[str]) -> AsyncIterator[dict[str, str]]:
    """One coordinator process a store; store name to gRPC address."""
    floor = folder / "floor.yaml"
    floor.write_text(FLOOR, encoding="utf-8")
    stores = {
        "memory": "memory",
        "sqlite": f"sqlite:{folder / 'ledger.sqlite'}",
        "etcd": f"etcd:{','.join(endpoints)}",
    }
    running = {name: ServeProcess(serve_arguments(folder / name, floor, store)) for name, store in stores.items()}
    try:
        yield {name: str((await process.start())["grpc"]) for name, process in running.items()}
    finally:
        for process in running.values():
            await process.stop()


async def one_round(run: int, targets: dict[str, str], endpoints: list[str], count: int) -> dict[str, float]:
    figures = {"etcd_put_p50_ms": await puts(endpoints, count)}
    for store, target in targets.items():
        for agents in AGENTS:
            rate, times = await pairs(target, agents, run, count)
            figures[f"{store}_{agents}_agents_acquire_p50_ms"] = percentile(times, 0.5)
            figures[f"{store}_{agents}_agents_acquire_p99_ms"] = percentile(times, 0.99)
            figures[f"{store}_{agents}_agents_pairs_per_s"] = rate
    return figures


async def run(effort: Effort) -> Report:
    count = 50 if effort.smoke else PAIRS
    with tempfile.TemporaryDirectory(prefix="zonelock-bench-") as folder:
        async with LocalEtcd(3) as etcd, coordinators(Path(folder), etcd.endpoints) as targets:
            await one_round(0, targets, etcd.endpoints, count)  # warm up
            rounds = [await one_round(1 + i, targets, etcd.endpoints, count) for i in range(effort.rounds)]
    figures = medians(rounds)
    put = figures["etcd_put_p50_ms"]
    ratios = {
        f"{store}_1_agent_acquire_p50_over_etcd_put_p50": figures[f"{store}_1_agents_acquire_p50_ms"] / put
        for store in ("memory", "sqlite", "etcd")
    }
    return Report(effort.rounds, figures, ratios)

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
from zonelock.v1 import zone_service_pb2 as pb
from zonelock.v1 import zone_service_pb2_grpc as pb_grpc
from zonelock_sim.processes import ServeProcess

from benchmarks.report import Report, medians, percentile
from coordinator.store.etcd_client import EtcdClient
from coordinator.store.etcdpb import rpc_pb2
from coordinator.store.local_etcd import LocalEtcd

PAIRS = 400
PUTS = 400
AGENTS = (1, 16)
SERVE = ("--listen", "127.0.0.1:0", "--web", "127.0.0.1:0", "--assume-empty", "-o", "json")
FLOOR = """\
format: zonelock.floor/1
site: bench
version: 1
cell_mm: 1000
grid: |
  ................................
zone_per_cell: {prefix: c}
"""


class StreamAgent:
    """The smallest client there is: one stream, one operation a frame, answers in order."""

    def __init__(self, channel: grpc.aio.Channel, name: str, zone: str) -> None:
        self._call = pb_grpc.ZoneServiceStub(channel).Session()
        self._name, self._zone, self._frame, self._asks = name, zone, 0, 0

    async def _send(self, **operation: object) -> None:
        self._frame += 1
        said = pb.Operation(agent_id=self._name, **operation)  # type: ignore[arg-type]
        await self._call.write(pb.SessionRequest(frame=self._frame, operations=[said]))

    async def _next(self, kind: str) -> pb.Answer:
        while True:
            frame = await self._call.read()
            if not isinstance(frame, pb.SessionResponse):
                raise ConnectionError(f"the stream ended while {self._name} waited for {kind}")
            for answer in frame.answers:
                if answer.WhichOneof("kind") == kind:
                    return answer
                if answer.WhichOneof("kind") in ("failed", "rejected"):
                    raise ConnectionError(f"{self._name} waited for {kind} and got {answer}")

    async def hello(self) -> None:
        await self._send(hello=pb.Hello(session_secret=self._name.encode().ljust(16, b"-")))
        await self._next("welcome")

    async def pair(self) -> float:
        """One acquire and release; returns the acquire's milliseconds."""
        self._asks += 1
        asked = time.perf_counter()
        await self._send(ask=pb.Ask(request_id=f"r{self._asks}", zones=[self._zone], expected_ms=10_000))
        token = (await self._next("granted")).granted.token
        took_ms = (time.perf_counter() - asked) * 1000
        await self._send(release=pb.Release(token=token))
        await self._next("released")
        return took_ms


async def pairs(target: str, agents: int, run: int) -> tuple[float, list[float]]:
    """Pairs per second and every acquire's milliseconds, `agents` of them at once on zones of their own."""
    async with grpc.aio.insecure_channel(target) as channel:
        fleet = [StreamAgent(channel, f"r{run}-{agents}-{i}", f"c_{i}_0") for i in range(agents)]
        for agent in fleet:
            await agent.hello()
        each = max(PAIRS // agents, 25)

        async def work(agent: StreamAgent) -> list[float]:
            return [await agent.pair() for _ in range(each)]

        began = time.perf_counter()
        times = await asyncio.gather(*(work(agent) for agent in fleet))
        rate = each * agents / (time.perf_counter() - began)
        return rate, [t for one in times for t in one]


async def puts(endpoints: list[str]) -> float:
    """The median milliseconds of a put, one in flight, through the coordinator's own etcd client."""
    client = EtcdClient(endpoints)
    times = []
    for number in range(PUTS):
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
    running = {name: ServeProcess(["--floor", str(floor), "--store", store, *SERVE]) for name, store in stores.items()}
    try:
        yield {name: str((await process.start())["grpc"]) for name, process in running.items()}
    finally:
        for process in running.values():
            await process.stop()


async def one_round(run: int, targets: dict[str, str], endpoints: list[str]) -> dict[str, float]:
    figures = {"etcd_put_p50_ms": await puts(endpoints)}
    for store, target in targets.items():
        for agents in AGENTS:
            rate, times = await pairs(target, agents, run)
            figures[f"{store}_{agents}_agents_acquire_p50_ms"] = percentile(times, 0.5)
            figures[f"{store}_{agents}_agents_acquire_p99_ms"] = percentile(times, 0.99)
            figures[f"{store}_{agents}_agents_pairs_per_s"] = rate
    return figures


async def run(rounds: int) -> Report:
    with tempfile.TemporaryDirectory(prefix="zonelock-bench-") as folder:
        async with LocalEtcd(3) as etcd, coordinators(Path(folder), etcd.endpoints) as targets:
            await one_round(0, targets, etcd.endpoints)  # warm up
            figures = medians([await one_round(1 + i, targets, etcd.endpoints) for i in range(rounds)])
    put = figures["etcd_put_p50_ms"]
    ratios = {
        f"{store}_1_agent_acquire_p50_over_etcd_put_p50": figures[f"{store}_1_agents_acquire_p50_ms"] / put
        for store in ("memory", "sqlite", "etcd")
    }
    return Report(rounds, figures, ratios)

"""From a stop to the last of 16, 100 or 1,000 holders that hear of it: idle, and under a saturating load of grants.

An operator's stop counts from the call, a deadline's from the deadline as its holder reckons it from the arrival of its
grant. Beside the least that could do it: a bare grpc.aio server that writes as many bytes to as many streams. Receivers
hold a zone of one stop group each, on streams of their own, in one process for both.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import grpc
from zonelock.v1 import safety_service_pb2 as spb
from zonelock.v1 import safety_service_pb2_grpc as sgrpc
from zonelock.v1 import zone_service_pb2 as pb

from benchmarks.load import saturated
from benchmarks.peers import bare_server
from benchmarks.plant import open_floor, plant
from benchmarks.report import Effort, Report, percentile
from benchmarks.streams import StreamAgent, StreamEnded

REPEATS = {16: 60, 100: 15, 1_000: 4}
"""Stops a round, by receivers."""

DEADLINES = {16: 6, 100: 3, 1_000: 2}
HOLD_MS = 60_000
SHORT_MS = 300
RHO_PPM = 10_000
LOAD_AGENTS = 128
SPEED_MM_S = 2_500
PATIENCE_S = 20.0
MESSAGE_BYTES = 120
"""About what a stop takes on the wire."""

Samples = dict[str, list[float]]


class Receivers:
    """Agents that hold one zone each of a stop group."""

    def __init__(self, target: str, count: int) -> None:
        self._channel = grpc.aio.insecure_channel(target)
        self._safety = sgrpc.SafetyServiceStub(self._channel)
        self._group = f"group{count}"
        self._agents = [StreamAgent(self._channel, f"r{count}-{i}", [f"{self._group}_{i}"]) for i in range(count)]

    async def open(self) -> None:
        await asyncio.gather(*(agent.hello() for agent in self._agents))
        await self._hold(self._agents)

    async def _hold(self, agents: list[StreamAgent]) -> None:
        async def hold(agent: StreamAgent) -> None:
            await agent.ask(HOLD_MS)
            await agent.next("granted")

        await asyncio.gather(*(hold(agent) for agent in agents))

    async def operator_stop(self) -> float:
        """Milliseconds from the call to the last receiver."""
        heard = [asyncio.create_task(self._hear(agent)) for agent in self._agents]
        await asyncio.sleep(0)
        began = time.perf_counter()
        request = spb.TripStopRequest(operator="bench", reason="measured", zone=self._agents[0].zones[0])
        reply = await self._safety.TripStop(request)
        last = max(await asyncio.gather(*heard))
        await self._recover(reply.stop.stop_id)
        return (last - began) * 1000

    async def deadline_stop(self) -> float:
        """Milliseconds from the first receiver's deadline to the last receiver."""
        careless = self._agents[0]
        await careless.send(release=pb.Release(token=careless.token))
        await careless.next("released")
        await careless.ask(SHORT_MS)
        await careless.next("granted")
        due = time.perf_counter() + SHORT_MS * (1_000_000 + RHO_PPM) / 1e9
        last = max(await asyncio.gather(*(self._hear(agent) for agent in self._agents)))
        await self._recover(careless.stop_id)
        return (last - due) * 1000

    async def _hear(self, agent: StreamAgent) -> float:
        raised = await agent.next("stop_raised")
        now = time.perf_counter()
        agent.stop_id = raised.stop_raised.stop.stop_id
        return now

    async def _recover(self, stop_id: str) -> None:
        """Everybody confirms standing, the operator resets, everybody asks again."""
        await asyncio.gather(*(a.send(stop_ack=pb.StopAck(stop_ids=[a.stop_id])) for a in self._agents))
        give_up = time.perf_counter() + PATIENCE_S
        reset = spb.ResetStopRequest(operator="bench", reason="measured", stop_ids=[stop_id])
        while True:
            try:
                await self._safety.ResetStop(reset)
                break
            except grpc.aio.AioRpcError as error:  # the last confirmations are still on their way
                if time.perf_counter() > give_up:
                    raise StreamEnded(f"the stop could not be reset: {error.details()}") from error
                await asyncio.sleep(0.02)
        await asyncio.gather(*(agent.next("stop_ended") for agent in self._agents))
        await self._hold(self._agents)

    async def close(self) -> None:
        for agent in self._agents:
            await agent.send(release=pb.Release(token=agent.token))
            await agent.next("released")
            agent.end()
        await self._channel.close()


class BareListeners:
    """As many streams of the bare server."""

    def __init__(self, target: str, count: int) -> None:
        self._channel = grpc.aio.insecure_channel(target)
        listen: Any = self._channel.unary_stream("/bench.Bare/Listen")
        self._calls = [listen(b"") for _ in range(count)]
        self._tell: Any = self._channel.unary_unary("/bench.Bare/Tell")

    async def open(self) -> None:
        await asyncio.gather(*(call.read() for call in self._calls))

    async def fan_out(self) -> float:
        """Milliseconds from the call to the last listener."""

        async def hear(call: Any) -> float:
            await call.read()
            return time.perf_counter()

        heard = [asyncio.create_task(hear(call)) for call in self._calls]
        await asyncio.sleep(0)
        began = time.perf_counter()
        await self._tell(b"x" * MESSAGE_BYTES)
        return (max(await asyncio.gather(*heard)) - began) * 1000

    async def close(self) -> None:
        for call in self._calls:
            call.cancel()
        await self._channel.close()


async def measure(target: str, bare: str, count: int, mood: str, effort: Effort, samples: Samples) -> None:
    """One round with so many receivers: ours and the bare server's in turn, then deadlines."""
    receivers, listeners = Receivers(target, count), BareListeners(bare, count)
    await receivers.open()
    await listeners.open()
    turns: dict[str, Callable[[], Awaitable[float]]] = {
        "operator": receivers.operator_stop,
        "bare_fan_out": listeners.fan_out,
    }
    for _ in range(2 if effort.smoke else REPEATS[count]):
        for name, turn in turns.items():
            samples.setdefault(f"{name}_{count}_{mood}", []).append(await turn())
    for _ in range(1 if effort.smoke else DEADLINES[count]):
        samples.setdefault(f"deadline_{count}_{mood}", []).append(await receivers.deadline_stop())
    await receivers.close()
    await listeners.close()


async def run(effort: Effort) -> Report:
    counts = (16,) if effort.smoke else tuple(REPEATS)
    floor = open_floor(32, 32, [(f"group{count}", count) for count in counts])
    samples: Samples = {}
    load: list[float] = []
    async with AsyncExitStack() as stack:
        site = await stack.enter_async_context(plant(floor, coordinators=1 if effort.smoke else 3))
        bare = await stack.enter_async_context(bare_server())
        for _ in range(effort.rounds):
            for count in counts:
                await measure(site.leader, bare, count, "idle", effort, samples)
                async with saturated(site.leader, LOAD_AGENTS, load):
                    await measure(site.leader, bare, count, "loaded", effort, samples)
    figures: dict[str, float] = {"load_pairs_per_s": percentile(load, 0.5)}
    for name, values in samples.items():
        for what, share in (("p50", 0.5), ("p99", 0.99)):
            last_ms = percentile(values, share)
            figures[f"{name}_last_{what}_ms"] = last_ms
            if not name.startswith("bare"):
                figures[f"{name}_last_{what}_cm_at_{SPEED_MM_S}_mm_s"] = last_ms * SPEED_MM_S / 10_000
    return Report(effort.rounds, figures, ratios(figures, counts))


def ratios(figures: dict[str, float], counts: tuple[int, ...]) -> dict[str, float]:
    found: dict[str, float] = {}
    for count in counts:
        for mood in ("idle", "loaded"):
            for what in ("p50", "p99"):
                mine = figures[f"operator_{count}_{mood}_last_{what}_ms"]
                bare = f"bare_fan_out_{count}_{mood}"
                found[f"operator_{count}_{mood}_last_{what}_over_{bare}"] = mine / figures[f"{bare}_last_{what}_ms"]
        quiet = f"bare_fan_out_{count}_idle"
        mine = figures[f"operator_{count}_loaded_last_p50_ms"]
        found[f"operator_{count}_loaded_last_p50_over_{quiet}"] = mine / figures[f"{quiet}_last_p50_ms"]
    return found

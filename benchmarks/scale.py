"""What a grant costs the coordinator as agents and zones grow, and what they take in memory.

Agents on fleet streams of 250, ten zones each, up to 10,000 agents and 100,000 zones. Cost is the coordinator's own
processor time for a grant and its release, which other programs on the machine disturb least.
"""

from __future__ import annotations

import asyncio
import time

import grpc

from benchmarks.plant import cpu_s, open_floor, plant, resident_mb
from benchmarks.report import Effort, Report, medians
from benchmarks.streams import FleetStream, Window, zones_in_turn

SIZES = (100, 1_000, 4_000, 10_000)
SMOKE_SIZES = (20, 40)
ZONES_EACH = 10
AGENTS_PER_STREAM = 250
WIDTH = 100
WINDOW_S = 4.0
SMOKE_WINDOW_S = 0.3


async def run(effort: Effort) -> Report:
    sizes = SMOKE_SIZES if effort.smoke else tuple(s for s in SIZES if s <= SIZES[-1] * effort.scale)
    window_s = SMOKE_WINDOW_S if effort.smoke else WINDOW_S
    rounds = []
    for number in range(effort.rounds):
        figures: dict[str, float] = {}
        for agents in sizes:
            figures |= await measure(agents, window_s, number)
        rounds.append(figures)
    found = medians(rounds)
    few, many = sizes[0], sizes[-1]
    ratios = {
        f"coordinator_us_per_grant_{many}_over_{few}_agents": (
            found[f"coordinator_us_per_grant_{many}_agents"] / found[f"coordinator_us_per_grant_{few}_agents"]
        )
    }
    return Report(effort.rounds, found, ratios)


async def measure(agents: int, window_s: float, number: int) -> dict[str, float]:
    """A plant of its own for each size: a floor cannot grow under a ledger."""
    places = [zone for (zone,) in zones_in_turn(agents * ZONES_EACH, WIDTH)]
    zones_of = {f"n{number}-{i}": [[z] for z in places[i * ZONES_EACH : (i + 1) * ZONES_EACH]] for i in range(agents)}
    names = list(zones_of)
    async with plant(open_floor(WIDTH, -(-len(places) // WIDTH)), coordinators=1) as site:
        count = -(-agents // AGENTS_PER_STREAM)
        channels = [grpc.aio.insecure_channel(site.leader, [("bench.channel", i)]) for i in range(count)]
        streams = [
            FleetStream(channel, {n: zones_of[n] for n in names[i::count]}) for i, channel in enumerate(channels)
        ]
        began = time.perf_counter()
        for stream in streams:
            await stream.hello()
        hello_s = time.perf_counter() - began
        window, used_s = Window(window_s), cpu_s(site.leader_pid)
        done_before = sum(stream.done for stream in streams)
        await asyncio.gather(*(stream.work(window) for stream in streams))
        done = sum(stream.done for stream in streams) - done_before
        used_s = cpu_s(site.leader_pid) - used_s
        memory_mb = resident_mb(site.leader_pid)
        for channel in channels:
            await channel.close()
    return {
        f"coordinator_us_per_grant_{agents}_agents": used_s / done * 1e6,
        **window.figures(f"{agents}_agents"),
        f"hello_of_all_{agents}_agents_ms": hello_s * 1000,
        f"resident_{agents}_agents_mb": memory_mb,
    }

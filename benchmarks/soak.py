"""A million grants: does the coordinator's memory stay flat, does etcd's store stay bounded, does its loop ever pause?

1,000 agents on fleet streams over 10,000 zones, ten each in turn. What is kept per agent and zone fills up during the
first fifth, the warm-up; figures compare what follows. Only those of each tenth of the run, for its chart, are of the
warm-up too. `--scale 0.1` makes it 100,000 grants.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc

from benchmarks.load import Endless
from benchmarks.plant import Plant, cpu_s, open_floor, plant, resident_mb
from benchmarks.report import Effort, Report
from benchmarks.streams import FleetStream, zones_in_turn
from benchmarks.watched_serve import read_report
from coordinator.store.etcd_client import EtcdClient

GRANTS = 1_000_000
AGENTS = 1_000
ZONES_EACH = 10
STREAMS = 4
WIDTH = 100
WARM_UP = 0.2
SAMPLES = 50
TENTHS = 10
SETTLE_S = 1.0


@dataclass(frozen=True, slots=True)
class Sample:
    """Memory and store size at one moment of the monotonic clock."""

    at_s: float
    resident_mb: float
    store_mb: float


class Samples:
    """What was seen as the grants went by: `warm` from the end of the warm-up on, `tenths` at the end of each tenth."""

    def __init__(self, site: Plant, client: EtcdClient) -> None:
        self._site, self._client = site, client
        self.warm: list[Sample] = []
        self.tenths: list[Sample] = []

    async def take(self) -> None:
        self.warm.append(await self._look())

    async def passed(self, share: float) -> None:
        """So much of the run, 0 to 1, is over."""
        while len(self.tenths) < min(TENTHS, int(share * TENTHS)):
            self.tenths.append(await self._look())

    async def _look(self) -> Sample:
        members = await self._client.statuses()
        store_mb = max((member.db_bytes for member in members), default=0) / 1e6
        return Sample(time.monotonic(), resident_mb(self._site.leader_pid), store_mb)


def course(tenths: Sequence[Sample], report: Path, began: float) -> dict[str, float]:
    """Memory and store size at the end of each tenth, and the worst pause of the loop during it, to the second."""
    figures = {}
    for number, (since, sample) in enumerate(zip([began, *(s.at_s for s in tenths)], tenths, strict=False), 1):
        at = f"at_{100 * number // TENTHS}_percent"
        figures[f"resident_{at}_mb"] = sample.resident_mb
        figures[f"store_{at}_mb"] = sample.store_mb
        figures[f"worst_loop_pause_{at}_ms"] = read_report(report, since, sample.at_s).late_ms
    return figures


def fleets(channels: list[grpc.aio.Channel], agents: int) -> list[FleetStream]:
    places = [zone for (zone,) in zones_in_turn(agents * ZONES_EACH, WIDTH)]
    zones_of = {f"soak-{i}": [[z] for z in places[i * ZONES_EACH : (i + 1) * ZONES_EACH]] for i in range(agents)}
    names = list(zones_of)
    return [
        FleetStream(channel, {name: zones_of[name] for name in names[start :: len(channels)]})
        for start, channel in enumerate(channels)
    ]


async def run(effort: Effort) -> Report:
    agents = 40 if effort.smoke else AGENTS
    grants = 400 if effort.smoke else int(GRANTS * effort.scale)
    with tempfile.TemporaryDirectory(prefix="zonelock-soak-") as folder:
        report = Path(folder) / "loop"
        floor = open_floor(WIDTH, agents * ZONES_EACH // WIDTH)
        async with plant(floor, coordinators=1 if effort.smoke else 3, report=report) as site:
            client = EtcdClient(site.endpoints)
            samples = Samples(site, client)
            channels = [grpc.aio.insecure_channel(site.leader, [("bench.channel", i)]) for i in range(STREAMS)]
            window, began, warmed, used_s = await work(site, fleets(channels, agents), grants, samples)
            ended = time.monotonic()
            for channel in channels:
                await channel.close()
            await client.close()
        pauses, tenths = read_report(report, warmed, ended), course(samples.tenths, report, began)
    took_s = ended - began
    residents, stores = [s.resident_mb for s in samples.warm], [s.store_mb for s in samples.warm]
    figures = {
        "grants": float(window.pairs),
        "grants_per_s": window.pairs / took_s,
        "coordinator_us_per_grant": used_s / window.pairs * 1e6,
        "resident_after_warm_up_mb": residents[0],
        "resident_at_end_mb": residents[-1],
        "resident_most_mb": max(residents),
        "store_after_warm_up_mb": stores[0],
        "store_at_end_mb": stores[-1],
        "store_most_mb": max(stores),
        "worst_loop_pause_ms": pauses.late_ms,
        "worst_loop_pause_of_own_work_ms": pauses.busy_ms,
        "worst_collection_ms": pauses.collecting_ms,
        **tenths,
    }
    ratios = {
        "resident_most_over_after_warm_up": figures["resident_most_mb"] / figures["resident_after_warm_up_mb"],
        "resident_end_over_after_warm_up": figures["resident_at_end_mb"] / figures["resident_after_warm_up_mb"],
        "store_end_over_after_warm_up": figures["store_at_end_mb"] / max(0.1, figures["store_after_warm_up_mb"]),
    }
    return Report(1, figures, ratios)


async def work(
    site: Plant, streams: list[FleetStream], grants: int, samples: Samples
) -> tuple[Endless, float, float, float]:
    """Until so many grants: the window, when it began, when it was warm, the coordinator's processor seconds."""
    for stream in streams:
        await stream.hello()
    window, began, used_s = Endless(), time.monotonic(), cpu_s(site.leader_pid)
    working = asyncio.gather(*(stream.work(window) for stream in streams))
    warmed = 0.0
    due = WARM_UP * grants
    while window.pairs < grants and not working.done():
        await asyncio.sleep(0.05)
        await samples.passed(window.pairs / grants)
        if window.pairs >= due:
            warmed = warmed or time.monotonic()
            await samples.take()
            due = window.pairs + (1 - WARM_UP) * grants / SAMPLES
    window.told = True
    await working
    await samples.take()
    await samples.passed(1.0)
    return window, began, warmed, cpu_s(site.leader_pid) - used_s

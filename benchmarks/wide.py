"""Sets of zones, all or none: 1, 4 and 16 in one ask, beside as many etcd locks taken one after another.

A lock service has no such set: an agent that needs four takes four, in an order that everybody keeps, and a failure in
the middle is its own to undo. That is what is measured beside it.
"""

from __future__ import annotations

from benchmarks.locks import agent_streams, fleet_frames
from benchmarks.peers import etcd_locks
from benchmarks.plant import open_floor, plant
from benchmarks.report import Effort, Report, medians

SETS = (1, 4, 16)
AGENTS = 16
WINDOW_S = 1.0
WIDTH = 32


async def run(effort: Effort) -> Report:
    seconds = 0.2 if effort.smoke else WINDOW_S
    rounds = []
    async with plant(open_floor(WIDTH, WIDTH), coordinators=1 if effort.smoke else 3) as site:
        for _ in range(effort.rounds):
            figures: dict[str, float] = {}
            for zones in SETS:
                names = [[f"w-{agent}-{i}" for i in range(zones)] for agent in range(AGENTS)]
                turns = {
                    "agent_streams": agent_streams(site.leader, AGENTS, seconds, f"s{zones}", zones),
                    "fleet_frames": fleet_frames(site.leader, AGENTS, seconds, f"f{zones}", zones),
                    "etcd_locks": etcd_locks(site.endpoints, names, seconds),
                }
                for name, turn in turns.items():
                    figures |= (await turn).figures(f"{name}_of_{zones}_zones")
            rounds.append(figures)
    found = medians(rounds)
    ratios = {
        f"{ours}_of_{zones}_zones_{what}_over_etcd_locks": (
            found[f"{ours}_of_{zones}_zones_{what}"] / found[f"etcd_locks_of_{zones}_zones_{what}"]
        )
        for ours in ("agent_streams", "fleet_frames")
        for zones in SETS
        for what in ("pairs_per_s", "acquire_p50_ms")
    }
    ratios["fleet_frames_pairs_per_s_of_16_zones_over_1"] = (
        found["fleet_frames_of_16_zones_pairs_per_s"] / found["fleet_frames_of_1_zones_pairs_per_s"]
    )
    return Report(effort.rounds, found, ratios)

"""What the figures are held against: each goal names a ratio or a figure of one benchmark, and its bound."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Goal:
    """`key` is looked for among the benchmark's ratios, then its figures."""

    benchmark: str
    says: str
    key: str
    at_least: float | None = None
    at_most: float | None = None

    def measured(self, document: Mapping[str, Mapping[str, Any]]) -> float | None:
        value = document["ratios"].get(self.key, document["figures"].get(self.key))
        return None if value is None else float(value)

    def bound(self) -> str:
        return f"at least {self.at_least:g}" if self.at_least is not None else f"at most {self.at_most:g}"

    def met(self, value: float) -> bool:
        high_enough = self.at_least is None or value >= self.at_least
        return high_enough and (self.at_most is None or value <= self.at_most)


GOALS = (
    Goal(
        "locks",
        "pairs a second by 128 agents on streams of their own, over etcd's Lock",
        "agent_streams_128_pairs_per_s_over_etcd_lock",
        at_least=1.3,
    ),
    Goal(
        "locks",
        "p99 of acquire by 128 agents on streams of their own, over etcd's Lock",
        "agent_streams_128_acquire_p99_ms_over_etcd_lock",
        at_most=0.4,
    ),
    Goal(
        "locks",
        "pairs a second by 128 agents on a fleet stream, over etcd's Lock",
        "fleet_frames_128_pairs_per_s_over_etcd_lock",
        at_least=3.0,
    ),
    Goal(
        "locks",
        "pairs a second by 512 agents on a fleet stream, over etcd's Lock",
        "fleet_frames_512_pairs_per_s_over_etcd_lock",
        at_least=4.0,
    ),
    Goal(
        "locks",
        "median acquire of one agent, over a bare etcd put",
        "agent_streams_1_acquire_p50_ms_over_etcd_put",
        at_most=1.6,
    ),
    *(
        Goal(
            "stops",
            f"operator's stop to the last of {count:,}, idle, median over a bare fan-out",
            f"operator_{count}_idle_last_p50_over_bare_fan_out_{count}_idle",
            at_most=1.3,
        )
        for count in (16, 100, 1_000)
    ),
    *(
        Goal(
            "stops",
            f"the same to {count:,} under a saturating load of grants, over a bare fan-out under it",
            f"operator_{count}_loaded_last_p50_over_bare_fan_out_{count}_loaded",
            at_most=2.0,
        )
        for count in (16, 100, 1_000)
    ),
    Goal("stops", "a zone's stop to the last of 16, idle, p99 in ms", "operator_16_idle_last_p99_ms", at_most=5.0),
    Goal("soak", "resident memory, most over after warm-up", "resident_most_over_after_warm_up", at_most=1.1),
    Goal("soak", "worst pause of the event loop, ms", "worst_loop_pause_ms", at_most=50.0),
    *(
        Goal("failover", f"gap after the leader was {told}, {what}, ms", f"{mode}_gap_{what}_ms", at_most=bound)
        for mode, told, what, bound in (
            ("sigkill", "killed", "p50", 300.0),
            ("sigkill", "killed", "p99", 500.0),
            ("sigterm", "told to end", "p99", 100.0),
            ("sigstop", "frozen", "p99", 3_000.0),
            ("cut_off", "cut off from etcd", "p99", 3_000.0),
        )
    ),
    Goal("failover", "violations that the checkers found in the histories of all rounds", "violations", at_most=0.0),
    Goal("failover", "stops that a failover alone caused, in all rounds", "stops", at_most=0.0),
)

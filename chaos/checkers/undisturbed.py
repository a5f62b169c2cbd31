"""I10: whatever an observer does, the ring's writer pays nothing for it.

Judges measurements rather than a history: what writes took while observers ran, were stopped or were killed, beside the
same writer with none attached. A single phase says little on a machine that does other things too, so ratios are taken
within a round and their median is judged; a phase in which the writer did not finish says everything.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

RATIO_MAX = 1.1
SHARES = ("p99_us", "p99_9_us")
ALONE = "alone"


@dataclass(frozen=True, slots=True)
class Phase:
    """What one measurement came to: `took_us` by share ("p50_us", "p99_us", ...), empty where the writer got stuck."""

    observers: str
    asked: int
    written: int
    took_us: Mapping[str, float]


def ratios(rounds: Sequence[Sequence[Phase]], shares: Sequence[str] = SHARES) -> dict[str, float]:
    """`{condition}_{share}_over_alone`: medians over the rounds."""
    found: dict[str, list[float]] = {}
    for phases in rounds:
        base = next((p for p in phases if p.observers == ALONE and p.took_us), None)
        for phase in phases:
            if base is None or phase.observers == ALONE or not phase.took_us:
                continue
            for share in shares:
                name = f"{phase.observers}_{share.removesuffix('_us')}_over_alone"
                found.setdefault(name, []).append(phase.took_us[share] / base.took_us[share])
    return {name: statistics.median(values) for name, values in found.items()}


def undisturbed(
    rounds: Sequence[Sequence[Phase]], shares: Sequence[str] = SHARES, ratio_max: float = RATIO_MAX
) -> list[str]:
    """Every violation of I10 in the measurements, in words; empty when the observers cost nothing."""
    stuck = [
        f"I10: with observers {phase.observers}, the writer wrote {phase.written} of {phase.asked} records and no more"
        for phases in rounds
        for phase in phases
        if phase.written < phase.asked
    ]
    slow = [
        f"I10: {name} = {ratio:.2f}, above {ratio_max}: observers cost the writer time"
        for name, ratio in ratios(rounds, shares).items()
        if ratio > ratio_max
    ]
    return stuck + slow

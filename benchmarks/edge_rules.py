"""How often the anomaly rules alarm on healthy machines, and from which amplitude on they see a bearing's fault.

Healthy: a synthetic bearing, the plain mock of the field, and the mock with rarer, harder shocks (20 units, of a
signal of 0.8 RMS); a hundred channels each, a hundred windows each after the learned rule's learning. A false alarm
is a window of a channel with any anomaly. Faulty: for each place of damage and each amplitude of its strikes (in
standard deviations of the noise), the share of channels in which the envelope's line of that place, and in which
kurtosis, is an anomaly by the learned rule. `python -m benchmarks.edge_rules PNG` draws the curves.
"""

from __future__ import annotations

import asyncio
import copy
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.edge import fast_plan
from benchmarks.report import Effort, Report
from edge_node.channels import Channel, Window
from edge_node.dsp.baseline import LearnedBaseline
from edge_node.dsp.bearings import BEARING_6205, Fault
from edge_node.dsp.features import Extractor
from edge_node.dsp.rules import Measures, Rule
from edge_node.dsp.thresholds import FixedThresholds
from edge_node.findings import Anomaly, FeatureBatch, Provenance
from edge_node.sources.base import Source
from edge_node.sources.bearing import BearingSource, Damage, Place
from edge_node.sources.mock import MockSource

RATE_HZ, SHAFT_HZ, NOISE = 50_000.0, 1_797 / 60, 0.1
NOMINAL_RMS = 1.2
"""What the field's fixed rule takes for the usual RMS of the mock; it alarms at 2.5 times that."""

AMPLITUDES = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0)
FAULTS: tuple[tuple[Place, Fault], ...] = (("outer", Fault.OUTER), ("inner", Fault.INNER), ("ball", Fault.BALL))
FROM = Provenance("bench", 1, 0, 1, 0, RATE_HZ)


@dataclass(frozen=True, slots=True)
class Size:
    """How much is looked at. `samples` a window, windows per channel."""

    samples: int = 32_768
    channels: int = 100
    windows: int = 100
    faulty_channels: int = 40
    faulty_windows: int = 6
    learning: int = 120


SMOKE = Size(samples=4_096, channels=4, windows=4, faulty_channels=4, faulty_windows=4, learning=20)
Taking = Callable[[int], FeatureBatch]


def taking(source: MockSource | BearingSource, size: Size) -> Callable[[], FeatureBatch]:
    """Features of the source's next window each time."""
    extractor = Extractor(fast_plan(size.samples))

    def take() -> FeatureBatch:
        data = np.ascontiguousarray(source.take(size.samples).T)
        return extractor.features(Window(data, RATE_HZ, 0, 0))

    return take


def channels_of(count: int) -> tuple[Channel, ...]:
    return tuple(Channel(f"c{number}") for number in range(count))


def measures_of(count: int) -> Measures:
    return Measures(tuple(c.name for c in channels_of(count)), fast_plan().faults)


def bearing(place: Place, fault: Fault | None, strikes: float, count: int, seed: int) -> BearingSource:
    """Strikes of `strikes` standard deviations of the noise at the bearing's rate for that fault."""
    rate = BEARING_6205.fault_hz(fault, SHAFT_HZ) if fault is not None else 0.0
    damage = Damage(place, rate, strikes * NOISE, shaft_hz=SHAFT_HZ, cage_hz=BEARING_6205.cage_hz(SHAFT_HZ))
    return BearingSource(channels_of(count), RATE_HZ, damage, noise=NOISE, seed=seed)


def learned(take: Callable[[], FeatureBatch], count: int, size: Size) -> LearnedBaseline:
    rule = LearnedBaseline(measures_of(count), learning=size.learning)
    while not rule.ready:
        rule.judge(take(), FROM, 1.0)
    return rule


def false_alarms(rules: dict[str, Rule], take: Callable[[], FeatureBatch], size: Size) -> dict[str, float]:
    """The share of windows of a channel that each rule alarms in."""
    counts = dict.fromkeys(rules, 0)
    for _ in range(size.windows):
        batch = take()
        for name, rule in rules.items():
            counts[name] += len({anomaly.channel for anomaly in rule.judge(batch, FROM, 1.0)})
    return {name: count / (size.windows * size.channels) for name, count in counts.items()}


def healthy(size: Size) -> dict[str, float]:
    figures: dict[str, float] = {"healthy_windows_per_signal": float(size.windows * size.channels)}
    sources: dict[str, Source] = {
        "bearing": bearing("healthy", None, 0.0, size.channels, seed=1),
        "mock": MockSource(channels_of(size.channels), RATE_HZ, seed=2),
        "rough_mock": MockSource(channels_of(size.channels), RATE_HZ, shock=20.0, shocks_per_s=0.75, seed=2),
    }
    for name, source in sources.items():
        if not isinstance(source, BearingSource | MockSource):
            raise TypeError(f"{name}: not a source that this benchmark takes from")
        take = taking(source, size)
        rules: dict[str, Rule] = {
            "learned": learned(take, size.channels, size),
            "fixed": FixedThresholds(measures_of(size.channels), NOMINAL_RMS),
        }
        for rule, share in false_alarms(rules, take, size).items():
            figures[f"{name}_{rule}_false_alarm_percent"] = 100 * share
    return figures


def detection(size: Size) -> dict[str, float]:
    """The percentage of channels found, by fault, amplitude and measure."""
    figures = {}
    take = taking(bearing("healthy", None, 0.0, size.faulty_channels, seed=3), size)
    baseline = learned(take, size.faulty_channels, size)
    for place, fault in FAULTS:
        for amplitude in AMPLITUDES:
            rule = copy.deepcopy(baseline)
            take = taking(bearing(place, fault, amplitude, size.faulty_channels, seed=4), size)
            found: list[Anomaly] = []
            for _ in range(size.faulty_windows):
                found = rule.judge(take(), FROM, 1.0)
            for measure in (f"envelope_{fault}", "kurtosis"):
                share = len({a.channel for a in found if a.measure == measure}) / size.faulty_channels
                kind = measure.partition("_")[0]
                figures[f"{place}_{amplitude:g}_sigma_found_by_{kind}_percent"] = 100 * share
    return figures


def first_found(figures: dict[str, float], place: str, kind: str) -> float:
    """The least amplitude from which on at least 95 % of the channels are found; infinity when none."""
    reached = float("inf")
    for amplitude in reversed(AMPLITUDES):
        if figures[f"{place}_{amplitude:g}_sigma_found_by_{kind}_percent"] < 95:
            break
        reached = amplitude
    return reached


async def run(effort: Effort) -> Report:
    size = SMOKE if effort.smoke else Size()
    figures = healthy(size) | detection(size)
    ratios = {}
    for place, _ in FAULTS:
        envelope, kurtosis = (first_found(figures, place, kind) for kind in ("envelope", "kurtosis"))
        if np.isfinite(envelope) and np.isfinite(kurtosis):
            ratios[f"{place}_least_amplitude_by_kurtosis_over_by_envelope"] = kurtosis / envelope
    for name in ("bearing", "mock", "rough_mock"):
        learned_share = figures[f"{name}_learned_false_alarm_percent"]
        ratios[f"{name}_false_alarms_learned_over_all_windows"] = learned_share / 100
    return Report(1, figures, ratios)


def draw(figures: dict[str, float], out: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), sharey=True, constrained_layout=True)
    for axis, (place, _) in zip(axes, FAULTS, strict=True):
        for kind, colour in (("envelope", "#0b6e4f"), ("kurtosis", "#c84c09")):
            shares = [figures[f"{place}_{a:g}_sigma_found_by_{kind}_percent"] for a in AMPLITUDES]
            axis.plot(AMPLITUDES, shares, marker="o", color=colour, label=f"by {kind}")
        axis.set_xscale("log")
        axis.set_title(f"{place} fault")
        axis.set_xlabel("strikes, in standard deviations of the noise")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("channels found, %")
    axes[0].legend()
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    draw(dict(asyncio.run(run(Effort())).figures), Path(sys.argv[1]))

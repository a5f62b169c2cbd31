"""Features of 256 channels at 50 kHz beside the bare transform, 10,000 slow sensors, and the drift filter's step.

Everything runs in this one thread and is timed as processor time of the whole process, so that a library that would
take more cores, or a neighbour that takes this one, does not flatter or spoil a figure. "x real time" is seconds of
signal per second of processor time.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import scipy.fft

from benchmarks.report import Effort, Report, medians
from edge_node.channels import Samples, Window
from edge_node.drift.fusion import Fusion, Group
from edge_node.drift.kalman import Model
from edge_node.dsp.bearings import BEARING_6205
from edge_node.dsp.features import GROUP_SAMPLES, Extractor, Plan
from edge_node.dsp.windows import taper

CHANNELS, RATE_HZ, SAMPLES = 256, 50_000.0, 32_768
SENSORS, SLOW_RATE_HZ, SLOW_SAMPLES = 10_000, 100.0, 256
GROUP_OF = 4
BANDS_HZ = ((10.0, 1_000.0), (1_000.0, 5_000.0), (5_000.0, 10_000.0), (10_000.0, 25_000.0))
REPEATS = 3


def cpu_s(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """The least processor seconds of a few runs: what the work costs when nothing else evicts the caches."""
    best = float("inf")
    for _ in range(repeats):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return best


def fast_plan(samples: int = SAMPLES) -> Plan:
    return Plan(
        RATE_HZ,
        samples,
        bands_hz=BANDS_HZ,
        bearing=BEARING_6205,
        shaft_hz=1_797 / 60,
        resonance_hz=(2_000.0, 10_000.0),
    )


def vibration(channels: int, samples: int) -> tuple[dict[str, float], float, float]:
    """Figures of all features, and the processor seconds of them and of the bare transform over the same samples."""
    data: Samples = np.random.default_rng(1).standard_normal((channels, samples), dtype=np.float32)
    extractor, weights = Extractor(fast_plan(samples)), taper(fast_plan().taper, samples)
    window = Window(data, RATE_HZ, 0, 0)
    group = max(1, GROUP_SAMPLES // samples)

    def bare() -> None:
        for start in range(0, channels, group):
            scipy.fft.rfft(data[start : start + group] * weights, axis=1, overwrite_x=True)

    whole, limit = cpu_s(lambda: extractor.features(window)), cpu_s(bare)
    signal_s = samples / RATE_HZ
    figures = {
        "features_256ch_50khz_cpu_ms_per_window": whole * 1e3,
        "features_256ch_50khz_x_real_time": signal_s / whole,
        "features_256ch_50khz_overlap_50_x_real_time": signal_s / whole / 2,
        "bare_fft_256ch_50khz_x_real_time": signal_s / limit,
        "features_ns_per_sample": whole * 1e9 / data.size,
        "bare_fft_ns_per_sample": limit * 1e9 / data.size,
    }
    return figures, whole, limit


def slow_sensors(sensors: int) -> dict[str, float]:
    """10,000 sensors at 100 Hz on one node: the features of all of them, and one step of the drift filter."""
    rng = np.random.default_rng(2)
    data: Samples = rng.standard_normal((sensors, SLOW_SAMPLES), dtype=np.float32)
    extractor = Extractor(Plan(SLOW_RATE_HZ, SLOW_SAMPLES, bands_hz=((0.0, 10.0), (10.0, 50.0)), acceleration_m_s2=0.0))
    cost = cpu_s(lambda: extractor.features(Window(data, SLOW_RATE_HZ, 0, 0)))
    names = [tuple(f"{group}-{n}" for n in range(GROUP_OF)) for group in range(sensors // GROUP_OF)]
    fusion = Fusion(
        [Group(f"g{number}", sensors_, tolerance=1.0) for number, sensors_ in enumerate(names)],
        Model(noise=0.5, value_drift=0.1, bias_drift=0.01, rate_drift=0.001),
    )
    readings = rng.normal(20.0, 0.5, (len(names), GROUP_OF))
    step = cpu_s(lambda: fusion.step(readings, 0.01, 0))
    return {
        "features_10000_sensors_100hz_x_real_time": SLOW_SAMPLES / SLOW_RATE_HZ / cost,
        "kalman_10000_sensors_step_ms": step * 1e3,
        "kalman_step_us_per_sensor": step * 1e6 / sensors,
        "kalman_10000_sensors_100hz_x_real_time": 0.01 / step,
        "kalman_10000_sensors_1hz_x_real_time": 1.0 / step,
    }


async def run(effort: Effort) -> Report:
    channels, samples, sensors = (8, 4_096, 400) if effort.smoke else (CHANNELS, SAMPLES, SENSORS)
    rounds, ratios = [], []
    for _ in range(effort.rounds):
        figures, whole, limit = vibration(channels, samples)
        rounds.append({**figures, **slow_sensors(sensors)})
        ratios.append({"features_cpu_over_bare_fft_cpu": whole / limit})
    return Report(effort.rounds, medians(rounds), medians(ratios))

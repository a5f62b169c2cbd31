"""Features of a window, all channels at once.

With x the samples of a channel, m their mean and d = x - m:

- rms = sqrt(mean(x²)); deviation = sqrt(mean(d²)); peak_to_peak = max(x) - min(x); crest = max|d| / deviation;
- kurtosis (Pearson) = mean(d⁴) / mean(d²)², 3 for Gaussian noise; excess kurtosis (Fisher) = that - 3;
- band_energy = mean square of d within a band, from the one-sided spectrum of the tapered d: with X = rfft(w d) the sum
  over the band of c |X|² / (N sum(w²)), c = 1 at 0 Hz and at half the rate, else 2. By Parseval's theorem the sum over
  all bins is sum((w d)²) / sum(w²), the mean square as the taper weighs it.
- velocity_rms_mm_s: each bin of acceleration divided by 2 pi f within 10 to 1,000 Hz (ISO 20816-1:2016, 4.3: broad-band
  velocity); 1 g of amplitude at 159.155 Hz is 6.934 mm/s.

One real transform a window serves the bands, the velocity and the envelope. Channels are worked on a few at a time so
that a group stays in the processor's cache. Owns these definitions; never decides what is unusual.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import scipy.fft

from edge_node.channels import STANDARD_GRAVITY_M_S2, Samples, Window
from edge_node.dsp.bearings import Bearing, Fault
from edge_node.dsp.envelope import Envelope, FaultLines
from edge_node.dsp.quality import quality_of
from edge_node.dsp.severity import VELOCITY_BAND_HZ
from edge_node.dsp.windows import MAX_SAMPLES, MIN_SAMPLES, Taper, hop_of, taper
from edge_node.findings import FeatureBatch, Floats, Quality

GROUP_SAMPLES = 1 << 18
"""Samples worked on at a time: 1 MiB of float32, so that the steps after the first read from the cache."""

RATE_TOLERANCE = 0.01


class BadWindow(ValueError):
    """A window that these features are not defined for: another rate, length or number of channels than planned."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is computed of each window of a group of like channels.

    `bands_hz` are (low, high) pairs; an energy counts bins with low <= f < high. `resonance_hz` is the band that the
    envelope is taken of; without a `bearing` no fault line is looked for. `acceleration_m_s2` is how many m/s² one unit
    of the channels is (9.80665 for g), or 0 where they do not measure acceleration. `full_scale` in units, 0: unknown.
    """

    rate_hz: float
    samples: int
    taper: Taper = Taper.HANN
    overlap: float = 0.5
    bands_hz: tuple[tuple[float, float], ...] = ()
    bearing: Bearing | None = None
    shaft_hz: float = 0.0
    resonance_hz: tuple[float, float] = (0.0, 0.0)
    faults: tuple[Fault, ...] = (Fault.OUTER, Fault.INNER, Fault.BALL, Fault.CAGE)
    acceleration_m_s2: float = STANDARD_GRAVITY_M_S2
    full_scale: float = 0.0

    def __post_init__(self) -> None:
        half = self.rate_hz / 2
        if not self.rate_hz > 0:
            raise ValueError(f"rate_hz: {self.rate_hz} is not above 0")
        if not MIN_SAMPLES <= self.samples <= MAX_SAMPLES:
            raise ValueError(f"samples: {self.samples} of a window is not {MIN_SAMPLES} to {MAX_SAMPLES}")
        for low, high in self.bands_hz:
            if not 0 <= low < high:
                raise ValueError(f"bands_hz: ({low}, {high}) is not 0 <= low < high")
            if low >= half:
                raise ValueError(f"bands_hz: ({low}, {high}) starts above {half} Hz, half the rate")
        if self.bearing is not None:
            low, high = self.resonance_hz
            if not 0 < low < high <= half:
                raise ValueError(f"resonance_hz: ({low}, {high}) is not 0 < low < high <= {half} Hz, half the rate")
            if not self.shaft_hz > 0:
                raise ValueError(f"shaft_hz: {self.shaft_hz} is not above 0; a bearing's lines need the shaft's speed")

    @property
    def hop(self) -> int:
        """Samples between the starts of two windows."""
        return hop_of(self.samples, self.overlap)


@dataclass(slots=True)
class Extractor:
    """Computes the features of windows that follow a plan. Keeps no state between windows."""

    plan: Plan
    _weights: Samples = field(init=False)
    _projection: Samples = field(init=False)
    _envelope: Envelope | None = field(init=False)

    def __post_init__(self) -> None:
        plan = self.plan
        self._weights = taper(plan.taper, plan.samples)
        self._projection = _projection(plan, self._weights)
        self._envelope = None
        if plan.bearing is not None:
            lines = tuple(plan.bearing.fault_hz(fault, plan.shaft_hz) for fault in plan.faults)
            self._envelope = Envelope(plan.rate_hz, plan.samples, plan.taper, plan.resonance_hz, lines)

    def features(self, window: Window) -> FeatureBatch:
        """The features of a window of shape (channels, samples). BadWindow: it does not follow the plan."""
        plan = self.plan
        if window.samples != plan.samples:
            raise BadWindow(f"window: {window.samples} samples where the plan has {plan.samples}")
        if abs(window.rate_hz - plan.rate_hz) > RATE_TOLERANCE * plan.rate_hz:
            raise BadWindow(f"rate_hz: {window.rate_hz} where the plan has {plan.rate_hz}; plan anew for that rate")
        faults = len(plan.faults) if plan.bearing is not None else 0
        out = _Columns.empty(window.channels, len(plan.bands_hz), faults)
        group = max(1, GROUP_SAMPLES // plan.samples)
        quality: list[Quality] = []
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            for start in range(0, window.channels, group):
                stop = min(start + group, window.channels)
                quality += self._group(window.data[start:stop], out, slice(start, stop))
        if window.missing:
            quality = [Quality.MISSING if q is Quality.OK else q for q in quality]
        return FeatureBatch(
            mean=out.moments[0],
            rms=out.moments[1],
            deviation=out.moments[2],
            peak_to_peak=out.moments[3],
            crest=out.moments[4],
            kurtosis=out.moments[5],
            excess_kurtosis=out.moments[5] - np.float32(3.0),
            band_energy=out.bands,
            envelope_line=out.lines,
            envelope_score=out.scores,
            velocity_rms_mm_s=out.velocity,
            quality=tuple(quality),
        )

    def _group(self, x: Samples, out: _Columns, rows: slice) -> list[Quality]:
        samples = np.float32(self.plan.samples)
        mean = x.mean(axis=1)
        low, high = x.min(axis=1), x.max(axis=1)
        d = x - mean[:, None]
        squares = d * d
        second = squares.mean(axis=1)
        fourth = np.einsum("ij,ij->i", squares, squares) / samples
        deviation = np.sqrt(second)
        out.moments[0, rows] = mean
        out.moments[1, rows] = np.sqrt(second + mean * mean)
        out.moments[2, rows] = deviation
        out.moments[3, rows] = high - low
        out.moments[4, rows] = np.maximum(high - mean, mean - low) / deviation
        out.moments[5, rows] = fourth / (second * second)
        np.multiply(d, self._weights, out=d)
        spectrum = scipy.fft.rfft(d, axis=1, overwrite_x=True)
        power = spectrum.real**2 + spectrum.imag**2
        projected = power @ self._projection
        out.bands[rows] = projected[:, :-1]
        out.velocity[rows] = np.sqrt(projected[:, -1])
        if self._envelope is not None:
            found: FaultLines = self._envelope.lines(spectrum)
            out.lines[rows] = found.amplitude
            out.scores[rows] = found.score
        if self.plan.acceleration_m_s2 == 0:
            out.velocity[rows] = np.nan
        return quality_of(x, low, high, self.plan.full_scale)


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where the groups write their results."""

    moments: Floats
    bands: Floats
    lines: Floats
    scores: Floats
    velocity: Floats

    @staticmethod
    def empty(channels: int, bands: int, faults: int) -> _Columns:
        return _Columns(
            moments=np.empty((6, channels), dtype=np.float32),
            bands=np.empty((channels, bands), dtype=np.float32),
            lines=np.full((channels, faults), np.nan, dtype=np.float32),
            scores=np.full((channels, faults), np.nan, dtype=np.float32),
            velocity=np.empty(channels, dtype=np.float32),
        )


def _projection(plan: Plan, weights: Samples) -> Samples:
    """The matrix (bins, bands + 1) that turns |X|² into band energies and, last, into mean square velocity (mm/s)²."""
    bins = plan.samples // 2 + 1
    frequency = np.arange(bins) * (plan.rate_hz / plan.samples)
    wide = weights.astype(np.float64)
    per_bin = np.full(bins, 2.0 / (plan.samples * np.sum(wide * wide)))
    per_bin[0] /= 2
    if plan.samples % 2 == 0:
        per_bin[-1] /= 2
    columns = [np.where((frequency >= low) & (frequency < high), per_bin, 0.0) for low, high in plan.bands_hz]
    low, high = VELOCITY_BAND_HZ
    inside = (frequency >= low) & (frequency <= high)
    omega = 2 * np.pi * np.where(inside, frequency, 1.0)
    columns.append(np.where(inside, per_bin * (plan.acceleration_m_s2 * 1e3 / omega) ** 2, 0.0))
    return np.ascontiguousarray(np.stack(columns, axis=1), dtype=np.float32)

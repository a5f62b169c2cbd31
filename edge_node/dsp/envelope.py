"""The envelope spectrum, and what it shows at a bearing's fault lines.

A fault strikes a resonance at a low rate; the rate is invisible in the spectrum but plain in that of the envelope (R.
B. Randall and J. Antoni, "Rolling element bearing diagnostics: a tutorial", Mech. Syst. Signal Process. 25, 2011,
section 4). The bins of the resonance band are moved down to 0 Hz and transformed back: that is the analytic signal of
the band, at a rate of no more than the band needs, and its magnitude is the envelope. The window was tapered before
its one transform, so the envelope comes out tapered likewise, and its own spectrum needs no second taper.

Amplitudes are one-sided and corrected by the taper's coherent gain: a carrier a (1 + m cos(2 pi f t)) shows a line of
height a m at f.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from edge_node.channels import Samples
from edge_node.dsp.windows import Taper, taper
from edge_node.findings import Floats

HARMONICS = 3
SLIP = 0.02
"""Rolling elements slip by 1 to 2 % (Randall and Antoni, section 2.1): lines are sought this far around the
kinematic.
"""

LOWEST_FLOOR_HZ = 5.0
"""Below this the envelope of anything is raised by slow changes; the noise floor is taken above it."""


@dataclass(frozen=True, slots=True)
class FaultLines:
    """What stands at the fault lines, of shape (channels, lines).

    `amplitude` is the height of the first harmonic in the channel's unit; `score` the mean over the harmonics of the
    line's height over the median height of the envelope spectrum around it.
    """

    amplitude: Floats
    score: Floats


@dataclass(slots=True)
class Envelope:
    """Envelope spectra of windows of one length and rate."""

    rate_hz: float
    samples: int
    kind: Taper
    band_hz: tuple[float, float]
    lines_hz: tuple[float, ...]
    _bins: slice = field(init=False)
    _length: int = field(init=False)
    _weights: Samples = field(init=False)
    _searched: list[list[slice]] = field(init=False)
    _floor: slice = field(init=False)

    def __post_init__(self) -> None:
        step = self.rate_hz / self.samples
        first, last = round(self.band_hz[0] / step), round(self.band_hz[1] / step)
        self._bins = slice(max(1, first), min(last, self.samples // 2) + 1)
        # Twice the band's width holds the envelope's own bandwidth without folding back.
        self._length = scipy.fft.next_fast_len(2 * (self._bins.stop - self._bins.start))
        self._weights = taper(self.kind, self._length)
        half = self._length // 2
        self._searched = []
        for line in self.lines_hz:
            spans = []
            for harmonic in range(1, HARMONICS + 1):
                centre = line * harmonic / step
                low, high = int(centre * (1 - SLIP)) - 1, int(np.ceil(centre * (1 + SLIP))) + 1
                if low >= 1 and high < half:
                    spans.append(slice(low, high + 1))
            self._searched.append(spans)
        top = max((spans[-1].stop for spans in self._searched if spans), default=half)
        self._floor = slice(max(1, round(LOWEST_FLOOR_HZ / step)), min(half, max(top * 5 // 4, 64)))

    @property
    def step_hz(self) -> float:
        """The distance of two bins of the envelope spectrum: as of the window's own spectrum."""
        return self.rate_hz / self.samples

    def spectrum(self, spectrum: NDArray[np.complex64]) -> Floats:
        """The envelope spectrum (channels, bins) from the spectrum (channels, bins) of a tapered window."""
        inside = spectrum[:, self._bins]
        moved = np.zeros((inside.shape[0], self._length), dtype=np.complex64)
        moved[:, : inside.shape[1]] = inside
        analytic = scipy.fft.ifft(moved, axis=1, overwrite_x=True)
        envelope = np.abs(analytic)
        envelope *= np.float32(2.0 * self._length / self.samples)
        total = np.float32(np.sum(self._weights, dtype=np.float64))
        envelope -= (envelope.sum(axis=1) / total)[:, None] * self._weights
        found: Floats = np.abs(scipy.fft.rfft(envelope, axis=1, overwrite_x=True)[:, : self._length // 2])
        found *= np.float32(2.0) / total
        return found

    def lines(self, spectrum: NDArray[np.complex64]) -> FaultLines:
        """How the lines stand out in the envelope spectrum. NaN: the window is too short to show the line at all."""
        found = self.spectrum(spectrum)
        shape = (found.shape[0], len(self._searched))
        amplitude, score = np.full(shape, np.nan, dtype=np.float32), np.full(shape, np.nan, dtype=np.float32)
        floor = np.median(found[:, self._floor], axis=1)
        for place, spans in enumerate(self._searched):
            if spans:
                peaks = [found[:, span].max(axis=1) for span in spans]
                amplitude[:, place] = peaks[0]
                score[:, place] = np.mean(peaks, axis=0) / floor
        return FaultLines(amplitude, score)

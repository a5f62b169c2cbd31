"""Tapers and overlapping windows.

A taper trades leakage for resolution. Its coherent gain (the mean of its weights) corrects amplitudes of lines, its
equivalent noise bandwidth (ENBW) relates power per bin to power density: F. J. Harris, "On the use of windows for
harmonic analysis with the discrete Fourier transform", Proc. IEEE 66(1), 1978, eqs. 9 to 15 and table 1. Tapers are
periodic ("DFT-even"), as that paper prescribes for spectra.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

import numpy as np

from edge_node.channels import Samples, Window

MIN_SAMPLES = 16
MAX_SAMPLES = 1 << 22


class Taper(StrEnum):
    """The weights a window is multiplied with before its transform. NONE is the rectangular window."""

    HANN = "hann"
    HAMMING = "hamming"
    NONE = "none"


_RAISED_COSINE = {Taper.HANN: (0.5, 0.5), Taper.HAMMING: (0.54, 0.46), Taper.NONE: (1.0, 0.0)}


def taper(kind: Taper, samples: int) -> Samples:
    """The periodic taper w[n] = a - b cos(2 pi n / samples), float32, shape (samples,)."""
    constant, cosine = _RAISED_COSINE[kind]
    phase = 2.0 * np.pi * np.arange(samples) / samples
    return (constant - cosine * np.cos(phase)).astype(np.float32)


def coherent_gain(weights: Samples) -> float:
    """The mean weight: 0.5 for Hann, 0.54 for Hamming (Harris, table 1)."""
    return float(np.mean(weights, dtype=np.float64))


def noise_bandwidth_bins(weights: Samples) -> float:
    """The ENBW in bins, N sum(w²) / sum(w)²: 1.5 for Hann, 1.3628 for Hamming (Harris, eq. 11)."""
    wide = weights.astype(np.float64)
    return float(wide.size * np.sum(wide * wide) / np.sum(wide) ** 2)


def hop_of(samples: int, overlap: float) -> int:
    """How far one window lies behind the next. ValueError: overlap not in 0 <= overlap < 1."""
    if not 0.0 <= overlap < 1.0:
        raise ValueError(f"overlap: {overlap} is not in 0 <= overlap < 1; 0.5 is usual for a Hann taper")
    return max(1, round(samples * (1.0 - overlap)))


class Framing:
    """Cuts a stream of blocks into windows of one length that overlap.

    A window never spans a gap: when a block does not continue the one before, what was collected is given up and
    counted as missing in the next window. Bounded: keeps at most one window and one block.
    """

    def __init__(self, channels: int, samples: int, hop: int) -> None:
        """`hop` samples between the starts of two windows. ValueError names what is out of range."""
        if channels < 1:
            raise ValueError(f"channels: {channels} is below 1")
        if not MIN_SAMPLES <= samples <= MAX_SAMPLES:
            raise ValueError(f"samples: {samples} of a window is not {MIN_SAMPLES} to {MAX_SAMPLES}")
        if not 1 <= hop <= samples:
            raise ValueError(f"hop: {hop} is not 1 to {samples}, the samples of a window")
        self._kept = np.empty((channels, samples), dtype=np.float32)
        self._hop = hop
        self._filled = 0
        self._covered = 0  # of those, how many were part of a window already
        self._next_index = -1
        self._first_t_ns = 0
        self._missing = 0

    def feed(
        self, block: Samples, rate_hz: float, first_index: int, t_ns: int, *, replayed: bool = False
    ) -> Iterator[Window]:
        """Takes a block of shape (channels, n) and yields each window that it completes, as a copy.

        ValueError: another number of channels than the framing was made for.
        """
        channels, samples = self._kept.shape
        if block.ndim != 2 or block.shape[0] != channels:
            raise ValueError(f"block: shape {block.shape} where ({channels}, n) was announced: missing channels?")
        if first_index != self._next_index:
            if self._next_index >= 0:
                self._missing += max(0, first_index - self._next_index) + self._filled - self._covered
            self._filled = self._covered = 0
        step_ns = 1e9 / rate_hz
        taken, total = 0, block.shape[1]
        while taken < total:
            if self._filled == 0:
                self._first_t_ns = t_ns + round(taken * step_ns)
            count = min(samples - self._filled, total - taken)
            self._kept[:, self._filled : self._filled + count] = block[:, taken : taken + count]
            self._filled += count
            taken += count
            if self._filled == samples:
                start = first_index + taken - samples
                yield Window(self._kept.copy(), rate_hz, start, self._first_t_ns, self._missing, replayed)
                self._missing = 0
                self._filled = self._covered = samples - self._hop
                self._kept[:, : self._filled] = self._kept[:, self._hop :].copy()
                self._first_t_ns += round(self._hop * step_ns)
        self._next_index = first_index + total

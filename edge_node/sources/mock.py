"""The plain mock of the field: sines of 50 and 120 Hz, Gaussian noise, and now and then a shock. A healthy machine.

What vendors' examples and tutorials test on; a rule that alarms here alarms everywhere. Never imports the features.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_node.channels import Channel
from edge_node.sources.base import Block, Nature, Problems

SINES_HZ = (50.0, 120.0)


class MockSource:
    """Endless samples; amplitudes, the noise's standard deviation and the shocks' height in the channels' units.

    A shock is one sample high, comes `shocks_per_s` times a second on average (Poisson) in each channel, up or down.
    The same seed gives the same samples for the same size of blocks.
    """

    nature = Nature.SYNTHETIC
    paced = False

    def __init__(
        self,
        channels: Sequence[Channel],
        rate_hz: float,
        *,
        amplitudes: tuple[float, float] = (1.0, 0.5),
        noise: float = 0.2,
        shock: float = 5.0,
        shocks_per_s: float = 1.0,
        seed: int = 0,
    ) -> None:
        self.channels, self.rate_hz = tuple(channels), rate_hz
        self.problems = Problems()
        self._amplitudes, self._noise, self._shock, self._shocks_per_s = amplitudes, noise, shock, shocks_per_s
        self._rng = np.random.default_rng(seed)
        # Sensors stand in different places: each sees the sines at its own phase.
        self._phases = self._rng.uniform(0, 2 * np.pi, (len(SINES_HZ), 1, len(self.channels)))
        self._index = 0

    def blocks(self, frames: int) -> Iterator[Block]:
        while True:
            yield Block(self.take(frames))

    def take(self, frames: int) -> NDArray[Any]:
        """The next `frames` frames, (frames, channels), float32."""
        times = ((self._index + np.arange(frames)) / self.rate_hz)[:, None]
        shape = (frames, len(self.channels))
        out = self._rng.standard_normal(shape, np.float32) * np.float32(self._noise)
        for hz, amplitude, phase in zip(SINES_HZ, self._amplitudes, self._phases, strict=True):
            out += (amplitude * np.sin(2 * np.pi * hz * times + phase)).astype(np.float32)
        count = self._rng.poisson(self._shocks_per_s * frames / self.rate_hz * len(self.channels))
        rows, columns = self._rng.integers(0, frames, count), self._rng.integers(0, len(self.channels), count)
        np.add.at(out, (rows, columns), np.float32(self._shock) * self._rng.choice([-1, 1], count).astype(np.float32))
        self._index += frames
        return out

    def close(self) -> None:
        """Nothing to give back."""

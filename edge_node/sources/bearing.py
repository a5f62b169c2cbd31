"""A physical synthetic bearing: a damaged place strikes once per ball that passes, each strike rings a resonance, the
load decides how hard it strikes, wear lets it grow, and noise lies over everything.

The strikes' times are a random walk, because balls slip: J. Antoni and R. B. Randall, "A stochastic model for
simulation and diagnostics of rolling element bearings with localized faults", J. Vib. Acoust. 125, 2003. Never
imports the features that are to find them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_node.channels import Channel
from edge_node.sources.base import Block, Nature, Problems, SourceError

Place = Literal["healthy", "outer", "inner", "ball"]


@dataclass(frozen=True, slots=True)
class Damage:
    """What is damaged and how it shows.

    `fault_hz` is the kinematic rate of strikes (BPFO, BPFI, or 2 x BSF), `slip` the mean share by which slipping
    slows it, `jitter` the standard deviation of one interval as a share of it. Strikes of `amplitude` (units of the
    channel) begin after `after_s` seconds at `begin_amplitude` and grow over `wear_s` seconds with the power
    `wear_power`; 0 s means that they are grown. An inner ring's damage turns through the load zone at `shaft_hz`, a
    ball's at `cage_hz`, an outer ring's stays.
    """

    place: Place = "healthy"
    fault_hz: float = 0.0
    amplitude: float = 1.0
    begin_amplitude: float = 0.0
    wear_s: float = 0.0
    wear_power: float = 2.0
    after_s: float = 0.0
    slip: float = 0.01
    jitter: float = 0.01
    resonance_hz: float = 3_500.0
    damping: float = 0.05
    shaft_hz: float = 29.95
    cage_hz: float = 11.93


class BearingSource:
    """Endless samples of one bearing, seen by each channel with its own gain and its own noise.

    `imbalance` is the amplitude of the shaft's own sine, `noise` the standard deviation of white Gaussian noise, both
    in the channels' units. The same seed gives the same samples, whatever the size of the blocks. Raises SourceError.
    """

    nature = Nature.SYNTHETIC
    paced = False

    def __init__(
        self,
        channels: Sequence[Channel],
        rate_hz: float,
        damage: Damage,
        *,
        imbalance: float = 0.1,
        noise: float = 0.1,
        gains: Sequence[float] | None = None,
        seed: int = 0,
    ) -> None:
        # Imported by whoever makes such a source: it takes half a second, and every child of every node looks in here.
        from scipy.signal import lfilter

        self._resonate = lfilter
        self.channels, self.rate_hz, self.damage = tuple(channels), rate_hz, damage
        self.problems = Problems()
        if not 0 < damage.resonance_hz < rate_hz / 2:
            raise SourceError(
                f"resonance_hz = {damage.resonance_hz}: must lie below half of rate_hz = {rate_hz}; "
                "raise the rate or lower the resonance"
            )
        if damage.place != "healthy" and not 0 < damage.fault_hz < rate_hz / 4:
            raise SourceError(
                f"fault_hz = {damage.fault_hz}: must be above 0 and below a quarter of rate_hz = {rate_hz}"
            )
        if not 0 <= damage.slip < 0.2 or not 0 <= damage.jitter < 0.2:
            raise SourceError(f"slip = {damage.slip}, jitter = {damage.jitter}: shares from 0 to 0.2; 0.01 is usual")
        if not 0 < damage.damping < 1:
            raise SourceError(f"damping = {damage.damping}: must be above 0 and below 1; 0.05 is usual")
        self._imbalance, self._noise = imbalance, noise
        given = gains if gains is not None else [1.0] * len(self.channels)
        if len(given) != len(self.channels):
            raise SourceError(f"gains: {len(given)} of them for {len(self.channels)} channels; give one each")
        self._gains = np.asarray(given, np.float32)
        noise_seed, strike_seed = np.random.SeedSequence(seed).spawn(2)
        self._noise_rng, self._strike_rng = np.random.default_rng(noise_seed), np.random.default_rng(strike_seed)
        self._index = 0
        self._next_strike = 0.5 / damage.fault_hz if damage.place != "healthy" else math.inf
        # Each strike answers r**n sin(wn): the resonance's impulse response at the sampling times.
        undamped = 2 * math.pi * damage.resonance_hz / rate_hz
        decay = math.exp(-damage.damping * undamped)
        ringing = undamped * math.sqrt(1 - damage.damping**2)
        self._b = np.array([0.0, decay * math.sin(ringing)])
        self._a = np.array([1.0, -2 * decay * math.cos(ringing), decay * decay])
        self._ringing = np.zeros(2)
        # A strike between two samples is shared between them; the later share may belong to the next block.
        self._carry = 0.0

    def blocks(self, frames: int) -> Iterator[Block]:
        while True:
            yield Block(self.take(frames))

    def take(self, frames: int) -> NDArray[Any]:
        """The next `frames` frames, (frames, channels), float32."""
        times = (self._index + np.arange(frames)) / self.rate_hz
        strikes = self._strikes(frames)
        rung, self._ringing = self._resonate(self._b, self._a, strikes, zi=self._ringing)
        common = rung + self._imbalance * np.sin(2 * np.pi * self.damage.shaft_hz * times)
        noise = self._noise_rng.standard_normal((frames, len(self.channels)), np.float32) * np.float32(self._noise)
        self._index += frames
        samples: NDArray[Any] = noise + common.astype(np.float32)[:, None] * self._gains
        return samples

    def _strikes(self, frames: int) -> NDArray[np.float64]:
        found = np.zeros(frames + 1)
        found[0] = self._carry
        end = (self._index + frames) / self.rate_hz
        mean = 1.0 / (self.damage.fault_hz * (1 - self.damage.slip)) if self.damage.place != "healthy" else math.inf
        while self._next_strike < end:
            at = self._next_strike * self.rate_hz - self._index
            whole = min(int(at), frames - 1)
            share = at - whole
            strength = self.strength(self._next_strike)
            found[whole] += strength * (1 - share)
            found[whole + 1] += strength * share
            step = 1 + self.damage.jitter * self._strike_rng.standard_normal()
            self._next_strike += mean * max(0.1, step)
        self._carry = float(found[frames])
        return found[:frames]

    def strength(self, at_s: float) -> float:
        """How hard a strike is: wear so far, times the load on the damaged place."""
        d = self.damage
        if at_s < d.after_s:
            return 0.0
        worn_s = at_s - d.after_s
        grown = min(1.0, worn_s / d.wear_s) ** d.wear_power if d.wear_s > 0 else 1.0
        worn = d.begin_amplitude + (d.amplitude - d.begin_amplitude) * grown
        turning_hz = {"inner": d.shaft_hz, "ball": d.cage_hz}.get(d.place, 0.0)
        # Half a turn lies in the load zone; outside it the ball barely touches.
        load = max(0.0, math.cos(2 * math.pi * turning_hz * at_s)) if turning_hz else 1.0
        return worn * load

    def close(self) -> None:
        """Nothing to give back."""

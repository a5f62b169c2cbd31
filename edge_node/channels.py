"""What is measured: a channel's name, its quantity and unit, and how raw counts become that unit."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]
"""Physical values, float32. A window of them has the shape (channels, samples) and is C-contiguous."""

STANDARD_GRAVITY_M_S2 = 9.80665
"""One g, exactly (3rd CGPM, 1901)."""


class Quantity(StrEnum):
    """What a channel measures."""

    VIBRATION = "vibration"
    CURRENT = "current"
    TEMPERATURE = "temperature"
    ACOUSTIC = "acoustic"


@dataclass(frozen=True, slots=True)
class Channel:
    """One measured channel.

    `scale` is units per raw count (1 where the source already delivers units); `full_scale` the largest magnitude that
    the converter can deliver, in units, or 0 when it is not known (clipping is then not judged).
    """

    name: str
    quantity: Quantity = Quantity.VIBRATION
    unit: str = "g"
    scale: float = 1.0
    full_scale: float = 0.0

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("name: empty; give each channel a name")
        if not self.scale > 0:
            raise ValueError(f"scale: {self.scale} of {self.name} is not above 0; give units per count")
        if self.full_scale < 0:
            raise ValueError(f"full_scale: {self.full_scale} of {self.name} is below 0; give a magnitude, or 0")


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of samples as an observer sees it.

    `data` has the shape (channels, samples). `first_index` counts samples from the start of the writer's epoch;
    `t_ns` is when the first of them was taken, on the writer's CLOCK_MONOTONIC; `missing` is how many samples before
    it were never seen.
    """

    data: Samples
    rate_hz: float
    first_index: int
    t_ns: int
    missing: int = 0
    replayed: bool = False

    @property
    def channels(self) -> int:
        return int(self.data.shape[0])

    @property
    def samples(self) -> int:
        return int(self.data.shape[1])

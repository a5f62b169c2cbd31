"""What a source is, how it says what is wrong with its input, and the pace at which it is played.

Rule owned: see the package. Never imports a particular source.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from numpy.typing import NDArray

from edge_node.channels import Channel

CATCH_UP_S = 1.0
"""A pump that was held up for no longer than this catches up; what it is behind beyond that stays lost."""

DETAILS_MAX = 100
"""Kinds of problems whose first words are kept; all are counted."""


class SourceError(ValueError):
    """A source that cannot be used at all; says what would be right."""


class Nature(StrEnum):
    """What stands behind the samples. Replayed ones never act on the plant."""

    LIVE = "live"
    SYNTHETIC = "synthetic"
    REPLAYED = "replayed"


@dataclass(frozen=True, slots=True)
class Block:
    """Samples of shape (frames, channels), float32, in the channels' units; `lost` frames are missing before them."""

    samples: NDArray[Any]
    lost: int = 0


@dataclass(slots=True)
class Problems:
    """What was wrong with a source's input, by name: how often, and in which words at first."""

    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    def note(self, name: str, detail: str, times: int = 1) -> None:
        if times <= 0:
            return
        self.counts[name] += times
        if name not in self.first and len(self.first) < DETAILS_MAX:
            self.first[name] = detail


class Source(Protocol):
    """One source of blocks. `paced` ones wait by themselves for the next block's time; others are paced by the pump."""

    @property
    def channels(self) -> tuple[Channel, ...]: ...

    @property
    def rate_hz(self) -> float: ...

    @property
    def nature(self) -> Nature: ...

    @property
    def paced(self) -> bool: ...

    @property
    def problems(self) -> Problems: ...

    def blocks(self, frames: int) -> Iterator[Block]:
        """Blocks of `frames` frames, the last perhaps fewer, until the source ends or is closed."""
        ...

    def close(self) -> None: ...


@dataclass(slots=True)
class Pace:
    """Plays samples at `speed` times their rate; 0 is as fast as possible. `late` counts how often the source fell
    behind its time by more than CATCH_UP_S and was set back to it.
    """

    rate_hz: float
    speed: float = 1.0
    late: int = 0
    _began: float = field(default_factory=time.monotonic)
    _frames: int = 0

    def due_in_s(self, frames: int) -> float:
        """Counts a block in and says how long to wait until its last sample would have been taken."""
        self._frames += frames
        if self.speed <= 0:
            return 0.0
        left = self._began + self._frames / (self.rate_hz * self.speed) - time.monotonic()
        if left < -CATCH_UP_S:
            # Catching up with more would be a burst that laps every reader.
            self.late += 1
            self._began -= left
        return max(0.0, left)

"""How an observer looks: records out of the ring, windows of physical values out of records.

Rules owned: nothing is computed on samples that were not verified, a window never spans a gap, and every sample that
was not seen is counted. What is not live says so. Never writes into the ring.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_node.channels import Samples, Window
from edge_node.dsp.windows import Framing
from edge_node.findings import Provenance
from edge_node.ring import Origin, RingReader
from edge_node.ring.layout import Format
from edge_node.ring.reader import Start

RECORDS_AT_ONCE = 256
"""Records read in one go before the caller gets a word: to send its heartbeat, to end."""

NO_VALUE = -32_768
"""In a ring of int16: no sample. Converters are clipped to -32,767."""


class Look:
    """Windows of `samples` per channel, `hop` apart, from the ring called `name`. Raises RingError when there is
    none.
    """

    def __init__(
        self, name: str, folder: Path, samples: int, hop: int, *, start: Start = "latest", within_s: float = 0.0
    ) -> None:
        self.name = name
        self.reader = RingReader.wait_for(name, folder=folder, start=start, within_s=within_s)
        self._samples, self._hop = samples, hop
        self.restarts = 0
        self._expected = -1
        self.seen = self.missed = 0
        """Frames since `take_counts`."""
        self._use()

    def _use(self) -> None:
        reader = self.reader
        self.channels, self.rate_hz = reader.channels, reader.geometry.rate_hz
        self._framing = Framing(len(self.channels), self._samples, self._hop)
        self._scale: NDArray[Any] | None = None
        if reader.geometry.format is Format.INT16:
            self._scale = np.array([[c.scale] for c in self.channels], np.float32)
        self._expected = -1
        # What was lost before the first record of a new writer that we see counts as missed.
        self._uncounted = 0
        self._passed = reader.tally().lapped + reader.tally().torn

    @property
    def replayed(self) -> bool:
        """Not samples of a live machine."""
        return self.reader.header.origin is not Origin.LIVE

    @property
    def ended(self) -> bool:
        return self.reader.ended

    def windows(self) -> Iterator[Window]:
        """Every window that can be completed from what is there now; follows the writer to a new epoch."""
        for _ in range(RECORDS_AT_ONCE):
            record = self.reader.read()
            self._count_lost()
            if record is None:
                if not self.reader.follow():
                    return
                self.restarts += 1
                self._use()
                continue
            if self._expected >= 0 and record.first_index > self._expected:
                # The source's own gaps and ours alike; ours were counted by record, and are corrected to frames here.
                self.missed += record.first_index - self._expected - self._uncounted
            self._uncounted = 0
            self._expected = record.first_index + len(record.samples)
            self.seen += len(record.samples)
            values = self.physical(record.samples)
            yield from self._framing.feed(values, self.rate_hz, record.first_index, record.t_ns, replayed=self.replayed)

    def _count_lost(self) -> None:
        """Counts lapped and torn records at once: an observer that gets nothing must not look as if it saw all."""
        tally = self.reader.tally()
        lost = tally.lapped + tally.torn - self._passed
        if lost:
            self._passed += lost
            frames = lost * self.reader.geometry.frames
            self.missed += frames
            self._uncounted += frames

    def physical(self, samples: NDArray[Any]) -> Samples:
        """(channels, frames) float32 in the channels' units; NaN where there is no sample."""
        if self._scale is None:
            return np.ascontiguousarray(samples.T, np.float32)
        counts = np.ascontiguousarray(samples.T)
        values: Samples = counts.astype(np.float32) * self._scale
        values[counts == NO_VALUE] = math.nan
        return values

    def provenance(self, window: Window, rule: str = "") -> Provenance:
        return Provenance(
            source=self.name,
            writer_epoch=self.reader.epoch,
            first_index=window.first_index,
            samples=window.samples,
            t_ns=window.t_ns,
            rate_hz=window.rate_hz,
            rule=rule,
            replayed=window.replayed,
        )

    def close(self) -> None:
        self.reader.close()

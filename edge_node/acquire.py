"""The writer process: one source into one ring. `python -m edge_node.acquire CONFIG SOURCE PARENT_PID`.

Rule owned (I10): the writer knows no observer. It waits for its source and for nothing else; what is wrong with the
source's input is counted, said once a second on standard output as an incident, and survived. Never imports features.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_node.build import source_of
from edge_node.children import end_with_parent
from edge_node.config import ConfigError, EdgeConfig, SourceConfig, load
from edge_node.entries import incident, say_if_heard
from edge_node.looking import NO_VALUE
from edge_node.ring import Origin, RingError, RingWriter
from edge_node.ring.layout import Format
from edge_node.sources.base import Block, Nature, Pace, Problems, Source, SourceError

REPORT_EVERY_S = 1.0
LINGER_S = 0.4
"""A recording's ring stays for that long after its last sample: a short one is over before an observer, which looks for
a new ring every few milliseconds, has seen that there is one. Less than any stall."""

COUNT_MAX = 32_767


class Acquisition:
    """Writes a source's blocks into its ring until the source ends or `ending` is set."""

    def __init__(self, source: Source, ring: RingWriter, ending: threading.Event, *, speed: float = 1.0) -> None:
        self.source, self.ring, self.ending = source, ring, ending
        self.pace = Pace(source.rate_hz, speed)
        self.problems = Problems()
        self._told: Counter[str] = Counter()
        g = ring.geometry
        self._scales = np.array([c.scale for c in ring.channels]) if g.format is Format.INT16 else None

    def run(self) -> None:
        tell_at = time.monotonic() + REPORT_EVERY_S
        began_ns, index = time.monotonic_ns(), 0
        for block in self.source.blocks(self.ring.geometry.frames):
            if self.ending.is_set():
                break
            self.ring.skip(block.lost)
            index += block.lost
            samples = self._fitting(block)
            if self.source.paced:
                t_ns = time.monotonic_ns() - round(len(samples) * 1e9 / self.source.rate_hz)
            else:
                wait_s = self.pace.due_in_s(len(samples))
                if wait_s and self.ending.wait(wait_s):
                    break
                t_ns = began_ns + round(index * 1e9 / self.source.rate_hz)
            self.ring.write(samples, t_ns)
            index += len(samples)
            if time.monotonic() >= tell_at:
                self.tell()
                tell_at = time.monotonic() + REPORT_EVERY_S
        self.tell()

    def _fitting(self, block: Block) -> NDArray[Any]:
        """The block in the ring's own shape and type; what does not fit is NaN, and counted."""
        samples, wanted = block.samples, self.ring.geometry.channels
        if samples.shape[1] != wanted:
            self.problems.note("missing_channel", f"a block of {samples.shape[1]} channels; the ring has {wanted}")
            fitted = np.full((len(samples), wanted), np.nan, np.float32)
            both = min(wanted, samples.shape[1])
            fitted[:, :both] = samples[:, :both]
            samples = fitted
        if self._scales is None:
            return samples if samples.dtype == np.float32 else samples.astype(np.float32)
        with np.errstate(invalid="ignore"):
            counts = np.rint(samples / self._scales)
        good = np.isfinite(counts)
        beyond = int(np.count_nonzero(good & (np.abs(counts) > COUNT_MAX)))
        self.problems.note("clipped", f"beyond {COUNT_MAX} counts; raise the channel's scale", beyond)
        counts = np.where(good, np.clip(counts, -COUNT_MAX, COUNT_MAX), NO_VALUE)
        return counts.astype(np.int16)

    def tell(self) -> None:
        """Says what was wrong since the last time, by name, with how often and the first words."""
        behind = self.pace.late - self.problems.counts["late"]
        self.problems.note("late", "the machine is too busy to play the source at its rate; give it more time", behind)
        for problems in (self.source.problems, self.problems):
            for name, count in sorted(problems.counts.items()):
                new = count - self._told[name]
                first = problems.first.get(name, "")
                said = new and say_if_heard(incident(self.ring.path.stem, name, first, times=new, total=count))
                if said:
                    self._told[name] = count


def ring_of(config: EdgeConfig, given: SourceConfig, source: Source) -> RingWriter:
    """Raises RingError."""
    origins = {Nature.LIVE: Origin.LIVE, Nature.SYNTHETIC: Origin.SYNTHETIC, Nature.REPLAYED: Origin.REPLAYED}
    stands_for_live = given.acts and source.nature is Nature.SYNTHETIC
    r = config.ring
    return RingWriter(
        given.name,
        source.channels,
        source.rate_hz,
        format=Format[r.format.upper()],
        frames=r.frames,
        capacity=r.capacity,
        origin=Origin.LIVE if stands_for_live else origins[source.nature],
        folder=r.folder,
    )


def main() -> int:
    config_path, name, parent = sys.argv[1:]
    ending = end_with_parent(int(parent))
    # What the writer says goes to a pipe; if nobody reads it, the writer goes on and the pipe does not (I10).
    os.set_blocking(sys.stdout.fileno(), False)
    try:
        config = load(Path(config_path))
        given = config.source(name)
        source = source_of(given)
        with ring_of(config, given, source) as ring:
            say_if_heard(incident(name, "writing", f"epoch {ring.epoch}, {source.rate_hz:g} Hz", pid=os.getpid()))
            try:
                Acquisition(source, ring, ending, speed=getattr(given, "speed", 1.0)).run()
                if source.nature is Nature.REPLAYED:
                    ending.wait(LINGER_S)
            finally:
                source.close()
    except (ConfigError, SourceError, RingError) as error:
        say_if_heard(incident(name, "cannot_write", str(error)))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

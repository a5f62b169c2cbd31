"""The processes of the ring's benchmark: a writer that is told how much to write, and observers that look on.

`python -m benchmarks.ring_processes ROLE JSON`; each answers with lines of JSON. Also what the tests of I10 measure
with.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import percentile
from edge_node.channels import Channel
from edge_node.ring import RingError, RingReader, RingWriter
from edge_node.ring.layout import Format

NAME = "bench"
RATE_HZ = 50_000.0
# No multiple of this is a power of two: the blocks of two records that share a slot differ.
BLOCKS = 61
POLL_S = 0.000_5
NAP_S = 0.002
PAUSE_NS = 20_000
WAIT_AT_MOST_NS = 1_000_000


def main() -> int:
    role, given = sys.argv[1], json.loads(sys.argv[2])
    own_processor(given.get("core"), given.get("nice", 0), realtime=given.get("realtime", False))
    ROLES[role](given)
    return 0


def own_processor(core: int | None, nice: int, *, realtime: bool) -> None:
    """As a plant would set it up: the writer on a processor of its own, before everything else there."""
    with contextlib.suppress(OSError, PermissionError):
        if core is not None:
            os.sched_setaffinity(0, {core})
        os.nice(nice)
        if realtime:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


def blocks(channels: int, frames: int) -> list[np.ndarray[Any, Any]]:
    """Record n carries block n mod BLOCKS; each differs from every other at every sample."""
    base = np.arange(frames * channels, dtype=np.int64) % 500
    return [((base + 500 * n) % 30_500).astype("<i2").reshape(frames, channels) for n in range(BLOCKS)]


def open_ring(given: dict[str, Any], kind: type[RingWriter] = RingWriter) -> RingWriter:
    channels = [Channel(f"c{n}", scale=0.001) for n in range(given["channels"])]
    return kind(
        NAME,
        channels,
        RATE_HZ,
        format=Format.INT16,
        frames=given["frames"],
        capacity=given["capacity"],
        folder=Path(given["folder"]),
    )


def measured_writer(given: dict[str, Any]) -> None:
    """Told a number of records, writes them with a pause between two, and answers what the writes took."""
    ring = open_ring(given, WaitingWriter if given.get("waits") else RingWriter)
    ready = blocks(given["channels"], given["frames"])
    say(ready=True, realtime=os.sched_getscheduler(0) == os.SCHED_FIFO)
    for line in sys.stdin:
        took = []
        for _ in range(int(line)):
            block = ready[ring.produced % BLOCKS]
            until = time.perf_counter_ns() + PAUSE_NS
            while time.perf_counter_ns() < until:
                pass
            began = time.perf_counter_ns()
            ring.write(block, began)
            took.append((time.perf_counter_ns() - began) / 1_000)
        shares = {"p50_us": 0.5, "p99_us": 0.99, "p99_9_us": 0.999}
        say(written=ring.produced, **{name: percentile(took, share) for name, share in shares.items()})
    ring.close()


def saturating_writer(given: dict[str, Any]) -> None:
    """Told a number of records, writes them as fast as it can, then closes the ring."""
    ring = open_ring(given)
    ready = blocks(given["channels"], given["frames"])
    say(ready=True)
    asked = int(sys.stdin.readline())
    began = time.perf_counter()
    for number in range(asked):
        ring.write(ready[number % BLOCKS], number)
    say(produced=ring.produced, took_s=time.perf_counter() - began)
    # Readers follow the closed ring to its end before it goes with this process.
    sys.stdin.readline()
    ring.close()


def observer(given: dict[str, Any]) -> None:
    """Reads every record that it can and checks all of its samples; at the end of the ring it says its tally."""
    reader = RingReader(NAME, folder=Path(given["folder"]), start="oldest")
    acknowledged = Acknowledgement(Path(given["folder"])) if given.get("acknowledges") else None
    ready = blocks(reader.geometry.channels, reader.geometry.frames)
    naps = bool(given.get("naps"))
    wrong = inexact = 0
    if acknowledged is not None:
        acknowledged.say(1)
    say(attached=True)
    while not reader.ended:
        record = reader.read()
        if record is None:
            time.sleep(POLL_S)
            continue
        wrong += not np.array_equal(record.samples, ready[record.number % BLOCKS])
        inexact += not reader.tally().exact
        if acknowledged is not None:
            acknowledged.say(record.number + 1)
        if naps and record.number % 1_000 == 0:
            time.sleep(NAP_S)
    tally = reader.tally()
    say(
        produced=tally.produced,
        received=tally.received,
        lapped=tally.lapped,
        torn=tally.torn,
        skipped=tally.skipped,
        wrong=wrong,
        inexact=inexact,
    )


class Acknowledgement:
    """A planted bug's other half: a word in which an observer tells the writer how far it has come."""

    def __init__(self, folder: Path) -> None:
        path = folder / "acknowledged"
        if not path.exists():
            path.write_bytes(bytes(8))
        with path.open("r+b") as file:
            self.word = memoryview(mmap.mmap(file.fileno(), 8)).cast("Q")

    def say(self, number: int) -> None:
        self.word[0] = number


class WaitingWriter(RingWriter):
    """A planted bug: it gives an observer that is behind a moment to catch up. The check of I10 must find it."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.acknowledged = Acknowledgement(named["folder"])

    def write(self, block: np.ndarray[Any, Any], t_ns: int, flags: int = 0) -> int:
        give_up = time.monotonic_ns() + WAIT_AT_MOST_NS
        # Nobody has acknowledged anything yet: nobody is waited for.
        while 0 < self.acknowledged.word[0] < self.produced and time.monotonic_ns() < give_up:
            time.sleep(0)
        return super().write(block, t_ns, flags)


ROLES = {"measured": measured_writer, "saturating": saturating_writer, "observer": observer}

if __name__ == "__main__":
    try:
        sys.exit(main())
    except RingError as error:
        sys.exit(str(error))

"""A reader of a ring, in any process: maps it read-only, copies a record out, and believes the copy only once verified.

Rule owned: what a reader cannot account for does not exist. At every moment at which a reader states its tally,
`produced = received + lapped + torn + skipped`, where produced is how many records of the ring it has passed. Nothing
is ever written into the ring. Never imports the writer.
"""

from __future__ import annotations

import mmap
import os
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import numpy as np

from edge_node.ring.layout import (
    CHECKSUM,
    CHECKSUM_AT,
    DESCRIPTION_AT,
    HEAD_AT,
    HEARTBEAT_AT,
    PAYLOAD_AT,
    RECORD,
    RECORD_AT,
    RECORD_END,
    STATE_AT,
    Header,
    RingError,
    Samples,
    State,
    described,
    epoch_seed,
    require_little_endian,
    unpack_header,
)
from edge_node.ring.segments import DEFAULT_FOLDER, ring_path

WORD_BYTES = 8
# How often a copy that fails its checksum under an unchanged sequence word is taken again: a processor that shows
# stores out of order needs a moment, memory that somebody scribbled on never comes right.
COPY_TRIES = 3
# How many records a single call passes over, lost ones included, before it gives the caller a word.
READ_TRIES = 64
ATTACH_POLL_S = 0.01

Start = Literal["latest", "oldest"]


@dataclass(frozen=True, slots=True)
class Record:
    """A verified copy. `samples` is (frames, channels), the reader's own; `t_ns` is CLOCK_MONOTONIC at its first frame;
    `first_index` counts frames from the beginning of the writer's epoch, lost ones included.
    """

    epoch: int
    number: int
    first_index: int
    t_ns: int
    flags: int
    samples: Samples


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of every record that this reader has passed, over all epochs that it saw.

    lapped: overwritten before it was copied. torn: overwritten while it was copied, or a copy that fails its checksum.
    skipped: passed over on purpose (written before the reader came, or left out to catch up).
    """

    produced: int = 0
    received: int = 0
    lapped: int = 0
    torn: int = 0
    skipped: int = 0

    @property
    def exact(self) -> bool:
        return self.produced == self.received + self.lapped + self.torn + self.skipped


class _Mapping:
    """One file of a ring, mapped read-only."""

    def __init__(self, path: Path) -> None:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise RingError(f"{path}: {error.strerror}; check the ring's name, and whether its writer runs") from None
        try:
            stat = os.fstat(fd)
            self.inode = (stat.st_dev, stat.st_ino)
            if stat.st_size == 0:
                raise RingError(f"{path}: empty file, not a ring; check the path")
            self.memory = mmap.mmap(fd, stat.st_size, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
        finally:
            os.close(fd)
        self.bytes = memoryview(self.memory)
        self.header: Header = unpack_header(self.bytes, stat.st_size, str(path))
        self.words = self.bytes.cast("Q")
        size = self.header.geometry.description_bytes
        self.channels = described(bytes(self.bytes[DESCRIPTION_AT : DESCRIPTION_AT + size]), str(path))

    @property
    def head(self) -> int:
        return self.words[HEAD_AT // WORD_BYTES]

    @property
    def state(self) -> State:
        return State(self.words[STATE_AT // WORD_BYTES])


class RingReader:
    """Reads a ring record by record. `start="latest"` begins with the next record to come, "oldest" with the oldest
    that is still there. Raises RingError when there is no such ring.
    """

    def __init__(self, name: str, *, folder: Path = DEFAULT_FOLDER, start: Start = "latest") -> None:
        require_little_endian()
        self.path = ring_path(name, folder)
        self.received = self.lapped = self.torn = self.skipped = 0
        self.epochs = 0
        self._earlier = 0
        self._use(_Mapping(self.path))
        head = self._mapping.head
        self._next = 0
        self._skip_to(head if start == "latest" else max(0, head - self._safe))

    @classmethod
    def wait_for(
        cls, name: str, *, folder: Path = DEFAULT_FOLDER, start: Start = "latest", within_s: float = 10.0
    ) -> Self:
        """Attaches as soon as the ring is there; the last RingError after `within_s`."""
        give_up = time.monotonic() + within_s
        while True:
            try:
                return cls(name, folder=folder, start=start)
            except RingError:
                if time.monotonic() >= give_up:
                    raise
                time.sleep(ATTACH_POLL_S)

    def _use(self, mapping: _Mapping) -> None:
        g = mapping.header.geometry
        self._mapping, self.header, self.channels, self.geometry = mapping, mapping.header, mapping.channels, g
        self._seed = epoch_seed(mapping.header.epoch)
        # The oldest record that is not being overwritten at this moment.
        self._safe = g.capacity - 1
        self.epochs += 1

    @property
    def epoch(self) -> int:
        return self.header.epoch

    @property
    def behind(self) -> int:
        """Records that the writer has finished and this reader has not passed."""
        return self._mapping.head - self._next

    @property
    def ended(self) -> bool:
        """The writer closed the ring, and everything was read."""
        return self._mapping.state is not State.LIVE and self.behind == 0

    def writer_silent_ns(self) -> int:
        """How long ago the writer last gave a sign of life."""
        return time.monotonic_ns() - self._mapping.words[HEARTBEAT_AT // WORD_BYTES]

    def tally(self) -> Tally:
        """Exact whenever it is asked for."""
        return Tally(self._earlier + self._next, self.received, self.lapped, self.torn, self.skipped)

    def read(self) -> Record | None:
        """The next record that could be copied whole, or None when there is nothing new. A lapped reader jumps to the
        latest record and counts what it lost.
        """
        for _ in range(READ_TRIES):
            mapping, number = self._mapping, self._next
            head = mapping.head
            if number >= head:
                return None
            if head - number > self._safe:
                self._lap(head)
                continue
            found = self._copy(number)
            if found is not None:
                self._next = number + 1
                self.received += 1
                return found
        return None

    def _lap(self, head: int) -> None:
        """Jumps to the latest record: who is this far behind would only lose the next ones too."""
        latest = max(head - 1, self._next + 1)
        self.lapped += latest - self._next
        self._next = latest

    def _copy(self, number: int) -> Record | None:
        """Copies and verifies one record. None: it is lost, and has been counted."""
        mapping, g = self._mapping, self.geometry
        at = g.header_bytes + (number % g.capacity) * g.stride_bytes
        whole = 2 * number + 2
        for _ in range(COPY_TRIES):
            before = mapping.words[at // WORD_BYTES]
            if before > whole:
                self._lap(mapping.head)
                return None
            copy = bytes(mapping.bytes[at : at + g.stride_bytes])
            if mapping.words[at // WORD_BYTES] > whole:
                break
            if before == whole:
                record = self._verified(number, copy)
                if record is not None:
                    return record
        self.torn += 1
        self._next = number + 1
        return None

    def _verified(self, number: int, copy: bytes) -> Record | None:
        g, view = self.geometry, memoryview(copy)
        payload = view[PAYLOAD_AT : PAYLOAD_AT + g.payload_bytes]
        checksum = zlib.crc32(payload, zlib.crc32(view[RECORD_AT:RECORD_END], self._seed))
        if CHECKSUM.unpack_from(view, CHECKSUM_AT)[0] != checksum:
            return None
        named, first_index, t_ns, count, flags = RECORD.unpack_from(view, RECORD_AT)
        if named != number or not 0 < count <= g.frames:
            return None
        samples = np.frombuffer(payload, g.format.dtype).reshape(g.frames, g.channels)[:count]
        return Record(self.epoch, number, first_index, t_ns, flags, samples)

    def skip_to_latest(self, keep: int = 1) -> int:
        """Passes over all but the newest `keep` records on purpose; returns how many that were."""
        return self._skip_to(self._mapping.head - keep)

    def _skip_to(self, number: int) -> int:
        passed = max(0, number - self._next)
        self._next += passed
        self.skipped += passed
        return passed

    def follow(self) -> bool:
        """Moves on to a new writer's file once this one is read to its end; True when the epoch changed.

        A writer that restarts makes a new file. Its records are read from the first one on, as far as they are there.
        """
        if self.behind > 0:
            return False
        try:
            there = os.stat(self.path)
        except FileNotFoundError:
            return False
        if (there.st_dev, there.st_ino) == self._mapping.inode:
            return False
        try:
            fresh = _Mapping(self.path)
        except RingError:
            return False
        if self.behind > 0:
            # The old writer wrote on after our first look; now that it has been replaced, its head is final.
            return False
        self._earlier += self._next
        self._next = 0
        self._use(fresh)
        return True

    def close(self) -> None:
        """Lets go of the mapping. The ring does not notice."""
        self._mapping.words.release()
        self._mapping.bytes.release()
        self._mapping.memory.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

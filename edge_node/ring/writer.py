"""The one writer of a ring.

Rule owned (I10): writing a record is a copy, a checksum and a few stores into memory reserved at the start. No lock, no
allocation of buffers, no system call beside reading the clock, and nothing that depends on whether anybody reads. Small
enough to be ported to C: tests/edge/ring_peer.c is that port. Never imports the reader.
"""

from __future__ import annotations

import contextlib
import os
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from edge_node.channels import Channel
from edge_node.ring.layout import (
    CHECKSUM,
    CHECKSUM_AT,
    EPOCH_AT,
    HEAD_AT,
    HEARTBEAT_AT,
    PAYLOAD_AT,
    RECORD,
    RECORD_AT,
    RECORD_END,
    STATE_AT,
    Flag,
    Format,
    Geometry,
    Header,
    Origin,
    RingError,
    Samples,
    State,
    describe,
    epoch_seed,
    require_little_endian,
)
from edge_node.ring.segments import DEFAULT_FOLDER, create_locked, process_start_ticks, ring_path

WORD_BYTES = 8


class RingWriter:
    """Writes blocks of frames. Raises RingError when another writer lives or there is no room."""

    def __init__(
        self,
        name: str,
        channels: Sequence[Channel],
        rate_hz: float,
        *,
        format: Format = Format.FLOAT32,
        frames: int = 64,
        capacity: int = 1_024,
        origin: Origin = Origin.LIVE,
        folder: Path = DEFAULT_FOLDER,
    ) -> None:
        require_little_endian()
        description = describe(channels)
        self.channels = tuple(channels)
        self.geometry = Geometry(format, len(channels), frames, capacity, rate_hz, len(description))
        self.path = ring_path(name, folder)
        pid = os.getpid()
        header = Header(self.geometry, time.time_ns(), pid, process_start_ticks(pid) or 0, origin)
        self._fd, self._memory = create_locked(self.path, header, description)
        # The segment may have raised the epoch above its predecessor's.
        self.epoch = int.from_bytes(self._memory[EPOCH_AT : EPOCH_AT + WORD_BYTES], "little")
        self._seed = epoch_seed(self.epoch)
        self._head = 0
        self._next_index = 0
        self._gap = 0
        self._map_records()

    def _map_records(self) -> None:
        """Makes every view that `write` needs, once."""
        g, whole = self.geometry, memoryview(self._memory)
        self._bytes = whole
        self._words = whole.cast("Q")
        starts = [g.header_bytes + slot * g.stride_bytes for slot in range(g.capacity)]
        self._starts = starts
        self._heads = [whole[at + RECORD_AT : at + RECORD_END] for at in starts]
        self._payloads = [whole[at + PAYLOAD_AT : at + PAYLOAD_AT + g.payload_bytes] for at in starts]
        shape = (g.frames, g.channels)
        self._blocks = [np.frombuffer(view, g.format.dtype).reshape(shape) for view in self._payloads]

    @property
    def produced(self) -> int:
        """Records written in this epoch."""
        return self._head

    def write(self, block: Samples, t_ns: int, flags: int = 0) -> int:
        """Writes one record and returns its number. `block` is (frames, channels) in the ring's own type, with fewer
        frames only where a source ends; `t_ns` is CLOCK_MONOTONIC at its first sample. RingError for another shape.
        """
        g = self.geometry
        count = len(block)
        if block.dtype != g.format.dtype or block.shape[1:] != (g.channels,) or not 0 < count <= g.frames:
            raise RingError(
                f"block of {block.dtype} {block.shape}: "
                f"this ring takes {g.format.dtype} (1 to {g.frames}, {g.channels})"
            )
        number = self._head
        slot = number % g.capacity
        at = self._starts[slot]
        words = self._words
        words[at // WORD_BYTES] = 2 * number + 1
        target = self._blocks[slot]
        if count == g.frames:
            np.copyto(target, block)
        else:
            target[:count] = block
            target[count:] = 0
        RECORD.pack_into(self._memory, at + RECORD_AT, number, self._next_index, t_ns, count, flags | self._gap)
        checksum = zlib.crc32(self._payloads[slot], zlib.crc32(self._heads[slot], self._seed))
        CHECKSUM.pack_into(self._memory, at + CHECKSUM_AT, checksum)
        words[at // WORD_BYTES] = 2 * number + 2
        self._head = number + 1
        self._next_index += count
        self._gap = 0
        words[HEAD_AT // WORD_BYTES] = number + 1
        words[HEARTBEAT_AT // WORD_BYTES] = time.monotonic_ns()
        return number

    def skip(self, frames: int) -> None:
        """Counts frames that the source lost: the next record is flagged, and its first_index lies that much further
        on.
        """
        if frames < 0:
            raise RingError(f"frames = {frames}: a gap cannot be negative; give how many frames were lost")
        if frames:
            self._next_index += frames
            self._gap = Flag.GAP_BEFORE

    def beat(self) -> None:
        """Says that the writer lives while its source has nothing to write."""
        self._words[HEARTBEAT_AT // WORD_BYTES] = time.monotonic_ns()

    def close(self) -> None:
        """Ends the ring: readers see it closed, its name is free again. Readers keep what they have mapped."""
        if self._fd < 0:
            return
        self._words[STATE_AT // WORD_BYTES] = State.CLOSED
        # Removed before the lock goes, so that nobody's new file at this name can be hit.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        os.close(self._fd)
        self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

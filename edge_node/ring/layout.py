"""The ring's memory layout to the byte, version 1; docs/edge.md ("Ring layout") is the same table for people.

Rule owned: whoever changes a number here raises LAYOUT_VERSION, the table in docs/edge.md and tests/edge/ring_peer.c.
All integers are little-endian and stand at multiples of their size, so that a store of one is a single store.
"""

from __future__ import annotations

import json
import struct
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_node.channels import Channel, Quantity

MAGIC = b"ZLRING\r\n"
LAYOUT_VERSION = 1
PAGE_BYTES = 4_096
LINE_BYTES = 64

# The head of the file. What the writer changes on every record stands on a cache line of its own.
FIXED = struct.Struct("<8sIIIIIIQQIIQQdII")
EPOCH_AT = 40
HEAD_AT = 128
HEARTBEAT_AT = 136
STATE_AT = 144
DESCRIPTION_AT = 192

# One record: the sequence word, what the checksum covers of its head, the checksum, and from byte 64 on the samples.
RECORD = struct.Struct("<QQqII")
RECORD_AT = 8
RECORD_END = RECORD_AT + RECORD.size
CHECKSUM = struct.Struct("<I")
CHECKSUM_AT = RECORD_END
PAYLOAD_AT = LINE_BYTES

CAPACITY_MIN, CAPACITY_MAX = 2, 1 << 20
FRAMES_MAX = 1 << 20
RECORD_BYTES_MAX = 1 << 30
RING_BYTES_MAX = 1 << 36

Samples = NDArray[Any]


class RingError(ValueError):
    """A ring that cannot be made, opened or written; says what would be right."""


class Format(IntEnum):
    """How a sample is stored."""

    INT16 = 1
    FLOAT32 = 2

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype("<i2") if self is Format.INT16 else np.dtype("<f4")


class State(IntEnum):
    """Whether anything still comes."""

    LIVE = 1
    CLOSED = 2
    # A new writer has put another file in this one's place.
    REPLACED = 3


class Origin(IntEnum):
    """Where the samples come from: what is not LIVE must never move a machine."""

    LIVE = 1
    SYNTHETIC = 2
    REPLAYED = 3


class Flag(IntEnum):
    """Bits of a record's flags."""

    # Samples that the source should have had before this record are missing; first_index counts them.
    GAP_BEFORE = 1


@dataclass(frozen=True, slots=True)
class Geometry:
    """The fixed shape of a ring: `capacity` records of `frames` x `channels` samples. Raises RingError."""

    format: Format
    channels: int
    frames: int
    capacity: int
    rate_hz: float
    description_bytes: int = 0

    def __post_init__(self) -> None:
        bounds = (
            ("channels", self.channels, 1, 1 << 16),
            ("frames", self.frames, 1, FRAMES_MAX),
            ("capacity", self.capacity, CAPACITY_MIN, CAPACITY_MAX),
        )
        for name, value, low, high in bounds:
            if not low <= value <= high:
                raise RingError(f"{name} = {value}: must be {low} to {high}; choose a number between them")
        if not 0 < self.rate_hz < float("inf"):
            raise RingError(f"rate_hz = {self.rate_hz}: must be above 0; give the samples a second of each channel")
        if self.payload_bytes > RECORD_BYTES_MAX:
            raise RingError(
                f"record of {self.payload_bytes} bytes: at most {RECORD_BYTES_MAX}; lower frames or channels"
            )
        if self.total_bytes > RING_BYTES_MAX:
            raise RingError(f"ring of {self.total_bytes} bytes: at most {RING_BYTES_MAX}; lower capacity or frames")

    @property
    def payload_bytes(self) -> int:
        return self.frames * self.channels * self.format.dtype.itemsize

    @property
    def stride_bytes(self) -> int:
        """From one record to the next: whole cache lines."""
        return -(-(PAYLOAD_AT + self.payload_bytes) // LINE_BYTES) * LINE_BYTES

    @property
    def header_bytes(self) -> int:
        """Where the first record begins: whole pages."""
        return -(-(DESCRIPTION_AT + self.description_bytes) // PAGE_BYTES) * PAGE_BYTES

    @property
    def total_bytes(self) -> int:
        return self.header_bytes + self.capacity * self.stride_bytes


@dataclass(frozen=True, slots=True)
class Header:
    """What stands at the head of a ring's file and does not change while its writer lives."""

    geometry: Geometry
    epoch: int
    pid: int
    pid_start_ticks: int
    origin: Origin

    def pack(self) -> bytes:
        g = self.geometry
        return FIXED.pack(
            MAGIC,
            LAYOUT_VERSION,
            g.header_bytes,
            g.format,
            g.channels,
            g.frames,
            g.stride_bytes,
            g.capacity,
            self.epoch,
            self.pid,
            self.origin,
            self.pid_start_ticks,
            g.payload_bytes,
            g.rate_hz,
            DESCRIPTION_AT,
            g.description_bytes,
        )


def unpack_header(data: bytes | memoryview, size_bytes: int, where: str) -> Header:
    """Reads and checks a head; RingError names the field that is wrong. `size_bytes` is the whole file's."""
    if len(data) < DESCRIPTION_AT or bytes(data[: len(MAGIC)]) != MAGIC:
        raise RingError(f"{where}: not a ring (no {MAGIC!r} at its start); check the path")
    _, version, header, code, channels, frames, stride, capacity, epoch, pid, origin, start, payload, rate, at, size = (
        FIXED.unpack_from(data)
    )
    if version != LAYOUT_VERSION:
        raise RingError(
            f"{where}: layout version {version}, and this reads {LAYOUT_VERSION}; let writer and reader be one release"
        )
    try:
        geometry = Geometry(Format(code), channels, frames, capacity, rate, size)
        known_origin = Origin(origin)
    except ValueError as error:
        raise RingError(f"{where}: {error}") from None
    said = (header, stride, payload, at)
    meant = (geometry.header_bytes, geometry.stride_bytes, geometry.payload_bytes, DESCRIPTION_AT)
    if said != meant or size_bytes != geometry.total_bytes:
        raise RingError(
            f"{where}: header, stride, payload, description = {said} in a file of {size_bytes} bytes; "
            f"its shape makes that {meant} in {geometry.total_bytes}; let the writer make it anew"
        )
    return Header(geometry, epoch, pid, start, known_origin)


def describe(channels: Sequence[Channel]) -> bytes:
    """The channels as the ring carries them: a JSON list with one [name, quantity, unit, scale, full_scale] each.

    Raises RingError when a name stands there twice.
    """
    seen: set[str] = set()
    for channel in channels:
        if channel.name in seen:
            raise RingError(f"channels: {channel.name!r} stands there twice; give each channel its own name")
        seen.add(channel.name)
    rows = [[c.name, c.quantity.value, c.unit, c.scale, c.full_scale] for c in channels]
    return json.dumps(rows, ensure_ascii=False, separators=(",", ":")).encode()


def described(text: bytes, where: str) -> tuple[Channel, ...]:
    """The reverse of `describe`. Raises RingError."""
    try:
        return tuple(
            Channel(name, Quantity(kind), unit, scale, full) for name, kind, unit, scale, full in json.loads(text)
        )
    except (TypeError, ValueError) as error:
        raise RingError(
            f"{where}: the description of its channels cannot be read ({error}); make the ring anew"
        ) from None


def epoch_seed(epoch: int) -> int:
    """The CRC-32 that every record's checksum of this epoch goes on from."""
    return zlib.crc32(struct.pack("<Q", epoch))


def require_little_endian() -> None:
    """The words of the layout are written as the machine holds them."""
    if sys.byteorder != "little":
        raise RingError("this machine is big-endian: the ring's words are little-endian; use another machine")

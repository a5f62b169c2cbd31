"""A window of samples as a small message, and back.

Samples are quantised to the converter's int16 counts (nothing is lost where the counts came from one), their low and
high bytes are parted ("shuffle": high bytes are alike and compress well), and compressed with zstd. A SHA-256 of the
counts goes along: whoever reads a snapshot knows whether these are the samples that were taken.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import zstandard
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from zonelock.v1 import edge_pb2

from edge_node.channels import Channel, Window
from edge_node.findings import Anomaly, Provenance
from edge_node.messages import anomaly_message, provenance_message

VERSION = 1
LEVEL = 3
"""zstd's own default; higher levels gain a few percent on noise for several times the work."""

COUNT_MAX = 32_767
RAW_BYTES_MAX = 1 << 30

Counts = NDArray[np.int16]


class SnapshotError(ValueError):
    """A snapshot that cannot be read: truncated, altered, or of another version."""


def encode(
    window: Window,
    channels: Sequence[Channel],
    provenance: Provenance,
    *,
    anomaly: Anomaly | None = None,
    taken_unix_ms: int = 0,
) -> bytes:
    """The message of a window of shape (channels, samples). ValueError: another number of channels."""
    if len(channels) != window.channels:
        raise ValueError(f"channels: {len(channels)} described, {window.channels} in the window")
    scales = np.array([_counts_scale(c, row) for c, row in zip(channels, window.data, strict=True)])
    counts, clipped = quantise(window.data, scales)
    raw = counts.astype("<i2", copy=False).tobytes()
    message = edge_pb2.EdgeSnapshot(
        version=VERSION,
        provenance=provenance_message(provenance),
        taken_unix_ms=taken_unix_ms,
    )
    for channel, scale, lost in zip(channels, scales, clipped, strict=True):
        message.channels.add(
            name=channel.name, quantity=channel.quantity, unit=channel.unit, scale=scale, clipped=int(lost)
        )
    if anomaly is not None:
        message.anomaly.CopyFrom(anomaly_message(anomaly))
    message.sha256 = _digest(message, raw)
    message.payload = zstandard.ZstdCompressor(level=LEVEL).compress(shuffle(raw))
    return message.SerializeToString()


def parse(data: bytes) -> edge_pb2.EdgeSnapshot:
    """The message alone, its samples packed and unverified. SnapshotError: no snapshot, or of another version."""
    message = edge_pb2.EdgeSnapshot()
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise SnapshotError(f"snapshot: {len(data)} bytes are not a snapshot, or truncated ({error})") from error
    if not message.version:
        raise SnapshotError(f"snapshot: {len(data)} bytes are not a snapshot: they name no version")
    if message.version != VERSION:
        raise SnapshotError(f"version: {message.version} where this program reads {VERSION}; use a newer zonelock")
    return message


def decode(data: bytes) -> tuple[edge_pb2.EdgeSnapshot, NDArray[np.float32]]:
    """The message and its samples in units, shape (channels, samples). SnapshotError says what is wrong with it."""
    message = parse(data)
    shape = (len(message.channels), message.provenance.samples)
    size = 2 * shape[0] * shape[1]
    if not 0 < size <= RAW_BYTES_MAX:
        raise SnapshotError(f"samples: {shape[0]} channels of {shape[1]} samples is not 1 byte to {RAW_BYTES_MAX}")
    try:
        shuffled = zstandard.ZstdDecompressor().decompress(message.payload, max_output_size=size)
    except zstandard.ZstdError as error:
        raise SnapshotError(f"payload: {len(message.payload)} bytes do not decompress ({error})") from error
    raw = unshuffle(shuffled)
    if len(raw) != size:
        raise SnapshotError(f"payload: {len(raw)} bytes where {shape[0]} channels of {shape[1]} samples have {size}")
    if _digest(message, raw) != message.sha256:
        raise SnapshotError("sha256: this is not what was taken, samples or description; fetch the snapshot again")
    counts = np.frombuffer(raw, dtype="<i2").reshape(shape)
    scales = np.array([channel.scale for channel in message.channels])
    return message, (counts * scales[:, None]).astype(np.float32)


def _digest(message: edge_pb2.EdgeSnapshot, raw: bytes) -> bytes:
    """Covers the counts and all that describes them: a wrong scale is as bad as a wrong sample."""
    description = edge_pb2.EdgeSnapshot()
    description.CopyFrom(message)
    description.ClearField("sha256")
    description.ClearField("payload")
    return hashlib.sha256(raw + description.SerializeToString(deterministic=True)).digest()


def quantise(data: NDArray[np.float32], scales: NDArray[np.float64]) -> tuple[Counts, NDArray[np.int64]]:
    """Counts of shape (channels, samples), and per channel how many samples did not fit or were not a number."""
    scaled = data / scales[:, None]
    bad = ~np.isfinite(scaled)
    scaled[bad] = 0.0
    rounded = np.rint(scaled)
    outside = np.abs(rounded) > COUNT_MAX
    counts = np.clip(rounded, -COUNT_MAX - 1, COUNT_MAX).astype(np.int16)
    lost = (bad | (outside & (rounded != -COUNT_MAX - 1))).sum(axis=1)
    return counts, lost


def shuffle(raw: bytes) -> bytes:
    """All even bytes, then all odd ones."""
    return raw[::2] + raw[1::2]


def unshuffle(shuffled: bytes) -> bytes:
    """The inverse of `shuffle` for an even number of bytes."""
    half = len(shuffled) // 2
    raw = bytearray(len(shuffled))
    raw[::2], raw[1::2] = shuffled[:half], shuffled[half : 2 * half]
    return bytes(raw)


def _counts_scale(channel: Channel, row: NDArray[np.float32]) -> float:
    """Units per count: the converter's own where it is known, else what spans the window's largest value."""
    if channel.scale != 1.0:
        return channel.scale
    if channel.full_scale:
        return channel.full_scale / COUNT_MAX
    finite = row[np.isfinite(row)]
    peak = float(np.max(np.abs(finite))) if finite.size else 0.0
    return peak / COUNT_MAX if peak > 0 else 1.0

"""Snapshots on site until they are uploaded: a folder with a bound in bytes.

A snapshot is named for its samples, so taking or uploading it twice changes nothing. It is written beside its place
and moved there once whole (a crash leaves a `.part` that the next observer removes: only the one that stores may,
others look while it writes). When the bound is reached the oldest uploaded ones go first, then the oldest at all; a
snapshot lost before its upload is counted and said.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from edge_node.snapshots.encode import parse

SUFFIX, UPLOADED, PART = ".snap", ".uploaded", ".part"
SPOOL_BYTES_MIN = 1 << 20

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kept:
    """One snapshot of the spool."""

    path: Path
    size_bytes: int
    uploaded: bool

    @property
    def name(self) -> str:
        return self.path.name


@dataclass(slots=True)
class Spool:
    """Snapshots in a folder. `lost` counts those evicted before they were uploaded, `refused` those never stored."""

    folder: Path
    bytes_max: int
    lost: int = 0
    refused: int = 0

    def __post_init__(self) -> None:
        if self.bytes_max < SPOOL_BYTES_MIN:
            raise ValueError(f"bytes_max: {self.bytes_max} is below {SPOOL_BYTES_MIN}; one snapshot would not fit")

    def clear_parts(self) -> None:
        """Removes what a crash left half written. For whoever stores here, before its first snapshot. OSError."""
        for part in sorted(self.folder.glob(f"*{PART}")):
            part.unlink(missing_ok=True)

    def put(self, data: bytes) -> Path | None:
        """Stores an encoded snapshot; None when it does not fit or the disk is full, which is counted and logged.
        OSError when there can be no such folder.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        message = parse(data)  # whoever uploads or reads it verifies the samples; here they were packed a moment ago
        name = f"{message.provenance.source}-{message.provenance.writer_epoch}-{message.provenance.first_index:016d}"
        path = self.folder / f"{name}-{message.sha256.hex()[:16]}{SUFFIX}"
        if path.exists():
            return path
        if len(data) > self.bytes_max:
            self.refused += 1
            log.error("snapshot %s of %d bytes is larger than the spool of %d", path.name, len(data), self.bytes_max)
            return None
        self._make_room(len(data))
        part = path.with_suffix(PART)
        try:
            with part.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.rename(path)
        except OSError as error:
            part.unlink(missing_ok=True)
            self.refused += 1
            log.error("snapshot %s not stored: %s", path.name, error)
            return None
        return path

    def kept(self) -> list[Kept]:
        """Every snapshot, the oldest first."""
        found = []
        for path in self.folder.glob(f"*{SUFFIX}"):
            try:
                status = path.stat()
            except FileNotFoundError:
                # Evicted meanwhile by the observer that stores here.
                continue
            uploaded = path.with_suffix(UPLOADED).exists()
            found.append((status.st_mtime_ns, Kept(path, status.st_size, uploaded)))
        return [kept for _, kept in sorted(found, key=lambda pair: (pair[0], pair[1].name))]

    def pending(self) -> list[Kept]:
        """Those not uploaded yet, the oldest first."""
        return [kept for kept in self.kept() if not kept.uploaded]

    def mark_uploaded(self, kept: Kept) -> None:
        """Remembers that the snapshot is safe elsewhere: it may be evicted first. OSError when the disk is full."""
        kept.path.with_suffix(UPLOADED).touch()

    def _make_room(self, wanted: int) -> None:
        kept = self.kept()
        taken = sum(item.size_bytes for item in kept)
        for item in sorted(kept, key=lambda item: not item.uploaded):
            if taken + wanted <= self.bytes_max:
                return
            if not item.uploaded:
                self.lost += 1
                log.error(
                    "snapshot %s evicted before its upload: the spool of %d bytes is full", item.name, self.bytes_max
                )
            item.path.unlink(missing_ok=True)
            item.path.with_suffix(UPLOADED).unlink(missing_ok=True)
            taken -= item.size_bytes

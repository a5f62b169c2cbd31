"""Keeps the raw window of a grave anomaly, and brings kept ones to an object store.

Rules owned: at most one snapshot a window; keeping one never raises into the observer; each source has a spool of its
own, so that two observers never share a bound. Only the node's process uploads.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edge_node.channels import Channel, Window
from edge_node.config import SnapshotsConfig
from edge_node.entries import Entry, incident, snapshot
from edge_node.findings import Anomaly, Provenance
from edge_node.snapshots.encode import encode
from edge_node.snapshots.spool import Spool
from edge_node.snapshots.upload import Uploader

log = logging.getLogger(__name__)

FAILED_WAIT_S = 10.0
"""After a turn that failed as a whole: its spool cannot be read, say."""


def spool_of(config: SnapshotsConfig, source: str) -> Spool:
    """The source's own spool; makes no folder yet."""
    return Spool(config.folder / source, config.bytes_max)


@dataclass(slots=True)
class Keeper:
    """Keeps windows of one source."""

    config: SnapshotsConfig
    source: str
    _spool: Spool | None = None
    _last: tuple[int, int] = (-1, -1)

    def keep(
        self, window: Window, channels: Sequence[Channel], provenance: Provenance, anomaly: Anomaly
    ) -> Entry | None:
        """The entry that tells what was kept or why not; None when this anomaly or window needs none."""
        which = (provenance.writer_epoch, provenance.first_index)
        if anomaly.severity < self.config.severity or which == self._last:
            return None
        self._last = which
        try:
            if self._spool is None:
                spool = spool_of(self.config, self.source)
                spool.clear_parts()
                self._spool = spool
            data = encode(window, channels, provenance, anomaly=anomaly, taken_unix_ms=time.time_ns() // 1_000_000)
            path = self._spool.put(data)
        except (OSError, ValueError) as error:
            return incident(self.source, "snapshot_failed", str(error))
        if path is None:
            return incident(self.source, "snapshot_failed", f"{len(data)} bytes not stored: full, or too large")
        return snapshot(self.source, path.name, len(data), anomaly, self._spool.lost)


@dataclass(slots=True)
class Bringing:
    """Uploads the spools of a node, one after the other. `say` gets an incident when that begins to fail, and when it
    works again.
    """

    config: SnapshotsConfig
    sources: Sequence[str]
    say: Callable[[Entry], None]
    uploaders: dict[str, Uploader] = field(default_factory=dict)
    _failing: set[str] = field(default_factory=set)
    _damaged: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        for source in self.sources:
            self.uploaders[source] = Uploader(spool_of(self.config, source), self.config.url)

    def turn(self) -> float:
        """Uploads what is pending; how many seconds to wait before the next turn."""
        waits = []
        for source, uploader in self.uploaders.items():
            waits.append(uploader.run_once())
            for name, why in uploader.damaged.items():
                if name not in self._damaged:
                    self._damaged.add(name)
                    self.say(incident(source, "snapshot_damaged", f"{name}: {why}"))
            if uploader.last_error and source not in self._failing:
                self._failing.add(source)
                self.say(incident(source, "upload_failing", uploader.last_error))
            elif not uploader.last_error and source in self._failing:
                self._failing.discard(source)
                self.say(incident(source, "upload_works", f"{uploader.uploaded} snapshots uploaded so far"))
        return max(waits)


def start_bringing(bringing: Bringing) -> threading.Event:
    """Uploads in a thread of its own until the event is set. The thread dies with the process: an object store that
    hangs must not keep the node from ending.
    """
    ending = threading.Event()

    def work() -> None:
        wait_s = 0.0
        while not ending.wait(wait_s):
            try:
                wait_s = bringing.turn()
            except Exception as error:
                # A spool that cannot be read, say: this thread must not end unnoticed.
                log.exception("snapshots cannot be uploaded; tries again")
                bringing.say(incident("node", "upload_failing", repr(error)))
                wait_s = FAILED_WAIT_S

    threading.Thread(target=work, name="snapshot uploads", daemon=True).start()
    return ending


def kept_path(config: SnapshotsConfig, source: str, name: str) -> Path | None:
    """Where a kept snapshot lies; None when there is none of that name."""
    return next((kept.path for kept in spool_of(config, source).kept() if kept.name == name), None)

"""Uploads snapshots to an object store by URL, and believes an upload only when what lies there has the right hash.

Any store that fsspec knows: `file:///...`, `memory://`, and with its package installed `s3://`, `gs://`, `abfs://`. A
failed upload is tried again with doubling waits, jittered; it never holds up anything else, since it runs in its own
task and works through the spool in order.
"""

from __future__ import annotations

import hashlib
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import fsspec

from edge_node.snapshots.encode import SnapshotError, decode
from edge_node.snapshots.spool import Kept, Spool

log = logging.getLogger(__name__)

FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 300.0


class StoreRefused(OSError):
    """The object store did not take the snapshot, or gives back something else."""


def known_store(url: str) -> None:
    """ValueError when fsspec knows no store of that kind, or its package is not installed. Connects nowhere."""
    try:
        fsspec.core.get_filesystem_class(fsspec.core.split_protocol(url)[0] or "file")
    except (ValueError, ImportError) as error:
        raise ValueError(f"url: {url}: {error}; give a URL such as file:///var/lib/zonelock/snapshots") from error


@dataclass(slots=True)
class Uploader:
    """Brings a spool's snapshots to `url`, a folder of an object store. Counts what it did."""

    spool: Spool
    url: str
    uploaded: int = 0
    failures: int = 0
    last_error: str = ""
    damaged: dict[str, str] = field(default_factory=dict)
    """Snapshots that are no longer what was taken, with why; found since the start, and not uploaded."""
    _wait_s: float = FIRST_WAIT_S
    _jitter: Callable[[], float] = field(default=random.random)

    def __post_init__(self) -> None:
        known_store(self.url)

    def run_once(self) -> float:
        """Uploads what is pending until something fails; returns how many seconds to wait before the next call."""
        for kept in self.spool.pending():
            if kept.name in self.damaged:
                continue
            try:
                self._upload(kept)
                self.spool.mark_uploaded(kept)
            except SnapshotError as error:
                log.error("snapshot %s is damaged on site and stays there: %s", kept.name, error)
                self.damaged[kept.name] = str(error)
                continue
            except FileNotFoundError as error:
                if not kept.path.exists():
                    # Evicted before its turn; the observer counts and logs it.
                    continue
                return self._put_off(kept, error)
            except Exception as error:  # a store may raise anything; the observer goes on whatever it is
                return self._put_off(kept, error)
            self.uploaded += 1
        self._wait_s, self.last_error = FIRST_WAIT_S, ""
        return FIRST_WAIT_S

    def _put_off(self, kept: Kept, error: Exception) -> float:
        self.failures += 1
        self.last_error = f"{kept.name}: {error}"
        log.warning("snapshot not uploaded, will try again: %s", self.last_error)
        wait_s = self._wait_s * (0.5 + self._jitter() / 2)
        self._wait_s = min(LONGEST_WAIT_S, self._wait_s * 2)
        return wait_s

    def _upload(self, kept: Kept) -> None:
        store, folder = fsspec.core.url_to_fs(self.url)
        data = kept.path.read_bytes()
        decode(data)
        place = f"{folder.rstrip('/')}/{kept.name}"
        store.makedirs(folder, exist_ok=True)
        store.pipe_file(place, data)
        store.invalidate_cache()
        found = store.cat_file(place)
        if hashlib.sha256(found).digest() != hashlib.sha256(data).digest():
            raise StoreRefused(f"{place} holds {len(found)} other bytes than the {len(data)} sent")

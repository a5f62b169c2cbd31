"""Watches the records of the ledger that this process leads for writes of anybody else.

A commit compares the fence and its own place in the journal, so no other coordinator can interfere; a person or program
with a shell can. Every such write is told here within milliseconds, and the next commit fails with it. What a watch
misses while no member keeps it, the compares of folding find: a foreign write is never overwritten unseen.
"""

from __future__ import annotations

import asyncio
import logging
import time

from coordinator.store.etcd_client import EtcdClient
from coordinator.store.port import StoreUnavailable
from coordinator.store.retry import Pause

log = logging.getLogger(__name__)

WATCH_S = 30.0
SOON_S = 1.0
"""A watch that etcd ends sooner than this has been told to begin where history is compacted away."""
OWN_REMEMBERED = 1_024
"""Revisions of ours that a watch may tell of, again when it begins anew."""


class Sentinel:
    """Of one lead, from one load on. `own` every revision that this process writes records at."""

    def __init__(self, client: EtcdClient, first: bytes, end: bytes, revision: int) -> None:
        """Watches the keys from `first` to before `end`, after `revision`."""
        self._client, self._range, self._start = client, (first, end), len(first)
        self.revision = revision
        """The newest that this process knows of."""
        self._told = revision
        """Up to where nothing is left to be told of."""
        self._own: dict[int, None] = {}
        self._foreign: dict[int, str] = {}
        self._task = asyncio.create_task(self._watch(), name="sentinel")

    def own(self, revision: int) -> None:
        self._own[revision] = None
        self._foreign.pop(revision, None)
        if len(self._own) > OWN_REMEMBERED:
            oldest = next(iter(self._own))
            del self._own[oldest]
            self._told = max(self._told, oldest)

    def foreign(self) -> list[str]:
        """Keys that somebody else wrote; to be asked while no write of ours is under way."""
        return sorted(set(self._foreign.values()))

    def look_again(self) -> None:
        """The way to etcd was lost: what was told meanwhile may be lost too."""
        self._task.cancel()
        self._task = asyncio.create_task(self._watch(), name="sentinel")

    def stop(self) -> None:
        self._task.cancel()

    async def _watch(self) -> None:
        pause = Pause()
        while True:
            began_s = time.monotonic()
            try:
                await self._client.watch([self._range], self._told + 1, WATCH_S, self._notice)
                if time.monotonic() - began_s < SOON_S:
                    self._told = max(self._told, self.revision)
                else:
                    pause = Pause()
                    continue
            except StoreUnavailable as error:
                if pause.remind():
                    log.info("cannot watch the ledger for foreign writes, trying on: %s", error)
            await pause.wait()

    def _notice(self, key: bytes, value: bytes | None, revision: int) -> None:
        self._told = max(self._told, revision - 1)  # others of the same revision may be yet to come
        if revision not in self._own:
            self._foreign[revision] = key[self._start :].decode(errors="backslashreplace")

"""Watches the records of the ledger that this process leads for writes of anybody else.

A commit compares the fence and its own place in the journal, so no other coordinator can interfere; a person or program
with a shell can. Every such write is told here within milliseconds, and the next commit fails with it. What a watch
misses while no member keeps it, the compares of folding find: a foreign write is never overwritten unseen.
"""

from __future__ import annotations

import asyncio
import logging

from coordinator.store.etcd_client import Compacted, EtcdClient
from coordinator.store.port import StoreUnavailable
from coordinator.store.retry import Pause

log = logging.getLogger(__name__)

WATCH_S = 30.0
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
        self._foreign: dict[int, set[str]] = {}
        self._task = self._begin()

    def _begin(self) -> asyncio.Task[None]:
        task = asyncio.create_task(self._watch(), name="sentinel")
        task.add_done_callback(_report)
        return task

    def own(self, revision: int) -> None:
        self._own[revision] = None
        self._foreign.pop(revision, None)
        if len(self._own) > OWN_REMEMBERED:
            oldest = next(iter(self._own))
            del self._own[oldest]
            self._told = max(self._told, oldest)

    def foreign(self) -> list[str]:
        """Keys that somebody else wrote; to be asked while no write of ours is under way."""
        return sorted(set().union(*self._foreign.values()))

    def look_again(self) -> None:
        """The way to etcd was lost: what was told meanwhile may be lost too."""
        self._task.cancel()
        self._task = self._begin()

    def stop(self) -> None:
        self._task.cancel()

    async def _watch(self) -> None:
        pause = Pause()
        while True:
            try:
                await self._client.watch([self._range], self._told + 1, WATCH_S, self._notice)
                pause = Pause()
                continue
            except Compacted:
                log.warning("what was written under the ledger up to revision %d was not watched", self.revision)
                self._told = max(self._told, self.revision)
            except StoreUnavailable as error:
                if pause.remind():
                    log.info("cannot watch the ledger for foreign writes, trying on: %s", error)
            await pause.wait()

    def _notice(self, key: bytes, value: bytes | None, revision: int) -> None:
        if revision <= self._told:
            return
        self._told = revision - 1  # others of the same revision may be yet to come
        if revision not in self._own:
            name = key[self._start :].decode(errors="backslashreplace")
            self._foreign.setdefault(revision, set()).add(name)


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.critical("the ledger is not watched for foreign writes any more", exc_info=task.exception())

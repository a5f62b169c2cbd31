"""A ledger in memory, for a coordinator on virtual time: no thread, no file, and a commit takes as long as it is told.

The rule owned here: the same refusals as every other store (size, loading before the first write), and never a partial
commit. It is led by whoever asks, for there is one coordinator. Gone with the run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from coordinator.store.port import Loaded, StoreUnavailable, Unshared, check_size


class MemoryStore(Unshared):
    """Implements `coordinator.store.port.Store`."""

    name = "memory"
    lease_ms = 0

    def __init__(self, commit_ms: float) -> None:
        """`commit_ms` is how long a commit takes on the event loop's clock."""
        super().__init__()
        self._commit_s = commit_ms / 1_000
        self._records: dict[str, bytes] = {}
        self._revision = 0
        self._epoch = 0
        self._loaded = False

    async def lead(self) -> int:
        return await self.refence()

    async def load(self) -> Loaded:
        self._loaded = True
        return Loaded(records=dict(self._records), revision=self._revision, epoch=self._epoch)

    async def commit(self, writes: Mapping[str, bytes | None]) -> int:
        check_size(writes)
        if writes and not self._loaded:
            raise StoreUnavailable("nothing was loaded since this process began to lead: load first")
        await asyncio.sleep(self._commit_s)
        for key, value in writes.items():
            if value is None:
                self._records.pop(key, None)
            else:
                self._records[key] = value
        self._revision += 1
        return self._revision

    async def refence(self) -> int:
        self._revision += 1
        self._epoch = self._revision
        self._loaded = False
        return self._epoch

    async def close(self) -> None:
        """There is nothing to give up."""

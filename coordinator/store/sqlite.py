"""The embedded store: one coordinator, one SQLite file (or `:memory:` for tests and throw-away demos).

Owns two rules. A commit that was acknowledged survives SIGKILL and power loss (WAL with synchronous FULL). And one
process at a time has the file: a lock beside it keeps the second one out, and every commit checks that nobody wrote,
replaced or removed the files meanwhile. One connection, used by one worker thread, writes *and* checkpoints: SQLite up
to 3.51.2 can corrupt a WAL when two connections do so at once, and the event loop never waits for the disk. Never
imports etcd or rpc.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from coordinator.store.port import CommitUncertain, Fenced, Loaded, StoreError, StoreUnavailable, Unshared, check_size
from coordinator.store.retry import Pause
from coordinator.store.sqlite_file import MEMORY, LedgerFile

log = logging.getLogger(__name__)

_T = TypeVar("_T")


class SqliteStore(Unshared):
    """Implements `port.Store` over a file path, or over ":memory:" (gone when closed)."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._file = LedgerFile(path)
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sqlite-store")
        self._epoch = 0
        self._loaded = False
        self._uncertain = False
        self._closed = False

    @property
    def name(self) -> str:
        return "memory" if self._file.path == MEMORY else f"sqlite:{self._file.path}"

    @property
    def lease_ms(self) -> int:
        """0: leadership ends with the process and never passes on under it."""
        return 0

    async def lead(self) -> int:
        """Opens the file, or raises StoreUnavailable saying why not: nobody else will repair it while we wait."""
        self._epoch = await self._call(self._file.open)
        self._loaded = False
        self._uncertain = False
        return self._epoch

    async def load(self) -> Loaded:
        self._require_lead()
        if self._uncertain:
            raise CommitUncertain("an earlier commit's outcome is not known: refence first")
        records, revision = await self._call(self._file.read)
        self._loaded = True
        return Loaded(records=records, revision=revision, epoch=self._epoch)

    async def commit(self, writes: Mapping[str, bytes | None]) -> int:
        check_size(writes)
        self._require_lead()
        if self._uncertain:
            raise CommitUncertain("an earlier commit's outcome is not known: refence and load first")
        if not writes:
            return await self._call(self._file.tick)
        if not self._loaded:
            raise StoreError("commit before load: a leader reads the ledger before it writes")
        try:
            return await self._call(self._file.write, dict(writes))
        except (CommitUncertain, asyncio.CancelledError):
            self._uncertain = True
            raise

    async def refence(self) -> int:
        self._require_lead()
        pause = Pause()
        while True:
            try:
                self._epoch = await self._call(self._file.refence)
                break
            except StoreUnavailable as error:
                if self._closed:
                    raise
                if pause.remind():
                    log.warning("cannot rewrite the fence, trying on; nothing is granted meanwhile: %s", error)
            await pause.wait()
        self._uncertain = False
        self._loaded = False
        return self._epoch

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            await asyncio.get_running_loop().run_in_executor(self._worker, self._file.close)
        finally:
            self._worker.shutdown(wait=False)

    def _require_lead(self) -> None:
        if self._closed:
            raise StoreUnavailable(f"{self.name} is closed")
        if not self._epoch:
            raise Fenced(f"this process does not lead {self.name}: call lead first")

    async def _call(self, work: Callable[..., _T], *args: object) -> _T:
        if self._closed:
            raise StoreUnavailable(f"{self.name} is closed")
        return await asyncio.get_running_loop().run_in_executor(self._worker, work, *args)

"""A store whose commits can be held, failed and lost on command; and an outlet that records what it is given."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from coordinator.core import effects as fx
from coordinator.core.model import Mark
from coordinator.core.rejections import Refusal
from coordinator.store.port import CommitUncertain, Loaded, Unshared
from coordinator.store.sqlite import SqliteStore


class ScriptedStore(Unshared):
    """Passes everything to SQLite until told otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = SqliteStore(":memory:")
        self.gate = asyncio.Event()
        self.gate.set()
        self.commits: list[int] = []
        self.fail_next: Exception | None = None
        self.lose_next = False
        self.refences = 0
        self.lease_ms = 0
        self.entered = asyncio.Event()

    @property
    def name(self) -> str:
        return "scripted"

    async def lead(self) -> int:
        return await self.inner.lead()

    async def load(self) -> Loaded:
        return await self.inner.load()

    async def commit(self, writes: Mapping[str, bytes | None]) -> int:
        self.entered.set()
        await self.gate.wait()
        if writes:
            self.commits.append(len(writes))
            if self.fail_next is not None:
                error, self.fail_next = self.fail_next, None
                raise error
            if self.lose_next:
                self.lose_next = False
                await self.inner.commit(writes)
                raise CommitUncertain("the answer was lost")
        return await self.inner.commit(writes)

    async def refence(self) -> int:
        self.refences += 1
        return await self.inner.refence()

    async def close(self) -> None:
        await self.inner.close()


class Recorder:
    """An outlet that keeps everything it is given, in order."""

    def __init__(self) -> None:
        self.sends: list[fx.Send] = []
        self.stops: list[fx.Send] = []
        self.acks: list[tuple[int, int]] = []
        self.failures: list[Refusal] = []
        self.hints: list[tuple[tuple[str, str], ...]] = []
        self.news = asyncio.Event()

    def deliver(self, sends: Sequence[fx.Send], *, stop: bool) -> None:
        (self.stops if stop else self.sends).extend(sends)
        self.news.set()

    def acknowledge(self, frame: int, mark: Mark) -> None:
        self.acks.append((frame, mark.epoch))
        self.news.set()

    def fail(self, refusal: Refusal, message: str, metadata: tuple[tuple[str, str], ...] = ()) -> None:
        self.failures.append(refusal)
        self.hints.append(metadata)
        self.news.set()

    def answers(self, kind: type) -> list[fx.Answer]:
        return [s.answer for s in self.sends if isinstance(s.answer, kind)]

    async def until(self, kind: type, count: int = 1) -> fx.Answer:
        """The newest of `count` answers of this kind, however long it takes (the test's own timeout bounds it)."""
        while len(self.answers(kind)) < count:
            self.news.clear()
            await self.news.wait()
        return self.answers(kind)[-1]

    async def until_failed(self) -> Refusal:
        while not self.failures:
            self.news.clear()
            await self.news.wait()
        return self.failures[-1]

    async def until_acked(self, frame: int) -> None:
        while not any(f >= frame for f, _ in self.acks):
            self.news.clear()
            await self.news.wait()

"""The stops of one coordinator as news for one reader of a stream: bounded, and never silently incomplete."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from coordinator.core.model import StopRecord
from coordinator.rpc.limits import MAX_STOPS_BEHIND
from coordinator.rpc.port import Runtime


class StopNews:
    """Use as a context manager: what is tripped, taken over or reset from then on is told by `next`, in order."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._news: asyncio.Queue[StopRecord | None] = asyncio.Queue(MAX_STOPS_BEHIND)

    def __enter__(self) -> Self:
        self._runtime.on_stop.append(self._take)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runtime.on_stop.remove(self._take)

    async def next(self) -> StopRecord | None:
        """The next stop; None when the reader is too far behind to be told everything, or was ended."""
        return await self._news.get()

    def end(self) -> None:
        """There is nothing more to tell."""
        self._take(None)

    def _take(self, stop: StopRecord | None) -> None:
        if self._news.full():
            self._news.get_nowait()
            self._news.put_nowait(None)  # it must not believe that it was told everything
        else:
            self._news.put_nowait(stop)

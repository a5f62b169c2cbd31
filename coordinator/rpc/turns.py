"""How long the operations of all streams together may hold the event loop before everything else has its turn.

A stop comes in by a call of its own, which takes several turns of the loop to be read; each of them waits for what is
under way. One frame may hold 256 operations, and hundreds of streams may have a frame in the same moment, so the bound
is on all of them: by time, and by number where the clock of a simulation stands still meanwhile. Never imports gRPC.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

OPERATIONS_AT_ONCE = 64
HURRY_MS = 5
HURRY_EVERY_MS = 50
"""For how long turns are short after a stop's call has arrived, and how long after that they may be so again."""


class Turns:
    """One for a server. Before each operation ask `is_over`; if it is, await `next`."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        """`now_ms`: the runtime's clock. A turn is over when it has moved on: after half a millisecond on average."""
        self._now_ms = now_ms
        self._began_ms: int | None = None
        self._taken = 0
        self._hurried_ms = -HURRY_EVERY_MS
        self.waiting = 0
        """Operations of all streams that wait for their turn."""

    def is_over(self, now_ms: int) -> bool:
        """Whether others have waited long enough. An operation for which it is not over is handled without delay."""
        if self._began_ms is None:
            self._began_ms, self._taken = now_ms, 0
            asyncio.get_running_loop().call_soon(self._end)
        most = 1 if now_ms < self._hurried_ms + HURRY_MS else OPERATIONS_AT_ONCE
        if self._taken >= most or now_ms > self._began_ms:
            return True
        self._taken += 1
        return False

    async def next(self, operations: int, *, had_some: bool) -> int:
        """Waits, with so many operations, for a turn with time left; returns the time then. Whoever waits longest comes
        first; who has had some operations of its frame handled lets pass who has had none.
        """
        self.waiting += operations
        try:
            if had_some:
                await asyncio.sleep(0)
            while True:
                await asyncio.sleep(0)
                now_ms = self._now_ms()
                if not self.is_over(now_ms):
                    return now_ms
        finally:
            self.waiting -= operations

    def hurry(self) -> None:
        """A call has come that must not wait: for a moment turns are of one operation, though not again and again."""
        now_ms = self._now_ms()
        if now_ms >= self._hurried_ms + HURRY_EVERY_MS:
            self._hurried_ms = now_ms

    def _end(self) -> None:
        self._began_ms = None

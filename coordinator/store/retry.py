"""Waiting for a store to come back: growing pauses, a reminder in the log now and then. Bounded in rate, not time."""

from __future__ import annotations

import asyncio
import time

FIRST_S = 0.1
MAX_S = 2.0
REMIND_S = 10.0


class Pause:
    """One per wait for one thing."""

    def __init__(self, most_s: float = MAX_S) -> None:
        self._wait_s, self._most_s = FIRST_S, most_s
        self._reminded = float("-inf")

    def remind(self) -> bool:
        """True at first and then every REMIND_S: time to tell people what we wait for."""
        now = time.monotonic()
        if now - self._reminded < REMIND_S:
            return False
        self._reminded = now
        return True

    async def wait(self) -> None:
        await asyncio.sleep(self._wait_s)
        self._wait_s = min(2 * self._wait_s, self._most_s)

"""When cycles are looked for, so that looking never holds the event loop for long.

Python looks after so many allocations, at everything that was made since: with ten thousand zones and a thousand agents
that takes 15 to 80 ms, and finds nothing, for what the coordinator keeps it drops by itself. Here the youngest are
looked at ten times a second, which takes a few milliseconds, and once a second what has lived that long is set aside
(`gc.freeze`) and looked at no more. What is set aside and still becomes garbage in a cycle stays until a full
collection, which comes when so much has gathered that it may be worth its pause. Imports nothing of the coordinator.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import time

log = logging.getLogger("zonelock.garbage")

YOUNG_EVERY_S = 0.1
YOUNG_BEFORE_OLD = 10
"""Looks at the youngest between two at everything since what was set aside last."""
OLD_BEFORE_COUNT = 60
"""Settings aside between two counts of what lies there; a count takes a few nanoseconds an object."""
GROWTH_LEAST = 100_000
"""So many objects, and at least half as many as there were, gather between two full collections."""


class GarbageRounds:
    """Collects by the clock instead of by allocations. One for a process; `start` takes over, `stop` gives back."""

    def __init__(self, growth_least: int = GROWTH_LEAST) -> None:
        self._growth_least = growth_least
        self._kept: int | None = 0
        """Objects set aside after the last look at all; None: as many as the next count finds."""
        self._round = 0
        self._loaded = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        gc.disable()
        self.collect_all()
        self._task = asyncio.create_task(self._run(), name="zonelock-garbage")

    async def stop(self) -> None:
        """Idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            gc.unfreeze()
            gc.enable()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(YOUNG_EVERY_S)
            self.look()

    def look(self) -> None:
        """One round."""
        self._round += 1
        if self._round % YOUNG_BEFORE_OLD:
            gc.collect(0)
            return
        gc.collect(1)
        gc.freeze()
        if self._round % (YOUNG_BEFORE_OLD * OLD_BEFORE_COUNT) == 0 and self._has_grown():
            self.collect_all()

    def loaded(self) -> None:
        """A ledger was read: its records are set aside before anything looks at them. What a second one replaces is
        garbage, and counts as what has gathered. Agents wait at this moment, so the first one's are counted later.
        """
        gc.freeze()
        if not self._loaded:
            self._loaded, self._kept = True, None

    def _has_grown(self) -> bool:
        count = gc.get_freeze_count()
        if self._kept is None:
            self._kept = count
        return count - self._kept > max(self._growth_least, self._kept // 2)

    def collect_all(self) -> None:
        """A full collection, of what was set aside too: a pause of 20 to 30 ms for every 100,000 objects."""
        began_s = time.perf_counter()
        gc.unfreeze()
        found = gc.collect()
        gc.freeze()
        self._kept = gc.get_freeze_count()
        took_ms = (time.perf_counter() - began_s) * 1_000
        log.info("looked for garbage among all objects: %d of %d, in %.0f ms", found, found + self._kept, took_ms)

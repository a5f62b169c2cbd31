"""What callers of one agent wait for, and how each wait ends.

Rule: nothing that waits is forgotten. It is answered, its caller goes, or it fails with the agent. Decides nothing and
speaks to nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from zonelock.v1 import floor_pb2

from zonelock_client.grant import Grant
from zonelock_client.session_core.values import Outcome

QueuedCallback = Callable[[int, tuple[floor_pb2.Blocker, ...]], None]


class Waiting:
    """Asks, outbox entries and extensions that somebody waits for."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._asks: dict[str, asyncio.Future[Grant]] = {}
        self._queued: dict[str, QueuedCallback] = {}
        self._settlements: dict[int, asyncio.Future[Outcome]] = {}
        self._extensions: dict[str, asyncio.Future[Outcome]] = {}

    # -- asks ----------------------------------------------------------------------------------------------------

    def ask(self, request_id: str, on_queued: QueuedCallback | None) -> asyncio.Future[Grant]:
        """Until `leave_ask`."""
        future: asyncio.Future[Grant] = self._loop.create_future()
        self._asks[request_id] = future
        if on_queued is not None:
            self._queued[request_id] = on_queued
        return future

    def leave_ask(self, request_id: str) -> None:
        self._asks.pop(request_id, None)
        self._queued.pop(request_id, None)

    def queued(self, request_id: str, position: int, blockers: tuple[floor_pb2.Blocker, ...]) -> None:
        if request_id in self._queued:
            self._queued[request_id](position, blockers)

    def granted(self, request_id: str, grant: Grant) -> bool:
        """False when nobody waits for it any more."""
        future = self._asks.get(request_id)
        if future is None or future.done():
            return False
        future.set_result(grant)
        return True

    def not_granted(self, request_id: str, error: Exception) -> None:
        future = self._asks.get(request_id)
        if future is not None and not future.done():
            future.set_exception(error)

    # -- what was sent -------------------------------------------------------------------------------------------

    def settlement(self, entry_id: int) -> asyncio.Future[Outcome]:
        """Until the outbox entry is answered."""
        future: asyncio.Future[Outcome] = self._loop.create_future()
        self._settlements[entry_id] = future
        return future

    def settled(self, entry_id: int, outcome: Outcome) -> None:
        _resolve(self._settlements.pop(entry_id, None), outcome)

    def extension(self, request_id: str) -> asyncio.Future[Outcome]:
        """Until `leave_extension`."""
        future: asyncio.Future[Outcome] = self._loop.create_future()
        self._extensions[request_id] = future
        return future

    def leave_extension(self, request_id: str) -> None:
        self._extensions.pop(request_id, None)

    def extended(self, request_id: str, outcome: Outcome) -> None:
        _resolve(self._extensions.get(request_id), outcome)

    # -- the end -------------------------------------------------------------------------------------------------

    def fail(self, error: Exception) -> None:
        """Ends every wait."""
        waiting: list[asyncio.Future[Grant] | asyncio.Future[Outcome]] = []
        waiting += [*self._asks.values(), *self._settlements.values(), *self._extensions.values()]
        for future in waiting:
            if not future.done():
                future.set_exception(error)


def _resolve(future: asyncio.Future[Outcome] | None, outcome: Outcome) -> None:
    if future is not None and not future.done():
        future.set_result(outcome)

"""`async with agent.hold(...)`: a grant for the length of a block.

Rules: losing the grant cancels the block, and GrantLost replaces that cancellation at the block's end, as
`asyncio.timeout` does with TimeoutError; a cancellation from outside stays one. Leaving the block without
`cleared()` abandons the grant. The exit never waits, so a lost link cannot keep a task in it.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING

from zonelock_client.grant import Grant
from zonelock_client.session_core.values import HeldGrant

if TYPE_CHECKING:
    from zonelock_client.agent import Agent


class Hold:
    """Made by `Agent.hold`; enter it once."""

    def __init__(
        self,
        agent: Agent,
        zones: tuple[str, ...],
        expected_ms: int,
        priority: int,
        no_wait: bool,
        timeout_s: float | None,
    ) -> None:
        self._agent = agent
        self._zones = zones
        self._expected_ms = expected_ms
        self._priority = priority
        self._no_wait = no_wait
        self._timeout_s = timeout_s
        self._grant: Grant | None = None
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._inside = False
        self._cancelled = False
        self.left = asyncio.Event()

    async def __aenter__(self) -> Grant:
        if self._grant is not None:
            raise RuntimeError("a hold is entered once; call agent.hold(...) again")
        grant = await self._agent.acquire(
            *self._zones,
            expected_ms=self._expected_ms,
            priority=self._priority,
            no_wait=self._no_wait,
            timeout_s=self._timeout_s,
        )
        self._grant = grant
        self._task = asyncio.current_task()
        if self._task is not None:
            self._cancelling = self._task.cancelling()
        self._inside = True
        self._agent.holds.add(self)
        grant.on_lost(self._lost)
        return grant

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        grant = self._grant
        if grant is None:
            return
        self._inside = False
        self._agent.holds.discard(self)
        self.left.set()
        grant.leave()
        if self._cancelled and self._task is not None:
            from_outside = self._task.uncancel() > self._cancelling
            if kind is not None and issubclass(kind, asyncio.CancelledError) and not from_outside:
                raise grant.as_lost() from error
        if kind is None and grant.lost and grant.zones and not grant.held.returning:
            # The body came to its end without noticing; it must not look as if all went well.
            raise grant.as_lost()

    def holds(self, held: HeldGrant) -> bool:
        """Whether this is the grant of the block."""
        return self._grant is not None and self._grant.held is held

    def _lost(self) -> None:
        # Later in this iteration, so that the task is never cancelled by its own call: a cancellation that is raised
        # only after the block would escape it.
        asyncio.get_running_loop().call_soon(self._cancel)

    def _cancel(self) -> None:
        if self._inside and not self._cancelled and self._task is not None:
            self._cancelled = True
            self._task.cancel()

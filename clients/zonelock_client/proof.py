"""Proving that the machine has left zones that it still blocks, where the floor lets their holder do so.

Rule (I2): a proof is made of reports that are measured now, after the coordinator's nonce; the contour is asked anew
for each of them. One proof at a time for each agent. Where the floor wants a person, a person it is.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

from zonelock_client.errors import OperatorRequired, StillInside
from zonelock_client.session_core import proofs
from zonelock_client.session_core.values import Failure, Outcome, ProofChallenged, ProofEnded, Rejection
from zonelock_client.status import from_failure

if TYPE_CHECKING:
    from zonelock_client.agent import Agent

PROOF_TIMEOUT_S = 30.0

Contour = Callable[[], Iterable[str] | Awaitable[Iterable[str]]]
"""Measures, when it is called, every zone that the contour with its load touches."""

_NOTHING_BLOCKED = frozenset({"GRANT_ENDED", "STALE_TOKEN"})


class Proofs:
    """One agent's proofs of vacancy, one after the other."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._turn = asyncio.Lock()
        self._ended: asyncio.Future[Outcome] | None = None
        self._challenged = asyncio.Event()
        self._spacing_s = 0.0

    async def prove(self, token: int, zones: tuple[str, ...], contour: Contour | None, timeout_s: float | None) -> None:
        """Returns once the coordinator frees the zones, or has nothing of the token blocked any more."""
        async with asyncio.timeout(timeout_s), self._turn:
            outcome = await self._outcome(token, zones, contour)
        known = token in self._agent.core.ended
        match outcome:
            case Rejection(reason="STILL_INSIDE"):
                raise StillInside(outcome.reason, outcome.message, zones=outcome.zones)
            case Rejection() if outcome.zones or not known:
                raise OperatorRequired(outcome.reason, outcome.message, zones=outcome.zones)
            case Failure() if not (known and outcome.reason in _NOTHING_BLOCKED):
                raise from_failure(outcome)

    def take(self, notice: ProofChallenged | ProofEnded) -> None:
        if isinstance(notice, ProofChallenged):
            self._spacing_s = notice.spacing_ms / 1_000
            self._challenged.set()
        elif self._ended is not None and not self._ended.done():
            self._ended.set_result(notice.outcome)

    def fail(self, error: Exception) -> None:
        """The agent closed, or the coordinator will not have it any more."""
        if self._ended is not None and not self._ended.done():
            self._ended.set_exception(error)

    async def _outcome(self, token: int, zones: tuple[str, ...], contour: Contour | None) -> Outcome:
        agent = self._agent
        agent.check_open()
        ended: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._ended = ended
        self._challenged.clear()
        proofs.begin(agent.core, token, zones)
        agent.wake()
        sampler = None if contour is None else asyncio.create_task(self._sample(contour, ended))
        try:
            return await ended
        finally:
            proofs.give_up(agent.core, token)
            self._ended = None
            if sampler is not None:
                sampler.cancel()
                await asyncio.gather(sampler, return_exceptions=True)

    async def _sample(self, contour: Contour, ended: asyncio.Future[Outcome]) -> None:
        """Reports what the contour touches, for as long as the proof is under way."""
        await self._challenged.wait()
        while not ended.done():
            try:
                inside = await measure(contour)
                before = self._agent.core.telemetry
                self._agent.report(
                    inside=inside,
                    progress_permille=before.progress_permille if before else 0,
                    activity=before.activity if before else "",
                )
            except Exception as error:
                if not ended.done():
                    ended.set_exception(error)
                return
            await asyncio.sleep(self._spacing_s)


async def measure(contour: Contour) -> tuple[str, ...]:
    measured = contour()
    return tuple(await measured if inspect.isawaitable(measured) else measured)

"""What an agent does when its session core says that something happened: it stands still, tells who waits, calls back.

Rule: what the agent may not do any more is decided in the session core (or by the dead-man), here it is only carried
out. A grant that nobody waits for is declined, never kept. Never blocks the event loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from zonelock.v1 import floor_pb2

from zonelock_client.callbacks import Listeners
from zonelock_client.dead_man import DeadMan
from zonelock_client.errors import GrantLost
from zonelock_client.grant import Grant, halt_for
from zonelock_client.link import Link
from zonelock_client.proof import Proofs
from zonelock_client.session_core.values import (
    AskEnded,
    AskGranted,
    AskQueued,
    DeadlineMoved,
    ExtendEnded,
    Failure,
    GrantGone,
    GrantWarned,
    HeldGrant,
    HelloRefused,
    Late,
    LinkMoved,
    LinkState,
    LostReason,
    Notice,
    ProofChallenged,
    ProofEnded,
    Rejection,
    Settled,
    StopLatched,
    StopLifted,
    Welcomed,
    YieldAsked,
)
from zonelock_client.standstill import LinkAlarm, call, confirm_revoked
from zonelock_client.status import from_failure, from_rejection
from zonelock_client.waiting import Waiting

if TYPE_CHECKING:
    from zonelock_client.agent import Agent

logger = logging.getLogger("zonelock.client")


class Duties:
    """The inner half of one `Agent`: it hears the session core's notices."""

    def __init__(self, agent: Agent, link: Link, dead_man: DeadMan, listeners: Listeners) -> None:
        self._agent, self._link, self._dead_man, self._listeners = agent, link, dead_man, listeners
        self.grants: dict[int, Grant] = {}
        self.waiting = Waiting(link.loop)
        self.proofs = Proofs(agent)
        self.welcomed: asyncio.Future[None] = link.loop.create_future()
        self.barred: set[str] = set()
        """Stops that rejected an ask; they need not latch the agent."""
        self.stops_changed = asyncio.Event()
        self._settled = asyncio.Event()
        self._link_alarm = LinkAlarm(agent)
        self._tasks: set[asyncio.Task[None]] = set()
        link.listeners[agent.agent_id] = self

    def take(self, notice: Notice) -> None:
        """Acts on a notice of the session core."""
        match notice:
            case AskGranted() | AskQueued() | AskEnded():
                self._take_ask(notice)
            case GrantGone() | GrantWarned() | DeadlineMoved():
                self._take_grant_notice(notice)
            case Settled():
                self._take_settled(notice)
            case ExtendEnded():
                self.waiting.extended(notice.request_id, notice.outcome)
            case ProofChallenged() | ProofEnded():
                self.proofs.take(notice)
            case YieldAsked():
                for callback in self._listeners.asked_to_yield:
                    self._start(call(callback, notice.to_zone), "on_yield")
            case StopLatched():
                self._start(self._stand_still(notice.stop), "stop")
            case StopLifted():
                self.barred.discard(notice.stop.stop_id)
                self.stops_changed.set()
            case LinkMoved():
                self._take_link(notice.state)
            case Welcomed():
                self._take_welcome(notice)
            case HelloRefused():
                self._take_refusal(notice.failure)

    def decline(self, grant: Grant) -> None:
        """A grant that nobody entered under."""
        self.grants.pop(grant.token, None)
        self._agent.core.decline_unused(grant.held)
        grant.announce_loss()
        self._link.wake()

    async def flushed(self) -> None:
        """Waits until stops that it stands for are acknowledged and nothing is owed any more, or the link is not up."""
        agent = self._agent
        standing = [task for task in self._tasks if task.get_name().endswith("-stop")]
        if standing and agent.link is LinkState.CONNECTED:
            await asyncio.wait(standing)
        while len(agent.core.outbox) and agent.link is LinkState.CONNECTED:
            self._settled.clear()
            await self._settled.wait()

    async def close(self, error: Exception) -> None:
        """Nothing is heard any more; whoever waits gets the error."""
        self._link_alarm.close()
        self._fail_waiting(error)
        self.stops_changed.set()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._link.listeners.pop(self._agent.agent_id, None)

    # -- asks and grants -----------------------------------------------------------------------------------------

    def _take_ask(self, notice: AskGranted | AskQueued | AskEnded) -> None:
        if isinstance(notice, AskGranted):
            grant = self._adopt(notice.grant)
            if not self.waiting.granted(notice.request_id, grant):
                self.decline(grant)
        elif isinstance(notice, AskEnded):
            self._take_ask_ended(notice)
        else:
            self.waiting.queued(notice.request_id, notice.position, notice.blockers)

    def _take_ask_ended(self, notice: AskEnded) -> None:
        ending = notice.ending
        error: Exception
        if isinstance(ending, Late):
            error = GrantLost(str(LostReason.LATE), ending.message, token=ending.token, zones=ending.zones)
        elif isinstance(ending, Rejection):
            error = from_rejection(ending)
            self.barred.update(ending.stop_ids)
        else:
            error = from_failure(ending)
        self.waiting.not_granted(notice.request_id, error)

    def _adopt(self, held: HeldGrant) -> Grant:
        grant = Grant(self._agent, held)
        self.grants[held.token] = grant
        self._dead_man.watch(grant.alarm)
        for token in [t for t in self.grants if t not in self._agent.core.grants]:
            del self.grants[token]
        return grant

    def _take_grant_notice(self, notice: GrantGone | GrantWarned | DeadlineMoved) -> None:
        grant = self.grants.get(notice.grant.token)
        if isinstance(notice, GrantGone):
            self._take_loss(notice.grant, grant)
        elif grant is None:
            return
        elif isinstance(notice, DeadlineMoved):
            self._dead_man.watch(grant.alarm)
        else:
            for callback in self._listeners.warned:
                self._start(call(callback, grant), "on_warned")

    def _take_settled(self, notice: Settled) -> None:
        self._settled.set()
        for grant in list(self.grants.values()):
            if grant.settled(notice.entry_id, notice.outcome):
                still_inside = isinstance(notice.outcome, Rejection) and notice.outcome.reason == "STILL_INSIDE"
                if still_inside and grant.held.lost_reason is LostReason.REVOKED:
                    self._confirm_revoked(grant.held)
                break
        self.waiting.settled(notice.entry_id, notice.outcome)

    def _take_loss(self, held: HeldGrant, grant: Grant | None) -> None:
        agent = self._agent
        thread_halts = grant is not None and grant.alarm.tripped
        if held.lost_reason is LostReason.REVOKED and held.token in agent.core.grants:
            self._confirm_revoked(held)
        # One halt per stop, not per grant: the stop's own halting confirms all of them.
        elif not thread_halts and held.lost_reason is not LostReason.STOPPED:
            agent.standstill.halt_soon(halt_for(agent.agent_id, held))
        if grant is not None:
            grant.announce_loss()

    async def _stand_still(self, stop: floor_pb2.Stop) -> None:
        if await self._agent.standstill.confirm(stop, self._agent.holds):
            self._agent.core.acknowledge_stops((stop.stop_id,))
            self._link.wake()

    def _confirm_revoked(self, held: HeldGrant) -> None:
        hold = next((h for h in self._agent.holds if h.holds(held)), None)
        self._start(confirm_revoked(self._agent, held, hold), "revocation")

    # -- the link ------------------------------------------------------------------------------------------------

    def _take_link(self, state: LinkState) -> None:
        self._settled.set()
        if state is LinkState.CONNECTED:
            self._link_alarm.arm()
            self._dead_man.watch(self._link_alarm)
        for callback in self._listeners.link_moved:
            self._start(call(callback, state), "on_link")

    def _take_welcome(self, notice: Welcomed) -> None:
        for held in notice.resumed:
            self._adopt(held)
        if not self.welcomed.done():
            self.welcomed.set_result(None)

    def _take_refusal(self, failure: Failure) -> None:
        error = from_failure(failure)
        if not self.welcomed.done():
            self.welcomed.set_exception(error)
        self._fail_waiting(error)
        self.stops_changed.set()

    def _fail_waiting(self, error: Exception) -> None:
        self.waiting.fail(error)
        self.proofs.fail(error)

    def _start(self, work: Coroutine[Any, Any, None], what: str) -> None:
        agent_id = self._agent.agent_id

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                logger.error("agent %s: %s failed", agent_id, what, exc_info=error)

        task = self._link.loop.create_task(work, name=f"zonelock-{agent_id}-{what}")
        self._tasks.add(task)
        task.add_done_callback(ended)

"""Standing still when told to: the halting callbacks of an agent, and when a stop may be acknowledged.

Rule: a stop is acknowledged only after everything that halts the machine has returned, and never when one of them
failed; where nothing is registered, the end of the cancelled blocks is the confirmation. The motion stop runs on the
dead-man's thread.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

from zonelock.v1 import floor_pb2
from zonelock.v1 import zone_service_pb2 as pb

from zonelock_client.clock import boottime_ns
from zonelock_client.dead_man import DeadMan, Halt
from zonelock_client.session_core.values import HeldGrant, LostReason

if TYPE_CHECKING:
    from zonelock_client.agent import Agent
    from zonelock_client.hold import Hold

logger = logging.getLogger("zonelock.client")

LOOK_AGAIN_NS = 100_000_000
"""How soon a lost link is looked at again."""

_T = TypeVar("_T")
StopCallback = Callable[[floor_pb2.Stop], Awaitable[None] | None]
HaltCallback = Callable[[Halt], None]


class Standstill:
    """One agent's halting callbacks."""

    def __init__(self, agent_id: str, dead_man: DeadMan, timeout_s: float) -> None:
        self._agent_id = agent_id
        self._dead_man = dead_man
        self._timeout_s = timeout_s
        self.on_halt: list[HaltCallback] = []
        self.on_stop: list[StopCallback] = []

    def halt_now(self, halt: Halt) -> None:
        """Runs every motion stop on the calling thread, even when one of them raises; raises the first failure."""
        failure: Exception | None = None
        for callback in list(self.on_halt):
            try:
                callback(halt)
            except Exception as error:
                failure = failure or error
        if failure is not None:
            raise failure

    def halt_soon(self, halt: Halt) -> None:
        """Halts on the dead-man's thread; a failure is logged there."""
        self._dead_man.call(lambda: self.halt_now(halt))

    async def confirm(self, stop: floor_pb2.Stop, holds: Iterable[Hold]) -> bool:
        """Halts for a stop; True once the machine is confirmed to stand, False when something that halts it failed."""
        halt = Halt(self._agent_id, str(LostReason.STOPPED), f"stop {stop.stop_id}: {stop.reason}")
        motion = asyncio.wrap_future(self._dead_man.call(lambda: self.halt_now(halt)))
        told = [await self._told(callback, stop) for callback in self.on_stop]
        halted = await self._halted(motion, f"stop {stop.stop_id}")
        if not self.on_stop and not self.on_halt:
            for hold in list(holds):
                await hold.left.wait()
        return halted and all(told)

    async def stands(self, halt: Halt, hold: Hold | None) -> bool:
        """Halts; True once the machine is known to stand: every motion stop returned or, with none, the block ended.

        Without a motion stop and without a block nobody has said anything, and silence is not a standstill.
        """
        motion = asyncio.wrap_future(self._dead_man.call(lambda: self.halt_now(halt)))
        halted = await self._halted(motion, f"the answer to '{halt.reason}'")
        if self.on_halt:
            return halted
        if hold is None:
            return False
        await hold.left.wait()
        return True

    async def _halted(self, motion: asyncio.Future[None], what: str) -> bool:
        done, _ = await asyncio.wait([motion], timeout=self._timeout_s)
        if not done:
            logger.error("agent %s: on_halt still runs; %s waits for it", self._agent_id, what)
            await asyncio.wait([motion])
        return motion.exception() is None

    async def _told(self, callback: StopCallback, stop: floor_pb2.Stop) -> bool:
        try:
            async with asyncio.timeout(self._timeout_s):
                await call(callback, stop)
        except Exception:
            logger.exception("agent %s: on_stop failed; stop %s stays unacknowledged", self._agent_id, stop.stop_id)
            return False
        return True


async def confirm_revoked(agent: Agent, held: HeldGrant, hold: Hold | None) -> None:
    """Halts, and then tells the coordinator that the machine stands, unless its app has said something better."""
    halt = Halt(agent.agent_id, str(LostReason.REVOKED), held.lost_message, held.token, held.zones)
    stands = await agent.standstill.stands(halt, hold)
    if stands:
        # A motion stop returns when the machine is told to stand; this is what it needs to do so.
        await asyncio.sleep(agent.stop_ms / 1_000)
    if held.token not in agent.core.grants or held.returning:
        return
    if not stands:
        logger.error("agent %s: grant %d was revoked and nobody says that it stands", agent.agent_id, held.token)
        return
    agent.core.abandon(held, pb.ABANDON_CAUSE_STANDING)
    agent.wake()


class LinkAlarm:
    """The dead-man's view of an agent's link: LOST with grants held is a reason to halt. Once per outage.

    It arms itself again: an outage that a blocked event loop slept through is never announced as one.
    """

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._armed = False
        self._halted_for_ns = 0

    def arm(self) -> None:
        self._armed = True

    def close(self) -> None:
        self._armed = False

    def due_ns(self) -> int | None:
        if not self._armed:
            return None
        lost_ns = self._agent.link_lost_ns
        return lost_ns if lost_ns != self._halted_for_ns else boottime_ns() + LOOK_AGAIN_NS

    def trip(self) -> None:
        self._halted_for_ns = self._agent.link_lost_ns

    def halt(self) -> None:
        agent = self._agent
        # A list of a dictionary's values is taken in one step, so the loop may change the dictionary meanwhile.
        held = [h for h in list(agent.core.grants.values()) if h.lost_reason is None and not h.returning]
        try:
            if held:
                message = "no coordinator within reach: nobody could stop the machine"
                zones = tuple(z for h in held for z in h.zones)
                agent.halt_now(Halt(agent.agent_id, "link", message, held[0].token, zones))
        finally:
            agent.poke_from_thread()


async def call(callback: Callable[[_T], Awaitable[None] | None], argument: _T) -> None:
    """Calls a callback that may be sync or async."""
    result = callback(argument)
    if inspect.isawaitable(result):
        await result

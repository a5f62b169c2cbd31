"""A grant in its holder's hands, and the alarm that halts its holder in time.

Rules: `may_move` compares the clock itself and believes no flag that a thread or task has yet to set; a grant is
given back by a statement (`cleared`, `abandon`, `park`, `standing`), never by being forgotten. The alarm runs on
the dead-man's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

from zonelock.v1 import zone_service_pb2 as pb

from zonelock_client import arguments
from zonelock_client.clock import boottime_ns
from zonelock_client.dead_man import Halt
from zonelock_client.errors import ArgumentError, ExtensionRejected, GrantLost, Rejected, StillInside
from zonelock_client.proof import PROOF_TIMEOUT_S, Contour, measure
from zonelock_client.session_core.values import (
    NS_PER_MS,
    Done,
    Failure,
    HeldGrant,
    LinkState,
    LostReason,
    Outcome,
    Rejection,
)
from zonelock_client.status import from_failure
from zonelock_client.vehicle import Permit

if TYPE_CHECKING:
    from zonelock_client.agent import Agent


class LossSignal:
    """Set when the grant is lost. `await grant.lost` waits for it and gives the reason; `bool(grant.lost)` asks."""

    def __init__(self, held: HeldGrant) -> None:
        self._held = held
        self._event = asyncio.Event()

    def is_set(self) -> bool:
        return self._held.lost_reason is not None

    def __bool__(self) -> bool:
        return self.is_set()

    async def wait(self) -> str:
        """Waits until the grant is lost; returns the `LostReason`."""
        await self._event.wait()
        return str(self._held.lost_reason)

    def __await__(self) -> Generator[object, None, str]:
        return self.wait().__await__()

    def announce(self) -> None:
        self._event.set()


class GrantAlarm:
    """The dead-man's view of one grant. Halts once, whoever asks first: the thread at D, or the loop for another
    reason."""

    def __init__(self, agent: Agent, held: HeldGrant) -> None:
        self._agent = agent
        self._held = held
        self._tripped = False

    def due_ns(self) -> int | None:
        held = self._held
        if self._tripped or held.returning or held.lost_reason is not None:
            return None
        return held.deadline_ns

    def trip(self) -> None:
        held = self._held
        self._tripped = held.lose(LostReason.DEADLINE, f"the deadline for {', '.join(held.zones)} passed")

    @property
    def tripped(self) -> bool:
        """Whether the thread itself found the deadline passed, and so halts."""
        return self._tripped

    def halt(self) -> None:
        if not self._tripped:
            return
        try:
            self._agent.halt_now(halt_for(self._agent.agent_id, self._held))
        finally:
            self._agent.poke_from_thread()


def halt_for(agent_id: str, held: HeldGrant) -> Halt:
    return Halt(agent_id, str(held.lost_reason), held.lost_message, held.token, held.zones)


class Grant:
    """Zones that the agent may move in until its deadline. Made by `Agent.acquire` and `Agent.hold` only.

    The deadline is D = t_send(echoed frame) + expected * (1 - rho) - stop_ms on CLOCK_BOOTTIME (see `session_core`).
    """

    def __init__(self, agent: Agent, held: HeldGrant) -> None:
        self._agent = agent
        self._held = held
        self._alarm = GrantAlarm(agent, held)
        self._on_lost: list[Callable[[], None]] = []
        self._owed: dict[int, tuple[str, ...]] = {}
        self._left = False
        self.lost = LossSignal(held)
        if held.lost_reason is not None:
            self.lost.announce()

    def __repr__(self) -> str:
        state = f"lost: {self.lost_reason}" if self.lost else f"{self.remaining_ms()} ms"
        return f"<Grant {self.token} of {self._agent.agent_id} for {', '.join(self.zones) or 'nothing left'}, {state}>"

    @property
    def token(self) -> int:
        """The fencing token: present it to whatever may refuse (gates, lifts). Rises with every grant, for ever."""
        return self._held.token

    @property
    def zones(self) -> tuple[str, ...]:
        """Zones not yet given back."""
        return self._held.zones

    @property
    def expected_ms(self) -> int:
        return self._held.expected_ms

    @property
    def lost_reason(self) -> str | None:
        """A `LostReason`, or None while the grant is not lost."""
        return None if self._held.lost_reason is None else str(self._held.lost_reason)

    @property
    def lost_message(self) -> str:
        """Why it was lost, for people: which stop, which operator took it back and for what reason."""
        return self._held.lost_message

    @property
    def warned(self) -> bool:
        """Four fifths of the time are over."""
        return self._held.warned or boottime_ns() >= self._held.warn_ns

    def may_move(self) -> bool:
        """Whether the machine may move in the zones now. Ask before every motion command; callable from any thread.

        False once the deadline passed, the grant was lost or given back, or the link counts as LOST (nobody could
        stop the machine then). After a lost link it can become True again; after a lost grant it cannot.
        """
        held = self._held
        if held.lost_reason is not None or held.returning:
            return False
        now_ns = boottime_ns()
        return now_ns < held.deadline_ns and now_ns < self._agent.link_lost_ns

    def may_enter(self) -> bool:
        """`may_move`, and the link is CONNECTED: required to cross into a zone of the grant."""
        return self.may_move() and self._agent.link is LinkState.CONNECTED

    def remaining_ms(self) -> int:
        """Milliseconds to the deadline; 0 when the grant is lost or its time over. Callable from any thread."""
        if self._held.lost_reason is not None:
            return 0
        return max(0, (self._held.deadline_ns - boottime_ns()) // NS_PER_MS)

    def permit(self, *, at_most_ms: int | None = None) -> Permit:
        """Leave to move for a vehicle controller elsewhere, as the answer to its ask; see `zonelock_client.vehicle`.

        `expires_ms` is what is left now until D, or until the link counts as LOST when that comes first. A grant that
        is lost or given back makes a permit with `expires_ms` 0, which halts the vehicle: answer every ask, with that
        too. `at_most_ms` bounds how long a vehicle goes on when this process freezes; it has to ask oftener then.
        Callable from any thread.
        """
        if at_most_ms is not None:
            arguments.whole("at_most_ms", at_most_ms, 1, arguments.MAX_DURATION_MS)
        held = self._held
        now_ns = boottime_ns()
        left_ns = min(held.deadline_ns, self._agent.link_lost_ns) - now_ns
        if held.lost_reason is not None or held.returning:
            left_ns = 0
        left_ms = min(max(0, left_ns // NS_PER_MS), at_most_ms or arguments.MAX_DURATION_MS)
        return Permit(held.token, held.zones, self._agent.agent_id, left_ms, now_ns)

    async def cleared(self, *zones: str) -> None:
        """Gives `zones` (all, when none are named) back: the whole contour with its load has left them.

        Returns once the coordinator has committed it. The release stays in the outbox until then, over lost links
        and even if this call is cancelled, because it is a fact. Raises StillInside (latest telemetry contradicts
        it: the zones are still held), GrantLost (the grant ended before: the zones stay occupied until an operator
        clears them or the agent's next ask converts them), RequestError, OutboxFull, LinkLost (the agent was
        closed).
        """
        if not self.zones:
            return
        self._check_mine(zones)
        given = tuple(z for z in self.zones if not zones or z in zones)
        outcome = await self._give_back(self._agent.core.release(self._held, zones), given)
        if isinstance(outcome, Rejection) and outcome.reason == "STILL_INSIDE":
            raise StillInside(outcome.reason, outcome.message, zones=outcome.zones)
        self._raise_unless_done(outcome)

    async def abandon(self) -> None:
        """Gives the grant up while the machine may be anywhere in it: its zones stay occupied (BLOCKED) without a stop.

        Only an operator's clearance, or a new ask by this agent, ends that. Errors as for `cleared`.
        """
        await self._abandon(pb.ABANDON_CAUSE_ABANDONED)

    async def park(self) -> None:
        """The machine stands in the zones and means to stay, without a deadline; its next ask takes them up again."""
        await self._abandon(pb.ABANDON_CAUSE_PARKED)

    async def standing(self) -> None:
        """The machine has come to a stand where its time ran out: said before the coordinator's deadline, nothing
        else stops.

        Say it only when the machine confirmed it. Works on a lost grant too; between D and the coordinator's
        deadline lie `stop_ms` and twice the clock allowance.
        """
        await self._abandon(pb.ABANDON_CAUSE_STANDING)

    async def prove_left(self, contour: Contour | None = None, *, timeout_s: float | None = PROOF_TIMEOUT_S) -> None:
        """Frees the zones of a grant that ended (deadline, stop, abandonment) after the machine has left them.

        Works where the floor says `vacancy: holder`. The coordinator makes up a nonce, and several reports that are
        made after it, some time apart, must lie outside. `contour()` (sync or async) measures, each time that it is
        called, every zone that the contour with its load touches. Without it the app goes on calling `agent.report`
        with `inside`, and these reports count.

        Returns once the zones are free, or are not blocked by this grant any more. Raises StillInside (a report lies
        inside), OperatorRequired (a person has to look), ArgumentError (the grant is live: use `cleared`),
        TimeoutError, RequestError, LinkLost (the agent was closed), and whatever `contour` raises.
        """
        arguments.seconds("timeout_s", timeout_s)
        held = self._held
        if held.lost_reason is None and not held.returning:
            raise ArgumentError(f"grant {self.token} is live; give it back with cleared() instead of proving anything")
        async with asyncio.timeout(timeout_s):
            if held.lost_reason is not None and not held.returning and self.token in self._agent.core.grants:
                # Lost here, and perhaps not yet ended there: then giving it back is enough.
                if contour is not None:
                    self._agent.report(inside=await measure(contour))
                with contextlib.suppress(GrantLost):
                    await self.cleared()
                    return
            zones = held.left_behind or held.zones
            if zones:
                await self._agent.prove_vacancy(self.token, zones=zones, contour=contour, timeout_s=None)
                held.zones = held.left_behind = ()

    async def extend(self, expected_ms: int) -> int:
        """Asks for `expected_ms` from now on; returns `remaining_ms()` then. Never shortens.

        Needs fresh telemetry (`agent.report`) and never passes a zone's hold_max_ms. Raises ExtensionRejected (the old
        deadline stands), GrantLost, RequestError.
        """
        arguments.expected_ms(expected_ms, self._agent.stop_ms)
        self._raise_if_lost()
        if self._held.returning:
            raise ArgumentError("grant was given back; ask again instead of extending it")
        outcome = await self._agent.extension(self._held, expected_ms)
        self._raise_if_lost()
        if isinstance(outcome, Rejection):
            raise ExtensionRejected(outcome.reason, outcome.message, zones=outcome.zones)
        self._raise_unless_done(outcome)
        return self.remaining_ms()

    # -- for the agent and the hold ------------------------------------------------------------------------------

    @property
    def held(self) -> HeldGrant:
        return self._held

    @property
    def alarm(self) -> GrantAlarm:
        return self._alarm

    def on_lost(self, callback: Callable[[], None]) -> None:
        """Calls back on the event loop when the grant is lost."""
        self._on_lost.append(callback)
        if self.lost:
            callback()

    def announce_loss(self) -> None:
        self.lost.announce()
        for callback in self._on_lost:
            callback()

    def as_lost(self) -> GrantLost:
        held = self._held
        reason = held.lost_reason or LostReason.CLOSED
        return GrantLost(str(reason), held.lost_message, token=held.token, zones=held.zones)

    def leave(self) -> None:
        """The holder's block ended: what is neither given back nor lost is abandoned."""
        self._left = True
        held = self._held
        if held.zones and not held.returning and held.lost_reason is None:
            self._agent.core.abandon(held)
            self._agent.wake()

    def settled(self, entry_id: int, outcome: Outcome) -> bool:
        """An entry of this grant was answered. A release refused after its holder has left becomes an abandonment."""
        if self._owed.pop(entry_id, None) is None:
            return False
        if self._left and not isinstance(outcome, Done):
            self.leave()
        return True

    # -- inside --------------------------------------------------------------------------------------------------

    async def _abandon(self, cause: pb.AbandonCause.ValueType) -> None:
        if not self.zones:
            return
        self._raise_unless_done(await self._give_back(self._agent.core.abandon(self._held, cause), self.zones))

    async def _give_back(self, entry_id: int, zones: tuple[str, ...]) -> Outcome:
        self._owed[entry_id] = zones
        return await self._agent.settlement(entry_id)

    def _check_mine(self, zones: tuple[str, ...]) -> None:
        arguments.zone_names("zones", zones)
        foreign = [z for z in zones if z not in self.zones]
        if foreign:
            raise ArgumentError(f"zones={foreign} are not held by grant {self.token}; it holds {', '.join(self.zones)}")

    def _raise_if_lost(self) -> None:
        if self.lost:
            raise self.as_lost()

    def _raise_unless_done(self, outcome: Outcome) -> None:
        if isinstance(outcome, Failure):
            raise from_failure(outcome)
        if isinstance(outcome, Rejection):
            if outcome.reason == "GRANT_ENDED":
                reason = self.lost_reason or LostReason.EXPIRED
                raise GrantLost(str(reason), outcome.message, token=self.token, zones=self.zones)
            raise Rejected(outcome.reason, outcome.message, zones=outcome.zones, stop_ids=outcome.stop_ids)

"""An agent on a link, as its app sees it: asks, holds, reports, stops and leaves.

Rule: what is asked for here is checked, put to the session core, and waited for; what comes of it is `duties`' part.
Never blocks the event loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from zonelock.v1 import floor_pb2

from zonelock_client import arguments
from zonelock_client.callbacks import Callbacks
from zonelock_client.clock import boottime_ns
from zonelock_client.dead_man import DeadMan, Halt
from zonelock_client.duties import Duties
from zonelock_client.errors import GoodbyeRejected, GrantRejected, LinkLost, RequestError
from zonelock_client.grant import Grant
from zonelock_client.hold import Hold
from zonelock_client.link import Link
from zonelock_client.operators import Operator
from zonelock_client.proof import PROOF_TIMEOUT_S, Contour
from zonelock_client.session_core import routes
from zonelock_client.session_core.agent import AgentCore
from zonelock_client.session_core.values import (
    AgentSpec,
    Failure,
    HeldGrant,
    LinkState,
    LostReason,
    Outcome,
    Rejection,
)
from zonelock_client.standstill import Standstill
from zonelock_client.status import from_failure
from zonelock_client.waiting import QueuedCallback

logger = logging.getLogger("zonelock.client")

STOP_LOOK_S = 1.0


class Agent(Callbacks):
    """Made by `connect` or `Fleet.agent`. Use as an async context manager, or `close()` it."""

    def __init__(
        self, link: Link, spec: AgentSpec, dead_man: DeadMan, *, halt_timeout_s: float, owns_link: bool
    ) -> None:
        self._link = link
        self._spec = spec
        self._owns_link = owns_link
        self.core: AgentCore = link.core.add_agent(spec, boottime_ns())
        self.holds: set[Hold] = set()
        super().__init__(Standstill(spec.agent_id, dead_man, halt_timeout_s))
        self._duties = Duties(self, link, dead_man, self._listeners)
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<Agent {self.agent_id}, {'closed' if self._closed else self.link}, {len(self._duties.grants)} grants>"

    # -- what is known -------------------------------------------------------------------------------------------

    @property
    def agent_id(self) -> str:
        return self._spec.agent_id

    @property
    def stop_ms(self) -> int:
        """What the machine needs to come to a stand."""
        return self._spec.stop_ms

    @property
    def session_secret(self) -> bytes:
        """Keep it (privately) to resume this agent's grants after a restart of its process."""
        return self._spec.session_secret

    @property
    def highest_token(self) -> int:
        """The newest token that the coordinators are known to have given out, to whomever; keep it beside the secret: a
        coordinator with an older ledger is then found out.
        """
        return self.core.newest_token

    @property
    def link(self) -> LinkState:
        """CONNECTED, SUSPENDED (cross no boundary) or LOST (stop), as of now; see `LinkState`."""
        return LinkState.LOST if self._closed else self.core.link(boottime_ns())

    @property
    def link_lost_ns(self) -> int:
        """When the link counts as LOST if nothing more is heard, CLOCK_BOOTTIME. Readable from any thread."""
        return self.core.link_lost_ns

    @property
    def grants(self) -> tuple[Grant, ...]:
        """Live grants, oldest first; after a restart with the same secret, those of the earlier process too."""
        live = (grant for token, grant in sorted(self._duties.grants.items()) if token in self.core.grants)
        return tuple(grant for grant in live if not grant.lost and not grant.held.returning)

    @property
    def blocked_zones(self) -> tuple[str, ...]:
        """Zones that the agent occupied without a live grant when it last said hello."""
        return self.core.blocked_zones

    @property
    def active_stops(self) -> tuple[floor_pb2.Stop, ...]:
        """Stops the agent is latched by; each stays until a named operator resets it."""
        return tuple(stop for _, stop in sorted(self.core.latched.items()))

    # -- asking --------------------------------------------------------------------------------------------------

    def hold(
        self, *zones: str, expected_ms: int, priority: int = 0, no_wait: bool = False, timeout_s: float | None = None
    ) -> Hold:
        """`async with agent.hold("Z_32", expected_ms=8_000) as grant:` waits for the zones and holds them for the
        block.

        Entering raises what `acquire` raises. Losing the grant cancels the block and raises GrantLost at its end.
        Leave it with `await grant.cleared()`; otherwise the grant is abandoned and the zones stay occupied.
        """
        self._check_ask(zones, expected_ms, priority, timeout_s)
        return Hold(self, zones, expected_ms, priority, no_wait, timeout_s)

    async def acquire(
        self,
        *zones: str,
        expected_ms: int,
        priority: int = 0,
        no_wait: bool = False,
        timeout_s: float | None = None,
        on_queued: QueuedCallback | None = None,
    ) -> Grant:
        """Asks for all of the zones or none and waits in the queue for them.

        `expected_ms`: how long they are needed from the grant on, braking included. `priority` 0 to 9, higher
        first. `no_wait`: be rejected ("BUSY") rather than queue. `timeout_s`: raise TimeoutError and cancel the
        ask. `on_queued(position, blockers)` is called when the ask queues and whenever its place changes.

        Raises ArgumentError, GrantRejected, GrantLost ("late": it came too late to be used, and was declined),
        RequestError, OutboxFull, LinkLost (the agent was closed). While no coordinator answers it waits; the ask is
        sent again, under the same request id, to the next one.
        """
        self._check_ask(zones, expected_ms, priority, timeout_s)
        self.check_open()
        if self.core.latched:
            stop_ids = tuple(sorted(self.core.latched))
            raise GrantRejected(
                "STOPPED",
                f"latched by {', '.join(stop_ids)}; await agent.stop_cleared(), then ask again",
                zones=zones,
                stop_ids=stop_ids,
            )
        request_id = self.core.ask(zones, expected_ms, priority=priority, no_wait=no_wait)
        future = self._duties.waiting.ask(request_id, on_queued)
        self._link.wake()
        try:
            async with asyncio.timeout(timeout_s):
                return await future
        except BaseException:
            self._withdraw(request_id, future)
            raise
        finally:
            self._duties.waiting.leave_ask(request_id)

    def claim(self, *zones: str) -> None:
        """Claims a route: the zones that the agent still has to enter, in order, in place of what it claimed before.

        Steps along claimed routes are granted only if everybody who claimed can still arrive; without a claim an agent
        is promised nothing. Without zones: it has arrived, and would yield if asked (`on_yield`). Returns at once; the
        claim leaves before the asks made after it, is shortened by grants, and is said again after a reconnection.
        Raises ArgumentError, LinkLost.
        """
        self.check_open()
        routes.claim(self.core, arguments.route(zones))
        self._link.wake()

    @property
    def can_finish(self) -> bool | None:
        """Whether the coordinator knows an order in which the claimed route can be driven; None: it has not said yet.

        False at first is no error: plan another way, or ask and see.
        """
        return self.core.route.can_finish if self.core.route is not None else None

    def report(
        self,
        *,
        x_mm: int | None = None,
        y_mm: int | None = None,
        heading_mdeg: int = 0,
        inside: Iterable[str] | None = None,
        progress_permille: int = 0,
        activity: str = "",
    ) -> None:
        """Tells where the machine is and how far it got. Returns at once; only the newest report leaves, in a frame.

        `inside`: every zone that the contour with its load touches; None means not said, and with a position the
        coordinator takes the zone of that position. A release is refused (StillInside) while the latest report has its
        zone here. `progress_permille` of the present task: extensions rest on its rise. `activity`: a few words for
        people. Raises ArgumentError, LinkLost.
        """
        self.check_open()
        telemetry = arguments.telemetry(x_mm, y_mm, heading_mdeg, inside, progress_permille, activity)
        self.core.report(telemetry, boottime_ns())
        self._link.wake()

    async def prove_vacancy(
        self,
        token: int,
        *,
        zones: Iterable[str] = (),
        contour: Contour | None = None,
        timeout_s: float | None = PROOF_TIMEOUT_S,
    ) -> None:
        """Proves that the machine has left the zones of an ended grant; `Grant.prove_left` knows token and zones.

        For a token of an earlier process with the same secret. Arguments and errors as for `Grant.prove_left`.
        """
        arguments.whole("token", token, 1, arguments.MAX_TOKEN)
        arguments.seconds("timeout_s", timeout_s)
        await self._duties.proofs.prove(token, arguments.zone_names("zones", zones), contour, timeout_s)

    # -- stops ---------------------------------------------------------------------------------------------------

    async def trip_stop(
        self, reason: str, *, zone: str = "", stop_group: str = "", floor: bool = False
    ) -> floor_pb2.Stop:
        """Trips a latched stop of a zone's stop group, a stop group, or the floor; returns it once it is durable.

        Travels on a call of its own, to each coordinator in turn. Raises ArgumentError, RequestError.
        """
        async with self._operator() as calls:
            return await calls.trip_stop(reason, zone=zone, stop_group=stop_group, floor=floor, agent_id=self.agent_id)

    async def stop_cleared(self) -> None:
        """Waits until no stop latches the agent, nor any that rejected its asks. A reset restarts nothing: ask again.

        A stop elsewhere that only rejected an ask is not announced to this agent; its end is looked up once a second.
        Raises RequestError (when the coordinator refuses the agent), LinkLost (when the agent is closed).
        """
        duties = self._duties
        while self.core.latched or duties.barred:
            self.check_open()
            duties.stops_changed.clear()
            try:
                async with asyncio.timeout(STOP_LOOK_S if duties.barred else None):
                    await duties.stops_changed.wait()
            except TimeoutError:
                await self._look_at_stops()

    # -- leaving -------------------------------------------------------------------------------------------------

    async def goodbye(self) -> None:
        """Leaves for good, then closes. Raises GoodbyeRejected while the agent occupies anything, and stays open
        then."""
        self.check_open()
        outcome = await self.settlement(self.core.goodbye())
        if isinstance(outcome, Rejection):
            raise GoodbyeRejected(outcome.reason, outcome.message, zones=outcome.zones)
        if isinstance(outcome, Failure):
            raise from_failure(outcome)
        await self.close()

    async def close(self, *, keep_grants: bool = False, flush_s: float = 1.0) -> None:
        """Ends the client. Live grants are lost ("closed"), the machine is halted, and the grants are abandoned, unless
        `keep_grants` leaves them for a later session with the same secret. Waits up to `flush_s` for acknowledgements.

        Says nothing of where the machine is: what it occupies stays occupied.
        """
        if self._closed:
            return
        for held in list(self.core.grants.values()):
            if held.returning or held.lost_reason not in (None, LostReason.REVOKED):
                continue
            if not keep_grants:
                self.core.abandon(held)
            self.core.lose(held, LostReason.CLOSED, "the agent was closed")
        self._link.dispatch()
        try:
            async with asyncio.timeout(flush_s):
                await self._duties.flushed()
        except TimeoutError:
            logger.warning("agent %s closes with %d operations unacknowledged", self.agent_id, len(self.core.outbox))
        self._closed = True
        await self._duties.close(LinkLost(f"agent {self.agent_id} was closed"))
        self._link.core.remove_agent(self.agent_id)
        if self._owns_link:
            await self._link.close()

    # -- for grants, holds and fleets ----------------------------------------------------------------------------

    def check_open(self) -> None:
        """Raises LinkLost when the agent was closed, RequestError when the coordinator will not have it."""
        if self._closed:
            raise LinkLost(f"agent {self.agent_id} is closed; connect again")
        if self.core.refused is not None:
            raise from_failure(self.core.refused)

    def wake(self) -> None:
        self._link.wake()

    def poke_from_thread(self) -> None:
        self._link.poke_from_thread()

    def halt_now(self, halt: Halt) -> None:
        """Runs the motion stops on the calling thread, which is the dead-man's."""
        self.standstill.halt_now(halt)

    async def welcomed(self) -> None:
        """Waits for the first welcome. Raises RequestError when the coordinator will not have the agent."""
        await asyncio.shield(self._duties.welcomed)

    async def settlement(self, entry_id: int) -> Outcome:
        """Waits until an outbox entry is answered. Cancelling the wait takes nothing back."""
        self.check_open()
        future = self._duties.waiting.settlement(entry_id)
        self._link.wake()
        return await future

    async def extension(self, held: HeldGrant, expected_ms: int) -> Outcome:
        self.check_open()
        request_id = self.core.extend(held, expected_ms)
        future = self._duties.waiting.extension(request_id)
        self._link.wake()
        try:
            return await future
        finally:
            self._duties.waiting.leave_extension(request_id)

    # -- inside --------------------------------------------------------------------------------------------------

    def _check_ask(self, zones: tuple[str, ...], expected_ms: int, priority: int, timeout_s: float | None) -> None:
        arguments.zone_names("zones", zones, least=1)
        arguments.expected_ms(expected_ms, self.stop_ms)
        arguments.whole("priority", priority, 0, arguments.MAX_PRIORITY)
        arguments.seconds("timeout_s", timeout_s)

    async def _look_at_stops(self) -> None:
        try:
            async with self._operator() as calls:
                active = {stop.stop_id for stop in await calls.stops()}
        except RequestError as error:
            logger.info("agent %s: stops could not be listed, looking again: %s", self.agent_id, error)
        else:
            self._duties.barred &= active

    def _operator(self) -> Operator:
        return Operator(",".join(self._link.targets), operator=self.agent_id, credentials=self._link.credentials)

    def _withdraw(self, request_id: str, future: asyncio.Future[Grant]) -> None:
        """The asker has gone: cancel the ask, or decline a grant that arrived in the same moment."""
        if future.done() and not future.cancelled() and future.exception() is None:
            self._duties.decline(future.result())
        self.core.cancel(request_id)
        self._link.wake()

"""What every simulated agent does alike: ask, give back, keep its time, stop when told, and suffer incidents.

The rule owned here: what an agent believes it holds follows the SDK's answers and nothing else, and time is extended
only while the agent sees that its machine still does what it should. The agent's software may hang (`hung`), its
answers may come late (`late_ms`), its machine may fail (`stalled`), it may be gone for good (`gone`).
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Coroutine, Iterable
from typing import Any

from zonelock.v1.floor_pb2 import Blocker, Stop
from zonelock_client import (
    ExtensionRejected,
    GrantLost,
    GrantRejected,
    LinkLost,
    Rejected,
    RequestError,
    StillInside,
    ZonelockError,
)

from zonelock_sim.bodies import Body, Tool
from zonelock_sim.holdings import Grant, Holdings
from zonelock_sim.world import Introduction, Link, World

HOLD_MS = 12_000
"""What an agent asks for and extends to: some seconds of driving or work, so that a stalled one is noticed soon."""

HOLD_LIMIT_MARGIN_MS = 2_000
HOLD_SLACK_MS = 500
EXTEND_BELOW_PERMILLE = 500
DEADLINE = "deadline"
REFUSED_PAUSE_S = 0.3
MAX_REFUSED_PAUSE_S = 4.8
"""Refused again and again, an agent waits twice as long each time, up to this: others have to do something first."""

STOPPED_PAUSE_S = 1.0
RETURN_PAUSE_S = 0.2
MAX_RETURN_ATTEMPTS = 50
STAND_POLL_S = 0.02
MAX_ASK_ZONES = 32
REPORT_STANDING_S = 1.0
LEAVE_S = 3.0


class FloorAgent(ABC):
    """One agent of the run. `Vehicle` and `ArmAgent` say what it works at."""

    body: Body | Tool

    def __init__(self, agent_id: str, kind: str, world: World) -> None:
        self.agent_id = agent_id
        self.kind = kind
        self.world = world
        self.holdings = Holdings()
        self.activity = "arriving"
        self.stalled = False
        self.gone = False
        self.late_ms = 0
        self.at_limit = False
        self._runs = asyncio.Event()
        self._runs.set()
        self.ready = asyncio.Event()
        self.life: asyncio.Task[None] | None = None
        self._link: Link | None = None
        self._woken = asyncio.Event()
        self._errands: set[asyncio.Task[None]] = set()
        self._extending: set[int] = set()
        self._overrun: list[Grant] = []
        self._granted_at: dict[int, float] = {}
        self._reported_at = -REPORT_STANDING_S
        self._refused_pause_s = REFUSED_PAUSE_S

    @property
    def link(self) -> Link:
        if self._link is None:
            raise RuntimeError(f"{self.agent_id} has not connected")
        return self._link

    @abstractmethod
    async def run(self) -> None:
        """Its life: never returns."""

    async def open(self, stop_ms: int) -> None:
        """Connects, and declares the zones that its body stands in."""
        self._link = await self.world.links.connect(
            Introduction(
                agent_id=self.agent_id,
                kind=self.kind,
                stop_ms=stop_ms,
                standing_zones=tuple(self.world.inside(self.agent_id)),
                halt=self.halt,
                stopped=self._stopped,
                asked_aside=self.asked_aside,
            )
        )
        self.holdings.stands_in(self.world.inside(self.agent_id))
        self.tell_traffic()

    async def leave_floor(self) -> None:
        """Its body has been lifted off the floor: gives everything back and says goodbye. Best effort, bounded."""
        self._cancel_errands()
        if self._link is None or self.gone:
            return
        try:
            async with asyncio.timeout(LEAVE_S):
                self.report(force=True)
                for grant in self.holdings.grants():
                    with contextlib.suppress(Rejected, GrantLost):
                        await grant.cleared(*self.holdings.zones_of(grant))
                residue = sorted(self.holdings.residue)
                if residue and not self.link.active_stops:
                    grant = await self.link.acquire(*residue, expected_ms=self.hold_ms(residue))
                    await grant.cleared()
                await self.link.goodbye()
        except (TimeoutError, ZonelockError):
            pass  # what it leaves stays occupied in the ledger: the coordinator's word, not ours
        finally:
            await self.link.close()

    def vanish(self) -> None:
        """Its computer is dead: nothing is said to anyone any more."""
        self.gone = True
        self._cancel_errands()
        if self.life is not None:
            self.life.cancel()
        self.halt()

    @property
    def hung(self) -> bool:
        return not self._runs.is_set()

    def hang(self) -> None:
        """Its software runs no further until `recover`; its link lives."""
        self._runs.clear()

    def recover(self) -> None:
        """Whatever was wrong with its machine or its software is mended."""
        self.stalled = False
        self.late_ms = 0
        self._runs.set()
        self.wake()

    def wake(self) -> None:
        self._woken.set()

    async def pause(self, timeout_s: float) -> None:
        """Until something happens to this agent, at most `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._woken.wait()
        except TimeoutError:
            pass
        self._woken.clear()

    async def responsive(self) -> None:
        """Returns when the agent's software runs. While it hangs, nothing is asked, extended, released or reported."""
        await self._runs.wait()

    # -- asking

    async def ask(self, zones: Collection[str]) -> bool:
        """Asks for all of the zones; waits as long as it takes. False, after a pause, when refused."""
        traffic, tally = self.world.traffic, self.world.tally
        queued = False

        def on_queued(position: int, blockers: tuple[Blocker, ...]) -> None:
            nonlocal queued
            queued = True

        traffic.wants(self.agent_id, tuple(zones))
        began = self.world.now_s()
        try:
            grant = await self.link.acquire(*zones, expected_ms=self.hold_ms(zones), on_queued=on_queued)
        except GrantRejected as refusal:
            tally.was_rejected(refusal.reason)
            self.refused(refusal)
            pause_s, self._refused_pause_s = self._refused_pause_s, min(MAX_REFUSED_PAUSE_S, 2 * self._refused_pause_s)
            await asyncio.sleep(STOPPED_PAUSE_S if refusal.reason == "STOPPED" else pause_s)
            return False
        except GrantLost as late:
            tally.lost(late.reason)
            return False
        except LinkLost:
            await asyncio.sleep(REFUSED_PAUSE_S)
            return False
        finally:
            traffic.wants(self.agent_id, ())
            self.wake()
        self._refused_pause_s = REFUSED_PAUSE_S
        tally.granted((self.world.now_s() - began) * 1_000, queued=queued)
        try:
            if self.late_ms:
                await asyncio.sleep(self.late_ms / 1_000)
        finally:  # also when the ask was given up meanwhile: what was granted must be given back
            self._granted_at[grant.token] = self.world.now_s()
            self.holdings.add(grant)
            self.tell_traffic()
        return True

    def refused(self, refusal: GrantRejected) -> None:
        """An ask of this agent was rejected; it may ask otherwise."""
        self.wake()

    def asked_aside(self, zone: str) -> None:
        """The coordinator asks whether this agent would go to that zone."""
        self.wake()

    def claim(self, zones: Collection[str]) -> None:
        """Declares the rest of the agent's route; none: it has arrived, and makes way when asked."""
        self._refused_pause_s = REFUSED_PAUSE_S
        with contextlib.suppress(ZonelockError):  # undeclared it is slower, and no less safe
            self.link.claim(*zones)

    def hold_ms(self, zones: Iterable[str]) -> int:
        return min([HOLD_MS + self._stop_ms(), *(self.world.floor.zones[zone].hold_max_ms for zone in zones)])

    async def take_ground(self) -> bool:
        """At standstill: a live grant again for everything it stands in. False: not yet, try again.

        Where its own deadline passed it first says that it stands: said in time, nothing else has to stop for it.
        """
        for grant in self._overrun:
            with contextlib.suppress(ZonelockError):
                await grant.standing()
        self._overrun.clear()
        if self.link.active_stops:
            self.activity = "stopped"
            self.report()
            await self._stop_over()
        missing = sorted({*self.holdings.residue, *self.world.inside(self.agent_id)} - self.holdings.leaving)
        missing = [zone for zone in missing if self.holdings.grant_of(zone) is None]
        return not missing or (await self.ask(missing[:MAX_ASK_ZONES]) and len(missing) <= MAX_ASK_ZONES)

    async def _stop_over(self) -> None:
        """Until the stops are over, reporting meanwhile."""
        over = asyncio.ensure_future(self.link.stop_cleared())
        try:
            while not over.done():
                await asyncio.wait({over}, timeout=REPORT_STANDING_S)
                self.report()
            await over
        finally:
            over.cancel()

    # -- giving back

    def give_back(self, zones: Iterable[str]) -> None:
        """Releases zones that the body has left, or never entered. Goes on in the background."""
        by_token: dict[int, tuple[Grant, list[str]]] = {}
        for zone in sorted(zones):
            grant = self.holdings.grant_of(zone)
            if grant is not None:
                by_token.setdefault(grant.token, (grant, []))[1].append(zone)
        for grant, left in by_token.values():
            self.holdings.leave(left)
            self.send(self._return(grant, tuple(left)))

    async def _return(self, grant: Grant, zones: tuple[str, ...]) -> None:
        for _ in range(MAX_RETURN_ATTEMPTS):
            await self.responsive()
            self.report(force=True)
            try:
                await grant.cleared(*zones)
            except StillInside:
                await asyncio.sleep(RETURN_PAUSE_S)
                continue
            except LinkLost:
                break  # the agent was closed
            except (Rejected, RequestError, GrantLost) as refusal:
                self.world.tally.was_rejected(refusal.reason)
                self.holdings.stands_in(zones)
            else:
                self.holdings.gone(zones)
            break
        self.holdings.stay(zones)
        self.tell_traffic()
        self.wake()

    # -- keeping time

    def keep_time(self) -> None:
        """Extends every live grant that is past half its time, unless the machine does not do what it should."""
        self.at_limit = False
        if self.stalled:
            return
        live = self.holdings.grants()
        self._granted_at = {grant.token: self._granted_at[grant.token] for grant in live}
        for grant in live:
            held = self.holdings.zones_of(grant)
            if grant.token in self._extending or grant.lost.is_set() or set(held) <= self.holdings.leaving:
                continue
            wanted = self.hold_ms(grant.zones)
            if grant.remaining_ms() < wanted * EXTEND_BELOW_PERMILLE // 1_000:
                room = self._room_ms(grant)
                if room <= grant.remaining_ms() + HOLD_LIMIT_MARGIN_MS:
                    self.at_limit = True
                    continue
                self._extending.add(grant.token)
                self.send(self._extend(grant, min(wanted, room)))

    def _room_ms(self, grant: Grant) -> int:
        """What is left of the shortest hold_max_ms among the grant's zones, and a little less: the coordinator's time
        began before the grant arrived here, and goes on while the extension is on its way.
        """
        longest = min(self.world.floor.zones[zone].hold_max_ms for zone in grant.zones)
        elapsed_ms = (self.world.now_s() - self._granted_at[grant.token]) * 1_000
        return longest - round(elapsed_ms) - HOLD_SLACK_MS

    async def _extend(self, grant: Grant, expected_ms: int) -> None:
        try:
            self.report(force=True)
            await grant.extend(expected_ms)
        except ExtensionRejected as refusal:
            self.world.tally.was_rejected(refusal.reason)
            self.at_limit = self.at_limit or refusal.reason == "HOLD_LIMIT"
        except ZonelockError:
            pass  # given back meanwhile, or it runs to its old deadline: the loop sees it when it is lost
        finally:
            self._extending.discard(grant.token)

    async def park(self) -> None:
        """Stands here with no deadline. Its next ask converts what it stands in."""
        self.at_limit = False
        self.report(force=True)
        for grant in self.holdings.grants():
            zones = self.holdings.zones_of(grant)
            if grant.lost.is_set() or set(zones) & self.holdings.leaving:
                continue
            try:
                await grant.park()
            except ZonelockError:
                continue
            self.holdings.stands_in(zones)
        self.tell_traffic()

    # -- telling

    def report(self, *, force: bool = False, moving: bool = False) -> None:
        """Telemetry, at its own pace unless forced."""
        now = self.world.now_s()
        if not force and now - self._reported_at < (self.world.pace.report_s if moving else REPORT_STANDING_S):
            return
        self._reported_at = now
        self.link.report(inside=self.world.inside(self.agent_id), activity=self.activity, **self.position())

    def position(self) -> dict[str, int]:
        """The position part of the telemetry; empty for a machine that stands off the grid."""
        return {}

    def tell_traffic(self) -> None:
        self.world.traffic.occupies(self.agent_id, self.holdings.occupied)

    def note_losses(self) -> bool:
        """Takes note of grants that were lost. True when there were any."""
        lost = self.holdings.sweep()
        for grant in lost:
            self.world.tally.lost(str(grant.lost_reason))
        self._overrun += [grant for grant in lost if grant.lost_reason == DEADLINE]
        if lost:
            self.tell_traffic()
        return bool(lost)

    def send(self, errand: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(errand)
        self._errands.add(task)
        task.add_done_callback(self._errand_done)

    def _errand_done(self, task: asyncio.Task[None]) -> None:
        self._errands.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.world.failed(self.agent_id, error)

    def _cancel_errands(self) -> None:
        for task in tuple(self._errands):
            task.cancel()

    def _stop_ms(self) -> int:
        return 200

    @abstractmethod
    def halt(self) -> None:
        """Tells the machine to stand. Called from the SDK's dead-man thread."""

    @abstractmethod
    def stands(self) -> bool:
        """The machine has come to a stand."""

    async def _stopped(self, stop: Stop) -> None:
        """Returns when the machine stands: only then may the stop be acknowledged."""
        self.world.stop_seen(stop)
        self.halt()
        self.wake()
        while not self.stands():
            await self.pause(STAND_POLL_S)

"""`zonelock hold` from ask to end: one agent, one grant, one command in the custody of its warden.

Rules owned here: the SDK's deadline D already leaves the grace and a margin, so the command is gone before the
coordinator could call the hold overdue; a stop is acknowledged only when nothing of the command is left; what the
command's end says about the zones is told to the coordinator exactly once (given back, abandoned, or standing).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from zonelock_cli.custody import Custody, Ending, NotStarted
from zonelock_cli.dialing import credentials
from zonelock_cli.exits import ExitCode
from zonelock_cli.failures import Failure, unknown
from zonelock_cli.output import View, duration

if TYPE_CHECKING:
    from zonelock.v1 import floor_pb2
    from zonelock_client import Agent, Grant, Halt

EXPECTED_MS = 10_000
"""Asked for at first; short, so that a holder that vanishes is noticed soon, and extended while the command lives."""

KILL_MARGIN_MS = 150
"""What it takes beside the grace to end a process group on a busy machine."""

EXTEND_AT_PERMILLE = 500
"""Asks for more time when this much is left, and then at each look until it has it."""

EXTEND_GAIN_MS = 250
"""An extension that wins less than this is not worth asking for."""

LOOK_S = 0.1
ANSWER_S = 1.0
GIVE_BACK_S = 5.0
NS_PER_MS = 1_000_000
LIVE_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Order:
    """What `zonelock hold` was asked to do."""

    server: str
    wait_s: float
    zones: tuple[str, ...]
    command: tuple[str, ...]
    agent_id: str
    kind: str
    expected_ms: int | None
    extend: bool
    priority: int
    no_queue: bool
    timeout_s: float | None
    grace_ms: int
    release_on_failure: bool


@dataclass(slots=True)
class Teller:
    """Tells what happens, as lines for people or as JSON events."""

    view: View

    def tell(self, event: str, text: str, **fields: Any) -> None:
        if self.view.json:
            self.view.document({"event": event, **fields})
        else:
            from rich.markup import escape

            self.view.say(f"[dim]hold:[/dim] {escape(text)}")


@dataclass(slots=True)
class Halter:
    """Ends the command from whichever thread learns first that it must end. May be told before the command exists."""

    custody: Custody | None = None
    because: Halt | None = None

    def halt(self, because: Halt) -> None:
        """The SDK's motion stop: called on the dead-man's thread."""
        self.because = self.because or because
        if self.custody is not None:
            self.custody.order_end()

    async def stood(self, _: floor_pb2.Stop) -> None:
        """Returns when nothing of the command is left; only then is a stop acknowledged."""
        if self.custody is not None:
            await self.custody.end()


async def run(order: Order, view: View) -> int:
    """Carries the order out; the exit code. Raises Failure for what ended before the command could begin."""
    teller = Teller(view)
    kind, hold_max_ms = await asyncio.to_thread(_terms, order)
    halter = Halter()
    with _readable_errors(order), _no_suspension():
        from zonelock_client import connect

        async with connect(
            order.server,
            agent_id=order.agent_id,
            agent_kind=kind,
            stop_ms=order.grace_ms + KILL_MARGIN_MS,
            on_halt=halter.halt,
            on_stop=halter.stood,
            connect_timeout_s=order.wait_s,
            credentials=credentials(),
        ) as agent:
            return await Holding(order, teller, agent, halter, hold_max_ms).run()


def _terms(order: Order) -> tuple[str, int]:
    """The agent kind and the shortest hold_max_ms of the zones. Refuses what the floor lacks, with near misses."""
    from zonelock_cli.link import Link

    with Link(order.server, order.wait_s) as link:
        floor = link.floor()
    limits = {zone.name: zone.hold_max_ms for zone in floor.zones}
    for zone in order.zones:
        if zone not in limits:
            raise unknown("zone", zone, limits, "zonelock zones")
    kinds = sorted(kind.name for kind in floor.agent_kinds)
    if order.kind and kinds and order.kind not in kinds:
        raise unknown("agent kind", order.kind, kinds, "zonelock floor")
    return order.kind or (kinds[0] if kinds else "agv"), min(limits[zone] for zone in order.zones)


@contextlib.contextmanager
def _readable_errors(order: Order) -> Iterator[None]:
    """The SDK's errors as failures that say what to try."""
    import grpc
    from zonelock_client import ArgumentError, GrantRejected, LinkLost, RequestError, ZonelockError

    from zonelock_cli.link import refused
    from zonelock_cli.tables import refusal_remedy

    try:
        yield
    except GrantRejected as error:
        remedy = refusal_remedy(error.reason) or "Look at `zonelock zones`."
        details = {"stop_ids": ", ".join(error.stop_ids)} if error.stop_ids else {}
        raise Failure(ExitCode.REFUSED, error.message, remedy, reason=error.reason, details=details) from error
    except RequestError as error:
        raise refused(error.reason or error.code.name, error.message, error.metadata, error.code) from error
    except ArgumentError as error:
        raise Failure(ExitCode.USAGE, str(error), "Run `zonelock hold --help`.") from error
    except (LinkLost, TimeoutError) as error:
        message = f"the coordinator at {order.server} does not answer: {error}" if str(error) else "no answer in time"
        remedy = "Check the coordinator's log, and try again."
        raise Failure(ExitCode.UNAVAILABLE, message, remedy, reason=grpc.StatusCode.UNAVAILABLE.name) from error
    except ZonelockError as error:
        raise Failure(ExitCode.REFUSED, str(error), "Ask again.") from error


@contextlib.contextmanager
def _no_suspension() -> Iterator[None]:
    """Ignores Ctrl-Z: a suspended holder could not keep watch, and its zones' group would be stopped."""
    before = signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGTSTP, before)


@dataclass(slots=True)
class Holding:
    """One grant and one command, from the ask to what is told about the zones."""

    order: Order
    teller: Teller
    agent: Agent
    halter: Halter
    hold_max_ms: int
    _granted_ns: int = 0
    _told: str = ""
    _signalled: list[signal.Signals] = field(default_factory=list)

    @property
    def names(self) -> str:
        return ", ".join(self.order.zones)

    @property
    def expected_ms(self) -> int:
        return self.order.expected_ms or min(EXPECTED_MS, self.hold_max_ms)

    async def run(self) -> int:
        asking = asyncio.create_task(self._ask(), name="asking")
        with self._signals(asking):
            try:
                grant = await asking
            except asyncio.CancelledError:
                message = "interrupted before the zones were granted"
                raise Failure(ExitCode.INTERRUPTED, message, "Run it again; nothing is held.") from None
            custody = await self._begin(grant)
            keeping = asyncio.create_task(self._keep(grant, custody), name="extending")
            try:
                ending = await asyncio.shield(custody.ended)
            finally:
                keeping.cancel()
                await asyncio.gather(keeping, return_exceptions=True)
            return await self._conclude(grant, ending)

    async def _ask(self) -> Grant:
        order = self.order
        try:
            grant = await self.agent.acquire(
                *order.zones,
                expected_ms=self.expected_ms,
                priority=order.priority,
                no_wait=order.no_queue,
                timeout_s=order.timeout_s,
                on_queued=self._queued,
            )
        except TimeoutError as error:
            message = f"{self.names} was not granted within {order.timeout_s:g} s"
            remedy = f"{self._told or 'Look at `zonelock zones`'}; wait longer with --timeout-s."
            raise Failure(ExitCode.REFUSED, message, remedy, reason="WAIT_ENDED") from error
        self._granted_ns = _boottime_ns()
        left = grant.remaining_ms()
        self.teller.tell(
            "granted",
            f"granted {self.names} for {duration(left)}, token {grant.token}",
            zones=list(grant.zones),
            token=grant.token,
            remaining_ms=left,
        )
        return grant

    def _queued(self, position: int, blockers: tuple[floor_pb2.Blocker, ...]) -> None:
        from zonelock_cli.picture import plain

        behind = [plain(b) for b in blockers]
        names = "; ".join(
            f"{b['zone']} {b['kind']}" + (f" by {b['agent_id']}" if b["agent_id"] else "") for b in behind
        )
        if names != self._told:
            self._told = names
            text = f"waiting for {self.names}, place {position}: {names or 'its turn'}"
            self.teller.tell("waiting", text, zones=list(self.order.zones), position=position, blockers=behind)

    async def _begin(self, grant: Grant) -> Custody:
        until_ns = _boottime_ns() + grant.remaining_ms() * NS_PER_MS
        try:
            custody = await Custody.begin(self.order.command, grace_ms=self.order.grace_ms, until_ns=until_ns)
        except NotStarted as error:
            await self._give_back(grant, entered=False)
            code = ExitCode.NO_COMMAND if error.errno == errno.ENOENT else ExitCode.NOT_RUNNABLE
            message = f"{self.order.command[0]!r} could not be started: {error}"
            raise Failure(
                code, message, "Check the command; the zones were given back, nothing had entered."
            ) from error
        self.halter.custody = custody
        for number in self._signalled:
            custody.forward(number)
        if self.halter.because is not None or not grant.may_move():
            # Lost between the grant and the start.
            custody.order_end()
        self.teller.tell("started", f"started process group {custody.pid}", pid=custody.pid)
        return custody

    async def _keep(self, grant: Grant, custody: Custody) -> None:
        """Reports that the command lives and, while the zones' hold_max_ms allows, asks for more time."""
        granted_ms = max(1, grant.remaining_ms())
        may_extend, warned = self.order.extend, False
        while not grant.lost:
            await asyncio.sleep(LOOK_S)
            left = grant.remaining_ms()
            if left * 1_000 > granted_ms * EXTEND_AT_PERMILLE:
                continue
            used_ms = (_boottime_ns() - self._granted_ns) // NS_PER_MS
            wish = min(self.expected_ms, self.hold_max_ms - used_ms - EXTEND_GAIN_MS)
            if may_extend and wish - self.agent.stop_ms > left + EXTEND_GAIN_MS:
                may_extend = await self._extend(grant, custody, wish)
            elif not warned and left * 1_000 <= granted_ms * (1_000 - EXTEND_AT_PERMILLE) // 2:
                warned = True
                text = f"{duration(left)} left and no more to be had; the command is ended then"
                self.teller.tell("warned", text, remaining_ms=left)

    async def _extend(self, grant: Grant, custody: Custody, wish_ms: int) -> bool:
        """Asks once; False when the answer was a no that will stay one."""
        from zonelock_client import ExtensionRejected, ZonelockError

        self.agent.report(activity=f"running {self.order.command[0]}")
        try:
            async with asyncio.timeout(ANSWER_S):
                left = await grant.extend(wish_ms)
        except ExtensionRejected as error:
            return error.reason == "STALE_TELEMETRY"
        except (ZonelockError, TimeoutError):
            return not grant.lost
        custody.allow_until(_boottime_ns() + left * NS_PER_MS)
        self.teller.tell("extended", f"extended: {duration(left)} left", remaining_ms=left)
        return True

    async def _conclude(self, grant: Grant, ending: Ending) -> int:
        """Tells the coordinator what the command's end means for the zones, and the caller how it went."""
        if ending.cause in ("end", "deadline", "closed") or grant.lost:
            return await self._lost(grant, ending)
        if ending.returncode == 0 or self.order.release_on_failure:
            failure = await self._give_back(grant, entered=True)
            outcome, code = ("released", ending.exit_code) if failure is None else ("occupied", int(failure))
        else:
            told = await self._quietly(grant.abandon(), self._patience_s(grant))
            outcome, code = "abandoned" if told else "occupied", ending.exit_code
        how = f"the command ended with {ending.exit_code}"
        if outcome == "released":
            text = f"{how}; gave {self.names} back"
        else:
            text = f"{how}; {self.names} stays occupied until it is cleared: {self._clearance()}"
        self._told_end(text, ending, outcome, code)
        if outcome == "released":
            await self._quietly(self.agent.goodbye())
        return code

    async def _lost(self, grant: Grant, ending: Ending) -> int:
        because = self.halter.because
        reason = grant.lost_reason or (because.reason if because is not None else "deadline")
        message = grant.held.lost_message or (because.message if because is not None else "its time is over")
        self.teller.tell("lost", f"GRANT LOST, {reason}: {message}", reason=reason, message=message)
        if reason not in ("stopped", "expired"):
            # The command is gone, so whatever it moved was told to stand; said in time, nothing else has to stop.
            await self._quietly(grant.standing())
        text = f"ended the command; {self.names} stays occupied. When the area is clear: {self._clearance()}"
        self._told_end(text, ending, "occupied", int(ExitCode.GRANT_LOST))
        return int(ExitCode.GRANT_LOST)

    async def _give_back(self, grant: Grant, *, entered: bool) -> ExitCode | None:
        """Releases, for as long as the coordinator may take to come back; None when it has acknowledged that."""
        from zonelock_client import GrantLost, ZonelockError

        try:
            async with asyncio.timeout(self._patience_s(grant)):
                await grant.cleared()
        except GrantLost:
            return ExitCode.GRANT_LOST if entered else None
        except (ZonelockError, TimeoutError):
            return ExitCode.UNAVAILABLE
        return None

    @staticmethod
    def _patience_s(grant: Grant) -> float:
        """Until the grant's own end: what is said by then stops nobody."""
        return max(GIVE_BACK_S, grant.remaining_ms() / 1_000)

    def _clearance(self) -> str:
        return f"zonelock clear {' '.join(self.order.zones)} --agent {self.agent.agent_id} --reason TEXT"

    def _told_end(self, text: str, ending: Ending, outcome: str, code: int) -> None:
        self.teller.tell(
            "ended",
            text,
            returncode=ending.returncode,
            cause=ending.cause,
            zones=list(self.order.zones),
            outcome=outcome,
            exit=code,
        )

    async def _quietly(self, saying: Any, within_s: float = ANSWER_S) -> bool:
        """Says something that changes little for the caller; silence of the coordinator is no reason to hang. Whether
        it was heard.
        """
        from zonelock_client import ZonelockError

        try:
            async with asyncio.timeout(within_s):
                await saying
        except (ZonelockError, TimeoutError):
            return False
        return True

    @contextlib.contextmanager
    def _signals(self, asking: asyncio.Task[Grant]) -> Iterator[None]:
        """A signal ends the wait for the zones; once they are granted it is the command's, and how that ends its own
        business.
        """

        def take(number: signal.Signals) -> None:
            if not asking.done():
                asking.cancel()
            elif self.halter.custody is not None:
                self.halter.custody.forward(number)
            else:
                self._signalled.append(number)

        loop = asyncio.get_running_loop()
        for number in LIVE_SIGNALS:
            loop.add_signal_handler(number, take, number)
        try:
            yield
        finally:
            for number in LIVE_SIGNALS:
                loop.remove_signal_handler(number)


def _boottime_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

"""The coordinator's runtime: one core, one clock, one store, and the order in which their effects leave.

Owns I4. Events are handled as they come; their writes wait for a commit, their sends wait behind it, their stops do
not wait. One commit is in flight at a time and takes with it everything decided since the last one (group commit, no
artificial delay, split between steps at the store's limit). When a commit's outcome is unknown the runtime rewrites
the leader fence, *then* reloads, puts back the stops that had left, and lets the agents come back; when leadership is
lost it forgets everything and stands by.

Without a store that commits, nothing is granted, extended, released or reset; what is held stays held; stops still
leave.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from coordinator.audit_archive import AuditArchive
from coordinator.batches import Backlog, Batch
from coordinator.core import effects as fx
from coordinator.core import events as ev
from coordinator.core.invariants import check
from coordinator.core.machine import FloorChanged, InvariantViolation, Machine
from coordinator.core.model import COUNTER_KEY, CounterRecord, FloorSpec, Mark, StopRecord, Timing
from coordinator.core.rejections import Refusal
from coordinator.high_water import HighWater
from coordinator.hooks import Hooks
from coordinator.outlets import Outlet, Outlets
from coordinator.pending_stops import PendingStops
from coordinator.safeguards import Safeguards
from coordinator.standby import NotLeading, Standby, StoreDown
from coordinator.stop_output import StopOutput
from coordinator.store import codec
from coordinator.store.port import (
    MAX_OPERATIONS,
    CommitTooLarge,
    CommitUncertain,
    Fenced,
    LeaderSeen,
    Loaded,
    RecordConflict,
    Store,
    StoreUnavailable,
)

log = logging.getLogger("zonelock.runtime")

GATHER_MS = 5
"""How long a commit waits at most for the rest of what streams have begun to say."""

HALF_AT_LEAST = 64
"""A commit costs the store as much as some thirty operations, so smaller halves are not worth one of their own."""

TICK_MS = 100
"""A fenced commit at least this often: it proves leadership, renews the lease and gates heartbeat acknowledgements."""

MIN_TIMER_MS = 2
"""A deadline that cannot be acted on yet (its extension is being committed) is looked at again after this."""

_SET_NO_DEADLINE = frozenset({ev.Asked, ev.Released})
"""The events that come most often: what is granted has a deadline from its commit on, what is given back none."""

HAND_OVER_S = 0.1
"""How long the successor that was named may take for the leader key, before it is deleted for anybody."""
RETRY_S, COMPLAIN_EVERY = 0.1, 10
"""Pause between attempts on a store that does not commit, and which of them are logged."""


def boottime_ms() -> int:
    """CLOCK_BOOTTIME in milliseconds: goes on through a suspended machine, never steps."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def utc_now() -> str:
    """ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Halted(Exception):
    """The ledger was changed by something that is not a coordinator; deciding on would be guessing."""


class Runtime:
    """Drives one `Machine`. Single-threaded: everything runs on one event loop."""

    def __init__(
        self,
        floor: FloorSpec,
        store: Store,
        timing: Timing,
        *,
        assume_empty: bool = False,
        check_invariants: bool = False,
        pending: PendingStops | None = None,
        marks: HighWater | None = None,
        audit_file: Path | None = None,
        outputs: Sequence[StopOutput] = (),
        hooks: Hooks | None = None,
        now_ms: Callable[[], int] = boottime_ms,
        wall_time: Callable[[], str] = utc_now,
    ) -> None:
        """`now_ms` is monotonic; `wall_time` is for the audit's readers and part of no decision. Without `pending`,
        stops that are not yet durable live only as long as this process; so does, without `marks`, how far the ledger
        was seen.
        """
        self.now_ms, self._wall_time = now_ms, wall_time
        self._floor, self._store, self._timing = floor, store, timing
        self._assume_empty, self._check_invariants = assume_empty, check_invariants
        self._machine: Machine | None = None
        self.epoch = 0
        self.leading = False
        self.commits = 0
        self._outlets = Outlets()
        self._backlog = Backlog()
        self._committing = False
        self._wake = asyncio.Event()
        self.operations_said: Callable[[], int] = lambda: 0
        """How many operations wait for their turn to be decided, which the next commit can still take with it."""
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ms = 0
        self._last_commit_ms = 0
        self._doubted_ms: int | None = None
        self._hooks = hooks or Hooks()
        self.safeguards = Safeguards(pending, outputs, now_ms, marks)
        self._archive = AuditArchive(audit_file, self.safeguards.alarm)
        self.standby = Standby(floor, store, self.safeguards, now_ms)
        self._leaving = False
        self._left = asyncio.Event()
        self._broken: Exception | None = None
        self._trouble = ""
        self.on_leading: list[Callable[[bool], None]] = []

    # -- what the RPC layer uses ---------------------------------------------------------------------------------

    @property
    def machine(self) -> Machine:
        """The core, to be read only. Raises NotLeading on a standby."""
        if self._machine is None:
            raise self.standby.refusal(f"this coordinator stands by for {self._store.name}; it has no ledger loaded")
        return self._machine

    @property
    def stands_by(self) -> bool:
        """It has no ledger to decide on. A leader whose store does not commit keeps its own."""
        return self._machine is None

    @property
    def ready(self) -> bool:
        """It does what its role asks for: leads and commits, or stands by behind a leader that lives."""
        return self.leading or (self._machine is None and self.standby.follows)

    @property
    def not_ready_because(self) -> str:
        """For people; empty when `ready`."""
        if self.ready or self._machine is None:
            return "" if self.ready else self.standby.not_following_because
        return f"{self._store.name} does not commit: {self._why_not_committing()}"

    def _why_not_committing(self) -> str:
        return self._store.trouble or self._trouble or "no commit has succeeded yet"

    async def turn(self) -> None:
        """Waits for this coordinator to lead while that is to be expected, for a bounded time."""
        if not self._leaving:
            await self.standby.turn(lambda: self.leading or self._leaving)

    def attach(self, outlet: Outlet) -> int:
        return self._outlets.attach(outlet)

    def detach(self, conn: int) -> None:
        if self._outlets.detach(conn) and self._machine is not None:
            self._handle(ev.ConnClosed(now_ms=self.now_ms(), conn=conn))

    def heard(self, conn: int, frame: int, *, spoke: bool = False) -> None:
        """A frame was handled. `spoke`: operations of it were submitted, which say by themselves that it came."""
        if self._machine is not None and conn in self._outlets:
            self._backlog.hear(conn, frame)
            if not spoke:
                self._handle(ev.Heard(now_ms=self.now_ms(), conn=conn))

    def submit(self, event: ev.Event) -> None:
        """Handles one event now; answers come through outlets. Raises NotLeading."""
        if self._machine is None and isinstance(event, ev.StopAsked):
            outlet = self._outlets.get(event.conn)
            refusal, message = self.standby.stop(event)
            if outlet is not None:
                outlet.fail(refusal, message)
            return
        if self._machine is None:
            raise self.standby.refusal(f"this coordinator stands by for {self._store.name}")
        if not self.leading and not isinstance(event, ev.StopAsked):
            why = self._why_not_committing()
            raise StoreDown(f"{self._store.name} does not commit at the moment; only stops are taken ({why})")
        if isinstance(event, ev.Hello) and self._may_be_outdated(event):
            raise NotLeading(
                f"{event.agent_id} saw a newer ledger; proving first that {self._store.name} is still led from here"
            )
        self._handle(event)

    def _may_be_outdated(self, event: ev.Hello) -> bool:
        """The agent saw the ledger farther on than this one is: either it was restored, or this process stood still
        while another one led. Only a commit that began after the doubt tells the one from the other; a floor must not
        stop for the other.
        """
        if not self.machine.behind(event.seen):
            return False
        if self._doubted_ms is None:
            self._doubted_ms = self.now_ms()
            self._wake.set()
        return self._last_commit_ms <= self._doubted_ms

    def tick_age_ms(self) -> int | None:
        """Since the last commit that proved the lead began; None without a ledger."""
        return None if self._machine is None else self.now_ms() - self._last_commit_ms

    def known_stops(self) -> list[StopRecord]:
        """Active stops as far as this coordinator knows, leading or not."""
        return self._machine.stops.active() if self._machine is not None else self.standby.known_stops()

    @property
    def on_stop(self) -> list[Callable[[StopRecord], None]]:
        """Called with every stop that is tripped here, known after a take-over, or reset (`active` False)."""
        return self.safeguards.on_stop

    def zones_in(self, stop: StopRecord) -> list[str]:
        """Every zone in the stop's scope."""
        return self.standby.zones_in(stop)

    async def record_stops(self, stops: Sequence[StopRecord], timeout_s: float) -> list[StopRecord]:
        """Puts stops that left at a standby into the ledger; returns what it has of them once they are durable.

        Raises NotLeading on a standby, and when no commit follows in time.
        """
        wall, now_ms = self._wall_time(), self.now_ms()
        machine = self.machine
        for stop in stops:
            self._handle(ev.StopRecovered(now_ms=now_ms, stop=stop, recorded_at=wall))
        told, give_up_ms = {stop.stop_id for stop in stops}, now_ms + int(timeout_s * 1000)
        while any(stop.stop_id in told for stop in self.safeguards.stops_in_flight()):
            if self._machine is not machine or self.now_ms() >= give_up_ms:
                raise self.standby.refusal("the stops left here too, but they are not known to be durable")
            await asyncio.sleep(MIN_TIMER_MS / 1000)
        known = [machine.stops.get(stop.stop_id) for stop in stops]
        return [stop for stop in known if stop is not None]

    # -- handling ------------------------------------------------------------------------------------------------

    def _handle(self, event: ev.Event) -> None:
        machine = self._machine
        if machine is None or self._broken is not None:
            return
        if self.safeguards.refuses(event):
            self._refuse_quarantined(event)
            return
        began_s = time.perf_counter()
        try:
            step = self._decide(machine, event)
            decided_s = time.perf_counter() - began_s
            if self._check_invariants:
                violations = check(machine)
                if violations:
                    raise InvariantViolation("; ".join(violations))
        except Exception as error:
            self._quarantine(event, error)
            return
        if step.stops:
            self._outlets.let_go(step.stops)
        self._hooks.handled(event, step, decided_s, time.perf_counter() - began_s if step.stops else 0.0)
        self.safeguards.note(event, step)
        if step.sends and self._may_leave_at_once(step):
            self._deliver(step.sends)
        elif step.writes or step.sends:
            self._backlog.add(step)
            self._wake.set()
        if machine.winding_down:
            # Behind the writers of every stream, which `let_go` has woken.
            asyncio.get_running_loop().call_soon(self._wind_down)
        if type(event) not in _SET_NO_DEADLINE:
            self._set_timer()

    def _decide(self, machine: Machine, event: ev.Event) -> fx.Step:
        """What the core makes of it. For the simulator, which must see it before anything leaves: a compiled `Machine`
        has no subclasses.
        """
        return machine.handle(event, stops_first=True)

    def _wind_down(self) -> None:
        """The stops have left; unless another event has seen to it, what they end ends now."""
        if self._machine is not None and self._machine.winding_down:
            self._handle(ev.WindDown(now_ms=self.now_ms()))

    def _may_leave_at_once(self, step: fx.Step) -> bool:
        """That somebody waits promises nothing, so while nothing awaits a commit it needs none: a holder that leaves in
        this moment has the next commit to itself. Whatever is decided meanwhile keeps its order behind the commit.
        """
        if step.writes or self._backlog or self._committing:
            return False
        return all(isinstance(send.answer, fx.Queued) for send in step.sends)

    def _quarantine(self, event: ev.Event, error: Exception) -> None:
        """An event made the core raise: its effects are dropped with the whole in-memory state, which is reloaded."""
        self.safeguards.quarantine(event, error)
        conn = getattr(event, "conn", None)
        outlet = self._outlets.get(conn) if conn is not None else None
        if outlet is not None:
            what = type(event).__name__
            outlet.fail(Refusal.INTERNAL, f"the coordinator could not handle {what}; it was not applied")
        self._broken = error
        self._wake.set()

    def _refuse_quarantined(self, event: ev.Event) -> None:
        conn = int(getattr(event, "conn", 0))
        outlet = self._outlets.get(conn)
        if outlet is None:
            return
        who, what = str(getattr(event, "agent_id", "")), type(event).__name__
        answer = fx.Failed(Refusal.INTERNAL, f"{what} is refused for a while: it made the coordinator fail")
        outlet.deliver([fx.Send(conn, who, str(getattr(event, "request_id", "")), answer)], stop=False)

    def _deliver(self, answers: Sequence[fx.Send]) -> None:
        self._hooks.released(answers)
        self._outlets.deliver(answers, self.safeguards.high_water)

    def _set_timer(self) -> None:
        """A tick no later than the earliest deadline, besides the periodic one. One that is set for an earlier time
        stays: it comes to nothing and sets the next, which costs less than moving it with every release.
        """
        deadline = self._machine.next_deadline_ms() if self._machine is not None else None
        if deadline is None or (self._timer is not None and self._timer_ms <= deadline):
            return
        now_ms = self.now_ms()
        due_ms = max(deadline, now_ms + MIN_TIMER_MS)
        if self._timer is not None:
            if self._timer_ms <= due_ms:
                return  # pushed on with every event, an overdue one would never come in a busy moment
            self._timer.cancel()
        self._timer_ms = due_ms
        self._timer = asyncio.get_running_loop().call_later((self._timer_ms - now_ms) / 1000, self._tick)

    def _tick(self) -> None:
        if self._timer is not None:
            self._timer.cancel()  # the periodic tick came first; left behind, it would go on arming others
            self._timer = None
        if self._machine is None:
            return
        now_ms = self.now_ms()
        lease_ms = self._store.lease_ms
        fresh = self.leading and (lease_ms == 0 or now_ms - self._last_commit_ms < lease_ms // 2)
        if not fresh and (self._machine.next_deadline_ms() or now_ms + 1) <= now_ms:
            self._wake.set()  # the commit loop proves the fence and ticks again
            return
        self._handle(ev.Ticked(now_ms=now_ms, fence_fresh=fresh, recorded_at=self._wall_time()))

    # -- leading -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Leads whenever it can, for ever. Raises Halted, FloorChanged, codec errors and store misconfiguration."""
        await self.safeguards.open()
        try:
            while not self._leaving:
                self.epoch = await self._store.lead()
                self._hooks.took_over()
                self.standby.arriving = True
                try:
                    await self._load()
                    await self._lead()
                    # The streams first: agents and standbys then wait for the next leader while the key goes.
                    self._forget("this coordinator is shutting down")
                    if self.standby.successor is not None:
                        await asyncio.sleep(HAND_OVER_S)  # taking the key from here is quicker than awaiting its end
                    await self._store.resign()
                except Fenced as lost:
                    log.warning("the lead is lost: %s", lost)
                    self._forget("another coordinator leads now")
                except RecordConflict as conflict:
                    raise Halted(
                        f"{self._store.name}: a record changed under this coordinator's own fence ({conflict}); "
                        "halted. Find the foreign writer, then restart"
                    ) from conflict
        finally:
            self._forget("this coordinator is shutting down")
            self._left.set()
            await self.safeguards.close()

    async def resign(self, timeout_s: float) -> None:
        """Gives the lead up in good order: one last commit of what was decided, then the streams, then the leader key.

        What arrives meanwhile is neither answered nor committed, except stops, which leave as always. `run` ends.
        """
        self._leaving = True
        if self._machine is not None:  # before the last commit: the one named then expects the agents sent there
            self.standby.name_successor(self.standby.choose_successor())
        self._wake.set()
        self.standby.changed()
        if self._machine is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._left.wait(), timeout_s)

    async def _load(self) -> None:
        loaded = await self._load_patiently()
        self.epoch = loaded.epoch
        ledger = codec.decode_ledger(loaded)
        self._archive.loaded(loaded.records)
        self._outlets.fail_all(
            Refusal.COMMIT_UNCERTAIN, "a commit's outcome was not known; the coordinator has reloaded its ledger"
        )
        now_ms = self.now_ms()
        self._backlog.clear()
        self._outlets.forget_owed()
        leaving = self.safeguards.take_leaving()
        self._broken = None
        self._machine = Machine(self._floor, ledger, self._timing, now_ms)
        self._last_commit_ms = now_ms
        self._doubted_ms = None
        self._hooks.loaded(ledger)
        wall = self._wall_time()
        seen = self.safeguards.high_water  # judged behind the fence that the load has just proved
        started = ev.Started(now_ms=now_ms, assume_empty=self._assume_empty, seen=seen, recorded_at=wall)
        self._handle(started)
        self._store.newest_token = ledger.counter.token if ledger.counter is not None else 0
        self.safeguards.saw(Mark(loaded.epoch, loaded.revision, self._store.newest_token))
        if leaving:
            self._handle(ev.ReleasesRecalled(now_ms=now_ms, tokens=leaving))
        self.safeguards.took_over(ledger.stops)
        in_flight = self.standby.known_stops()
        self.safeguards.recorded(stop.stop_id for stop in ledger.stops)
        for stop in in_flight:
            self._handle(ev.StopRecovered(now_ms=now_ms, stop=stop, recorded_at=wall))
        self._set_leading(True)  # the fence was written a moment ago; what is answered waits for a commit in any case

    async def _load_patiently(self) -> Loaded:
        while True:
            try:
                return await self._store.load()
            except (StoreUnavailable, CommitUncertain) as error:
                log.warning("cannot load the ledger yet: %s", error)
                await asyncio.sleep(RETRY_S)

    async def _lead(self) -> None:
        """Commits what the core decides until leadership is lost, or is to be given up."""
        self._wake.set()
        ticker = asyncio.create_task(self._tick_periodically())
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(TICK_MS / 1000):
                        await self._wake.wait()
                try:
                    await self._commit_all()
                except (CommitUncertain, CommitTooLarge, InvariantViolation) as error:
                    await self._start_over(error)
                if self._leaving:
                    return
        finally:
            ticker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await ticker

    async def _tick_periodically(self) -> None:
        while True:
            await asyncio.sleep(TICK_MS / 1000)
            self._tick()

    async def _commit_all(self) -> None:
        """One commit (an empty one is the fence's tick), then more while steps are waiting."""
        while True:
            await self._gather()
            batch = self._take_batch()
            self._committing = True
            try:
                for writes in batch.transactions():
                    await self._commit(writes)
            finally:
                self._committing = False
            self._release(batch)
            if not self._backlog or self._leaving:
                return

    async def _gather(self) -> None:
        """Waits, shortly, for what streams have begun to say: a frame is cut in several turns of the loop, and its
        operations had better be in one commit than in as many. Of many, half goes ahead: the other half is decided
        while the store commits the first, and agents whose answers come in two waves ask in two, so that neither the
        store nor this process waits for the other.
        """
        until_ms = self.now_ms() + GATHER_MS
        while (said := self.operations_said()) and self.now_ms() < until_ms:
            if len(self._backlog) >= max(HALF_AT_LEAST, min(said, MAX_OPERATIONS)):
                return
            await asyncio.sleep(0)

    def _take_batch(self) -> Batch:
        """Raises InvariantViolation when the core raised: what it decided with it must not be committed."""
        self._wake.clear()  # by what this commit takes with it; left set, it would call for an empty one afterwards
        if self._broken is not None:
            raise InvariantViolation("the core raised") from self._broken
        return self._backlog.take()

    async def _commit(self, writes: dict[str, fx.Write]) -> None:
        encoded = {key: codec.encode(w.record) if w.record is not None else None for key, w in writes.items()}
        encoded = await self._archive.before(encoded)
        began_s = time.perf_counter()
        began_ms, revision = await self._commit_patiently(encoded)
        self._last_commit_ms = began_ms
        self.commits += 1
        self._archive.committed(encoded)
        self._hooks.committed(len(encoded), time.perf_counter() - began_s)
        self._hooks.wrote(writes, self.epoch, revision)
        for write in writes.values():
            if type(write.record) is StopRecord:
                self.safeguards.durable(write.record)
        counter = writes.get(COUNTER_KEY)
        if counter is not None and isinstance(counter.record, CounterRecord):
            self._store.newest_token = counter.record.token
        self.safeguards.saw(Mark(self.epoch, revision, self._store.newest_token))
        self._set_leading(True)

    async def _commit_patiently(self, encoded: dict[str, bytes | None]) -> tuple[int, int]:
        """When the commit that succeeded was sent (what it proves, it proves of that moment), and its revision."""
        failures = count()
        while True:
            began_ms = self.now_ms()
            try:
                return began_ms, await self._store.commit(encoded)
            except StoreUnavailable as error:  # provably not applied: the same commit again, deciding nothing meanwhile
                self._trouble = str(error)
                self._set_leading(False)
                if next(failures) % COMPLAIN_EVERY == 0:
                    log.warning("%s does not commit: %s", self._store.name, error)
                await asyncio.sleep(RETRY_S)

    def _release(self, batch: Batch) -> None:
        """The batch is durable: deadlines count from now, then its answers leave, each as true as it is at this
        moment.
        """
        machine = self.machine
        if batch.steps:
            upto = batch.steps[-1].seq
            self.safeguards.committed(upto)
            self._handle(ev.Committed(now_ms=self.now_ms(), upto=upto))
        current = [now for step in batch.steps for send in step.sends if (now := machine.as_of_now(send)) is not None]
        self._outlets.owe(batch.heard)
        self._deliver(current)
        self._outlets.acknowledge(self.safeguards.high_water, self.now_ms(), more_to_come=bool(self._backlog))

    async def _start_over(self, error: Exception) -> None:
        """Rewrites the fence so that no delayed transaction can still apply, then reloads. Stops leave meanwhile."""
        log.warning("starting over from %s: %s", self._store.name, error)
        self._set_leading(False)
        self._outlets.fail_all(
            Refusal.COMMIT_UNCERTAIN,
            "the last commit's outcome is not known; the coordinator rewrites its fence and reloads its ledger",
        )
        self._backlog.clear()
        while True:
            try:
                self.epoch = await self._store.refence()
                break
            except (StoreUnavailable, CommitUncertain) as again:
                log.warning("cannot rewrite the fence yet: %s", again)
                await asyncio.sleep(RETRY_S)
        await self._load()

    def _set_leading(self, leading: bool) -> None:
        if self.leading == leading:
            return
        self.leading = leading
        self.standby.arriving = False
        log.info("%s", f"leading, epoch {self.epoch}" if leading else "not committing")
        for notice in self.on_leading:
            notice(leading)
        self.standby.changed()

    def _forget(self, message: str) -> None:
        self._machine = None
        self.standby.arriving = False
        self._set_leading(False)
        named = self.standby.successor
        self._outlets.fail_all(Refusal.NOT_LEADER, message, () if named is None else (("leader", named.address),))
        self.standby.changed()
        self._backlog.clear()
        self._outlets.forget_owed()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


__all__ = ["FloorChanged", "Halted", "LeaderSeen", "NotLeading", "Outlet", "Runtime", "Standby", "StoreDown"]

"""What the machine is made of, and the few ways in which its parts change it.

The machine is built in layers, each a class on the one below: `state` (this one: the tables, the pending effects),
`asking` (asks, the queue, grants), `holding` (releases, extensions, ends), `stopping` (what a stop does), `presence`
(sessions and take-over), `safety` (operators and deadlines), and `machine` (the one door). A layer calls only itself
and those below.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from coordinator.core import effects as fx
from coordinator.core import events as ev
from coordinator.core.claims import Queue, Waiter
from coordinator.core.estop import Stops
from coordinator.core.grants import GrantPhase, Grants
from coordinator.core.model import (
    AuditRecord,
    ClosureRecord,
    CounterRecord,
    FloorSpec,
    Ledger,
    Record,
    Timing,
    UnitRecord,
    UnitState,
)
from coordinator.core.rejections import Refusal
from coordinator.core.sessions import Conn, Session
from coordinator.core.zones import Move, UnitId, Units

RECENT_EVENTS = 64


@dataclass(slots=True)
class Changes:
    """What views changed since the last look."""

    zones: set[str] = field(default_factory=set)
    agents: set[str] = field(default_factory=set)
    stops: set[str] = field(default_factory=set)
    waits: bool = False


@dataclass(slots=True)
class Totals:
    grants: int = 0
    releases: int = 0
    stops: int = 0


class Refused(Exception):
    """Inside the core only: ends a handler before it changed anything; becomes a Failed answer."""

    def __init__(self, refusal: Refusal, message: str, **metadata: object) -> None:
        super().__init__(message)
        self.answer = fx.Failed(refusal, message, tuple((k, str(v)) for k, v in metadata.items()))


class State:
    """Every table of the core and the effects of the event in hand."""

    def __init__(self, floor: FloorSpec, ledger: Ledger, timing: Timing, now_ms: int) -> None:
        self.floor, self.timing = floor, timing
        self.areas = dict(floor.areas)
        self.counter = ledger.counter or CounterRecord(incarnation=1, counter=0)
        self.epoch, self.loaded_revision = ledger.epoch, ledger.revision
        self.units = Units(floor, self.counter, ledger.units)
        self.stops = Stops(floor, ledger.stops)
        self.closures: dict[str, ClosureRecord] = {c.zone: c for c in ledger.closures if c.zone in self.units}
        self.audit: deque[AuditRecord] = deque(sorted(ledger.audit, key=lambda a: a.seq))
        self.grants = Grants()
        self.queue = Queue(self.units)
        self.sessions: dict[str, Session] = {}
        self.conns: dict[int, Conn] = {}
        self.totals = Totals()
        self.now_ms = self.took_over_ms = now_ms
        self._taken_at_ms: dict[UnitId, int] = {}
        self._tripped_at_ms: dict[str, int] = {}
        self._may_move_until_ms: dict[int, int] = {}
        self.seq = 0
        self.recent: deque[tuple[int, ev.Event]] = deque(maxlen=RECENT_EVENTS)
        self._changes = Changes()
        self._dirty: set[str] = set()
        self._kept_waiting: dict[tuple[int, int], Waiter] = {}
        self._writes: list[fx.Write] = []
        self._sends: list[fx.Send] = []
        self._stop_sends: list[fx.Send] = []
        self._alarms: list[str] = []

    def _send(self, conn: int, agent_id: str, request_id: str, answer: fx.Answer) -> None:
        self._sends.append(fx.Send(conn, agent_id, request_id, answer))

    def _answer(self, event: ev.AgentEvent, answer: fx.Answer) -> None:
        self._send(event.conn, event.agent_id, event.request_id, answer)

    def _tell(self, agent_id: str, answer: fx.Answer, request_id: str = "") -> None:
        """Sends on the agent's stream, if it has one."""
        session = self.sessions.get(agent_id)
        if session is not None and session.stream is not None:
            self._send(session.stream, agent_id, request_id, answer)

    def _write(self, record: Record) -> None:
        self._writes.append(fx.Write(record.key, record))

    def _move(self, before: UnitRecord, move: Move, after: UnitRecord) -> None:
        self.units.move(before, move, after)
        self._write(after)
        changes = self._changes
        changes.zones.add(after.zone)
        if after.agent_id:
            changes.agents.add(after.agent_id)
        if before.agent_id and before.agent_id != after.agent_id:
            changes.agents.add(before.agent_id)
        if after.state is not before.state:
            self._taken_at_ms[after.zone, after.slot] = self.now_ms
        if after.state is not UnitState.HELD:
            self._dirty.add(after.zone)
        self._recheck_kept_waiting()  # who now stands in a reserver's way is no longer bound by it

    def _recheck_kept_waiting(self) -> None:
        for waiter in self._kept_waiting.values():
            self._dirty.update(waiter.zones)

    def taken_for_ms(self, unit: UnitRecord, now_ms: int) -> int:
        """For how long the unit has been in its state, as far as this coordinator knows (since its take-over)."""
        grant = self.grants.get(unit.token) if unit.state is UnitState.HELD else None
        if grant is not None:
            return now_ms - grant.granted_at_ms if grant.phase is GrantPhase.LIVE else 0
        return now_ms - self._taken_at_ms.get((unit.zone, unit.slot), self.took_over_ms)

    def is_streaming(self, unit: UnitRecord) -> bool:
        """Whether the session that has the unit is connected by a stream."""
        session = self.sessions.get(unit.agent_id)
        return session is not None and session.session == unit.session and session.stream is not None

    def stopped_for_ms(self, stop_id: str, now_ms: int) -> int:
        """For how long the stop has been active, likewise."""
        return now_ms - self._tripped_at_ms.get(stop_id, self.took_over_ms)

    def _next_token(self) -> int:
        last = self.counter
        self.counter = counter = CounterRecord(last.incarnation, last.counter + 1, last.confirmed)
        self._write(counter)
        return counter.token

    def _audit(self, action: str, actor: str, reason: str, subjects: Iterable[str], recorded_at: str) -> None:
        seq = self.audit[-1].seq + 1 if self.audit else 1
        record = AuditRecord(seq, action, actor, reason, tuple(subjects), recorded_at)
        self.audit.append(record)
        self._write(record)
        while len(self.audit) > self.timing.audit_max:
            self._writes.append(fx.Write(self.audit.popleft().key, None))

    def _speaker(self, event: ev.AgentEvent) -> Session:
        session = self.sessions.get(event.agent_id)
        if session is None or not session.speaks_on(event.conn):
            raise Refused(
                Refusal.UNKNOWN_AGENT,
                f"agent_id {event.agent_id!r} has not said hello on this stream",
                agent=event.agent_id,
            )
        return session

    def _check_zone(self, zone: str) -> None:
        if zone not in self.units.spec:
            raise Refused(Refusal.UNKNOWN_ZONE, f"zone {zone!r} is not on floor {self.floor.site!r}", zone=zone)

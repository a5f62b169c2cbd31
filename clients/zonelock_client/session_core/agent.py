"""One agent's half of the session: what it asked, what it holds, what it owes, which stops it is latched by.

Rules: nothing leaves before the coordinator has welcomed the agent on the current stream; telemetry leaves before
whatever else the agent says in the same frame; every open ask and every grant keeps a place for the operation that
will end it, so that an overflow is an error to who asks and never to who gives back. What answers mean is in
`answers`. Imports no I/O.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict, deque
from dataclasses import dataclass, field

from zonelock.v1 import floor_pb2
from zonelock.v1 import zone_service_pb2 as pb

from zonelock_client.errors import OutboxFull
from zonelock_client.session_core import proofs, routes
from zonelock_client.session_core.frames import FrameLog, link_state
from zonelock_client.session_core.outbox import ANSWERED_BY_COMMIT, Entry, EntryKind, Outbox
from zonelock_client.session_core.values import (
    NOTHING_SEEN,
    NS_PER_MS,
    AgentSpec,
    Failure,
    GrantGone,
    GrantWarned,
    HeldGrant,
    LedgerMark,
    LinkMoved,
    LinkState,
    LostReason,
    Notice,
    holder_deadline_ns,
)

PLACES = 1_024
"""Open asks, grants and owed operations of one agent."""
ENDED_REMEMBERED = 1_024
"""Tokens that the agent gave back, so that a late repeat of their grant is not mistaken for a new one."""
TELEMETRY_FRESH_MS = 2_000
"""Telemetry older than this is not sent after a reconnection, unless a release rests on it."""
WARN_PERMILLE = 800


@dataclass(slots=True, eq=False)
class StreamFacts:
    """What a stream and its agents share. `contact_ns` is the send time of the newest frame known to be handled."""

    contact_ns: int
    frames: FrameLog = field(default_factory=FrameLog)
    heartbeat_ms: int = 500
    suspend_ms: int = 1_500
    lost_ms: int = 5_000
    rho_ppm: int = 10_000
    ledger: LedgerMark = NOTHING_SEEN
    up: bool = False
    restart_because: str = ""
    notices: list[Notice] = field(default_factory=list)
    waiting: dict[str, None] = field(default_factory=dict)
    owing: dict[str, None] = field(default_factory=dict)
    heard_stops: dict[str, dict[str, floor_pb2.Stop]] = field(default_factory=dict)
    ended_stops: OrderedDict[str, None] = field(default_factory=OrderedDict)


@dataclass(slots=True)
class FrameBudget:
    """What a frame may still carry: the coordinator ends a stream over a frame that is larger (FRAME_TOO_LARGE)."""

    operations: int = 256
    size_bytes: int = 512 * 1024

    @property
    def is_left(self) -> bool:
        return self.operations > 0 and self.size_bytes > 0

    def spend(self, operation: pb.Operation) -> pb.Operation:
        self.operations -= 1
        self.size_bytes -= operation.ByteSize()
        return operation


@dataclass(slots=True, eq=False)
class AskRecord:
    operation: pb.Operation
    cancelling: bool = False


@dataclass(slots=True, eq=False)
class ExtendRecord:
    operation: pb.Operation
    grant: HeldGrant
    progress_permille: int


@dataclass(frozen=True, slots=True)
class Pending:
    """An operation for the next frame, and the outbox entry behind it if there is one."""

    operation: pb.Operation
    entry: Entry | None = None


class AgentCore:
    """Built by `SessionCore.add_agent`. Methods that queue take effect in the next frame."""

    def __init__(self, spec: AgentSpec, stream: StreamFacts, now_ns: int) -> None:
        self.spec = spec
        self.stream = stream
        self.welcomed = False
        self.ever_welcomed = False
        self.refused: Failure | None = None
        self.asks: dict[str, AskRecord] = {}
        self.grants: dict[int, HeldGrant] = {}
        self.ended: OrderedDict[int, None] = OrderedDict()
        self.outbox = Outbox()
        self.extensions: dict[str, ExtendRecord] = {}
        self.proof: proofs.Proof | None = None
        self.route: routes.Route | None = None
        self.latched: dict[str, floor_pb2.Stop] = {}
        self.halted: set[str] = set()
        self.unheard: set[str] = set()
        self.from_feed: set[str] = set()
        self.blocked_zones: tuple[str, ...] = ()
        self.occupied: set[str] = set(spec.standing_zones)
        self.highest_token = spec.highest_token
        self.telemetry: pb.Telemetry | None = None
        self._telemetry_ns = now_ns
        self._telemetry_due = False
        self._hello_due = True
        self._contact_ns = now_ns
        self._pending: deque[Pending] = deque()
        self._retries: list[tuple[int, Pending]] = []
        self._requests = 0
        self._announced_link = LinkState.SUSPENDED

    # -- asking and giving back ----------------------------------------------------------------------------------

    def ask(self, zones: tuple[str, ...], expected_ms: int, *, priority: int = 0, no_wait: bool = False) -> str:
        """Queues an ask; returns its request id. Raises OutboxFull."""
        self._check_places()
        request_id = self._next_request_id()
        ask = pb.Ask(request_id=request_id, zones=zones, expected_ms=expected_ms, priority=priority, no_wait=no_wait)
        record = AskRecord(pb.Operation(agent_id=self.spec.agent_id, ask=ask))
        self.asks[request_id] = record
        self.queue(Pending(record.operation))
        return request_id

    def cancel(self, request_id: str) -> None:
        """Gives an ask up; should its grant come all the same, it is declined."""
        record = self.asks.get(request_id)
        if record is None or record.cancelling:
            return
        record.cancelling = True
        self.withdraw(request_id)

    def withdraw(self, request_id: str) -> None:
        """Queues the cancellation of an ask, be it known here or not."""
        self.say(pb.Operation(agent_id=self.spec.agent_id, cancel=pb.Cancel(request_id=request_id)))

    def release(self, held: HeldGrant, zones: tuple[str, ...] = ()) -> int:
        """Queues a release of `zones` (empty: all that is left); returns the outbox entry's id. Raises OutboxFull.

        What is given back is always named: "all of it" would be read by the coordinator's ledger, and one restored from
        an old copy counts zones to the grant that this agent has given back and entered again since.
        """
        partial = bool(zones) and set(zones) != set(held.zones)
        if partial:
            self._check_places()
        held.returning = held.returning or not partial
        operation = pb.Operation(
            agent_id=self.spec.agent_id,
            release=pb.Release(token=held.token, zones=zones or held.zones),
        )
        return self.owe(EntryKind.RELEASE, operation, token=held.token, zones=zones or held.zones)

    def abandon(self, held: HeldGrant, cause: pb.AbandonCause.ValueType = pb.ABANDON_CAUSE_ABANDONED) -> int:
        """Queues the end of a grant whose zones stay occupied; returns the outbox entry's id."""
        held.returning = True
        held.left_behind = held.zones
        operation = pb.Operation(agent_id=self.spec.agent_id, abandon=pb.Abandon(token=held.token, cause=cause))
        return self.owe(EntryKind.ABANDON, operation, token=held.token, zones=held.zones)

    def decline(self, token: int) -> None:
        """Queues the refusal of a grant that nobody entered on."""
        self.forget(token)
        operation = pb.Operation(agent_id=self.spec.agent_id, decline=pb.Decline(token=token))
        self.owe(EntryKind.DECLINE, operation, token=token)

    def decline_unused(self, held: HeldGrant) -> None:
        """Declines a grant that arrived but was never handed to anyone."""
        held.lose(LostReason.LATE, "nobody waited for it any more")
        held.announced = True
        self.decline(held.token)

    def extend(self, held: HeldGrant, expected_ms: int) -> str:
        """Queues an extension; returns its request id. Raises OutboxFull."""
        self._check_places()
        request_id = self._next_request_id()
        extend = pb.Extend(token=held.token, expected_ms=expected_ms, request_id=request_id)
        progress = self.telemetry.progress_permille if self.telemetry else 0
        record = ExtendRecord(pb.Operation(agent_id=self.spec.agent_id, extend=extend), held, progress)
        self.extensions[request_id] = record
        self.queue(Pending(record.operation))
        return request_id

    def report(self, telemetry: pb.Telemetry, now_ns: int) -> None:
        """Notes the newest telemetry; only the newest leaves."""
        self.telemetry = proofs.stamp(self, telemetry)
        self._telemetry_ns = now_ns
        self._telemetry_due = True
        for held in self.grants.values():
            held.progress_mark = min(held.progress_mark, telemetry.progress_permille)
        if self.welcomed:
            self.stream.waiting[self.spec.agent_id] = None
        self._extend_by_progress()

    def acknowledge_stops(self, stop_ids: tuple[str, ...]) -> None:
        """The agent stands still because of these stops. One entry carries all that were confirmed so far."""
        self.halted.update(s for s in stop_ids if s in self.latched)
        if self.welcomed and not (self.unheard | self.from_feed).isdisjoint(stop_ids):
            # Latched while away and not active any more at the welcome, or latched by what another coordinator said:
            # only a hello that names it ends the agent's grants there, and learns its end.
            self.unheard.clear()
            self._hello_due = True
        self.from_feed.difference_update(stop_ids)
        for entry in self.outbox:
            if entry.kind is EntryKind.STOP_ACK and not entry.frame:
                self.outbox.remove(entry)
                self._pending = deque(p for p in self._pending if p.entry is not entry)
        if self.halted:
            ack = pb.StopAck(stop_ids=sorted(self.halted))
            self.owe(EntryKind.STOP_ACK, pb.Operation(agent_id=self.spec.agent_id, stop_ack=ack))

    def goodbye(self) -> int:
        """Queues the agent's leave; returns the outbox entry's id."""
        operation = pb.Operation(agent_id=self.spec.agent_id, goodbye=pb.Goodbye())
        return self.owe(EntryKind.GOODBYE, operation)

    @property
    def newest_token(self) -> int:
        """The newest that this client knows to have been given out, to whomever."""
        return max(self.highest_token, self.stream.ledger.token)

    # -- time ----------------------------------------------------------------------------------------------------

    @property
    def contact_ns(self) -> int:
        """Send time of the newest frame that the coordinator is known to have handled for this agent."""
        return self.stream.contact_ns if self.welcomed else self._contact_ns

    @property
    def link_lost_ns(self) -> int:
        """When the link counts as LOST if nothing more is heard. Readable from any thread."""
        return self.contact_ns + self.stream.lost_ms * NS_PER_MS

    def link(self, now_ns: int) -> LinkState:
        return link_state(
            now_ns,
            self.contact_ns,
            welcomed=self.welcomed,
            suspend_ms=self.stream.suspend_ms,
            lost_ms=self.stream.lost_ms,
        )

    def advance(self, now_ns: int) -> None:
        """Lets time pass: deadlines, link state, retries, extensions by progress."""
        for held in list(self.grants.values()):
            if now_ns >= held.deadline_ns and not held.returning:
                held.lose(LostReason.DEADLINE, f"the deadline for {', '.join(held.zones)} passed")
            elif now_ns >= held.warn_ns:
                self.warn(held)
            self.announce_loss(held)
        self.announce_link(now_ns)
        if self._retries:
            due = [pending for at_ns, pending in self._retries if at_ns <= now_ns]
            self._retries = [(at_ns, pending) for at_ns, pending in self._retries if at_ns > now_ns]
            for pending in due:
                self.queue(pending)
        proofs.advance(self, now_ns)
        self._extend_by_progress()

    def next_wakeup_ns(self) -> int | None:
        """The next time at which `advance` may have something to do."""
        contact_ns = self.contact_ns
        times = [at_ns for at_ns, _ in self._retries]
        if self.proof is not None and self.proof.ask_again_ns is not None:
            times.append(self.proof.ask_again_ns)
        for held in self.grants.values():
            if held.lost_reason is None and not held.returning:
                times.append(held.deadline_ns)
                if not held.warned:
                    times.append(held.warn_ns)
        if self._announced_link is LinkState.CONNECTED:
            times.append(contact_ns + self.stream.suspend_ms * NS_PER_MS)
        if self._announced_link is not LinkState.LOST:
            times.append(contact_ns + self.stream.lost_ms * NS_PER_MS)
        return min(times, default=None)

    def announce_link(self, now_ns: int) -> None:
        state = self.link(now_ns)
        if state is not self._announced_link:
            self._announced_link = state
            self.notify(LinkMoved(self.spec.agent_id, state))

    def announce_loss(self, held: HeldGrant) -> None:
        """Notices a loss once, whoever decided it."""
        if held.lost_reason is not None and not held.announced:
            held.announced = True
            self.notify(GrantGone(self.spec.agent_id, held))

    def warn(self, held: HeldGrant) -> None:
        """Four fifths are over, by the holder's clock or the coordinator's; told once for each deadline."""
        if not (held.warned or held.returning or held.lost_reason):
            held.warned = True
            self.notify(GrantWarned(self.spec.agent_id, held))

    def lose(self, held: HeldGrant, reason: LostReason, message: str) -> None:
        held.lose(reason, message)
        self.announce_loss(held)

    def deadline_ns(self, granted: pb.Granted | pb.Extended) -> int | None:
        """D for an answer, or None when the send time of the frame that it echoes is not known."""
        sent_ns = self.stream.frames.sent_ns(granted.echo_frame)
        if sent_ns is None:
            return None
        return holder_deadline_ns(sent_ns, granted.remaining_ms, rho_ppm=self.stream.rho_ppm, stop_ms=self.spec.stop_ms)

    def warn_ns(self, granted: pb.Granted | pb.Extended, deadline_ns: int) -> int:
        """When four fifths of the time that the holder itself has are over."""
        sent_ns = self.stream.frames.sent_ns(granted.echo_frame) or deadline_ns
        return sent_ns + (deadline_ns - sent_ns) * WARN_PERMILLE // 1_000

    # -- streams and frames --------------------------------------------------------------------------------------

    def stream_opened(self) -> None:
        self._hello_due = True
        self.stream.waiting[self.spec.agent_id] = None

    def stream_closed(self, now_ns: int) -> None:
        """Nothing of the old stream counts as sent; all of it is queued again after the next welcome."""
        self._contact_ns = self.contact_ns
        self.welcomed = False
        self._hello_due = False
        if self.telemetry is not None:
            self.telemetry = proofs.left(self, self.telemetry, now_ns)  # made for a nonce of the stream that ended
        self._pending.clear()
        self._retries.clear()
        self.outbox.unsend()
        self.announce_link(now_ns)

    def requeue(self, now_ns: int) -> None:
        """After a welcome: everything that the last stream may not have carried through."""
        self._pending.clear()
        fresh = now_ns - self._telemetry_ns < TELEMETRY_FRESH_MS * NS_PER_MS
        self._telemetry_due = self.telemetry is not None and (fresh or self.outbox.owes_release())
        for entry in self.outbox:
            if entry.kind is EntryKind.STOP_ACK:
                self.outbox.remove(entry)
            elif not entry.frame:
                self.queue(Pending(entry.operation, entry))
        self.acknowledge_stops(())
        for request_id in [r for r, record in self.asks.items() if record.cancelling]:
            del self.asks[request_id]
        for record in self.asks.values():
            self.queue(Pending(record.operation))
        for extension in self.extensions.values():
            self.queue(Pending(extension.operation))
        proofs.ask_again(self)
        routes.claim_again(self)
        if self.has_more:
            self.stream.waiting[self.spec.agent_id] = None

    def take_operations(self, frame: int, budget: FrameBudget, now_ns: int) -> list[pb.Operation]:
        """What the agent says in this frame, within what is left of the frame's budget."""
        taken: list[pb.Operation] = []
        if self._hello_due and not self.refused:
            self._hello_due = False
            taken.append(budget.spend(pb.Operation(agent_id=self.spec.agent_id, hello=self._hello())))
        if not self.welcomed:
            return taken
        if self._telemetry_due and self.telemetry is not None and budget.is_left:
            self._telemetry_due = False
            taken.append(budget.spend(pb.Operation(agent_id=self.spec.agent_id, telemetry=self.telemetry)))
            self.telemetry = proofs.left(self, self.telemetry, now_ns)
        claim = routes.take(self) if budget.is_left else None
        if claim is not None:
            taken.append(budget.spend(claim))
        while self._pending and budget.is_left:
            pending = self._pending.popleft()
            if pending.entry is not None:
                pending.entry.frame = frame
            taken.append(budget.spend(pending.operation))
        return taken

    @property
    def has_more(self) -> bool:
        claims = self.route is not None and self.route.due
        return self.welcomed and (bool(self._pending) or self._telemetry_due or claims)

    def queue(self, pending: Pending) -> None:
        """For the next frame; while the agent is not welcomed the records themselves wait, see `requeue`."""
        if self.welcomed:
            self._pending.append(pending)
            self.stream.waiting[self.spec.agent_id] = None

    def say(self, operation: pb.Operation) -> None:
        """Queues an operation that is neither owed nor a request: whoever wants it repeated says it again."""
        self.queue(Pending(operation))

    def say_soon(self) -> None:
        """Something that is not queued itself is due in the next frame."""
        if self.welcomed:
            self.stream.waiting[self.spec.agent_id] = None

    def retry(self, pending: Pending, at_ns: int) -> None:
        if pending.entry is not None:
            pending.entry.frame = 0
        self._retries.append((at_ns, pending))

    def owe(self, kind: EntryKind, operation: pb.Operation, *, token: int = 0, zones: tuple[str, ...] = ()) -> int:
        entry = self.outbox.add(kind, operation, token=token, zones=zones)
        if kind in ANSWERED_BY_COMMIT:
            self.stream.owing[self.spec.agent_id] = None
        self.queue(Pending(operation, entry))
        return entry.entry_id

    def forget(self, token: int) -> None:
        """The grant is over for good."""
        held = self.grants.pop(token, None)
        if held is not None and held.lost_reason not in (None, LostReason.LATE):
            self.occupied.update(held.zones)
        self.ended[token] = None
        if len(self.ended) > ENDED_REMEMBERED:
            self.ended.popitem(last=False)

    def notify(self, notice: Notice) -> None:
        self.stream.notices.append(notice)

    # -- inside --------------------------------------------------------------------------------------------------

    def _hello(self) -> pb.Hello:
        return pb.Hello(
            session_secret=self.spec.session_secret,
            agent_kind=self.spec.agent_kind,
            floor_hash=self.spec.floor_hash,
            highest_token=self.newest_token,
            highest_epoch=self.stream.ledger.epoch,
            highest_revision=self.stream.ledger.revision,
            vehicle_watchdog=self.spec.vehicle_watchdog,
            # The coordinator takes these as acknowledged, so only those that the machine confirmed.
            latched_stop_ids=sorted(self.halted),
            held_tokens=sorted(t for t, held in self.grants.items() if held.lost_reason is None),
            # Declared once: later the coordinator knows better what this agent left and entered since.
            standing_zones=() if self.ever_welcomed else self.spec.standing_zones,
        )

    def _next_request_id(self) -> str:
        self._requests += 1
        return f"{self.spec.request_prefix}-{self._requests}"

    def _check_places(self) -> None:
        used = len(self.asks) + len(self.grants) + len(self.outbox) + len(self.extensions)
        if used >= PLACES:
            raise OutboxFull(
                f"agent {self.spec.agent_id}: {len(self.asks)} asks, {len(self.grants)} grants and {len(self.outbox)} "
                f"unacknowledged operations fill all {PLACES} places; wait for the link or give grants back first"
            )

    def _extend_by_progress(self) -> None:
        """Extends what is four fifths over while the agent visibly gets on. A standstill lets the deadline come."""
        if not self.spec.auto_extend or self.telemetry is None:
            return
        for held in list(self.grants.values()):
            idle = not (held.lost_reason or held.returning or held.extending or held.extension_refused)
            if idle and held.warned and self.telemetry.progress_permille > held.progress_mark:
                # A full outbox lets the deadline come; that is the safe side, and the next report tries again.
                with contextlib.suppress(OutboxFull):
                    held.extending = self.extend(held, held.expected_ms)

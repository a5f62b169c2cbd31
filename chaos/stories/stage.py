"""A small stage for scenes: the real core and the SDK's real session core, a clock by hand, a ledger that can fail.

Rule: effects leave in the runtime's order (stops at once, writes committed, then sends, each as true as it is at that
moment), one event at a time, so that every scene has one course. Everything that happens is recorded as a history, and
the core's invariants are looked at after every event. The asynchronous runtime itself is driven by `chaos.sim` and by
its own tests; here a scene shows what the parts decide. Milliseconds throughout.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from zonelock.v1 import zone_service_pb2 as pb

from chaos.checkers import check as check_history
from chaos.history import History
from chaos.recording import CoordinatorRecord, answer_fields, floor_fields
from chaos.stories.crew import Gateway, Link, operation_fields
from coordinator.core import effects as fx
from coordinator.core import events as ev
from coordinator.core.invariants import check as check_machine
from coordinator.core.machine import InvariantViolation, Machine
from coordinator.core.model import (
    CounterRecord,
    FloorSpec,
    Ledger,
    Mark,
    Record,
    SeenUnit,
    StopRecord,
    Timing,
    UnitState,
)
from coordinator.floor import Floor
from coordinator.rpc.requests import event_of
from coordinator.rpc.translate import Greeting, answer_message

TICK_MS = 100
COORD = "c1"
BEGIN_MS = 1_000


class Mishap(Exception):
    """The scene asks for something that cannot be done; the message says what and why."""


@dataclass(slots=True)
class Batch:
    """A transaction under way: what it writes, and what leaves behind it."""

    steps: list[fx.Step]
    writes: dict[str, Record | None]
    sealed: dict[int, int]


@dataclass
class Stage:
    """One coordinator, its ledger, the floor, and the crew on it."""

    floor: Floor
    timing: Timing = field(default_factory=Timing)
    assume_empty: bool = True
    now_ms: int = BEGIN_MS
    epoch: int = 0
    stop_file: bool = True
    history: History = field(default_factory=lambda: History(origin="story"))
    kept: dict[str, Record] = field(default_factory=dict)
    gateways: dict[str, Gateway] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    """What the core's own invariants said; a scene goes on no further."""
    committing: bool = True
    machine: Machine | None = None

    def __post_init__(self) -> None:
        self.spec: FloorSpec = self.floor.spec()
        self.record = CoordinatorRecord(self.history, COORD)
        self.steps: list[fx.Step] = []
        self.heard: dict[int, int] = {}
        self.streams: dict[int, Link] = {}
        self.newest: dict[int, int] = {}
        self.in_flight: dict[str, StopRecord] = {}
        self.leaving: dict[int, int] = {}
        self.highest_token = 0
        self.revision = 0
        self.conns = 0
        self.operators: deque[fx.Answer] = deque(maxlen=16)
        self.challenges: list[fx.Challenged] = []
        self.greeting = Greeting(self.spec.site, self.spec.hash, self.spec.version, self.timing)
        fields = floor_fields(self.spec, self.timing) | {"stop_file": self.stop_file}
        self.history.add(self.now_ms, "stage", "floor", **fields)
        self.history.add(self.now_ms, "stage", "phase", name="safety")
        self.take_over()

    # -- the coordinator's life ----------------------------------------------------------------------------------

    def take_over(self) -> None:
        """A coordinator loads the ledger and leads."""
        ledger = Ledger.of(self.kept.values(), revision=self.revision, epoch=self.epoch + 1)
        self.epoch += 1
        self.steps.clear()
        self.heard.clear()
        self.machine = Machine(self.spec, ledger, self.timing, self.now_ms)
        self.record.took_over(self.now_ms, self.epoch, revision=self.revision)
        self.handle(ev.Started(now_ms=self.now_ms, assume_empty=self.assume_empty, seen=Mark(token=self.highest_token)))
        if self.leaving:
            self.handle(ev.ReleasesRecalled(now_ms=self.now_ms, tokens=tuple(sorted(self.leaving.values()))))
            self.leaving.clear()
        for stop in list(self.in_flight.values()):
            self.handle(ev.StopRecovered(now_ms=self.now_ms, stop=stop))

    def crash(self) -> None:
        """The process ends; what it had not committed is gone, but for the file of pending stops."""
        self.machine = None
        self.record.crashed(self.now_ms)
        self.leaving.clear()
        self.highest_token = 0
        if not self.stop_file:
            self.in_flight.clear()
        self._end_streams()

    def _end_streams(self) -> None:
        for link in list(self.streams.values()):
            link.gateway.stream_lost(self)
        self.streams.clear()

    # -- handling and committing, in the runtime's order -----------------------------------------------------------

    def handle(self, event: ev.Event) -> None:
        """One event: its stops leave now, the rest waits for the commit."""
        machine = self.machine
        if machine is None or self.broken:
            return
        try:
            step = machine.handle(event)
            problems = check_machine(machine)
        except InvariantViolation as violation:
            self.broken.append(str(violation))
            return
        self.broken.extend(problems)
        self.record.handled(self.now_ms, event, step)
        self._let_go(step)
        self.steps.append(step)

    def _let_go(self, step: fx.Step) -> None:
        for send in step.stops:
            self._answer(send, stop=True)
        for write in step.writes:
            if isinstance(write.record, StopRecord) and write.record.active:
                self.in_flight[write.record.stop_id] = write.record

    def begin_commit(self) -> Batch:
        steps, self.steps = self.steps, []
        sealed, self.heard = self.heard, {}
        writes = {w.key: w.record for step in steps for w in step.writes}
        return Batch(steps, writes, sealed)

    def keep(self, batch: Batch) -> None:
        """The ledger takes the batch's writes."""
        self.revision += 1
        for key, record in batch.writes.items():
            if record is None:
                self.kept.pop(key, None)
            else:
                self.kept[key] = record

    def commit(self) -> None:
        """Commits all that was decided, and lets its answers leave."""
        self.finish_commit(self.begin_commit())

    def finish_commit(self, batch: Batch) -> None:
        """The store holds the batch and says so."""
        self.keep(batch)
        upto = batch.steps[-1].seq if batch.steps else None
        self.record.committed(self.now_ms, batch.writes, epoch=self.epoch, revision=self.revision, upto=upto)
        for record in batch.writes.values():
            if isinstance(record, StopRecord):
                self.in_flight.pop(record.stop_id, None)
            elif isinstance(record, CounterRecord):
                self.highest_token = max(self.highest_token, record.token)
        self.let_leave(batch)

    def let_leave(self, batch: Batch) -> None:
        machine = self.machine
        if machine is None:
            return
        if batch.steps:
            machine.handle(ev.Committed(now_ms=self.now_ms, upto=batch.steps[-1].seq))
        for step in batch.steps:
            for send in step.sends:
                current = machine.as_of_now(send)
                if current is not None:
                    self._answer(current)
        for conn, frame in batch.sealed.items():
            link = self.streams.get(conn)
            if link is not None:
                link.down.append(pb.SessionResponse(ack_frame=frame, epoch=self.epoch, revision=self.revision))

    def lose_commit(self, *, applied: bool) -> None:
        """The commit's answer is lost: all streams end, the fence is rewritten, the ledger loaded, stops put back."""
        batch = self.begin_commit()
        if applied:
            self.keep(batch)
        self.record.committed(self.now_ms, batch.writes, epoch=self.epoch, outcome="lost", applied=applied)
        self._end_streams()
        self.take_over()

    def _answer(self, send: fx.Send, *, stop: bool = False) -> None:
        link = self.streams.get(send.conn)
        if link is None:
            self.operators.append(send.answer)
            if send.agent_id:
                return
            self.history.add(
                self.now_ms, COORD, "emit", coord=COORD, run=self.record.run, agent="",
                **answer_fields(send.answer, send.request_id),
            )  # fmt: skip
            return
        if isinstance(send.answer, fx.Challenged):
            self.challenges.append(send.answer)
        echo = self.newest.get(send.conn, 0)
        self.record.emitted(self.now_ms, send, stop=stop, echo_frame=echo)
        message = pb.SessionResponse(answers=[answer_message(send, echo, self.greeting)], epoch=self.epoch)
        if stop:
            link.down.appendleft(message)
        else:
            link.down.append(message)

    # -- streams -------------------------------------------------------------------------------------------------

    def open_stream(self, gateway: Gateway) -> None:
        self.conns += 1
        link = Link(self.conns, gateway)
        self.streams[self.conns] = link
        gateway.stream_opened(self, link)

    def close_stream(self, gateway: Gateway) -> None:
        """Both ends see that the stream is gone."""
        link = gateway.link
        if link is None:
            return
        gateway.stream_lost(self)
        self.forget_stream(link)

    def forget_stream(self, link: Link) -> None:
        """The coordinator sees that a stream is gone."""
        if self.streams.pop(link.conn, None) is not None:
            self.handle(ev.ConnClosed(now_ms=self.now_ms, conn=link.conn))

    def take_frame(self, link: Link, frame: pb.SessionRequest) -> None:
        """A frame arrives at the coordinator."""
        if self.machine is None or link.conn not in self.streams:
            return
        self.newest[link.conn] = frame.frame
        for index, operation in enumerate(frame.operations):
            cause = f"{link.conn}.{frame.frame}.{index}"
            self.handle(event_of(operation, link.conn, self.now_ms, cause, self.floor))
        self.heard[link.conn] = frame.frame
        self.machine.handle(ev.Heard(now_ms=self.now_ms, conn=link.conn))

    def sent(self, link: Link, frame: pb.SessionRequest) -> None:
        """Records what leaves an agent."""
        for operation in frame.operations:
            fields = operation_fields(operation)
            self.history.add(self.now_ms, operation.agent_id, "send", conn=link.conn, frame=frame.frame, **fields)
        if not frame.operations:
            name = min(link.gateway.agents)
            self.history.add(self.now_ms, name, "send", agent=name, op="heartbeat", conn=link.conn, frame=frame.frame)

    # -- time ----------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Lets everything that can happen at this instant happen."""
        for _ in range(1_000):
            moved = False
            for _, gateway in sorted(self.gateways.items()):
                moved = gateway.pump(self) or moved
            if self.committing and self.machine is not None and (self.steps or self.heard):
                self.commit()
                moved = True
            if not moved or self.broken:
                return
        raise Mishap("the scene does not come to rest within an instant")

    def wait(self, ms: int) -> None:
        """Time passes: ticks, deadlines, heartbeats, whatever is due on the way."""
        until = self.now_ms + ms
        self.settle()
        while self.now_ms < until and not self.broken:
            self.now_ms = min([until, *self._due()])
            for _, gateway in sorted(self.gateways.items()):
                gateway.advance(self)
            self._tick()
            self.settle()

    def _due(self) -> Iterable[int]:
        yield self.now_ms - self.now_ms % TICK_MS + TICK_MS
        deadline = self.machine.next_deadline_ms() if self.machine is not None else None
        if deadline is not None and deadline > self.now_ms:
            yield deadline
        for gateway in self.gateways.values():
            yield from (at for at in gateway.due_ms() if at > self.now_ms)

    def _tick(self) -> None:
        machine = self.machine
        if machine is None:
            return
        deadline = machine.next_deadline_ms()
        if self.now_ms % TICK_MS == 0 or (deadline is not None and deadline <= self.now_ms):
            self.handle(ev.Ticked(now_ms=self.now_ms, fence_fresh=self.committing))
            if self.committing:
                self.commit()

    # -- people ----------------------------------------------------------------------------------------------------

    def operator(self, action: str, event: Callable[[int], ev.OperatorEvent], **fields: Any) -> fx.Answer | None:
        """A person acts; returns the answer, or None while commits are held."""
        self.conns += 1
        self.operators.clear()
        made = event(self.conns)
        self.history.add(
            self.now_ms, "operator", "operator", operator=made.operator, action=action, reason=made.reason, **fields
        )
        self.handle(made)
        self.settle()
        return self.operators[-1] if self.operators else None

    def stop(self, stop_id: str, *, operator: str = "ann", reason: str = "pressed", **scope: Any) -> fx.Answer | None:
        def asked(conn: int) -> ev.OperatorEvent:
            return ev.StopAsked(
                now_ms=self.now_ms, conn=conn, operator=operator, reason=reason, stop_id=stop_id, **scope
            )

        return self.operator("stop", asked, stop_ids=[stop_id])

    def reset(self, *stop_ids: str, operator: str = "ann", reason: str = "looked") -> fx.Answer | None:
        def asked(conn: int) -> ev.OperatorEvent:
            return ev.ResetAsked(
                now_ms=self.now_ms, conn=conn, operator=operator, reason=reason, stop_ids=tuple(stop_ids)
            )

        return self.operator("reset", asked, stop_ids=list(stop_ids))

    def clear(self, *zones: str, operator: str = "ann", reason: str = "looked", **more: Any) -> fx.Answer | None:
        def asked(conn: int) -> ev.OperatorEvent:
            units = self.machine.units if self.machine is not None else ()
            seen = tuple(SeenUnit(u.zone, u.slot, u.agent_id, u.token) for u in units if u.state is UnitState.BLOCKED)
            return ev.ClearAsked(
                now_ms=self.now_ms, conn=conn, operator=operator, reason=reason, zones=tuple(zones), seen=seen, **more
            )

        return self.operator("clear", asked, zones=list(zones) or None, agent=more.get("agent_id"))

    def revoke(self, *, operator: str = "ann", reason: str = "needed", **what: Any) -> fx.Answer | None:
        def asked(conn: int) -> ev.OperatorEvent:
            return ev.RevokeAsked(now_ms=self.now_ms, conn=conn, operator=operator, reason=reason, **what)

        return self.operator("revoke", asked, agent=what.get("agent_id"))

    # -- the crew --------------------------------------------------------------------------------------------------

    def gateway_of(self, agent: str) -> Gateway:
        for gateway in self.gateways.values():
            if agent in gateway.agents:
                return gateway
        raise Mishap(f"{agent} has not said hello; begin with: hello {agent}")

    # -- judging ---------------------------------------------------------------------------------------------------

    def liveness(self, bound_ms: int) -> None:
        """From here on everyone is to be served within the bound."""
        self.history.add(self.now_ms, "stage", "phase", name="liveness", bound_ms=bound_ms)

    def verdict(self) -> list[str]:
        """Everything that the invariants and the checkers have against the scene; empty when it is clean."""
        return self.broken + [str(violation) for violation in check_history(self.history)]

    def restore(self, backup: dict[str, Record]) -> None:
        """Somebody puts an old copy of the ledger back."""
        self.kept = dict(backup)
        self.history.add(self.now_ms, "nemesis", "fault", what="restore")

    def backup(self) -> dict[str, Record]:
        return {key: replace(record) for key, record in self.kept.items()}

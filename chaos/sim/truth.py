"""What is true, whatever anybody believes: bodies on the floor, records in etcd, and what they must never say together.

Checked at every change, not at intervals: a unit may become free only when its occupant's body is out; a body may enter
only what the ledger has for it (I1, I2); a body is at rest when its deadline trips (I6); answers tell of what is
durable (I4); tokens rise (I3); a latch ends only by a reset that somebody is asking for (I5). Reads the store's records
by the store's own codec; decides nothing and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from zonelock.v1 import zone_service_pb2 as pb

from chaos.sim.bodies import Body
from coordinator.core.effects import Step, StopRaised
from coordinator.core.machine import Machine
from coordinator.core.model import CounterRecord, StopCause, StopRecord, UnitRecord, UnitState
from coordinator.core.sessions import Session
from coordinator.store import codec
from coordinator.store.etcd_journal import ENTRY, Journal, decoded
from coordinator.store.etcdpb import kv_pb2

LEDGER = b"zonelock/ledger/"
OCCUPIED = (UnitState.HELD, UnitState.BLOCKED)


def _same_occupant(before: UnitRecord, after: UnitRecord) -> bool:
    return before.state in OCCUPIED and after.state in OCCUPIED and before.agent_id == after.agent_id


@dataclass(slots=True)
class Truth:
    """The mirror of the durable ledger beside the bodies. `violate(text)` is told of every broken promise."""

    capacities: dict[str, int]
    violate: Callable[[str], None]
    bodies: dict[str, Body] = field(default_factory=dict)
    units: dict[tuple[str, int], UnitRecord] = field(default_factory=dict)
    stops: dict[str, StopRecord] = field(default_factory=dict)
    counter: CounterRecord | None = None
    granted: set[int] = field(default_factory=set)
    resetting: dict[str, int] = field(default_factory=dict)
    """Stop ids that an operator is asking to reset, or has asked for with unknown outcome."""
    reset: set[str] = field(default_factory=set)
    restored: bool = False
    """Somebody put an old copy of the ledger in its place."""
    foreign: set[str] = field(default_factory=set)
    """Records that somebody else wrote, and that no coordinator has loaded since."""

    _own: dict[str, bytes | None] = field(default_factory=dict)
    """What the records' own keys say."""
    _entries: dict[str, dict[str, bytes | None]] = field(default_factory=dict)
    """What the journal says, by entry, in order."""
    _now: dict[str, bytes | None] = field(default_factory=dict)
    """What holds, of both."""
    _told: dict[tuple[str, str], tuple[Session, set[str]]] = field(default_factory=dict)
    """(coordinator, agent) -> the session that was told of stops. One that another client of that name has ended, and
    that begins anew, says itself what latches it."""
    _may_enter: set[tuple[str, str]] = field(default_factory=set)
    """(agent, zone) of grants that the restored copy does not know of: until its deadline their holder may use them."""
    _copied: set[tuple[str, int]] = field(default_factory=set)
    """Units as the restored copy has them: no coordinator has written them since."""
    _given_before: int = 0
    """The highest token given out before the newest restoration."""

    # -- the ledger ----------------------------------------------------------------------------------------------

    def on_change(self, key: bytes, value: bytes | None, revision: int) -> None:
        """One applied write of etcd."""
        if not key.startswith(LEDGER):
            return
        name = key[len(LEDGER) :].decode()
        if name.startswith(ENTRY):
            self._journalled(name, value)
            return
        self._own[name] = value
        if not any(name in entry for entry in self._entries.values()):
            self._holds_now(name, value)

    def _journalled(self, name: str, entry: bytes | None) -> None:
        """An entry holds over the records' own keys, until it is deleted: they must say the same by then."""
        if entry is not None:
            self._entries[name] = writes = decoded(name, entry)
            for key, value in writes.items():
                self._holds_now(key, value)
            return
        for key in self._entries.pop(name, {}):
            if any(key in other for other in self._entries.values()):
                continue
            if self._own.get(key) != self._now.get(key):
                self.violate(f"I4: {name} was deleted, and the own key of {key} does not say what it said")
            self._holds_now(key, self._own.get(key))

    def _holds_now(self, name: str, value: bytes | None) -> None:
        if self._now.get(name) == value:
            return
        self._now[name] = value
        if value is None:
            if name.startswith("unit/"):
                self.violate(f"I2: the record {name} was deleted")
            return
        record = codec.decode(name, value)
        match record:
            case UnitRecord():
                self._unit(record)
            case StopRecord():
                self._stop(record)
            case CounterRecord():
                if self.counter is not None and record.token < self.counter.token:
                    self.violate(f"I3: the counter fell from {self.counter.token} to {record.token}")
                self.counter = record

    def _unit(self, record: UnitRecord) -> None:
        before = self.units.get((record.zone, record.slot))
        if before is not None and record.token < before.token:
            self.violate(f"I3: {record.key} went from token {before.token} back to {record.token}")
        self.units[record.zone, record.slot] = record
        self._copied.discard((record.zone, record.slot))
        if record.state is UnitState.HELD:
            if record.token not in self.granted and record.token <= self._given_before:
                self.violate(f"I3: token {record.token} is given out again by a restored ledger, for {record.key}")
            self.granted.add(record.token)
        if self.restored and before is not None and _same_occupant(before, record):
            return  # whoever stands there was given away with the old copy, not by this write
        for agent_id in sorted(self.bodies):
            body = self.bodies[agent_id]
            if record.zone in body.inside and not self.occupied_by(record.zone, agent_id):
                self.violate(
                    f"I2: {record.key} became {record.state} by {record.agent_id or 'nobody'} (token {record.token}) "
                    f"while {agent_id} stands in {record.zone}"
                )

    def occupied_by(self, zone: str, agent_id: str) -> bool:
        """Whether the ledger counts the agent in, or knows that it does not know the zone."""
        mine = False
        for slot in range(self.capacities[zone]):
            unit = self.units.get((zone, slot))
            if unit is None:
                if self.counter is None or not self.counter.confirmed:
                    return True  # UNKNOWN
                continue
            if unit.state is UnitState.FREE and self._is_outdated(unit):
                return True  # UNKNOWN, as every free unit of a ledger that was found out
            mine = mine or unit.state is UnitState.UNKNOWN or (unit.state in OCCUPIED and unit.agent_id == agent_id)
        return mine

    def _is_outdated(self, unit: UnitRecord) -> bool:
        counter = self.counter
        return counter is not None and unit.incarnation < counter.incarnation and not counter.confirmed

    def _stop(self, record: StopRecord) -> None:
        before = self.stops.get(record.stop_id)
        self.stops[record.stop_id] = record
        if record.active:
            if record.stop_id in self.reset:
                self.violate(f"I5: stop {record.stop_id} is active again after its reset")
            return
        if before is None or not before.active:
            return
        self.reset.add(record.stop_id)
        if record.stop_id not in self.resetting or not (record.reset_by and record.reset_reason):
            self.violate(f"I5: stop {record.stop_id} ended though no operator asked for it ({record.reset_by!r})")

    def loaded(self) -> None:
        """A coordinator has read the ledger: what others wrote is known now."""
        self.foreign.clear()

    def folded(self, keys: Iterable[str]) -> None:
        """A coordinator has written records' own keys, as its journal has them."""
        for key in keys:
            if key in self.foreign:
                self.violate(f"I4: {key} was overwritten, though somebody else had changed it since it was loaded")

    def restore(self, kvs: Iterable[kv_pb2.KeyValue]) -> None:
        """An old copy is the ledger now. What was granted since stays granted: no token may come twice."""
        self.restored = True
        self._may_enter |= {(u.agent_id, u.zone) for u in self.units.values() if u.state is UnitState.HELD}
        self.units.clear()
        self.stops.clear()
        self.reset.clear()
        self.counter = None
        ledger = [kv for kv in kvs if kv.key.startswith(LEDGER)]
        entries = {kv.key[len(LEDGER) :].decode(): kv.value for kv in ledger}
        self._own = {name: value for name, value in entries.items() if not name.startswith(ENTRY)}
        self._entries = {name: decoded(name, value) for name, value in entries.items() if name.startswith(ENTRY)}
        self._now = dict(Journal(LEDGER).read(ledger, 0))
        for name, value in sorted(self._now.items()):
            if value is None:
                continue
            record = codec.decode(name, value)
            match record:
                case UnitRecord():
                    self.units[record.zone, record.slot] = record
                    self._copied.add((record.zone, record.slot))
                case StopRecord():
                    self.stops[record.stop_id] = record
                case CounterRecord():
                    self.counter = record
        self._given_before = max(self.granted, default=0)

    # -- decisions and answers -----------------------------------------------------------------------------------

    def on_step(self, coordinator: str, machine: Machine, step: Step) -> None:
        """A coordinator's core has decided."""
        for send in step.stops:
            session = machine.sessions.get(send.agent_id)
            if session is not None and isinstance(send.answer, StopRaised):
                known, told = self._told.get((coordinator, send.agent_id), (session, set()))
                told = told if known is session else set()
                self._told[coordinator, send.agent_id] = session, told | {send.answer.stop.stop_id}
        for write in step.writes:
            record = write.record
            if isinstance(record, UnitRecord) and record.state is UnitState.HELD and record.token not in self.granted:
                self._grants(coordinator, machine, record)
            if not isinstance(record, StopRecord) or not record.active:
                continue
            if record.cause is StopCause.OVERDUE:
                self._overdue(coordinator, record, step)
            elif record.cause is StopCause.LEDGER and not self.restored:
                self.violate(f"I6: {coordinator} stops the floor over a restored ledger, and none was: {record.reason}")

    def _grants(self, coordinator: str, machine: Machine, unit: UnitRecord) -> None:
        """Nobody whom a coordinator has told to stop is granted anything by it before the reset."""
        session, told = self._told.get((coordinator, unit.agent_id), (None, set()))
        if session is None or session is not machine.sessions.get(unit.agent_id):
            return
        for stop_id in sorted(told):
            stop = machine.stops.get(stop_id)
            if stop is not None and stop.active:
                self.violate(f"I5: {coordinator} grants {unit.zone} to {unit.agent_id}, which it has told of {stop_id}")

    def _overdue(self, coordinator: str, stop: StopRecord, step: Step) -> None:
        token = int(stop.stop_id.partition(":")[2])
        for write in step.writes:
            unit = write.record
            if not isinstance(unit, UnitRecord) or unit.token != token:
                continue
            body = self.bodies.get(unit.agent_id)
            if body is not None and body.moving and unit.zone in body.inside:
                self.violate(
                    f"I6: {coordinator} trips {stop.stop_id} while {unit.agent_id} still moves in {unit.zone} under it"
                )

    def on_answer(self, host: str, response: pb.SessionResponse) -> None:
        """Answers reach a client."""
        for answer in response.answers:
            kind = answer.WhichOneof("kind")
            if kind == "granted":
                self._told_granted(answer.agent_id, answer.granted)
            elif kind == "welcome":
                for granted in answer.welcome.grants:
                    self._told_granted(answer.agent_id, granted)
            elif kind == "released":
                self._told_released(answer.agent_id, answer.released)
            elif kind == "stop_ended":
                stop = self.stops.get(answer.stop_ended.stop.stop_id)
                if stop is not None and stop.active:
                    self.violate(f"I4: {answer.agent_id} hears that {stop.stop_id} ended, which is not durable")

    def _told_granted(self, agent_id: str, granted: pb.Granted) -> None:
        if granted.token not in self.granted:
            self.violate(f"I4: {agent_id} hears of grant {granted.token} for {list(granted.zones)}, never committed")

    def _told_released(self, agent_id: str, released: pb.Released) -> None:
        for zone in released.zones:
            for slot in range(self.capacities.get(zone, 0)):
                unit = self.units.get((zone, slot))
                if (zone, slot) in self._copied:
                    continue  # the answer left before the old copy was put back
                if unit is not None and unit.token == released.token and unit.state is UnitState.HELD:
                    self.violate(
                        f"I4: {agent_id} hears that {zone} was released, but token {unit.token} still holds it"
                    )

    # -- bodies --------------------------------------------------------------------------------------------------

    def on_body(self, body: Body, what: str, zone: str | None) -> None:
        if what != "enter" or zone is None:
            return
        inside = sorted(b.agent_id for b in self.bodies.values() if zone in b.inside)
        if len(inside) > self.capacities[zone]:
            self.violate(f"I1: {', '.join(inside)} are in {zone}, which has room for {self.capacities[zone]}")
        if not self.occupied_by(zone, body.agent_id) and (body.agent_id, zone) not in self._may_enter:
            units = [u for (z, _), u in sorted(self.units.items()) if z == zone]
            known = "; ".join(f"slot {u.slot} {u.state} {u.agent_id} {u.token}" for u in units) or "no record"
            self.violate(f"I1: {body.agent_id} enters {zone}, which the ledger does not have for it ({known})")

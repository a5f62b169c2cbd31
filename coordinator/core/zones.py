"""The table of units: one slot of one zone each. Owns I1 (exclusion), I2 (no silent vacancy) and I3 (tokens rise).

The rules in words. A FREE unit may be granted. A HELD unit becomes FREE only when its holder gives it back or never
used it; every other end of a grant leaves it BLOCKED, because its holder may still stand there. A BLOCKED unit is
granted again only to the very session that it is blocked by, or freed by a named operator. An UNKNOWN unit is freed
only by an operator; an agent that declares it stands there makes it BLOCKED. The same as a table:
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from enum import StrEnum
from typing import Any

from coordinator.core.model import BlockCause, CounterRecord, FloorSpec, UnitRecord, UnitState, ZoneSpec

UnitId = tuple[str, int]


class InvariantViolation(Exception):
    """The core was about to break a promise. A bug: the shell rolls back, answers INTERNAL and counts it."""


class Move(StrEnum):
    GRANT = "GRANT"
    EXTEND = "EXTEND"
    RELEASE = "RELEASE"
    DECLINE = "DECLINE"
    END = "END"
    DECLARE = "DECLARE"
    CLEAR = "CLEAR"


_F, _H, _B, _U = UnitState.FREE, UnitState.HELD, UnitState.BLOCKED, UnitState.UNKNOWN
_NEW_HOLDER = frozenset({Move.GRANT, Move.DECLARE})
_NOWHERE: frozenset[UnitState] = frozenset()

TRANSITIONS: dict[tuple[UnitState, Move], frozenset[UnitState]] = {
    (_F, Move.GRANT): frozenset({_H}),
    (_B, Move.GRANT): frozenset({_H}),
    (_H, Move.EXTEND): frozenset({_H}),
    (_H, Move.RELEASE): frozenset({_F}),
    (_H, Move.DECLINE): frozenset({_F, _B}),
    (_H, Move.END): frozenset({_B}),
    (_F, Move.DECLARE): frozenset({_B}),
    (_U, Move.DECLARE): frozenset({_B}),
    (_B, Move.CLEAR): frozenset({_F}),
    (_U, Move.CLEAR): frozenset({_F}),
}


class Units:
    """Every unit of the floor with the indexes that decisions need. Changed only through `move`."""

    def __init__(self, floor: FloorSpec, counter: CounterRecord, records: Iterable[UnitRecord]) -> None:
        self.spec: dict[str, ZoneSpec] = {z.name: z for z in floor.zones}
        blank = UnitState.FREE if counter.confirmed else UnitState.UNKNOWN
        self._table: dict[str, list[UnitRecord]] = {
            z.name: [
                UnitRecord(zone=z.name, slot=slot, state=blank, incarnation=counter.incarnation)
                for slot in range(z.capacity)
            ]
            for z in floor.zones
        }
        self._by_token: dict[int, set[UnitId]] = {}
        self._last_of: dict[str, set[UnitId]] = {}
        self._by_agent: dict[str, set[UnitId]] = {}
        self.unknown_count = 0 if counter.confirmed else sum(z.capacity for z in floor.zones)
        for record in records:
            self._load(record, counter)

    def _load(self, record: UnitRecord, counter: CounterRecord) -> None:
        slots = self._table.get(record.zone)
        if slots is None or record.slot >= len(slots):
            return  # a zone or slot of an earlier floor; `machine` has refused the floor if anyone was left there
        if record.incarnation < counter.incarnation:
            record = replace(slots[record.slot], token=record.token)
        self._store(record)

    # -- reading -------------------------------------------------------------------------------------------------

    def __contains__(self, zone: str) -> bool:
        return zone in self._table

    def __iter__(self) -> Iterator[UnitRecord]:
        for slots in self._table.values():
            yield from slots

    @property
    def zone_names(self) -> Iterable[str]:
        return self._table.keys()

    def of(self, zone: str) -> list[UnitRecord]:
        """The zone's units in slot order. Not to be changed by the caller."""
        return self._table[zone]

    def with_token(self, token: int) -> list[UnitRecord]:
        """Units whose newest token this is, in (zone, slot) order; empty once all have been granted anew."""
        found = self._by_token.get(token, ())
        return [self._table[z][s] for z, s in (sorted(found) if len(found) > 1 else found)]

    def of_agent(self, agent_id: str) -> list[UnitRecord]:
        """Units that the agent holds or may occupy, in (zone, slot) order."""
        return [self._table[z][s] for z, s in sorted(self._by_agent.get(agent_id, ()))]

    def last_of_agent(self, agent_id: str) -> list[UnitRecord]:
        """Units whose record names the agent last, given back ones too, in (zone, slot) order."""
        return [self._table[z][s] for z, s in sorted(self._last_of.get(agent_id, ()))]

    def agents(self) -> list[str]:
        """Every agent that holds or may occupy anything."""
        return sorted(self._by_agent)

    def residue(self, zone: str, agent_id: str, session: str) -> UnitRecord | None:
        """The unit of this zone that this very session left BLOCKED."""
        for unit in self._table[zone]:
            if unit.state is _B and unit.agent_id == agent_id and unit.session == session:
                return unit
        return None

    def free_slots(self, zone: str) -> list[int]:
        return [unit.slot for unit in self._table[zone] if unit.state is _F]

    def takes(self, zone: str, agent_id: str, session: str) -> UnitRecord | None:
        """The unit of this zone that the session would be given now: the one it left BLOCKED, else the first free."""
        free = None
        for unit in self._table[zone]:
            if unit.state is _F:
                free = free or unit
            elif unit.state is _B and unit.agent_id == agent_id and unit.session == session:
                return unit
        return free

    # -- changing ------------------------------------------------------------------------------------------------

    def move(self, before: UnitRecord, move: Move, after: UnitRecord) -> UnitRecord:
        """Replaces one record. Raises InvariantViolation and changes nothing when the table or a token forbids it."""
        current = self._table[before.zone][before.slot]
        if current is not before and current != before:
            raise InvariantViolation(f"{before.key}: move {move} was decided on a record that has changed since")
        if after.state not in TRANSITIONS.get((before.state, move), _NOWHERE):
            raise InvariantViolation(f"{before.key}: {before.state} may not become {after.state} by {move}")
        if after.token < before.token or (after.token == before.token and move in _NEW_HOLDER):
            raise InvariantViolation(f"I3: {before.key}: token {after.token} after {before.token} by {move}")
        residue = before.state is _B and move is Move.GRANT
        if residue and (before.agent_id, before.session) != (after.agent_id, after.session):
            raise InvariantViolation(f"I2: {before.key}: granted while occupied by {before.agent_id}")
        self._store(after)
        return after

    def confirm_empty(self, incarnation: int) -> list[UnitRecord]:
        """Turns every UNKNOWN unit FREE (its one durable write is the counter's); returns the new records."""
        changed = [u for u in self if u.state is UnitState.UNKNOWN]
        for unit in changed:
            self._store(replace(unit, state=UnitState.FREE, incarnation=incarnation))
        return changed

    def distrust(self, incarnation: int) -> list[UnitRecord]:
        """A ledger that was replaced: every FREE unit becomes UNKNOWN (the counter's record says so durably), and every
        occupied one is carried into the new incarnation; returns those, to be written.
        """
        occupied = []
        for unit in list(self):
            if unit.state is UnitState.FREE:
                self._store(replace(unit, state=UnitState.UNKNOWN, incarnation=incarnation))
            elif unit.state is not UnitState.UNKNOWN:
                carried = replace(unit, incarnation=incarnation)
                self._store(carried)
                occupied.append(carried)
        return occupied

    def _store(self, record: UnitRecord) -> None:
        slots = self._table[record.zone]
        old, unit = slots[record.slot], (record.zone, record.slot)
        slots[record.slot] = record
        if old.token != record.token:
            _discard(self._by_token, old.token, unit)
            if record.token:
                self._by_token.setdefault(record.token, set()).add(unit)
        occupied = record.state is _H or record.state is _B
        if old.agent_id != record.agent_id:
            _discard(self._by_agent, old.agent_id, unit)
            _discard(self._last_of, old.agent_id, unit)
            if record.agent_id:
                self._last_of.setdefault(record.agent_id, set()).add(unit)
        elif not occupied:
            _discard(self._by_agent, old.agent_id, unit)
        if occupied:
            self._by_agent.setdefault(record.agent_id, set()).add(unit)
        self.unknown_count += (record.state is _U) - (old.state is _U)


def _discard(index: dict[Any, set[UnitId]], key: object, unit: UnitId) -> None:
    members = index.get(key)
    if members is not None:
        members.discard(unit)
        if not members:
            del index[key]


def ended(unit: UnitRecord, cause: BlockCause, remaining_ms: int = 0) -> UnitRecord:
    """The record of a unit whose grant ended with its holder possibly inside. `remaining_ms`: for how long a holder
    that has not heard of the end may still move on the grant's own time.
    """
    return replace(unit, state=UnitState.BLOCKED, cause=cause, remaining_ms=remaining_ms, revoked=False)


def given_back(unit: UnitRecord) -> UnitRecord:
    """The record of a unit that its holder left; keeps the last holder, token and request for late repeats."""
    return UnitRecord(  # made anew because every release needs one: `replace` takes three times as long
        zone=unit.zone,
        slot=unit.slot,
        state=UnitState.FREE,
        agent_id=unit.agent_id,
        session=unit.session,
        token=unit.token,
        request_id=unit.request_id,
        payload=unit.payload,
        expected_ms=unit.expected_ms,
        incarnation=unit.incarnation,
    )


def never_used(unit: UnitRecord) -> UnitRecord:
    """The record of a unit whose grant was declined: free, or back to the residue that it came from."""
    return given_back(unit) if unit.cause is BlockCause.NONE else ended(unit, unit.cause)

"""The table of units by itself: which unit an agent would be given, and what a record keeps when it is given back."""

from __future__ import annotations

from dataclasses import fields, replace

from coordinator.core.model import BlockCause, CounterRecord, FloorSpec, UnitRecord, UnitState, ZoneSpec
from coordinator.core.zones import Units, given_back

HELD = UnitRecord(
    zone="A",
    slot=1,
    state=UnitState.HELD,
    agent_id="AGV_1",
    session="s",
    token=7,
    request_id="r",
    payload="p",
    expected_ms=1_000,
    remaining_ms=900,
    elapsed_ms=100,
    cause=BlockCause.PARKED,
    incarnation=3,
    revoked=True,
)


def units(*records: UnitRecord) -> Units:
    floor = FloorSpec("site", 1, "hash", (ZoneSpec("A", capacity=3),))
    return Units(floor, CounterRecord(3, 7, confirmed=True), records)


def test_a_record_that_is_given_back_keeps_all_but_what_was_of_its_grant_alone() -> None:
    assert all(getattr(HELD, f.name) != f.default for f in fields(UnitRecord)), "a field is not tried"
    ended = replace(HELD, state=UnitState.FREE, cause=BlockCause.NONE, remaining_ms=0, elapsed_ms=0, revoked=False)
    assert given_back(HELD) == ended


def test_the_first_free_unit_is_taken_and_an_own_residue_before_it() -> None:
    residue = replace(HELD, slot=2, state=UnitState.BLOCKED)
    table = units(replace(HELD, slot=0), residue)
    mine, other = table.takes("A", "AGV_1", "s"), table.takes("A", "AGV_2", "t")
    assert mine == residue
    assert other is not None
    assert other.slot == 1


def test_another_session_of_the_same_name_is_not_given_the_residue() -> None:
    table = units(*(replace(HELD, slot=slot, state=UnitState.BLOCKED) for slot in range(3)))
    assert table.takes("A", "AGV_1", "another session") is None

"""Records survive the way to bytes and back, and nothing else passes for a record."""

from __future__ import annotations

import json
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.core.model import (
    AuditRecord,
    CounterRecord,
    FloorRecord,
    Record,
    StopCause,
    StopRecord,
    UnitRecord,
    UnitState,
)
from coordinator.store.codec import LedgerCorrupt, decode, decode_ledger, encode
from coordinator.store.port import Loaded

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
COUNT = st.integers(0, 2**63)
PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXT,
    int: COUNT,
    bool: st.booleans(),
    tuple[str, ...]: st.lists(TEXT, max_size=5).map(tuple),
}
RECORDS = st.one_of(
    *(
        st.builds(kind, **{name: PLAIN[hint] for name, hint in hints.items() if hint in PLAIN})
        for kind in (UnitRecord, StopRecord, CounterRecord, FloorRecord, AuditRecord)
        for hints in [get_type_hints(kind)]
    )
)

HELD = UnitRecord(zone="Z_32", slot=0, state=UnitState.HELD, agent_id="AGV_07", token=(1 << 40) + 5, remaining_ms=8000)


def stored(record: Record, **changes: object) -> bytes:
    fields = json.loads(encode(record)) | changes
    return json.dumps({name: value for name, value in fields.items() if value is not ...}).encode()


@given(RECORDS)
def test_a_record_decodes_to_itself(record: Record) -> None:
    assert decode(record.key, encode(record)) == record


@given(RECORDS)
def test_a_stored_record_is_one_line_that_begins_with_kind_and_version(record: Record) -> None:
    line = encode(record)
    assert b"\n" not in line
    assert list(json.loads(line))[:2] == ["kind", "v"]


@given(st.lists(RECORDS, max_size=20))
def test_a_ledger_keeps_every_record_in_its_order(records: list[Record]) -> None:
    kept = {record.key: record for record in records}
    ledger = decode_ledger(Loaded({key: encode(record) for key, record in kept.items()}, revision=7, epoch=3))
    singles: list[Record] = [record for record in (ledger.counter, ledger.floor) if record is not None]
    found: list[Record] = [*ledger.units, *ledger.stops, *ledger.audit, *singles]
    assert {record.key: record for record in found} == kept
    assert len(found) == len(kept)
    assert [(u.zone, u.slot) for u in ledger.units] == sorted((u.zone, u.slot) for u in ledger.units)
    assert [a.seq for a in ledger.audit] == sorted(a.seq for a in ledger.audit)
    assert ledger.revision == 7


def test_fields_at_their_default_are_left_out() -> None:
    free = UnitRecord(zone="Z_1", slot=0, state=UnitState.FREE)
    assert encode(free) == b'{"kind":"unit","v":1,"zone":"Z_1","slot":0,"state":"FREE"}'


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (b"", "not JSON"),
        (encode(HELD)[:-3], "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"1" * 10_000, "not JSON"),
        (b"[1]", "a JSON list where an object belongs"),
        (stored(HELD, v=2), "v=2, but this zonelock reads 1"),
        (stored(HELD, v=True), "v=True"),
        (stored(HELD, v=...), "v=None"),
        (stored(HELD, kind="truck"), "kind 'truck' is none of unit, stop"),
        (stored(HELD, kind=[]), r"kind \[\] is none of"),
        (stored(HELD, slot=...), "field slot is missing"),
        (stored(HELD, slot=-1), "field slot is -1 where an integer not below 0 belongs"),
        (stored(HELD, token=True), "field token is True where an integer"),
        (stored(HELD, token=1.0), "field token is 1.0"),
        (stored(HELD, token=None), "field token is None"),
        (stored(HELD, state="HOLD"), "field state is 'HOLD' where one of 'FREE', 'HELD'"),
        (stored(HELD, agent_id=7), "field agent_id is 7 where a text belongs"),
        (stored(HELD, colour="red"), "unknown field\\(s\\) colour in a record of kind unit"),
        (stored(HELD, zone="Z_33"), "it says that it is 'unit/Z_33/0'"),
    ],
)
def test_a_value_that_is_not_the_record_is_refused_with_key_value_and_remedy(value: bytes, fault: str) -> None:
    with pytest.raises(LedgerCorrupt, match=fault) as caught:
        decode(HELD.key, value)
    assert "'unit/Z_32/0'" in str(caught.value)
    assert "Restore the store from a backup" in str(caught.value)
    assert caught.value.problems[0][:2] == (HELD.key, value)


@given(st.binary(max_size=60))
def test_noise_is_refused_and_never_raises_anything_else(noise: bytes) -> None:
    with pytest.raises(LedgerCorrupt):
        decode("unit/Z_1/0", noise)


def test_a_wrong_list_in_a_stop_is_refused() -> None:
    stop = StopRecord(
        "s1", StopCause.OPERATOR, floor=False, stop_groups=("g",), zones=("Z_1",), tripped_by="x", reason="y"
    )
    assert decode(stop.key, encode(stop)) == stop
    with pytest.raises(LedgerCorrupt, match="field zones is 'Z_1' where a list of texts belongs"):
        decode(stop.key, stored(stop, zones="Z_1"))


def test_every_unreadable_record_of_a_ledger_is_named_and_none_is_dropped() -> None:
    good = encode(HELD)
    loaded = Loaded({HELD.key: good, **{f"unit/Z_{i}/0": b"?" for i in range(7)}, "foreign": good}, revision=1, epoch=1)
    with pytest.raises(LedgerCorrupt, match=r"(?s)8 unreadable record.*and 3 more") as caught:
        decode_ledger(loaded)
    assert [key for key, _, _ in caught.value.problems] == ["foreign", *(f"unit/Z_{i}/0" for i in range(7))]

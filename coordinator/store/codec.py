"""Core records to bytes and back: what the stored bytes mean.

A record is one line of JSON with its kind and schema version first, so that `etcdctl get` and `sqlite3` show it
readably; fields at their default are left out. Reading is strict: whatever does not decode to exactly one record of its
own key raises `LedgerCorrupt` and is never dropped, because a dropped record is a zone given away twice (I1, I2).
Imports no store.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import MISSING, fields
from enum import StrEnum
from operator import attrgetter
from typing import Any, get_type_hints

from coordinator.core.model import (
    AuditRecord,
    ClosureRecord,
    CounterRecord,
    FloorRecord,
    Ledger,
    Record,
    StopRecord,
    UnitRecord,
)
from coordinator.store.port import Loaded, StoreError

SCHEMA = 1
"""Raised when a reader of the older form could misread the newer one."""

MAX_PROBLEMS_SHOWN = 5
MAX_VALUE_SHOWN = 200
_REMEDY = (
    "Nothing was changed. Restore the store from a backup; or, after checking on the floor what stands there, repair or"
    " delete the record by hand (`etcdctl get KEY`, or the `record` table of the SQLite file) and start again."
)


class LedgerCorrupt(StoreError):
    """The ledger holds something that this version cannot read. `problems` has one (key, value, fault) per record."""

    def __init__(self, problems: list[tuple[str, bytes, str]]) -> None:
        self.problems = tuple(problems)
        shown = [f"  {key!r}: {fault}; value {_shown(value)}" for key, value, fault in problems[:MAX_PROBLEMS_SHOWN]]
        if len(problems) > MAX_PROBLEMS_SHOWN:
            shown.append(f"  and {len(problems) - MAX_PROBLEMS_SHOWN} more")
        super().__init__("\n".join([f"the ledger has {len(problems)} unreadable record(s):", *shown, _REMEDY]))


class _Fault(Exception):
    """What is wrong with one record."""


def encode(record: Record) -> bytes:
    """The stored form of `record`. Raises ValueError when a text in it is not valid Unicode (a lone surrogate)."""
    return _FORM_OF_TYPE[type(record)].stored(record).encode()


def decode(key: str, value: bytes) -> Record:
    """The record that `encode` made; `key` must be its own. Raises LedgerCorrupt."""
    try:
        return _decode(key, value)
    except _Fault as fault:
        raise LedgerCorrupt([(key, value, str(fault))]) from None


def decode_ledger(loaded: Loaded) -> Ledger:
    """Everything that a store loaded, sorted. Raises LedgerCorrupt naming every unreadable record."""
    records: list[Record] = []
    problems: list[tuple[str, bytes, str]] = []
    for key, value in loaded.records.items():
        try:
            records.append(_decode(key, value))
        except _Fault as fault:
            problems.append((key, value, str(fault)))
    if problems:
        raise LedgerCorrupt(sorted(problems))
    return Ledger.of(records, revision=loaded.revision, epoch=loaded.epoch)


_dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode
_quoted: Callable[[Any], str] = json.encoder.encode_basestring
_TEXTS = (tuple[str, ...], tuple)
"""A field of several texts, as its class says it in Python and when compiled: mypyc keeps no more than `tuple`. In
Python a tuple of anything else has no reader, so the model cannot get one unnoticed.
"""
_WRITERS: dict[Any, Callable[[Any], str]] = {int: str, bool: _dumps, **dict.fromkeys(_TEXTS, _dumps)}
"""How a value of a field's type is written; all others are texts."""
_REQUIRED: Any = object()


def _text(value: object) -> str:
    if type(value) is not str:
        raise _Fault("a text")
    return value


def _number(value: object) -> int:
    if type(value) is not int or value < 0:
        raise _Fault("an integer not below 0")
    return value


def _flag(value: object) -> bool:
    if type(value) is not bool:
        raise _Fault("true or false")
    return value


def _texts(value: object) -> tuple[str, ...]:
    if type(value) is not list or not all(type(item) is str for item in value):
        raise _Fault("a list of texts")
    return tuple(value)


def _choice(enum: type[StrEnum]) -> Callable[[object], StrEnum]:
    members = {str(member): member for member in enum}
    right = "one of " + ", ".join(repr(name) for name in members)

    def read(value: object) -> StrEnum:
        member = members.get(value) if type(value) is str else None
        if member is None:
            raise _Fault(right)
        return member

    return read


def _reader(hint: Any) -> Callable[[object], object]:
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return _choice(hint)
    readers: dict[Any, Callable[[object], object]] = {
        str: _text,
        int: _number,
        bool: _flag,
        **dict.fromkeys(_TEXTS, _texts),
    }
    return readers[hint]


class _Form:
    """How records of one class are stored. Built from the class: model and stored fields cannot differ."""

    def __init__(self, kind: str, record_type: type[Record]) -> None:
        hints = get_type_hints(record_type)
        columns = fields(record_type)
        self.kind = kind
        self.record_type: Callable[..., Record] = record_type
        self.values_of: Callable[[Record], tuple[object, ...]] = attrgetter(*(c.name for c in columns))
        self.head = f'{{"kind":{_dumps(kind)},"v":{SCHEMA}'
        defaults = [_REQUIRED if c.default is MISSING else c.default for c in columns]
        writers = [_WRITERS.get(hints[c.name], _quoted) for c in columns]
        heads = [f",{_dumps(c.name)}:" for c in columns]
        self.columns = list(zip(heads, defaults, writers, strict=True))
        self.readers = [(c.name, c.default is MISSING, _reader(hints[c.name])) for c in columns]

    def stored(self, record: Record) -> str:
        """The record's JSON, put together here because every grant and release needs it: half the time of `json`."""
        columns = zip(self.columns, self.values_of(record), strict=True)
        said = [name + written(value) for (name, default, written), value in columns if value != default]
        return f"{self.head}{''.join(said)}}}"

    def read(self, stored: dict[str, object]) -> Record:
        """Takes its fields out of `stored`: what is left over is unknown."""
        values = {}
        for name, required, read in self.readers:
            if name in stored:
                value = stored.pop(name)
                try:
                    values[name] = read(value)
                except _Fault as right:
                    raise _Fault(f"field {name} is {value!r:.80} where {right} belongs") from None
            elif required:
                raise _Fault(f"field {name} is missing")
        try:
            return self.record_type(**values)
        except ValueError as error:
            raise _Fault(str(error)) from None


_FORMS = (
    _Form("unit", UnitRecord),
    _Form("stop", StopRecord),
    _Form("counter", CounterRecord),
    _Form("floor", FloorRecord),
    _Form("audit", AuditRecord),
    _Form("closure", ClosureRecord),
)
_FORM_OF_TYPE = {form.record_type: form for form in _FORMS}
_FORM_OF_KIND = {form.kind: form for form in _FORMS}


def _decode(key: str, value: bytes) -> Record:
    try:
        stored = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise _Fault(f"not JSON ({error})") from None
    if type(stored) is not dict:
        raise _Fault(f"a JSON {type(stored).__name__} where an object belongs")
    version = stored.pop("v", None)
    if type(version) is not int or version != SCHEMA:
        raise _Fault(
            f"schema version v={version!r}, but this zonelock reads {SCHEMA}"
            " (a newer version wrote it? then start that version again)"
        )
    kind = stored.pop("kind", None)
    form = _FORM_OF_KIND.get(kind) if type(kind) is str else None
    if form is None:
        raise _Fault(f"kind {kind!r:.80} is none of {', '.join(_FORM_OF_KIND)}")
    record = form.read(stored)
    if stored:
        raise _Fault(f"unknown field(s) {', '.join(sorted(stored))} in a record of kind {kind}")
    if record.key != key:
        raise _Fault(f"it says that it is {record.key!r}")
    return record


def _shown(value: bytes) -> str:
    text = value[:MAX_VALUE_SHOWN].decode(errors="backslashreplace")
    return f"{text} ..." if len(value) > MAX_VALUE_SHOWN else text

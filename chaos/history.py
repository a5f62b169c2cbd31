"""The recorded history of a run: one JSON object per line, written by the simulator and by live runs alike.

Rule: checkers know nothing but this file. Every line has `t` (integer milliseconds on the history's own clock, never
running backwards), `src` (who observed it) and `kind`; `SCHEMA` says which further fields a kind must and may have.
Keys are sorted and separators fixed, so that equal runs give equal bytes. Fields that begin with `x_` are the writer's
own and mean nothing to a checker. The first line is the header. `docs/history.md` is the format in words.

Never imports the product: `chaos.recording` turns its values into lines.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

FORMAT: Final = "zonelock-history"
VERSION: Final = 1
MAX_PROBLEMS: Final = 50
"""Problems named by one HistoryError; a file that is not a history at all has one on every line."""


class HistoryError(ValueError):
    """What is wrong with a history, each problem with its line number."""

    def __init__(self, source: str, problems: list[str]) -> None:
        self.source, self.problems = source, problems
        shown = problems[:MAX_PROBLEMS]
        more = f"\n... and {len(problems) - MAX_PROBLEMS} more" if len(problems) > MAX_PROBLEMS else ""
        super().__init__(f"{source} is no history of version {VERSION}:\n" + "\n".join(shown) + more)


@dataclass(frozen=True, slots=True)
class Line:
    """One line. `number` is its place in the file, the header being 1; 0 while it is in no file."""

    t: int
    src: str
    kind: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    number: int = 0

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]

    def get(self, name: str, default: Any = None) -> Any:
        return self.fields.get(name, default)

    def encode(self) -> str:
        """The line as it stands in a file, without its newline."""
        return json.dumps(
            {"t": self.t, "src": self.src, "kind": self.kind, **self.fields}, sort_keys=True, separators=(",", ":")
        )


# -- the schema ----------------------------------------------------------------------------------------------------

Check = Callable[[Any], bool]


def _integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _object(value: Any) -> bool:
    return isinstance(value, dict)


def _list_of(check: Check) -> Check:
    return lambda value: isinstance(value, list) and all(check(v) for v in value)


def _one_of(*words: str) -> Check:
    return lambda value: value in words


@dataclass(frozen=True, slots=True)
class Shape:
    """A field's type: how it is called in messages, and the check."""

    called: str
    check: Check


@dataclass(frozen=True, slots=True)
class KindSpec:
    """A kind of line: its purpose, and the fields it must and may have."""

    purpose: str
    must: Mapping[str, Shape]
    may: Mapping[str, Shape] = field(default_factory=dict)


INT = Shape("an integer", _integer)
TEXT = Shape("a string", _text)
FLAG = Shape("true or false", _flag)
OBJECT = Shape("an object", _object)
TEXTS = Shape("a list of strings", _list_of(_text))
INTS = Shape("a list of integers", _list_of(_integer))


def words(*choices: str) -> Shape:
    return Shape("one of " + ", ".join(choices), _one_of(*choices))


def _record(must: Mapping[str, Shape], may: Mapping[str, Shape] | None = None) -> Shape:
    """A list of objects with these fields."""
    optional = may or {}

    def fits(value: Any) -> bool:
        return (
            isinstance(value, dict)
            and all(name in value and shape.check(value[name]) for name, shape in must.items())
            and all(name in must or (name in optional and optional[name].check(v)) for name, v in value.items())
        )

    names = ", ".join((*must, *(f"{n}?" for n in optional)))
    return Shape(f"a list of objects with {names}", _list_of(fits))


ZONES = _record({"name": TEXT, "capacity": INT, "group": TEXT, "hold_max_ms": INT})
UNITS = _record(
    {"zone": TEXT, "slot": INT, "state": words("FREE", "HELD", "BLOCKED", "UNKNOWN"), "agent": TEXT, "token": INT},
    {
        "cause": TEXT,
        "session": TEXT,
        "request_id": TEXT,
        "expected_ms": INT,
        "remaining_ms": INT,
        "incarnation": INT,
    },
)
STOPS = _record(
    {"stop_id": TEXT, "active": FLAG},
    {
        "cause": TEXT,
        "floor": FLAG,
        "groups": TEXTS,
        "zones": TEXTS,
        "tripped_by": TEXT,
        "reset_by": TEXT,
        "reset_reason": TEXT,
        "token": INT,
        "deleted": FLAG,
    },
)
GRANTS = _record(
    {"token": INT, "zones": TEXTS},
    {"slots": INTS, "expected_ms": INT, "remaining_ms": INT, "request_id": TEXT, "echo_frame": INT},
)

ANSWERS = (
    "welcome",
    "granted",
    "queued",
    "rejected",
    "failed",
    "cancelled",
    "released",
    "abandoned",
    "extended",
    "warned",
    "expired",
    "revoked",
    "stop_raised",
    "stop_ended",
    "challenged",
    "claimed",
    "yield_to",
    "grants_revoked",
    "stops_reported",
    "zones_cleared",
)
OPERATIONS = (
    "heartbeat",
    "hello",
    "ask",
    "cancel",
    "release",
    "abandon",
    "decline",
    "extend",
    "telemetry",
    "stop_ack",
    "goodbye",
    "prove_vacancy",
    "claim",
    "trip_stop",
)

_ANSWER_FIELDS: dict[str, Shape] = {
    "conn": INT,
    "request_id": TEXT,
    "token": INT,
    "zones": TEXTS,
    "slots": INTS,
    "expected_ms": INT,
    "remaining_ms": INT,
    "echo_frame": INT,
    "reason": TEXT,
    "stop_id": TEXT,
    "stop_ids": TEXTS,
    "grants": GRANTS,
    "blocked_zones": TEXTS,
    "position": INT,
    "nonce": INT,
    "samples": INT,
    "can_finish": FLAG,
    "to_zone": TEXT,
    "retreat_zone": TEXT,
    "tokens": INTS,
    "blockers": TEXTS,
    "incarnation": INT,
}

SCHEMA: Final[Mapping[str, KindSpec]] = {
    "header": KindSpec(
        "the first line of every history",
        {"format": words(FORMAT), "version": INT, "origin": words("sim", "live", "story", "hand")},
        {"seed": INT, "note": TEXT},
    ),
    "floor": KindSpec(
        "capacities, stop groups and the times that both sides reckon with",
        {"zones": ZONES},
        {
            "site": TEXT,
            "rho_ppm": INT,
            "reattach_ms": INT,
            "suspend_ms": INT,
            "lost_ms": INT,
            "lease_ms": INT,
            "stop_file": FLAG,
        },
    ),
    "event": KindSpec(
        "a coordinator's core handled an event",
        {"coord": TEXT, "name": TEXT},
        {"run": INT, "agent": TEXT, "fields": OBJECT, "seq": INT},
    ),
    "step": KindSpec(
        "what the core decided: units and stops as they will be, and whom a stop must reach",
        {"coord": TEXT, "seq": INT},
        {"run": INT, "units": UNITS, "stops": STOPS, "counter": INT, "stop_to": TEXTS},
    ),
    "commit": KindSpec(
        "a transaction's outcome. ok: applied and known; lost: sent, answer lost; late: a lost one applied afterwards; "
        "refused: provably not applied",
        {"coord": TEXT, "epoch": INT, "outcome": words("ok", "lost", "late", "refused")},
        {
            "run": INT,
            "revision": INT,
            "txn": INT,
            "applied": FLAG,
            "upto": INT,
            "units": UNITS,
            "stops": STOPS,
            "counter": INT,
            "confirmed": FLAG,
            "incarnation": INT,
        },
    ),
    "takeover": KindSpec(
        "a coordinator loaded the ledger and leads from here (also after a reload)",
        {"coord": TEXT, "epoch": INT},
        {"run": INT, "revision": INT, "counter": INT, "incarnation": INT},
    ),
    "crash": KindSpec("a coordinator's process ended or was cut off for good", {"coord": TEXT}, {"why": TEXT}),
    "restart": KindSpec("a coordinator's process began", {"coord": TEXT}),
    "emit": KindSpec(
        "an answer leaves a coordinator, bound for an agent; with `stop` ahead of everything queued",
        {"coord": TEXT, "agent": TEXT, "answer": words(*ANSWERS)},
        {"run": INT, "seq": INT, "stop": FLAG, **_ANSWER_FIELDS},
    ),
    "deliver": KindSpec(
        "an answer reaches an agent",
        {"agent": TEXT, "answer": words(*ANSWERS)},
        {"coord": TEXT, **_ANSWER_FIELDS},
    ),
    "stop": KindSpec(
        "a raised stop reaches an agent or a stop output",
        {"agent": TEXT, "stop_id": TEXT},
        {"coord": TEXT, "conn": INT, "zones": TEXTS},
    ),
    "send": KindSpec(
        "an agent's operation leaves the agent",
        {"agent": TEXT, "op": words(*OPERATIONS)},
        {
            "conn": INT,
            "frame": INT,
            "request_id": TEXT,
            "token": INT,
            "zones": TEXTS,
            "expected_ms": INT,
            "inside": TEXTS,
            "stop_ids": TEXTS,
            "priority": INT,
            "no_wait": FLAG,
            "session": TEXT,
            "cause": TEXT,
            "nonce": INT,
            "standing_zones": TEXTS,
        },
    ),
    "body": KindSpec(
        "ground truth of a machine on the floor; `by` is self unless people or chance moved it",
        {"agent": TEXT, "what": words("enter", "leave", "start", "stop", "removed")},
        {"zone": TEXT, "by": words("self", "people", "fault"), "x_mm": INT, "y_mm": INT},
    ),
    "agent": KindSpec(
        "what an agent's own software did or knew",
        {
            "agent": TEXT,
            "what": words("boot", "reboot", "down", "link", "latched", "unlatched", "dead_man", "deadline", "lost"),
        },
        {
            "link": words("CONNECTED", "SUSPENDED", "LOST"),
            "stop_id": TEXT,
            "token": INT,
            "d_ms": INT,
            "stop_ms": INT,
            "reason": TEXT,
            "session": TEXT,
        },
    ),
    "operator": KindSpec(
        "a person's action; `operator` is empty when nobody was named",
        {"operator": TEXT, "action": words("stop", "reset", "clear", "revoke", "move_away", "confirm_empty")},
        {
            "reason": TEXT,
            "stop_ids": TEXTS,
            "zones": TEXTS,
            "agent": TEXT,
            "coord": TEXT,
            "outcome": words("ok", "refused", "unknown"),
        },
    ),
    "fault": KindSpec("what the nemesis did", {"what": TEXT}, {"target": TEXT, "detail": OBJECT, "keys": TEXTS}),
    "phase": KindSpec(
        "safety: faults may come; liveness: all is healed, and everyone is served within bound_ms",
        {"name": words("safety", "liveness", "end")},
        {"bound_ms": INT},
    ),
}


def problems_of(line: Line) -> list[str]:
    """What the schema has against a line, each naming the field, its value and what would be right."""
    spec = SCHEMA.get(line.kind)
    if spec is None:
        return [f"kind: {line.kind!r} is not one of {', '.join(SCHEMA)}"]
    found = [
        f"{name}: missing; a {line.kind} line has {shape.called}"
        for name, shape in spec.must.items()
        if name not in line.fields
    ]
    for name, value in line.fields.items():
        shape = spec.must.get(name) or spec.may.get(name)
        if shape is not None:
            if not shape.check(value):
                found.append(f"{name}: {value!r:.120} is not {shape.called}")
        elif not name.startswith("x_"):
            known = ", ".join((*spec.must, *spec.may))
            found.append(f"{name}: a {line.kind} line has no such field (it has {known}); prefix your own with x_")
    return found


# -- writing -------------------------------------------------------------------------------------------------------


class History:
    """A history being recorded, in memory and, when given a stream, in a file at the same time."""

    def __init__(
        self, *, origin: str = "sim", seed: int | None = None, note: str = "", out: IO[str] | None = None,
        validate: bool = True,
    ) -> None:  # fmt: skip
        """`validate` checks every line against the schema; a writer that is known to be right may save the time."""
        self.lines: list[Line] = []
        self._out, self._validate = out, validate
        self._digest = hashlib.sha256()
        header: dict[str, Any] = {"format": FORMAT, "version": VERSION, "origin": origin}
        if seed is not None:
            header["seed"] = seed
        if note:
            header["note"] = note
        self.add(0, "history", "header", **header)

    def add(self, t: int, src: str, kind: str, **fields: Any) -> Line:
        """Appends a line. Fields that are None are left out. Raises HistoryError when the schema or time forbids it."""
        number = len(self.lines) + 1
        line = Line(t, src, kind, {k: v for k, v in fields.items() if v is not None}, number)
        if self._validate:
            problems = problems_of(line)
            if self.lines and t < self.lines[-1].t:
                problems.append(f"t: {t} after {self.lines[-1].t}; a history's clock never runs backwards")
            if problems:
                raise HistoryError("the recording", [f"line {number} ({kind}): {p}" for p in problems])
        encoded = line.encode()
        self._digest.update(encoded.encode() + b"\n")
        if self._out is not None:
            self._out.write(encoded + "\n")
        self.lines.append(line)
        return line

    def __iter__(self) -> Iterator[Line]:
        return iter(self.lines)

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def digest(self) -> str:
        """SHA-256 over the lines so far: equal for equal runs."""
        return self._digest.hexdigest()

    def save(self, path: str | Path) -> None:
        Path(path).write_text("".join(line.encode() + "\n" for line in self.lines), "utf-8")


# -- reading -------------------------------------------------------------------------------------------------------


def read(path: str | Path) -> list[Line]:
    """Reads a history. Raises HistoryError with line numbers, OSError."""
    with Path(path).open(encoding="utf-8") as stream:
        return parse(stream, str(path))


def parse(rows: Iterable[str], source: str = "input") -> list[Line]:
    """Reads a history from its rows. Raises HistoryError."""
    lines: list[Line] = []
    problems: list[str] = []
    latest = 0
    for number, row in enumerate(rows, 1):
        line = _parse_row(row, number, problems)
        if line is None:
            continue
        if line.t < latest:
            problems.append(f"line {number}: t: {line.t} after {latest}; a history's clock never runs backwards")
        if (line.kind == "header") != (number == 1):
            problems.append(f"line {number}: the first line, and no other, is the header")
        if line.kind == "header" and line.get("version") != VERSION:
            problems.append(f"line {number}: version: {line.get('version')!r}; this reader knows {VERSION}")
        problems.extend(f"line {number} ({line.kind}): {p}" for p in problems_of(line))
        latest = max(latest, line.t)
        lines.append(line)
    if not lines and not problems:
        problems.append("line 1: empty; the first line is the header")
    if problems:
        raise HistoryError(source, problems)
    return lines


def _parse_row(row: str, number: int, problems: list[str]) -> Line | None:
    try:
        value = json.loads(row)
    except ValueError as error:
        problems.append(f"line {number}: not JSON: {error}")
        return None
    if not isinstance(value, dict):
        problems.append(f"line {number}: not an object")
        return None
    t, src, kind = value.pop("t", None), value.pop("src", None), value.pop("kind", None)
    if not _integer(t) or not _text(src) or not _text(kind):
        problems.append(f"line {number}: t: {t!r}, src: {src!r}, kind: {kind!r}; needs an integer and two strings")
        return None
    return Line(t, src, kind, value, number)

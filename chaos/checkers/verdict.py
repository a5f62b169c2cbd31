"""What a checker says: which promise was broken, when, and the lines that led there, in words.

Knows the history format and nothing of the product.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chaos.history import Line

MAX_VIOLATIONS = 20
"""Named by one checker over one history: after the first few, the rest are consequences."""

STORY_LINES = 16
"""Lines of the story before a violation."""

CONTEXT_KINDS = frozenset({"crash", "takeover", "restart", "fault", "phase"})
NOISE = frozenset({"telemetry", "heartbeat"})


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken promise. `line` is the number of the line that shows it."""

    invariant: str
    t: int
    line: int
    message: str
    story: tuple[Line, ...] = ()

    def __str__(self) -> str:
        told = "".join(f"\n    {tell(line)}" for line in self.story)
        return f"{self.invariant} at {self.t} ms, line {self.line}: {self.message}{told}"

    def as_json(self) -> dict[str, Any]:
        return {
            "invariant": self.invariant,
            "t": self.t,
            "line": self.line,
            "message": self.message,
            "story": [tell(line) for line in self.story],
        }


@dataclass(frozen=True, slots=True)
class About:
    """What a violation is about; picks the lines of its story."""

    agents: frozenset[str] = frozenset()
    zones: frozenset[str] = frozenset()
    tokens: frozenset[int] = frozenset()
    stops: frozenset[str] = frozenset()
    coords: frozenset[str] = frozenset()

    def concerns(self, line: Line) -> bool:
        if line.get("op") in NOISE or (line.kind == "event" and line["name"] in ("Reported", "Heard", "Ticked")):
            return False
        if line.kind in CONTEXT_KINDS:
            return True
        if line.kind == "commit" and line["outcome"] != "ok" and line.get("coord") in self.coords:
            return True
        agents, zones, tokens, stops = _mentions(line)
        if tokens & self.tokens or stops & self.stops:
            return True
        if zones and self.zones:
            return bool(zones & self.zones) and (not agents or not self.agents or bool(agents & self.agents))
        return not self.tokens and not self.stops and bool(agents & self.agents)


@dataclass(slots=True)
class Findings:
    """The violations of one checker over one history, each told once."""

    invariant: str
    lines: Sequence[Line]
    found: list[Violation] = field(default_factory=list)
    _seen: set[object] = field(default_factory=set)

    def add(
        self,
        line: Line,
        message: str,
        *,
        key: object = None,
        agents: Sequence[str] = (),
        zones: Sequence[str] = (),
        tokens: Sequence[int] = (),
        stops: Sequence[str] = (),
    ) -> None:
        """Notes a violation shown by `line`; the same `key` (by default the message) is noted once."""
        key = message if key is None else key
        if key in self._seen or len(self.found) >= MAX_VIOLATIONS:
            return
        self._seen.add(key)
        coord = line.get("coord")
        about = About(
            frozenset(agents),
            frozenset(zones),
            frozenset(tokens),
            frozenset(stops),
            frozenset([coord] if coord else []),
        )
        self.found.append(Violation(self.invariant, line.t, line.number, message, self._story(line, about)))

    def _story(self, line: Line, about: About) -> tuple[Line, ...]:
        """The newest lines up to this one that concern the same agents, zones, tokens or stops."""
        picked: list[Line] = [line]
        for earlier in reversed(self.lines[: max(0, line.number - 1)]):
            if len(picked) >= STORY_LINES:
                break
            if earlier.kind not in ("header", "floor") and about.concerns(earlier):
                picked.append(earlier)
        return tuple(reversed(picked))


def _mentions(line: Line) -> tuple[set[str], set[str], set[int], set[str]]:
    """Agents, zones, tokens and stop ids that a line names. Not for floor lines."""
    agents: set[str] = {line["agent"]} if line.get("agent") else set()
    zones: set[str] = set(line.get("zones") or ())
    tokens: set[int] = {line["token"]} if line.get("token") else set()
    stops: set[str] = set(line.get("stop_ids") or ())
    if line.get("zone"):
        zones.add(line["zone"])
    if line.get("stop_id"):
        stops.add(line["stop_id"])
    for unit in line.get("units") or ():
        agents.add(unit["agent"])
        zones.add(unit["zone"])
        tokens.add(unit["token"])
    for stop in line.get("stops") or ():
        stops.add(stop["stop_id"])
    for grant in line.get("grants") or ():
        tokens.add(grant["token"])
    fields = line.get("fields")
    if fields:
        zones.update(fields.get("zones") or ())
        stops.update(fields.get("stop_ids") or ())
        if fields.get("token"):
            tokens.add(fields["token"])
        if fields.get("stop_id"):
            stops.add(fields["stop_id"])
    return agents, zones, tokens, stops


# -- in words ------------------------------------------------------------------------------------------------------


def token_words(token: int) -> str:
    """A token for people: `7`, or `2:7` in a later incarnation."""
    incarnation, counter = token >> 40, token & ((1 << 40) - 1)
    return f"{counter}" if incarnation <= 1 else f"{incarnation}:{counter}"


def tell(line: Line) -> str:
    """One line in words."""
    who = line.get("coord") or line.src
    return f"{line.t:>9} ms  line {line.number:<5} {who:<8} {_said(line)}"


def _said(line: Line) -> str:
    head = line.kind
    if line.kind == "event":
        head = f"handles {line['name']}"
    elif line.kind == "deliver":
        head = f"{line['answer']} reaches {line['agent']}"
    elif line.kind == "emit":
        head = f"{line['answer']} leaves for {line['agent']}"
    elif line.kind == "send":
        head = f"{line['agent']} sends {line['op']}"
    elif line.kind == "stop":
        head = f"stop reaches {line['agent']}"
    elif line.kind == "body":
        head = f"{line['agent']}'s body: {line['what']}"
    elif line.kind == "agent":
        head = f"{line['agent']}: {line['what']}"
    elif line.kind == "commit":
        head = f"commit {line['outcome']} in epoch {line['epoch']}"
    elif line.kind == "operator":
        head = f"{line['operator'] or 'nobody named'}: {line['action']}"
    return " ".join([head, *_details(line)])


def _details(line: Line) -> list[str]:
    if line.kind == "floor":
        return [f"{len(line['zones'])} zones"]
    said = []
    if line.kind == "event" and line.get("agent"):
        said.append(f"of {line['agent']}")
    for source in (line.fields, line.get("fields") or {}):
        for name in ("zone", "stop_id", "link", "reason", "what", "why", "name", "target", "request_id", "by"):
            value = source.get(name)
            if value and not (name in ("what", "name") and line.kind in ("body", "agent", "event")):
                said.append(str(value))
        if source.get("token"):
            said.append(f"token {token_words(source['token'])}")
        lists = [source[name] for name in ("zones", "stop_ids") if source.get(name)]
        said.extend(", ".join(map(str, names)) for names in lists)
    said.extend(f"[{_unit_said(unit)}]" for unit in line.get("units") or ())
    said.extend(f"[stop {s['stop_id']} {'active' if s['active'] else 'ended'}]" for s in line.get("stops") or ())
    said.extend(f"[grant token {token_words(g['token'])}: {', '.join(g['zones'])}]" for g in line.get("grants") or ())
    return said


def _unit_said(unit: Mapping[str, Any]) -> str:
    occupant = f" {unit['agent']} token {token_words(unit['token'])}" if unit["agent"] else ""
    return f"{unit['zone']}/{unit['slot']} {unit['state']}{occupant}"

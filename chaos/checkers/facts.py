"""What several checkers reckon from a history: the floor, the durable ledger, what an agent was told and until when.

Rule: only what the lines say. The durable ledger is what applied transactions left; a coordinator's own knowledge of
it is what its own acknowledged commits and its loads showed it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chaos.history import Line

DEFAULT_RHO_PPM = 10_000
DEFAULT_REATTACH_MS = 2_000
DEFAULT_SUSPEND_MS = 1_500
DEFAULT_STOP_MS = 200
PPM = 1_000_000
FOREVER = 1 << 62

UnitId = tuple[str, int]
Unit = Mapping[str, Any]
Stop = Mapping[str, Any]


@dataclass(slots=True)
class Floor:
    """The newest floor line."""

    capacity: dict[str, int] = field(default_factory=dict)
    group: dict[str, str] = field(default_factory=dict)
    rho_ppm: int = DEFAULT_RHO_PPM
    reattach_ms: int = DEFAULT_REATTACH_MS
    suspend_ms: int = DEFAULT_SUSPEND_MS
    stop_file: bool = False

    def take(self, line: Line) -> None:
        self.capacity = {z["name"]: z["capacity"] for z in line["zones"]}
        self.group = {z["name"]: z["group"] for z in line["zones"]}
        self.rho_ppm = line.get("rho_ppm", DEFAULT_RHO_PPM)
        self.reattach_ms = line.get("reattach_ms", DEFAULT_REATTACH_MS)
        self.suspend_ms = line.get("suspend_ms", DEFAULT_SUSPEND_MS)
        self.stop_file = line.get("stop_file", False)

    def covers(self, stop: Stop, zone: str) -> bool:
        """Whether the zone lies in the stop's scope."""
        if stop.get("floor") or zone in stop.get("zones", ()):
            return True
        return self.group.get(zone) in stop.get("groups", ())


def is_applied(commit: Line) -> bool:
    """Whether a commit line says that the store now holds its writes."""
    return commit["outcome"] in ("ok", "late") or (commit["outcome"] == "lost" and bool(commit.get("applied")))


@dataclass(slots=True)
class Ledger:
    """What transactions left. Also one coordinator's picture of it, when fed only with what that one knows."""

    units: dict[UnitId, Unit] = field(default_factory=dict)
    stops: dict[str, Stop] = field(default_factory=dict)
    counter: int = 0
    incarnation: int = 1
    confirmed: bool = False

    def apply(self, line: Line) -> None:
        for unit in line.get("units") or ():
            self.units[unit["zone"], unit["slot"]] = unit
        for stop in line.get("stops") or ():
            self.stops[stop["stop_id"]] = stop
        self.counter = line.get("counter", self.counter)
        self.incarnation = line.get("incarnation", self.incarnation)
        self.confirmed = line.get("confirmed", self.confirmed)

    def copy(self) -> Ledger:
        return Ledger(dict(self.units), dict(self.stops), self.counter, self.incarnation, self.confirmed)

    def state(self, unit: UnitId) -> str:
        """The unit's state; a record of an earlier incarnation, or none at all, means the ledger's baseline."""
        record = self.units.get(unit)
        if record is None or record.get("incarnation", 1) < self.incarnation:
            return "FREE" if self.confirmed else "UNKNOWN"
        return str(record["state"])

    def with_token(self, token: int) -> list[Unit]:
        """Units whose newest token this is."""
        return [u for u in self.units.values() if u["token"] == token]

    def active_stops(self) -> list[Stop]:
        return [self.stops[s] for s in sorted(self.stops) if self.stops[s]["active"]]


@dataclass(slots=True)
class Sessions:
    """Whose session speaks on a stream. A second client of the same name is on a stream of its own."""

    _of: dict[tuple[str, int | None, str], str] = field(default_factory=dict)

    def take(self, line: Line) -> None:
        """Any event line; only a Hello tells."""
        if line["name"] == "Hello":
            fields, agent = line.get("fields") or {}, line.get("agent", "")
            for conn in (fields.get("conn"), None):
                self._of[line["coord"], conn, agent] = fields.get("session", "")

    def of(self, line: Line) -> str:
        """The session behind an event, or the one that an emit goes to. Without a stream: the agent's newest; empty
        when no hello of it was seen.
        """
        fields = line.get("fields") or {}
        return self._of.get((line["coord"], line.get("conn", fields.get("conn")), line.get("agent", "")), "")


def is_occupied(unit: Unit | None) -> bool:
    return unit is not None and unit["state"] in ("HELD", "BLOCKED")


@dataclass(slots=True)
class Frames:
    """When each frame left, by the history's clock. A frame belongs to its stream: to `conn` where the history numbers
    streams, else to the agent.
    """

    sent: dict[tuple[int | str, int], int] = field(default_factory=dict)

    def take(self, line: Line) -> None:
        frame = line.get("frame")
        if frame is not None:
            self.sent.setdefault((line.get("conn", line["agent"]), frame), line.t)

    def latest_end(self, line: Line, grant: Mapping[str, Any]) -> int:
        """By when the holder of an answer stands still at the latest, whatever its clock within rho: t_send(echoed
        frame) + remaining. `grant` is the answer, or one grant of a welcome. FOREVER when the history does not say.
        """
        echo, remaining_ms = grant.get("echo_frame", line.get("echo_frame")), grant.get("remaining_ms")
        if echo is None or remaining_ms is None:
            return FOREVER
        sent = self.sent.get((line.get("conn", line["agent"]), echo))
        return FOREVER if sent is None else int(sent + remaining_ms)


def records_emits(lines: Sequence[Line]) -> bool:
    """Whether the history has the answers as they leave; if not, checkers go by what arrives, and see less."""
    return any(line.kind == "emit" and line["answer"] != "stop_raised" for line in lines)


def granted_in(line: Line) -> Iterator[Mapping[str, Any]]:
    """The grants that an emit or deliver line carries: one of `granted`, all of `welcome`."""
    if line["answer"] == "granted":
        yield line.fields
    elif line["answer"] == "welcome":
        yield from line.get("grants") or ()


def slots_of(grant: Mapping[str, Any]) -> list[tuple[str, int | None]]:
    """The grant's zones with their slots, None where the history does not say."""
    zones: Sequence[str] = grant.get("zones") or ()
    slots: Sequence[int] = grant.get("slots") or ()
    return [(zone, slots[i] if i < len(slots) else None) for i, zone in enumerate(zones)]

"""Things that go wrong on demand, and the words to order them with.

    KIND:AGENT[@ZONE][+DELAY][~LATENESS][/DURATION]

    stall:AGV_03@Z_32+10s     from second 10 on, the next time AGV_03 is in Z_32 its drive fails
    vanish:AGV_05+20s         at second 20 its computer dies: no goodbye, the body stays until an operator clears it
    overstay:AGV_02@Z_32      its task hangs in Z_32: the link lives, nothing is released or extended
    late:AGV_01+5s~800ms/10s  for ten seconds it handles every answer 800 ms late

Without @ZONE the incident strikes wherever the agent is. Stall and overstay end after /DURATION, or else with the
reset of the stop that they led to: an operator who resets has looked after the vehicle. The one rule here: bad text
is refused whole, with the field, the value and the right form. Imports nothing of the SDK.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

FORM = "KIND:AGENT[@ZONE][+DELAY][~LATENESS][/DURATION]"
EXAMPLE = "stall:AGV_03@Z_32+10s"
DEFAULT_LATE_MS = 500
MAX_MS = 86_400_000


class IncidentKind(StrEnum):
    STALL = "stall"
    VANISH = "vanish"
    OVERSTAY = "overstay"
    LATE = "late"


class IncidentError(ValueError):
    """The text is not an incident; the message says what would be."""


@dataclass(frozen=True, slots=True)
class Incident:
    kind: IncidentKind
    agent_id: str
    zone: str | None = None
    delay_ms: int = 0
    duration_ms: int | None = None
    late_ms: int = 0

    def __str__(self) -> str:
        text = f"{self.kind}:{self.agent_id}"
        text += f"@{self.zone}" if self.zone else ""
        text += f"+{_duration_text(self.delay_ms)}" if self.delay_ms else ""
        text += f"~{_duration_text(self.late_ms)}" if self.kind is IncidentKind.LATE else ""
        return text + (f"/{_duration_text(self.duration_ms)}" if self.duration_ms is not None else "")


_SHAPE = re.compile(r"(?P<kind>[^:]*):(?P<agent>[^@+~/]*)(?:@(?P<zone>[^+~/]*))?(?P<times>(?:[+~/][^+~/]*)*)")
_TIMES = {"+": "delay", "~": "lateness", "/": "duration"}
_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "min": 60_000}


def parse_incident(text: str) -> Incident:
    """Reads one incident. Raises IncidentError."""
    match = _SHAPE.fullmatch(text.strip())
    if match is None:
        raise IncidentError(f"incident {text!r}: no ':' after the kind; write {FORM}, for example {EXAMPLE}")
    kind = _kind(text, match["kind"].strip())
    agent = match["agent"].strip()
    if not agent:
        raise IncidentError(f"incident {text!r}: the agent is missing; write {FORM}, for example {EXAMPLE}")
    zone = match["zone"]
    if zone is not None and not zone.strip():
        raise IncidentError(f"incident {text!r}: the zone after '@' is missing; name one, or leave '@' out")
    times = _times(text, match["times"])
    if "lateness" in times and kind is not IncidentKind.LATE:
        raise IncidentError(f"incident {text!r}: '~' gives a lateness, which only 'late' has; leave it out")
    if "duration" in times and kind is IncidentKind.VANISH:
        raise IncidentError(f"incident {text!r}: 'vanish' is for good and takes no '/' duration; leave it out")
    return Incident(
        kind=kind,
        agent_id=agent,
        zone=zone.strip() if zone is not None else None,
        delay_ms=times.get("delay", 0),
        duration_ms=times.get("duration"),
        late_ms=times.get("lateness", DEFAULT_LATE_MS) if kind is IncidentKind.LATE else 0,
    )


def check_incidents(incidents: Collection[Incident], agents: Collection[str], zones: Collection[str]) -> None:
    """Raises IncidentError for an agent or a zone that this run does not have."""
    for incident in incidents:
        if incident.agent_id not in agents:
            raise IncidentError(
                f"incident {incident}: no agent {incident.agent_id!r} in this run; it has {_some(agents)}"
            )
        if incident.zone is not None and incident.zone not in zones:
            raise IncidentError(f"incident {incident}: the floor has no zone {incident.zone!r}; it has {_some(zones)}")


def _kind(text: str, kind: str) -> IncidentKind:
    try:
        return IncidentKind(kind.lower())
    except ValueError:
        kinds = ", ".join(IncidentKind)
        raise IncidentError(f"incident {text!r}: kind {kind!r} is none of {kinds}; for example {EXAMPLE}") from None


def _times(text: str, times: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for sign, value in re.findall(r"([+~/])([^+~/]*)", times):
        name = _TIMES[sign]
        if name in found:
            raise IncidentError(f"incident {text!r}: the {name} ('{sign}') is given twice; give it once")
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|min)", value.strip())
        if match is None:
            raise IncidentError(f"incident {text!r}: {name} {value!r} needs a number and ms, s or m, such as 10s")
        found[name] = round(float(match[1]) * _UNITS_MS[match[2]])
        if found[name] > MAX_MS:
            raise IncidentError(f"incident {text!r}: {name} {value!r} is longer than a day; give less")
    return found


def _duration_text(value_ms: int) -> str:
    return f"{value_ms // 1_000}s" if value_ms % 1_000 == 0 else f"{value_ms}ms"


def _some(names: Collection[str]) -> str:
    shown = sorted(names)[:8]
    return ", ".join(shown) + (f" and {len(names) - len(shown)} more" if len(names) > len(shown) else "")

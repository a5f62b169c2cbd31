"""What every public name means and what to try: refusals, rejections, block causes and exit codes, in one lookup.

Rule owned: each name that zonelock ever shows to a person has a row here; tests compare the rows with the protocol's
enums. Refusals come from the coordinator's own public table, so that the two never disagree. Imports nothing else of
the coordinator.
"""

from __future__ import annotations

from dataclasses import dataclass

from zonelock_cli.exits import EXITS


@dataclass(frozen=True, slots=True)
class Entry:
    """One explained name. `kind` is refusal, rejection, block cause, blocker, zone state or exit code."""

    kind: str
    name: str
    meaning: str
    remedy: str
    grpc_code: str = ""
    retry_ms: int = 0


REJECTIONS: dict[str, tuple[str, str]] = {
    "STOPPED": (
        "An emergency stop covers a zone of the ask.",
        "`zonelock status` shows the stop and why; after `zonelock reset` ask again.",
    ),
    "BUSY": ("The ask said no_wait and the zones are not free.", "Ask without no_wait to queue, or ask later."),
    "ALREADY_HELD": ("The agent has a live grant for a zone of the ask.", "Extend that grant, or leave the zone out."),
    "STILL_INSIDE": (
        "The agent's latest position is inside a zone that it gives back.",
        "Leave the zone with the whole contour, report the position, then release.",
    ),
    "GRANT_ENDED": (
        "The grant ended (deadline or stop) before the release came.",
        "Ask for the zone again to carry on, or have an operator clear it: `zonelock clear`.",
    ),
    "ALREADY_RELEASED": (
        "The zones were given back before; nothing is held under this request.",
        "Ask under a fresh id.",
    ),
    "HOLD_LIMIT": (
        "An extension would pass the zone's hold_max_ms.",
        "Leave in time, or raise hold_max_ms on the floor.",
    ),
    "STALE_TELEMETRY": ("The extension came without fresh telemetry.", "Report the position first, then extend."),
    "NEVER": ("The ask can never be granted to this agent as things stand.", "Ask for fewer zones or less time."),
    "STILL_HOLDING": ("The agent says goodbye while it still occupies zones.", "Release or leave its zones first."),
    "REVOKED": (
        "An operator is taking the grant back; it cannot be extended.",
        "Stand still; the SDK confirms by itself.",
    ),
    "CLOSED": (
        "A zone of the ask is closed, for maintenance say; it grants nothing new.",
        "Go another way; `zonelock zones` says who closed it and why; after `zonelock open` ask again.",
    ),
    "WOULD_DEADLOCK": (
        "Waiting cannot help: others wait for what the agent holds.",
        "Plan another way, or draw back to the zone that the message names.",
    ),
    "WAIT_ENDED": ("The wait ran out, or the waiting agent's stream ended.", "Ask again, or wait longer."),
}

BLOCK_CAUSES: dict[str, tuple[str, str]] = {
    "OVERDUE": (
        "The deadline passed without a release, and a stop was tripped.",
        "Look at the floor; reset the stop, then let the agent ask again or clear its zones.",
    ),
    "ABANDONED": (
        "The holder gave the grant up while it may still be inside.",
        "Let the agent ask for the zone again, or look and `zonelock clear` it.",
    ),
    "PARKED": ("The agent stands there on purpose and needs no deadline.", "It frees the zone when it moves on."),
    "DECLARED": ("The agent said at hello that it stands there.", "It frees the zone when it moves on."),
    "UNCERTAIN": (
        "The coordinator ended the grant before its holder saw it, and cannot know whether it moved.",
        "Look at the floor, then `zonelock clear` the zone.",
    ),
}
"""STOPPED is a block cause too; its row among the rejections says the same thing to do."""

STATES: dict[str, tuple[str, str]] = {
    "FREE": ("Nobody occupies the zone and no stop covers it.", "Ask for it."),
    "HELD": ("At least one live grant, and no occupant without one.", "`zonelock zones NAME` shows whose."),
    "BLOCKED": (
        "Someone without a live grant may still be inside.",
        "`zonelock explain AGENT` shows why; `zonelock clear` once the zone is seen empty.",
    ),
    "UNKNOWN": (
        "Never confirmed empty since the ledger began.",
        "Walk the floor, then `zonelock clear --all-unknown --reason TEXT`.",
    ),
    "UNSAFE": (
        "The zone is free, but taking it now would keep another agent from ever arriving.",
        "Wait; it is granted when the agents named have moved.",
    ),
    "RESERVED": ("An earlier waiter of the same or a higher priority goes first.", "Wait; the order is kept."),
}

_PREFIXES = ("REJECT_REASON_", "BLOCK_CAUSE_", "ZONE_STATE_", "BLOCKER_KIND_", "SLOT_STATE_", "EXIT_", "EXIT ")


def entries() -> list[Entry]:
    """Every row: exit codes by number, then the rest by kind and name."""
    from coordinator.core.rejections import REFUSALS

    rows = [Entry("exit code", str(int(c)), e.meaning, e.remedy) for c, e in sorted(EXITS.items())]
    rows += [
        Entry("refusal", r.value, e.meaning, e.remedy, e.code.value, e.retry_ms) for r, e in sorted(REFUSALS.items())
    ]
    for kind, table in (("rejection", REJECTIONS), ("block cause", BLOCK_CAUSES), ("state", STATES)):
        rows += [Entry(kind, name, *table[name]) for name in sorted(table)]
    return rows


def explain(name: str) -> list[Entry]:
    """The rows called `name`, blind to case and the protocol's prefixes; a gRPC code gives all refusals that use it."""
    wanted = name.strip().upper().replace("-", "_")
    for prefix in _PREFIXES:
        wanted = wanted.removeprefix(prefix)
    rows = entries()
    return [r for r in rows if r.name == wanted] or [r for r in rows if r.grpc_code == wanted]


def refusal_remedy(reason: str) -> str:
    """What to try about a refusal or rejection; empty when the reason is not public."""
    return next((r.remedy for r in explain(reason) if r.kind in ("refusal", "rejection")), "")

"""Why one agent stands where it stands: what it holds, what it left behind, whom it waits for, and what would end that.

Rule owned: every answer ends in something that a person can do or wait for. Pure: reads a `Picture`, speaks to nobody,
and gives the same story for the same picture (everything is sorted before it is told).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from zonelock_cli.output import duration, since
from zonelock_cli.picture import Picture
from zonelock_cli.tables import BLOCK_CAUSES, STATES

CHAIN_MAX = 16
"""How many agents in a row are followed from one waiter to whoever started it."""


@dataclass(frozen=True, slots=True)
class Story:
    """What is known of one agent, in the JSON shape of `zonelock explain`."""

    agent_id: str
    kind: str
    link: str
    state: str
    summary: str
    activity: str
    holds: tuple[dict[str, Any], ...]
    blocked: tuple[dict[str, Any], ...]
    waits: tuple[dict[str, Any], ...]
    stops: tuple[dict[str, Any], ...]
    chain: tuple[str, ...]
    resolve: tuple[str, ...]

    @property
    def clause(self) -> str:
        """The summary without the agent's name and without what the rest of the story says at length."""
        return self.summary.removeprefix(f"{self.agent_id} ").partition(";")[0]

    def document(self) -> dict[str, Any]:
        return {
            "agent_id": self.agent_id,
            "kind": self.kind,
            "link": self.link,
            "state": self.state,
            "summary": self.summary,
            "activity": self.activity,
            "holds": list(self.holds),
            "blocked": list(self.blocked),
            "waits": list(self.waits),
            "stops": list(self.stops),
            "chain": list(self.chain),
            "resolve": list(self.resolve),
        }


def tell(picture: Picture, agent_id: str) -> Story:
    """The story of an agent of the picture. The caller has checked that the picture knows it."""
    agent = picture.agents.get(agent_id, {})
    holds = tuple(_hold(z, o) for z, o in picture.occupancies(agent_id) if o["state"] == "HELD")
    blocked = tuple(_left(z, o) for z, o in picture.occupancies(agent_id) if o["state"] != "HELD")
    waits = tuple(picture.waits_of(agent_id))
    stops = tuple(_stops_of(picture, agent_id, agent, holds, blocked, waits))
    link = agent.get("link") or "GONE"
    state = _state(link, holds, blocked, waits, stops)
    return Story(
        agent_id=agent_id,
        kind=agent.get("kind", ""),
        link=link,
        state=state,
        summary=agent.get("explanation") or _summary(state, holds, blocked, waits, stops),
        activity=agent.get("activity", ""),
        holds=holds,
        blocked=blocked,
        waits=waits,
        stops=stops,
        chain=tuple(_chain(picture, agent_id)),
        resolve=tuple(_resolve(agent_id, link, holds, blocked, waits, stops)),
    )


def _hold(zone: dict[str, Any], occupant: dict[str, Any]) -> dict[str, Any]:
    return {
        "zone": zone["name"],
        "slot": occupant["slot"],
        "token": occupant["token"],
        "since_ms": occupant["since_ms"],
        "remaining_ms": occupant["remaining_ms"],
        "orphaned": occupant["orphaned"],
    }


def _left(zone: dict[str, Any], occupant: dict[str, Any]) -> dict[str, Any]:
    cause = occupant["cause"]
    why, resolve = _cause_rows().get(cause, ("Occupied without a live grant.", "Look, then `zonelock clear` the zone."))
    return {
        "zone": zone["name"],
        "slot": occupant["slot"],
        "token": occupant["token"],
        "cause": cause,
        "since_ms": occupant["since_ms"],
        "why": why,
        "resolve": resolve,
    }


def _cause_rows() -> dict[str, tuple[str, str]]:
    stopped = (
        "A stop ended the grant while its holder may be inside.",
        "Reset the stop; the agent's next ask takes the zone up again.",
    )
    return {**BLOCK_CAUSES, "STOPPED": stopped}


def _stops_of(
    picture: Picture,
    agent_id: str,
    agent: dict[str, Any],
    holds: tuple[dict[str, Any], ...],
    blocked: tuple[dict[str, Any], ...],
    waits: tuple[dict[str, Any], ...],
) -> list[dict[str, Any]]:
    """Active stops that the agent latched, that wait for it, or that cover a zone it is in or wants."""
    zones = {h["zone"] for h in (*holds, *blocked)} | {z for w in waits for z in w["zones"]}
    ids = set(agent.get("stop_ids", ()))
    ids |= {i for z in zones if z in picture.zones for i in picture.zones[z]["stop_ids"]}
    return [s for s in picture.active_stops() if s["stop_id"] in ids or agent_id in s["unconfirmed"]]


def _state(link: str, holds: Any, blocked: Any, waits: Any, stops: Any) -> str:
    for present, name in ((stops, "STOPPED"), (blocked, "BLOCKED"), (waits, "WAITING")):
        if present:
            return name
    if link == "GONE":
        return "GONE"
    return "HOLDING" if holds else "IDLE"


def _summary(state: str, holds: Any, blocked: Any, waits: Any, stops: Any) -> str:
    """For a coordinator that has no sentence of its own: an occupant that has not been back since a restart."""
    match state:
        case "STOPPED":
            return f"stopped by {stops[0]['stop_id']}: {stops[0]['reason']}"
        case "BLOCKED":
            return f"occupies {_names(blocked)} without a live grant{since(blocked[0]['since_ms'])}"
        case "WAITING":
            return f"waits for {', '.join(waits[0]['zones'])}{since(waits[0]['waiting_ms'])}"
        case "GONE":
            return f"has no stream to the coordinator and holds {_names(holds) or 'nothing'}"
        case "HOLDING":
            return f"holds {_names(holds)}"
        case _:
            return "is connected, holds nothing and waits for nothing"


def _names(rows: Any) -> str:
    return ", ".join(r["zone"] for r in rows)


def _chain(picture: Picture, agent_id: str) -> list[str]:
    """Follows the first blocker of each waiter to whoever is waiting for nobody, or back into a circle."""
    lines: list[str] = []
    seen = {agent_id}
    current = agent_id
    while len(lines) < CHAIN_MAX:
        blockers = [b for w in picture.waits_of(current) for b in w["blockers"]]
        named = [b for b in blockers if b["agent_id"] and b["agent_id"] != current]
        if not named:
            lines += [_unmanned(current, b) for b in blockers[:1]]
            return lines
        blocker = min(named, key=lambda b: (-int(b["since_ms"]), str(b["zone"]), str(b["agent_id"])))
        other = blocker["agent_id"]
        lines.append(f"{current} waits for {other} ({blocker['kind']} {blocker['zone']}{since(blocker['since_ms'])})")
        if other in seen:
            lines.append(f"{other} is in this chain already: they wait for each other")
            return lines
        seen.add(other)
        current = other
    return lines


def _unmanned(agent_id: str, blocker: dict[str, Any]) -> str:
    return f"{agent_id} waits for {blocker['zone']}, which is {blocker['kind']}{since(blocker['since_ms'])}"


def _resolve(
    agent_id: str,
    link: str,
    holds: tuple[dict[str, Any], ...],
    blocked: tuple[dict[str, Any], ...],
    waits: tuple[dict[str, Any], ...],
    stops: tuple[dict[str, Any], ...],
) -> list[str]:
    """What would end each thing that keeps the agent, most urgent first, no line twice."""
    lines: list[str] = []
    for stop in stops:
        missing = stop["unconfirmed"]
        if missing:
            lines.append(
                f"{stop['stop_id']} waits for {', '.join(missing)} to acknowledge, or for "
                f"`zonelock clear --agent NAME --reason TEXT` by someone who looked"
            )
        lines.append(f"`zonelock reset {stop['stop_id']} --reason TEXT` once the area is safe")
    for left in blocked:
        if left["cause"] in ("PARKED", "DECLARED"):
            lines.append(f"{left['zone']}: it frees the zone when it moves on")
        else:
            lines.append(
                f"{left['zone']}: {agent_id} asks for it again, or `zonelock clear {left['zone']} --agent {agent_id} "
                f"--reason TEXT` by someone who saw it empty"
            )
    for wait in waits:
        lines += [f"{b['zone']}: {b['detail'] or STATES.get(b['kind'], ('', 'wait'))[1]}" for b in wait["blockers"]]
    if link == "GONE" and holds:
        soonest = min(int(h["remaining_ms"]) for h in holds)
        lines.append(f"{agent_id} comes back with its session within {duration(soonest)}, or its zones' group stops")
    elif link != "CONNECTED" and not holds and not blocked:
        lines.append(f"{agent_id} connects again; it occupies nothing, so nobody waits for it")
    elif holds and not lines:
        soonest = min(int(h["remaining_ms"]) for h in holds)
        lines.append(f"nothing to do: it has {duration(soonest)} to leave or extend")
    return list(dict.fromkeys(lines)) or ["nothing to do"]

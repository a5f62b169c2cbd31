"""What a watcher may see: zones, agents, waits and stops of one machine, and why things are as they are.

A zone's shown state is derived from independent facts, never stored: an active stop over it, an occupant without a
live grant, a unit never confirmed empty, a live grant. Every wait and every stop carries its explanation, so that the
page, `explain` and a client's Queued answer say the same. Views show decisions that may still be on their way to the
store (a few milliseconds).
"""

from __future__ import annotations

from dataclasses import dataclass

from coordinator.core.asking import blocker_of
from coordinator.core.effects import Blocker
from coordinator.core.explaining import explain as explain
from coordinator.core.explaining import explain_stop, explain_zone, stops_on
from coordinator.core.grants import GrantPhase
from coordinator.core.machine import Machine
from coordinator.core.model import BlockCause, StopCause, UnitRecord, UnitState, ZoneState


@dataclass(frozen=True, slots=True)
class Occupant:
    slot: int
    state: UnitState
    agent_id: str
    token: int
    cause: BlockCause
    orphaned: bool
    remaining_ms: int
    since_ms: int


@dataclass(frozen=True, slots=True)
class ZoneView:
    name: str
    state: ZoneState
    capacity: int
    stop_group: str
    occupants: tuple[Occupant, ...]
    stop_ids: tuple[str, ...]
    waiters: int
    explanation: str


@dataclass(frozen=True, slots=True)
class AgentView:
    """`link` is CONNECTED, SILENT or GONE; `removed` says that nothing is known of the agent any more."""

    agent_id: str
    kind: str
    link: str
    position: tuple[int, int] | None
    heading_mdeg: int
    inside_zones: tuple[str, ...]
    held_zones: tuple[str, ...]
    stop_ids: tuple[str, ...]
    explanation: str
    activity: str
    removed: bool


@dataclass(frozen=True, slots=True)
class WaitView:
    agent_id: str
    request_id: str
    zones: tuple[str, ...]
    priority: int
    waiting_ms: int
    position: int
    blockers: tuple[Blocker, ...]


@dataclass(frozen=True, slots=True)
class StopView:
    stop_id: str
    cause: StopCause
    floor: bool
    stop_groups: tuple[str, ...]
    zones: tuple[str, ...]
    tripped_by: str
    reason: str
    active: bool
    reset_by: str
    reset_reason: str
    age_ms: int
    acknowledged_by: tuple[str, ...]
    unconfirmed: tuple[str, ...]
    late: tuple[str, ...]
    explanation: str


@dataclass(frozen=True, slots=True)
class TotalsView:
    grants: int
    releases: int
    stops: int
    live_grants: int
    connected_agents: int
    waiting: int


def zone_view(machine: Machine, name: str, now_ms: int) -> ZoneView:
    units = machine.units.of(name)
    stop_ids = tuple(s.stop_id for s in machine.stops.covering(name))
    spec = machine.units.spec[name]
    occupants = tuple(_occupant(machine, u, now_ms) for u in units if u.state is not UnitState.FREE)
    return ZoneView(
        name,
        shown_state(units, stop_ids, closed=name in machine.closures),
        spec.capacity,
        spec.stop_group,
        occupants,
        stop_ids,
        machine.queue.count_for(name),
        explain_zone(machine, name, now_ms),
    )


def shown_state(units: list[UnitRecord], stop_ids: tuple[str, ...], *, closed: bool = False) -> ZoneState:
    """STOPPED over BLOCKED over UNKNOWN over CLOSED over HELD over FREE: what keeps an agent out the longest."""
    states = {u.state for u in units}
    if stop_ids:
        return ZoneState.STOPPED
    if UnitState.BLOCKED in states:
        return ZoneState.BLOCKED
    if UnitState.UNKNOWN in states:
        return ZoneState.UNKNOWN
    if closed:
        return ZoneState.CLOSED
    return ZoneState.HELD if UnitState.HELD in states else ZoneState.FREE


def _occupant(machine: Machine, unit: UnitRecord, now_ms: int) -> Occupant:
    grant = machine.grants.get(unit.token) if unit.state is UnitState.HELD else None
    live = grant is not None and grant.phase is GrantPhase.LIVE
    unknown = unit.state is UnitState.UNKNOWN
    return Occupant(
        slot=unit.slot,
        state=unit.state,
        agent_id="" if unknown else unit.agent_id,
        token=unit.token,
        cause=unit.cause if unit.state is UnitState.BLOCKED else BlockCause.NONE,
        orphaned=unit.state is UnitState.HELD and not machine.is_streaming(unit),
        remaining_ms=grant.deadline_ms - now_ms if grant is not None and live else 0,
        since_ms=machine.taken_for_ms(unit, now_ms),
    )


def agent_ids(machine: Machine) -> list[str]:
    """Every agent with a session or an occupancy."""
    return sorted(set(machine.sessions) | set(machine.units.agents()))


def agent_view(machine: Machine, agent_id: str, now_ms: int) -> AgentView:
    session = machine.sessions.get(agent_id)
    units = machine.units.of_agent(agent_id)
    return AgentView(
        agent_id=agent_id,
        kind=session.kind if session is not None else "",
        link=_link(machine, agent_id),
        position=session.position if session is not None else None,
        heading_mdeg=session.heading_mdeg if session is not None else 0,
        inside_zones=(session.inside or ()) if session is not None else (),
        held_zones=tuple(u.zone for u in units),
        stop_ids=tuple(sorted(s.stop_id for s in stops_on(machine, agent_id))),
        explanation=explain(machine, agent_id, now_ms),
        activity=session.activity if session is not None else "",
        removed=session is None and not units,
    )


def _link(machine: Machine, agent_id: str) -> str:
    session = machine.sessions.get(agent_id)
    if session is None or session.stream is None:
        return "GONE"
    conn = machine.conns.get(session.stream)
    return "SILENT" if conn is not None and conn.silent else "CONNECTED"


def wait_views(machine: Machine, now_ms: int) -> list[WaitView]:
    """Every wait, in the order in which waiters go."""
    return [
        WaitView(
            agent_id=w.agent_id,
            request_id=w.request_id,
            zones=w.zones,
            priority=w.priority,
            waiting_ms=now_ms - w.since_ms,
            position=machine.queue.position(w),
            blockers=tuple(blocker_of(machine, o, now_ms) for o in machine.queue.obstacles(w)),
        )
        for w in machine.queue.in_order()
    ]


def stop_view(machine: Machine, stop_id: str, now_ms: int) -> StopView | None:
    """None for a stop that the ledger does not know, or no longer."""
    stop = machine.stops.get(stop_id)
    if stop is None:
        return None
    acked = tuple(a for a in sorted(machine.sessions) if stop_id in machine.sessions[a].acked_stops)
    return StopView(
        stop_id=stop.stop_id,
        cause=stop.cause,
        floor=stop.floor,
        stop_groups=stop.stop_groups,
        zones=stop.zones,
        tripped_by=stop.tripped_by,
        reason=stop.reason,
        active=stop.active,
        reset_by=stop.reset_by,
        reset_reason=stop.reset_reason,
        age_ms=machine.stopped_for_ms(stop_id, now_ms) if stop.active else 0,
        acknowledged_by=acked if stop.active else (),
        unconfirmed=tuple(machine.unconfirmed(stop)) if stop.active else (),
        late=tuple(machine.late_to_acknowledge(stop, now_ms)) if stop.active else (),
        explanation=explain_stop(machine, stop),
    )


def stop_ids(machine: Machine, *, include_ended: bool) -> list[str]:
    """Oldest first."""
    return [s.stop_id for s in machine.stops.all() if include_ended or s.active]


def totals(machine: Machine) -> TotalsView:
    connected = sum(1 for s in machine.sessions.values() if s.stream is not None)
    return TotalsView(
        grants=machine.totals.grants,
        releases=machine.totals.releases,
        stops=machine.totals.stops,
        live_grants=len(machine.grants),
        connected_agents=connected,
        waiting=len(machine.queue),
    )

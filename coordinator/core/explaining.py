"""Why things are as they are, in clauses of a cause and a remedy: for any agent, any zone, any stop, in any state.

Owns the promise that nobody who asks why a zone, a grant, a latch or a waiter stands still gets no answer, or one that
ends in nothing to do or to wait for. `views` and the command line say these sentences; nothing is decided by them.
"""

from __future__ import annotations

from dataclasses import dataclass

from coordinator.core.asking import blocker_of
from coordinator.core.claims import Obstacle, Waiter
from coordinator.core.grants import GrantPhase
from coordinator.core.machine import Machine
from coordinator.core.model import BlockCause, StopRecord, UnitRecord, UnitState, spoken


@dataclass(frozen=True, slots=True)
class Clause:
    """One thing that keeps its subject, and what ends it."""

    cause: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.cause}: {self.remedy}"


def explain(machine: Machine, agent_id: str, now_ms: int) -> str:
    """One sentence: why the agent is where it is, and what resolves it."""
    clauses = agent_clauses(machine, agent_id, now_ms)
    if clauses:
        return f"{agent_id} " + "; ".join(map(str, clauses))
    if agent_id not in machine.sessions:
        return f"{agent_id} is not known here: no session and no occupancy"
    return f"{agent_id} is idle: it holds nothing and waits for nothing"


def agent_clauses(machine: Machine, agent_id: str, now_ms: int) -> list[Clause]:
    """Stops first, then waits, holdings, leftovers, and the route; empty when nothing keeps the agent."""
    units = machine.units.of_agent(agent_id)
    found = [_stop(machine, stop) for stop in stops_on(machine, agent_id)]
    found += [_wait(machine, waiter, now_ms) for waiter in machine.queue.of_agent(agent_id)]
    held = [u for u in units if u.state is UnitState.HELD]
    for token in sorted({u.token for u in held}):
        found.append(_held(machine, [u for u in held if u.token == token], now_ms))
    found += [_blocked(machine, u, now_ms) for u in units if u.state is UnitState.BLOCKED]
    if machine.routes.declared(agent_id):
        found += _route(machine, agent_id)
    return found


def stops_on(machine: Machine, agent_id: str) -> list[StopRecord]:
    """Active stops that cover where the agent may stand, that it was told of, or that turned its asks away."""
    ids = {s.stop_id for u in machine.units.of_agent(agent_id) for s in machine.stops.covering(u.zone)}
    session = machine.sessions.get(agent_id)
    if session is not None:
        ids |= session.acked_stops | session.told_stops.keys() | session.awaited_stops
    return [stop for stop in machine.stops.active() if stop.stop_id in ids]


def zone_clauses(machine: Machine, name: str, now_ms: int) -> list[Clause]:
    """What keeps a zone from being given away: stops, a closure, then each slot's occupant; empty for a zone that is
    FREE.
    """
    found = [_stop(machine, stop) for stop in machine.stops.covering(name)]
    closure = machine.closures.get(name)
    if closure is not None:
        found.append(
            Clause(f"is closed by {closure.closed_by} ({closure.reason})", f"zonelock open {name} --reason ...")
        )
    for unit in machine.units.of(name):
        if unit.state is UnitState.UNKNOWN:
            remedy = f"walk there, then zonelock clear {name} --reason ..."
            found.append(Clause(f"slot {unit.slot} was never confirmed empty since the ledger began", remedy))
        elif unit.state is UnitState.HELD:
            clause = _held(machine, [unit], now_ms)
            found.append(Clause(f"{unit.agent_id} {clause.cause}", clause.remedy))
        elif unit.state is UnitState.BLOCKED:
            clause = _blocked(machine, unit, now_ms)
            found.append(Clause(f"{unit.agent_id} {clause.cause}", clause.remedy))
    return found


def explain_zone(machine: Machine, name: str, now_ms: int) -> str:
    """Empty for a zone that is FREE."""
    return "; ".join(map(str, zone_clauses(machine, name, now_ms)))


def explain_stop(machine: Machine, stop: StopRecord) -> str:
    """What a stop waits for; empty for one that was reset."""
    return str(_stop(machine, stop)) if stop.active else ""


def _stop(machine: Machine, stop: StopRecord) -> Clause:
    missing = machine.unconfirmed(stop)
    then = (
        f"before a reset, {', '.join(missing)} must confirm standing or be cleared"
        if missing
        else f"zonelock reset {stop.stop_id} --reason ... ends it"
    )
    return Clause(f"is stopped by {stop.stop_id} ({stop.reason})", then)


def _wait(machine: Machine, waiter: Waiter, now_ms: int) -> Clause:
    cause = f"waits {spoken(now_ms - waiter.since_ms)} for {', '.join(waiter.zones)}"
    if waiter.silent:
        return Clause(f"{cause}, but is not heard of", "it is passed over until it speaks again")
    obstacles = machine.queue.obstacles(waiter)
    if not obstacles:
        return Clause(cause, "it is next")
    return Clause(cause, "; ".join(_obstacle(machine, obstacle, now_ms) for obstacle in obstacles))


def _obstacle(machine: Machine, obstacle: Obstacle, now_ms: int) -> str:
    blocker = blocker_of(machine, obstacle, now_ms)
    behind = blocker.agent_id and blocker.kind in ("RESERVED", "UNSAFE")
    return f"{blocker.detail} (zonelock explain {blocker.agent_id})" if behind else blocker.detail


def _held(machine: Machine, units: list[UnitRecord], now_ms: int) -> Clause:
    """Units of one grant."""
    zones = ", ".join(u.zone for u in units)
    grant = machine.grants.get(units[0].token)
    if grant is None or grant.phase is not GrantPhase.LIVE:
        return Clause(f"is about to hold {zones}", "the grant is told when the store has it")
    left = spoken(max(0, grant.deadline_ms - now_ms))
    if not machine.is_streaming(units[0]):
        down = f"holds {zones} (its link is down; it may come back until the deadline)"
        return Clause(down, f"it comes back with its session within {left}, or their stop group stops")
    if grant.revoked:
        return Clause(f"holds {zones}, which an operator takes back", f"it confirms within {left}, or the area stops")
    return Clause(f"holds {zones}", f"it releases or extends within {left}, or their stop group stops")


def _blocked(machine: Machine, unit: UnitRecord, now_ms: int) -> Clause:
    zone, ago = unit.zone, f"{spoken(machine.taken_for_ms(unit, now_ms))} ago"
    leaves = f"it asks for {zone} again and drives on"
    match unit.cause:
        case BlockCause.PARKED:
            return Clause(f"is parked in {zone}", leaves)
        case BlockCause.DECLARED:
            return Clause(f"declared that it stands in {zone}", leaves)
        case BlockCause.OVERDUE:
            how = f"overstayed in {zone} {ago}"
        case BlockCause.STOPPED:
            how = f"was stopped in {zone} {ago}"
        case _:
            how = f"gave up its grant inside {zone} {ago}"
    return Clause(f"{how} and may still be there", f"it asks for {zone} again, or zonelock clear {zone} --reason ...")


def _route(machine: Machine, agent_id: str) -> list[Clause]:
    """What an agent declared and is not asking for right now."""
    left = machine.routes.remaining(agent_id)
    if not left or any(left[0] in waiter.zones for waiter in machine.queue.of_agent(agent_id)):
        return []
    what = left[0] if len(left) == 1 else f"{len(left)} zones, {left[0]} first"
    remedy = f"it asks for {left[0]}, or claims no zones when it is not going there"
    return [Clause(f"claims a route of {what}, and has not asked for the next step", remedy)]

"""The invariants of the design as predicates over one machine; each names what it saw.

Called after every event in tests and simulations and by the runtime when asked to (`check_invariants`). What they
read is the state itself, not the bookkeeping that decided it, so that a bug in the one shows in the other.
"""

from __future__ import annotations

from coordinator.core.claims import Waiter
from coordinator.core.machine import Machine
from coordinator.core.model import BlockCause, UnitState


def check(machine: Machine) -> list[str]:
    """Every violation found, as `"I1: ..."` sentences; empty when all hold."""
    return [
        *exclusion(machine),
        *no_silent_vacancy(machine),
        *fencing(machine),
        *grants_match_units(machine),
        *routes_match_units(machine),
        *latched(machine),
        *closed(machine),
        *queue_is_sound(machine),
    ]


def exclusion(machine: Machine) -> list[str]:
    """I1: agents holding or possibly occupying a zone never exceed its capacity, nor does one agent fill it twice."""
    found = []
    for name in machine.units.zone_names:
        units = machine.units.of(name)
        taken = [u for u in units if u.state in (UnitState.HELD, UnitState.BLOCKED)]
        if len(taken) > machine.units.spec[name].capacity or len({u.slot for u in units}) != len(units):
            found.append(f"I1: {name} has {len(taken)} occupants for {machine.units.spec[name].capacity} slots")
    return found


def no_silent_vacancy(machine: Machine) -> list[str]:
    """I2: every occupied unit names its occupant; a blocked one says why."""
    found = []
    for unit in machine.units:
        if unit.state in (UnitState.HELD, UnitState.BLOCKED) and not (unit.agent_id and unit.session and unit.token):
            found.append(f"I2: {unit.key} is {unit.state} by nobody: {unit}")
        if unit.state is UnitState.BLOCKED and unit.cause is BlockCause.NONE:
            found.append(f"I2: {unit.key} is BLOCKED without a cause")
    return found


def fencing(machine: Machine) -> list[str]:
    """I3: no unit carries a token above the counter, and no token is shared by two agents."""
    found = []
    owner: dict[int, str] = {}
    for unit in machine.units:
        if unit.token > machine.counter.token:
            found.append(f"I3: {unit.key} carries token {unit.token} above the counter {machine.counter.token}")
        if not unit.agent_id:
            continue  # of an earlier incarnation: of its occupant only the token is remembered
        if unit.token and owner.setdefault(unit.token, unit.agent_id) != unit.agent_id:
            found.append(f"I3: token {unit.token} belongs to {owner[unit.token]} and {unit.agent_id}")
    return found


def grants_match_units(machine: Machine) -> list[str]:
    """I1/I4: a live grant and its HELD units are two views of one thing."""
    found: list[str] = []
    held: dict[int, set[tuple[str, int]]] = {}
    for unit in machine.units:
        if unit.state is UnitState.HELD:
            held.setdefault(unit.token, set()).add((unit.zone, unit.slot))
    found.extend(
        f"I1: grant {grant.token} of {grant.agent_id} and its units disagree"
        for grant in machine.grants.all()
        if held.pop(grant.token, set()) != set(grant.units.items())
    )
    found.extend(f"I2: units with token {token} are HELD without a live grant" for token in sorted(held))
    return found


def routes_match_units(machine: Machine) -> list[str]:
    """I9: steps are judged by a mirror of the units; one that counts a unit too many promises what cannot be kept."""
    found = []
    for name in machine.units.zone_names:
        free = sum(1 for unit in machine.units.of(name) if unit.state is UnitState.FREE)
        room = machine.routes.room(name)
        if free != room:
            found.append(f"I9: {name} has {free} free units, and the routes reckon with {room}")
    return found


def latched(machine: Machine) -> list[str]:
    """I5: nothing in the scope of an active stop is held, or, while it winds down, nothing granted after it
    latched; who is in the scope holds nothing elsewhere either; an ended stop names who reset it and why.
    """
    found: list[str] = []
    unwound = {stop.stop_id: stop.token for stop in machine.winding_down}
    for stop in machine.stops.all():
        if stop.active:
            for zone in machine.stops.zones_in(stop):
                found.extend(
                    f"I5: {unit.key} is held by {unit.agent_id} under active stop {stop.stop_id}"
                    for unit in machine.units.of(zone)
                    if unit.state is UnitState.HELD and unit.token > unwound.get(stop.stop_id, 0)
                )
            if stop.stop_id not in unwound:
                found.extend(
                    f"I5: {unit.key} is held by {unit.agent_id}, which is in the scope of active stop {stop.stop_id}"
                    for agent_id in sorted(machine.affected(stop))
                    for unit in machine.units.of_agent(agent_id)
                    if unit.state is UnitState.HELD
                )
        elif not (stop.reset_by and stop.reset_reason):
            found.append(f"I5: stop {stop.stop_id} ended without a named operator and a reason")
    return found


def closed(machine: Machine) -> list[str]:
    """A closed zone grants nothing new, but to whoever was left standing in it."""
    found = []
    for zone, closure in machine.closures.items():
        for unit in machine.units.of(zone):
            new = unit.state is UnitState.HELD and unit.token > closure.token and unit.cause is BlockCause.NONE
            if new:
                found.append(f"closure: {unit.key} was granted to {unit.agent_id} while {zone} is closed")
    return found


def queue_is_sound(machine: Machine) -> list[str]:
    """I9: every waiter has a session that can hear its grant, and none waits that could be served."""
    found = []
    for waiter in machine.queue.in_order():
        session = machine.sessions.get(waiter.agent_id)
        if session is None or not session.speaks_on(waiter.conn):
            found.append(f"I9: waiter {waiter.agent_id}/{waiter.request_id} cannot hear its grant")
        elif not waiter.silent and not machine.queue.obstacles(waiter):
            found.append(f"I9: {waiter.agent_id} waits for {', '.join(waiter.zones)}, which could be granted")
        elif not waiter.silent and waiter.unsafe is None:
            found.extend(_bound_though_in_the_way(machine, waiter))
    return found


def _bound_though_in_the_way(machine: Machine, waiter: Waiter) -> list[str]:
    """A reservation that keeps free zones from the very agent that its reserver waits for: both would wait for ever."""
    wanted = [z for z in waiter.zones if not _has_residue(machine, waiter, z)]
    if any(not _free(machine, zone) for zone in wanted):
        return []
    keepers = [
        r
        for r in machine.queue.reservers()
        if r.order < waiter.order and r.agent_id != waiter.agent_id and any(z in r.zones for z in wanted)
    ]
    behind = [r for r in keepers if any(_is_filled_by(machine, z, waiter.agent_id, r) for z in r.zones)]
    if not keepers or len(behind) < len(keepers):
        return []
    names = ", ".join(r.agent_id for r in keepers)
    return [f"I9: {', '.join(wanted)} are kept from {waiter.agent_id} for {names}, whose way it stands in"]


def _has_residue(machine: Machine, waiter: Waiter, zone: str) -> bool:
    return machine.units.residue(zone, waiter.agent_id, waiter.session) is not None


def _free(machine: Machine, zone: str) -> bool:
    return any(unit.state is UnitState.FREE for unit in machine.units.of(zone))


def _is_filled_by(machine: Machine, zone: str, agent_id: str, for_whom: Waiter) -> bool:
    """Whether the zone is full for that waiter, and the agent among those who fill it."""
    occupants = [u.agent_id for u in machine.units.of(zone) if u.state in (UnitState.HELD, UnitState.BLOCKED)]
    return not _free(machine, zone) and agent_id in occupants and not _has_residue(machine, for_whom, zone)

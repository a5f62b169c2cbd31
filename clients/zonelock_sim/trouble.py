"""Makes incidents happen to agents, and ends them.

The rule owned here: an incident touches the machine or the software of one agent, never the coordinator's picture of
it; what follows is for the protocol to sort out. An incident without a duration ends with the reset of the stop it
led to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from zonelock_sim.agent import FloorAgent
from zonelock_sim.incidents import Incident, IncidentKind
from zonelock_sim.world import World

POLL_S = 0.02
PARTLY_S = 2.0


async def strike(incident: Incident, agent: FloorAgent, world: World, struck: Callable[[], None]) -> None:
    """Waits for the incident's time and place, then carries it through to its end."""
    await asyncio.sleep(incident.delay_ms / 1_000)
    if incident.zone is not None:
        await _inside(incident.zone, agent.agent_id, world)
    world.tell("incident", f"{incident}: begins, {agent.agent_id} in {', '.join(world.inside(agent.agent_id)) or '-'}")
    struck()
    match incident.kind:
        case IncidentKind.VANISH:
            agent.vanish()
            await world.links.abort(agent.link)
            await _towed(incident, agent, world)
            return
        case IncidentKind.STALL:
            agent.stalled = True
        case IncidentKind.OVERSTAY:
            agent.hang()
        case IncidentKind.LATE:
            agent.late_ms = incident.late_ms
    if incident.duration_ms is not None:
        await asyncio.sleep(incident.duration_ms / 1_000)
    elif incident.kind is IncidentKind.LATE:
        return  # for the rest of the run
    else:
        await _reset(agent)
    agent.recover()
    world.tell("incident", f"{incident}: ends")


async def _inside(zone: str, agent_id: str, world: World) -> None:
    """Until the agent is in the zone: wholly, or for some time partly (its body may be as long as the zone)."""
    partly_s = 0.0
    while partly_s < PARTLY_S and world.inside(agent_id) != [zone]:
        await asyncio.sleep(POLL_S)
        partly_s = partly_s + POLL_S if zone in world.inside(agent_id) else 0.0


async def _towed(incident: Incident, agent: FloorAgent, world: World) -> None:
    """The body stays until an operator clears what it occupies: who clears has had it towed away."""
    await world.links.cleared(agent.agent_id)
    world.bodies.pop(agent.agent_id, None)
    world.traffic.occupies(agent.agent_id, ())
    world.traffic.follows(agent.agent_id, ())
    world.traffic.keep_lane(agent.agent_id, ())
    world.tell("incident", f"{incident}: ends, {agent.agent_id} was towed away")


async def _reset(agent: FloorAgent) -> None:
    """Until a stop has come over the agent and been reset."""
    while not agent.link.active_stops:  # noqa: ASYNC110 - the SDK tells the agent, not us
        await asyncio.sleep(POLL_S)
    await agent.link.stop_cleared()

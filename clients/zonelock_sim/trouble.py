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
SETTLE_S = 0.4
"""In a named zone the incident strikes this long after the agent came in, so that it is well inside."""


async def strike(incident: Incident, agent: FloorAgent, world: World, struck: Callable[[], None]) -> None:
    """Waits for the incident's time and place, then carries it through to its end."""
    await asyncio.sleep(incident.delay_ms / 1_000)
    if incident.zone is not None:
        while incident.zone not in world.inside(agent.agent_id):  # noqa: ASYNC110 - geometry tells no event
            await asyncio.sleep(POLL_S)
        await asyncio.sleep(SETTLE_S)
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

"""Rings of asks: waiters that stand in what each other asks for, although their routes could all be driven in turn.

Owns the queue's half of "a ring is told" (I9). An ask gets all of its zones or none, so two agents that would pass each
other in a bay between them wait for ever when each asks for the bay and for what lies beyond it, where the other one
stands. No route is at fault: somebody has to ask for less at once. The same goes for one that asks past an agent that
has arrived and is not to yield before the asker has gone a part of its way. Pure functions over waiters and units;
decides nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from coordinator.core.claims import Queue, Waiter
from coordinator.core.model import UnitState
from coordinator.core.routes import Link
from coordinator.core.zones import Units

MAX_AGENTS = 64
"""A wait that leads over more agents than this is not followed."""

Blocked = list[tuple[str, tuple[str, ...]]]
"""Zones that an ask cannot have before one of these agents has moved."""


def ring_of_asks(queue: Queue, units: Units, waiter: Waiter, stays: Callable[[str], bool]) -> tuple[Link, ...]:
    """The shortest ring of agents that wait for each other and starts with this one. Where it is in none, the shortest
    way to somebody it waits for who `stays`; empty when somebody may move without whose moving it cannot be served.

    The waiter may be one that is not queued yet. `stays`: whether one that waits for nothing will stay where it is.
    """
    blocked = _reached(queue, units, waiter, stays)
    stuck = set(blocked)
    while movable := [agent for agent in sorted(stuck) if _may_move(agent, blocked[agent], stuck)]:
        stuck.difference_update(movable)
        if waiter.agent_id not in stuck:
            return ()
    return _shortest(blocked, stuck, waiter.agent_id)


def _reached(queue: Queue, units: Units, waiter: Waiter, stays: Callable[[str], bool]) -> dict[str, list[Blocked]]:
    """What keeps each ask of the waiter's agent, of those in its way, and so on, from being granted."""
    blocked: dict[str, list[Blocked]] = {}
    pending = deque([waiter.agent_id])
    while pending and len(blocked) <= MAX_AGENTS:
        agent = pending.popleft()
        if agent in blocked:
            continue
        asks = queue.of_agent(agent)
        if agent == waiter.agent_id and waiter not in asks:
            asks.append(waiter)
        if asks or stays(agent):
            blocked[agent] = [_blocked(units, ask) for ask in asks]
            pending.extend(other for ask in blocked[agent] for _, others in ask for other in others)
    return {} if pending else blocked


def _blocked(units: Units, waiter: Waiter) -> Blocked:
    found: Blocked = []
    for zone in waiter.zones:
        if units.residue(zone, waiter.agent_id, waiter.session) is not None:
            continue
        there = units.of(zone)
        if not any(unit.state is UnitState.FREE for unit in there):
            found.append((zone, tuple(unit.agent_id for unit in there)))
    if not found and waiter.unsafe is not None:
        others = tuple(agent for agent in waiter.unsafe.waits_for if agent != waiter.agent_id)
        found.extend([(waiter.zones[0], others)] if others else [])
    return found


def _may_move(agent: str, asks: list[Blocked], stuck: set[str]) -> bool:
    return any(_hopeless(agent, ask, stuck) is None for ask in asks)


def _hopeless(agent: str, ask: Blocked, stuck: set[str]) -> tuple[str, tuple[str, ...]] | None:
    """The first zone of the ask that nobody will leave."""
    return next((each for each in ask if agent not in each[1] and stuck.issuperset(each[1])), None)


def _shortest(blocked: dict[str, list[Blocked]], stuck: set[str], start: str) -> tuple[Link, ...]:
    came: dict[str, tuple[str, str]] = {}
    edge = deque([start] if start in stuck else [])
    stays = ""
    while edge:
        agent = edge.popleft()
        for ask in blocked[agent]:
            zone, others = _hopeless(agent, ask, stuck) or ("", ())
            for other in others:
                if other == start:
                    return _links(came, agent, zone, start, zone)
                if other not in came:
                    came[other] = (agent, zone)
                    edge.append(other)
                    stays = stays or ("" if blocked[other] else other)
    return _links(came, stays, "", start, "") if stays else ()


def _links(came: dict[str, tuple[str, str]], last: str, wants: str, start: str, holds: str) -> tuple[Link, ...]:
    """`came`: by whose want of which zone each was found; `last` wants a zone, `start` holds one."""
    links: list[Link] = []
    agent = last
    while agent != start:
        before, held = came[agent]
        links.append(Link(agent, held, wants))
        agent, wants = before, held
    return (Link(start, holds, wants), *reversed(links))

"""Stops that are heard beside the session: whom they latch, and what is remembered of them.

Every coordinator tells of the stops that it knows, leading or not. Rules: hearing of a stop latches exactly as being
stopped on the session does, and once; only the session (the leader's word) ends a latch. Until then no grant is of
use, and without a session none could come, so an end that is heard here would gain nothing and might be old. A
coordinator that falls silent says nothing: what only it told of is forgotten, what it latched stays. Imports no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from zonelock.v1 import floor_pb2

from zonelock_client.session_core.agent import AgentCore, StreamFacts
from zonelock_client.session_core.values import AskEnded, Rejection

HEARD_REMEMBERED = 1_024
"""Active stops remembered of each coordinator, and ended ones of all; the oldest go first."""

Latch = Callable[[AgentCore, floor_pb2.Stop], None]


def hear(facts: StreamFacts, agents: Iterable[AgentCore], source: str, stop: floor_pb2.Stop, latch: Latch) -> None:
    """`source` tells of a stop; its `zones` are all zones in scope. A repeat changes nothing."""
    if not stop.stop_id:
        return
    if not stop.active:
        # A reset names a person. Told only once it is durable, and its id is never used again.
        if stop.reset_by:
            ended(facts, stop.stop_id)
        return
    if stop.stop_id in facts.ended_stops:
        return  # a coordinator that stands by does not know of the reset
    heard = facts.heard_stops.setdefault(source, {})
    heard[stop.stop_id] = stop
    if len(heard) > HEARD_REMEMBERED:
        del heard[next(iter(heard))]
    for agent in agents:
        if _concerns(stop, at_stake(agent)):
            stand(agent, stop, latch)


def ended(facts: StreamFacts, stop_id: str) -> None:
    """The stop was reset: whoever still tells of it is behind."""
    for heard in facts.heard_stops.values():
        heard.pop(stop_id, None)
    facts.ended_stops[stop_id] = None
    if len(facts.ended_stops) > HEARD_REMEMBERED:
        facts.ended_stops.popitem(last=False)


def silent(facts: StreamFacts, source: str) -> None:
    """The watch there ended. It will tell of every active stop again when it is back."""
    facts.heard_stops.pop(source, None)


def recall(agent: AgentCore, zones: Iterable[str], known: frozenset[str], latch: Latch) -> None:
    """The leader puts the agent into these zones: stops over them that it cannot know of hold all the same."""
    told = {s.stop_id: s for heard in agent.stream.heard_stops.values() for s in heard.values()}
    at = set(zones)
    for stop_id, stop in sorted(told.items()):
        if stop_id not in known and _concerns(stop, at):
            stand(agent, stop, latch)


def at_stake(agent: AgentCore) -> set[str]:
    """Zones that the agent holds, stands in (by the ledger or its own latest report), or waits for."""
    zones = set(agent.occupied)
    for held in agent.grants.values():
        zones.update(held.zones)
    for record in agent.asks.values():
        if not record.cancelling:
            zones.update(record.operation.ask.zones)
    if agent.telemetry is not None:
        zones.update(agent.telemetry.inside_zones)
    return zones


def stand(agent: AgentCore, stop: floor_pb2.Stop, latch: Latch) -> None:
    """Latches the agent. The leader may know nothing of it, or not of this agent's part in it: a hello tells it."""
    if stop.stop_id in agent.latched:
        return
    agent.from_feed.add(stop.stop_id)
    latch(agent, stop)
    message = f"stopped by {stop.stop_id}; ask again after the reset"
    for request_id, record in sorted(agent.asks.items()):
        if not record.cancelling:
            agent.cancel(request_id)
            rejection = Rejection("STOPPED", message, tuple(record.operation.ask.zones), (stop.stop_id,))
            agent.notify(AskEnded(agent.spec.agent_id, request_id, rejection))


def _concerns(stop: floor_pb2.Stop, zones: set[str]) -> bool:
    return stop.floor or not zones.isdisjoint(stop.zones)

"""The route that an agent claims: said again after every welcome, shortened by what it was granted.

Rule: only the newest claim leaves, and what a grant has covered is not claimed again, or a new leader would take it for
a wish to go back. Imports no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zonelock.v1 import zone_service_pb2 as pb

from zonelock_client.session_core.values import YieldAsked

if TYPE_CHECKING:
    from zonelock_client.session_core.agent import AgentCore


@dataclass(slots=True)
class Route:
    """`can_finish` is the coordinator's last word on the newest claim, None until it came; `due`: not yet sent."""

    zones: tuple[str, ...]
    can_finish: bool | None = None
    unanswered: int = 0
    due: bool = True


def claim(agent: AgentCore, zones: tuple[str, ...]) -> None:
    """Claims the rest of a route, in place of what was claimed before; empty: the agent has arrived."""
    unanswered = agent.route.unanswered if agent.route is not None else 0
    agent.route = Route(zones, unanswered=unanswered)
    agent.say_soon()


def claim_again(agent: AgentCore) -> None:
    """After a welcome: the coordinator may be another one, which knows nothing of the claim."""
    if agent.route is not None:
        agent.route.due, agent.route.unanswered = True, 0


def take(agent: AgentCore) -> pb.Operation | None:
    """The claim to be sent now, before the asks that rest on it."""
    route = agent.route
    if route is None or not route.due:
        return None
    route.due = False
    route.unanswered += 1
    return pb.Operation(agent_id=agent.spec.agent_id, claim=pb.Claim(zones=route.zones))


def granted(agent: AgentCore, zones: Iterable[str]) -> None:
    """The next zones of the route are covered by a grant."""
    route, covered = agent.route, frozenset(zones)
    if route is not None:
        start = 0
        while start < len(route.zones) and route.zones[start] in covered:
            start += 1
        route.zones = route.zones[start:]


def claimed(agent: AgentCore, answer: pb.Claimed) -> None:
    route = agent.route
    if route is not None:
        route.unanswered = max(0, route.unanswered - 1)
        if not route.unanswered and not route.due:
            route.can_finish = answer.can_finish


def asked_to_yield(agent: AgentCore, answer: pb.YieldTo) -> None:
    agent.notify(YieldAsked(agent.spec.agent_id, answer.to_zone))

"""Who is connected, and what each agent last said. Volatile: a restarted coordinator learns it from the agents again.

A stream that closes says nothing about where its agents are; sessions therefore never free anything.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from enum import StrEnum


class RequestState(StrEnum):
    WAITING = "WAITING"
    GRANTED = "GRANTED"
    ENDED = "ENDED"
    RELEASED = "RELEASED"


@dataclass(slots=True)
class RequestMemo:
    """What became of a request id, for repeats. The hash of its payload guards against a reused id."""

    payload: str
    state: RequestState
    token: int = 0


@dataclass(slots=True)
class Challenge:
    """A proof of vacancy under way. `nonce` was made up after the zones were blocked: a replayed log cannot know it."""

    token: int
    nonce: int
    samples: int = 0
    counted_at_ms: int = 0


@dataclass(slots=True)
class Session:
    """One agent's session. `stream` is its live stream; `calls` are unary calls under way.

    `told_stops`: stops that cover it, and when it was told. `awaited_stops`: they rejected its asks, no more.
    """

    agent_id: str
    session: str
    kind: str = ""
    stream: int | None = None
    calls: set[int] = field(default_factory=set)
    position: tuple[int, int] | None = None
    heading_mdeg: int = 0
    inside: tuple[str, ...] | None = None
    reported_at_ms: int | None = None
    progress_permille: int = 0
    activity: str = ""
    acked_stops: set[str] = field(default_factory=set)
    told_stops: dict[str, int] = field(default_factory=dict)
    awaited_stops: set[str] = field(default_factory=set)
    challenge: Challenge | None = None
    reported_gone: set[int] = field(default_factory=set)
    vehicle_watchdog: bool = False
    requests: OrderedDict[str, RequestMemo] = field(default_factory=OrderedDict)
    gone_since_ms: int | None = None

    def speaks_on(self, conn: int) -> bool:
        return conn == self.stream or conn in self.calls


@dataclass(slots=True)
class Conn:
    """A stream or unary call, and the agents that said hello on it."""

    conn: int
    heard_at_ms: int
    detached: bool = False
    silent: bool = False
    agents: set[str] = field(default_factory=set)

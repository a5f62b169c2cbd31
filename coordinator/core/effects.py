"""What the core wants done: writes to commit, sends to release behind that commit, stops to let go at once, and
alarms: sentences for whoever is on call.

Answers mirror `zonelock.v1` one to one; the RPC layer translates and adds what only it knows (frame echoes, the fence).
"""

from __future__ import annotations

from dataclasses import dataclass

from coordinator.core.model import ClosureRecord, Record, StopRecord
from coordinator.core.rejections import Refusal, Rejection


@dataclass(frozen=True, slots=True)
class Blocker:
    """One thing that keeps one zone from a waiter. `kind` is HELD, BLOCKED, UNKNOWN, RESERVED or STOPPED."""

    zone: str
    kind: str
    agent_id: str
    since_ms: int
    detail: str


@dataclass(frozen=True, slots=True)
class Granted:
    token: int
    zones: tuple[str, ...]
    slots: tuple[int, ...]
    expected_ms: int
    remaining_ms: int
    request_id: str


@dataclass(frozen=True, slots=True)
class Queued:
    position: int
    blockers: tuple[Blocker, ...]


@dataclass(frozen=True, slots=True)
class Rejected:
    reason: Rejection
    message: str
    zones: tuple[str, ...] = ()
    stop_ids: tuple[str, ...] = ()
    token: int = 0
    retreat_zone: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """What was wrong with the operation itself."""

    refusal: Refusal
    message: str
    metadata: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Welcome:
    incarnation: int
    grants: tuple[Granted, ...]
    blocked_zones: tuple[str, ...]
    active_stops: tuple[StopRecord, ...]


@dataclass(frozen=True, slots=True)
class Cancelled:
    pass


@dataclass(frozen=True, slots=True)
class Released:
    token: int
    zones: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Abandoned:
    token: int
    zones: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Extended:
    token: int
    expected_ms: int
    remaining_ms: int


@dataclass(frozen=True, slots=True)
class Warned:
    token: int
    remaining_ms: int


@dataclass(frozen=True, slots=True)
class Expired:
    token: int
    zones: tuple[str, ...]
    stop_id: str


@dataclass(frozen=True, slots=True)
class Revoked:
    token: int
    zones: tuple[str, ...]
    message: str


@dataclass(frozen=True, slots=True)
class StopRaised:
    stop: StopRecord


@dataclass(frozen=True, slots=True)
class StopEnded:
    stop: StopRecord


@dataclass(frozen=True, slots=True)
class Challenged:
    """Send `samples` reports of the whole contour outside, each with the nonce, at least `spacing_ms` apart."""

    token: int
    nonce: int
    samples: int
    spacing_ms: int


@dataclass(frozen=True, slots=True)
class Claimed:
    """What is left of the route; `can_finish`: an order is known in which it can be driven to its end."""

    zones: tuple[str, ...]
    can_finish: bool


@dataclass(frozen=True, slots=True)
class Yield:
    """The agent stands in the way of a route; would it go to this zone?"""

    to_zone: str


@dataclass(frozen=True, slots=True)
class GrantsRevoked:
    """Answers RevokeGrants."""

    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class StopsReported:
    """Answers TripStop and ResetStop."""

    stops: tuple[StopRecord, ...]


@dataclass(frozen=True, slots=True)
class ZonesCleared:
    zones: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ZonesClosed:
    """Answers CloseZones: each zone named, with who closed it and why."""

    closures: tuple[ClosureRecord, ...]


@dataclass(frozen=True, slots=True)
class ZonesOpened:
    """Answers OpenZones: those that were closed."""

    zones: tuple[str, ...]


Answer = (
    Welcome
    | Granted
    | Queued
    | Rejected
    | Failed
    | Cancelled
    | Released
    | Abandoned
    | Extended
    | Warned
    | Expired
    | Revoked
    | StopRaised
    | StopEnded
    | Challenged
    | Claimed
    | Yield
    | GrantsRevoked
    | StopsReported
    | ZonesCleared
    | ZonesClosed
    | ZonesOpened
)


@dataclass(frozen=True, slots=True)
class Send:
    conn: int
    agent_id: str
    request_id: str
    answer: Answer


@dataclass(frozen=True, slots=True)
class Write:
    """Put `record` under `key`, or delete the key (audit entries and ended stops beyond their bound, and closures
    that were opened).
    """

    key: str
    record: Record | None


@dataclass(frozen=True, slots=True)
class Step:
    """The effects of one event. `seq` numbers steps; a later `Committed(upto=seq)` makes them durable."""

    seq: int
    writes: tuple[Write, ...] = ()
    sends: tuple[Send, ...] = ()
    stops: tuple[Send, ...] = ()
    alarms: tuple[str, ...] = ()

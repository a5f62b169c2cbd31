"""Everything that the SDK raises, in one tree.

    ZonelockError
    ├── ArgumentError          a value that could never work; nothing was sent (also a ValueError)
    ├── GrantLost              a grant ended under its holder: stand still
    ├── Rejected               the coordinator understood and says no
    │   ├── GrantRejected          to an ask
    │   ├── StillInside            to a release or proof: the latest telemetry contradicts it
    │   ├── OperatorRequired       to a proof of vacancy: here a person has to look, and clear the zones
    │   ├── ExtensionRejected      to an extension; the grant goes on to its old deadline
    │   └── GoodbyeRejected        the agent still occupies zones
    ├── RequestError           the call itself was wrong: status code, reason, metadata (google.rpc.ErrorInfo)
    ├── LinkLost               no coordinator answers, or the agent was closed
    └── OutboxFull             too much waits for acknowledgement; nothing was queued, nothing dropped

Time-outs are plain `TimeoutError`. Rule: a release or abandonment is never dropped silently; it is acknowledged,
answered, or still in the outbox. Imports the standard library and grpc's status codes only.
"""

from __future__ import annotations

from collections.abc import Mapping

import grpc

_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


class ZonelockError(Exception):
    """Base of all that the SDK raises, `TimeoutError` aside."""


class ArgumentError(ZonelockError, ValueError):
    """A value that could never work. The message names the field, the value and what would be right."""


class GrantLost(ZonelockError):
    """A grant ended under its holder.

    `reason` is a `LostReason`: "deadline", "late", "stopped", "expired", "revoked", "not_resumed", "refused" or
    "closed". Except for "late" (never entered) the zones stay occupied until they are given back, converted by the
    agent's next ask, or cleared by an operator.
    """

    def __init__(self, reason: str, message: str, *, token: int = 0, zones: tuple[str, ...] = ()) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
        self.token = token
        self.zones = zones


class Rejected(ZonelockError):
    """The coordinator understood and says no. `reason` is a RejectReason's name without its prefix ("STOPPED",
    "BUSY")."""

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        zones: tuple[str, ...] = (),
        stop_ids: tuple[str, ...] = (),
        retreat_zone: str = "",
    ) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
        self.zones = zones
        self.stop_ids = stop_ids
        self.retreat_zone = retreat_zone


class GrantRejected(Rejected):
    """An ask was rejected. "STOPPED": `await agent.stop_cleared()`, then ask again. "WOULD_DEADLOCK": plan another way,
    or claim a route to `retreat_zone` (if there is one) and draw back.
    """


class StillInside(Rejected):
    """A release, or a proof of vacancy, was contradicted by the latest telemetry. The zones stay occupied: leave them,
    report, and say it again."""


class OperatorRequired(Rejected):
    """A proof of vacancy was rejected: the floor's policy for a zone wants a person to look and clear it, or nothing of
    the token is blocked."""


class ExtensionRejected(Rejected):
    """An extension was rejected ("HOLD_LIMIT", "STALE_TELEMETRY", "GRANT_ENDED"); the grant goes on to its old
    deadline."""


class GoodbyeRejected(Rejected):
    """The agent still occupies zones ("STILL_HOLDING")."""


class RequestError(ZonelockError):
    """A call was wrong, or the coordinator could not serve it.

    `code` is a `grpc.StatusCode`; `reason`, `metadata` are google.rpc.ErrorInfo's in the domain "zonelock"
    (`zonelock errors REASON` explains each); `retry_ms` is google.rpc.RetryInfo's delay, 0 where waiting does not
    help.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: str,
        message: str,
        metadata: Mapping[str, str] | None = None,
        *,
        retry_ms: int = 0,
    ) -> None:
        super().__init__(f"{code.name}{f' {reason}' if reason else ''}: {message}")
        self.code = code
        self.reason = reason
        self.message = message
        self.metadata: dict[str, str] = dict(metadata or {})
        self.retry_ms = retry_ms


class LinkLost(ZonelockError):
    """No coordinator answers, or the agent was closed while something waited."""


class OutboxFull(ZonelockError):
    """Too many asks, grants and unacknowledged releases at once. Nothing was queued and nothing was dropped."""


def status_code(number: int) -> grpc.StatusCode:
    """The `grpc.StatusCode` of a number off the wire; UNKNOWN for one that grpc does not know."""
    return _CODES.get(number, grpc.StatusCode.UNKNOWN)

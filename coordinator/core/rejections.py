"""Every answer that is not a grant, in one place.

A *rejection* is an answer: the call was right and the floor says no. A *refusal* is an error: the call itself was
wrong, and asking again unchanged cannot help (or helps only after `retry_ms`). Inside the core both are values; the
RPC layer alone turns refusals into `grpc.StatusCode` with `google.rpc.ErrorInfo`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Rejection(StrEnum):
    STOPPED = "STOPPED"
    BUSY = "BUSY"
    ALREADY_HELD = "ALREADY_HELD"
    STILL_INSIDE = "STILL_INSIDE"
    GRANT_ENDED = "GRANT_ENDED"
    ALREADY_RELEASED = "ALREADY_RELEASED"
    HOLD_LIMIT = "HOLD_LIMIT"
    STALE_TELEMETRY = "STALE_TELEMETRY"
    NEVER = "NEVER"
    STILL_HOLDING = "STILL_HOLDING"
    WAIT_ENDED = "WAIT_ENDED"
    WOULD_DEADLOCK = "WOULD_DEADLOCK"
    REVOKED = "REVOKED"
    CLOSED = "CLOSED"


class Code(StrEnum):
    """The `grpc.StatusCode` names that refusals use."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    NOT_FOUND = "NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    UNAVAILABLE = "UNAVAILABLE"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    INTERNAL = "INTERNAL"


class Refusal(StrEnum):
    """The reason in `ErrorInfo.reason`."""

    EMPTY_ASK = "EMPTY_ASK"
    TOO_MANY_ZONES = "TOO_MANY_ZONES"
    DUPLICATE_ZONE = "DUPLICATE_ZONE"
    UNKNOWN_ZONE = "UNKNOWN_ZONE"
    UNKNOWN_STOP_GROUP = "UNKNOWN_STOP_GROUP"
    UNKNOWN_AGENT = "UNKNOWN_AGENT"
    UNKNOWN_AGENT_KIND = "UNKNOWN_AGENT_KIND"
    UNKNOWN_STOP = "UNKNOWN_STOP"
    DUPLICATE_AGENT = "DUPLICATE_AGENT"
    FLOOR_MISMATCH = "FLOOR_MISMATCH"
    NEEDS_WATCHDOG = "NEEDS_WATCHDOG"
    PAYLOAD_MISMATCH = "PAYLOAD_MISMATCH"
    STALE_TOKEN = "STALE_TOKEN"
    NOT_HOLDER = "NOT_HOLDER"
    ZONE_NOT_IN_GRANT = "ZONE_NOT_IN_GRANT"
    BAD_DURATION = "BAD_DURATION"
    BAD_PRIORITY = "BAD_PRIORITY"
    BAD_FIELD = "BAD_FIELD"
    QUEUE_FULL = "QUEUE_FULL"
    OPERATOR_REQUIRED = "OPERATOR_REQUIRED"
    REASON_REQUIRED = "REASON_REQUIRED"
    OCCUPANT_UNCONFIRMED = "OCCUPANT_UNCONFIRMED"
    STILL_GRANTED = "STILL_GRANTED"
    HOLDER_MAY_MOVE = "HOLDER_MAY_MOVE"
    OCCUPANT_CHANGED = "OCCUPANT_CHANGED"
    NOTHING_TO_REVOKE = "NOTHING_TO_REVOKE"
    OCCUPANT_INSIDE = "OCCUPANT_INSIDE"
    NOTHING_TO_CLEAR = "NOTHING_TO_CLEAR"
    STANDING_CONFLICT = "STANDING_CONFLICT"
    BAD_SCOPE = "BAD_SCOPE"
    FRAME_TOO_LARGE = "FRAME_TOO_LARGE"
    FRAME_ORDER = "FRAME_ORDER"
    SLOW_READER = "SLOW_READER"
    NOT_LEADER = "NOT_LEADER"
    STORE_UNAVAILABLE = "STORE_UNAVAILABLE"
    COMMIT_UNCERTAIN = "COMMIT_UNCERTAIN"
    INTERNAL = "INTERNAL"


@dataclass(frozen=True, slots=True)
class RefusalEntry:
    """A row of the public error table: what it means and what to try."""

    code: Code
    meaning: str
    remedy: str
    retry_ms: int = 0


_I, _N, _P, _F = Code.INVALID_ARGUMENT, Code.NOT_FOUND, Code.PERMISSION_DENIED, Code.FAILED_PRECONDITION
_U, _R = Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED

REFUSALS: dict[Refusal, RefusalEntry] = {
    Refusal.EMPTY_ASK: RefusalEntry(_I, "The ask names no zone.", "Name 1 to 32 zones of the floor."),
    Refusal.TOO_MANY_ZONES: RefusalEntry(_I, "The ask names more than 32 zones.", "Split the route into shorter asks."),
    Refusal.DUPLICATE_ZONE: RefusalEntry(
        _I, "The ask names a zone twice.", "Name each zone once; one agent takes one slot."
    ),
    Refusal.UNKNOWN_ZONE: RefusalEntry(_N, "The floor has no such zone or area.", "`zonelock zones` lists them."),
    Refusal.UNKNOWN_STOP_GROUP: RefusalEntry(_N, "The floor has no such stop group.", "`zonelock floor` lists them."),
    Refusal.UNKNOWN_AGENT: RefusalEntry(
        Code.UNAUTHENTICATED,
        "The agent has not said hello on this stream.",
        "Send Hello as the agent's first operation.",
    ),
    Refusal.UNKNOWN_AGENT_KIND: RefusalEntry(
        _I, "The floor has no such agent kind.", "Use a kind of the floor's agent_kinds."
    ),
    Refusal.UNKNOWN_STOP: RefusalEntry(_N, "No active stop has this id.", "`zonelock status` lists active stops."),
    Refusal.DUPLICATE_AGENT: RefusalEntry(
        Code.ALREADY_EXISTS,
        "Another live session uses this agent id.",
        "Stop the other client, or give this one an id of its own.",
    ),
    Refusal.FLOOR_MISMATCH: RefusalEntry(
        _F, "The agent navigates by another floor.", "Fetch the floor again with GetFloor."
    ),
    Refusal.NEEDS_WATCHDOG: RefusalEntry(
        _F,
        "A stream with several agents is a gateway, and holds only for vehicles with a watchdog of their own.",
        "Send vehicle_watchdog once the vehicle obeys permits that run out, or give it a stream of its own.",
    ),
    Refusal.PAYLOAD_MISMATCH: RefusalEntry(
        _I, "This request id was used before with other contents.", "Use a fresh request id for a new request."
    ),
    Refusal.STALE_TOKEN: RefusalEntry(
        _F, "The token is below the highest given out for this unit.", "Drop the grant; ask again."
    ),
    Refusal.NOT_HOLDER: RefusalEntry(
        _P, "The token belongs to another agent or session.", "Use your own grant's token."
    ),
    Refusal.ZONE_NOT_IN_GRANT: RefusalEntry(
        _I, "The zone is not part of this grant.", "Name only zones that the grant holds."
    ),
    Refusal.BAD_DURATION: RefusalEntry(
        _I, "expected_ms is out of range.", "Use 1 to the smallest hold_max_ms of the zones asked for."
    ),
    Refusal.BAD_PRIORITY: RefusalEntry(_I, "The priority is out of range.", "Use 0 to 9."),
    Refusal.BAD_FIELD: RefusalEntry(
        _I, "A field is missing or malformed.", "See the message for the field and its form."
    ),
    Refusal.QUEUE_FULL: RefusalEntry(_R, "Too many asks are waiting.", "Ask again later.", 1_000),
    Refusal.OPERATOR_REQUIRED: RefusalEntry(
        _I, "The action needs a named operator.", "Say who acts (--operator NAME)."
    ),
    Refusal.REASON_REQUIRED: RefusalEntry(_I, "The action needs a reason.", "Say why (--reason TEXT)."),
    Refusal.OCCUPANT_UNCONFIRMED: RefusalEntry(
        _F,
        "An occupant in the stop's scope is neither confirmed standing nor cleared.",
        "Wait for its acknowledgement, or check on the floor and `zonelock clear` its zones.",
    ),
    Refusal.STILL_GRANTED: RefusalEntry(
        _F,
        "A live grant covers the zone; clearing it would give it away under its holder.",
        "Wait for the release, or stop first.",
    ),
    Refusal.HOLDER_MAY_MOVE: RefusalEntry(
        _F,
        "A stopped holder that has not confirmed standing may still move on its grant's own time.",
        "Wait for its acknowledgement, or until that time is over, then look again and clear.",
    ),
    Refusal.OCCUPANT_CHANGED: RefusalEntry(
        _F,
        "What stands there now is not what the clearance says that its operator saw.",
        "Look again, on the floor and with `zonelock zones`, then clear what you see.",
    ),
    Refusal.NOTHING_TO_REVOKE: RefusalEntry(_F, "No live grant matches.", "`zonelock zones` shows who holds what."),
    Refusal.OCCUPANT_INSIDE: RefusalEntry(
        _F,
        "A connected agent reports right now that it is inside the zone.",
        "Move it out or switch it off, then clear the zone.",
    ),
    Refusal.STANDING_CONFLICT: RefusalEntry(
        _F,
        "The agent declares that it stands in a zone that others fill.",
        "Check on the floor who stands there; clear what is not true.",
    ),
    Refusal.NOTHING_TO_CLEAR: RefusalEntry(
        _F, "No blocked or unknown unit matches.", "`zonelock zones` shows what is occupied."
    ),
    Refusal.BAD_SCOPE: RefusalEntry(
        _I, "The stop needs exactly one scope.", "Give a zone, a stop group, or the floor."
    ),
    Refusal.FRAME_TOO_LARGE: RefusalEntry(
        _R, "The frame is larger than the coordinator reads.", "Send fewer operations a frame."
    ),
    Refusal.FRAME_ORDER: RefusalEntry(
        _I, "Frame numbers must rise by one from 1.", "Number the frames of each stream afresh."
    ),
    Refusal.SLOW_READER: RefusalEntry(
        _R, "The client does not read its stream.", "Read answers as they come; reconnect.", 1_000
    ),
    Refusal.NOT_LEADER: RefusalEntry(
        _U, "This coordinator is not leading.", "Try another coordinator, or again later.", 500
    ),
    Refusal.STORE_UNAVAILABLE: RefusalEntry(_U, "The store cannot commit.", "Ask again; nothing was granted.", 500),
    Refusal.COMMIT_UNCERTAIN: RefusalEntry(
        _U,
        "The store did not say whether it applied a commit. The coordinator finds out by itself: it rewrites its fence "
        "and reloads the ledger.",
        "Ask again with the same request id: the answer is the current state. Where this lasts, etcd lacks a quorum "
        "or is slow: `zonelock cluster status` shows its members.",
        500,
    ),
    Refusal.INTERNAL: RefusalEntry(Code.INTERNAL, "A bug in the coordinator.", "Report it with the coordinator's log."),
}

"""Every bound of the wire in one place, each with its name; `docs/protocol.md` repeats them for client authors.

Never imports the runtime or the store.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_ID_CHARS = 64
"""Agent, request, stop and kind ids; of `A-Z a-z 0-9 _ . : -` only."""

MAX_NAME_CHARS = 128
"""Zone, area and stop group names."""

MAX_TEXT_CHARS = 200
"""Operators' names, reasons and an agent's activity; no control characters."""

MAX_HASH_CHARS = 128
MIN_SECRET_BYTES = 16
MAX_SECRET_BYTES = 64
MAX_STOPS_BEHIND = 2_000
"""Stops that a watcher of stops may be behind before its stream is ended."""

MAX_NAMES = 1_024
"""Names or tokens in one list of one operation."""

MAX_CLEARED_NAMES = 10_000
"""Zones or areas in one ClearZones or ListZones."""

MAX_INT = (1 << 63) - 1
MAX_COORDINATE_MM = 1_000_000_000
MAX_HEADING_MDEG = 360_000
MAX_PERMILLE = 1_000
MAX_AUDIT_ENTRIES = 1_000
DEFAULT_AUDIT_ENTRIES = 100


@dataclass(frozen=True, slots=True)
class RpcLimits:
    """Bounds that a deployment may change. Bytes, counts, and milliseconds as the names say."""

    frame_bytes: int = 1 << 20
    """A larger client frame ends its stream with FRAME_TOO_LARGE."""

    transport_bytes: int = 4 << 20
    """gRPC's own receive limit: above `frame_bytes`, so that the refusal can carry its reason and remedy."""

    operations_per_frame: int = 256
    answers_per_frame: int = 256
    response_bytes: int = 64 << 10
    """A response frame is closed at this size: a stop waits behind at most one of them."""

    unread_answers: int = 4_096
    unread_bytes: int = 4 << 20
    """Answers queued for one client beyond either bound end its stream with SLOW_READER."""

    write_stall_ms: int = 5_000
    """A write that flow control holds up for longer ends the stream with SLOW_READER."""

    uncommitted_operations: int = 1_024
    """Operations of one stream that no commit has covered yet; beyond it the coordinator stops reading the stream."""

    acquire_wait_ms: int = 60_000
    answer_ms: int = 10_000
    """How long a unary call waits for a commit before it says COMMIT_UNCERTAIN."""

    stop_answer_ms: int = 3_000
    """The same for a stop, which has left by then: who asked should soon hear that it is not known to be durable."""

    watch_interval_ms: int = 100
    refresh_ms: int = 1_000
    """How often a watched floor's ageing figures are sent again though nothing happened."""

    watchers: int = 256
    keepalive_ms: int = 10_000
    keepalive_timeout_ms: int = 5_000
    min_ping_ms: int = 1_000

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if value < 1:
                raise ValueError(f"RpcLimits.{name} is {value}; use 1 or more")
        if self.transport_bytes < self.frame_bytes:
            raise ValueError(
                f"RpcLimits.transport_bytes {self.transport_bytes} is below frame_bytes {self.frame_bytes}; "
                "raise it, or refusals of oversized frames lose their reason"
            )
        if self.unread_answers < 2 * self.uncommitted_operations:
            raise ValueError(
                f"RpcLimits.unread_answers {self.unread_answers} is below twice uncommitted_operations "
                f"{self.uncommitted_operations}; raise it, or one slow commit makes a healthy client a slow reader"
            )

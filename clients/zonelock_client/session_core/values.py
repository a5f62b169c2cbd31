"""What the session core hands out: an agent's spec, grants as their holder sees them, and notices of what happened.

Rule: a grant is lost at most once and never found again; whoever calls `HeldGrant.lose` first decides the reason.
The grant is the one value here that a second thread (the dead-man) may touch, so that step alone takes a lock.
Imports no I/O.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from enum import StrEnum

from zonelock.v1 import floor_pb2, zone_service_pb2

NS_PER_MS = 1_000_000
PPM = 1_000_000

_losing = threading.Lock()


class LinkState(StrEnum):
    """What the agent knows of its link, in kazoo's words, and what each state obliges it to.

    CONNECTED: a coordinator acknowledged a frame that was sent less than `suspend_ms` ago. Go on. SUSPENDED: not so
    any more, or not yet. Grants hold until their deadline, but do not cross the next zone boundary: stops may not
    reach you. The SDK tries the next coordinator. LOST: nothing acknowledged for `lost_ms`. Stop: `on_halt` is
    called and `may_move()` is False until the link is back. Grants still are the agent's; back before their
    deadline it carries on.
    """

    CONNECTED = "CONNECTED"
    SUSPENDED = "SUSPENDED"
    LOST = "LOST"


class LostReason(StrEnum):
    """Why a grant is no longer usable."""

    DEADLINE = "deadline"
    """Its holder's deadline D passed."""
    LATE = "late"
    """It arrived after D, and was declined."""
    STOPPED = "stopped"
    """An emergency stop."""
    EXPIRED = "expired"
    """The coordinator's deadline passed first (it should not; D lies before it)."""
    REVOKED = "revoked"
    """An operator takes it back; held until the agent confirms that it stands, or gives it back."""
    NOT_RESUMED = "not_resumed"
    """After a reconnection the coordinator no longer listed it."""
    REFUSED = "refused"
    """After a reconnection the coordinator refused the agent."""
    CLOSED = "closed"
    """The agent was closed over it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSpec:
    """What an agent says of itself. `request_prefix` makes request ids unique over restarts with the same secret."""

    agent_id: str
    agent_kind: str
    session_secret: bytes = field(repr=False)
    request_prefix: str
    stop_ms: int = 200
    floor_hash: str = ""
    standing_zones: tuple[str, ...] = ()
    highest_token: int = 0
    auto_extend: bool = False
    vehicle_watchdog: bool = False


TOKEN_COUNTER_BITS = 40
"""A token is `incarnation << 40 | counter`."""


@dataclass(frozen=True, slots=True)
class LedgerMark:
    """How far the coordinators' ledger had got when this client last heard. Fences and revisions compare within one
    incarnation only: a ledger that was restored, and found out, starts a higher one.
    """

    token: int = 0
    epoch: int = 0
    revision: int = 0

    @property
    def incarnation(self) -> int:
        return self.token >> TOKEN_COUNTER_BITS

    def is_behind(self, other: LedgerMark) -> bool:
        """Whether it is of an earlier leader than the other. A mark without a token says nothing of its incarnation."""
        if self.token and self.incarnation != other.incarnation:
            return self.incarnation < other.incarnation
        return self.epoch < other.epoch

    def joined(self, other: LedgerMark) -> LedgerMark:
        near, far = sorted((self, other), key=lambda mark: (mark.incarnation, mark.epoch, mark.revision))
        return LedgerMark(max(near.token, far.token), far.epoch, far.revision)


NOTHING_SEEN = LedgerMark()


@dataclass(slots=True, eq=False)
class HeldGrant:
    """A grant as its holder sees it. `deadline_ns` is D on the holder's clock; readable from any thread."""

    token: int
    zones: tuple[str, ...]
    expected_ms: int
    deadline_ns: int
    warn_ns: int
    request_id: str = ""
    lost_reason: LostReason | None = None
    lost_message: str = ""
    returning: bool = False
    """All that is left was given back and only the acknowledgement is missing: the deadline no longer matters."""
    left_behind: tuple[str, ...] = ()
    """Zones that were abandoned: occupied by the agent until it proves otherwise, asks again, or a person clears
    them."""
    announced: bool = False
    warned: bool = False
    progress_mark: int = 0
    extending: str = ""
    extension_refused: bool = False

    def lose(self, reason: LostReason, message: str) -> bool:
        """Marks the grant lost; False when it was lost before, and then nothing changes. Thread-safe."""
        with _losing:
            if self.lost_reason is not None:
                return False
            self.lost_message = message
            self.lost_reason = reason
            return True


@dataclass(frozen=True, slots=True)
class Failure:
    """A status: what was wrong with an operation, or why a stream ended."""

    code: int
    reason: str
    message: str
    metadata: tuple[tuple[str, str], ...] = ()
    retry_ms: int = 0


@dataclass(frozen=True, slots=True)
class Rejection:
    """The coordinator's no. `reason` without the enum's prefix."""

    reason: str
    message: str
    zones: tuple[str, ...] = ()
    stop_ids: tuple[str, ...] = ()
    retreat_zone: str = ""


@dataclass(frozen=True, slots=True)
class Late:
    """A grant came after its own deadline, or its echo was unknown, and was declined."""

    token: int
    zones: tuple[str, ...]
    message: str


@dataclass(frozen=True, slots=True)
class Done:
    """The operation was carried out."""


Outcome = Done | Rejection | Failure


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that the shell must act on. All name their agent."""

    agent_id: str


@dataclass(frozen=True, slots=True)
class Welcomed(Notice):
    """The coordinator knows the agent. `resumed` are grants of an earlier process with the same session secret."""

    resumed: tuple[HeldGrant, ...]


@dataclass(frozen=True, slots=True)
class HelloRefused(Notice):
    """The coordinator will not have the agent; trying again unchanged cannot help."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class AskGranted(Notice):
    request_id: str
    grant: HeldGrant


@dataclass(frozen=True, slots=True)
class AskQueued(Notice):
    request_id: str
    position: int
    blockers: tuple[floor_pb2.Blocker, ...]


@dataclass(frozen=True, slots=True)
class AskEnded(Notice):
    request_id: str
    ending: Rejection | Failure | Late


@dataclass(frozen=True, slots=True)
class Settled(Notice):
    """An outbox entry was answered."""

    entry_id: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class ExtendEnded(Notice):
    request_id: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class GrantGone(Notice):
    """A grant was lost; its holder must stand still."""

    grant: HeldGrant


@dataclass(frozen=True, slots=True)
class DeadlineMoved(Notice):
    """A grant's D changed; a watchdog that sleeps until the old one must look again."""

    grant: HeldGrant


@dataclass(frozen=True, slots=True)
class GrantWarned(Notice):
    """Four fifths of a grant's time are over."""

    grant: HeldGrant


@dataclass(frozen=True, slots=True)
class ProofChallenged(Notice):
    """Fresh reports from outside, at least `spacing_ms` apart, now prove that the token's zones are empty."""

    token: int
    spacing_ms: int


@dataclass(frozen=True, slots=True)
class ProofEnded(Notice):
    token: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class YieldAsked(Notice):
    """The agent stands in the way of somebody's route."""

    to_zone: str


@dataclass(frozen=True, slots=True)
class StopLatched(Notice):
    stop: floor_pb2.Stop


@dataclass(frozen=True, slots=True)
class StopLifted(Notice):
    stop: floor_pb2.Stop


@dataclass(frozen=True, slots=True)
class LinkMoved(Notice):
    state: LinkState


def reject_reason(reason: zone_service_pb2.RejectReason.ValueType) -> str:
    """The enum's name without its prefix; a number that this version does not know stays a number."""
    try:
        return zone_service_pb2.RejectReason.Name(reason).removeprefix("REJECT_REASON_")
    except ValueError:
        return str(int(reason))


def holder_deadline_ns(sent_ns: int, remaining_ms: int, *, rho_ppm: int, stop_ms: int) -> int:
    """D = t_send + remaining * (1 - rho) - stop_ms, rounded down, in nanoseconds of the holder's clock.

    `rho_ppm` is the clock-rate error that both sides allow for; `stop_ms` is what the machine needs to come to a stand.
    """
    return sent_ns + remaining_ms * NS_PER_MS * (PPM - rho_ppm) // PPM - stop_ms * NS_PER_MS

"""Everything that can happen to the core. Each event carries its time and the id of what caused it.

`now_ms` comes from one monotonic clock of the shell and never runs backwards. `conn` names the stream or unary call
that an answer goes back to. Shells build events only from input that they validated (sizes, types); the core checks
meaning.
"""

from __future__ import annotations

from dataclasses import dataclass

from coordinator.core.model import NOTHING_SEEN, BlockCause, Mark, SeenUnit, StopRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    now_ms: int
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Started(Event):
    """The first event of a core. `assume_empty` confirms a new ledger's floor without an operator (demonstrations
    only); `seen` is the farthest that this coordinator saw the ledger, in this process or an earlier one.
    """

    assume_empty: bool = False
    seen: Mark = NOTHING_SEEN
    recorded_at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasesRecalled(Event):
    """Tokens whose release (or standstill) was received before a reload and not known to be durable."""

    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRecovered(Event):
    """A stop that had left before it was durable, put back after a reload."""

    stop: StopRecord
    recorded_at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindDown(Event):
    """The stops that the last step told have left: the grants that they end may end now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello(Event):
    """An agent opens or resumes its session on a stream, or (detached) for one unary call."""

    conn: int
    agent_id: str
    session: str
    kind: str = ""
    floor_hash: str = ""
    highest_token: int = 0
    highest_revision: int = 0
    highest_epoch: int = 0
    vehicle_watchdog: bool = False
    latched_stop_ids: tuple[str, ...] = ()
    held_tokens: tuple[int, ...] = ()
    standing_zones: tuple[str, ...] = ()
    detached: bool = False
    recorded_at: str = ""

    @property
    def seen(self) -> Mark:
        """The farthest that the agent saw the ledger."""
        return Mark(self.highest_epoch, self.highest_revision, max((self.highest_token, *self.held_tokens)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard(Event):
    """A frame came in on this stream."""

    conn: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnClosed(Event):
    """A stream or unary call ended, for whatever reason. Says nothing about where its agents are."""

    conn: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentEvent(Event):
    """An operation by an agent that said hello on `conn`."""

    conn: int
    agent_id: str
    request_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked(AgentEvent):
    """`payload` is a hash over all that the ask says, request id excluded."""

    zones: tuple[str, ...]
    expected_ms: int
    payload: str
    priority: int = 0
    no_wait: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed(AgentEvent):
    """The agent's remaining route, in the order in which it enters the zones; empty: it has arrived."""

    zones: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled(AgentEvent):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Released(AgentEvent):
    """The whole contour with its load has left `zones` (empty: all of the grant)."""

    token: int
    zones: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Abandoned(AgentEvent):
    """The grant ends, the occupancy stays. `block` is ABANDONED, PARKED or STOPPED (standing where time ran out)."""

    token: int
    block: BlockCause = BlockCause.ABANDONED
    zones: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Declined(AgentEvent):
    """A grant that came after its own D was never used."""

    token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtendAsked(AgentEvent):
    token: int
    expected_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported(AgentEvent):
    """Telemetry. `inside` is every zone that the contour touches, or None when the agent did not say."""

    position: tuple[int, int] | None = None
    heading_mdeg: int = 0
    inside: tuple[str, ...] | None = None
    progress_permille: int = 0
    activity: str = ""
    nonce: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StopAcked(AgentEvent):
    """The agent stands still because of these stops."""

    stop_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofAsked(AgentEvent):
    """The last holder of BLOCKED zones wants to prove that it has left them."""

    token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SaidGoodbye(AgentEvent):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorEvent(Event):
    """An operator's action, or an agent's stop request. `recorded_at` is wall clock for the audit only."""

    conn: int
    operator: str
    reason: str
    recorded_at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StopAsked(OperatorEvent):
    """Exactly one of zone, stop_group, floor says the scope."""

    stop_id: str
    zone: str = ""
    stop_group: str = ""
    floor: bool = False
    agent_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetAsked(OperatorEvent):
    stop_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClearAsked(OperatorEvent):
    """`zones` may name areas; `agent_id` narrows to what that agent left behind. `seen`: the occupied units that the
    operator looked at, without which none is cleared. `incarnation` of the ledger that was looked at; 0: not said.
    """

    zones: tuple[str, ...] = ()
    all_unknown: bool = False
    agent_id: str = ""
    seen: tuple[SeenUnit, ...] = ()
    incarnation: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeAsked(OperatorEvent):
    """An operator takes grants back: one by its token, or all of an agent's. Held until the holder confirms."""

    token: int = 0
    agent_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseAsked(OperatorEvent):
    """The zones (or areas) grant nothing new from now on. `agent_id`: set when a machine's observer closes them."""

    zones: tuple[str, ...]
    agent_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAsked(OperatorEvent):
    """The zones (or areas) are granted again."""

    zones: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticked(Event):
    """Time passed. Deadlines trip only on a tick whose fence is fresh: a coordinator that may have been replaced
    stays quiet.
    """

    fence_fresh: bool = True
    recorded_at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed(Event):
    """The store holds every write up to and including those of step `upto`; deadlines count from here."""

    upto: int

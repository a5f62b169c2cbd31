"""The values that the core decides over and the records that it leaves in the store.

Everything here is frozen and validates itself; `machine` alone decides which value replaces which. A *unit* is one
slot of one zone, the thing that is held. Its record is rewritten and never deleted, so that a token once seen stays
seen (I3). Integers only: durations in milliseconds, no wall clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

MAX_ZONES_PER_ASK = 32
MAX_PRIORITY = 9
MAX_NAME_CHARS = 128
TOKEN_COUNTER_BITS = 40
"""A token is `incarnation << 40 | counter`: a restored ledger starts a higher incarnation and so never repeats one."""


COUNTER_KEY = "meta/counter"


class UnitState(StrEnum):
    """The durable state of one unit. Only HELD carries a live grant; only FREE may be given away."""

    FREE = "FREE"
    HELD = "HELD"
    BLOCKED = "BLOCKED"
    UNKNOWN = "UNKNOWN"


class BlockCause(StrEnum):
    """Why a unit is occupied without a live grant."""

    NONE = ""
    OVERDUE = "OVERDUE"
    ABANDONED = "ABANDONED"
    PARKED = "PARKED"
    STOPPED = "STOPPED"
    DECLARED = "DECLARED"
    UNCERTAIN = "UNCERTAIN"


class StopCause(StrEnum):
    OVERDUE = "OVERDUE"
    OPERATOR = "OPERATOR"
    AGENT = "AGENT"
    LEDGER = "LEDGER"


class Vacancy(StrEnum):
    """Who may prove that a BLOCKED zone is empty: a named operator only, or its last holder with fresh evidence too."""

    OPERATOR = "operator"
    HOLDER = "holder"


class ZoneState(StrEnum):
    """The state a zone is *shown* in, derived and never stored."""

    FREE = "FREE"
    HELD = "HELD"
    BLOCKED = "BLOCKED"
    STOPPED = "STOPPED"
    UNKNOWN = "UNKNOWN"
    CLOSED = "CLOSED"


@dataclass(frozen=True, slots=True)
class ZoneSpec:
    """What the core needs to know of a zone; geometry stays with the floor."""

    name: str
    capacity: int = 1
    stop_group: str = "floor"
    hold_max_ms: int = 60_000
    vacancy: Vacancy = Vacancy.OPERATOR

    def __post_init__(self) -> None:
        if not self.name or len(self.name) > MAX_NAME_CHARS:
            raise ValueError(f"zone name {self.name!r} must have 1 to {MAX_NAME_CHARS} characters")
        if self.capacity < 1:
            raise ValueError(f"zone {self.name}: capacity {self.capacity} must be at least 1")
        if not self.stop_group:
            raise ValueError(f"zone {self.name}: stop_group must not be empty")
        if self.hold_max_ms < 1:
            raise ValueError(f"zone {self.name}: hold_max_ms {self.hold_max_ms} must be at least 1")


@dataclass(frozen=True, slots=True)
class FloorSpec:
    """The versioned map as the core sees it."""

    site: str
    version: int
    hash: str
    zones: tuple[ZoneSpec, ...]
    areas: tuple[tuple[str, tuple[str, ...]], ...] = ()
    agent_kinds: tuple[str, ...] = ()
    neighbours: tuple[tuple[str, str], ...] = ()
    """Pairs (from, to) of zones that a vehicle may drive between."""

    def __post_init__(self) -> None:
        names = [z.name for z in self.zones]
        if len(set(names)) != len(names):
            raise ValueError("zone names must be unique")


@dataclass(frozen=True, slots=True)
class UnitRecord:
    """One unit as the store keeps it.

    `session` is the SHA-256 of the session secret, hex; the secret itself is never stored. A FREE record keeps its
    last holder, so that a late repeat of an old request is recognised. A HELD record with a `cause` came from its
    holder's own residue and falls back to it when the grant is declined. A record of an earlier incarnation than the
    ledger's is void.
    """

    zone: str
    slot: int
    state: UnitState
    agent_id: str = ""
    session: str = ""
    token: int = 0
    request_id: str = ""
    payload: str = ""
    expected_ms: int = 0
    remaining_ms: int = 0
    elapsed_ms: int = 0
    cause: BlockCause = BlockCause.NONE
    incarnation: int = 1
    revoked: bool = False

    @property
    def key(self) -> str:
        return unit_key(self.zone, self.slot)


@dataclass(frozen=True, slots=True)
class StopRecord:
    """One stop with its whole scope inside, so that a stop of any size is one write."""

    stop_id: str
    cause: StopCause
    floor: bool
    stop_groups: tuple[str, ...]
    zones: tuple[str, ...]
    tripped_by: str
    reason: str
    active: bool = True
    reset_by: str = ""
    reset_reason: str = ""
    token: int = 0
    seq: int = 0

    @property
    def key(self) -> str:
        return f"stop/{self.stop_id}"


@dataclass(frozen=True, slots=True)
class CounterRecord:
    """The token counter, the ledger's incarnation, and whether the floor was ever confirmed empty in it.

    A unit without a valid record is FREE in a confirmed ledger and UNKNOWN in one that is not: confirming a floor of
    any size is one write.
    """

    incarnation: int
    counter: int
    confirmed: bool = False

    @property
    def key(self) -> str:
        return COUNTER_KEY

    @property
    def token(self) -> int:
        return self.incarnation << TOKEN_COUNTER_BITS | self.counter


@dataclass(frozen=True, slots=True)
class FloorRecord:
    """The floor the ledger's units belong to."""

    site: str
    version: int
    hash: str

    @property
    def key(self) -> str:
        return "meta/floor"


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One safety action. `recorded_at` is wall clock for people and takes part in nothing."""

    seq: int
    action: str
    actor: str
    reason: str
    subjects: tuple[str, ...] = ()
    recorded_at: str = ""

    @property
    def key(self) -> str:
        return f"audit/{self.seq:016d}"


@dataclass(frozen=True, slots=True)
class ClosureRecord:
    """One zone that grants nothing new. `token`: the newest token when it was closed; the grants up to it carry on."""

    zone: str
    closed_by: str
    reason: str
    agent_id: str = ""
    token: int = 0

    @property
    def key(self) -> str:
        return f"closure/{self.zone}"


Record = UnitRecord | StopRecord | CounterRecord | FloorRecord | AuditRecord | ClosureRecord


def spoken(duration_ms: int) -> str:
    """A duration for people: `850 ms`, `7.2 s`, `3 min 20 s`."""
    if duration_ms < 1_000:
        return f"{duration_ms} ms"
    if duration_ms < 60_000:
        return f"{duration_ms // 1_000}.{duration_ms % 1_000 // 100} s"
    return f"{duration_ms // 60_000} min {duration_ms % 60_000 // 1_000} s"


def unit_key(zone: str, slot: int) -> str:
    return f"unit/{zone}/{slot}"


@dataclass(frozen=True, slots=True)
class SeenUnit:
    """An occupied unit as an operator saw it. The token tells this occupancy from a later one of the same agent."""

    zone: str
    slot: int
    agent_id: str
    token: int


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a ledger had got when somebody saw it: the leader's fence, the store's revision under that fence, and the
    newest token given out. All three only rise while a ledger lives; a restored copy is behind what was seen (I3).
    """

    epoch: int = 0
    revision: int = 0
    token: int = 0

    @property
    def incarnation(self) -> int:
        return self.token >> TOKEN_COUNTER_BITS

    def joined(self, other: Mark) -> Mark:
        """The farther of both. Fences and revisions compare within one incarnation only: a restored store counts on
        from its copy.
        """
        mine = (self.incarnation, self.epoch, self.revision)
        far = other if mine <= (other.incarnation, other.epoch, other.revision) else self
        return Mark(far.epoch, far.revision, max(self.token, other.token))


NOTHING_SEEN = Mark()


@dataclass(frozen=True, slots=True)
class Ledger:
    """Everything durable, as a store hands it to a starting core."""

    units: tuple[UnitRecord, ...] = ()
    stops: tuple[StopRecord, ...] = ()
    audit: tuple[AuditRecord, ...] = ()
    closures: tuple[ClosureRecord, ...] = ()
    counter: CounterRecord | None = None
    floor: FloorRecord | None = None
    revision: int = 0
    epoch: int = 0

    @classmethod
    def of(cls, records: Iterable[Record], *, revision: int, epoch: int) -> Ledger:
        """The records of every kind, each kind in its own order, whatever order they come in."""
        kinds: dict[type, list[Any]] = {}
        for record in records:
            kinds.setdefault(type(record), []).append(record)
        return cls(
            units=tuple(sorted(kinds.get(UnitRecord, ()), key=lambda u: (u.zone, u.slot))),
            stops=tuple(sorted(kinds.get(StopRecord, ()), key=lambda s: (s.seq, s.stop_id))),
            audit=tuple(sorted(kinds.get(AuditRecord, ()), key=lambda a: a.seq)),
            closures=tuple(sorted(kinds.get(ClosureRecord, ()), key=lambda c: c.zone)),
            counter=next(iter(kinds.get(CounterRecord, ())), None),
            floor=next(iter(kinds.get(FloorRecord, ())), None),
            revision=revision,
            epoch=epoch,
        )


@dataclass(frozen=True, slots=True)
class Timing:
    """The core's times, all in milliseconds; `rho_ppm` is the clock-rate error both sides allow for."""

    rho_ppm: int = 10_000
    heartbeat_ms: int = 500
    suspend_ms: int = 1_500
    lost_ms: int = 5_000
    reattach_ms: int = 2_000
    telemetry_fresh_ms: int = 2_000
    estop_ack_ms: int = 1_000
    proof_samples: int = 3
    proof_spacing_ms: int = 100
    warn_permille: int = 800
    audit_max: int = 10_000
    ended_stops_max: int = 1_000
    queue_max: int = 100_000
    remembered_requests_max: int = field(default=64)

    def coordinator_ms(self, expected_ms: int) -> int:
        """The coordinator's deadline for a hold of `expected_ms`, rounded up: `expected * (1 + rho)`."""
        return -(-expected_ms * (1_000_000 + self.rho_ppm) // 1_000_000)

    def holder_ms(self, coordinator_ms: int) -> int:
        """The inverse, rounded down: what a holder may count on when the coordinator has `coordinator_ms` left."""
        return coordinator_ms * 1_000_000 // (1_000_000 + self.rho_ppm)

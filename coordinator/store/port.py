"""The one port between the coordinator's runtime and whatever keeps its ledger.

A store leads or does not. Only a leader loads and commits, and every commit is fenced: it applies as a whole while this
process still leads and no record it touches was changed by anyone else, or not at all (I4). What the store cannot know
it says: `CommitUncertain` means "may or may not have been applied", and the runtime then rewrites the leader fence and
reloads before it decides anything else. Stores keep bytes; `codec` alone knows what they mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

MAX_OPERATIONS = 127
"""Writes of one commit, in every store. etcd allows 128 compares in a transaction, and one is the fence's."""

MAX_COMMIT_BYTES = 1_000_000
"""Keys and values of one commit: etcd's default request limit of 1.5 MiB less what the compares need."""


class StoreError(Exception):
    """Base of all that a store raises."""


class StoreUnavailable(StoreError):
    """Nothing was applied. The message says what is down and what to try."""


class CommitUncertain(StoreError):
    """The commit may or may not have been applied."""


class Fenced(StoreError):
    """Another coordinator leads; nothing was applied."""


class RecordConflict(StoreError):
    """A record changed under our own fence: a foreign writer. The coordinator halts with an alarm."""


class CommitTooLarge(StoreError):
    """A mistake of the caller: the commit is over MAX_OPERATIONS or MAX_COMMIT_BYTES. Nothing was applied."""


def check_size(writes: Mapping[str, bytes | None]) -> None:
    """Raises CommitTooLarge: every store refuses the same commits."""
    if len(writes) > MAX_OPERATIONS:
        raise CommitTooLarge(f"{len(writes)} writes in one commit are over the limit of {MAX_OPERATIONS}: split it")
    size = sum(len(key) + len(value or b"") for key, value in writes.items())
    if size > MAX_COMMIT_BYTES:
        raise CommitTooLarge(f"{size} bytes in one commit are over the limit of {MAX_COMMIT_BYTES}: split it")


@dataclass(frozen=True, slots=True)
class Loaded:
    """Every record under the ledger's prefix, and the store revision they were read at."""

    records: Mapping[str, bytes]
    revision: int
    epoch: int


@dataclass(frozen=True, slots=True)
class LeaderSeen:
    """The leader as its key tells of it. `address` is where agents reach it; `identity` is one process's, for ever.

    `lease_ms` is what the store granted its lease for; 0 where an older version did not say.
    """

    name: str
    address: str
    identity: str
    epoch: int
    lease_ms: int = 0


class LeaderLine(Protocol):
    """A standby's own stream to the leader, beside the store: what tells a leader that died from one that is slow."""

    @property
    def closed(self) -> bool:
        """The stream to the leader followed now was open, and has ended, or the leader said on it that it ends and
        named this process its successor; silence is not an end.
        """

    @property
    def handed_over(self) -> bool:
        """The leader named this process its successor, and has ended their stream: it decides nothing any more."""

    @property
    def yields_until_ms(self) -> int:
        """The leader named another standby its successor, which has the first try until then (CLOCK_BOOTTIME); or 0."""

    def follow(self, leader: LeaderSeen | None) -> None:
        """Keeps a stream to this leader from now on; to nobody with None."""


class Store(Protocol):
    """Implemented by `sqlite.SqliteStore` and `etcd.EtcdStore`."""

    @property
    def leader(self) -> LeaderSeen | None:
        """Who leads as far as a standby knows; None where nobody does, and in a store that is never shared."""

    @property
    def heir(self) -> bool:
        """This process stands by, and the leader seems to be gone: it may lead before long."""

    @property
    def trouble(self) -> str:
        """Why nobody can lead or commit at present, for people; empty when nothing is known to be wrong."""

    @property
    def on_standing(self) -> list[Callable[[], None]]:
        """Called when `leader` or `heir` may have changed."""

    @property
    def on_progress(self) -> list[Callable[[int, int, int], None]]:
        """Called on a standby with the fence, the revision and the newest token that the leader's tick tells."""

    newest_token: int
    """Set by the runtime: what the ticks of this leader tell standbys. Never above what is committed."""

    @property
    def name(self) -> str:
        """For people: `sqlite:/path` or `etcd:host:port,...`."""

    @property
    def lease_ms(self) -> int:
        """How old the last commit may be before leadership can have passed on; 0 when it cannot.

        Ask again after every commit: what is left of a lease differs from one to the next.
        """

    async def lead(self) -> int:
        """Waits until this process leads; returns the fence E (a positive integer that rises with every leader).

        Raises StoreUnavailable only when the store is misconfigured; an unreachable one is waited for.
        """

    async def load(self) -> Loaded:
        """Reads everything inside the fence. Raises Fenced, StoreUnavailable."""

    async def commit(self, writes: Mapping[str, bytes | None]) -> int:
        """Applies at most MAX_OPERATIONS writes (None deletes) as one fenced transaction; returns the revision.

        An empty mapping is the tick: it proves the fence and renews the lease. Anything else needs a `load` since the
        last `lead` or `refence`. Raises StoreUnavailable (not applied), CommitUncertain, Fenced, RecordConflict,
        CommitTooLarge. A call that is cancelled is uncertain too.
        """

    async def refence(self) -> int:
        """After an uncertain commit: rewrites the leader record so that no delayed transaction can still apply; new E.

        Waits for as long as the store cannot be asked; `load` must follow. Raises Fenced.
        """

    async def resign(self) -> None:
        """Gives up the lead so that another can take it at once; the store stays open. Does nothing without the lead.

        A leader that cannot say so (no quorum) is followed when its lease ends.
        """

    async def close(self) -> None:
        """Gives up leadership if held. Idempotent."""


class Unshared:
    """The standing of a store that no second process can lead: nobody to stand by for, nobody to hand over to."""

    def __init__(self) -> None:
        self.on_standing: list[Callable[[], None]] = []
        self.on_progress: list[Callable[[int, int, int], None]] = []
        self.newest_token = 0

    @property
    def leader(self) -> LeaderSeen | None:
        return None

    @property
    def heir(self) -> bool:
        return False

    @property
    def trouble(self) -> str:
        return ""

    async def resign(self) -> None:
        """The lead goes with the process."""

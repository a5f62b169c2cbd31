"""The one port between the coordinator's runtime and whatever keeps its ledger.

A store leads or does not. Only a leader loads and commits, and every commit is fenced: it applies as a whole while this
process still leads and no record it touches was changed by anyone else, or not at all (I4). What the store cannot know it
says: `CommitUncertain` means "may or may not have been applied", and the runtime then rewrites the leader fence and reloads
before it decides anything else. Stores keep bytes; `codec` alone knows what they mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

MAX_OPERATIONS = 128
"""etcd's default limit of operations in one transaction; the embedded store keeps it too."""


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


@dataclass(frozen=True, slots=True)
class Loaded:
    """Every record under the ledger's prefix, and the store revision they were read at."""

    records: Mapping[str, bytes]
    revision: int
    epoch: int


class Store(Protocol):
    """Implemented by `sqlite.SqliteStore` and `etcd.EtcdStore`."""

    @property
    def name(self) -> str:
        """For people: `sqlite:/path` or `etcd:host:port,...`."""

    @property
    def lease_ms(self) -> int:
        """How old a commit may be before leadership can have passed on; 0 when it cannot."""

    async def lead(self) -> int:
        """Waits until this process leads; returns the fence E (a positive integer that rises with every leader).

        Raises StoreUnavailable only when the store is misconfigured; an unreachable one is waited for.
        """

    async def load(self) -> Loaded:
        """Reads everything inside the fence. Raises Fenced, StoreUnavailable."""

    async def commit(self, writes: Mapping[str, bytes | None]) -> int:
        """Applies at most MAX_OPERATIONS writes (None deletes) as one fenced transaction; returns the revision.

        An empty mapping is the tick: it proves the fence and renews the lease. Raises StoreUnavailable (not applied),
        CommitUncertain, Fenced, RecordConflict.
        """

    async def refence(self) -> int:
        """After an uncertain commit: rewrites the leader record so that no delayed transaction can still apply; new E."""

    async def close(self) -> None:
        """Gives up leadership if held. Idempotent."""

"""What an agent owes the coordinator: releases, abandonments, declines, stop acknowledgements, its goodbye.

Rule: an entry leaves only when it is answered (or, for the kinds that have no answer, when a commit after it is
acknowledged); a new stream sends all of them again, in order. Entries are bounded by the agent's places, see
`agent`. Imports no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto

from zonelock.v1 import zone_service_pb2


class EntryKind(Enum):
    RELEASE = auto()
    ABANDON = auto()
    DECLINE = auto()
    STOP_ACK = auto()
    GOODBYE = auto()


ANSWERED_BY_COMMIT = frozenset({EntryKind.STOP_ACK})
"""Kinds without an answer of their own. For the others the answer counts: it may come after the acknowledgement."""


@dataclass(slots=True, eq=False)
class Entry:
    """One operation owed. `frame` is the frame of the current stream that carried it, 0 for none yet. A `resent` one
    was sent on an earlier stream too, and may have been carried out then.
    """

    entry_id: int
    kind: EntryKind
    operation: zone_service_pb2.Operation
    token: int = 0
    zones: tuple[str, ...] = ()
    frame: int = 0
    resent: bool = False


class Outbox:
    """One agent's entries, oldest first."""

    def __init__(self) -> None:
        self._entries: dict[int, Entry] = {}
        self._next_id = 1

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._entries.values()))

    def add(
        self,
        kind: EntryKind,
        operation: zone_service_pb2.Operation,
        *,
        token: int = 0,
        zones: tuple[str, ...] = (),
    ) -> Entry:
        entry = Entry(self._next_id, kind, operation, token, zones)
        self._next_id += 1
        self._entries[entry.entry_id] = entry
        return entry

    def remove(self, entry: Entry) -> None:
        self._entries.pop(entry.entry_id, None)

    def owes_release(self) -> bool:
        return any(entry.kind is EntryKind.RELEASE for entry in self._entries.values())

    def unsend(self) -> None:
        """A stream ended: nothing of it counts as sent."""
        for entry in self._entries.values():
            entry.resent = entry.resent or entry.frame > 0
            entry.frame = 0

    def find(self, token: int, kinds: Iterable[EntryKind], zones: frozenset[str] | None = None) -> Entry | None:
        """The oldest sent entry of the token and kinds; with `zones`, one that gives back just these, if there is
        any."""
        wanted = frozenset(kinds)
        fitting = [e for e in self._entries.values() if e.frame and e.token == token and e.kind in wanted]
        if zones is not None:
            exact = [e for e in fitting if frozenset(e.zones) == zones]
            fitting = exact or fitting
        return fitting[0] if fitting else None

    def oldest_sent(self) -> Entry | None:
        return next((e for e in self._entries.values() if e.frame), None)

    def awaits_commit(self) -> bool:
        return any(entry.kind in ANSWERED_BY_COMMIT for entry in self._entries.values())

    def committed(self, frame: int) -> list[Entry]:
        """Takes out what an acknowledgement of `frame` settles."""
        done = [e for e in self._entries.values() if 0 < e.frame <= frame and e.kind in ANSWERED_BY_COMMIT]
        for entry in done:
            self.remove(entry)
        return done

"""The journal of a ledger in etcd: what one commit writes is one key, and goes to its records' own keys later.

Every key that a transaction compares or writes costs etcd's members about 10 us each; a hundred in a batch are as much
as all else. So a commit puts one entry, `~journal/<number>`. What was journalled is folded into the records' own keys a
slice at a time, between commits and never beside one; a record that is written again meanwhile goes there once.

Owns these rules. The newest entry that names a record holds; its own key does only where none does. A slice writes the
newest value that there is, where nobody else wrote since. Entries are deleted only when each record that they name has
been folded since, or is named by a later one. Their numbers follow each other without a gap. Builds requests and keeps
account; does no I/O.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote

from coordinator.store import etcd_txn
from coordinator.store.etcdpb import kv_pb2, rpc_pb2
from coordinator.store.port import MAX_COMMIT_BYTES, MAX_OPERATIONS, StoreError

log = logging.getLogger(__name__)

ENTRY = "~journal/"
"""Sorts behind every record. An older coordinator, which knows no journal, refuses a ledger that holds one."""

FOLD_ENTRIES = 64
FOLD_BYTES = 512 * 1024
FOLD_MS = 1_000
"""Folding begins when the journal has so many entries, or so many bytes, or one that is so old: what a take-over reads
beside the records, and how long `etcdctl get` shows a record as it was.
"""
_MOST_AT_ONCE = 100
"""Entries that one deletion compares."""


class JournalCorrupt(StoreError):
    """The journal holds what no coordinator wrote. Nothing was changed."""

    def __init__(self, key: str, fault: str) -> None:
        super().__init__(
            f"the ledger's journal cannot be read: {key}: {fault}. Nothing was changed. Restore the store from a"
            " backup; or, after checking on the floor what stands there, delete the entries by hand from there on and"
            " start again."
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """What one commit wrote: each record's new bytes, or None for its deletion."""

    number: int
    mod_revision: int
    writes: Mapping[str, bytes | None]
    size: int
    since_ms: int

    @property
    def key(self) -> str:
        return entry_key(self.number)


@dataclass(frozen=True, slots=True)
class Slice:
    """One step of folding: records to be written to their own keys, or, when there are none left, entries to delete."""

    writes: Mapping[str, bytes | None]
    entries: tuple[Entry, ...] = ()

    @property
    def keys(self) -> list[str]:
        return [*self.writes, *(entry.key for entry in self.entries)]


def entry_key(number: int) -> str:
    return f"{ENTRY}{number:016d}"


def encoded(writes: Mapping[str, bytes | None]) -> bytes:
    """The entry of one commit, for people and programs: of each record a line with its length (`-` when it is deleted)
    and key (percent-encoded where it has a line feed or '%'), then its bytes and a line feed. Raises StoreError for a
    key that would be taken for an entry's.
    """
    parts = []
    for key, value in writes.items():
        if key.startswith("~"):
            raise StoreError(f"record key {key!r}: '~' to begin with is the journal's own")
        name = (quote(key) if "\n" in key or "%" in key else key).encode()
        parts.append(b"- %b\n" % name if value is None else b"%d %b\n%b\n" % (len(value), name, value))
    return b"".join(parts)


def decoded(key: str, entry: bytes) -> dict[str, bytes | None]:
    """What `encoded` wrote. `key`: the entry's own. Raises JournalCorrupt."""
    writes: dict[str, bytes | None] = {}
    at = 0
    while at < len(entry):
        end = entry.find(b"\n", at)
        length, _, name = entry[at:end].partition(b" ")
        at = end + 1
        if end < 0 or not name or not (length == b"-" or length.isdigit()):
            raise JournalCorrupt(key, f"no length and key in its line {entry[at : at + 80]!r}")
        record = unquote(name.decode(errors="backslashreplace"))
        if length == b"-":
            writes[record] = None
            continue
        size = int(length)
        if entry[at + size : at + size + 1] != b"\n":
            raise JournalCorrupt(key, f"{record} has not the {size} bytes that it should have")
        writes[record] = entry[at : at + size]
        at += size + 1
    return writes


class Journal:
    """Of one lead, from its `load` on: the revision of every record's own key, and what is not folded into them yet."""

    def __init__(self, ledger: bytes) -> None:
        """`ledger`: the prefix of all its keys."""
        self._ledger = ledger
        self.mods: dict[str, int] = {}
        """mod_revision of every record's own key."""
        self._entries: deque[Entry] = deque()
        self._bytes = 0
        self._unfolded: dict[str, tuple[bytes | None, int]] = {}
        """Newest value, and the number of its entry, of records that are newer there than in their own keys."""
        self._todo: list[str] = []
        self._upto = 0
        """While folding: the records yet to be looked at, and the last of the entries that go then."""
        self._next = 1

    def read(self, kvs: Iterable[kv_pb2.KeyValue], now_ms: int) -> dict[str, bytes]:
        """Every record as it is. `kvs`: all that the ledger holds, in order. Raises JournalCorrupt."""
        records: dict[str, bytes] = {}
        newest: dict[str, bytes | None] = {}
        strange: set[str] = set()
        start = len(self._ledger)
        for kv in kvs:
            key = kv.key[start:].decode(errors="backslashreplace")
            if not key.startswith(ENTRY):
                self.mods[key], records[key] = kv.mod_revision, kv.value
                continue
            number = key.removeprefix(ENTRY)
            if not number.isdigit() or (self._entries and int(number) != self._next):
                raise JournalCorrupt(key, f"where {entry_key(self._next)} should follow")
            writes = decoded(key, kv.value)
            self._append(Entry(int(number), kv.mod_revision, writes, len(kv.value), now_ms))
            for name, value in writes.items():
                if self.mods.get(name, 0) > kv.mod_revision and records.get(name) != value:
                    # A slice writes the newest value; or a later entry of that record tells below that it was one.
                    strange.add(name)
                else:
                    strange.discard(name)
                newest[name] = value
        for name in sorted(strange):
            log.error("%s was written by another program, unseen by a coordinator whose word holds: find out", name)
        records.update({name: value for name, value in newest.items() if value is not None})
        for name in (name for name, value in newest.items() if value is None):
            records.pop(name, None)
        return records

    def _append(self, entry: Entry) -> None:
        self._entries.append(entry)
        self._bytes += entry.size
        self._next = entry.number + 1
        for name, value in entry.writes.items():
            self._unfolded[name] = value, entry.number

    # -- commits ---------------------------------------------------------------------------------------------------

    def add_commit(self, request: rpc_pb2.TxnRequest, writes: Mapping[str, bytes | None]) -> None:
        """Adds the commit's entry, under the condition that there is none of that number."""
        etcd_txn.add_write(request, self._ledger + self.next_key.encode(), 0, encoded(writes))

    @property
    def next_key(self) -> str:
        """Of the entry that the next commit puts."""
        return entry_key(self._next)

    def committed(self, request: rpc_pb2.TxnRequest, writes: Mapping[str, bytes | None], now_ms: int, mod: int) -> None:
        size = len(request.success[-1].request_put.value)
        self._append(Entry(self._next, mod, writes, size, now_ms))

    # -- folding ---------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._entries)

    def due(self, now_ms: int) -> bool:
        """Whether there is a slice to fold now."""
        if not self._entries:
            return False
        return bool(
            self._upto
            or len(self._entries) >= FOLD_ENTRIES
            or self._bytes >= FOLD_BYTES
            or now_ms - self._entries[0].since_ms >= FOLD_MS
        )

    def next_slice(self) -> Slice:
        """The next step of folding, of which there is one when there are entries."""
        if not self._upto:
            last = min(len(self._entries), _MOST_AT_ONCE) - 1
            self._upto, self._todo = self._entries[last].number, list(reversed(self._unfolded))
        writes: dict[str, bytes | None] = {}
        size = 0
        while self._todo and len(writes) < MAX_OPERATIONS:
            key = self._todo[-1]
            value, number = self._unfolded[key]
            if number <= self._upto:  # a later entry that names it stays, and will do
                size += len(key) + len(value or b"")
                if writes and size > MAX_COMMIT_BYTES:
                    break
                writes[key] = value
            self._todo.pop()
        if writes:
            return Slice(writes)
        return Slice({}, tuple(entry for entry in self._entries if entry.number <= self._upto))

    def add_slice(self, request: rpc_pb2.TxnRequest, step: Slice) -> None:
        """Adds the slice's writes, under the condition that nobody wrote what it touches."""
        for key, value in step.writes.items():
            etcd_txn.add_write(request, self._ledger + key.encode(), self.mods.get(key, 0), value)
        for entry in step.entries:
            etcd_txn.add_compare(request, self._ledger + entry.key.encode(), entry.mod_revision)
        if step.entries:
            first, end = step.entries[0].key, entry_key(step.entries[-1].number + 1)
            request.success.append(etcd_txn.delete_range(self._ledger + first.encode(), self._ledger + end.encode()))

    def folded(self, step: Slice, mod_revision: int) -> None:
        for key, value in step.writes.items():
            del self._unfolded[key]
            if value is None:
                self.mods.pop(key, None)
            else:
                self.mods[key] = mod_revision
        for entry in step.entries:
            self._entries.popleft()
            self._bytes -= entry.size
        if step.entries:
            self._upto = 0

    def revision_of(self, key: str) -> int:
        """The mod_revision that a key under the ledger should have; 0 where it should be absent."""
        mods = {entry.key: entry.mod_revision for entry in self._entries}
        return self.mods.get(key, 0) or mods.get(key, 0)

    def gave_up(self) -> None:
        """The slice was not applied: folding begins anew."""
        self._upto, self._todo = 0, []

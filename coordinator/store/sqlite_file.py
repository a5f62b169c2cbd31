"""The ledger's SQLite file as one thread sees it: its lock, schema, fence, and what each of SQLite's errors means.

Everything here blocks and belongs on `sqlite.SqliteStore`'s worker thread. The rule it owns: an error that is raised as
StoreUnavailable left nothing behind, and whatever might have left something is CommitUncertain.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress

from coordinator.store.port import CommitUncertain, Fenced, RecordConflict, StoreUnavailable

MEMORY = ":memory:"
APPLICATION_ID = 0x7A6C6F63
"""`zloc` in the file's header: `file(1)` and we know whose database it is."""
SCHEMA = 1
BUSY_S = 1.0
"""How long to wait for a foreign process (a backup, a shell) that holds the database for a moment."""

_TABLES = (
    "CREATE TABLE meta (id INTEGER PRIMARY KEY CHECK (id = 1), epoch INTEGER NOT NULL, revision INTEGER NOT NULL,"
    " leader TEXT NOT NULL)",
    "CREATE TABLE record (key TEXT PRIMARY KEY, value BLOB NOT NULL, revision INTEGER NOT NULL) WITHOUT ROWID",
    "INSERT INTO meta VALUES (1, 0, 0, '')",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA}",
)
_NOTHING_APPLIED = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY})
"""Errors of COMMIT after which even a crash cannot bring the transaction back. A failed fsync is no such error."""

_REMEDIES = {
    sqlite3.SQLITE_FULL: "the disk is full: free some space",
    sqlite3.SQLITE_READONLY: "it is read-only: give this user write permission on the file and its directory",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened: check that the directory exists and this user may write in it",
    sqlite3.SQLITE_PERM: "no permission: give this user write permission on the file and its directory",
    sqlite3.SQLITE_NOTADB: "it is not an SQLite database: name another file, or move this one away",
    sqlite3.SQLITE_CORRUPT: "it is damaged: move it and its -wal file away, then restore a backup or try `sqlite3 FILE"
    " .recover`; the zones are unknown until the floor was checked",
    sqlite3.SQLITE_BUSY: "another process holds it: end the shell or backup that has it open",
    sqlite3.SQLITE_IOERR: "the disk reports an error: check the disk and the system log",
}


class LedgerFile:
    """One open ledger. Raises StoreUnavailable, CommitUncertain, Fenced, RecordConflict."""

    def __init__(self, path: str) -> None:
        self.path = path if path == MEMORY else os.path.realpath(path)
        self._db: sqlite3.Connection | None = None
        self._lock: FileLock | None = None
        self._leader = f"pid {os.getpid()} {uuid.uuid4().hex}"
        self._data_version = 0
        self._files: dict[str, tuple[int, int]] = {}

    def open(self) -> int:
        """Locks, checks and opens the file, makes it when it is absent; returns the new, durable fence."""
        if self.path == MEMORY and self._db is not None:
            return self._raise_fence(self._db)
        self.close()
        try:
            if self.path != MEMORY:
                self._check_place()
                self._lock = FileLock(self.path)
            return self._open(takeover=True)
        except BaseException:
            self.close()
            raise

    def refence(self) -> int:
        """Reads the file afresh, so that whatever an uncertain commit left behind is settled, and raises the fence."""
        if self.path == MEMORY:
            return self._raise_fence(self._require_open())
        self._check_files(self.path, self.path + FileLock.SUFFIX)
        self._close_database()
        return self._open(takeover=False)

    def _open(self, *, takeover: bool) -> int:
        try:
            db = self._db = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None)
            self._check_owner(db)
            mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            if mode != ("memory" if self.path == MEMORY else "wal"):
                raise StoreUnavailable(f"{self.path}: its file system has no SQLite WAL: put it on a local disk")
            db.execute("PRAGMA synchronous = FULL")
            if not db.execute("PRAGMA user_version").fetchone()[0]:
                self._create(db)
            found = db.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise StoreUnavailable(f"{self.path}: {_REMEDIES[sqlite3.SQLITE_CORRUPT]} (quick_check: {found})")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if not takeover:
                self._check_leader(db)
        except sqlite3.Error as error:
            raise StoreUnavailable(self._explain(error)) from error
        return self._raise_fence(db)

    def _raise_fence(self, db: sqlite3.Connection) -> int:
        try:
            # By the wall clock, so that two lives of a file (its own, that of a copy put back) differ in their fences.
            # Where that clock is wrong, fences still rise, and only the copy is harder to notice.
            db.execute(
                "UPDATE meta SET epoch = max(epoch + 1, ?), leader = ?", (time.time_ns() // 1_000_000, self._leader)
            )
            epoch: int = db.execute("SELECT epoch FROM meta").fetchone()[0]
            self._data_version = self._read_data_version(db)
        except sqlite3.Error as error:
            raise StoreUnavailable(self._explain(error)) from error
        self._files = self._identities()
        return epoch

    def _check_place(self) -> None:
        """SQLite says "unable to open database file" to all of these."""
        directory = os.path.dirname(self.path)
        if not os.path.isdir(directory):
            raise StoreUnavailable(f"{self.path}: the directory {directory} does not exist: create it")
        if os.path.isdir(self.path):
            raise StoreUnavailable(f"{self.path} is a directory: name a file, e.g. {self.path}/ledger.db")
        if os.path.exists(self.path) and not os.access(self.path, os.R_OK | os.W_OK):
            raise StoreUnavailable(f"{self.path}: {_REMEDIES[sqlite3.SQLITE_READONLY]}")
        if not os.access(directory, os.W_OK | os.X_OK):
            raise StoreUnavailable(f"{self.path}: {_REMEDIES[sqlite3.SQLITE_CANTOPEN]}")

    def _check_owner(self, db: sqlite3.Connection) -> None:
        owner = db.execute("PRAGMA application_id").fetchone()[0]
        schema = db.execute("PRAGMA user_version").fetchone()[0]
        empty = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
        if empty and not owner and not schema:
            return
        if owner != APPLICATION_ID:
            raise StoreUnavailable(f"{self.path} is another program's SQLite database: name another file")
        if schema != SCHEMA:
            raise StoreUnavailable(
                f"{self.path} has schema {schema}, this zonelock reads {SCHEMA}: start the version that wrote it"
            )

    def _create(self, db: sqlite3.Connection) -> None:
        db.execute("BEGIN IMMEDIATE")
        for statement in _TABLES:
            db.execute(statement)
        db.execute("COMMIT")

    def read(self) -> tuple[dict[str, bytes], int]:
        """Every record, and the revision."""
        db = self._require_open()
        try:
            db.execute("BEGIN")
            try:
                self._check_files()
                self._check_leader(db)
                revision: int = db.execute("SELECT revision FROM meta").fetchone()[0]
                records: dict[str, bytes] = dict(db.execute("SELECT key, value FROM record ORDER BY key").fetchall())
                self._data_version = self._read_data_version(db)
            finally:
                self._roll_back(db)
        except sqlite3.Error as error:
            raise StoreUnavailable(self._explain(error)) from error
        return records, revision

    def tick(self) -> int:
        """Proves the fence without writing: the lock is what keeps others out, the rest checks that it does."""
        db = self._require_open()
        try:
            self._check_foreign(db)
            revision: int = db.execute("SELECT revision FROM meta").fetchone()[0]
        except sqlite3.Error as error:
            raise StoreUnavailable(self._explain(error)) from error
        return revision

    def write(self, writes: Mapping[str, bytes | None]) -> int:
        db = self._require_open()
        try:
            db.execute("BEGIN IMMEDIATE")
            self._check_foreign(db)
            db.execute("UPDATE meta SET revision = revision + 1")
            revision: int = db.execute("SELECT revision FROM meta").fetchone()[0]
            db.executemany(
                "INSERT INTO record VALUES (?, ?, ?)"
                " ON CONFLICT (key) DO UPDATE SET value = excluded.value, revision = excluded.revision",
                [(key, value, revision) for key, value in writes.items() if value is not None],
            )
            db.executemany(
                "DELETE FROM record WHERE key = ?", [(key,) for key, value in writes.items() if value is None]
            )
        except BaseException as error:
            self._roll_back(db)
            if isinstance(error, sqlite3.Error):
                raise StoreUnavailable(f"nothing was committed: {self._explain(error)}") from error
            raise
        self._commit(db)
        return revision

    def _commit(self, db: sqlite3.Connection) -> None:
        try:
            db.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back(db)
            if _primary_code(error) in _NOTHING_APPLIED:
                raise StoreUnavailable(f"nothing was committed: {self._explain(error)}") from error
            # The frames may be in the WAL, and a crash would replay them. `refence` writes over whatever is there.
            raise CommitUncertain(self._explain(error)) from error

    def close(self) -> None:
        self._close_database()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _close_database(self) -> None:
        if self._db is not None:
            with suppress(sqlite3.Error):
                self._db.close()
            self._db = None

    def _require_open(self) -> sqlite3.Connection:
        if self._db is None:
            raise StoreUnavailable(f"{self.path} is not open: refence or lead first")
        return self._db

    def _check_foreign(self, db: sqlite3.Connection) -> None:
        self._check_files()
        if self._read_data_version(db) == self._data_version:
            return
        self._check_leader(db)
        raise RecordConflict(
            f"another program wrote to {self.path} while this coordinator had it: find out which and what it changed,"
            " then start again"
        )

    def _check_files(self, *only: str) -> None:
        """A commit into a file that was unlinked succeeds, and is lost."""
        for path, identity in self._files.items():
            if (not only or path in only) and _identity(path) != identity:
                raise RecordConflict(
                    f"{path} was removed or replaced under this coordinator: stop it, put the file back, start again"
                )

    def _identities(self) -> dict[str, tuple[int, int]]:
        if self.path == MEMORY:
            return {}
        names = (self.path, f"{self.path}-wal", f"{self.path}{FileLock.SUFFIX}")
        return {name: identity for name in names if (identity := _identity(name)) is not None}

    def _check_leader(self, db: sqlite3.Connection) -> None:
        epoch, leader = db.execute("SELECT epoch, leader FROM meta").fetchone()
        if leader != self._leader:
            raise Fenced(f"another coordinator ({leader}, fence {epoch}) took {self.path} over")

    def _read_data_version(self, db: sqlite3.Connection) -> int:
        """Changes exactly when another connection commits."""
        version: int = db.execute("PRAGMA data_version").fetchone()[0]
        return version

    def _roll_back(self, db: sqlite3.Connection) -> None:
        if db.in_transaction:
            with suppress(sqlite3.Error):
                db.execute("ROLLBACK")

    def _explain(self, error: sqlite3.Error) -> str:
        remedy = _REMEDIES.get(_primary_code(error), "see the message")
        return f"{self.path}: {remedy} (SQLite: {error})"


class FileLock:
    """An exclusive lock until this process ends, however it ends. The lock file stays: removing it would race."""

    SUFFIX = ".lock"

    def __init__(self, path: str) -> None:
        self.path = path + self.SUFFIX
        try:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StoreUnavailable(f"{self.path}: cannot create the lock file ({error.strerror})") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError:
            holder = os.pread(self._fd, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._fd)
            raise StoreUnavailable(
                f"another coordinator (pid {holder}) has {path} open: stop it, or give this one a store of its own"
            ) from None
        except OSError as error:
            os.close(self._fd)
            raise StoreUnavailable(
                f"{self.path}: cannot lock it ({error.strerror}): put the store on a local disk with free space"
            ) from error

    def close(self) -> None:
        os.close(self._fd)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _primary_code(error: sqlite3.Error) -> int:
    """SQLite's extended codes carry the primary one in their low byte."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF

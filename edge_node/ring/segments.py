"""The ring's files: made whole before anyone sees them, owned by the one process that holds their lock, and removed
once their writer is dead.

Rule owned: a file belongs to whoever holds its flock. The kernel drops that lock when the process dies, however it
dies and whatever happens to its number, so a lock that can be taken means that no writer lives; the pid and its start
time in the head name the process for people and catch a child that inherited the lock. Never imports the writer or
the reader.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import re
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from edge_node.ring.layout import (
    DESCRIPTION_AT,
    HEAD_AT,
    PAGE_BYTES,
    STATE_AT,
    Header,
    RingError,
    State,
    unpack_header,
)

DEFAULT_FOLDER = Path("/dev/shm/zonelock")
ENDING = ".ring"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
FILE_MODE = 0o640
LOCK_TRIES = 20
RETRY_S = 0.01


@dataclass(frozen=True, slots=True)
class Segment:
    """One ring's file as it lies there. `heartbeat_ns` is CLOCK_MONOTONIC."""

    path: Path
    header: Header
    head: int
    heartbeat_ns: int
    state: State
    writer_alive: bool


def ring_path(name: str, folder: Path) -> Path:
    if not NAME.fullmatch(name):
        raise RingError(f"ring name = {name!r}: must be 1 to 64 letters, digits, '-', '_' or '.', such as 'spindle'")
    return folder / f"{name}{ENDING}"


def process_start_ticks(pid: int) -> int | None:
    """When the process began, in clock ticks since boot (proc(5), field 22 of stat); None when there is none."""
    try:
        told = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # The second field is the command in parentheses and may itself hold spaces and parentheses.
    fields = told[told.rindex(b")") + 2 :].split()
    return None if fields[0] in {b"Z", b"X"} else int(fields[19])


def create_locked(path: Path, header: Header, description: bytes) -> tuple[int, mmap.mmap]:
    """Makes the ring's file and takes its place; returns its locked descriptor and a writable mapping.

    Raises RingError when another writer lives, or when there is no room: the pages are reserved now, because a full
    tmpfs would otherwise kill the writer with SIGBUS at its first touch.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RingError(f"{path.parent}: no folder for rings ({error.strerror}); choose another") from None
    with _take_over(path) as predecessor:
        epoch = max(header.epoch, predecessor.epoch + 1 if predecessor else 0)
        fresh = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}.tmp")
        fd = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            memory = _fill(fd, replace(header, epoch=epoch), description)
            if predecessor is not None:
                os.rename(fresh, path)
                predecessor.retire()
            else:
                # link, unlike rename, fails where another writer was quicker.
                os.link(fresh, path)
                os.unlink(fresh)
        except BaseException as error:
            os.close(fd)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(fresh)
            if isinstance(error, FileExistsError):
                raise RingError(f"{path}: another writer has just taken it; stop it or choose another name") from None
            raise
        return fd, memory


def _fill(fd: int, header: Header, description: bytes) -> mmap.mmap:
    total = header.geometry.total_bytes
    try:
        os.posix_fallocate(fd, 0, total)
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}:
            raise
        raise RingError(
            f"ring of {total} bytes: no room ({error.strerror}); lower capacity, or choose a folder with more space"
        ) from None
    memory = mmap.mmap(fd, total, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
    packed = header.pack()
    memory[: len(packed)] = packed
    struct.pack_into("<QQQ", memory, HEAD_AT, 0, time.monotonic_ns(), State.LIVE)
    memory[DESCRIPTION_AT : DESCRIPTION_AT + len(description)] = description
    return memory


@dataclass(slots=True)
class _Predecessor:
    """A dead writer's file, locked by us."""

    fd: int
    epoch: int

    def retire(self) -> None:
        """Tells readers that still map it to look for the new file."""
        with contextlib.suppress(ValueError, OSError), mmap.mmap(self.fd, PAGE_BYTES) as head:
            struct.pack_into("<Q", head, STATE_AT, State.REPLACED)


@contextlib.contextmanager
def _take_over(path: Path) -> Iterator[_Predecessor | None]:
    """Locks the file that stands at `path`; None when there is none. RingError while its writer lives."""
    for _ in range(LOCK_TRIES):
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            yield None
            return
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                # Whoever lists or cleans the folder holds the lock for a moment: only a living writer is final.
                if _recorded_writer_lives(path, fd):
                    raise RingError(
                        f"{path}: another process writes it, and a ring has one writer; stop it or choose another name"
                    ) from None
                time.sleep(RETRY_S)
                continue
            if _still_at(path, fd):
                yield _Predecessor(fd, _epoch(path, fd))
                return
        finally:
            os.close(fd)
    raise RingError(
        f"{path}: some process keeps its lock though its writer is dead (a child of that writer?); "
        "stop that process (`fuser` names it) or use another ring name"
    )


def _still_at(path: Path, fd: int) -> bool:
    """The lock counts only while the name still leads to the file that we locked."""
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    ours = os.fstat(fd)
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


def _epoch(path: Path, fd: int) -> int:
    try:
        return unpack_header(os.pread(fd, PAGE_BYTES, 0), os.fstat(fd).st_size, str(path)).epoch
    except RingError:
        return 0


def read_segment(path: Path) -> Segment:
    """The file's head and whether its writer lives. RingError when it is not a ring."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise RingError(f"{path}: {error.strerror}; check the path, and whether a writer runs") from None
    try:
        size = os.fstat(fd).st_size
        data = os.pread(fd, PAGE_BYTES, 0)
        header = unpack_header(data, size, str(path))
        head, heartbeat, state = struct.unpack_from("<QQQ", data, HEAD_AT)
        return Segment(path, header, head, heartbeat, State(state), _locked(fd))
    finally:
        os.close(fd)


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False


def list_segments(folder: Path = DEFAULT_FOLDER) -> list[Segment]:
    """Every ring in the folder, by name; what is no ring is left out."""
    found = []
    for path in sorted(folder.glob(f"*{ENDING}")):
        with contextlib.suppress(RingError):
            found.append(read_segment(path))
    return found


def remove_stale(folder: Path = DEFAULT_FOLDER) -> list[Path]:
    """Removes rings, and unfinished files of theirs, whose writer is dead; returns what was removed.

    A ring whose lock can be taken has no writer. One whose recorded process still runs is left alone all the same.
    """
    removed = []
    for path in sorted((*folder.glob(f"*{ENDING}"), *folder.glob(f".*{ENDING}.*.tmp"))):
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _still_at(path, fd) and not _recorded_writer_lives(path, fd):
                os.unlink(path)
                removed.append(path)
        except BlockingIOError:
            continue
        finally:
            os.close(fd)
    return removed


def _recorded_writer_lives(path: Path, fd: int) -> bool:
    try:
        header = unpack_header(os.pread(fd, PAGE_BYTES, 0), os.fstat(fd).st_size, str(path))
    except RingError:
        return False
    return process_start_ticks(header.pid) == header.pid_start_ticks

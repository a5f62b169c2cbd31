"""Where an edge node's findings go: one interface, and JSON lines on disk behind it.

Rules owned: a sink never raises and never blocks for long: what it cannot keep it counts, and says so in a gap entry
once it can write again. A line is in the file whole or not at all. What is kept is bounded in bytes.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from edge_node.entries import Entry, Kind

log = logging.getLogger(__name__)

FILE_MODE = 0o640
RETRY_S = 1.0
"""After a failed write the disk is left alone for this long; what comes meanwhile is counted as lost."""


class Sink(Protocol):
    """Takes entries in order."""

    @property
    def lost(self) -> int:
        """Entries that could not be kept, since the start."""
        ...

    def write(self, entry: Entry) -> None: ...

    def close(self) -> None: ...


@dataclass(slots=True)
class JsonLinesSink:
    """Appends one line per entry to `path`. A file that reaches `bytes_max` becomes `path.1`, the one before
    `path.2`, and so on; `files_max` of them are kept. Each line carries `written_unix_ms`, for people.
    """

    path: Path
    bytes_max: int
    files_max: int
    lost: int = 0
    written: int = 0
    _untold: int = 0
    _retry_at: float = 0.0
    _fd: int = -1
    _size: int = field(default=0)

    def write(self, entry: Entry) -> None:
        now = time.monotonic()
        if now < self._retry_at:
            self._lose()
            return
        lines = [entry.line()]
        if self._untold:
            lines.insert(0, Entry(Kind.GAP, "sink", {"lost": self._untold}).line())
        stamp = f', "written_unix_ms": {time.time_ns() // 1_000_000}}}\n'
        data = "".join(line[:-1] + stamp for line in lines).encode()
        try:
            self._append(data)
        except OSError as error:
            if not self._untold:
                log.error("findings cannot be written to %s: %s; they are counted", self.path, error.strerror)
            self._retry_at = now + RETRY_S
            self._give_up()
            self._lose()
            return
        self._untold = 0
        self.written += 1

    def _lose(self) -> None:
        self.lost += 1
        self._untold += 1

    def _append(self, data: bytes) -> None:
        if self._fd < 0:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, FILE_MODE)
            self._size = os.fstat(self._fd).st_size
        if self._size and self._size + len(data) > self.bytes_max:
            self._rotate()
        done = os.write(self._fd, data)
        if done < len(data):
            # Half a line: a full disk takes what fits. Cutting a file needs no space.
            os.ftruncate(self._fd, self._size)
            raise OSError(28, "No space left on device")
        self._size += done

    def _rotate(self) -> None:
        os.close(self._fd)
        self._fd = -1
        for n in range(self.files_max - 1, 0, -1):
            older = self._numbered(n)
            with contextlib.suppress(FileNotFoundError):
                os.replace(self._numbered(n - 1), older)
        if self.files_max == 1:
            self.path.unlink()
        self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, FILE_MODE)
        self._size = 0

    def _numbered(self, n: int) -> Path:
        return self.path if n == 0 else self.path.with_name(f"{self.path.name}.{n}")

    def _give_up(self) -> None:
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.close(self._fd)
            self._fd = -1

    def close(self) -> None:
        self._give_up()

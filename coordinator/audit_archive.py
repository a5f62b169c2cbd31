"""What the ledger's audit no longer has room for, in a file beside the coordinator that drops it.

The rule owned here: an entry leaves the ledger only after it is on disk (appended and synced). Where the disk does not
take it, it stays in the ledger and is dropped another time. One line of JSON an entry, as the ledger had it; an entry
may be there twice, after a commit whose outcome was not known. Knows the ledger's bytes, not the core.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

PREFIX = "audit/"


class AuditArchive:
    """One coordinator's. Holds what may have to be written, so that dropping an entry needs no read."""

    def __init__(self, path: Path | None, alarm: Callable[[str], None]) -> None:
        """Without a path nothing is kept of what is dropped."""
        self._path, self._alarm = path, alarm
        self._entries: dict[str, bytes] = {}

    def loaded(self, records: Mapping[str, bytes]) -> None:
        """The ledger as it was just read."""
        self._entries = {key: value for key, value in records.items() if key.startswith(PREFIX)}

    async def before(self, writes: dict[str, bytes | None]) -> dict[str, bytes | None]:
        """Called with a commit's writes before it is sent; returns those that may be."""
        dropped = [key for key, value in writes.items() if value is None and key in self._entries]
        if not dropped or self._path is None:
            return writes
        try:
            await asyncio.to_thread(_append, self._path, [self._entries[key] for key in dropped])
        except OSError as error:
            self._alarm(f"{self._path} cannot take {len(dropped)} old audit entries, which stay in the ledger: {error}")
            return {key: value for key, value in writes.items() if key not in dropped}
        return writes

    def committed(self, writes: Mapping[str, bytes | None]) -> None:
        """These are durable."""
        for key, value in writes.items():
            if not key.startswith(PREFIX):
                continue
            if value is None:
                self._entries.pop(key, None)
            else:
                self._entries[key] = value


def _append(path: Path, lines: Sequence[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(b"".join(line + b"\n" for line in lines))
        file.flush()
        os.fsync(file.fileno())

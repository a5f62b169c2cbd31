"""How far this coordinator has seen the ledger of its site, in one fsynced file beside it (I3).

A ledger that a coordinator takes over and that is behind this file is not the one that it led: it was replaced, or
restored from an old copy. The file is told of every commit and written at most once every `KEEP_S`, so a copy made
within that time of a crash goes unnoticed here; agents, who hear it with every acknowledgement, notice it all the same.
It belongs to a site and not to a store: a ledger restored into another database is the usual case.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path

from coordinator.core.model import NOTHING_SEEN, Mark
from coordinator.durable_file import replace_file, set_aside

log = logging.getLogger("zonelock.high_water")

VERSION = 1

KEEP_S = 1.0
"""The file is at most this much older than the newest commit."""


class HighWater:
    """Blocking; the runtime calls it on a worker thread."""

    def __init__(self, path: Path, site: str) -> None:
        self._path, self._site = path, site

    def read(self) -> Mark:
        """What an earlier coordinator on this machine saw of this site; nothing, if none did."""
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return NOTHING_SEEN
        try:
            found = json.loads(text)
            if found["version"] != VERSION:
                raise ValueError(f"version {found['version']!r} is not {VERSION}")
            if found["site"] != self._site:
                return NOTHING_SEEN
            return Mark(*(int(found[name]) for name in ("epoch", "revision", "token")))
        except (ValueError, KeyError, TypeError) as error:
            log.critical("%s cannot be read (%s), kept as %s", self._path, error, set_aside(self._path))
            return NOTHING_SEEN

    def write(self, mark: Mark) -> None:
        """Replaces the file. Raises OSError."""
        replace_file(self._path, json.dumps({"version": VERSION, "site": self._site, **asdict(mark)}) + "\n")

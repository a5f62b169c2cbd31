"""Stops that have left but are not known to be durable, in one fsynced file beside the coordinator.

A stop leaves before its commit, and before it is in this file: nothing may hold it up (I4). The write follows at once.
A crash in the milliseconds between leaves a stop that only its receivers know; they stand, latched, and whoever leads
next adopts it from their hellos. Should the coordinator die, or lose the store, before that commit, the stop must
not be forgotten: whoever starts next with this file puts it back. The file is rewritten whole (temporary file, fsync,
rename, fsync of the folder) and is empty of stops most of the time. A file that cannot be read may have held a stop
for anything, so it is set aside and answered with a stop of the whole floor.
"""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import asdict
from pathlib import Path

from coordinator.core.model import StopCause, StopRecord
from coordinator.durable_file import replace_file, set_aside

log = logging.getLogger("zonelock.pending_stops")

VERSION = 1


class PendingStops:
    """Blocking; the runtime calls `write` on a worker thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writing = threading.Lock()  # a write that was cancelled goes on, on its thread

    def read(self) -> dict[str, StopRecord]:
        """What an earlier coordinator left, by stop_id."""
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        try:
            found = json.loads(text)
            if found["version"] != VERSION:
                raise ValueError(f"version {found['version']!r} is not {VERSION}")
            stops = [_stop(fields) for fields in found["stops"]]
        except (ValueError, KeyError, TypeError) as error:
            return self._set_aside(error)
        return {stop.stop_id: stop for stop in stops}

    def write(self, stops: list[StopRecord]) -> None:
        """Replaces the file. Raises OSError; the caller alarms, for the stops themselves have left already."""
        stored = {"version": VERSION, "stops": [asdict(stop) for stop in stops]}
        with self._writing:
            replace_file(self._path, json.dumps(stored, indent=1))

    def _set_aside(self, error: Exception) -> dict[str, StopRecord]:
        aside = set_aside(self._path)
        reason = f"{self._path} held stops that had left and cannot be read ({error}); kept as {aside}"
        log.critical("%s; stopping the whole floor", reason)
        stop = StopRecord("pending:damaged", StopCause.LEDGER, True, (), (), "coordinator", reason)
        return {stop.stop_id: stop}


def _stop(fields: dict[str, object]) -> StopRecord:
    """Raises KeyError, TypeError, ValueError when the fields are not a stop's."""
    lists = {key: tuple(str(part) for part in _list(fields[key])) for key in ("stop_groups", "zones")}
    rest = {key: value for key, value in fields.items() if key not in (*lists, "cause")}
    return StopRecord(cause=StopCause(str(fields["cause"])), **lists, **rest)  # type: ignore[arg-type]


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is not a list")
    return value

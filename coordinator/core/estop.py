"""Active stops and whom they cover. Owns I5 (latched).

A stop is a software *request* into the plant's safety-rated chain, latched in the words of ISO 13850: it stays until
a named operator resets it by its id, and the reset restarts nothing. Its whole scope lies inside its one record. A
deadline's stop is named `deadline:<token>`, so two coordinators that trip the same overdue hold trip one stop.
"""

from __future__ import annotations

from collections.abc import Iterable

from coordinator.core.model import FloorSpec, StopRecord


def deadline_stop_id(token: int) -> str:
    return f"deadline:{token}"


class Stops:
    """Every stop the ledger still knows, the active ones indexed by what they cover."""

    def __init__(self, floor: FloorSpec, records: Iterable[StopRecord]) -> None:
        self._group_of = {z.name: z.stop_group for z in floor.zones}
        self._zones_of: dict[str, list[str]] = {}
        for zone, group in self._group_of.items():
            self._zones_of.setdefault(group, []).append(zone)
        self.groups = frozenset(self._zones_of)
        self._records: dict[str, StopRecord] = {}
        self._active: dict[str, StopRecord] = {}
        self._last_seq = 0
        for record in sorted(records, key=lambda r: (r.seq, r.stop_id)):
            self.put(record)

    def put(self, record: StopRecord) -> None:
        self._records[record.stop_id] = record
        self._last_seq = max(self._last_seq, record.seq)
        if record.active:
            self._active[record.stop_id] = record
        else:
            self._active.pop(record.stop_id, None)

    def get(self, stop_id: str) -> StopRecord | None:
        return self._records.get(stop_id)

    def active(self) -> list[StopRecord]:
        return [self._active[stop_id] for stop_id in sorted(self._active)]

    def all(self) -> list[StopRecord]:
        """Oldest first."""
        return sorted(self._records.values(), key=lambda r: (r.seq, r.stop_id))

    def next_seq(self) -> int:
        return self._last_seq + 1

    def drop_oldest_ended(self, keep: int) -> list[StopRecord]:
        """Forgets ended stops beyond the newest `keep`; returns what was forgotten."""
        ended = [r for r in self.all() if not r.active]
        dropped = ended[: max(0, len(ended) - keep)]
        for record in dropped:
            del self._records[record.stop_id]
        return dropped

    def covers(self, stop: StopRecord, zone: str) -> bool:
        """Whether the zone lies in the stop's scope; a stop group is stopped as a whole."""
        return stop.floor or zone in stop.zones or self._group_of.get(zone) in stop.stop_groups

    def covering(self, zone: str) -> list[StopRecord]:
        """Active stops over the zone, by id."""
        if not self._active:
            return []
        return [s for s in self.active() if self.covers(s, zone)]

    def group_of(self, zone: str) -> str:
        return self._group_of[zone]

    def scope_of(self, zone: str, stop_group: str, *, floor: bool) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
        """(zones, stop groups) of a request that names exactly one known scope; None otherwise."""
        if sum((bool(zone), bool(stop_group), floor)) != 1:
            return None
        if zone:
            return ((zone,), (self._group_of[zone],)) if zone in self._group_of else None
        if stop_group:
            return ((), (stop_group,)) if stop_group in self.groups else None
        return (), ()

    def zones_in(self, stop: StopRecord) -> list[str]:
        """In the floor's order. A group's are looked up: a small stop does not go through the whole floor."""
        if not stop.floor and len(stop.stop_groups) == 1:
            (group,) = stop.stop_groups
            if all(self._group_of.get(zone) == group for zone in stop.zones):
                return list(self._zones_of.get(group, ()))
        return [zone for zone in self._group_of if self.covers(stop, zone)]

"""What really happened on the floor, counted from contours alone.

The rule owned here: ground truth asks bodies where they are and zones how many fit, and never asks an agent what it
holds or believes. A run may therefore report collisions while every grant looks right. Never imports the SDK.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Protocol

from zonelock_sim.bodies import Cell

MAX_FINDINGS = 200
"""Stories kept for people; counts go on beyond it."""


class Occupying(Protocol):
    """Anything that takes up cells."""

    body_id: str

    def touched(self) -> tuple[Cell, ...]: ...


@dataclass(frozen=True, slots=True)
class Finding:
    """One collision or one zone too full, from its first moment."""

    kind: str
    at_s: float
    where: str
    bodies: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.kind} at {self.at_s:.2f} s in {self.where}: {', '.join(self.bodies)}"


class Shadow:
    """What one body touched from the step before last to the last one."""

    def __init__(self, body_id: str, cells: tuple[Cell, ...]) -> None:
        self.body_id = body_id
        self._before = self._cells = cells

    @property
    def settled(self) -> bool:
        """The last step changed nothing."""
        return self._cells == self._before

    def move(self, cells: tuple[Cell, ...]) -> None:
        self._cells = tuple(dict.fromkeys((*self._before, *cells)))
        self._before = cells

    def touched(self) -> tuple[Cell, ...]:
        return self._cells


class GroundTruth:
    """Counts episodes, not samples: two bodies that meet count once until they have parted again."""

    def __init__(self, zone_at: Callable[[Cell], str | None], capacities: Mapping[str, int]) -> None:
        self._zone_at = zone_at
        self._capacities = capacities
        self._meeting: set[tuple[str, str]] = set()
        self._crowded: set[tuple[str, tuple[str, ...]]] = set()
        self._astray: set[str] = set()
        self._places: dict[str, set[str]] = {}
        self.on_zone: Callable[[str, str, str], None] | None = None
        """Told (body, "enter" or "leave", zone) as bodies pass from zone to zone; at the end (body, "removed", "")."""
        self.collisions = 0
        self.over_capacity = 0
        self.off_floor = 0
        self.observations = 0
        self.findings: list[Finding] = []

    def observe(self, bodies: Iterable[Occupying], at_s: float) -> None:
        """Looks once at all bodies. Call it after every step of the physics."""
        self.observations += 1
        by_cell: dict[Cell, list[str]] = {}
        by_zone: dict[str, set[str]] = {}
        astray: set[str] = set()
        for body in bodies:
            for cell in body.touched():
                by_cell.setdefault(cell, []).append(body.body_id)
                zone = self._zone_at(cell)
                if zone is None:
                    astray.add(body.body_id)
                else:
                    by_zone.setdefault(zone, set()).add(body.body_id)
        self._note_meetings(by_cell, at_s)
        self._note_crowds(by_zone, at_s)
        if self.on_zone is not None:
            self._note_places(by_zone, self.on_zone)
        for body_id in sorted(astray - self._astray):
            self.off_floor += 1
            self._tell(Finding("off the floor", at_s, "a closed cell", (body_id,)))
        self._astray = astray

    def _note_meetings(self, by_cell: Mapping[Cell, list[str]], at_s: float) -> None:
        meeting: dict[tuple[str, str], Cell] = {}
        for cell, ids in by_cell.items():
            if len(ids) > 1:
                for pair in combinations(sorted(ids), 2):
                    meeting.setdefault(pair, cell)
        for pair in sorted(meeting.keys() - self._meeting):
            self.collisions += 1
            self._tell(Finding("collision", at_s, f"cell {meeting[pair]}", pair))
        self._meeting = set(meeting)

    def lifted(self) -> None:
        """The run is over, and every body is taken off the floor."""
        if self.on_zone is not None:
            for body_id in sorted({body_id for ids in self._places.values() for body_id in ids}):
                self.on_zone(body_id, "removed", "")
            self._places = {}

    def _note_places(self, by_zone: Mapping[str, set[str]], tell: Callable[[str, str, str], None]) -> None:
        """Whoever left is told of before whoever came."""
        for what, these, those in (("leave", self._places, by_zone), ("enter", by_zone, self._places)):
            for zone, ids in sorted(these.items()):
                for body_id in sorted(ids - those.get(zone, set())):
                    tell(body_id, what, zone)
        self._places = dict(by_zone)

    def _note_crowds(self, by_zone: Mapping[str, set[str]], at_s: float) -> None:
        crowded = {
            (zone, tuple(sorted(ids))) for zone, ids in by_zone.items() if len(ids) > self._capacities.get(zone, 1)
        }
        for zone, ids in sorted(crowded - self._crowded):
            self.over_capacity += 1
            self._tell(Finding("over capacity", at_s, f"zone {zone}", ids))
        self._crowded = crowded

    def _tell(self, finding: Finding) -> None:
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(finding)

"""The floor as the rest of zonelock uses it: zones over cells, areas, agent kinds, and where machines work and wait.

Rules owned here: a Floor exists only if its document passed the whole survey; its hash is the SHA-256 of a canonical
form that depends on what the floor says and not on how the file says it (key order, patches, defaults written out or
not). Lengths are millimetres from the outer corner of cell (0, 0): x to the right, y downwards. Imports the core's
model and nothing else of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coordinator.core.model import FloorSpec, Vacancy, ZoneSpec
from coordinator.floor.document import FORMAT, FloorDocument
from coordinator.floor.grid import Cell, Grid, patch_cells
from coordinator.floor.problems import FloorError, Problem
from coordinator.floor.reading import read
from coordinator.floor.survey import Survey, survey
from coordinator.floor.writing import write


@dataclass(frozen=True, slots=True)
class Zone:
    """Cells that at most `capacity` agents may be in at once. A stop may use up `margin_mm` (see `check`)."""

    name: str
    capacity: int
    stop_group: str
    hold_max_ms: int
    margin_mm: int
    vacancy: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class AgentKind:
    """How a kind of agent moves and stops."""

    name: str
    speed_mm_s: int
    braking_mm_s2: int
    length_mm: int
    width_mm: int
    detection_ms: int
    stop_latency_ms: int


@dataclass(frozen=True, slots=True)
class Station:
    """An AGV drives to `cell` and works there for `dwell_ms`."""

    name: str
    cell: Cell
    dwell_ms: int


@dataclass(frozen=True, slots=True)
class Arm:
    """A fixed arm on blocked cell `base` that needs one of `zones` for `work_ms` in every `cycle_ms`."""

    name: str
    kind: str
    base: Cell
    zones: tuple[str, ...]
    work_ms: int
    cycle_ms: int


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Floor:
    """A surveyed floor. Make one with `load`, `parse` or `from_document`; equal floors have equal hashes."""

    document: FloorDocument
    grid: Grid
    zones: dict[str, Zone]
    areas: dict[str, tuple[str, ...]]
    agent_kinds: dict[str, AgentKind]
    stations: dict[str, Station]
    parking: dict[str, Cell]
    arms: dict[str, Arm]
    machines: dict[str, tuple[Cell, ...]]
    hash: str
    _zone_of: dict[Cell, str] = field(default_factory=dict)

    @classmethod
    def load(cls, path: str | Path) -> Floor:
        """Reads a floor file. Raises FloorError, also for a file that cannot be read."""
        return cls.parse(read_text(path), str(path))

    @classmethod
    def parse(cls, text: str, source: str = "floor") -> Floor:
        """Reads a floor from YAML text; `source` names it in errors. Raises FloorError with every problem."""
        return _build(*read(text, source))

    @classmethod
    def from_document(cls, document: FloorDocument, source: str = "floor") -> Floor:
        """Surveys a document built in code. Raises FloorError with every problem."""
        surveyed = survey(document)
        if surveyed.problems:
            raise FloorError(source, surveyed.problems)
        return _build(document, surveyed)

    @property
    def site(self) -> str:
        return self.document.site

    @property
    def version(self) -> int:
        return self.document.version

    @property
    def cell_mm(self) -> int:
        return self.document.cell_mm

    @property
    def description(self) -> str:
        return self.document.description

    @property
    def width(self) -> int:
        """Columns of the grid."""
        return self.grid.width

    @property
    def height(self) -> int:
        """Rows of the grid."""
        return self.grid.height

    @property
    def stop_groups(self) -> tuple[str, ...]:
        return tuple(sorted({zone.stop_group for zone in self.zones.values()}))

    def zone_at(self, x: int, y: int) -> str | None:
        """The zone of cell (x, y); None where blocked or outside."""
        return self._zone_of.get((x, y))

    def zone_at_mm(self, x_mm: int, y_mm: int) -> str | None:
        """The zone of a point; a point on a line between cells belongs to the cell right of or below it."""
        return self._zone_of.get((x_mm // self.cell_mm, y_mm // self.cell_mm))

    def zones_touched_mm(self, left_mm: int, top_mm: int, right_mm: int, bottom_mm: int) -> tuple[str, ...]:
        """Every zone that a box reaches into by more than its edge, sorted: what `Telemetry.inside_zones` wants."""
        columns = range(left_mm // self.cell_mm, (right_mm - 1) // self.cell_mm + 1)
        rows = range(top_mm // self.cell_mm, (bottom_mm - 1) // self.cell_mm + 1)
        touched = {self._zone_of.get((x, y)) for y in rows for x in columns}
        return tuple(sorted(name for name in touched if name is not None))

    def cell_centre_mm(self, x: int, y: int) -> tuple[int, int]:
        return x * self.cell_mm + self.cell_mm // 2, y * self.cell_mm + self.cell_mm // 2

    def cells_of(self, items: Iterable[Cell | str]) -> set[Cell]:
        """Single cells, and all of the zones that are named. KeyError: no such zone."""
        cells: set[Cell] = set()
        for item in items:
            if isinstance(item, str):
                cells.update(self.zones[item].cells)
            else:
                cells.add(item)
        return cells

    def is_open(self, x: int, y: int) -> bool:
        return (x, y) in self._zone_of

    def moves(self, x: int, y: int) -> tuple[Cell, ...]:
        """The cells a vehicle may drive to from (x, y) in one step; arrows are obeyed."""
        return tuple(self.grid.moves((x, y))) if self.is_open(x, y) else ()

    def neighbours(self, zone: str) -> tuple[str, ...]:
        """Zones that share an edge of a cell with `zone`, sorted, arrows or not. KeyError for an unknown zone."""
        beside = {self._zone_of[there] for cell in self.zones[zone].cells for there in self.grid.beside(cell)}
        return tuple(sorted(beside - {zone}))

    def spec(self) -> FloorSpec:
        """What the core needs to know, zones and areas sorted by name."""
        return FloorSpec(
            site=self.site,
            version=self.version,
            hash=self.hash,
            zones=tuple(
                ZoneSpec(zone.name, zone.capacity, zone.stop_group, zone.hold_max_ms, Vacancy(zone.vacancy))
                for _, zone in sorted(self.zones.items())
            ),
            areas=tuple((name, tuple(sorted(zones))) for name, zones in sorted(self.areas.items())),
            agent_kinds=tuple(sorted(self.agent_kinds)),
            neighbours=self._zone_moves(),
        )

    def _zone_moves(self) -> tuple[tuple[str, str], ...]:
        """Every pair of zones with a move from the one to the other, sorted; arrows are obeyed."""
        pairs = {
            (name, self._zone_of[there])
            for (x, y), name in self._zone_of.items()
            for there in self.moves(x, y)
            if self._zone_of[there] != name
        }
        return tuple(sorted(pairs))

    def to_yaml(self) -> str:
        """The floor file; reading it gives an equal floor."""
        return write(self.document)

    def __eq__(self, other: object) -> bool:
        return self.hash == other.hash if isinstance(other, Floor) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.hash)

    def __repr__(self) -> str:
        size = f"{self.width} x {self.height}, {len(self.zones)} zones"
        return f"Floor({self.site!r}, version {self.version}, {size}, {self.hash[:12]})"


def read_text(path: str | Path) -> str:
    """A text file's contents; FloorError when it cannot be had."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise FloorError(str(path), [Problem("file", str(path), "does not exist", "Check the path")]) from None
    except UnicodeDecodeError as error:
        message = f"not UTF-8 text at byte {error.start}"
        raise FloorError(str(path), [Problem("file", str(path), message, "Save it as plain UTF-8 text")]) from None
    except OSError as error:
        message = f"cannot be read: {error.strerror or error}"
        raise FloorError(str(path), [Problem("file", str(path), message, "Name a readable file")]) from None


def _build(document: FloorDocument, surveyed: Survey) -> Floor:
    if surveyed.grid is None:
        raise ValueError("a survey without problems has a grid")
    zones = {name: _zone(document, name, cells) for name, cells in surveyed.zones.items()}
    areas = {name: tuple(members) for name, members in document.areas.items()}
    kinds = {name: AgentKind(name=name, **entry.model_dump()) for name, entry in document.agent_kinds.items()}
    stations = {name: Station(name, entry.cell, entry.dwell_ms) for name, entry in document.stations.items()}
    arms = {
        name: Arm(name, entry.kind, entry.base, tuple(entry.zones), entry.work_ms, entry.cycle_ms)
        for name, entry in document.arms.items()
    }
    machines = {
        name: tuple(dict.fromkeys(cell for patch in patches for cell in patch_cells(patch)))
        for name, patches in document.machines.items()
    }
    return Floor(
        document=document,
        grid=surveyed.grid,
        zones=zones,
        areas=areas,
        agent_kinds=kinds,
        stations=stations,
        parking=dict(document.parking),
        arms=arms,
        machines=machines,
        hash=_hash(document, zones),
        _zone_of={cell: zone.name for zone in zones.values() for cell in zone.cells},
    )


def _zone(document: FloorDocument, name: str, cells: tuple[Cell, ...]) -> Zone:
    entry = document.zones.get(name) or document.zone_per_cell
    said: Mapping[str, Any] = entry.model_dump(exclude_none=True) if entry is not None else {}
    settings = {**document.defaults.model_dump(), **said}
    return Zone(
        name=name,
        capacity=settings["capacity"],
        stop_group=settings["stop_group"],
        hold_max_ms=settings["hold_max_ms"],
        margin_mm=settings["margin_mm"],
        vacancy=settings["vacancy"],
        cells=cells,
    )


def _hash(document: FloorDocument, zones: Mapping[str, Zone]) -> str:
    """SHA-256 over sorted JSON: zones resolved to cells and settings, the rest as written, no description."""
    rest = document.model_dump(exclude={"description", "defaults", "zones", "zone_per_cell", "machines"})
    rest["areas"] = {name: sorted(members) for name, members in document.areas.items()}
    rest["machines"] = {
        name: sorted({cell for patch in patches for cell in patch_cells(patch)})
        for name, patches in document.machines.items()
    }
    rest["zones"] = {
        name: [zone.capacity, zone.stop_group, zone.hold_max_ms, zone.margin_mm, zone.vacancy, zone.cells]
        for name, zone in zones.items()
    }
    canonical = json.dumps({**rest, "format": FORMAT}, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()

"""The floor file as its author writes it: one pydantic model per section, unknown keys refused, numbers never guessed
from text.

Rule owned here: what each field on its own may be (type, range, form). What fields say *together* (overlaps,
reachability, names that nothing defines) is `survey`'s. Every unit stands last in its key. Never imports the core.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

FORMAT: Final = "zonelock.floor/1"
NAME_PATTERN = r"^[A-Za-z0-9_.:-]{1,64}$"
MAX_MS = 86_400_000
MAX_MM = 1_000_000_000
MAX_CAPACITY = 1_000
MAX_DESCRIPTION_CHARS = 4_000


def _patch(value: list[int]) -> list[int]:
    if len(value) not in (2, 4):
        raise PydanticCustomError(
            "patch",
            "a patch has 2 or 4 numbers",
            {"remedy": "Write [x, y] for a cell, [x, y, width, height] for a rectangle"},
        )
    if len(value) == 4 and min(value[2:]) < 1:
        raise PydanticCustomError("patch", "width and height count cells", {"remedy": "Give both as 1 or more"})
    return value


def _rows(value: Any) -> Any:
    """A block of text is as good as a list of rows."""
    return value.rstrip("\n").split("\n") if isinstance(value, str) else value


Name = Annotated[str, StringConstraints(strict=True, pattern=NAME_PATTERN)]
Coordinate = Annotated[int, Field(strict=True, ge=0, le=MAX_MM)]
Cell = tuple[Coordinate, Coordinate]
Patch = Annotated[list[Coordinate], AfterValidator(_patch)]
Patches = Annotated[list[Patch], Field(min_length=1)]
Positive = Annotated[int, Field(strict=True, ge=1, le=MAX_MM)]
Length = Annotated[int, Field(strict=True, ge=0, le=MAX_MM)]
Duration = Annotated[int, Field(strict=True, ge=0, le=MAX_MS)]
HoldMax = Annotated[int, Field(strict=True, ge=1, le=MAX_MS)]
Capacity = Annotated[int, Field(strict=True, ge=1, le=MAX_CAPACITY)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ZoneDefaults(Section):
    """What a zone has that does not say otherwise."""

    capacity: Capacity = 1
    stop_group: Name = "floor"
    hold_max_ms: HoldMax = 60_000
    margin_mm: Length = 1_000
    vacancy: Literal["operator", "holder"] = "operator"


class ZoneEntry(Section):
    """`cells` lists patches: [x, y] or [x, y, width, height]. What is left out comes from `defaults`."""

    cells: Patches
    capacity: Capacity | None = None
    stop_group: Name | None = None
    hold_max_ms: HoldMax | None = None
    margin_mm: Length | None = None
    vacancy: Literal["operator", "holder"] | None = None


class ZonePerCell(Section):
    """Makes a zone `<prefix>_<x>_<y>` of every open cell that no named zone has."""

    prefix: Annotated[str, StringConstraints(strict=True, pattern=r"^[A-Za-z0-9_.:-]{1,40}$")] = "c"
    capacity: Capacity | None = None
    stop_group: Name | None = None
    hold_max_ms: HoldMax | None = None
    margin_mm: Length | None = None
    vacancy: Literal["operator", "holder"] | None = None


class AgentKindEntry(Section):
    """How a kind of agent moves and stops; `detection_ms` and `stop_latency_ms` enter the stopping budget (`check`)."""

    speed_mm_s: Positive
    braking_mm_s2: Positive
    length_mm: Positive
    width_mm: Positive
    detection_ms: Duration = 50
    stop_latency_ms: Duration = 100


class StationEntry(Section):
    """Where an AGV works: it drives to `cell` and stands there for `dwell_ms`."""

    cell: Cell
    dwell_ms: Duration = 3_000


class ArmEntry(Section):
    """A fixed robot arm on blocked cell `base` that needs one of `zones` for `work_ms` in every `cycle_ms`."""

    base: Cell
    zones: Annotated[list[Name], Field(min_length=1)]
    kind: Name = "arm"
    work_ms: HoldMax = 4_000
    cycle_ms: HoldMax = 12_000


class FloorDocument(Section):
    """One floor file. See docs/floor.md."""

    format: Literal["zonelock.floor/1"]
    site: Name
    version: Positive
    description: Annotated[str, StringConstraints(max_length=MAX_DESCRIPTION_CHARS)] = ""
    cell_mm: Positive
    grid: Annotated[list[str], BeforeValidator(_rows), Field(min_length=1)]
    defaults: ZoneDefaults = ZoneDefaults()
    zones: dict[Name, ZoneEntry] = Field(default_factory=dict)
    zone_per_cell: ZonePerCell | None = None
    areas: dict[Name, Annotated[list[Name], Field(min_length=1)]] = Field(default_factory=dict)
    agent_kinds: dict[Name, AgentKindEntry] = Field(default_factory=dict)
    stations: dict[Name, StationEntry] = Field(default_factory=dict)
    parking: dict[Name, Cell] = Field(default_factory=dict)
    arms: dict[Name, ArmEntry] = Field(default_factory=dict)
    machines: dict[Name, Patches] = Field(default_factory=dict)

"""What only a picture needs of a floor: its machines, arms, stations, parking places and one-way lanes.

The protocol's Floor says what may be held; where machines stand is in the YAML it was loaded from, which travels inside
the message. Rule: a floor is drawn without its furniture rather than not at all, so nothing here raises.
"""

from __future__ import annotations

import logging
from typing import Any

import yaml
from zonelock.v1 import floor_pb2

from coordinator.floor.grid import ARROWS, patch_cells
from coordinator.web.encode import Json, to_json

MAX_SOURCE_CHARS = 4_000_000
"""A longer source is not read a second time for the sake of a picture."""

_log = logging.getLogger(__name__)


def floor_json(floor: floor_pb2.Floor) -> Json:
    """The floor as the page gets it: `source_yaml` (`zonelock floor` prints it) replaced by `drawing`.

    `drawing` holds `machines` (name to cells), `arms` (name to base and zones), `stations` and `parking` (name to
    cell), and `lanes` (one-way cells with their direction, [x, y, dx, dy]); a cell is [x, y].
    """
    return {**to_json(floor, without="source_yaml"), "drawing": furniture(floor.source_yaml)}


def furniture(source_yaml: str) -> Json:
    """What to draw besides zones; each part empty when the source lacks it or it is not as expected."""
    found: Json = {"machines": {}, "arms": {}, "stations": {}, "parking": {}, "lanes": []}
    if not source_yaml or len(source_yaml) > MAX_SOURCE_CHARS:
        return found
    try:
        document = yaml.load(source_yaml, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        sections = {name: document.get(name) or {} for name in found if name != "lanes"}
        found["machines"] = {name: _cells(patches) for name, patches in sections["machines"].items()}
        found["arms"] = {
            name: {"base": list(arm["base"]), "zones": list(arm["zones"])} for name, arm in sections["arms"].items()
        }
        found["stations"] = {name: list(station["cell"]) for name, station in sections["stations"].items()}
        found["parking"] = {name: list(cell) for name, cell in sections["parking"].items()}
        found["lanes"] = _lanes(document.get("grid") or [])
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError):
        _log.warning("floor map: the floor's source cannot be read for drawing; machines and arms are left out")
    return found


def _cells(patches: Any) -> list[list[int]]:
    return [[x, y] for patch in patches for x, y in patch_cells(patch)]


def _lanes(grid: Any) -> list[list[int]]:
    rows = grid.split("\n") if isinstance(grid, str) else grid
    return [[x, y, *ARROWS[mark]] for y, row in enumerate(rows) for x, mark in enumerate(row) if mark in ARROWS]

"""Floors for scenes, written in one row: `A B*2 | C D@east E?holder`.

Each name is a zone; `*2` its capacity, `@group` its stop group, `?holder` who may prove it empty. A bar walls off what
stands left of it from what stands right. The floor is a real one, read by the coordinator's own reader.
"""

from __future__ import annotations

import re

from coordinator.floor import Floor

_ZONE = re.compile(r"(?P<name>[A-Za-z0-9_]+)(\*(?P<capacity>\d+))?(@(?P<group>\w+))?(\?(?P<vacancy>\w+))?")


def row_floor(text: str, *, hold_max_ms: int = 60_000) -> Floor:
    """The floor of one row. Raises ValueError for a word that is no zone, FloorError for what no floor may have."""
    cells, zones = "", []
    for word in text.split():
        if word == "|":
            cells += "#"
            continue
        found = _ZONE.fullmatch(word)
        if found is None:
            raise ValueError(f"floor: {word!r} is no zone; write it like Z_32, X*2, C@east or D?holder")
        width = int(found["capacity"] or 1)
        settings = [f"cells: [[{len(cells) + 1}, 1, {width}, 1]]", f"capacity: {width}"]
        settings += [f"stop_group: {found['group'] or 'floor'}", f"vacancy: {found['vacancy'] or 'operator'}"]
        zones.append(f"  {found['name']}: {{{', '.join(settings)}}}")
        cells += "." * width
    wall = "#" * (len(cells) + 2)
    rows = "\n".join(f"  {row}" for row in (wall, f"#{cells}#", wall))
    return Floor.parse(
        f"format: zonelock.floor/1\nsite: stage\nversion: 1\ncell_mm: 1000\ngrid: |\n{rows}\n"
        f"defaults: {{hold_max_ms: {hold_max_ms}}}\nzones:\n" + "\n".join(zones) + "\n"
        "agent_kinds:\n  agv: {speed_mm_s: 1000, braking_mm_s2: 1000, length_mm: 900, width_mm: 700}\n"
        "  arm: {speed_mm_s: 500, braking_mm_s2: 2000, length_mm: 900, width_mm: 200}\n",
        "the scene's floor",
    )

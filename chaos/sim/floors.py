"""Small floors on which trouble is frequent: every cell a zone, two stop groups, some zones for two.

Each is built once a process; a seed chooses among them. Never imports the coordinator's core.
"""

from __future__ import annotations

from functools import cache

from coordinator.floor import Floor

CELL_MM = 2_000
HOLD_MAX_MS = 20_000

_ROWS = {
    "hall": ("....", "....", "...."),
    "ring": (".....", ".###.", "....."),
    "rooms": ("..#..", ".....", "..#.."),
    "aisle": ("......", "#.##.#"),
    "street": (".....", "....."),
}
_ROOMY = {
    "hall": ((1, 1), (2, 1)),
    "ring": ((2, 0), (3, 0)),
    "rooms": ((2, 1), (3, 1)),
    "aisle": ((2, 0), (3, 0)),
    "street": ((2, 0), (2, 1)),
}
"""Two cells that make one zone for two agents."""

_SELF_PROVING = ("hall", "street")
"""Floors on which a holder may prove that it left."""

SHAPES = tuple(sorted(_ROWS))


@cache
def floor_of(shape: str) -> Floor:
    """The floor of that shape. Zones are named z<x><y>; those of the left half stop as `west`, the others as `east`."""
    rows = _ROWS[shape]
    width = len(rows[0])
    grid = ["#" * (width + 2), *(f"#{row}#" for row in rows), "#" * (width + 2)]
    first, second = _ROOMY[shape]
    zones = []
    for y, row in enumerate(rows):
        for x, cell in enumerate(row):
            if cell == "#" or (x, y) == second:
                continue
            cells = [first, second] if (x, y) == first else [(x, y)]
            patches = ", ".join(f"[{cx + 1}, {cy + 1}]" for cx, cy in cells)
            group = "west" if 2 * x < width else "east"
            zones.append(f"  z{x}{y}: {{cells: [{patches}], capacity: {len(cells)}, stop_group: {group}}}")
    text = "\n".join(
        [
            "format: zonelock.floor/1",
            f"site: {shape}",
            "version: 1",
            f"cell_mm: {CELL_MM}",
            "grid: |",
            *(f"  {row}" for row in grid),
            f"defaults: {{capacity: 1, stop_group: west, hold_max_ms: {HOLD_MAX_MS}, margin_mm: 1000, "
            f"vacancy: {'holder' if shape in _SELF_PROVING else 'operator'}}}",
            "zones:",
            *zones,
            "agent_kinds:",
            "  agv: {speed_mm_s: 1000, braking_mm_s2: 2000, length_mm: 800, width_mm: 600}",
        ]
    )
    return Floor.parse(text, f"the simulator's {shape}")


@cache
def neighbours(shape: str) -> dict[str, tuple[str, ...]]:
    floor = floor_of(shape)
    return {zone: tuple(sorted(floor.neighbours(zone))) for zone in sorted(floor.zones)}


@cache
def capacities(shape: str) -> dict[str, int]:
    return {name: zone.capacity for name, zone in sorted(floor_of(shape).zones.items())}


def steps_towards(shape: str, start: str, goal: str, avoid: frozenset[str] = frozenset()) -> list[str]:
    """A shortest way from start to goal, start left out; empty when there is none. Ties go to the smaller name."""
    around = neighbours(shape)
    came_from = {start: start}
    frontier = [start]
    while frontier and goal not in came_from:
        reached = []
        for zone in frontier:
            for beyond in around[zone]:
                if beyond not in came_from and (beyond not in avoid or beyond == goal):
                    came_from[beyond] = zone
                    reached.append(beyond)
        frontier = reached
    if goal not in came_from:
        return []
    way = [goal]
    while came_from[way[-1]] != start and way[-1] != start:
        way.append(came_from[way[-1]])
    way.reverse()
    return [z for z in way if z != start]

"""A small machining cell drawn by hand, as the coordinator would announce it. Imports nothing but the protocol."""

from __future__ import annotations

from zonelock.v1 import floor_pb2

Cell = tuple[int, int]
CELL_MM = 1_000
WIDTH, HEIGHT = 26, 15


def run(start: Cell, end: Cell) -> list[Cell]:
    """The cells from start to end along one row or column, both ends included."""
    (x0, y0), (x1, y1) = start, end
    dx, dy = (x1 > x0) - (x1 < x0), (y1 > y0) - (y1 < y0)
    return [(x0 + i * dx, y0 + i * dy) for i in range(max(abs(x1 - x0), abs(y1 - y0)) + 1)]


# name: (cells, capacity, stop group)
ZONES: dict[str, tuple[list[Cell], int, str]] = {
    "nw": ([(1, 1)], 1, "north"),
    "n1": (run((2, 1), (4, 1)), 1, "north"),
    "n2": (run((5, 1), (7, 1)), 1, "north"),
    "n3": (run((8, 1), (10, 1)), 1, "north"),
    "n_cross": (run((11, 1), (13, 1)), 1, "north"),
    "n4": (run((14, 1), (16, 1)), 1, "loading"),
    "Z_31": (run((17, 1), (18, 1)), 1, "loading"),
    "Z_32": ([(17, 2), (18, 2), (17, 3), (18, 3)], 1, "loading"),
    "n5": (run((19, 1), (21, 1)), 1, "loading"),
    "ne": (run((22, 1), (24, 1)), 1, "north"),
    "e1": (run((24, 2), (24, 4)), 1, "east"),
    "e_mid": (run((24, 5), (24, 8)), 1, "east"),
    "e2": (run((24, 9), (24, 11)), 1, "east"),
    "se": ([(24, 12), (24, 13), (23, 13)], 1, "east"),
    "s1": (run((22, 13), (19, 13)), 1, "south"),
    "s2": (run((18, 13), (15, 13)), 1, "south"),
    "s_cross": (run((14, 13), (11, 13)), 1, "south"),
    "s3": (run((10, 13), (7, 13)), 1, "south"),
    "s4": (run((6, 13), (3, 13)), 1, "south"),
    "sw": ([(2, 13), (1, 13), (1, 12)], 1, "south"),
    "w1": (run((1, 11), (1, 9)), 1, "west"),
    "w_mid": (run((1, 8), (1, 6)), 1, "west"),
    "w2": (run((1, 5), (1, 2)), 1, "west"),
    "m1": (run((2, 7), (5, 7)), 1, "middle"),
    "m2": (run((6, 7), (10, 7)), 1, "middle"),
    "cross": ([(x, y) for y in (6, 7, 8) for x in (11, 12, 13)], 2, "middle"),
    "m3": (run((14, 7), (18, 7)), 1, "middle"),
    "m4": (run((19, 7), (23, 7)), 1, "middle"),
    "c1": (run((12, 2), (12, 5)), 1, "middle"),
    "c2": (run((12, 9), (12, 12)), 1, "middle"),
    "park_1": ([(4, 12)], 1, "south"),
    "park_2": ([(6, 12)], 1, "south"),
    "park_3": ([(8, 12)], 1, "south"),
    "dock_a": ([(20, 8), (21, 8)], 1, "middle"),
    "cell_5": ([(5, 6), (6, 6)], 1, "middle"),
}

ROUTES: dict[str, list[Cell]] = {
    "loader": [
        *run((1, 1), (17, 1)),
        *run((17, 2), (17, 3)),
        *run((18, 3), (18, 1)),
        *run((19, 1), (24, 1)),
        *run((24, 2), (24, 13)),
        *run((23, 13), (1, 13)),
        *run((1, 12), (1, 2)),
    ],
    "left": [*run((1, 1), (12, 1)), *run((12, 2), (12, 13)), *run((11, 13), (1, 13)), *run((1, 12), (1, 2))],
    "middle": [*run((1, 7), (24, 7)), *run((24, 8), (24, 13)), *run((23, 13), (1, 13)), *run((1, 12), (1, 8))],
}

MACHINES: dict[str, str] = {
    "CNC_1": "[3, 3, 3, 3]",
    "CNC_2": "[7, 3, 4, 2]",
    "LATHE_1": "[14, 3, 2, 3]",
    "WASH": "[21, 3, 2, 3]",
    "CNC_3": "[3, 9, 3, 2]",
    "CNC_4": "[7, 9, 4, 2]",
    "MEASURE": "[14, 9, 4, 3]",
    "PRESS": "[20, 10, 3, 2]",
}

ARM = "Arm_14"
ARM_BASE = (19, 3)

SOURCE = f"""format: zonelock.floor/1
site: machining
version: 3
arms:
  {ARM}: {{base: [{ARM_BASE[0]}, {ARM_BASE[1]}], zones: [Z_32]}}
  Arm_15: {{base: [6, 5], zones: [cell_5]}}
machines: {{{", ".join(f"{name}: [{patch}]" for name, patch in MACHINES.items())}}}
"""


def floor_message() -> floor_pb2.Floor:
    return floor_pb2.Floor(
        site="machining",
        version=3,
        hash="5eed" * 16,
        width=WIDTH,
        height=HEIGHT,
        cell_mm=CELL_MM,
        zones=[
            floor_pb2.ZoneSpec(
                name=name,
                capacity=capacity,
                stop_group=group,
                hold_max_ms=60_000,
                cells=[floor_pb2.Cell(x=x, y=y) for x, y in cells],
            )
            for name, (cells, capacity, group) in ZONES.items()
        ],
        areas=[floor_pb2.AreaSpec(name="loading_area", zones=["Z_31", "Z_32"])],
        agent_kinds=[
            floor_pb2.AgentKind(name="agv", speed_mm_s=1_500, braking_mm_s2=1_500, length_mm=900, width_mm=600),
            floor_pb2.AgentKind(name="arm", speed_mm_s=1_000, braking_mm_s2=4_000, length_mm=1_800, width_mm=500),
        ],
        source_yaml=SOURCE,
    )


def grid_floor(width: int, height: int) -> floor_pb2.Floor:
    """A zone per cell, as an imported warehouse has; every third pair of rows is racks."""
    cells = [(x, y) for y in range(height) for x in range(width) if y % 3 == 0 or x % 12 == 0]
    return floor_pb2.Floor(
        site="warehouse",
        version=1,
        hash="ab" * 32,
        width=width,
        height=height,
        cell_mm=1_000,
        zones=[
            floor_pb2.ZoneSpec(
                name=f"c_{x}_{y}", capacity=1, stop_group="floor", hold_max_ms=60_000, cells=[floor_pb2.Cell(x=x, y=y)]
            )
            for x, y in cells
        ],
        agent_kinds=[
            floor_pb2.AgentKind(name="agv", speed_mm_s=1_500, braking_mm_s2=1_500, length_mm=900, width_mm=600)
        ],
    )

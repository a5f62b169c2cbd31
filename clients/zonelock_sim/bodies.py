"""Bodies on the floor: where a vehicle is, how fast, and how it stops.

The rule owned here: a body moves only over cells that it was permitted, and its speed is at every moment low enough to
stop at the centre of the last of them by its rated braking. Nothing in this module knows grants, agents or zones; it is
the mechanics that stay true when the software above is wrong. Never imports the SDK or the coordinator.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Cell = tuple[int, int]

TURN_MM_S = 600
"""A vehicle passes a corner no faster than this; it is a differential drive that turns about its centre."""

SNAP_MM = 0.5
"""Nearer to its stopping point than this, and slower than it can brake within a tick, a body stands there."""

MAX_PATH_CELLS = 4_096


class PathError(ValueError):
    """A permitted cell that the body cannot drive to from where its permitted path ends."""


@dataclass(frozen=True, slots=True)
class Drive:
    """What a vehicle can do. Speeds in mm/s, accelerations in mm/s², sizes in mm; acceleration equals braking."""

    speed_mm_s: int
    braking_mm_s2: int
    length_mm: int
    width_mm: int

    def __post_init__(self) -> None:
        for name in ("speed_mm_s", "braking_mm_s2", "length_mm", "width_mm"):
            value = getattr(self, name)
            if value < 1:
                raise ValueError(f"{name} {value} must be at least 1")

    def stopping_mm(self, speed_mm_s: float) -> float:
        """How far the body still rolls when it brakes from this speed: v² / 2b."""
        return speed_mm_s * speed_mm_s / (2 * self.braking_mm_s2)

    @property
    def stopping_ms(self) -> int:
        """How long braking from full speed takes, rounded up."""
        return math.ceil(1_000 * self.speed_mm_s / self.braking_mm_s2)


def next_speed(speed: float, braking: float, room_mm: float, dt: float, exit_speed: float = 0.0) -> float:
    """The highest speed after `dt` seconds from which `exit_speed` is still reached within `room_mm` by rated braking.

    Solves (v + v')/2 · dt + (v'² − e²)/2b = room for v'. When v² − e² ≤ 2b·room holds before, it holds after, and
    v' ≥ v − b·dt: the body never needs more than its rated braking.
    """
    under = dt * dt / 4 + (2 / braking) * (room_mm - speed * dt / 2) + (exit_speed / braking) ** 2
    return braking * (math.sqrt(under) - dt / 2) if under > 0 else 0.0


class Body:
    """One vehicle. `path[0]` is the cell whose centre it passed last, `offset_mm` how far towards `path[1]` it is.

    The contour is the rectangle length × width along the heading; it is at most one cell long, so that a body touches
    two cells while it crosses from one to the next and one when it stands at a centre.
    """

    def __init__(self, body_id: str, drive: Drive, cell_mm: int, at: Cell) -> None:
        if max(drive.length_mm, drive.width_mm) > cell_mm:
            raise ValueError(
                f"{body_id}: a contour of {drive.length_mm} × {drive.width_mm} mm does not fit a cell of {cell_mm} mm; "
                "use larger cells, or a smaller agent kind"
            )
        self.body_id = body_id
        self.drive = drive
        self.cell_mm = cell_mm
        self.path: list[Cell] = [at]
        self.offset_mm = 0.0
        self.speed_mm_s = 0.0
        self.distance_mm = 0.0
        self.halted = False
        self.heading: tuple[int, int] = (1, 0)

    # -- where it is

    @property
    def position_mm(self) -> tuple[float, float]:
        x, y = self.path[0]
        return (
            (x + 0.5) * self.cell_mm + self.heading[0] * self.offset_mm,
            (y + 0.5) * self.cell_mm + self.heading[1] * self.offset_mm,
        )

    @property
    def heading_mdeg(self) -> int:
        """Thousandths of a degree, 0 along x, clockwise on a map whose y points down."""
        return {(1, 0): 0, (0, 1): 90_000, (-1, 0): 180_000, (0, -1): 270_000}[self.heading]

    @property
    def standing(self) -> bool:
        return self.speed_mm_s == 0.0

    @property
    def end(self) -> Cell:
        """The last permitted cell."""
        return self.path[-1]

    @property
    def room_mm(self) -> float:
        """How far the body may still go: to the centre of the last permitted cell."""
        return (len(self.path) - 1) * self.cell_mm - self.offset_mm

    def touched(self) -> tuple[Cell, ...]:
        """Every cell that the contour overlaps, from its geometry alone."""
        x, y = self.position_mm
        along, across = self.drive.length_mm / 2, self.drive.width_mm / 2
        half_x, half_y = (along, across) if self.heading[0] else (across, along)
        xs = _cells_between(x - half_x, x + half_x, self.cell_mm)
        ys = _cells_between(y - half_y, y + half_y, self.cell_mm)
        return tuple((cx, cy) for cx in xs for cy in ys)

    # -- what it may do

    def permit(self, cells: Iterable[Cell]) -> None:
        """Lengthens the permitted path. Raises PathError, with the path unchanged, on a cell that does not adjoin."""
        path = list(self.path)
        for x, y in cells:
            last_x, last_y = path[-1]
            if abs(x - last_x) + abs(y - last_y) != 1:
                raise PathError(
                    f"{self.body_id}: cell ({x}, {y}) does not adjoin ({last_x}, {last_y}), the end of its path"
                )
            path.append((x, y))
        if len(path) > MAX_PATH_CELLS:
            raise PathError(f"{self.body_id}: a path of {len(path)} cells passes the bound of {MAX_PATH_CELLS}")
        self.path = path
        self._face()

    def curtail(self) -> tuple[Cell, ...]:
        """Gives up permitted cells that the body does not need in order to stop; returns them, nearest first."""
        reach = self.offset_mm + self.drive.stopping_mm(self.speed_mm_s)
        keep = 1 + math.ceil((reach - 1e-6) / self.cell_mm) if reach > 1e-6 else 1
        given_up = tuple(self.path[keep:])
        self.path = self.path[:keep]
        return given_up

    def halt(self) -> None:
        """Brakes as hard as rated and stays braked until `resume`."""
        self.halted = True

    def resume(self) -> None:
        self.halted = False

    def step(self, dt: float) -> bool:
        """Moves on by `dt` seconds. True when it came to another cell or to a stand."""
        if self.speed_mm_s == 0.0 and (self.halted or len(self.path) == 1):
            return False
        before_speed, before_cell = self.speed_mm_s, self.path[0]
        speed = self._wanted_speed(dt)
        moved = min((before_speed + speed) / 2 * dt, self.room_mm)
        if not self.halted and speed < self.drive.braking_mm_s2 * dt and self.room_mm - moved < SNAP_MM:
            moved, speed = self.room_mm, 0.0
        self.speed_mm_s = speed
        self._advance(moved)
        return self.path[0] != before_cell or (speed == 0.0 and before_speed > 0.0)

    # -- inside

    def _wanted_speed(self, dt: float) -> float:
        braking, speed = self.drive.braking_mm_s2, self.speed_mm_s
        if self.halted:
            return max(0.0, speed - braking * dt)
        wanted = min(speed + braking * dt, float(self.drive.speed_mm_s), next_speed(speed, braking, self.room_mm, dt))
        horizon = self.drive.stopping_mm(self.drive.speed_mm_s) + self.cell_mm
        for index in range(1, len(self.path) - 1):
            room = index * self.cell_mm - self.offset_mm
            if room > horizon:
                break
            if _is_corner(self.path[index - 1], self.path[index], self.path[index + 1]):
                turn = min(TURN_MM_S, self.drive.speed_mm_s)
                wanted = min(wanted, max(next_speed(speed, braking, room, dt, turn), speed - braking * dt))
        return max(0.0, wanted)

    def _advance(self, moved: float) -> None:
        self.distance_mm += moved
        self.offset_mm += moved
        while len(self.path) > 1 and self.offset_mm >= self.cell_mm - 1e-9:
            self.offset_mm = max(0.0, self.offset_mm - self.cell_mm)
            self.path.pop(0)
            self._face()
        if len(self.path) == 1:
            self.offset_mm = 0.0

    def _face(self) -> None:
        if len(self.path) > 1:
            (x0, y0), (x1, y1) = self.path[0], self.path[1]
            self.heading = (x1 - x0, y1 - y0)


class Tool:
    """A robot arm's reach into a zone: when extended it touches every cell of it. The foot stands off the grid."""

    def __init__(self, body_id: str, cells: Sequence[Cell]) -> None:
        self.body_id = body_id
        self.cells = tuple(cells)
        self.extended = False

    def touched(self) -> tuple[Cell, ...]:
        return self.cells if self.extended else ()


def _cells_between(low: float, high: float, cell_mm: int) -> range:
    """Indices of cells that the open interval (low, high) overlaps; touching an edge is not overlapping."""
    return range(math.floor((low + 1e-6) / cell_mm), math.ceil((high - 1e-6) / cell_mm))


def _is_corner(before: Cell, at: Cell, after: Cell) -> bool:
    return (at[0] - before[0], at[1] - before[1]) != (after[0] - at[0], after[1] - at[1])

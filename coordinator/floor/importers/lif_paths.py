"""The way a vehicle takes along a LIF edge, and the cells that it crosses.

Without a trajectory an edge is a straight line. A trajectory is a NURBS (knots, weighted control points): evaluated by
de Boor's algorithm, see Piegl and Tiller, The NURBS Book, section 4.1. Where knots and points do not fit together, the
polygon of the control points stands in for the curve. Never imports anything of zonelock.
"""

from __future__ import annotations

import math
from itertools import pairwise

from vdma_lif.models import Edge, Trajectory

Point = tuple[float, float]
SAMPLES_PER_SPAN = 16


def edge_paths(edge: Edge, start: Point, end: Point) -> list[list[Point]]:
    """The different ways that vehicle types take from node to node, as polylines; at least one."""
    paths: list[list[Point]] = []
    for properties in edge.vehicle_type_edge_properties:
        curve = properties.trajectory
        path = [start, *(_curve(curve) if curve is not None else ()), end]
        path = [point for index, point in enumerate(path) if index == 0 or point != path[index - 1]]
        if path not in paths:
            paths.append(path)
    return paths or [[start, end]]


def _curve(trajectory: Trajectory) -> list[Point]:
    points = [(p.x, p.y, 1.0 if p.weight is None else p.weight) for p in trajectory.control_points]
    degree = 3 if trajectory.degree is None else trajectory.degree
    knots = [float(knot) for knot in trajectory.knot_vector]
    fits = len(knots) == len(points) + degree + 1 and 1 <= degree < len(points)
    if not fits or sorted(knots) != knots or any(weight <= 0 for _, _, weight in points):
        return [(x, y) for x, y, _ in points]
    samples = []
    for low, high in pairwise(knots[degree : len(points) + 1]):
        if high > low:
            samples += [low + (high - low) * step / SAMPLES_PER_SPAN for step in range(SAMPLES_PER_SPAN)]
    return [_de_boor(u, degree, knots, points) for u in [*samples, knots[len(points)]]]


def _de_boor(u: float, degree: int, knots: list[float], points: list[tuple[float, float, float]]) -> Point:
    span = degree
    while span < len(points) - 1 and u >= knots[span + 1]:
        span += 1
    blended = [(x * w, y * w, w) for x, y, w in points[span - degree : span + 1]]
    for level in range(1, degree + 1):
        for j in range(degree, level - 1, -1):
            low, high = knots[span - degree + j], knots[span + 1 + j - level]
            share = (u - low) / (high - low) if high > low else 0.0
            a, b = blended[j - 1], blended[j]
            blended[j] = (
                a[0] + (b[0] - a[0]) * share,
                a[1] + (b[1] - a[1]) * share,
                a[2] + (b[2] - a[2]) * share,
            )
    x, y, weight = blended[degree]
    return x / weight, y / weight


def crossed_cells(path: list[Point], *, reverse: bool) -> list[tuple[int, int]]:
    """The cells that a polyline (in cells, centres at whole numbers) crosses, each step to one of four neighbours.

    `reverse` walks the line from its end and turns the result over, so that there and back cross the same cells.
    """
    line = path[::-1] if reverse else path
    cells: list[tuple[int, int]] = []
    for a, b in pairwise(line):
        for cell in _segment(a, b):
            if not cells or cells[-1] != cell:
                cells.append(cell)
    if not cells:
        cells = [_cell(line[0])]
    return cells[::-1] if reverse else cells


def _cell(point: Point) -> tuple[int, int]:
    return math.floor(point[0] + 0.5), math.floor(point[1] + 0.5)


def _segment(a: Point, b: Point) -> list[tuple[int, int]]:
    """Every cell between a and b in order, one side at a time (Amanatides and Woo, A Fast Voxel Traversal Algorithm,
    1987).
    """
    cell, goal = _cell(a), _cell(b)
    step = (1 if b[0] >= a[0] else -1, 1 if b[1] >= a[1] else -1)
    run = (abs(b[0] - a[0]), abs(b[1] - a[1]))
    to_side = [
        ((cell[axis] + 0.5 * step[axis]) - a[axis]) * step[axis] / run[axis] if run[axis] > 0 else math.inf
        for axis in (0, 1)
    ]
    cells = [cell]
    for _ in range(abs(goal[0] - cell[0]) + abs(goal[1] - cell[1])):
        left = (goal[0] - cell[0], goal[1] - cell[1])
        axis = 0 if left[1] == 0 or (left[0] != 0 and to_side[0] <= to_side[1]) else 1
        cell = (cell[0] + step[0], cell[1]) if axis == 0 else (cell[0], cell[1] + step[1])
        to_side[axis] += 1 / run[axis] if run[axis] > 0 else math.inf
        cells.append(cell)
    return cells

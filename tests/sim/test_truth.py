"""Ground truth finds what was planted, once, and nothing else."""

from __future__ import annotations

from zonelock_sim.bodies import Body, Cell, Drive, Tool
from zonelock_sim.truth import GroundTruth

DRIVE = Drive(speed_mm_s=1_000, braking_mm_s2=1_000, length_mm=800, width_mm=600)


def zone_at(cell: Cell) -> str | None:
    x, y = cell
    return f"Z_{x // 2}" if 0 <= x < 20 and y == 0 else None


def truth(capacity: int = 1) -> GroundTruth:
    return GroundTruth(zone_at, {f"Z_{i}": capacity for i in range(10)})


def body_at(name: str, x: int, y: int = 0) -> Body:
    return Body(name, DRIVE, 1_000, (x, y))


def test_two_bodies_apart_are_no_finding() -> None:
    seen = truth()
    seen.observe([body_at("A", 0), body_at("B", 2)], 0.0)
    assert (seen.collisions, seen.over_capacity, seen.off_floor) == (0, 0, 0)


def test_a_planted_collision_counts_once_until_the_bodies_part() -> None:
    seen = truth(capacity=2)
    together, apart = [body_at("A", 4), body_at("B", 4)], [body_at("A", 4), body_at("B", 7)]
    for at_s, bodies in enumerate([together, together, apart, together]):
        seen.observe(bodies, float(at_s))
    assert seen.collisions == 2
    assert str(seen.findings[0]) == "collision at 0.00 s in cell (4, 0): A, B"
    assert seen.over_capacity == 0


def test_a_contour_that_reaches_into_the_next_cell_collides_there() -> None:
    mover = body_at("A", 0)
    mover.permit([(1, 0)])
    seen = truth(capacity=2)
    while mover.offset_mm < 100:
        seen.observe([mover, body_at("B", 1)], 0.0)
        assert seen.collisions == 0
        mover.step(0.02)
    while mover.offset_mm < 150:
        mover.step(0.02)
    seen.observe([mover, body_at("B", 1)], 1.0)
    assert seen.collisions == 1


def test_more_bodies_in_a_zone_than_its_capacity_are_counted_without_a_shared_cell() -> None:
    seen = truth()
    seen.observe([body_at("A", 4), body_at("B", 5)], 0.0)
    assert seen.collisions == 0
    assert seen.over_capacity == 1
    assert seen.findings[0].where == "zone Z_2"


def test_three_bodies_in_one_cell_are_three_collisions() -> None:
    seen = truth(capacity=3)
    seen.observe([body_at("A", 4), body_at("B", 4), body_at("C", 4)], 0.0)
    assert seen.collisions == 3


def test_a_tool_fills_its_zone_only_while_extended() -> None:
    tool = Tool("Arm", [(4, 0), (5, 0)])
    seen = truth()
    seen.observe([tool, body_at("A", 5)], 0.0)
    assert seen.collisions == 0
    tool.extended = True
    seen.observe([tool, body_at("A", 5)], 1.0)
    assert (seen.collisions, seen.over_capacity) == (1, 1)


def test_a_body_on_a_closed_cell_is_reported_off_the_floor() -> None:
    seen = truth()
    seen.observe([body_at("A", 3, 4)], 0.0)
    assert seen.off_floor == 1

"""Mechanics: a body stays inside what it was permitted, whatever the software above does."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zonelock_sim.bodies import TURN_MM_S, Body, Drive, PathError, next_speed

CELL_MM = 1_000
DRIVE = Drive(speed_mm_s=1_500, braking_mm_s2=1_000, length_mm=900, width_mm=600)


def run(body: Body, seconds: float, dt: float = 0.02) -> None:
    for _ in range(round(seconds / dt)):
        body.step(dt)


def along(count: int, y: int = 0) -> list[tuple[int, int]]:
    return [(x, y) for x in range(1, count + 1)]


def test_drives_to_the_centre_of_the_last_permitted_cell_and_stands() -> None:
    body = Body("A", DRIVE, CELL_MM, (0, 0))
    body.permit(along(5))
    run(body, 8)
    assert body.position_mm == (5_500.0, 500.0)
    assert body.standing
    assert body.touched() == ((5, 0),)


def test_reaches_full_speed_on_a_long_path_in_the_time_that_physics_says() -> None:
    body = Body("A", DRIVE, CELL_MM, (0, 0))
    body.permit(along(20))
    run(body, 2.0)
    assert body.speed_mm_s == pytest.approx(1_500)
    run(body, 20_000 / 1_500 + 1.5 - 2.0 + 0.3)
    assert body.standing
    assert body.end == (20, 0)


def test_touches_two_cells_while_it_crosses() -> None:
    body = Body("A", DRIVE, CELL_MM, (0, 0))
    body.permit(along(1))
    while body.offset_mm < 100:
        body.step(0.02)
    assert body.touched() == ((0, 0), (1, 0))


def test_takes_corners_slowly() -> None:
    body = Body("A", DRIVE, CELL_MM, (0, 0))
    body.permit([(x, 0) for x in range(1, 6)] + [(5, y) for y in range(1, 6)])
    before = 0.0
    while body.path[0] != (5, 0):
        before = body.speed_mm_s
        body.step(0.02)
    assert before <= TURN_MM_S + DRIVE.braking_mm_s2 * 0.02
    assert body.speed_mm_s > 0


def test_a_halt_brakes_at_the_rated_rate_and_holds_until_resumed() -> None:
    body = Body("A", DRIVE, CELL_MM, (0, 0))
    body.permit(along(20))
    run(body, 3)
    start = body.distance_mm
    body.halt()
    run(body, 2)
    assert body.standing
    assert body.distance_mm - start == pytest.approx(DRIVE.stopping_mm(1_500), abs=40)
    stood = body.position_mm
    run(body, 2)
    assert body.position_mm == stood
    body.resume()
    run(body, 20)
    assert body.position_mm == (20_500.0, 500.0)


def test_gives_up_only_cells_that_it_can_stop_short_of() -> None:
    body = Body("A", DRIVE, CELL_MM, (0, 0))
    body.permit(along(10))
    run(body, 2)
    given_up = body.curtail()
    assert given_up == tuple(along(10)[-len(given_up) :])
    end = body.end
    run(body, 6)
    assert body.standing
    assert body.path == [end]


def test_refuses_a_cell_that_does_not_adjoin_and_keeps_its_path() -> None:
    body = Body("A", DRIVE, CELL_MM, (0, 0))
    with pytest.raises(PathError, match=r"\(3, 0\) does not adjoin \(1, 0\)"):
        body.permit([(1, 0), (3, 0)])
    assert body.path == [(0, 0)]


def test_refuses_a_contour_larger_than_a_cell() -> None:
    with pytest.raises(ValueError, match="does not fit a cell of 800 mm"):
        Body("A", DRIVE, 800, (0, 0))


@given(
    speed=st.floats(0, 3_000),
    braking=st.floats(100, 5_000),
    spare=st.floats(0, 20_000),
    dt=st.floats(0.001, 0.2),
    exit_speed=st.floats(0, 1_000),
)
def test_next_speed_keeps_the_promise_it_is_given(
    speed: float, braking: float, spare: float, dt: float, exit_speed: float
) -> None:
    room = max(0.0, (speed**2 - exit_speed**2) / (2 * braking)) + spare
    after = next_speed(speed, braking, room, dt, exit_speed)
    if after > 0:
        travelled = (speed + after) / 2 * dt
        assert travelled + (after**2 - exit_speed**2) / (2 * braking) <= room + 1e-3
        assert after >= speed - braking * dt - 1e-3


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["run", "permit", "halt", "resume", "curtail"]),
        st.integers(1, 40),
        st.sampled_from([(1, 0), (0, 1), (-1, 0), (0, -1)]),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(
    actions=ACTIONS,
    speed=st.integers(100, 4_000),
    braking=st.integers(200, 4_000),
    dt=st.sampled_from([0.005, 0.02, 0.05, 0.11]),
)
def test_a_body_never_leaves_its_permitted_cells(
    actions: list[tuple[str, int, tuple[int, int]]], speed: int, braking: int, dt: float
) -> None:
    body = Body("A", Drive(speed, braking, 1_000, 700), CELL_MM, (0, 0))
    for action, amount, (dx, dy) in actions:
        if action == "permit":
            x, y = body.end
            body.permit([(x + dx * i, y + dy * i) for i in range(1, 1 + amount % 5)])
        elif action == "run":
            for _ in range(amount):
                permitted, before = set(body.path), body.speed_mm_s
                body.step(dt)
                assert set(body.touched()) <= permitted, f"{body.touched()} outside {permitted}"
                assert body.room_mm >= 0
                stopping = body.drive.stopping_mm(body.speed_mm_s)
                assert stopping <= body.room_mm + 1, f"cannot stop: needs {stopping:.1f}, has {body.room_mm:.1f} mm"
                assert body.speed_mm_s <= speed + 1e-6
                last_snap = math.sqrt(2 * braking) + 1
                assert body.speed_mm_s >= before - braking * dt * (1 + 1e-6) - last_snap
        else:
            getattr(body, action)()

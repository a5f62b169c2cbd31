"""The stopping-distance budget and its neighbours, against figures worked out by hand."""

from __future__ import annotations

import pytest
from floor.builders import GOOD, spoiled
from hypothesis import given
from hypothesis import strategies as st

from coordinator.floor import Floor
from coordinator.floor.check import Budget, braking_mm, check, reaction_mm


def test_a_tenth_of_a_second_at_two_and_a_half_metres_a_second_is_25_cm() -> None:
    assert reaction_mm(2_500, 100) == 250


def test_braking_distance_is_v_squared_over_twice_the_deceleration() -> None:
    assert braking_mm(2_500, 1_000) == 3_125
    assert braking_mm(1_000, 3_000) == 167, "rounded up, never down"


def test_the_budget_is_reaction_and_braking_against_the_margin() -> None:
    budgets = check(Floor.parse(GOOD)).budgets
    assert budgets == (
        Budget("agv", ("Z_01", "Z_02", "Z_03"), 1_000, 1_000, 50, 100, 150, 500, 100),
        Budget("arm", ("Z_03",), 1_000, 500, 50, 100, 75, 63, 50),
    )
    assert [(row.needed_mm, row.slack_mm, row.passed) for row in budgets] == [(650, 350, True), (138, 862, True)]


def test_zones_of_one_margin_share_a_row() -> None:
    floor = Floor.parse(spoiled(("hold_max_ms: 30000", "hold_max_ms: 30000, margin_mm: 700")))
    rows = [(row.kind, row.margin_mm, row.zones) for row in check(floor).budgets]
    assert rows == [("agv", 700, ("Z_03",)), ("agv", 1_000, ("Z_01", "Z_02")), ("arm", 700, ("Z_03",))]


def test_a_short_margin_fails_and_says_what_would_pass() -> None:
    narrow = ("{hold_max_ms: 20000}", "{hold_max_ms: 20000, margin_mm: 400}")
    floor = Floor.parse(spoiled(narrow))
    report = check(floor)
    assert not report.passed
    assert report.budgets[0].remedy == "250 mm short: give margin_mm 650, drive at most 756 mm/s, or stop sooner"
    assert report.budgets[1].remedy == ""
    mended = spoiled(narrow, ("speed_mm_s: 1000", "speed_mm_s: 756"))
    assert check(Floor.parse(mended)).passed


def test_measured_times_replace_those_of_the_floor() -> None:
    budget = check(Floor.parse(GOOD), detection_ms=0, stop_latency_ms=400).budgets[0]
    assert (budget.detection_ms, budget.stop_latency_ms, budget.reaction_mm) == (0, 400, 400)
    assert check(Floor.parse(GOOD), stop_latency_ms=600).passed is False


@pytest.mark.parametrize("name", ["detection_ms", "stop_latency_ms"])
def test_a_negative_time_is_an_error(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} -1 must not be negative"):
        check(Floor.parse(GOOD), **{name: -1})


def test_a_hold_too_short_to_drive_through_fails() -> None:
    floor = Floor.parse(spoiled(("hold_max_ms: 30000", "hold_max_ms: 8999")))
    (row,) = [row for row in check(floor).crossings if not row.passed]
    assert (row.zones, row.crossing_ms, row.hold_max_ms) == (("Z_03",), 9_000, 8_999), "eight cells and a ramp"
    assert "Give hold_max_ms 9000" in row.remedy


def test_a_body_larger_than_a_cell_fails() -> None:
    report = check(Floor.parse(spoiled(("length_mm: 900", "length_mm: 1001"))))
    assert [row.passed for row in report.fits] == [False]
    assert "cell_mm 1001" in report.fits[0].remedy


def test_a_kind_that_only_arms_have_is_checked_where_they_reach() -> None:
    report = check(Floor.parse(GOOD))
    assert [fit.kind for fit in report.fits] == ["agv"]
    assert {row.kind for row in report.crossings} == {"agv"}


def test_a_floor_without_agent_kinds_has_nothing_to_check() -> None:
    text = "format: zonelock.floor/1\nsite: a\nversion: 1\ncell_mm: 1000\ngrid: ['..']\nzone_per_cell: {}\n"
    report = check(Floor.parse(text))
    assert (report.budgets, report.crossings, report.fits, report.passed) == ((), (), (), True)


@given(st.integers(1, 5_000), st.integers(100, 5_000), st.integers(0, 2_000), st.integers(0, 1_000))
def test_more_speed_or_later_stops_never_need_less_room(speed: int, braking: int, late: int, more: int) -> None:
    def needed(v: int, t: int) -> int:
        return reaction_mm(v, t) + braking_mm(v, braking)

    assert needed(speed + more, late) >= needed(speed, late)
    assert needed(speed, late + more) >= needed(speed, late)

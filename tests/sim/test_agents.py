"""Agents on a ledger in memory and a clock that costs nothing: minutes of driving in a second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from sim.fake_floor import FakeLinks, Ledger, run_virtual
from zonelock_sim.bodies import Cell
from zonelock_sim.incidents import parse_incident
from zonelock_sim.options import Report, SimError, SimOptions
from zonelock_sim.scene import Scene
from zonelock_sim.vehicle import Vehicle

from coordinator.floor import Floor
from coordinator.floor.examples import bundled
from coordinator.floor.importers import from_moving_ai, read_scenario

KIND = "agent_kinds: {agv: {speed_mm_s: 1000, braking_mm_s2: 1000, length_mm: 900, width_mm: 700}}"


class Stage:
    """A scene, its ledger, and what was told of them."""

    def __init__(self, floor: Floor, options: SimOptions, pairs: list[tuple[Cell, Cell]] | None = None) -> None:
        self.ledger = Ledger(floor)
        self.told: list[str] = []
        self.scene = Scene(floor, options, FakeLinks(self.ledger), pairs=pairs, tell=self._tell)

    def _tell(self, kind: str, message: str) -> None:
        self.told.append(f"{self.scene.world.now_s():.1f} {kind}: {message}")

    def story(self) -> str:
        return "\n".join([*self.told, self.scene.report().to_json()])


def play(
    floor: Floor,
    seconds: float,
    *,
    pairs: list[tuple[Cell, Cell]] | None = None,
    along: Callable[[Stage], Coroutine[Any, Any, None]] | None = None,
    **options: Any,
) -> tuple[Report, str]:
    """Plays a scene to its end, with `along` beside it; returns the report and the story."""

    async def story() -> tuple[Report, str]:
        stage = Stage(floor, SimOptions(**options), pairs)
        beside = asyncio.create_task(along(stage)) if along is not None else None
        try:
            await stage.scene.run(seconds)
        finally:
            if beside is not None:
                beside.cancel()
        return stage.scene.report(), stage.story()

    outcome: tuple[Report, str] = run_virtual(story())
    return outcome


def assert_safe(report: Report, story: str) -> None:
    assert (report.collisions, report.over_capacity, report.off_floor, report.uncovered) == (0, 0, 0, 0), story


def machining() -> Floor:
    return Floor.load(bundled("machining"))


def street(rows: str, **settings: int) -> Floor:
    hold_max_ms = settings.get("hold_max_ms", 60_000)
    grid = "\n".join(f"  {row}" for row in rows.split())
    return Floor.parse(
        f"format: zonelock.floor/1\nsite: street\nversion: 1\ncell_mm: 1000\ngrid: |\n{grid}\n"
        f"defaults: {{hold_max_ms: {hold_max_ms}}}\nzone_per_cell: {{}}\n{KIND}\n"
    )


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_machining_floor_works_for_five_minutes_without_a_stop(seed: int) -> None:
    report, story = play(machining(), 300, agents=7, seed=seed)
    assert_safe(report, story)
    assert report.stops == 0, story
    assert report.tasks_done >= 25, story


def test_twenty_vehicles_share_a_warehouse_of_one_wide_aisles(shared_data: Callable[[str], Path]) -> None:
    name = "mapf/warehouse-10-20-10-2-1"
    floor = from_moving_ai(shared_data(f"{name}.map").read_text())
    scenario = read_scenario(shared_data(f"{name}-random-1.scen").read_text(), floor)
    report, story = play(floor, 300, agents=20, pairs=[(task.start, task.goal) for task in scenario])
    assert_safe(report, story)
    assert report.stops == 0, story
    assert report.tasks_done >= 20, story


def test_head_on_in_a_one_wide_aisle_one_vehicle_draws_back() -> None:
    floor = street("..........  ####.#####")
    ends = [((0, 0), (9, 0)), ((9, 0), (0, 0))]
    report, story = play(floor, 90, agents=2, pairs=ends)
    assert_safe(report, story)
    assert report.tasks_done == 2, story
    assert report.retreats >= 1, story


def test_a_vehicle_plans_around_a_zone_that_somebody_else_holds() -> None:
    floor = street("....... .#####. .......")
    seen: list[int] = []

    async def along(stage: Stage) -> None:
        stage.ledger.occupied["c_3_0"]["stranger"] = None
        stage.scene.world.traffic.foreign({"c_3_0": 1})
        await asyncio.sleep(29)
        seen.append(stage.scene.report().tasks_done)

    report, story = play(floor, 30, agents=1, pairs=[((0, 0), (6, 0))], along=along)
    assert_safe(report, story)
    assert seen == [1], story


def test_a_vehicle_drives_up_to_what_another_holds_and_waits_there() -> None:
    seen: list[tuple[Cell, tuple[str, ...]]] = []

    async def along(stage: Stage) -> None:
        stage.ledger.occupied["c_3_0"]["stranger"] = None
        stage.scene.world.traffic.foreign({"c_3_0": 1})
        await asyncio.sleep(5)
        vehicle = stage.scene.vehicles[0]
        seen.append((vehicle.body.end, vehicle.asked[:1]))

    report, story = play(street("........"), 6, agents=1, pairs=[((0, 0), (7, 0))], along=along)
    assert_safe(report, story)
    assert seen == [((2, 0), ("c_3_0",))], story


def test_a_vehicle_that_waits_past_the_hold_limit_stands_without_a_deadline_and_goes_on_later() -> None:
    floor = street(".....", hold_max_ms=15_000)

    async def along(stage: Stage) -> None:
        stage.ledger.occupied["c_3_0"]["stranger"] = None
        await asyncio.sleep(120)
        stage.ledger.free("stranger", ["c_3_0"])

    report, story = play(floor, 150, agents=1, pairs=[((0, 0), (4, 0))], along=along)
    assert_safe(report, story)
    assert report.stops == 0, story
    assert report.tasks_done == 1, story


def test_a_stalled_vehicle_stops_the_area_and_all_go_on_after_the_reset() -> None:
    async def along(stage: Stage) -> None:
        while not stage.ledger.stops:  # noqa: ASYNC110 - the clock is virtual
            await asyncio.sleep(0.1)
        await asyncio.sleep(10)
        bodies = [vehicle.body for vehicle in stage.scene.vehicles]
        assert all(body.standing for body in bodies)
        places = [body.position_mm for body in bodies]
        await asyncio.sleep(20)
        assert places == [body.position_mm for body in bodies]
        stage.ledger.reset()

    stall = parse_incident("stall:AGV_03+20s")
    report, story = play(machining(), 200, agents=7, incidents=(stall,), along=along)
    assert_safe(report, story)
    assert (report.stops, report.incidents) == (1, 1), story
    assert "stall:AGV_03+20s: ends" in story
    assert report.tasks_done >= 12, story


@pytest.mark.parametrize("incident", ["overstay:AGV_02+10s", "vanish:AGV_02+10s", "stall:Arm_14@Z_32"])
def test_whatever_stops_answering_in_its_zone_ends_in_a_stop_and_not_in_a_collision(incident: str) -> None:
    report, story = play(machining(), 90, agents=7, incidents=(parse_incident(incident),))
    assert_safe(report, story)
    assert report.stops == 1, story


def test_answers_that_come_late_cost_time_and_nothing_else() -> None:
    late = parse_incident("late:AGV_01~1500ms")
    report, story = play(machining(), 120, agents=7, incidents=(late,))
    assert_safe(report, story)
    assert report.tasks_done >= 8, story


def test_ground_truth_catches_a_ledger_that_grants_a_zone_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ledger, "fits", lambda self, waiting: True)
    ends = [((0, 0), (9, 0)), ((9, 0), (0, 0))]
    report, story = play(street(".........."), 20, agents=2, pairs=ends)
    assert report.collisions >= 1, story
    assert report.over_capacity >= 1, story
    assert any("collision" in finding for finding in report.findings)


def test_a_vehicle_that_drives_without_a_grant_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Vehicle, "check_grants", lambda self: None)

    async def along(stage: Stage) -> None:
        await stage.scene.world.gate.wait()
        body = stage.scene.vehicles[0].body
        body.permit([(x, 0) for x in range(body.end[0] + 1, 10)])

    report, story = play(street(".........."), 12, agents=1, pairs=[((0, 0), (0, 0))], along=along)
    assert report.uncovered >= 1, story


def test_more_vehicles_than_places_to_start_from_are_refused() -> None:
    with pytest.raises(SimError, match="agents 40: the floor has 19 stations and parking places"):
        play(machining(), 1, agents=40)


def test_a_scenario_with_too_few_starts_is_refused() -> None:
    with pytest.raises(SimError, match="agents 3: the scenario has only 2 different starts"):
        play(street("....."), 1, agents=3, pairs=[((0, 0), (4, 0)), ((4, 0), (0, 0)), ((0, 0), (2, 0))])


def test_a_vehicle_longer_than_a_cell_is_refused() -> None:
    text = street("...").to_yaml().replace("length_mm: 900", "length_mm: 1500")
    with pytest.raises(SimError, match="does not fit a cell of 1000 mm"):
        play(Floor.parse(text), 1, agents=1, pairs=[((0, 0), (2, 0))])

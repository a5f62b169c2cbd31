"""Runs on virtual time: the real coordinator and SDK, the same every time; and what the naive way comes to."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sim import floors
from zonelock_sim import scene
from zonelock_sim.bodies import Body, Drive
from zonelock_sim.incidents import parse_incident
from zonelock_sim.options import Progress, Report, SimError, SimOptions
from zonelock_sim.run import run_sim
from zonelock_sim.tasks import ScenarioTasks
from zonelock_sim.traffic import Traffic
from zonelock_sim.truth import GroundTruth, Shadow
from zonelock_sim.ways import Ways

from coordinator.floor import Floor
from coordinator.floor.importers import from_moving_ai


async def drive(site: floors.Site, folder: Path, *, agents: int, tasks: int, **more: object) -> Report:
    plan, scenario = site.write(folder, tasks, seed=1)
    options = SimOptions(floor=plan, scenario=scenario, agents=agents, virtual=True, gateway=True)
    return await run_sim(replace(options, **more))  # type: ignore[arg-type]  # fields of SimOptions


def assert_all_done(report: Report) -> None:
    said = report.to_json()
    assert (report.collisions, report.over_capacity, report.off_floor, report.uncovered) == (0, 0, 0, 0), said
    assert (report.deadlocks, report.stops) == (0, 0), said
    assert report.tasks_done == report.tasks_total - report.tasks_unreachable, said


async def test_twenty_vehicles_do_every_task_between_shelves(tmp_path: Path) -> None:
    report = await drive(floors.shelves(4, 5), tmp_path, agents=20, tasks=60)
    assert_all_done(report)
    assert (report.tasks_total, report.tasks_unreachable) == (60, 0)
    assert report.virtual
    assert report.travel_ratio >= 1.0
    assert report.seconds > 60, "virtual seconds"


async def test_a_run_is_the_same_every_time_but_for_the_wall_time(tmp_path: Path) -> None:
    site = floors.shelves(2, 3)
    first, second = [await drive(site, tmp_path, agents=6, tasks=12) for _ in range(2)]
    assert replace(first, wall_seconds=0) == replace(second, wall_seconds=0)
    assert first.acquire_p50_ms > 0, "answers take time, which the seed draws"


async def test_a_run_that_is_broken_off_counts_ways_only_as_far_as_they_were_driven(tmp_path: Path) -> None:
    """Counted to the end of what is permitted, a few seconds came to a third of the shortest ways."""
    report = await drive(floors.shelves(2, 3), tmp_path, agents=1, tasks=12, seconds=5.0)
    assert report.distance_m > 1 and report.tasks_done < 12
    assert report.travel_ratio == 1.0


CORRIDOR = floors.Site("corridor", ("...........", "@@@@@.@@@@@"))


def head_on(folder: Path, site: floors.Site = CORRIDOR) -> tuple[Path, Path]:
    """Two orders in opposite directions through one corridor, which has a bay in its middle unless another is given."""
    plan, scenario = site.write(folder, 0, seed=1)
    size = f"{len(site.rows[0])}\t{len(site.rows)}"
    lines = [f"0\tcorridor.map\t{size}\t{x}\t0\t{gx}\t0\t0" for x, gx in ((0, 10), (10, 0))]
    scenario.write_text("\n".join(["version 1", *lines]) + "\n")
    return plan, scenario


async def test_the_naive_way_freezes_head_on_and_the_run_says_when(tmp_path: Path) -> None:
    plan, scenario = head_on(tmp_path)
    options = SimOptions(floor=plan, scenario=scenario, agents=2, virtual=True, naive=True)
    report = await run_sim(options)
    assert (report.collisions, report.deadlocks, report.tasks_done) == (0, 1, 0), report.to_json()
    assert report.frozen_at_s is not None
    assert 1 < report.frozen_at_s < 30


async def test_head_on_in_a_corridor_one_of_two_makes_way(tmp_path: Path) -> None:
    plan, scenario = head_on(tmp_path)
    assert_all_done(await run_sim(SimOptions(floor=plan, scenario=scenario, agents=2, virtual=True)))


async def test_vehicles_that_only_make_way_for_each_other_are_told_from_vehicles_that_get_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scene, "FRUITLESS_S", 90.0)
    plan, scenario = head_on(tmp_path, floors.Site("corridor", ("...........",)))
    report = await run_sim(SimOptions(floor=plan, scenario=scenario, agents=2, virtual=True))
    assert (report.collisions, report.deadlocks, report.tasks_done) == (0, 1, 0), report.to_json()
    assert report.frozen_at_s is not None
    assert report.seconds < 300


async def test_arms_and_stations_work_on_virtual_time_too() -> None:
    report = await run_sim(SimOptions(agents=5, seconds=120, virtual=True))
    assert (report.collisions, report.uncovered, report.stops, report.arms) == (0, 0, 0, 3), report.to_json()
    assert report.tasks_done > 10
    assert report.seconds == 120


async def test_an_agent_that_answers_late_is_slower_and_nothing_worse(tmp_path: Path) -> None:
    late = (parse_incident("late:AGV_01~800ms"),)
    report = await drive(floors.shelves(2, 3), tmp_path, agents=4, tasks=8, incidents=late)
    assert_all_done(report)
    assert report.incidents == 1


async def test_a_virtual_run_leaves_the_sdk_and_its_clocks_as_they_were() -> None:
    from zonelock_client import dead_man, link

    seams = [(module, name) for module in (link, dead_man) for name in ("boottime_ns", "open_channel", "random")]
    before = [getattr(module, name, None) for module, name in seams]
    threads = threading.active_count()
    await run_sim(SimOptions(agents=2, seconds=5, virtual=True))
    assert before == [getattr(module, name, None) for module, name in seams]
    assert threading.active_count() <= threads + 1, "the one thread that the run itself had"


async def test_a_dead_man_of_this_process_goes_on_watching_real_grants_during_a_virtual_run() -> None:
    from zonelock_client.clock import boottime_ns
    from zonelock_client.dead_man import process_dead_man

    tripped = threading.Event()

    class Alarm:
        due = boottime_ns() + 300_000_000

        def due_ns(self) -> int | None:
            return None if tripped.is_set() else self.due

        def trip(self) -> None:
            tripped.set()

        def halt(self) -> None:
            """Nothing moves."""

    process_dead_man().watch(Alarm())
    await run_sim(SimOptions(agents=2, seconds=10, virtual=True))
    assert await asyncio.to_thread(tripped.wait, 10)


async def test_setting_stop_ends_a_virtual_run_early_with_its_report() -> None:
    stop, told = asyncio.Event(), list[Progress]()
    asyncio.get_running_loop().call_later(1.0, stop.set)
    began = time.monotonic()
    report = await run_sim(SimOptions(agents=2, seconds=80_000, virtual=True), told.append, stop)
    assert report.seconds < 80_000
    assert time.monotonic() - began < 60
    assert told[0].kind == "starting"


async def test_a_virtual_run_that_is_cancelled_tells_what_was_done_so_far() -> None:
    told, running = list[Progress](), asyncio.Event()

    def tell(progress: Progress) -> None:
        told.append(progress)
        if progress.kind == "running":
            running.set()

    run = asyncio.create_task(run_sim(SimOptions(agents=2, seconds=80_000, virtual=True), tell))
    async with asyncio.timeout(60):
        await running.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    reports = [progress.report for progress in told if progress.report is not None]
    assert len(reports) > 1
    assert all(report.virtual and report.store == "memory" and report.wall_seconds > 0 for report in reports)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"seconds": 5, "server": "127.0.0.1:7600"}, "server '127.0.0.1:7600' has no place in a virtual run"),
        ({"seconds": 5, "store": "etcd"}, "store 'etcd' has no place in a virtual run"),
        ({}, "seconds is missing"),
        ({"seconds": 5, "incidents": (parse_incident("stall:AGV_01"),)}, "incident stall:AGV_01: .* no operator"),
    ],
)
def test_what_has_no_place_in_a_virtual_run_is_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(SimError, match=said):
        SimOptions(virtual=True, **wrong)  # type: ignore[arg-type]  # wrong on purpose


# -- its parts -----------------------------------------------------------------------------------------------------


def floor_of(site: floors.Site, folder: Path) -> Floor:
    return from_moving_ai(site.write(folder, 0, seed=1)[0].read_text())


def test_a_way_avoids_what_it_must_and_is_no_longer_than_asked(tmp_path: Path) -> None:
    floor = floor_of(floors.Site("ring", (".....", ".@@@.", ".....")), tmp_path)
    ways = Ways(floor)
    assert ways.distance((0, 0), (4, 0)) == 4
    assert len(ways.cells((0, 0), (4, 0))) == 5
    round_about = ways.cells((0, 0), (4, 0), {(2, 0)})
    assert round_about[0] == (0, 0)
    assert len(round_about) == 9
    assert (2, 0) not in round_about
    assert ways.cells((0, 0), (4, 0), {(2, 0)}, longest=7) == []
    assert ways.cells((0, 0), (4, 0), {str(floor.zone_at(2, 0)), (2, 2)}) == []


def test_a_way_leaves_an_aisle_to_those_who_are_about_to_come_through(tmp_path: Path) -> None:
    floor = floor_of(floors.Site("ring", (".....", ".@@@.", ".....")), tmp_path)
    ways, traffic = Ways(floor), Traffic(floor)
    traffic.follows("B", ways.cells((4, 0), (0, 0)))
    assert len(ways.cells((0, 0), (4, 0), dearer=traffic.against())) == 5, "round about is as dear"
    traffic.follows("C", ways.cells((4, 0), (0, 0)))
    round_about = ways.cells((0, 0), (4, 0), dearer=traffic.against())
    assert len(round_about) == 9
    assert ways.cells((0, 0), (4, 0), longest=7, dearer=traffic.against()) == []
    assert len(ways.cells((4, 0), (0, 0), dearer=traffic.against())) == 5, "the same way as they"


def test_only_what_is_left_of_a_route_counts_against_others(tmp_path: Path) -> None:
    floor = floor_of(floors.Site("street", ("....", "....")), tmp_path)
    traffic = Traffic(floor)
    route = [(0, 0), (1, 0), (2, 0), (3, 0)]
    traffic.follows("A", route)
    traffic.follows("B", route[1:])
    assert traffic.against() == {((1, 0), (0, 0)): 1, ((2, 0), (1, 0)): 2, ((3, 0), (2, 0)): 2}
    traffic.follows("A", route[2:])
    traffic.follows("B", [(1, 0), (1, 1)])
    assert traffic.against() == {((3, 0), (2, 0)): 1, ((1, 1), (1, 0)): 1}
    traffic.follows("A", [])
    traffic.follows("B", [])
    assert traffic.against() == {}


def test_who_rests_and_who_is_near_are_told_from_all_that_is_full(tmp_path: Path) -> None:
    floor = floor_of(floors.Site("street", ("." * 12, "." * 12)), tmp_path)
    traffic = Traffic(floor)
    at = {name: str(floor.zone_at(x, 0)) for name, x in (("A", 0), ("B", 3), ("C", 11))}
    for name, zone in at.items():
        traffic.occupies(name, [zone])
    traffic.rests("C", True)
    assert traffic.resting_zones("A") == {at["C"]}
    assert traffic.full_zones_near((1, 1), 3, "A") == {at["B"]}
    traffic.rests("C", False)
    assert traffic.resting_zones("A") == frozenset()


def test_tasks_that_no_vehicle_can_get_to_are_set_aside_and_counted() -> None:
    """Two halves, left of x = 5 and right of it; both vehicles start in the left one."""

    def connected(*cells: tuple[int, int]) -> bool:
        return len({x < 5 for x, _ in cells}) == 1

    pairs = [((0, 0), (1, 0)), ((2, 0), (3, 0)), ((4, 0), (8, 0)), ((7, 0), (8, 0)), ((4, 1), (0, 0))]
    tasks = ScenarioTasks(pairs, connected)
    starts = tasks.starts(["A", "B"])
    assert (tasks.total, tasks.unreachable, tasks.open) == (5, 2, 1)
    done = [task for agent, at in zip("AB", starts, strict=True) if (task := tasks.next(agent, at)) is not None]
    assert [task.name for task in done] == ["order 1", "order 2"]


def test_over_a_long_step_a_body_is_in_all_that_it_passed() -> None:
    drive = Drive(speed_mm_s=2_000, braking_mm_s2=2_000, length_mm=800, width_mm=600)
    body = Body("A", drive, 1_000, (0, 0))
    body.permit([(1, 0), (2, 0), (3, 0)])
    shadow = Shadow("A", body.touched())
    seen: set[tuple[int, int]] = set()
    while not (body.standing and len(body.path) == 1):
        body.step(0.4)
        shadow.move(body.touched())
        seen.update(shadow.touched())
        assert shadow.touched() == () or max(x for x, _ in shadow.touched()) <= 3
    shadow.move(body.touched())
    assert seen == {(0, 0), (1, 0), (2, 0), (3, 0)}
    assert shadow.settled


def test_shadows_that_meet_are_counted() -> None:
    truth = GroundTruth(lambda cell: f"{cell}", {})
    a, b = Shadow("A", ((0, 0),)), Shadow("B", ((1, 0),))
    truth.observe([a, b], 0.1)
    assert truth.collisions == 0
    a.move(((1, 0),))
    truth.observe([a, b], 0.2)
    assert truth.collisions == 1


# -- large ones ----------------------------------------------------------------------------------------------------

WAREHOUSE = "mapf/warehouse-10-20-10-2-1"


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(floors.KINDS))
@pytest.mark.parametrize("seed", [1, 2])
async def test_every_task_is_done_on_floors_that_nobody_was_given(tmp_path: Path, kind: str, seed: int) -> None:
    assert_all_done(await drive(floors.KINDS[kind](seed), tmp_path, agents=30, tasks=150, seed=seed))


@pytest.mark.slow
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("agents", [100, 300])
async def test_every_task_of_the_warehouse_is_done(shared_data: Callable[[str], Path], agents: int) -> None:
    plan, scenario = shared_data(f"{WAREHOUSE}.map"), shared_data(f"{WAREHOUSE}-random-1.scen")
    report = await run_sim(SimOptions(floor=plan, scenario=scenario, agents=agents, virtual=True, gateway=True))
    print(report.to_json())
    assert_all_done(report)
    assert report.tasks_total == 1_000


@pytest.mark.slow
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("agents", [100, 300])
async def test_the_naive_way_freezes_in_the_warehouse(shared_data: Callable[[str], Path], agents: int) -> None:
    plan, scenario = shared_data(f"{WAREHOUSE}.map"), shared_data(f"{WAREHOUSE}-random-1.scen")
    options = SimOptions(floor=plan, scenario=scenario, agents=agents, virtual=True, gateway=True, naive=True)
    report = await run_sim(options)
    print(report.to_json())
    assert (report.collisions, report.deadlocks) == (0, 1), report.to_json()
    assert report.tasks_done < 1_000

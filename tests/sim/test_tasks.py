"""Who is sent where: distinct starts, no target shared, the same seed the same orders."""

from __future__ import annotations

import pytest
from zonelock_sim.options import SimError
from zonelock_sim.tasks import ScenarioTasks, StationTasks
from zonelock_sim.ways import Ways

from coordinator.floor import Floor
from coordinator.floor.examples import bundled


@pytest.fixture(scope="module")
def floor() -> Floor:
    return Floor.load(bundled("machining"))


def drawn(floor: Floor, seed: int) -> list[str]:
    tasks = StationTasks(floor, seed, Ways(floor))
    at = dict(zip("ABCDEFG", tasks.starts("ABCDEFG"), strict=True))
    found = []
    for _ in range(5):
        for agent in at:
            task = tasks.next(agent, at[agent])
            assert task is not None
            at[agent] = task.visits[-1].cell
            assert len(set(at.values())) == len(at), "two vehicles have one target"
            tasks.left(agent)
            found.append(task.visits[-1].label)
    return found


def test_the_same_seed_draws_the_same_orders_and_no_target_is_shared(floor: Floor) -> None:
    assert drawn(floor, 7) == drawn(floor, 7)
    assert drawn(floor, 7) != drawn(floor, 8)


def test_a_place_stays_taken_until_its_vehicle_has_left_it(floor: Floor) -> None:
    tasks = StationTasks(floor, 1, Ways(floor))
    starts = tasks.starts([f"A{number}" for number in range(11)])
    for number, start in enumerate(starts):
        assert tasks.next(f"A{number}", start) is not None
    onward = tasks.next("A0", starts[0])
    assert onward is not None
    assert onward.visits[0].cell in floor.parking.values(), "all stations are taken, so it parks"
    others = [tasks.next(f"B{number}", (1, 1)) for number in range(3)]
    assert starts[0] not in [task.visits[0].cell for task in others if task is not None]
    tasks.left("A0")
    freed = tasks.next("B9", (1, 1))
    assert freed is not None
    assert freed.visits[0].cell == starts[0]


def test_scenario_orders_go_to_whoever_stands_at_their_start_first() -> None:
    pairs = [((0, 0), (5, 0)), ((0, 0), (6, 0)), ((1, 0), (7, 0)), ((2, 0), (8, 0))]
    tasks = ScenarioTasks(pairs)
    assert tasks.starts("AB") == [(0, 0), (1, 0)]
    second, first = tasks.next("B", (1, 0)), tasks.next("A", (0, 0))
    assert first is not None
    assert second is not None
    assert [visit.cell for visit in first.visits] == [(0, 0), (5, 0)]
    assert [visit.cell for visit in second.visits] == [(1, 0), (7, 0)]


def test_a_scenario_order_waits_while_its_start_is_another_vehicles_place() -> None:
    tasks = ScenarioTasks([((0, 0), (5, 0)), ((5, 0), (9, 0)), ((7, 0), (8, 0))])
    tasks.starts("A")
    assert tasks.next("A", (0, 0)) is not None
    other = tasks.next("B", (3, 0))
    assert other is not None
    assert other.name == "order 3"
    assert tasks.next("C", (4, 0)) is None


def test_too_few_places_are_refused_with_the_number_there_is(floor: Floor) -> None:
    with pytest.raises(SimError, match=r"agents 20: the floor has 19 .* use fewer agents"):
        StationTasks(floor, 1, Ways(floor)).starts("ABCDEFGHIJKLMNOPQRST")


def test_a_vehicle_with_an_incident_in_a_zone_starts_near_it_and_is_sent_there(floor: Floor) -> None:
    tasks = StationTasks(floor, 1, Ways(floor), {"C": "Z_32"})
    at = dict(zip("ABCD", tasks.starts("ABCD"), strict=True))
    assert floor.zone_at(*at["C"]) != "Z_32"
    task = tasks.next("C", at["C"])
    assert task is not None
    assert floor.zone_at(*task.visits[0].cell) == "Z_32"

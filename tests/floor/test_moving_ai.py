"""Moving AI maps and scenarios: what they become, and how damaged ones are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from coordinator.floor import Floor, FloorError, Problem
from coordinator.floor.check import check
from coordinator.floor.importers import Task, from_moving_ai, read_scenario
from coordinator.floor.routing import Router

MAP = """\
type octile
height 5
width 9
map
@@@@@@@@@
@..@....@
@......T@
@..@@.@.@
@@@@@.@@@
"""
WAREHOUSE = "mapf/warehouse-10-20-10-2-1.map"
SCENARIO = "mapf/warehouse-10-20-10-2-1-random-1.scen"


def problems_of(text: str) -> tuple[Problem, ...]:
    with pytest.raises(FloorError) as caught:
        from_moving_ai(text, source="x.map")
    return caught.value.problems


def test_a_map_becomes_a_zone_per_open_cell() -> None:
    floor = from_moving_ai(MAP.replace("@.@\n@@@@@", "@@@\n@@@@@"), site="my floor!", cell_mm=1_200)
    assert floor.site == "my_floor_"
    assert (floor.width, floor.height, floor.cell_mm) == (9, 5, 1_200)
    assert len(floor.zones) == 16
    assert floor.zones["c_3_2"].cells == ((3, 2),)
    assert check(floor).passed
    assert Floor.parse(floor.to_yaml()) == floor


def test_swamp_and_ground_are_passable_trees_and_water_are_not() -> None:
    floor = from_moving_ai("type octile\nheight 1\nwidth 6\nmap\n.GSTWO\n")
    assert floor.grid.rows == ("...@@@",)


def test_windows_line_ends_are_read() -> None:
    assert from_moving_ai(MAP.replace("T@", ".@").replace("\n", "\r\n")).height == 5


def test_aisles_merge_one_wide_runs_between_junctions() -> None:
    picture = "@@@@@@@@@@@\n@.........@\n@.@@@.@@@.@\n@.@@@.@...@\n@.....@...@\n@@@@@@@@@@@\n"
    floor = from_moving_ai(f"type octile\nheight 6\nwidth 11\nmap\n{picture}", aisles=True)
    aisles = {name: zone.cells for name, zone in floor.zones.items() if name.startswith("A_")}
    assert sorted(map(len, aisles.values())) == [5, 13], "bends belong to a run, junctions and rooms do not"
    assert floor.zones["c_5_1"].cells == ((5, 1),), "a junction stays a zone of its own"
    assert "c_8_3" in floor.zones, "the corner of a room is no one-wide run"
    assert floor.zone_at(1, 1) == floor.zone_at(1, 4) == floor.zone_at(5, 4), "one run round the bends"


def test_a_long_aisle_may_be_held_as_long_as_it_takes() -> None:
    floor = from_moving_ai(f"type octile\nheight 1\nwidth 200\nmap\n{'.' * 200}\n", aisles=True)
    assert floor.zones["A_001"].hold_max_ms == 603_000
    assert floor.document.zone_per_cell is None
    assert check(floor).passed


def test_open_cells_out_of_reach_are_refused_and_named() -> None:
    problem = problems_of(MAP)[0]
    assert problem.value == "(7, 3)"
    assert "cannot be reached" in problem.message


def test_largest_only_blocks_what_is_out_of_reach() -> None:
    floor = from_moving_ai(MAP, largest_only=True)
    assert not floor.is_open(7, 3)
    assert len(floor.zones) == 16


BAD_HEADERS = [
    ("type octile", "type tile", "type", "Line 1 reads: type octile"),
    ("height 5", "height five", "height", "Give a whole number"),
    ("height 5", "height 0", "height", "Give a whole number"),
    ("height 5", "5", "height", "Line 2 reads: height H"),
    ("width 9", "width -9", "width", "Give a whole number"),
    ("\nmap\n", "\nmaps\n", "map", "Line 4 reads: map"),
]


@pytest.mark.parametrize(("old", "new", "field", "remedy"), BAD_HEADERS)
def test_a_bad_header_is_named(old: str, new: str, field: str, remedy: str) -> None:
    (problem,) = problems_of(MAP.replace(old, new))
    assert problem.field == field
    assert remedy in problem.remedy


def test_an_empty_file_is_no_map() -> None:
    assert [problem.field for problem in problems_of("")] == ["type", "height", "width", "map"]


def test_a_truncated_map_names_the_row_where_it_ends() -> None:
    (problem,) = problems_of("\n".join(MAP.split("\n")[:7]) + "\n")
    assert problem.field == "row 3"
    assert "height says 5 rows, row 3 is missing and the file ends" in problem.message


def test_a_map_cut_off_inside_a_row_names_that_row() -> None:
    problems = problems_of(MAP[: MAP.index("@..@@.@") + 4])
    assert problems[0].field == "row 3"
    assert "4 characters, width says 9 and the file ends there: it was cut off" in problems[0].message
    assert problems[0].line == 8


def test_a_row_of_the_wrong_width_and_a_strange_character_are_both_named() -> None:
    problems = problems_of(MAP.replace("@......T@", "@......T@@").replace("@..@....@", "@..@..x.@"))
    assert [(problem.field, problem.line) for problem in problems] == [("row 1", 6), ("row 2", 7)]
    assert problems[0].value == "'x'"
    assert "column 6" in problems[0].message


def test_rows_beyond_the_height_are_refused() -> None:
    assert "one more than height says" in problems_of(MAP + "@@@@@@@@@\n")[0].message


def test_a_map_without_open_cells_is_refused() -> None:
    assert "no cell is open" in problems_of("type octile\nheight 1\nwidth 2\nmap\n@@\n")[0].message


def test_a_map_that_claims_to_be_huge_is_refused_at_once() -> None:
    assert "1,000,000" in problems_of("type octile\nheight 99999\nwidth 99999\nmap\n@\n")[0].message


TASKS = "version 1\n0\tx.map\t9\t5\t1\t1\t5\t4\t7\n2 x.map 9 5 2 2 4 2 2.41\n\n"


def test_a_scenario_is_its_tasks_in_order() -> None:
    assert read_scenario(TASKS) == [Task((1, 1), (5, 4), 7.0), Task((2, 2), (4, 2), 2.41)]


BAD_TASKS = [
    ("version 1\n", "", "version", "not a scenario", 1),
    ("1\t1\t5", "1\tone\t5", "task", "no number", 2),
    ("\t7\n", "\n", "task", "8 fields, not 9", 2),
    ("1\t1\t5", "9\t1\t5", "start", "outside the map of 9 x 5", 2),
    ("4 2 2.41", "4 5 2.41", "goal", "outside the map", 3),
    ("4 2 2.41", "4 4 2.41", "goal", "blocked on this floor", 3),
    ("9 5 2 2", "9 6 2 2", "task", "this floor has 9 x 5", 3),
]


@pytest.mark.parametrize(("old", "new", "field", "message", "line"), BAD_TASKS)
def test_a_bad_task_is_named_with_its_line(old: str, new: str, field: str, message: str, line: int) -> None:
    floor = from_moving_ai(MAP, largest_only=True)
    with pytest.raises(FloorError) as caught:
        read_scenario(TASKS.replace(old, new), floor)
    problem = caught.value.problems[0]
    assert (problem.field, problem.line) == (field, line)
    assert message in problem.message


def test_a_scenario_without_tasks_is_refused() -> None:
    with pytest.raises(FloorError, match="the scenario has none"):
        read_scenario("version 1\n")


def test_the_warehouse_imports_whole_and_round_trips(shared_data: Callable[[str], Path]) -> None:
    floor = from_moving_ai(shared_data(WAREHOUSE).read_text())
    assert (floor.width, floor.height, len(floor.zones)) == (161, 63, 5_699)
    text = floor.to_yaml()
    assert len(text) < 12_000, "a zone per cell must not be written out cell by cell"
    assert Floor.parse(text) == floor
    assert check(floor).passed


def test_the_warehouses_aisles_become_zones(shared_data: Callable[[str], Path]) -> None:
    floor = from_moving_ai(shared_data(WAREHOUSE).read_text(), aisles=True)
    sizes = [len(zone.cells) for name, zone in floor.zones.items() if name.startswith("A_")]
    assert (sizes.count(10), sizes.count(2), len(sizes)) == (210, 180, 390)
    assert Floor.parse(floor.to_yaml()) == floor
    assert check(floor).passed


def test_routes_on_the_warehouse_are_as_short_as_the_scenario_says(shared_data: Callable[[str], Path]) -> None:
    floor = from_moving_ai(shared_data(WAREHOUSE).read_text())
    router = Router(floor)
    tasks = read_scenario(shared_data(SCENARIO).read_text(), floor)
    assert len(tasks) == 1_000
    assert all(len(router.cells(task.start, task.goal)) - 1 == task.length for task in tasks)

"""Every way in which a floor file can be wrong, each told with its field, its value, its line and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from floor.builders import GOOD, only_problem_of, problems_of, spoiled

from coordinator.floor import Floor, FloorError
from coordinator.floor.grid import MAX_CELLS


def test_the_good_floor_reads() -> None:
    floor = Floor.parse(GOOD)
    assert (floor.width, floor.height, len(floor.zones)) == (7, 5, 3)


# Old text, new text; the field, value, and words of the message and of the remedy that are expected.
BAD_FIELDS = [
    (
        "format: zonelock.floor/1",
        "format: zonelock.floor/2",
        "format",
        "'zonelock.floor/2'",
        "not a format",
        "zonelock.floor/1",
    ),
    ("format: zonelock.floor/1\n", "", "format", "", "missing", "Write format: zonelock.floor/1"),
    ("site: demo", "site: my site", "site", "'my site'", "not a usable name", "1 to 64"),
    ("version: 3", "version: 0", "version", "0", "at least 1", "Give 1"),
    ("version: 3", "version: '3'", "version", "'3'", "not a whole number", "without quotes"),
    ("version: 3\n", "", "version", "", "missing", "raise it with every change"),
    ("cell_mm: 1000", "cell_mm: -5", "cell_mm", "-5", "at least 1", "millimetres"),
    ("cell_mm: 1000", "cell_mm: 0.5", "cell_mm", "0.5", "not a whole number", "decimal point"),
    ("capacity: 2", "capacity: 0", "zones.Z_02.capacity", "0", "at least 1", "Give 1 or more"),
    ("capacity: 2", "capacity: true", "zones.Z_02.capacity", "True", "not a whole number", "digits"),
    ("capacity: 2", "capacity: 9", "zones.Z_02.capacity", "9", "more agents than the zone has cells (3)", "Give 1..3"),
    ("capacity: 2", "capcity: 2", "zones.Z_02.capcity", "2", "unknown key", "Did you mean capacity?"),
    ("areas:", "colour: red\nareas:", "colour", "'red'", "unknown key", "Known here: format"),
    ("{hold_max_ms: 20000}", "{hold_ms: 2}", "defaults.hold_ms", "2", "unknown key", "Did you mean hold_max_ms?"),
    ("hold_max_ms: 30000", "hold_max_ms: 0", "zones.Z_03.hold_max_ms", "0", "at least 1", "in milliseconds"),
    ("hold_max_ms: 30000", "hold_max_ms: -1", "zones.Z_03.hold_max_ms", "-1", "at least 1", "in milliseconds"),
    ("stop_group: east", "stop_group: ''", "zones.Z_02.stop_group", "''", "not a usable name", "A-Z"),
    ("dwell_ms: 1500", "dwell_ms: -1", "stations.press.dwell_ms", "-1", "at least 0", "in milliseconds"),
    ("dwell_ms: 1500", "dwell_ms: soon", "stations.press.dwell_ms", "'soon'", "not a whole number", "digits"),
    ("speed_mm_s: 500", "speed_mm_s: 0", "agent_kinds.arm.speed_mm_s", "0", "at least 1", "per second"),
    ("braking_mm_s2: 2000, ", "", "agent_kinds.arm.braking_mm_s2", "", "missing", "Add braking_mm_s2"),
    ("[Z_01, Z_02]", "[Z_01, Z_22]", "areas.north[1]", "'Z_22'", "no such zone", "Did you mean Z_02?"),
    ("[Z_01, Z_02]", "[Z_01, Z_01]", "areas.north[1]", "'Z_01'", "named twice", "Name it once"),
    ("[Z_01, Z_02]", "[]", "areas.north", "[]", "at least 1 item", "docs/floor.md"),
    ("north:", "Z_01:", "areas.Z_01", "", "a zone has this name too", "rename one"),
    ("north:", "a/b:", "areas.a/b", "'a/b'", "not a usable name", "Use 1 to 64"),
    ("cell: [3, 2]", "cell: [2, 2]", "stations.press.cell", "[2, 2]", "blocked", "open cell"),
    ("cell: [3, 2]", "cell: [30, 2]", "stations.press.cell", "[30, 2]", "outside the grid of 7 x 5", "0..6"),
    ("bay: [1, 3]", "bay: [0, 0]", "parking.bay", "[0, 0]", "blocked", "open cell"),
    (
        "bay: [1, 3]",
        "bay: [1, 3]\n  nook: [1, 3]",
        "parking.nook",
        "[1, 3]",
        "bay has this cell too",
        "cell of its own",
    ),
    ("base: [2, 2]", "base: [3, 2]", "arms.Arm_14.base", "[3, 2]", "open", "blocked cell"),
    ("zones: [Z_03]", "zones: [Z_9]", "arms.Arm_14.zones[0]", "'Z_9'", "no such zone", "Z_0"),
    ("zones: [Z_03]", "zones: [Z_03], kind: crane", "arms.Arm_14.kind", "'crane'", "no such agent kind", "agv"),
    ("Press: [[4, 2]]", "Press: [[4, 1, 1, 2]]", "machines.Press[0]", "(4, 1)", "open cell", "Block it"),
    ("Press: [[4, 2]]", "Press: [[4, 2, 9, 1]]", "machines.Press[0]", "[4, 2, 9, 1]", "outside the grid", "0..6"),
    ("[5, 2]]", "[5, 2, 1]]", "zones.Z_02.cells[1]", "[5, 2, 1]", "2 or 4 numbers", "[x, y, width, height]"),
    ("[5, 2]]", "[5, 2, 0, 1]]", "zones.Z_02.cells[1]", "[5, 2, 0, 1]", "count cells", "1 or more"),
    ("[5, 2]]", "[5, -2]]", "zones.Z_02.cells[1][1]", "-2", "at least 0", "Give 0"),
    ("[5, 2]]", "[5, 2], [5, 4, 1, 9]]", "zones.Z_02.cells[2]", "[5, 4, 1, 9]", "outside the grid", "y within 0..4"),
    ("[5, 2]]", "[5, 2], [4, 2], [0, 0]]", "zones.Z_02.cells", "(4, 2), (0, 0)", "2 cells are blocked", "open them"),
]


@pytest.mark.parametrize(("old", "new", "field", "value", "message", "remedy"), BAD_FIELDS)
def test_a_bad_field_is_named_with_value_and_remedy(
    old: str, new: str, field: str, value: str, message: str, remedy: str
) -> None:
    problem = only_problem_of(spoiled((old, new)))
    assert (problem.field, problem.value) == (field, value)
    assert message in problem.message
    assert remedy in problem.remedy


def test_a_problem_names_its_line() -> None:
    assert (
        only_problem_of(spoiled(("capacity: 2", "capacity: 0"))).line
        == GOOD[: GOOD.index("capacity: 2")].count("\n") + 1
    )


def test_overlapping_zones_are_both_named_with_the_cell() -> None:
    problem = only_problem_of(spoiled(("[1, 3, 5, 1]", "[1, 3, 5, 1], [5, 2]")))
    assert problem.value == "(5, 2)"
    assert "Z_02 and Z_03 overlap in cell (5, 2)" in problem.message


def test_many_overlapping_cells_are_one_problem() -> None:
    problem = only_problem_of(spoiled(("[[1, 1, 3, 1]]", "[[1, 1, 4, 1], [5, 2]]")))
    assert "Z_01 and Z_02 overlap in 2 cells" in problem.message


def test_open_cells_in_no_zone_are_one_problem_a_region_with_the_patch_to_add() -> None:
    problem = only_problem_of(spoiled(("  Z_01: {cells: [[1, 1, 3, 1]]}\n", ""), ("[Z_01, Z_02]", "[Z_02]")))
    assert problem.value == "(1, 1), (2, 1), (3, 1)"
    assert "3 cells in no zone" in problem.message
    assert "cells: [[1, 1, 3, 1]]" in problem.remedy


def test_a_cell_that_cannot_be_reached_is_named_with_its_zone() -> None:
    problem = only_problem_of(spoiled(("#>>.>v#", "#>>>>v#")))
    assert (problem.field, problem.value) == ("grid", "(3, 2)")
    assert "cell (3, 2) (zone Z_03) cannot be reached" in problem.message


def test_a_cell_behind_a_wall_cannot_be_reached() -> None:
    text = GOOD.replace("#######\ndefaults", "#######\n  #.....#\n  #######\ndefaults").replace(
        "areas:", "  Z_04: {cells: [[1, 5, 5, 1]]}\nareas:"
    )
    problem = only_problem_of(text)
    assert "5 cells (zone Z_04) cannot be reached" in problem.message


def test_a_one_way_street_without_a_way_out_is_named() -> None:
    problem = only_problem_of(
        "format: zonelock.floor/1\nsite: a\nversion: 1\ncell_mm: 1000\ngrid: ['...>.']\nzone_per_cell: {}\n"
    )
    assert problem.value == "(3, 0), (4, 0)"
    assert "2 cells (zone c_3_0, c_4_0) can be entered but never left" in problem.message


def test_a_zone_named_twice_is_named_with_both_lines() -> None:
    problems = problems_of(spoiled(("  Z_02:", "  Z_01: {cells: [[1, 2]]}\n  Z_02:")))
    assert problems[0].field == "zones.Z_01"
    assert "named twice, here and in line 13" in problems[0].message
    assert problems[0].line == 14


@pytest.mark.parametrize("name", ["a/b", "'a b'", "''", "x" * 65, "12", "yes", "Zürich"])
def test_a_zone_name_that_would_break_keys_is_refused(name: str) -> None:
    problems = problems_of(spoiled(("Z_02:", f"{name}:"), (", Z_02]", "]")))
    assert [problem.message for problem in problems] == ["not a usable name"]


def test_ragged_rows_are_named() -> None:
    problem = only_problem_of(spoiled(("#^#.#v#", "#^#.#v")))
    assert problem.field == "grid[2]"
    assert "row 2 has 6 cells, most rows have 7" in problem.message
    assert problem.line == 8


def test_a_strange_character_in_the_grid_is_named_with_its_place() -> None:
    problem = only_problem_of(spoiled(("#^#.#v#", "#^#x#v#")))
    assert (problem.field, problem.value) == ("grid[2]", "'x'")
    assert "row 2, column 3" in problem.message


def test_a_grid_without_open_cells_is_refused() -> None:
    assert (
        "no cell is open"
        in problems_of("format: zonelock.floor/1\nsite: a\nversion: 1\ncell_mm: 9\ngrid: ['##']\n")[0].message
    )


def test_a_grid_that_is_too_large_is_refused_before_it_is_walked() -> None:
    side = 1_001
    rows = "".join(f"  {'.' * side}\n" for _ in range(side))
    problem = only_problem_of(
        f"format: zonelock.floor/1\nsite: a\nversion: 1\ncell_mm: 9\ngrid: |\n{rows}zone_per_cell: {{}}\n"
    )
    assert f"{MAX_CELLS:,}" in problem.remedy


def test_a_zone_per_cell_must_not_take_a_named_zones_name() -> None:
    text = spoiled(("  Z_01: {cells: [[1, 1, 3, 1]]}\n", "  c_1_1: {cells: [[2, 1, 2, 1]]}\n"), ("[Z_01, ", "["))
    problem = only_problem_of(text + "zone_per_cell: {}\n")
    assert problem.field == "zones.c_1_1"


def test_a_zone_of_one_cell_holds_one_agent() -> None:
    text = spoiled(("  Z_01: {cells: [[1, 1, 3, 1]]}\n", ""), ("[Z_01, ", "["))
    assert only_problem_of(text + "zone_per_cell: {capacity: 2}\n").field == "zone_per_cell.capacity"


def test_all_problems_are_reported_together_in_the_order_of_the_file() -> None:
    problems = problems_of(
        spoiled(
            ("version: 3\n", ""),
            ("capacity: 2", "capacity: 0, colour: 3"),
            ("[1, 3, 5, 1]", "[1, 3, 5, 1], [1, 1], [1, 2, 3]"),
            ("[Z_01, Z_02]", "[Z_1]"),
            ("dwell_ms: 1500", "dwell_ms: -4"),
            ("cell: [3, 2]", "cell: [2, 2]"),
            ("#^<<<<#", "#^.<<<#"),
            ("base: [2, 2], ", ""),
        )
    )
    assert [problem.field for problem in problems] == [
        "version",
        "zones.Z_02.capacity",
        "zones.Z_02.colour",
        "zones.Z_03.cells[3]",
        "zones.Z_03.cells",
        "areas.north[0]",
        "stations.press.dwell_ms",
        "stations.press.cell",
        "arms.Arm_14.base",
    ]


def test_the_text_of_an_error_is_bounded() -> None:
    names = ", ".join(f"n_{n}" for n in range(500))
    with pytest.raises(FloorError) as caught:
        Floor.parse(spoiled(("[Z_01, Z_02]", f"[{names}]")), "floor.yaml")
    assert len(caught.value.problems) == 500
    text = str(caught.value)
    assert text.startswith("floor.yaml: 500 problems\n")
    assert text.endswith("... and 460 more; mend these first")


SYNTAX = [
    ("zones: [1", 1, "expected ',' or ']'"),
    ("site: demo\n\tgrid: 3\n", 2, "Indent with spaces, not tabs"),
    ("a: &a [*a]\n", 1, "contains itself"),
    ("a: *nothing\n", 1, "alias"),
    ("site: 'demo\n", 1, "quoted scalar"),
    ("a: b: c\n", 1, "mapping values are not allowed"),
    ("a: !!python/object:os.system x\n", 1, "could not determine a constructor"),
]


@pytest.mark.parametrize(("text", "line", "words"), SYNTAX)
def test_a_syntax_error_is_told_with_its_line(text: str, line: int, words: str) -> None:
    problem = only_problem_of(text)
    assert problem.line == line
    assert words in str(problem)


@pytest.mark.parametrize("text", ["", "# nothing\n", "- a\n- b\n", "floor", "42"])
def test_a_text_that_is_no_mapping_is_refused(text: str) -> None:
    assert "not a floor" in only_problem_of(text).message


def test_aliases_that_would_grow_without_bound_are_refused() -> None:
    levels = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]\n" for n in range(1, 10))
    assert "aliases are written out" in only_problem_of(f"l0: &l0 [1, 2]\n{levels}").message


def test_control_characters_are_refused_as_no_yaml() -> None:
    assert "not YAML" in only_problem_of("site: \x00\n").message


def test_a_missing_file_is_a_floor_error(tmp_path: Path) -> None:
    with pytest.raises(FloorError, match="does not exist"):
        Floor.load(tmp_path / "nowhere.yaml")


def test_a_folder_is_no_floor(tmp_path: Path) -> None:
    with pytest.raises(FloorError, match="cannot be read"):
        Floor.load(tmp_path)


def test_a_file_that_is_no_text_is_a_floor_error(tmp_path: Path) -> None:
    path = tmp_path / "floor.yaml"
    path.write_bytes(b"site: \xff\xfe\n")
    with pytest.raises(FloorError, match="not UTF-8 text at byte 6"):
        Floor.load(path)

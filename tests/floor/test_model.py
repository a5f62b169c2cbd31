"""What a floor knows once it is read."""

from __future__ import annotations

import pytest
from floor.builders import GOOD, spoiled

from coordinator.floor import AgentKind, Arm, Floor, Station


@pytest.fixture(scope="module")
def floor() -> Floor:
    return Floor.parse(GOOD)


def test_defaults_fill_what_a_zone_leaves_out(floor: Floor) -> None:
    first, second = floor.zones["Z_01"], floor.zones["Z_02"]
    assert (first.capacity, first.stop_group, first.hold_max_ms, first.margin_mm) == (1, "floor", 20_000, 1_000)
    assert (second.capacity, second.stop_group, second.hold_max_ms) == (2, "east", 20_000)


def test_zones_list_their_cells_row_by_row(floor: Floor) -> None:
    assert floor.zones["Z_02"].cells == ((4, 1), (5, 1), (5, 2))


def test_a_cell_is_found_in_its_zone_and_a_blocked_one_in_none(floor: Floor) -> None:
    assert floor.zone_at(5, 2) == "Z_02"
    assert floor.zone_at(0, 0) is None
    assert floor.zone_at(-1, 99) is None


def test_a_point_on_a_line_belongs_to_the_cell_right_of_or_below_it(floor: Floor) -> None:
    assert floor.zone_at_mm(3_999, 1_000) == "Z_01"
    assert floor.zone_at_mm(4_000, 1_000) == "Z_02"
    assert floor.zone_at_mm(1_500, 999) is None


def test_a_box_touches_every_zone_that_it_reaches_into(floor: Floor) -> None:
    assert floor.zones_touched_mm(3_000, 1_000, 4_000, 2_000) == ("Z_01",)
    assert floor.zones_touched_mm(3_000, 1_000, 4_001, 2_000) == ("Z_01", "Z_02")
    assert floor.zones_touched_mm(1_000, 1_500, 2_000, 2_500) == ("Z_01", "Z_03")


def test_the_centre_of_a_cell_lies_in_it(floor: Floor) -> None:
    assert floor.cell_centre_mm(3, 2) == (3_500, 2_500)


def test_neighbours_share_an_edge_whatever_the_arrows_say(floor: Floor) -> None:
    assert floor.neighbours("Z_02") == ("Z_01", "Z_03")
    with pytest.raises(KeyError):
        floor.neighbours("Z_99")


def test_moves_obey_arrows(floor: Floor) -> None:
    assert floor.moves(1, 1) == ((2, 1),)
    assert floor.moves(3, 1) == ((4, 1), (3, 2)), "an open cell is left to any side but against an arrow"
    assert floor.moves(0, 0) == ()


def test_the_spec_is_sorted_and_carries_the_hash(floor: Floor) -> None:
    spec = floor.spec()
    assert (spec.site, spec.version, spec.hash) == ("demo", 3, floor.hash)
    assert [(zone.name, zone.capacity, zone.stop_group, zone.hold_max_ms) for zone in spec.zones] == [
        ("Z_01", 1, "floor", 20_000),
        ("Z_02", 2, "east", 20_000),
        ("Z_03", 1, "floor", 30_000),
    ]
    assert spec.areas == (("north", ("Z_01", "Z_02")),)
    assert spec.agent_kinds == ("agv", "arm")


def test_places_arms_and_machines_are_typed(floor: Floor) -> None:
    assert floor.stations == {"press": Station("press", (3, 2), 1_500)}
    assert floor.parking == {"bay": (1, 3)}
    assert floor.arms == {"Arm_14": Arm("Arm_14", "arm", (2, 2), ("Z_03",), 4_000, 12_000)}
    assert floor.machines == {"Press": ((4, 2),)}
    assert floor.agent_kinds["arm"] == AgentKind("arm", 500, 2_000, 1_500, 200, 50, 100)
    assert floor.stop_groups == ("east", "floor")


SAME = [
    ("cells: [[1, 1, 3, 1]]", "cells: [[3, 1], [1, 1], [2, 1]]"),
    ("cells: [[1, 1, 3, 1]]", "cells: [[1, 1, 3, 1]], capacity: 1, stop_group: floor"),
    ("defaults: {hold_max_ms: 20000}", "defaults: {hold_max_ms: 20000, margin_mm: 1000}"),
    ("[Z_01, Z_02]", "[Z_02, Z_01]"),
    ("site: demo", "description: anything\nsite: demo"),
    ("Press: [[4, 2]]", "Press: [[4, 2, 1, 1]]"),
]


@pytest.mark.parametrize(("old", "new"), SAME)
def test_the_hash_does_not_depend_on_how_a_floor_is_written(floor: Floor, old: str, new: str) -> None:
    other = Floor.parse(spoiled((old, new)))
    assert other.hash == floor.hash
    assert other == floor
    assert len({other, floor}) == 1


DIFFERENT = [
    ("site: demo", "site: other"),
    ("version: 3", "version: 4"),
    ("cell_mm: 1000", "cell_mm: 1001"),
    ("#>>.>v#", "#>..>v#"),
    ("hold_max_ms: 20000", "hold_max_ms: 20001"),
    ("capacity: 2", "capacity: 1"),
    ("stop_group: east", "stop_group: west"),
    ("hold_max_ms: 30000", "hold_max_ms: 30000, margin_mm: 1"),
    ("[[1, 1, 3, 1]]", "[[1, 1, 2, 1]]"),
    ("north:", "south:"),
    ("speed_mm_s: 1000", "speed_mm_s: 1001"),
    ("dwell_ms: 1500", "dwell_ms: 1501"),
    ("bay: [1, 3]", "bay: [2, 3]"),
    ("zones: [Z_03]", "zones: [Z_03], cycle_ms: 1"),
    ("Press: [[4, 2]]", "Punch: [[4, 2]]"),
]


@pytest.mark.parametrize(("old", "new"), DIFFERENT)
def test_the_hash_changes_with_what_the_floor_says(floor: Floor, old: str, new: str) -> None:
    changes = [(old, new)]
    if new == "[[1, 1, 2, 1]]":
        changes.append(("[4, 1, 2, 1]", "[3, 1, 3, 1]"))
    assert Floor.parse(spoiled(*changes)).hash != floor.hash


def test_the_hash_is_the_same_on_every_machine(floor: Floor) -> None:
    assert floor.hash == "615c9c1f8bef8e4fb6861bf1986dcfc04705e6bd5683f17d05d3e7a9a73a0121"


def test_zone_per_cell_makes_a_zone_of_every_cell_left_over() -> None:
    text = spoiled(("  Z_01: {cells: [[1, 1, 3, 1]]}\n", ""), ("[Z_01, Z_02]", "[c_1_1, Z_02]"))
    floor = Floor.parse(text + "zone_per_cell: {stop_group: lane}\n")
    assert sorted(set(floor.zones) - {"Z_02", "Z_03"}) == ["c_1_1", "c_2_1", "c_3_1"]
    assert floor.zones["c_2_1"].cells == ((2, 1),)
    assert floor.zones["c_2_1"].stop_group == "lane"
    assert floor.zones["c_2_1"].hold_max_ms == 20_000


def test_a_floor_of_cells_equals_the_same_floor_written_out() -> None:
    head = "format: zonelock.floor/1\nsite: a\nversion: 1\ncell_mm: 500\ngrid: ['..', '#.']\n"
    short = Floor.parse(head + "zone_per_cell: {}\n")
    long = Floor.parse(head + "zones: {c_0_0: {cells: [[0, 0]]}, c_1_0: {cells: [[1, 0]]}, c_1_1: {cells: [[1, 1]]}}\n")
    assert short == long

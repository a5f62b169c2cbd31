"""Any floor, written and read again, is the same floor."""

from __future__ import annotations

from typing import Any

from floor.builders import GOOD
from hypothesis import given
from hypothesis import strategies as st

from coordinator.floor import Floor
from coordinator.floor.document import FORMAT, FloorDocument
from coordinator.floor.grid import Grid, as_patches, patch_cells
from coordinator.floor.survey import main_part

NAMES = st.from_regex(r"[A-Za-z0-9_.:-]{1,12}", fullmatch=True)
MS = st.integers(1, 86_400_000)


@st.composite
def grids(draw: st.DrawFn) -> list[str]:
    """Random cells, arrows included, of which only the largest part that can be driven is kept open."""
    width, height = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    rows = [draw(st.text("...........#@T<>^v", min_size=width, max_size=width)) for _ in range(height)]
    if all(mark in "#@T" for row in rows for mark in row):
        rows[0] = "." + rows[0][1:]
    kept = main_part(Grid(tuple(rows)))
    return ["".join(mark if (x, y) in kept else "#" for x, mark in enumerate(row)) for y, row in enumerate(rows)]


@st.composite
def documents(draw: st.DrawFn) -> FloorDocument:
    rows = draw(grids())
    cells = list(Grid(tuple(rows)).open_cells())
    count = draw(st.integers(0, min(4, len(cells))))
    names = draw(
        st.lists(
            NAMES.filter(lambda name: not name.startswith("auto_")), min_size=count + 1, max_size=count + 1, unique=True
        )
    )
    owners = [draw(st.integers(0, count)) for _ in cells]
    zones: dict[str, Any] = {}
    for number in range(1, count + 1):
        own = [cell for cell, owner in zip(cells, owners, strict=True) if owner == number]
        if own:
            entry: dict[str, Any] = {"cells": as_patches(own), "capacity": draw(st.integers(1, len(own)))}
            optional = {"stop_group": NAMES, "hold_max_ms": MS, "margin_mm": st.integers(0, 5_000)}
            entry |= {key: draw(value) for key, value in optional.items() if draw(st.booleans())}
            zones[names[number]] = entry
    return FloorDocument.model_validate(
        {
            "format": FORMAT,
            "site": draw(NAMES),
            "version": draw(st.integers(1, 10**6)),
            "description": draw(st.text(st.characters(codec="utf-8"), max_size=40)),
            "cell_mm": draw(st.integers(1, 10_000)),
            "grid": rows,
            "defaults": {"stop_group": draw(NAMES), "hold_max_ms": draw(MS)} if draw(st.booleans()) else {},
            "zones": zones,
            "zone_per_cell": {"prefix": "auto", "capacity": 1},
            "areas": {names[0]: list(zones)} if zones else {},
            "stations": {
                name: {"cell": draw(st.sampled_from(cells))} for name in draw(st.lists(NAMES, max_size=2, unique=True))
            },
            "parking": {"yes": draw(st.sampled_from(cells))} if draw(st.booleans()) else {},
        }
    )


@given(documents())
def test_a_floor_that_is_written_reads_back_equal_with_the_same_hash(document: FloorDocument) -> None:
    floor = Floor.from_document(document)
    again = Floor.parse(floor.to_yaml())
    assert again.hash == floor.hash
    assert again.document == floor.document
    assert again.to_yaml() == floor.to_yaml()


@given(documents())
def test_zones_partition_the_open_cells_of_any_floor(document: FloorDocument) -> None:
    floor = Floor.from_document(document)
    covered = [cell for zone in floor.zones.values() for cell in zone.cells]
    assert sorted(covered) == sorted(floor.grid.open_cells())
    assert all(floor.zone_at(*cell) == zone.name for zone in floor.zones.values() for cell in zone.cells)


@given(st.sets(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=60))
def test_patches_cover_exactly_the_cells_they_were_made_of(cells: set[tuple[int, int]]) -> None:
    covered = [cell for patch in as_patches(cells) for cell in patch_cells(patch)]
    assert sorted(covered) == sorted(cells)


def test_a_written_floor_keeps_the_picture_and_one_line_per_zone() -> None:
    text = Floor.parse(GOOD).to_yaml()
    assert "grid: |\n  #######\n  #>>.>v#\n" in text
    assert "\n  Z_02: {cells: [[4, 1, 2, 1], [5, 2]], capacity: 2, stop_group: east}\n" in text

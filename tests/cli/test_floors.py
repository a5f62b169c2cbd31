"""`floor import`, `floor example` and `check`: what is written, what is printed, and how bad files are answered."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from cli.conftest import Run, failed, said
from click.testing import CliRunner
from zonelock_cli.main import cli

MAP = "type octile\nheight 3\nwidth 4\nmap\n....\n.@@.\n....\n"

FLOOR = """
format: zonelock.floor/1
site: plant
version: 1
cell_mm: 1000
grid:
  - ".."
zones:
  left: {cells: [[0, 0]], margin_mm: 2000}
  right: {cells: [[1, 0]], margin_mm: 2000, stop_group: east}
agent_kinds:
  agv: {speed_mm_s: 2500, braking_mm_s2: 2500, length_mm: 900, width_mm: 600, detection_ms: 50, stop_latency_ms: 100}
"""


@pytest.fixture
def floor_file(tmp_path: Path) -> Path:
    path = tmp_path / "floor.yaml"
    path.write_text(FLOOR)
    return path


@pytest.fixture
def map_file(tmp_path: Path) -> Path:
    path = tmp_path / "ring.map"
    path.write_text(MAP)
    return path


def test_check_prints_the_budget_of_each_kind(run: Run, floor_file: Path) -> None:
    report = said(run("check", str(floor_file)))
    (budget,) = report["budgets"]
    assert report["passed"] is True
    assert (budget["reaction_mm"], budget["braking_mm"], budget["needed_mm"]) == (375, 1_250, 1_625)
    assert (budget["margin_mm"], budget["slack_mm"], budget["late_mm"]) == (2_000, 375, 250)
    assert budget["zones"] == ["left", "right"]
    shown = run("check", str(floor_file), "-o", "table").stdout
    for words in ("REACTION mm", "1625", "100 ms later, agv is 250 mm further on", "passes"):
        assert words in shown


def test_check_with_measured_times_fails_a_floor_that_they_break(run: Run, floor_file: Path) -> None:
    result = run("check", str(floor_file), "--stop-latency-ms", "400", "-o", "table")
    assert result.exit_code == 1
    assert "FAILS" in result.stdout
    assert "give margin_mm 2375" in result.stdout


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("left: {cells: [[0, 0]]", "left: {capacity: 0, cells: [[0, 0]]", ["zones.left.capacity", "0"]),
        ("[[1, 0]]", "[[0, 0]]", ["zones left and right overlap", "Give it to one of the two"]),
        ("site: plant", "sight: plant", ["sight", "site"]),
        ('".."', '"..#."', ["cannot be reached"]),
    ],
)
def test_check_names_field_value_and_remedy_of_what_is_wrong(
    run: Run, floor_file: Path, old: str, new: str, words: list[str]
) -> None:
    floor_file.write_text(FLOOR.replace(old, new))
    error = failed(run("check", str(floor_file)))
    assert (error["exit"], error["reason"]) == (6, "INVALID_FLOOR")
    for word in words:
        assert word in "\n".join(error["problems"])


@pytest.mark.parametrize("args", [["check"], ["floor", "import"]])
def test_a_file_that_is_not_there_is_invalid_input(run: Run, tmp_path: Path, args: list[str]) -> None:
    error = failed(run(*args, str(tmp_path / "none.yaml")))
    assert error["exit"] == 6
    assert "does not exist" in error["problems"][0]


def test_import_prints_a_floor_that_check_accepts(run: Run, map_file: Path, tmp_path: Path) -> None:
    result = run("floor", "import", str(map_file))
    assert result.exit_code == 0, result.output
    made = tmp_path / "made.yaml"
    made.write_text(result.stdout)
    assert said(run("check", str(made)))["zones"] == 10


def test_import_with_aisles_merges_runs(run: Run, map_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "made.yaml"
    summary = said(run("floor", "import", str(map_file), "--aisles", "--site", "north", "--out", str(out)))
    assert (summary["format"], summary["site"]) == ("map", "north")
    assert summary["zones"] < 10
    assert yaml.safe_load(out.read_text())["site"] == "north"


def test_import_reads_standard_input() -> None:
    result = CliRunner().invoke(cli, ["floor", "import", "-"], input=MAP)
    assert result.exit_code == 0
    assert yaml.safe_load(result.stdout)["format"] == "zonelock.floor/1"


def test_import_never_replaces_a_file_unasked(run: Run, map_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "made.yaml"
    out.write_text("precious")
    assert "--force" in failed(run("floor", "import", str(map_file), "--out", str(out)))["remedy"]
    assert out.read_text() == "precious"
    said(run("floor", "import", str(map_file), "--out", str(out), "--force"))
    assert out.read_text() != "precious"


def test_a_failed_import_leaves_nothing_behind(run: Run, map_file: Path, tmp_path: Path) -> None:
    map_file.write_text(MAP[:-5])
    out = tmp_path / "made.yaml"
    error = failed(run("floor", "import", str(map_file), "--out", str(out)))
    assert error["exit"] == 6
    assert "cut off" in "\n".join(error["problems"])
    assert sorted(os.listdir(tmp_path)) == ["ring.map"]


def test_import_into_a_missing_folder_fails_with_the_reason(run: Run, map_file: Path, tmp_path: Path) -> None:
    error = failed(run("floor", "import", str(map_file), "--out", str(tmp_path / "no" / "made.yaml")))
    assert (error["exit"], "cannot write" in error["message"]) == (1, True)


def test_lif_without_nodes_is_refused(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "layout.json"
    path.write_text('{"metaInformation": {}, "layouts": [{"layoutId": "a", "nodes": [], "edges": [], "stations": []}]}')
    error = failed(run("floor", "import", str(path)))
    assert error["exit"] == 6
    assert "nodes" in "\n".join(error["problems"])


def test_what_is_neither_map_nor_lif_is_refused_with_both_forms(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "something.txt"
    path.write_text("hello")
    error = failed(run("floor", "import", str(path)))
    assert (error["exit"], error["reason"]) == (6, "UNKNOWN_FORMAT")
    assert "type octile" in error["message"]
    assert "LIF" in error["message"]


def test_options_of_the_other_format_are_a_usage_error(run: Run, map_file: Path) -> None:
    result = run("floor", "import", str(map_file), "--two-way")
    assert result.exit_code == 2
    assert "--two-way means nothing" in result.stderr


def test_the_lif_example_imports_and_passes_check(run: Run, shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    out = tmp_path / "lif.yaml"
    said(run("floor", "import", str(shared_data("lif/example.lif.json")), "--out", str(out)))
    assert said(run("check", str(out)))["passed"] is True


def test_the_warehouse_map_imports_and_passes_check(
    run: Run, shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    out = tmp_path / "warehouse.yaml"
    summary = said(
        run("floor", "import", str(shared_data("mapf/warehouse-10-20-10-2-1.map")), "--aisles", "--out", str(out))
    )
    assert (summary["width"], summary["height"]) == (161, 63)
    assert said(run("check", str(out)))["passed"] is True


def test_the_bundled_floors_are_listed_and_printed(run: Run) -> None:
    names = run("floor", "example").stdout.split()
    for name in names:
        assert yaml.safe_load(run("floor", "example", name).stdout)["format"] == "zonelock.floor/1"
    assert failed_text(run("floor", "example", "moon"))


def failed_text(result: object) -> bool:
    return "no bundled floor is called 'moon'" in result.stderr and result.exit_code == 4  # type: ignore[attr-defined]

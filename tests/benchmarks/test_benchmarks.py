"""Every benchmark runs, in seconds and measuring nothing, and hands back the four keys that a script reads."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import page
from benchmarks.__main__ import NAMES, summary
from benchmarks.charts import Chart
from benchmarks.goals import GOALS
from benchmarks.report import Report, medians, percentile
from benchmarks.streams import WARM_S, Window

ABOUT: page.Document = {
    "machine": {
        "measured_at": "2026-11-20T11:00:00",
        "cores": 2,
        "processor": "x",
        "kernel": "6",
        "load_average_1_min": 0.1,
    },
    "versions": {"python": "3.11.7"},
}
CONTENDED = ("hand_over_p50_ms", "hand_over_p99_ms", "grants", "out_of_order_percent", "most_over_fewest_grants")
KEYS = {"machine", "versions", "figures", "ratios"}
needs_etcd = pytest.mark.skipif(shutil.which("etcd") is None, reason="etcd is not installed")


def smoke(name: str, repository: Path, *more: str) -> dict[str, dict[str, float]]:
    command = [sys.executable, "-m", "zonelock_cli", "bench", name, "--json", "--smoke", *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100, cwd=repository)
    assert done.returncode == 0, done.stderr
    document: dict[str, dict[str, float]] = json.loads(done.stdout)
    return document


def check(name: str, document: dict[str, dict[str, float]]) -> None:
    assert set(document) == KEYS
    figures, ratios = document["figures"], document["ratios"]
    assert figures["rounds"] == 1 and len(figures) > 1
    assert all(math.isfinite(value) for value in (*figures.values(), *ratios.values())), name
    assert ratios, f"{name} compares nothing"


@needs_etcd
def test_the_lock_benchmark_runs_from_the_command_line_and_answers_with_four_keys(repository: Path) -> None:
    document = smoke("locks", repository)
    check("locks", document)
    assert document["figures"]["fleet_frames_16_pairs_per_s"] > 0
    assert document["ratios"]["fleet_frames_16_pairs_per_s_over_etcd_lock"] > 0


@needs_etcd
@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in NAMES if n != "locks"])
def test_every_benchmark_runs_and_answers_with_four_keys(name: str, repository: Path) -> None:
    check(name, smoke(name, repository))


def test_every_benchmark_says_in_a_line_what_it_measures() -> None:
    for name in NAMES:
        assert 20 < len(summary(name)) < 140, name


@needs_etcd
def test_a_failover_has_its_history_judged_and_says_how_much_of_it(repository: Path) -> None:
    figures = smoke("failover", repository, "--only", "sigterm")["figures"]
    assert figures["sigterm_rounds"] == 1 and figures["sigterm_history_lines_judged"] > 100
    assert (figures["violations"], figures["stops"]) == (0, 0)
    assert "sigkill_rounds" not in figures


def test_a_part_that_no_benchmark_has_is_named_with_those_there_are(repository: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "failover", "--only", "sigtrem"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=repository)
    assert done.returncode == 2
    assert "sigtrem" in done.stderr and "sigterm" in done.stderr


def test_an_unknown_benchmark_is_named_with_those_there_are(repository: Path) -> None:
    command = [sys.executable, "-m", "zonelock_cli", "bench", "lokcs"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=repository)
    assert done.returncode == 2
    assert "lokcs" in done.stderr and "locks" in done.stderr


def test_without_a_checkout_the_command_says_where_benchmarks_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zonelock_cli.commands import measuring
    from zonelock_cli.failures import Failure

    monkeypatch.setattr(measuring, "CHECKOUT", tmp_path)
    with pytest.raises(Failure, match="not installed with the package") as caught:
        measuring.bench.main(["locks"], standalone_mode=False)
    assert "make bench" in caught.value.remedy


def test_medians_and_percentiles_are_of_what_was_measured() -> None:
    assert medians([{"a_ms": 1.0}, {"a_ms": 9.0}, {"a_ms": 2.0}]) == {"a_ms": 2.0}
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([float(i) for i in range(1, 101)], 0.99) == 100.0
    assert math.isnan(percentile([], 0.5))


def test_a_report_carries_its_rounds_and_rounds_its_numbers() -> None:
    document = Report(2, {"put_ms": 1.234567}, {"a_over_b": 0.5}).as_json()
    assert document["figures"] == {"rounds": 2, "put_ms": 1.2346}
    assert document["ratios"] == {"a_over_b": 0.5}
    json.dumps(document)


def test_a_window_counts_only_what_ends_inside_it() -> None:
    window = Window(0.05)
    window.paired(1.0)
    assert window.pairs == 0, "still warming up"
    time.sleep(WARM_S)
    window.paired(1.0)
    time.sleep(0.05)
    window.paired(1.0)
    assert window.over() and window.pairs == 1


def test_the_page_takes_its_figures_from_a_folder_and_leaves_other_parts_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "CHARTS", tmp_path)
    figures = (
        {f"zonelock_{key}": 1.5 for key in CONTENDED} | {f"etcd_lock_{key}": 123.4 for key in CONTENDED} | {"rounds": 2}
    )
    document: page.Document = {"figures": figures, "ratios": {}, **ABOUT}
    text = "a\n<!-- measured: contended -->\nold\n<!-- end -->\nb\n<!-- measured: locks -->\nkept\n<!-- end -->\n"
    filled = page.fill(text, {"contended": document})
    assert "old" not in filled and "| hand-over, median, ms | 1.50 | 123 |" in filled
    assert "kept" in filled and filled.startswith("a\n") and "\nb\n" in filled
    assert page.fill(filled, {"contended": document}) == filled


def test_every_goal_belongs_to_a_benchmark_and_has_one_bound() -> None:
    for goal in GOALS:
        assert goal.benchmark in NAMES
        assert (goal.at_least is None) != (goal.at_most is None), goal.says
    assert GOALS[0].met(1.3) and not GOALS[0].met(1.2)


def test_a_chart_is_xml_with_a_line_and_a_name_for_each_series() -> None:
    chart = Chart("times", "agents", "ms", {"a <b>": [(1, 2.0), (16, 3.0)], "c": [(1, 200.0), (16, math.nan)]})
    root = ElementTree.fromstring(chart.svg())
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"times", "a <b>", "c", "1", "16"} <= set(texts)
    assert len(list(root.iter("{http://www.w3.org/2000/svg}circle"))) == 3

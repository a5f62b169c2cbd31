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

from benchmarks import failover, page
from benchmarks.__main__ import NAMES, summary
from benchmarks.charts import Chart, Span, Spans
from benchmarks.goals import GOALS
from benchmarks.report import Report, medians, percentile
from benchmarks.soak import TENTHS, Sample, course
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
SVG = "{http://www.w3.org/2000/svg}"
OLD_SOAK = {"rounds": 1, "resident_after_warm_up_mb": 100.0, "resident_most_mb": 101.0, "worst_loop_pause_ms": 20.0}
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


def texts_of(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_a_bound_is_drawn_across_a_chart_and_even_steps_are_even() -> None:
    line = [(10.0, 5.0), (20.0, 6.0), (30.0, 7.0)]
    svg = Chart("t", "%", "", {"pause": line}, {"at most 50": 50.0}, even=True).svg()
    circles = [float(c.attrib["cx"]) for c in ElementTree.fromstring(svg).iter(f"{SVG}circle")]
    assert circles[2] - circles[1] == pytest.approx(circles[1] - circles[0])
    assert "at most 50" in texts_of(svg) and "stroke-dasharray" in svg


def test_spans_tell_figures_and_goals_and_leave_out_what_was_not_measured() -> None:
    known = {"least": 190.0, "p50": 233.0, "p90": 250.0, "p99": 258.0, "most": 260.0}
    rows = [
        Span("killed & gone", known, {"p50": 300.0, "p99": 500.0}),
        Span("the peer", {"p50": 2291.0, "p99": 2297.0}, peer=True),
        Span("never", {"p50": math.nan, "p99": math.nan}),
    ]
    texts = texts_of(Spans("gaps", "ms", rows).svg())
    assert {"killed & gone", "p50 \u2264 300", "p99 \u2264 500", "233 / 258", "2,291 / 2,297"} <= set(texts)
    assert {"p90", "least to most", "goal"} <= set(texts) and "never" not in texts
    few = texts_of(Spans("gaps", "ms", rows[1:]).svg())
    assert not {"p90", "least to most", "goal"} & set(few), "the legend explains only what is there"
    assert "gaps" in texts_of(Spans("gaps", "ms", rows[2:]).svg())


def test_a_failover_keeps_the_spread_of_its_gaps() -> None:
    outcome = failover.Outcome([0.1 * n for n in range(1, 11)], lines=5)
    document = failover.report(10, {"sigkill": outcome}, [2.0, 3.0]).as_json()
    figures = document["figures"]
    assert isinstance(figures, dict)
    kept = [figures[f"sigkill_gap_{what}_ms"] for what in ("least", "p50", "p90", "p99", "most")]
    assert kept == [100, 550, 1000, 1000, 1000]
    assert figures["etcd_election_gap_most_ms"] == 3000


def test_a_failover_is_drawn_beside_its_goals_with_as_much_as_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "CHARTS", tmp_path)
    figures = {f"{mode}_gap_{what}_ms": 200.0 for mode in ("sigkill", "etcd_election") for what in ("p50", "p99")}
    document: page.Document = {"figures": {"rounds": 30, **figures}, "ratios": {}, **ABOUT}
    assert "(performance/failover.svg)" in page.failover(document)
    texts = texts_of((tmp_path / "failover.svg").read_text(encoding="utf-8"))
    assert {"killed (SIGKILL)", "p50 \u2264 300", "p99 \u2264 500"} <= set(texts) and "p90" not in texts
    assert not any("SIGSTOP" in text for text in texts), "was not measured"
    document["figures"] |= {f"sigkill_gap_{what}_ms": 250.0 for what in ("least", "p90", "most")}
    page.failover(document)
    assert "p90" in texts_of((tmp_path / "failover.svg").read_text(encoding="utf-8"))


def test_the_course_of_a_soak_has_figures_of_every_tenth(tmp_path: Path) -> None:
    seconds = [{"second": n, "late_ms": 1.0 + n, "busy_ms": 0.5, "collecting_ms": 0.1} for n in range(100, 200)]
    report = tmp_path / "loop"
    report.write_text("\n".join(map(json.dumps, seconds)), encoding="utf-8")
    tenths = [Sample(100.0 + 10 * n, 50.0 + n, 5.0 * n) for n in range(1, TENTHS + 1)]
    figures = course(tenths, report, 100.0)
    assert len(figures) == 3 * TENTHS
    assert figures["resident_at_10_percent_mb"] == 51 and figures["store_at_100_percent_mb"] == 50
    assert figures["worst_loop_pause_at_10_percent_ms"] == 110, "of second 109, the last before the tenth ended"
    assert figures["worst_loop_pause_at_100_percent_ms"] == 200


def test_a_soak_is_drawn_when_its_course_is_known_and_its_table_stays_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "CHARTS", tmp_path)
    document: page.Document = {"figures": dict(OLD_SOAK), "ratios": {}, **ABOUT}
    old = page.soak(document)
    assert ".svg" not in old and "| resident most mb | 101 |" in old and not list(tmp_path.iterdir())
    for share in range(10, 101, 10):
        for key in ("resident_at_{}_percent_mb", "store_at_{}_percent_mb", "worst_loop_pause_at_{}_percent_ms"):
            document["figures"][key.format(share)] = 20.0 + share
    new = page.soak(document)
    assert new.startswith(old) and "(performance/soak.svg)" in new
    texts = texts_of((tmp_path / "soak.svg").read_text(encoding="utf-8"))
    assert {"memory: at most 110 MB", "pause: at most 50 ms", "resident memory, MB", "10", "100"} <= set(texts)


def test_rates_of_sets_are_drawn_by_their_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "CHARTS", tmp_path)
    figures = {
        f"{key}_of_{zones}_zones_{what}": 100.0 / zones
        for key in ("fleet_frames", "agent_streams", "etcd_locks")
        for zones in (1, 16)
        for what in ("pairs_per_s", "acquire_p50_ms")
    }
    assert "(performance/wide.svg)" in page.wide({"figures": {"rounds": 2, **figures}, "ratios": {}, **ABOUT})
    assert "etcd Locks in turn" in texts_of((tmp_path / "wide.svg").read_text(encoding="utf-8"))

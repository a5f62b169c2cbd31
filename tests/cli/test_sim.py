"""`zonelock demo` and `zonelock sim`: a whole run in a few seconds, its one JSON line, and options that cannot work."""

from __future__ import annotations

import functools
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli.plant import error_of, eventually, zonelock
from click.testing import CliRunner
from zonelock_cli.commands.running import REPORT_KEYS, sim
from zonelock_sim.options import Report


def test_a_demo_of_a_few_seconds_ends_with_its_seven_figures() -> None:
    done = zonelock("demo", "--seconds", "4", "--json", "--listen", "127.0.0.1:0", "--web", "127.0.0.1:0")
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    report = json.loads(line)
    assert tuple(report) == REPORT_KEYS
    assert report["collisions"] == 0
    assert report["agents"] > 7, "seven vehicles and the floor's arms"
    assert report["grants"] > 0


def test_a_demo_for_people_says_where_to_look_and_what_to_try() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "zonelock_cli", "demo", "--listen", "127.0.0.1:0", "--web", "127.0.0.1:0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("Ctrl-C"):
            server = lines[0].split()[1]
            eventually(functools.partial(granted, server), "something is granted")
            process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    process.stdout.close()
    text = "".join(lines)
    for words in ("gRPC       127.0.0.1:", "floor map  http://127.0.0.1:", "export ZONELOCK_SERVER=", "collisions"):
        assert words in text


def granted(server: str) -> int:
    return int(json.loads(zonelock("status", "--server", server).stdout)["totals"]["grants"])


def test_sim_reports_everything_behind_the_demo_s_figures() -> None:
    done = zonelock("sim", "--seconds", "3", "--agents", "3", "--store", "sqlite", "--gateway", "--json", "--seed", "5")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert tuple(report)[: len(REPORT_KEYS)] == REPORT_KEYS
    assert (report["store"], report["gateway"], report["seed"], report["collisions"]) == ("sqlite", True, 5, 0)


def test_sim_drives_a_real_map(shared_data: Callable[[str], Path]) -> None:
    name = "warehouse-10-20-10-2-1"
    done = zonelock(
        *("sim", "--floor", str(shared_data(f"mapf/{name}.map")), "--aisles", "--json"),
        *("--scenario", str(shared_data(f"mapf/{name}-random-1.scen")), "--agents", "5", "--seconds", "3"),
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["collisions"] == 0


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["--incident", "explode:AGV_01"], 2, "explode"),
        (["--agents", "-1"], 2, "-1"),
        (["--seconds", "0"], 2, "0"),
        (["--listen", "nowhere"], 2, "not host:port"),
    ],
)
def test_demo_options_that_cannot_work_are_usage_errors(args: list[str], code: int, words: str) -> None:
    done = zonelock("demo", *args)
    assert done.returncode == code
    assert words in done.stderr


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["--store", "mysql"], 1, "mysql"),
        (["--incident", "stall:AGV_99", "--agents", "1"], 1, "AGV_99"),
        (["--floor", "none.yaml"], 6, "none.yaml"),
        (["--server", "127.0.0.1:1", "--seconds", "1"], 3, "127.0.0.1:1"),
    ],
)
def test_sim_options_that_cannot_work_start_nothing(args: list[str], code: int, words: str) -> None:
    done = zonelock("sim", "--json", *args)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    error = error_of(done)
    assert words in json.dumps(error)


def test_a_truncated_map_is_refused_before_a_coordinator_starts(tmp_path: Path) -> None:
    path = tmp_path / "cut.map"
    path.write_text("type octile\nheight 3\nwidth 4\nmap\n....\n.@")
    error = error_of(zonelock("sim", "--floor", str(path), "--json"))
    assert error["exit"] == 6
    assert "cut off" in json.dumps(error)


@pytest.mark.parametrize(
    ("outcome", "code"), [({}, 0), ({"collisions": 1}, 1), ({"deadlocks": 1}, 1), ({"deadlocks": 1, "naive": True}, 0)]
)
def test_a_standstill_for_good_fails_a_run_unless_it_is_run_to_show_that(
    monkeypatch: pytest.MonkeyPatch, outcome: dict[str, Any], code: int
) -> None:
    async def perform(*_: object) -> Report:
        return Report(virtual=True, **outcome)

    monkeypatch.setattr("zonelock_cli.stage.perform", perform)
    done = CliRunner().invoke(sim, ["--virtual", "--seconds", "5", "--json"])
    assert done.exit_code == code, done.output
    assert json.loads(done.stdout)["deadlocks"] == outcome.get("deadlocks", 0)


def test_a_virtual_run_without_an_end_says_what_would_end_it() -> None:
    done = zonelock("sim", "--virtual", "--json")
    assert done.returncode == 1
    assert error_of(done)["remedy"].startswith("Add --seconds N")

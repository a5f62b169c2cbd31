"""`zonelock hold` with real processes: who gets the zones, how the command ends, and what is left behind."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli.plant import Plant, alive, error_of, eventually, zonelock

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plant]:
    for name in ("ZONELOCK_SERVER", "ZONELOCK_OUTPUT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ZONELOCK_OPERATOR", "mia")
    made = Plant(tmp_path).start("--assume-empty")
    yield made
    if made.process is not None:
        made.end()


def test_a_command_that_ends_well_gives_its_zones_back(plant: Plant) -> None:
    with plant.hold("Z_32", "Z_33", "--", "sh", "-c", "echo done") as held:
        assert held.finish() == 0
        assert held.process.stdout is not None
        assert held.process.stdout.read() == "done\n"
    assert [e["event"] for e in held.events] == ["granted", "started", "ended"]
    assert held.last["outcome"] == "released"
    assert plant.zone("Z_32")["state"] == plant.zone("Z_33")["state"] == "FREE"


@pytest.mark.parametrize(("script", "code"), [("exit 3", 3), ("kill -9 $$", 137)])
def test_a_command_that_fails_leaves_its_zones_blocked(plant: Plant, script: str, code: int) -> None:
    with plant.hold("Z_32", "--", "sh", "-c", script) as held:
        assert held.finish() == code
    assert held.last["outcome"] == "abandoned"
    zone = plant.zone("Z_32")
    assert (zone["state"], zone["occupants"][0]["agent_id"]) == ("BLOCKED", "H1")
    assert plant.do("status")["stops"] == [], "an abandoned zone stops nobody"
    story = plant.do("explain", "H1")
    assert (story["state"], story["blocked"][0]["cause"]) == ("BLOCKED", "ABANDONED")
    assert any("zonelock clear Z_32 --agent H1" in line for line in story["resolve"])
    assert plant.do("clear", "Z_32", "--agent", "H1", "--reason", "looked")["cleared"] == ["Z_32"]
    assert plant.zone("Z_32")["state"] == "FREE"


def test_a_failure_is_told_even_to_a_coordinator_that_answers_late(plant: Plant) -> None:
    assert plant.process is not None
    with plant.hold("Z_32", "--", "sh", "-c", "sleep 0.3; exit 3") as held:
        held.until("started")
        plant.process.send_signal(signal.SIGSTOP)
        thaw = threading.Timer(2.5, plant.process.send_signal, (signal.SIGCONT,))
        thaw.start()
        try:
            assert held.finish() == 3
            assert thaw.finished.is_set(), "hold ended before the coordinator could hear of it"
        finally:
            thaw.join()
    assert held.last["outcome"] == "abandoned"
    assert plant.zone("Z_32")["state"] == "BLOCKED"


def test_a_failure_may_be_declared_harmless(plant: Plant) -> None:
    with plant.hold("Z_32", "--release-on-failure", "--", "false") as held:
        assert held.finish() == 1
    assert held.last["outcome"] == "released"
    assert plant.zone("Z_32")["state"] == "FREE"


def test_an_operator_s_stop_ends_the_command_within_a_second(plant: Plant) -> None:
    with plant.hold("Z_32", "--", "sleep", "60") as held:
        pid = held.until("started")["pid"]
        plant.do("stop", "--zone", "Z_33", "--stop-id", "drill", "--reason", "trying")
        stopped = time.monotonic()
        eventually(lambda: not alive(pid), "the command ended")
        assert time.monotonic() - stopped < 1.0
        assert held.finish() == 5
    lost = next(e for e in held.events if e["event"] == "lost")
    assert lost["reason"] == "stopped"
    assert "mia: trying" in lost["message"]
    assert (held.last["outcome"], held.last["exit"]) == ("occupied", 5)


def test_a_stubborn_command_is_killed_within_the_second(plant: Plant) -> None:
    with plant.hold("Z_32", "--", sys.executable, "-c", STUBBORN) as held:
        pid = held.until("started")["pid"]
        assert held.process.stdout is not None
        assert held.process.stdout.readline() == "up\n"
        plant.do("stop", "--floor", "--reason", "trying")
        stopped = time.monotonic()
        eventually(lambda: not alive(pid), "the command ended")
        assert time.monotonic() - stopped < 1.0
        assert held.finish() == 5
    assert held.last["returncode"] == -signal.SIGKILL


def test_a_stop_s_whole_story_from_trip_to_restart(plant: Plant) -> None:
    with plant.hold("Z_32", "--", "sleep", "60") as held:
        held.until("started")
        plant.do("stop", "--zone", "Z_32", "--stop-id", "drill", "--reason", "trying")
        assert held.finish() == 5
    story = plant.do("explain", "H1")
    assert story["state"] == "STOPPED"
    assert [s["stop_id"] for s in story["stops"]] == ["drill"]
    error = plant.do("hold", "Z_33", "--", "true", code=4)
    assert error["reason"] == "STOPPED"
    assert plant.do("reset", "Drill", "--reason", "safe", code=4)["reason"] == "UNKNOWN_STOP"
    plant.do("clear", "Z_32", "--agent", "H1", "--reason", "looked")
    (ended,) = plant.do("reset", "drill", "--reason", "safe")["stops"]
    assert (ended["active"], ended["reset_by"], ended["reset_reason"]) == (False, "mia", "safe")
    with plant.hold("Z_32", "--", "true") as held:
        assert held.finish() == 0


def test_a_killed_coordinator_ends_the_command_by_the_dead_man(plant: Plant) -> None:
    with plant.hold("Z_32", "--expected-ms", "2500", "--", "sleep", "60") as held:
        pid = held.until("started")["pid"]
        plant.end(signal.SIGKILL)
        killed = time.monotonic()
        assert held.finish() == 5
        assert not alive(pid)
        # Whatever was asked for last, nothing goes on past it without a coordinator.
        assert time.monotonic() - killed < 2.5 + 1.0
    assert next(e for e in held.events if e["event"] == "lost")["reason"] == "deadline"
    plant.start()
    zone = plant.zone("Z_32")
    assert [(o["agent_id"], o["state"] != "FREE") for o in zone["occupants"]] == [("H1", True)]


def test_a_coordinator_that_comes_back_in_time_interrupts_nothing(plant: Plant) -> None:
    with plant.hold("Z_32", "--expected-ms", "20000", "--", "sleep", "4") as held:
        held.until("started")
        plant.end(signal.SIGKILL)
        plant.start()
        assert held.finish() == 0
    assert held.last["outcome"] == "released"
    assert plant.zone("Z_32")["state"] == "FREE"


def test_the_floor_s_hold_max_ends_the_command_without_stopping_the_area(plant: Plant) -> None:
    with plant.hold("Z_40", "--", "sleep", "60") as held:
        assert held.finish() == 5
    assert next(e for e in held.events if e["event"] == "lost")["reason"] == "deadline"
    assert plant.do("status")["stops"] == [], "said to stand in time, the agent stops nobody"
    assert plant.zone("Z_40")["state"] == "BLOCKED"


def test_a_living_command_is_given_more_time(plant: Plant) -> None:
    with plant.hold("Z_32", "--expected-ms", "1500", "--", "sleep", "3") as held:
        assert held.finish() == 0
    assert "extended" in [e["event"] for e in held.events]


def test_without_extension_the_expected_time_is_the_end(plant: Plant) -> None:
    with plant.hold("Z_32", "--expected-ms", "1500", "--no-extend", "--", "sleep", "60") as held:
        assert held.finish() == 5
    assert "extended" not in [e["event"] for e in held.events]


def test_a_hold_that_is_killed_takes_its_command_along(plant: Plant) -> None:
    with plant.hold("Z_32", "--", "sleep", "60") as held:
        pid = held.until("started")["pid"]
        held.process.kill()
        held.process.wait()
        eventually(lambda: not alive(pid), "the command ended with its holder")


def test_a_hold_that_hangs_does_not_save_its_command(plant: Plant) -> None:
    with plant.hold("Z_32", "--expected-ms", "1500", "--", "sleep", "60") as held:
        pid = held.until("started")["pid"]
        os.kill(held.process.pid, signal.SIGSTOP)
        eventually(lambda: not alive(pid), "the warden ended the command at the deadline")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_go_to_the_command(plant: Plant, number: signal.Signals) -> None:
    with plant.hold("Z_32", "--", "sleep", "60") as held:
        held.until("started")
        held.process.send_signal(number)
        assert held.finish() == 128 + number
    assert held.last["outcome"] == "abandoned"


def test_a_waiting_hold_says_behind_whom_and_gets_its_turn(plant: Plant) -> None:
    with plant.hold("Z_32", "--", "sleep", "60", agent="H1") as first:
        pid = first.until("started")["pid"]
        with plant.hold("Z_32", "Z_33", "--", "true", agent="H2") as second:
            waiting = second.until("waiting")
            assert [(b["zone"], b["agent_id"]) for b in waiting["blockers"]] == [("Z_32", "H1")]
            story = eventually(lambda: plant.do("explain", "H2")["waits"], "the wait is shown")
            assert story[0]["blockers"][0]["agent_id"] == "H1"
            assert plant.do("explain", "H2")["chain"][0].startswith("H2 waits for H1 (HELD Z_32")
            # The first one's command ends well: a sleep that is told to end by its own program.
            os.kill(pid, signal.SIGTERM)
            assert first.finish() == 143
            plant.do("clear", "Z_32", "--agent", "H1", "--reason", "looked")
            assert second.finish() == 0


def test_an_interrupted_wait_ends_with_130_and_leaves_the_queue(plant: Plant) -> None:
    with plant.hold("Z_32", "--", "sleep", "60", agent="H1") as first:
        first.until("started")
        with plant.hold("Z_32", "--", "true", agent="H2") as second:
            second.until("waiting")
            second.process.send_signal(signal.SIGINT)
            assert second.finish() == 130
        eventually(lambda: plant.zone("Z_32")["waiters"] == 0, "the queue is empty")


def test_no_queue_and_timeout_are_refused_with_4(plant: Plant) -> None:
    with plant.hold("Z_32", "--", "sleep", "60", agent="H1") as first:
        first.until("started")
        assert plant.do("hold", "Z_32", "--no-queue", "--", "true", code=4)["reason"] == "BUSY"
        done = zonelock("hold", "Z_32", "--timeout-s", "0.3", "--server", plant.server, "--", "true")
        assert error_of(done)["reason"] == "WAIT_ENDED"
        assert "H1" in error_of(done)["remedy"]


def test_a_command_that_cannot_run_asks_for_nothing(plant: Plant, tmp_path: Path) -> None:
    plain = tmp_path / "plain.txt"
    plain.write_text("no program")
    assert "no program" in plant.do("hold", "Z_32", "--", "no-such-program", code=127)["message"]
    assert "chmod" in plant.do("hold", "Z_32", "--", str(plain), code=126)["remedy"]
    assert plant.do("status")["totals"]["grants"] == 0


def test_bad_asks_are_refused_before_anything_runs(plant: Plant) -> None:
    error = plant.do("hold", "Z_23", "--", "true", code=4)
    assert "Z_32" in error["remedy"]
    assert "agv" in plant.do("hold", "Z_32", "--kind", "agw", "--", "true", code=4)["remedy"]
    assert "expected_ms" in plant.do("hold", "Z_32", "--expected-ms", "100", "--", "true", code=2)["message"]
    assert zonelock("hold", "Z_32", "--server", plant.server).returncode == 2
    assert zonelock("hold", "--server", plant.server, "--", "true").returncode == 2


def test_a_second_live_hold_of_one_agent_id_is_refused(plant: Plant) -> None:
    with plant.hold("Z_32", "--", "sleep", "60", agent="H1") as first:
        first.until("started")
        error = plant.do("hold", "Z_33", "--agent", "H1", "--", "true", code=4)
        assert error["reason"] == "DUPLICATE_AGENT"


def test_an_unreachable_coordinator_is_exit_3(free_port: int) -> None:
    error = error_of(zonelock("hold", "Z_32", "--server", f"127.0.0.1:{free_port}", "--", "true"))
    assert error["exit"] == 3
    assert "connection refused" in error["message"]


def test_for_people_the_last_line_says_how_the_zones_are_cleared(plant: Plant) -> None:
    done = zonelock("hold", "Z_32", "--agent", "H1", "--server", plant.server, "-o", "table", "--", "false")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "hold: the command ended with 1; Z_32 stays occupied until it is cleared: "
        "zonelock clear Z_32 --agent H1 --reason TEXT"
    )

"""`version`, `errors`, and what holds for the command line as a whole."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from cli.conftest import Run, failed, said
from zonelock.v1 import floor_pb2, zone_service_pb2
from zonelock_cli import tables
from zonelock_cli.exits import EXITS, ExitCode
from zonelock_cli.main import COMMANDS
from zonelock_cli.output import duration

from coordinator.core.rejections import REFUSALS, Rejection

HEAVY = ("grpc", "rich", "coordinator", "zonelock_client", "zonelock_sim", "google.protobuf", "asyncio")


def test_version_names_program_protocol_and_python(run: Run) -> None:
    assert said(run("version")).keys() == {"zonelock", "protocol", "python"}
    assert "zonelock.v1" in run("version", "-o", "table").stdout


def test_version_imports_nothing_heavy() -> None:
    program = (
        "import sys; from zonelock_cli.main import cli; cli.main(['version', '-o', 'table'], standalone_mode=False);"
        "print(sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = done.stderr
    assert [m for m in HEAVY if f"'{m}'" in loaded] == []


def test_help_of_every_command_needs_no_coordinator_code() -> None:
    program = (
        "import sys; from zonelock_cli.main import cli\n"
        f"for name in {list(COMMANDS)!r}:\n"
        "    cli.main([name, '--help'], standalone_mode=False)\n"
        "print(sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "'coordinator'" not in done.stderr
    assert "'grpc'" not in done.stderr


def test_every_exit_code_refusal_and_rejection_is_explained() -> None:
    names = {(r.kind, r.name) for r in tables.entries()}
    assert {("exit code", str(int(c))) for c in ExitCode} <= names
    assert {("refusal", r.value) for r in REFUSALS} <= names
    assert {("rejection", r.value) for r in Rejection} <= names
    assert set(EXITS) == set(ExitCode)
    assert all(r.meaning and r.remedy for r in tables.entries())


@pytest.mark.parametrize(
    "name",
    [
        *(n for n in zone_service_pb2.RejectReason.keys()[1:]),
        *(n for n in floor_pb2.BlockCause.keys()[1:]),
        *(n for n in floor_pb2.ZoneState.keys()[1:]),
        *(n for n in floor_pb2.BlockerKind.keys()[1:]),
    ],
)
def test_every_name_of_the_protocol_that_people_see_is_explained(name: str) -> None:
    assert tables.explain(name)


@pytest.mark.parametrize("code", ["stale_token", "STALE-TOKEN", "Stale_Token"])
def test_errors_is_blind_to_case_and_dashes(run: Run, code: str) -> None:
    (entry,) = said(run("errors", code))["entries"]
    assert (entry["kind"], entry["name"], entry["grpc_code"]) == ("refusal", "STALE_TOKEN", "FAILED_PRECONDITION")


def test_errors_explains_exit_codes_and_grpc_codes(run: Run) -> None:
    assert said(run("errors", "5"))["entries"][0]["kind"] == "exit code"
    assert "NOT_LEADER" in [e["name"] for e in said(run("errors", "unavailable"))["entries"]]
    assert "worth repeating after 500 ms" in run("errors", "NOT_LEADER", "-o", "table").stdout


def test_errors_without_a_code_lists_everything(run: Run) -> None:
    assert len(said(run("errors"))["entries"]) == len(tables.entries())
    assert "WOULD_DEADLOCK" in run("errors", "-o", "table").stdout


def test_an_unknown_code_is_answered_with_the_nearest(run: Run) -> None:
    error = failed(run("errors", "STALE_TOKENS"))
    assert error["exit"] == 4
    assert "STALE_TOKEN" in error["remedy"]


@pytest.mark.parametrize("args", [["frobnicate"], ["status", "--frobnicate"], ["zones", "-o", "xml"], ["explain"]])
def test_a_wrong_command_line_exits_with_2(run: Run, args: list[str]) -> None:
    assert run(*args).exit_code == 2


def test_the_entry_point_exits_with_the_table_s_codes(free_port: int) -> None:
    def zonelock(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "zonelock_cli", *args], capture_output=True, text=True, check=False
        )

    assert zonelock("version").returncode == ExitCode.OK
    assert zonelock("status", "--server", "nowhere").returncode == ExitCode.USAGE
    unreachable = zonelock("status", "--server", f"127.0.0.1:{free_port}")
    assert unreachable.returncode == ExitCode.UNAVAILABLE
    assert json.loads(unreachable.stderr)["error"]["exit"] == ExitCode.UNAVAILABLE
    assert unreachable.stdout == ""


def test_a_reader_that_has_enough_ends_the_command_quietly() -> None:
    script = f"{sys.executable} -m zonelock_cli errors -o table | head -n 1; exit ${{PIPESTATUS[0]}}"
    piped = subprocess.run(
        ["/bin/bash", "-c", script],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (piped.returncode, piped.stderr) == (0, "")


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "0 ms"),
        (999, "999 ms"),
        (1_000, "1.0 s"),
        (59_999, "59.9 s"),
        (60_000, "1 min 00 s"),
        (3_600_000, "1 h 00 min"),
        (-1_500, "-1.5 s"),
    ],
)
def test_durations_read_well(ms: int, text: str) -> None:
    assert duration(ms) == text

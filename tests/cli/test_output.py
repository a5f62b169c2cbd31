"""Tables where people look, JSON where machines read, and word of what takes long."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
import time

import pytest
from cli.fake import FakeCoordinator
from zonelock_cli.output import View, doing, since, spinner_after


def on_a_terminal(*args: str) -> tuple[int, str]:
    """Runs a command whose standard output is a terminal; its exit code and what the terminal showed."""
    ours, theirs = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ZONELOCK_")} | {"COLUMNS": "120"}
    process = subprocess.Popen(
        [sys.executable, "-m", "zonelock_cli", *args], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    shown = b""
    # Linux answers EIO once the last process has closed the other side.
    with contextlib.suppress(OSError):
        while chunk := os.read(ours, 4_096):
            shown += chunk
    os.close(ours)
    return process.wait(20), shown.decode()


def test_a_terminal_gets_tables_and_a_pipe_gets_json(fake: FakeCoordinator) -> None:
    code, shown = on_a_terminal("zones", "--server", fake.target)
    assert code == 0
    assert "OCCUPANTS" in shown
    piped = subprocess.run(
        [sys.executable, "-m", "zonelock_cli", "zones", "--server", fake.target], capture_output=True, check=True
    )
    assert len(json.loads(piped.stdout)["zones"]) == 5


def test_json_can_be_asked_for_on_a_terminal(fake: FakeCoordinator) -> None:
    code, shown = on_a_terminal("zones", "-o", "json", "--server", fake.target)
    assert code == 0
    assert len(json.loads(shown)["zones"]) == 5


def test_an_error_on_a_terminal_is_two_lines(free_port: int) -> None:
    code, shown = on_a_terminal("status", "--server", f"127.0.0.1:{free_port}")
    assert code == 3
    assert [line.split(":")[0] for line in strip(shown).splitlines()] == ["error", "try"]


def test_what_takes_long_says_so_once_on_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    said = ""
    with spinner_after("counting cells", 0.01):
        while not said.endswith("\n"):  # the line's end is a write of its own
            time.sleep(0.01)
            said += capfd.readouterr().err
        time.sleep(0.05)
    assert (said, capfd.readouterr().err) == ("counting cells ...\n", "")


def test_what_is_quick_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with spinner_after("counting cells", 60):
        pass
    assert capfd.readouterr() == ("", "")


def test_names_with_markup_characters_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.markup import escape

    View(json=False).table(["ZONE"], [[escape("Z[red]1[/red]")]])
    assert "Z[red]1[/red]" in capsys.readouterr().out


def test_an_age_that_nobody_knows_is_left_out() -> None:
    assert (since(0), since(1_500)) == ("", " since 1.5 s")


def test_what_an_agent_does_is_one_clause_without_its_name() -> None:
    assert doing({"agent_id": "A", "explanation": "A holds Z; and more", "activity": "x"}) == "holds Z"
    assert doing({"agent_id": "A", "explanation": "", "activity": "charging"}) == "charging"


def strip(text: str) -> str:
    import click

    return click.unstyle(text).replace("\r", "")

"""Running the command line in this process, against a coordinator of cardboard."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cli.fake import FakeCoordinator
from click.testing import CliRunner, Result
from zonelock_cli.main import cli

Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run("status", "-o", "json")`; no terminal, an operator's name, and none of the caller's own settings."""
    for name in ("ZONELOCK_SERVER", "ZONELOCK_OUTPUT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ZONELOCK_OPERATOR", "mia")

    def invoke(*args: str) -> Result:
        return CliRunner().invoke(cli, args)

    return invoke


@pytest.fixture
def fake() -> Iterator[FakeCoordinator]:
    with FakeCoordinator() as coordinator:
        yield coordinator


def said(result: Result) -> Any:
    """The one JSON document on standard output."""
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert len(lines) == 1, result.stdout
    return json.loads(lines[0])


def failed(result: Result) -> dict[str, Any]:
    """The error that a failing command reported."""
    assert result.exit_code != 0, result.output
    error: dict[str, Any] = json.loads(result.stderr)["error"]
    assert error["exit"] == result.exit_code
    assert error["remedy"], "every failure ends in what to try"
    return error

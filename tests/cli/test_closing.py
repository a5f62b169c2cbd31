"""`close` and `open`: what is sent and how the answer reads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cli.conftest import Run, said
from cli.fake import FakeCoordinator


@pytest.fixture
def plant() -> Iterator[FakeCoordinator]:
    with FakeCoordinator() as coordinator:
        yield coordinator


def test_closing_names_the_zones_the_operator_and_the_reason(run: Run, plant: FakeCoordinator) -> None:
    told = said(run("close", "Z_32", "loading", "--reason", "bearing", "--server", plant.target))
    (request,) = plant.asked
    assert (list(request.zones), request.operator, request.reason) == (["Z_32", "loading"], "mia", "bearing")
    assert [(c["zone"], c["closed_by"], c["reason"]) for c in told["closures"]] == [
        ("Z_32", "mia", "bearing"),
        ("loading", "mia", "bearing"),
    ]


def test_opening_names_what_was_closed(run: Run, plant: FakeCoordinator) -> None:
    result = run("open", "Z_32", "--reason", "mended", "--server", plant.target, "-o", "table")
    assert result.stdout.split("\n")[0] == "opened 1: Z_32"
    assert plant.asked[0].operator == "mia"


@pytest.mark.parametrize("command", ["close", "open"])
def test_without_zones_or_a_reason_nothing_is_sent(run: Run, plant: FakeCoordinator, command: str) -> None:
    assert run(command, "--reason", "r", "--server", plant.target).exit_code == 2
    assert run(command, "Z_32", "--server", plant.target).exit_code == 2
    assert plant.asked == []

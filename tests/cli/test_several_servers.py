"""`--server` with several addresses: the first that answers is talked to, and nothing is done twice."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import grpc
import pytest
from cli.conftest import Run, failed, said
from cli.fake import FakeCoordinator, refusal


@pytest.fixture
def other() -> Iterator[FakeCoordinator]:
    with FakeCoordinator() as coordinator:
        yield coordinator


@pytest.fixture
def silent() -> Iterator[str]:
    """A port that accepts connections and never says a word, as a frozen process does."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def gone() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return f"127.0.0.1:{listening.getsockname()[1]}"


def test_the_first_coordinator_that_answers_is_talked_to(run: Run, fake: FakeCoordinator, gone: str) -> None:
    assert said(run("status", "--server", f"{gone}, {fake.target}"))["server"] == fake.target


def test_a_frozen_coordinator_does_not_hold_up_a_stop(run: Run, fake: FakeCoordinator, silent: str) -> None:
    said(run("stop", "--zone", "Z_32", "--reason", "smoke", "--server", f"{silent},{fake.target}"))
    assert len(fake.asked) == 1


def test_several_may_come_from_the_environment(
    run: Run, fake: FakeCoordinator, gone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZONELOCK_SERVER", f"{gone},{fake.target}")
    assert said(run("zones", "X_1"))["zones"][0]["name"] == "X_1"


def test_where_none_answers_each_is_named_with_what_is_wrong(run: Run, gone: str, silent: str) -> None:
    error = failed(run("status", "--server", f"{gone},{silent}"))
    assert error["exit"] == 3
    assert len(error["problems"]) == 2
    assert gone in error["problems"][0] and "refused" in error["problems"][0]
    assert silent in error["problems"][1] and "did not answer" in error["problems"][1]


@pytest.mark.parametrize("reason", ["NOT_LEADER", "STORE_UNAVAILABLE"])
def test_what_one_refused_without_doing_it_the_next_is_asked_for(
    run: Run, fake: FakeCoordinator, other: FakeCoordinator, reason: str
) -> None:
    fake.refuse = refusal(grpc.StatusCode.UNAVAILABLE, reason, "not here")
    said(run("close", "Z_40", "--reason", "repair", "--server", f"{fake.target},{other.target}"))
    assert [len(coordinator.asked) for coordinator in (fake, other)] == [1, 1]


def test_what_may_have_been_done_is_not_asked_for_again(
    run: Run, fake: FakeCoordinator, other: FakeCoordinator
) -> None:
    fake.refuse = refusal(grpc.StatusCode.UNAVAILABLE, "COMMIT_UNCERTAIN", "nobody can say")
    error = failed(run("reset", "op-1", "--reason", "looked", "--server", f"{fake.target},{other.target}"))
    assert error["reason"] == "COMMIT_UNCERTAIN"
    assert other.asked == []


def test_a_watch_goes_on_at_the_next_coordinator(run: Run, fake: FakeCoordinator, other: FakeCoordinator) -> None:
    alone = run("watch", "--seconds", "1", "-o", "json", "--server", other.target).stdout.splitlines()
    fake.farewell = refusal(grpc.StatusCode.UNAVAILABLE, "NOT_LEADER", "this coordinator is shutting down")
    fake.over.set()  # after the first picture
    both = run("watch", "--seconds", "2", "-o", "json", "--server", f"{fake.target},{other.target}")
    assert both.exit_code == 0, both.output
    assert both.stdout.splitlines() == 2 * alone  # the whole picture again: nothing that changed meanwhile is missed


def test_a_wrong_address_among_several_is_named(run: Run) -> None:
    result = run("status", "--server", "127.0.0.1:7600,nowhere")
    assert result.exit_code == 2
    assert "'nowhere'" in result.stderr

"""`stop`, `reset` and `clear`: what is sent, what is refused before it is sent, and how a refusal reads."""

from __future__ import annotations

import grpc
import pytest
from cli.conftest import Run, failed, said
from cli.fake import FakeCoordinator, refusal


@pytest.mark.parametrize(
    ("scope", "field", "value"),
    [(["--zone", "Z_32"], "zone", "Z_32"), (["--group", "east"], "stop_group", "east"), (["--floor"], "floor", True)],
)
def test_a_stop_carries_scope_operator_and_reason(
    run: Run, fake: FakeCoordinator, scope: list[str], field: str, value: object
) -> None:
    stop = said(run("stop", *scope, "--reason", "drill", "--server", fake.target))["stop"]
    (request,) = fake.asked
    assert request.WhichOneof("scope") == field
    assert getattr(request, field) == value
    assert (request.operator, request.reason) == ("mia", "drill")
    assert stop["stop_id"] == request.stop_id != ""
    assert stop["active"] is True


def test_a_stop_may_bring_its_own_id_so_that_a_repeat_is_the_same_stop(run: Run, fake: FakeCoordinator) -> None:
    said(run("stop", "--floor", "--stop-id", "mine", "--reason", "drill", "--server", fake.target))
    assert fake.asked[0].stop_id == "mine"


def test_a_stop_that_nobody_confirmed_says_whether_it_is_in_force_and_what_to_do(
    run: Run, fake: FakeCoordinator
) -> None:
    fake.refuse = refusal(grpc.StatusCode.UNAVAILABLE, "COMMIT_UNCERTAIN", "sent, not durable")
    error = failed(run("stop", "--floor", "--stop-id", "mine", "--reason", "drill", "--server", fake.target))
    assert "in force" in error["remedy"]
    assert "--stop-id mine" in error["remedy"]
    fake.stop()
    error = failed(run("stop", "--floor", "--stop-id", "mine", "--reason", "drill", "--server", fake.target))
    assert (error["exit"], error["reason"]) == (3, "UNAVAILABLE")
    assert "emergency stop" in error["remedy"]
    assert "--stop-id mine" in error["remedy"]


def test_the_operator_can_be_named(run: Run, fake: FakeCoordinator) -> None:
    said(run("stop", "--floor", "--operator", "otto", "--reason", "drill", "--server", fake.target))
    assert fake.asked[0].operator == "otto"


def test_the_operator_is_otherwise_who_is_logged_in(
    run: Run, fake: FakeCoordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ZONELOCK_OPERATOR")
    monkeypatch.setenv("LOGNAME", "lou")
    said(run("stop", "--floor", "--reason", "drill", "--server", fake.target))
    assert fake.asked[0].operator == "lou"


@pytest.mark.parametrize(
    "args",
    [
        ["stop", "--reason", "r"],
        ["stop", "--floor", "--zone", "Z_32", "--reason", "r"],
        ["stop", "--floor"],
        ["reset", "--reason", "r"],
        ["reset", "s1"],
        ["clear", "--reason", "r"],
        ["clear", "Z_1", "--all-unknown", "--reason", "r"],
        ["clear", "Z_1"],
        ["clear", "Z_1", "--reason", "r", "--everything"],
    ],
)
def test_incomplete_safety_actions_are_usage_errors_and_send_nothing(
    run: Run, fake: FakeCoordinator, args: list[str]
) -> None:
    assert run(*args, "--server", fake.target).exit_code == 2
    assert fake.asked == []


def test_reset_names_its_stops(run: Run, fake: FakeCoordinator) -> None:
    stops = said(run("reset", "s1", "s2", "--reason", "safe", "--server", fake.target))["stops"]
    assert list(fake.asked[0].stop_ids) == ["s1", "s2"]
    assert [s["reset_by"] for s in stops] == ["mia", "mia"]
    assert (
        "reset s1 by mia: safe" in run("reset", "s1", "--reason", "safe", "--server", fake.target, "-o", "table").stdout
    )


def test_a_refused_reset_gives_reason_details_and_remedy(run: Run, fake: FakeCoordinator) -> None:
    fake.refuse = refusal(
        grpc.StatusCode.FAILED_PRECONDITION, "OCCUPANT_UNCONFIRMED", "AGV_03 has not acknowledged", agents="AGV_03"
    )
    error = failed(run("reset", "s1", "--reason", "safe", "--server", fake.target))
    assert (error["exit"], error["reason"]) == (4, "OCCUPANT_UNCONFIRMED")
    assert error["details"] == {"agents": "AGV_03"}
    assert "zonelock clear" in error["remedy"]


def test_a_refusal_reads_as_message_and_remedy_on_two_lines(run: Run, fake: FakeCoordinator) -> None:
    fake.refuse = refusal(grpc.StatusCode.FAILED_PRECONDITION, "STILL_GRANTED", "AGV_01 holds X_1")
    result = run("clear", "X_1", "--reason", "r", "--server", fake.target, "-o", "table")
    assert result.stderr.splitlines() == [
        "error: AGV_01 holds X_1 [STILL_GRANTED]",
        "try:   Wait for the release, or stop first.",
    ]


def test_an_unavailable_coordinator_is_exit_3(run: Run, fake: FakeCoordinator) -> None:
    fake.refuse = refusal(grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", "etcd does not answer")
    assert failed(run("clear", "Z_1", "--reason", "r", "--server", fake.target))["exit"] == 3


def test_clear_sends_zones_and_agent(run: Run, fake: FakeCoordinator) -> None:
    cleared = said(run("clear", "Z_32", "--agent", "AGV_03", "--reason", "towed", "--server", fake.target))
    assert cleared["cleared"] == ["Z_32"]
    (unit,) = cleared["seen"]
    assert (unit["zone"], unit["agent_id"]) == ("Z_32", "AGV_03")
    (seen,) = fake.asked[0].seen
    assert {"zone": seen.zone, "slot": seen.slot, "agent_id": seen.agent_id, "token": seen.token} == unit
    assert fake.asked[0].incarnation == 1
    assert (list(fake.asked[0].zones), fake.asked[0].agent_id, fake.asked[0].all_unknown) == (["Z_32"], "AGV_03", False)


def test_clear_of_an_agent_alone_finds_what_it_left_behind(run: Run, fake: FakeCoordinator) -> None:
    said(run("clear", "--agent", "AGV_03", "--reason", "towed", "--server", fake.target))
    assert list(fake.asked[0].zones) == ["Z_32"]
    error = failed(run("clear", "--agent", "AGV_01", "--reason", "towed", "--server", fake.target))
    assert error["reason"] == "NOTHING_TO_CLEAR"


def test_clear_all_unknown(run: Run, fake: FakeCoordinator) -> None:
    cleared = said(run("clear", "--all-unknown", "--reason", "walked", "--server", fake.target))
    assert cleared == {"cleared": ["Z_40"], "seen": []}
    assert (fake.asked[0].all_unknown, fake.asked[0].incarnation) == (True, 1)


def test_clear_shows_whom_it_takes_as_gone(run: Run, fake: FakeCoordinator) -> None:
    result = run("clear", "Z_32", "--reason", "towed", "--server", fake.target, "-o", "table")
    assert "Z_32, slot 0: AGV_03 (token " in result.stdout

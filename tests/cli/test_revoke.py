"""`revoke`: what is sent, what is refused before it is sent, and how a refusal reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cli.conftest import Run, failed, said
from cli.fake import TOKEN, FakeCoordinator, refusal
from cli.plant import Plant
from zonelock.v1 import safety_service_pb2


class Revoking(FakeCoordinator):
    """The canned coordinator, which takes back whatever it is asked to, or says `nothing`."""

    nothing = ""

    def RevokeGrants(  # noqa: N802
        self, request: Any, context: grpc.ServicerContext
    ) -> safety_service_pb2.RevokeGrantsResponse:
        self._take(request, context)
        if self.nothing:
            context.abort_with_status(refusal(grpc.StatusCode.FAILED_PRECONDITION, "NOTHING_TO_REVOKE", self.nothing))
        return safety_service_pb2.RevokeGrantsResponse(tokens=[request.token or TOKEN])


@pytest.fixture
def plant() -> Iterator[Revoking]:
    with Revoking() as coordinator:
        yield coordinator


def test_a_revocation_names_the_agent_the_operator_and_the_reason(run: Run, plant: Revoking) -> None:
    told = said(run("revoke", "AGV_01", "--reason", "make way", "--server", plant.target))
    (request,) = plant.asked
    assert (request.agent_id, request.operator, request.reason) == ("AGV_01", "mia", "make way")
    assert told == {"tokens": [TOKEN]}


def test_a_revocation_by_token_takes_one_grant(run: Run, plant: Revoking) -> None:
    result = run("revoke", "--token", str(TOKEN), "--reason", "make way", "--server", plant.target, "-o", "table")
    assert result.exit_code == 0
    assert plant.asked[0].token == TOKEN
    assert f"revoked {TOKEN}: held until the holder confirms" in " ".join(result.stdout.split())


@pytest.mark.parametrize(
    "args",
    [
        ["revoke", "--reason", "r"],
        ["revoke", "AGV_01", "--token", "7", "--reason", "r"],
        ["revoke", "AGV_01"],
        ["revoke", "--token", "0", "--reason", "r"],
    ],
)
def test_an_incomplete_revocation_is_a_usage_error_and_sends_nothing(
    run: Run, plant: Revoking, args: list[str]
) -> None:
    assert run(*args, "--server", plant.target).exit_code == 2
    assert plant.asked == []


def test_an_agent_that_nobody_knows_is_named_with_the_nearest_one(run: Run, plant: Revoking) -> None:
    plant.nothing = "no live grant"
    error = failed(run("revoke", "AGV_11", "--reason", "r", "--server", plant.target))
    assert (error["exit"], error["reason"]) == (4, "NOTHING_TO_REVOKE")
    assert "AGV_01" in error["remedy"]


def test_a_known_agent_without_a_grant_gets_the_coordinators_words(run: Run, plant: Revoking) -> None:
    plant.nothing = "AGV_02 has no live grant"
    error = failed(run("revoke", "AGV_02", "--reason", "r", "--server", plant.target))
    assert error["message"] == "AGV_02 has no live grant"


def test_a_revocation_ends_a_held_command_and_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZONELOCK_OPERATOR", "mia")
    real = Plant(tmp_path).start("--assume-empty")
    try:
        with real.hold("Z_32", "--", "sleep", "60") as held:
            granted = held.until("granted")
            held.until("started")
            assert real.do("revoke", "H1", "--reason", "make way") == {"tokens": [granted["token"]]}
            assert held.finish() == 5
        lost = next(e for e in held.events if e["event"] == "lost")
        assert lost["reason"] == "revoked"
        assert "mia" in lost["message"] and "make way" in lost["message"]
        assert real.zone("Z_32")["state"] == "BLOCKED"
        assert real.do("status")["stops"] == []
    finally:
        real.end()

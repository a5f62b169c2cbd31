"""`zonelock serve --loop`: Python's own event loop or uvloop, and a remedy where that is missing."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys

import pytest
from zonelock_cli.failures import Failure
from zonelock_cli.serving import GRPC_EXPERIMENTS, event_loop, settle_grpc


async def loop_module() -> str:
    return type(asyncio.get_running_loop()).__module__


def test_asyncio_is_what_python_has() -> None:
    with event_loop("asyncio") as runner:
        assert runner.run(loop_module()).startswith("asyncio")


@pytest.mark.skipif(importlib.util.find_spec("uvloop") is None, reason="uvloop is not installed")
@pytest.mark.parametrize("choice", ["auto", "uvloop"])
def test_uvloop_is_taken_when_it_is_there(choice: str) -> None:
    with event_loop(choice) as runner:
        assert runner.run(loop_module()).startswith("uvloop")


def test_a_missing_uvloop_ends_in_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    with pytest.raises(Failure) as refused:
        event_loop("uvloop")
    assert "pip install zonelock[uvloop]" in refused.value.remedy


@pytest.mark.parametrize(("chosen", "kept"), [(None, GRPC_EXPERIMENTS), ("", ""), ("other", "other")])
def test_grpc_polls_without_its_event_engine_unless_somebody_chose(
    monkeypatch: pytest.MonkeyPatch, chosen: str | None, kept: str
) -> None:
    monkeypatch.setenv("GRPC_EXPERIMENTS", chosen or "")
    if chosen is None:
        monkeypatch.delenv("GRPC_EXPERIMENTS")
    settle_grpc()
    assert os.environ["GRPC_EXPERIMENTS"] == kept

"""Stop outputs: told at once, told again when they fail, never in each other's way."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from coordinator.core.model import StopCause, StopRecord
from coordinator.stop_output import HookOutput, OutputFailed, StopOutputs

STOP = StopRecord("deadline:7", StopCause.OVERDUE, False, ("west",), ("A",), "coordinator", "late")


class Flaky:
    """Fails the first `failures` orders."""

    def __init__(self, name: str, failures: int) -> None:
        self.name, self.failures = name, failures
        self.orders: list[str] = []
        self.done = asyncio.Event()

    async def stop(self, stop: StopRecord) -> None:
        if self.failures:
            self.failures -= 1
            raise OutputFailed("the relay does not answer")
        self.orders.append(stop.stop_id)
        self.done.set()

    async def reset(self, stop: StopRecord) -> None:
        await self.stop(stop)


async def test_an_output_that_fails_is_tried_again_and_alarmed_and_holds_up_nobody() -> None:
    alarms: list[str] = []
    flaky, steady = Flaky("relay", 2), Flaky("beacon", 0)
    outputs = StopOutputs((flaky, steady), alarms.append)
    outputs.start()
    outputs.order(STOP)
    await steady.done.wait()
    assert flaky.orders == []
    await flaky.done.wait()
    assert [a.split(" failed")[0] for a in alarms] == ["stop output relay"] * 2
    await outputs.close()


async def test_a_hook_gets_the_order_as_json(tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    hook = HookOutput(("sh", "-c", f'cat > {told}; test "$ZONELOCK_ORDER" = stop'))
    await hook.stop(STOP)
    order = json.loads(told.read_text(encoding="utf-8"))
    assert (order["order"], order["stop_id"], order["stop_groups"]) == ("stop", "deadline:7", ["west"])
    with pytest.raises(OutputFailed, match="exit code 1"):
        await hook.reset(STOP)


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (("sh", "-c", "echo broken >&2; exit 3"), "exit code 3: broken"),
        (("/nonexistent/hook",), "No such file"),
        (("sleep", "60"), "not done after 0.2 s"),
    ],
)
async def test_a_hook_that_fails_says_why(command: tuple[str, ...], why: str) -> None:
    with pytest.raises(OutputFailed, match=why):
        await HookOutput(command, timeout_ms=200).stop(STOP)

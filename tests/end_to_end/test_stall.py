"""An AGV that stalls in the shared loading zone: the whole story as an operator lives it, with real processes.

The area stops, stays stopped over a killed coordinator, and only a named reset with a reason ends it. At every moment
the page's feed, `zonelock explain` and `zonelock status` say why.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, ClientTimeout
from zonelock_client import Agent, GrantRejected, connect
from zonelock_sim.processes import ServeProcess

from coordinator.floor.examples import bundled


async def zonelock(target: str, *arguments: str) -> tuple[int, Any]:
    """Runs the command line; its exit code and its JSON (errors come as JSON on stderr)."""
    command = (sys.executable, "-m", "zonelock_cli", *arguments, "--server", target, "-o", "json")
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    said = (out or err).decode().strip().splitlines()
    return process.returncode or 0, json.loads(said[-1]) if said else None


async def page(url: str) -> dict[str, Any]:
    """The whole picture that a browser gets first."""
    timeout = ClientTimeout(total=10)
    async with ClientSession(timeout=timeout) as session, session.get(f"{url}api/watch") as response:
        async for line in response.content:
            if line.startswith(b"data:"):
                picture: dict[str, Any] = json.loads(line[5:])
                return picture
    raise AssertionError("the page's feed ended before it said anything")


async def shows(url: str, state: str) -> None:
    """Waits until the page shows the loading zone in this state; it follows what happens at ten pictures a second."""
    shown = ""
    for _ in range(50):
        shown = next(str(z["state"]) for z in (await page(url))["zones"] if z["name"] == "Z_32")
        if shown == f"ZONE_STATE_{state}":
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"the page shows Z_32 as {shown}, not as {state}")


async def until_stopped(agent: Agent) -> str:
    stopped = asyncio.Event()
    agent.on_stop(lambda stop: stopped.set())
    if not agent.active_stops:
        await stopped.wait()
    return agent.active_stops[0].stop_id


async def reset_when_confirmed(target: str, stop_id: str) -> tuple[int, Any]:
    """As an operator does: again, while an agent that is just coming back has not confirmed that it stands."""
    while True:
        code, told = await zonelock(target, "reset", stop_id, "--reason", "freed the wheel", "--operator", "mara")
        if code == 0 or told["error"]["reason"] != "OCCUPANT_UNCONFIRMED":
            return code, told


@pytest.mark.timeout(120)
async def test_a_stall_in_the_loading_zone_from_trip_to_reset(tmp_path: Path, free_port: int) -> None:
    target = f"127.0.0.1:{free_port}"
    serve = ["--floor", str(bundled("machining")), "--store", f"sqlite:{tmp_path / 'ledger.sqlite'}"]
    serve += ["--listen", target, "--web", "127.0.0.1:0", "--assume-empty", "-o", "json", "--log-level", "warning"]
    process = ServeProcess(serve)
    url = str((await process.start())["web"])
    try:
        stalled = await connect(target, agent_id="AGV_03", agent_kind="agv")
        arm = await connect(target, agent_id="Arm_14", agent_kind="arm")
        grant = await stalled.acquire("Z_32", expected_ms=1_200)
        waiting = asyncio.create_task(arm.acquire("Z_32", expected_ms=5_000))
        code, told = await zonelock(target, "explain", "Arm_14")
        assert code == 0
        assert "AGV_03" in json.dumps(told)
        await shows(url, "HELD")

        stop_id = await until_stopped(stalled)  # it never moves on, and nothing confirms that it left
        assert stop_id == f"deadline:{grant.token}"
        assert not grant.may_move()
        with pytest.raises(GrantRejected):
            await waiting
        await shows(url, "STOPPED")
        code, told = await zonelock(target, "explain", "AGV_03")
        assert stop_id in json.dumps(told)

        os.kill(process.pid, signal.SIGKILL)
        await process.stop()
        process = ServeProcess(serve)
        url = str((await process.start())["web"])
        await shows(url, "STOPPED")
        with pytest.raises(GrantRejected):
            await arm.acquire("Z_32", expected_ms=5_000, timeout_s=20)

        code, _ = await zonelock(target, "reset", stop_id, "--reason", " ")
        assert code != 0
        await shows(url, "STOPPED")
        code, told = await reset_when_confirmed(target, stop_id)
        assert code == 0, told
        await stalled.stop_cleared()
        await shows(url, "BLOCKED")  # the reset restarted nothing: AGV_03 still stands there

        waiting = asyncio.create_task(arm.acquire("Z_32", expected_ms=5_000))
        again = await stalled.acquire("Z_32", expected_ms=5_000)  # and asks again for where it stands
        await again.cleared()
        await (await waiting).cleared()
        code, told = await zonelock(target, "status")
        assert code == 0
        await arm.close()
        await stalled.close()
    finally:
        await process.stop()

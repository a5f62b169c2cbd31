"""Runs against a real coordinator: in this process by the SDK's test server, and as a child by `run_sim`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from zonelock_client.testing import TestServer
from zonelock_sim.incidents import IncidentError, parse_incident
from zonelock_sim.options import Progress, Report, SimError, SimOptions
from zonelock_sim.processes import LIFELINE, ServeProcess, free_or_any
from zonelock_sim.run import run_sim

from coordinator.floor import Floor, FloorError
from coordinator.floor.examples import bundled


def assert_safe(report: Report) -> None:
    counted = (report.collisions, report.over_capacity, report.off_floor, report.uncovered)
    assert counted == (0, 0, 0, 0), report.to_json()


@pytest.mark.parametrize("gateway", [False, True])
async def test_the_machining_floor_works_on_a_real_coordinator(gateway: bool) -> None:
    async with TestServer(bundled("machining"), check_invariants=True) as server:
        told: list[Progress] = []
        options = SimOptions(server=server.target, agents=5, seconds=6, gateway=gateway)
        report = await run_sim(options, told.append)
        assert_safe(report)
        assert (report.agents, report.arms, report.stops) == (8, 3, 0)
        assert report.tasks_done >= 1, report.to_json()
        assert report.uncontended.count > 0
        assert [p.kind for p in told if p.kind != "running"] == ["starting", "ready", "stopping"]
        async with server.operator() as operator:
            taken = [zone.name for zone in await operator.zones() if any(unit.agent_id for unit in zone.occupants)]
        assert taken == [], "the agents gave back what they held when the run was over"


SHORT = """\
format: zonelock.floor/1
site: short
version: 1
cell_mm: 1000
grid: |
  .......
  .##.##.
  .......
defaults: {hold_max_ms: 6000}
zone_per_cell: {}
agent_kinds: {agv: {speed_mm_s: 1500, braking_mm_s2: 1500, length_mm: 800, width_mm: 600}}
stations:
  a: {cell: [0, 0], dwell_ms: 300}
  b: {cell: [6, 0], dwell_ms: 300}
  c: {cell: [6, 2], dwell_ms: 300}
  d: {cell: [0, 2], dwell_ms: 300}
  e: {cell: [3, 2], dwell_ms: 300}
"""


async def test_a_stall_trips_a_stop_and_after_the_operators_reset_everybody_goes_on(tmp_path: Path) -> None:
    floor = tmp_path / "floor.yaml"
    floor.write_text(SHORT)
    over, told = asyncio.Event(), asyncio.Queue[Progress]()
    stall = parse_incident("stall:AGV_01+300ms")
    async with TestServer(floor) as server, asyncio.timeout(90):
        options = SimOptions(server=server.target, floor=floor, agents=2, seconds=60, incidents=(stall,))
        running = asyncio.create_task(run_sim(options, told.put_nowait, over))
        while (await told.get()).kind != "stop":
            pass
        async with server.operator() as operator:
            while (stops := await operator.stops()) and any(s.unconfirmed for s in stops):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            done = await tasks_done(told)
            await operator.reset([stop.stop_id for stop in stops], reason="wheel freed")
        while await tasks_done(told) < done + 2 and not running.done():
            pass
        over.set()
        report = await running
    assert_safe(report)
    assert (report.stops, report.incidents) == (1, 1), report.to_json()
    assert report.seconds < 60, "it ended because two more tasks were done"


async def tasks_done(told: asyncio.Queue[Progress]) -> int:
    while True:
        progress = await told.get()
        if progress.report is not None:
            return progress.report.tasks_done


@pytest.mark.parametrize("store", ["memory", "sqlite"])
async def test_a_run_starts_and_stops_a_coordinator_of_its_own(store: str) -> None:
    told: list[Progress] = []
    report = await run_sim(SimOptions(agents=3, seconds=3, store=store), told.append)
    assert_safe(report)
    assert report.store == store
    assert report.grants >= 3
    ready = next(p for p in told if p.kind == "ready")
    assert ready.web_url.startswith("http://127.0.0.1:")
    host, _, port = ready.target.rpartition(":")
    with pytest.raises(OSError, match="Connect call failed"):
        await asyncio.open_connection(host, int(port))


async def test_setting_stop_ends_a_run_early_with_its_report() -> None:
    async with TestServer(bundled("machining")) as server:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(2, stop.set)
        async with asyncio.timeout(30):
            report = await run_sim(SimOptions(server=server.target, agents=2), stop=stop)
    assert report.seconds < 5


@pytest.mark.slow
async def test_twenty_vehicles_drive_a_warehouse_over_three_etcd_members(
    shared_data: Callable[[str], Path], etcd_binary: Path
) -> None:
    name = "mapf/warehouse-10-20-10-2-1"
    options = SimOptions(
        floor=shared_data(f"{name}.map"),
        scenario=shared_data(f"{name}-random-1.scen"),
        agents=20,
        seconds=60,
        store="etcd",
    )
    report = await run_sim(options)
    assert_safe(report)
    assert report.tasks_done >= 3, report.to_json()
    assert report.stops == 0, report.to_json()


async def test_bad_input_is_refused_before_anything_starts(tmp_path: Path) -> None:
    cut = tmp_path / "cut.map"
    cut.write_text("type octile\nheight 3\nwidth 3\nmap\n...\n..")
    told: list[Progress] = []
    with pytest.raises(FloorError, match="cut"):
        await run_sim(SimOptions(floor=cut), told.append)
    with pytest.raises(FloorError, match="does not exist"):
        await run_sim(SimOptions(scenario=tmp_path / "none.scen"), told.append)
    assert told == []


async def test_without_a_floor_of_its_own_a_run_takes_the_servers(tmp_path: Path) -> None:
    floor = tmp_path / "floor.yaml"
    floor.write_text(SHORT)
    told: list[Progress] = []
    async with TestServer(floor) as server:
        report = await run_sim(SimOptions(server=server.target, agents=2, seconds=2), told.append)
    assert_safe(report)
    assert "on short: 7 × 3 cells" in told[0].message


async def test_a_server_that_is_not_there_is_named(free_port: int) -> None:
    with pytest.raises(SimError, match=rf"server 127.0.0.1:{free_port}: .*zonelock serve"):
        await run_sim(SimOptions(server=f"127.0.0.1:{free_port}", agents=1, seconds=1))


async def test_an_incident_for_nobody_and_too_many_vehicles_are_refused_before_anything_starts() -> None:
    told: list[Progress] = []
    with pytest.raises(IncidentError, match="no agent 'AGV_99' in this run"):
        await run_sim(SimOptions(agents=2, incidents=(parse_incident("stall:AGV_99"),)), told.append)
    with pytest.raises(SimError, match="agents 500: the floor has 19"):
        await run_sim(SimOptions(agents=500), told.append)
    assert told == []


async def test_a_run_whose_coordinator_dies_says_so() -> None:
    def kill(progress: Progress) -> None:
        if progress.kind == "running" and progress.report is not None and progress.report.grants:
            for child in children_of(os.getpid()):
                if "serve" in command_of(child):
                    os.kill(child, signal.SIGKILL)

    with pytest.raises(SimError, match="the coordinator ended while agents were driving"):
        async with asyncio.timeout(30):
            await run_sim(SimOptions(agents=2, arms=False), kill)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"agents": -1}, "agents -1 is out of range"),
        ({"seconds": 0}, "seconds 0 must be above 0"),
        ({"store": "redis"}, "store 'redis' is none of memory, sqlite"),
        ({"speed_mm_s": 0}, "speed_mm_s 0 must be at least 1"),
    ],
)
def test_wrong_options_are_refused_by_name_and_value(wrong: dict[str, float | str], said: str) -> None:
    with pytest.raises(SimError, match=said):
        SimOptions(**wrong)  # type: ignore[arg-type]  # wrong on purpose


async def test_a_coordinator_that_cannot_start_is_told_with_its_own_words(tmp_path: Path) -> None:
    child = ServeProcess(["--floor", str(tmp_path / "none.yaml"), "--store", "memory", "-o", "json"])
    with pytest.raises(SimError, match=r"ended with exit code [1-9].*(?s:.)*none\.yaml"):
        await child.start()
    assert child.exit_code


def test_a_child_dies_with_the_process_that_started_it() -> None:
    code = (
        "import os, subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, {str(LIFELINE)!r}, str(os.getpid()), 'sleep', '60'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        deadline = time.monotonic() + 10
        while not command_of(pid).startswith("sleep") and time.monotonic() < deadline:
            time.sleep(0.02)
        assert command_of(pid).startswith("sleep")
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        while is_alive(pid) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not is_alive(pid)


def command_of(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    return ""


def children_of(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with contextlib.suppress(OSError):
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    return False


def test_a_taken_port_is_passed_over_for_a_free_one(free_port: int) -> None:
    assert free_or_any(f"127.0.0.1:{free_port}") == f"127.0.0.1:{free_port}"
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port))
        taken.listen()
        assert free_or_any(f"127.0.0.1:{free_port}") == "127.0.0.1:0"


def test_the_bundled_demo_floor_has_what_the_demo_needs() -> None:
    floor = Floor.load(bundled("machining"))
    assert "Arm_14" in floor.arms
    assert floor.arms["Arm_14"].zones == ("Z_32",)
    assert len(floor.stations) + len(floor.parking) >= 7

"""The processes that a benchmark measures: etcd members and coordinators, each on its own, as a site runs them.

Owns the rule that load and what bears it never share a process. Whatever is started ends with the benchmark.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from zonelock_sim.processes import ServeProcess

from coordinator.store.local_etcd import LocalEtcd

SERVE = ("--listen", "127.0.0.1:0", "--web", "off", "--assume-empty", "-o", "json")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Plant:
    """`leader` is the gRPC address of the coordinator that leads, `leader_pid` its process."""

    leader: str
    leader_pid: int
    endpoints: list[str]
    etcd_pids: list[int]


class WatchedServe(ServeProcess):
    """A coordinator that also watches its own event loop; see `benchmarks.watched_serve`."""

    def __init__(self, arguments: Sequence[str], report: Path) -> None:
        super().__init__(arguments)
        self.command = (sys.executable, "-m", "benchmarks.watched_serve", str(report), *arguments)


def open_floor(width: int, height: int, groups: Sequence[tuple[str, int]] = ()) -> str:
    """A floor of `width` x `height` cells, a zone `c_X_Y` each; `groups` names stop groups, each of so many zones
    `NAME_0` and on, in rows of their own below.
    """
    rows = ["." * width] * height
    zones = []
    for group, count in groups:
        first = len(rows)
        rows += ["." * width] * -(-count // width)
        for i in range(count):
            cell = f"[{i % width}, {first + i // width}]"
            zones.append(f"  {group}_{i}: {{cells: [{cell}], stop_group: {group}}}")
    named = ["zones:", *zones] if zones else []
    grid = "\n".join(f"  {row}" for row in rows)
    head = ("format: zonelock.floor/1", "site: bench", "version: 1", "cell_mm: 1000", "grid: |", grid)
    return "\n".join([*head, *named, "zone_per_cell: {prefix: c, stop_group: open}", ""])


@asynccontextmanager
async def plant(floor: str, *, coordinators: int = 3, report: Path | None = None) -> AsyncIterator[Plant]:
    """Three etcd members and the coordinators over them. With `report`, the leader watches its loop and writes there
    what it saw when it ends.
    """
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="zonelock-bench-")))
        etcd = await stack.enter_async_context(LocalEtcd(3))
        path = folder / "floor.yaml"
        path.write_text(floor, encoding="utf-8")
        store = f"etcd:{','.join(etcd.endpoints)}"
        own = [serve_arguments(folder / f"coordinator{i}", path, store) for i in range(coordinators)]
        leader = await _serve(stack, WatchedServe(own[0], report) if report else ServeProcess(own[0]))
        standbys = [ServeProcess(arguments) for arguments in own[1:]]
        await asyncio.gather(*(_serve(stack, standby) for standby in standbys))
        yield Plant(leader.target, leader.pid, etcd.endpoints, list(etcd.pids.values()))


def serve_arguments(folder: Path, floor: Path, store: str) -> list[str]:
    """Options for a coordinator that keeps what it keeps in a folder of its own; makes the folder."""
    folder.mkdir()
    config = folder / "config.yaml"
    config.write_text(f"data_dir: {folder}\nname: {folder.name}\n", encoding="utf-8")
    return ["--config", str(config), "--floor", str(floor), "--store", store, *SERVE]


@dataclass(frozen=True, slots=True)
class _Served:
    target: str
    pid: int


async def _serve(stack: AsyncExitStack, process: ServeProcess) -> _Served:
    ready = await process.start()
    stack.push_async_callback(process.stop)
    return _Served(str(ready["grpc"]), process.pid)


def cpu_s(pid: int) -> float:
    """Processor seconds that the process has used, its threads included."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def resident_mb(pid: int) -> float:
    """Resident memory in megabytes (10^6 bytes)."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0

"""The node with its real processes: what a child's stall, death or end comes to, and what is left when it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from zonelock.v1 import floor_pb2
from zonelock_client import Operator
from zonelock_client.testing import TestServer

from edge_node.app import EdgeNode
from edge_node.entries import Entry, Kind
from edge_node.ring import list_segments
from edge_node.ring.segments import process_start_ticks
from edge_node.supervisor import Child, Role

PATIENCE_S = 45.0
COMMAND = (sys.executable, "-m", "zonelock_cli", "edge", "run")


def written(folder: Path, **changed: Any) -> Path:
    """A node's configuration: one mock source, watched by one observer."""
    given: dict[str, Any] = {
        "node": "edge-press",
        "ring": {"folder": str(folder / "rings"), "frames": 100},
        "features": {"samples": 1_024, "report_every_s": 0.2},
        "sources": [{"name": "press", "kind": "mock", "rate_hz": 10_000, "channels": [{"name": "acc"}]}],
        "stall_ms": 3_000,
    }
    path = folder / "edge.yaml"
    path.write_text(yaml.safe_dump(given | changed))
    return path


class Running:
    """A node in this process, with its children; what it said so far."""

    def __init__(self, path: Path) -> None:
        self.said: list[Entry] = []
        self.news = asyncio.Event()
        self.node = EdgeNode.load(path, self.take)
        self.task = asyncio.create_task(self.node.run())

    def take(self, entry: Entry) -> None:
        self.said.append(entry)
        self.news.set()

    def child(self, role: Role) -> Child:
        return next(c for c in self.node.supervisor.children if c.role is role)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self.news.clear()
                await self.news.wait()

    def whats(self) -> list[str]:
        return [entry.data["what"] for entry in self.said if entry.kind is Kind.INCIDENT]

    async def features(self, more: int = 2) -> list[Entry]:
        """Waits for further features; all so far."""
        wanted = len(self.of(Kind.FEATURES)) + more
        await self.until(lambda: len(self.of(Kind.FEATURES)) >= wanted)
        return self.of(Kind.FEATURES)

    def of(self, kind: Kind) -> list[Entry]:
        return [entry for entry in self.said if entry.kind is kind]


@asynccontextmanager
async def running(path: Path) -> AsyncIterator[Running]:
    found = Running(path)
    try:
        yield found
    finally:
        found.node.supervisor.end()
        await found.task
    assert all(process_start_ticks(c.pid) is None for c in found.node.supervisor.children), "a child outlived the node"


def produced(path: Path) -> tuple[int, int]:
    [segment] = list_segments(path.parent / "rings")
    return segment.header.epoch, segment.head


async def test_a_stopped_observer_is_reported_and_restarted_and_the_ring_goes_on(tmp_path: Path) -> None:
    path = written(tmp_path, stall_ms=4_000)
    async with running(path) as node:
        await node.features()
        stopped, before = node.child(Role.OBSERVER).pid, produced(path)
        os.kill(stopped, signal.SIGSTOP)
        await node.until(lambda: "observer_restarted" in node.whats())
        assert "observer_stalled" in node.whats()
        await node.features()
        assert node.child(Role.OBSERVER).pid != stopped
        epoch, head = produced(path)
        assert epoch == before[0] and head > before[1], "the writer is the same and has gone on"
        assert node.child(Role.WRITER).restarts == 0


async def test_a_killed_writer_is_started_again_and_its_observer_follows(tmp_path: Path) -> None:
    path = written(tmp_path)
    async with running(path) as node:
        first = (await node.features())[-1].data["provenance"]["writer_epoch"]
        observer = node.child(Role.OBSERVER).pid
        os.kill(node.child(Role.WRITER).pid, signal.SIGKILL)
        await node.until(lambda: any(e.data["provenance"]["writer_epoch"] > first for e in node.of(Kind.FEATURES)))
        assert node.child(Role.OBSERVER).pid == observer and node.child(Role.OBSERVER).restarts == 0
        assert node.child(Role.WRITER).restarts == 1


async def test_a_replay_that_ends_ends_the_node_and_everything_was_kept(tmp_path: Path) -> None:
    np.save(tmp_path / "run.npy", np.random.default_rng(0).normal(size=(20_000, 1)).astype(np.float32))
    replay = {"name": "press", "kind": "replay", "path": "run.npy", "rate_hz": 10_000, "channels": [{"name": "acc"}]}
    path = written(tmp_path, sources=[replay])
    node = Running(path)
    async with asyncio.timeout(PATIENCE_S):
        await node.task
    assert "source_ended" in node.whats()
    kept = [json.loads(line) for line in (tmp_path / "findings.jsonl").read_text().splitlines()]
    assert len(kept) == len(node.said)
    assert all(line["provenance"]["replayed"] for line in kept if line["kind"] == "features")
    assert list((tmp_path / "rings").iterdir()) == []


async def test_a_source_that_cannot_work_is_named_and_tried_again(tmp_path: Path) -> None:
    replay = {"name": "press", "kind": "replay", "path": "gone.npy", "rate_hz": 10, "channels": [{"name": "acc"}]}
    async with running(written(tmp_path, sources=[replay])) as node:
        await node.until(lambda: node.whats().count("cannot_write") >= 2)
        [first, *_] = [e for e in node.of(Kind.INCIDENT) if e.data["what"] == "cannot_write"]
        assert "gone.npy: No such file" in first.data["detail"]


def command(path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, str(path), "-o", "json"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": ":".join(p for p in sys.path if p)},
    )


def children_of(process: subprocess.Popen[str]) -> list[int]:
    """Reads the node's lines until both children have spoken; their process numbers."""
    assert process.stdout is not None
    pids: dict[str, int] = {}
    for line in process.stdout:
        said = json.loads(line)
        if said.get("what") == "writing":
            pids["writer"] = said["pid"]
        if said["kind"] == "features":
            break
    told = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert str(pids["writer"]) in told
    return [int(pid) for pid in told]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_child_outlives_a_node_that_is_ended_or_killed(tmp_path: Path, number: int) -> None:
    process = command(written(tmp_path))
    try:
        pids = children_of(process)
        assert len(pids) == 2
        handles = [os.pidfd_open(pid) for pid in pids]
        process.send_signal(number)
        code = process.wait(PATIENCE_S)
        assert code == (0 if number == signal.SIGTERM else -9)
        for handle in handles:
            signalled = await_end(handle)
            assert signalled, "a child outlived the node"
    finally:
        process.kill()
        process.communicate()


def await_end(handle: int) -> bool:
    import select

    try:
        return bool(select.select([handle], [], [], PATIENCE_S)[0])
    finally:
        os.close(handle)


async def test_a_bearing_that_fails_closes_its_zone_at_the_coordinator(tmp_path: Path) -> None:
    """The whole way: samples, ring, features, rule, policy, link, coordinator."""
    source = {
        "name": "spindle",
        "kind": "bearing",
        "acts": True,
        "channels": [{"name": "acc"}],
        "damage": {"place": "outer", "after_s": 4.0},
    }
    async with TestServer() as server, Operator(server.target, operator="mara") as operator:
        path = written(
            tmp_path,
            sources=[source],
            features={"samples": 1_024, "bearing": {}, "resonance_hz": [2_500, 4_500]},
            rule={"learning": 40},
            coordinator={"target": server.target, "zones": ["Z_31"], "alarm": "close"},
        )
        async with running(path) as node:
            await node.until(lambda: bool(node.of(Kind.ACTION)))
            [zone] = await operator.zones("Z_31")
            assert zone.state == floor_pb2.ZONE_STATE_CLOSED
            assert zone.closure.agent_id == "edge-press"
            assert "spindle acc" in zone.closure.reason


async def test_a_recording_that_is_short_and_played_fast_is_looked_at_from_its_first_sample(tmp_path: Path) -> None:
    np.save(tmp_path / "short.npy", np.random.default_rng(3).normal(0, 1, (4_096, 1)))
    source = {
        "name": "press",
        "kind": "replay",
        "path": "short.npy",
        "rate_hz": 10_000,
        "speed": 0,
        "channels": [{"name": "acc"}],
    }
    path = written(tmp_path, sources=[source], features={"samples": 1_024, "overlap": 0, "report_every_s": 0})
    found = Running(path)
    await asyncio.wait_for(found.task, PATIENCE_S)
    seen = [entry.data["provenance"]["first_index"] for entry in found.of(Kind.FEATURES)]
    assert seen == [0, 1_024, 2_048, 3_072]


async def test_a_second_node_of_one_configuration_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    path = written(tmp_path)
    async with running(path) as node:
        await node.features(1)
        second = await asyncio.create_subprocess_exec(
            *COMMAND, str(path), "-o", "json", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        _, told = await asyncio.wait_for(second.communicate(), PATIENCE_S)
        assert second.returncode == 1
        assert "runs already" in json.loads(told)["error"]["message"]
        await node.features()
        assert "writer_restarted" not in node.whats()


@pytest.mark.parametrize("reader", ["gone", "stalled"])
async def test_a_node_goes_on_when_nobody_reads_what_it_prints(tmp_path: Path, reader: str) -> None:
    sink = tmp_path / "findings.jsonl"
    path = written(
        tmp_path,
        features={"samples": 256, "overlap": 0, "report_every_s": 0},
        sources=[{"name": "press", "kind": "mock", "rate_hz": 20_000, "channels": [{"name": "acc", "count": 40}]}],
        sink={"path": str(sink)},
    )
    read, write = os.pipe()
    process = await asyncio.create_subprocess_exec(*COMMAND, str(path), "-o", "json", stdout=write)
    os.close(write)
    try:
        if reader == "gone":
            os.close(read)
        # Several times what a pipe holds.
        async with asyncio.timeout(PATIENCE_S):
            while not sink.exists() or sink.stat().st_size < 500_000:
                assert process.returncode is None, "the node ended"
                await asyncio.sleep(0.05)
        process.terminate()
        assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        if reader == "stalled":
            os.close(read)

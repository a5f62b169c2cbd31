"""A coordinator that is killed in the middle of holds, on both stores: nothing is forgotten, nothing is given twice.

Real processes and real signals. Agents work through the SDK in the test's process while the coordinator, a child, gets
SIGKILL twenty times and is started again on the same address and ledger. The test's own books are the ground truth: who
is inside which zone between the grant that let it in and the release that said it left.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from zonelock_client import Agent, Grant, Operator, connect
from zonelock_sim.processes import ServeProcess

from coordinator.store.local_etcd import LocalEtcd

ROUNDS = 20
ZONES = ("A", "B", "C", "D")
AGENTS = 6
FLOOR = """\
format: zonelock.floor/1
site: crash
version: 1
cell_mm: 1000
grid: |
  .....
zones:
  A: {cells: [[0, 0]], hold_max_ms: 60000}
  B: {cells: [[1, 0]], hold_max_ms: 60000}
  C: {cells: [[2, 0]], hold_max_ms: 60000}
  D: {cells: [[3, 0, 2, 1]], hold_max_ms: 60000, capacity: 2}
"""


class Truth:
    """Who is inside what, and whether that was ever one too many."""

    def __init__(self) -> None:
        self.inside: dict[str, dict[str, int]] = {zone: {} for zone in ZONES}
        self.violations: list[str] = []
        self.tokens: dict[str, int] = {}
        self.pairs = 0
        self.resumed = 0

    def enter(self, agent: str, zones: tuple[str, ...], token: int) -> None:
        for zone in zones:
            others = self.inside[zone]
            if len(others) >= (2 if zone == "D" else 1):
                self.violations.append(f"{agent} entered {zone} with {token} while {others} inside")
            if zone != "D" and token <= self.tokens.get(zone, 0):
                self.violations.append(f"{zone}: token {token} after {self.tokens[zone]}")
            self.tokens[zone] = token
            others[agent] = token

    def leave(self, agent: str, zones: tuple[str, ...]) -> None:
        for zone in zones:
            self.inside[zone].pop(agent, None)


async def work(agent: Agent, truth: Truth, rng: random.Random) -> None:
    """Holds one or two zones for a short while, again and again, over every crash."""
    while True:
        zones = tuple(sorted(rng.sample(ZONES, rng.choice((1, 1, 2)))))
        grant = await agent.acquire(*zones, expected_ms=50_000)
        truth.enter(agent.agent_id, zones, grant.token)
        await asyncio.sleep(rng.uniform(0.0, 0.12))
        if not grant.may_move():
            raise AssertionError(f"{agent.agent_id} lost {zones}: {grant.lost_reason}")
        truth.leave(agent.agent_id, zones)
        await grant.cleared()
        truth.pairs += 1


@asynccontextmanager
async def ledger(kind: str, folder: Path) -> AsyncIterator[str]:
    if kind == "sqlite":
        yield f"sqlite:{folder / 'ledger.sqlite'}"
        return
    async with LocalEtcd(3, folder / "etcd") as etcd:
        yield f"etcd:{','.join(etcd.endpoints)}"


async def held(target: str) -> dict[tuple[str, str], int]:
    """(zone, agent) to token, as the coordinator sees it."""
    async with Operator(target, operator="test") as operator:
        return {(z.name, o.agent_id): o.token for z in await operator.zones() for o in z.occupants}


@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", ["sqlite", "etcd"])
async def test_twenty_sigkills_lose_no_grant_and_give_no_zone_twice(
    kind: str, tmp_path: Path, free_port: int, etcd_binary: str
) -> None:
    floor = tmp_path / "floor.yaml"
    floor.write_text(FLOOR, encoding="utf-8")
    rng = random.Random(7)
    truth = Truth()
    target = f"127.0.0.1:{free_port}"
    async with ledger(kind, tmp_path) as store:
        serve = ["--floor", str(floor), "--store", store, "--listen", target, "--web", "off"]
        serve += ["--assume-empty", "-o", "json", "--log-level", "warning"]
        process = ServeProcess(serve)
        await process.start()
        agents = [await connect(target, agent_id=f"AGV_{i:02}") for i in range(AGENTS)]
        anchor = await connect(target, agent_id="ANCHOR")
        anchored = await anchor.acquire("D", expected_ms=55_000)
        workers = [asyncio.create_task(work(a, truth, random.Random(i))) for i, a in enumerate(agents)]
        try:
            for _ in range(ROUNDS):
                anchored = await renewed(anchor, anchored)
                before = truth.pairs
                await progress(truth, before + 5, workers)
                await asyncio.sleep(rng.uniform(0, 0.05))
                os.kill(process.pid, signal.SIGKILL)
                known = {(z, a): t for z, people in truth.inside.items() for a, t in people.items()}
                await process.stop()
                process = ServeProcess(serve)
                await process.start()
                after = await held(target)
                for (zone, agent), token in known.items():
                    if truth.inside[zone].get(agent) == token:  # still inside by its own account
                        assert after.get((zone, agent)) == token, f"{agent} lost {zone}: {after}"
                assert after.get(("D", "ANCHOR")) == anchored.token
            await progress(truth, truth.pairs + 20, workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            for agent_ in (*agents, anchor):
                await agent_.close(flush_s=0.2)
            await process.stop()
    assert truth.violations == []


async def renewed(anchor: Agent, grant: Grant) -> Grant:
    """The same grant while it has time left, or else a fresh one: its own dead-man must not end it during the test."""
    if grant.remaining_ms() > 25_000:
        return grant
    await grant.cleared()
    return await anchor.acquire("D", expected_ms=55_000)


async def progress(truth: Truth, pairs: int, workers: list[asyncio.Task[None]]) -> None:
    """Waits until the agents have carried on; raises what ended one of them."""
    while truth.pairs < pairs:
        for worker in workers:
            if worker.done():
                worker.result()
        await asyncio.sleep(0.01)

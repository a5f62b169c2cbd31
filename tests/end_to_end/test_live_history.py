"""A live run writes its history, process by process, and the simulator's checkers judge it.

Real coordinators on a real store, of which the leading one is killed while agents hold, wait and pass zones on.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from pathlib import Path

import pytest
from end_to_end.test_crash import FLOOR, ledger
from zonelock_client import Agent, connect
from zonelock_sim.options import SimOptions
from zonelock_sim.processes import ServeProcess
from zonelock_sim.run import run_sim

from chaos.check import judge, main
from chaos.chronicle import AgentChronicle, merge

ROUNDS = 3
ZONES = ("A", "B", "C")


async def wander(agent: Agent, chronicle: AgentChronicle, rng: random.Random, times: int) -> None:
    for _ in range(times):
        zone = rng.choice(ZONES)
        grant = await agent.acquire(zone, expected_ms=30_000)
        chronicle.body(agent.agent_id, "enter", zone)
        await asyncio.sleep(rng.uniform(0.0, 0.05))
        chronicle.body(agent.agent_id, "leave", zone)
        await grant.cleared()


def coordinator(folder: Path, store: str, target: str, name: str) -> ServeProcess:
    arguments = ["--floor", str(folder / "floor.yaml"), "--store", store, "--listen", target, "--name", name]
    arguments += ["--web", "off", "--data-dir", str(folder), "--history", str(folder / f"{name}.jsonl")]
    return ServeProcess([*arguments, "--assume-empty", "-o", "json", "--log-level", "warning"])


@pytest.mark.timeout(180)
@pytest.mark.parametrize("kind", ["sqlite", "etcd"])
async def test_the_history_of_a_run_with_killed_leaders_keeps_every_promise(
    kind: str, tmp_path: Path, free_port: int, etcd_binary: Path
) -> None:
    (tmp_path / "floor.yaml").write_text(FLOOR, encoding="utf-8")
    chronicle = AgentChronicle(tmp_path / "agents.jsonl")
    target = f"127.0.0.1:{free_port}"
    async with ledger(kind, tmp_path) as store:
        process = coordinator(tmp_path, store, target, "c1")
        await process.start()
        agents = [await connect(target, agent_id=f"AGV_{i}") for i in range(4)]
        for agent in agents:
            chronicle.watch(agent)
        for round_ in range(ROUNDS):
            rngs = [random.Random(10 * round_ + i) for i in range(len(agents))]
            work = [asyncio.create_task(wander(a, chronicle, r, 8)) for a, r in zip(agents, rngs, strict=True)]
            await asyncio.sleep(0.2)
            os.kill(process.pid, signal.SIGKILL)
            await process.stop()
            process = coordinator(tmp_path, store, target, "c1")
            await process.start()
            await asyncio.gather(*work)
        for agent in agents:
            await agent.close(flush_s=0.5)
        await process.stop()
    files = [str(tmp_path / "c1.jsonl"), str(tmp_path / "agents.jsonl")]
    verdict = judge("run", merged=files)
    assert verdict.problem == ""
    assert [str(v) for v in verdict.violations] == []
    assert (verdict.kinds["restart"], verdict.kinds["crash"]) == (ROUNDS + 1, ROUNDS)
    assert verdict.kinds["deliver"] > 4 * 8 * ROUNDS
    assert main(["--merge", *files]) == 0

    chronicle.body("AGV_9", "enter", "A")  # a machine that nobody let in
    chronicle.close()
    assert [v.invariant for v in judge("run", merged=files).violations] == ["I1"]
    with (tmp_path / "c1.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"t": 1, "src"')  # cut off in the middle of a line
    assert len(merge(Path(f) for f in files)) == verdict.lines + 1


@pytest.mark.timeout(180)
async def test_the_history_of_a_failover_from_one_coordinator_to_another_keeps_every_promise(
    tmp_path: Path, etcd_binary: Path
) -> None:
    (tmp_path / "floor.yaml").write_text(FLOOR, encoding="utf-8")
    chronicle = AgentChronicle(tmp_path / "agents.jsonl")
    async with ledger("etcd", tmp_path) as store:
        first, second = (coordinator(tmp_path, store, "127.0.0.1:0", name) for name in ("c1", "c2"))
        targets = [str((await process.start())["grpc"]) for process in (first, second)]
        agents = [await connect(",".join(targets), agent_id=f"AGV_{i}") for i in range(4)]
        for agent in agents:
            chronicle.watch(agent)
        rngs = [random.Random(i) for i in range(len(agents))]
        work = [asyncio.create_task(wander(a, chronicle, r, 12)) for a, r in zip(agents, rngs, strict=True)]
        await asyncio.sleep(0.2)
        os.kill(first.pid, signal.SIGKILL)
        await asyncio.gather(*work)
        for agent in agents:
            await agent.close(flush_s=0.5)
        await first.stop()
        await second.stop()
    chronicle.close()
    verdict = judge("run", merged=[str(tmp_path / f"{name}.jsonl") for name in ("c1", "c2", "agents")])
    assert (verdict.problem, [str(v) for v in verdict.violations]) == ("", [])
    assert verdict.kinds["takeover"] >= 2  # a leader that etcd answered too late reads its ledger again


@pytest.mark.timeout(120)
async def test_the_live_simulator_writes_both_sides_and_the_bodies(tmp_path: Path) -> None:
    await run_sim(SimOptions(agents=4, seconds=4.0, history=tmp_path))
    verdict = judge("run", merged=[str(tmp_path / f"{name}.jsonl") for name in ("coordinator", "agents")])
    assert (verdict.problem, [str(v) for v in verdict.violations]) == ("", [])
    assert min(verdict.kinds[kind] for kind in ("body", "commit", "deliver", "send")) >= 4

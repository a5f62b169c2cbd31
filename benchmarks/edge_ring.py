"""What observers cost the ring's writer (I10), and what readers get of ten million records written at full speed.

Write latency is measured in one writer process on a processor of its own (where allowed with real-time priority), first
with nobody attached and then with two observers on the other processor: running, stopped by SIGSTOP, and killed in the
middle of it. The four take turns within each round; ratios are taken within a round. With fewer than two processors
free, observers compete with the writer for time, and no ring can help that: the figures then say so.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.report import Effort, Report, medians
from chaos.checkers.undisturbed import ALONE, Phase, ratios, undisturbed

CHECKOUT = Path(__file__).resolve().parent.parent
SHARED_MEMORY = Path("/dev/shm")
CONDITIONS = (ALONE, "running", "stopped", "killed")
OBSERVERS = 2
ROUNDS_EACH = 5
"""Latency rounds per asked-for round: single ones are short, and their median is what counts."""
WRITES = 20_000
LATENCY_SHAPE = {"channels": 256, "frames": 64, "capacity": 1_024}
"""A ring of the usual capacity: 32 MiB, more than a processor's own cache holds."""

SMALL_SHAPE = {**LATENCY_SHAPE, "capacity": 256}
"""8 MiB: where the ring fits into a cache, running observers take lines of it, and the writer fetches them back."""

RECORDS = 10_000_000
SATURATION_SHAPE = {"channels": 4, "frames": 16, "capacity": 4_096}
PHASE_TIMEOUT_S = 30.0


class Process:
    """One of `ring_processes`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def answer(self) -> dict[str, Any]:
        if self.process.stdout is None:
            raise RuntimeError("started without a pipe")
        line = await self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"a process of the benchmark ended with {await self.process.wait()}")
        found: dict[str, Any] = json.loads(line)
        return found

    async def tell(self, what: object) -> None:
        if self.process.stdin is None:
            raise RuntimeError("started without a pipe")
        self.process.stdin.write(f"{what}\n".encode())
        await self.process.stdin.drain()

    async def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()


async def start(role: str, **given: Any) -> tuple[Process, dict[str, Any]]:
    """A process of that role and its first answer."""
    paths = os.pathsep.join((str(CHECKOUT), os.environ.get("PYTHONPATH", "")))
    process = Process(
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "benchmarks.ring_processes",
            role,
            json.dumps(given),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": paths},
        )
    )
    return process, await process.answer()


@contextlib.contextmanager
def folder() -> Iterator[str]:
    """A folder in shared memory, gone afterwards."""
    made = tempfile.mkdtemp(prefix="zonelock-bench-", dir=SHARED_MEMORY if SHARED_MEMORY.is_dir() else None)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def cores() -> tuple[int | None, int | None]:
    """One for the writer, one for the observers; None where there are not two."""
    free = sorted(os.sched_getaffinity(0))
    return (free[-1], free[0]) if len(free) > 1 else (None, None)


async def phase(writer: Process, condition: str, writes: int, observer: dict[str, Any]) -> Phase:
    """Measures the writer once under one condition of its observers."""
    started = [await start("observer", **observer) for _ in range(OBSERVERS if condition != ALONE else 0)]
    observers = [process for process, _ in started]
    try:
        if condition == "stopped":
            for process in observers:
                process.process.send_signal(signal.SIGSTOP)
        await writer.tell(writes)
        if condition == "killed":
            for process in observers:
                process.process.kill()
        try:
            answer = await asyncio.wait_for(writer.answer(), PHASE_TIMEOUT_S)
        except TimeoutError:
            return Phase(condition, writes, 0, {})
        return Phase(condition, writes, writes, {k: v for k, v in answer.items() if k.endswith("_us")})
    finally:
        for process in observers:
            await process.end()


async def latency(
    rounds: int,
    writes: int,
    *,
    planted: bool = False,
    shape: dict[str, int] = LATENCY_SHAPE,
    conditions: tuple[str, ...] = CONDITIONS,
) -> tuple[list[list[Phase]], bool]:
    """`rounds` rounds of the conditions in turn; whether the writer had real-time priority."""
    own, other = cores()
    with folder() as where:
        given = {**shape, "folder": where, "core": own, "realtime": True, "waits": planted}
        writer, ready = await start("measured", **given)
        observer = {"folder": where, "core": other, "nice": 5, "acknowledges": planted}
        try:
            await phase(writer, ALONE, min(writes, 2_000), observer)
            measured: list[list[Phase]] = []
            for turn in range(rounds):
                first = turn % len(conditions)
                order = [*conditions[first:], *conditions[:first]]
                measured.append([])
                for condition in order:
                    measured[-1].append(await phase(writer, condition, writes, observer))
                    if planted:
                        # The observers are gone, and the planted bug must not wait for them in the next phase.
                        forget(Path(where) / "acknowledged")
            return measured, bool(ready["realtime"])
        finally:
            await writer.end()


def forget(acknowledged: Path) -> None:
    """In place: the writer has the file mapped, and a shorter one would kill it."""
    with acknowledged.open("r+b") as file:
        file.write(bytes(8))


async def saturation(records: int) -> dict[str, float]:
    """Writes at full speed with one greedy and one slow reader; RuntimeError when a reader's account is wrong."""
    own, other = cores()
    with folder() as where:
        writer, _ = await start("saturating", **SATURATION_SHAPE, folder=where, core=own)
        started = {
            name: (await start("observer", folder=where, core=other, naps=name == "slow"))[0]
            for name in ("greedy", "slow")
        }
        try:
            await writer.tell(records)
            done = await writer.answer()
            await writer.tell("close")
            figures = {"saturation_records": records, "saturation_records_per_s": records / done["took_s"]}
            for name, process in started.items():
                told = await asyncio.wait_for(process.answer(), PHASE_TIMEOUT_S)
                judge_account(name, told, done["produced"])
                figures |= {f"{name}_{key}": told[key] for key in ("received", "lapped", "torn", "skipped")}
            return figures
        finally:
            for process in (*started.values(), writer):
                await process.end()


def judge_account(name: str, told: dict[str, Any], produced: int) -> None:
    total = told["received"] + told["lapped"] + told["torn"] + told["skipped"]
    if told["wrong"] or told["inexact"] or not total == told["produced"] == produced:
        raise RuntimeError(f"I10: the {name} reader's account is wrong: {told}, and {produced} records were written")


async def run(effort: Effort) -> Report:
    rounds = 1 if effort.smoke else ROUNDS_EACH * effort.rounds
    measured, realtime = await latency(rounds, 500 if effort.smoke else WRITES)
    found = ratios(measured)
    violations = [] if effort.smoke else undisturbed(measured)
    figures = {"writer_realtime": float(realtime), "i10_violations": float(len(violations))}
    for condition in CONDITIONS:
        shares = medians([p.took_us for phases in measured for p in phases if p.observers == condition])
        figures |= {f"write_{condition}_{share}": value for share, value in shares.items()}
    small, _ = await latency(rounds, 500 if effort.smoke else WRITES, shape=SMALL_SHAPE, conditions=(ALONE, "running"))
    found |= {f"small_ring_{name}": ratio for name, ratio in ratios(small).items()}
    figures |= await saturation(20_000 if effort.smoke else int(RECORDS * effort.scale))
    for violation in violations:
        print(violation, file=sys.stderr)
    return Report(rounds, figures, found)

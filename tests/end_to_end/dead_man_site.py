"""A site for dead-man trials: a real coordinator, networks that fail, agents and vehicles in processes of their own.

A trial is one grant of one car in one round. What the body did comes from the vehicle's process, until when it might do
it from the coordinator's own deadline; neither asks the SDK. Everything is on the one CLOCK_BOOTTIME of this machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from zonelock_client import RequestError
from zonelock_client import vehicle as vehicle_file
from zonelock_client.clock import boottime_ns
from zonelock_client.testing import TestServer

from coordinator.core.grants import Grant, Grants

HERE = Path(__file__).parent
LANE_ZONES = 4
HELD_MM = (0.0, 3_000.0)
"""The grant covers the first three zones of a lane."""
STOP_MS = 250
"""50 ms of braking; the rest is for the lateness of a thread on a machine that does other things too."""
BRAKING_MS = 50
EXPECTED_MS = range(700, 1_101)
LATE = (0.2, 0.7)
"""How late answers and the radio are, as a share of the time for moving."""
TOO_LATE = (0.6, 1.2)
SETTLE_S = 60.0

FAULTS = (
    "frozen",
    "nothing",
    "cut both ways",
    "cut towards the coordinator",
    "cut towards the agent",
    "late answers",
    "answers too late",
    "blocked loop",
    "late radio",
    "frozen",
)


class Way:
    """One direction of a network. What is held back is delivered later, as TCP does; nothing is lost."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.late_s = 0.0

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def deliver() -> None:
            while True:
                due_s, data = await queue.get()
                await asyncio.sleep(due_s - loop.time())
                await self.open.wait()
                writer.write(data)
                await writer.drain()

        delivering = asyncio.create_task(deliver())
        try:
            with contextlib.suppress(OSError):
                while data := await reader.read(65_536):
                    queue.put_nowait((loop.time() + self.late_s, data))
        finally:
            delivering.cancel()
            await asyncio.gather(delivering, return_exceptions=True)


class Network:
    """A TCP relay whose two directions fail apart from each other."""

    def __init__(self, towards: str) -> None:
        host, _, port = towards.rpartition(":")
        self._towards = host, int(port)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self.up, self.down = Way(), Way()
        self.target = ""

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.target = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def heal(self) -> None:
        for way in (self.up, self.down):
            way.late_s = 0.0
            way.open.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self._towards)
        ways = [self.up.carry(reader, far_writer), self.down.carry(far_reader, writer)]
        tasks = {asyncio.create_task(way) for way in ways}
        self._tasks |= tasks
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            self._tasks -= tasks
            for end in (writer, far_writer):
                end.transport.abort()


class Process:
    """A Python process that speaks in lines of JSON."""

    def __init__(self, *command: str) -> None:
        self._command = command
        self.said: list[dict[str, Any]] = []
        self._spoke = asyncio.Condition()
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    @property
    def process(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise RuntimeError("the process was not started")
        return self._process

    async def start(self) -> None:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(sys.executable, *self._command, stdin=pipe, stdout=pipe)
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        stdout = self.process.stdout
        while stdout is not None and (line := await stdout.readline()):
            async with self._spoke:
                self.said.append(json.loads(line))
                self._spoke.notify_all()

    def order(self, **fields: Any) -> None:
        stdin = self.process.stdin
        if stdin is not None:
            stdin.write(json.dumps(fields).encode() + b"\n")

    async def until_said(self, key: str, after: int = 0, count: int = 1) -> list[dict[str, Any]]:
        """Waits until `count` lines with this field came after line `after`."""
        async with asyncio.timeout(SETTLE_S), self._spoke:
            await self._spoke.wait_for(lambda: sum(key in line for line in self.said[after:]) >= count)
            return [line for line in self.said[after:] if key in line]

    async def stop(self) -> None:
        """Ends it by closing its standard input, or by force when it does not listen."""
        process = self.process
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(10):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        if self._reader is not None:
            await self._reader


@dataclass
class Group:
    """Cars whose agents share a process, a network, and a fault in each round."""

    cars: dict[str, str]
    network: Network
    agents: Process
    vehicles: Process


@dataclass(frozen=True)
class Trial:
    """One grant of one car, and what the body did under it. Times in ms; `None` where the car never moved under it."""

    token: int
    fault: str
    stood_ms: float | None
    """The stand, relative to the coordinator's deadline: anything above 0 is a body that moves in a zone that is no
    longer its own."""
    ordered_ms: float | None
    """The order to stand, relative to the agent's D."""
    thread_ms: float | None
    """The order to stand, relative to the vehicle's own deadline."""
    outside_mm: float
    """How far the contour was outside the zones of the grant."""

    @property
    def is_harmless(self) -> bool:
        return self.outside_mm <= 0 and (self.stood_ms is None or self.stood_ms <= 0)


@dataclass
class Site:
    """`async with Site(...)`: `cars` in each of two groups, one behind streams of their own, one behind a gateway."""

    folder: Path
    cars: int = 4
    seed: int = 1
    plant_agent: str = "none"
    plant_vehicle: str = "none"
    expected_ms: range = EXPECTED_MS
    late: tuple[float, float] = LATE
    groups: list[Group] = field(default_factory=list)
    deadlines_ns: dict[int, int] = field(default_factory=dict)
    faults: dict[int, str] = field(default_factory=dict)

    async def __aenter__(self) -> Self:
        self.rng = random.Random(self.seed)
        self._stack = contextlib.AsyncExitStack()
        try:
            await self._open()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def _open(self) -> None:
        floor = self.folder / "lanes.yaml"
        floor.write_text(lanes(2 * self.cars), "utf-8")
        self.server = await self._stack.enter_async_context(TestServer(floor, check_invariants=True))
        self._note_deadlines(self.server.coordinator.runtime.machine.grants)
        for n, mode in enumerate(("single", "gateway")):
            network = Network(self.server.target)
            await network.start()
            self._stack.push_async_callback(network.stop)
            lane_of = {f"{mode}_{i}": f"L{n * self.cars + i}" for i in range(self.cars)}
            lane_list = [f"{lane}={car}" for car, lane in lane_of.items()]
            script = str(HERE / "dead_man_agent.py")
            agents = Process(script, network.target, mode, self.plant_agent, str(STOP_MS), *lane_list)
            await agents.start()
            self._stack.push_async_callback(agents.stop)
            (ready,) = await agents.until_said("port")
            script, sdk = str(HERE / "dead_man_vehicle.py"), vehicle_file.__file__
            vehicles = Process("-I", "-S", script, sdk, str(ready["port"]), self.plant_vehicle, *lane_list)
            await vehicles.start()
            self._stack.push_async_callback(vehicles.stop)
            self.groups.append(Group(lane_of, network, agents, vehicles))

    def _note_deadlines(self, grants: Grants) -> None:
        """Reads the coordinator's own deadline of each grant where it is set."""
        start = grants.start

        def noted(grant: Grant, now_ms: int, lasts_ms: int, warn_permille: int) -> None:
            start(grant, now_ms, lasts_ms, warn_permille)
            self.deadlines_ns[grant.token] = grant.deadline_ms * 1_000_000

        grants.start = noted  # type: ignore[method-assign]

    async def round(self, *faults: str) -> None:
        """One grant for every car, with a fault for each group; ends with everything healed and reset."""
        expected_ms = self.rng.choice(self.expected_ms)
        before = [len(group.agents.said) for group in self.groups]
        known = set(self.deadlines_ns)
        await asyncio.gather(
            *(self._suffer(group, fault, expected_ms) for group, fault in zip(self.groups, faults, strict=True))
        )
        for group, said in zip(self.groups, before, strict=True):
            await group.agents.until_said("outcome", said, len(group.cars))
        granted = set(self.deadlines_ns) - known
        last_ns = max((self.deadlines_ns[token] for token in granted), default=0)
        await asyncio.sleep(max(0.0, (last_ns - boottime_ns()) / 1e9) + 0.1)
        lane_fault = {
            lane: fault for group, fault in zip(self.groups, faults, strict=True) for lane in group.cars.values()
        }
        units = self.server.coordinator.runtime.machine.units
        for token in granted:
            lane = next((u.zone.partition("_")[0] for u in units.with_token(token)), "")
            self.faults[token] = lane_fault.get(lane, "?")
        await self._settle()

    async def _suffer(self, group: Group, fault: str, expected_ms: int) -> None:
        move_ms = expected_ms - STOP_MS
        network, agents = group.network, group.agents
        if fault == "late answers":
            network.down.late_s = self.rng.uniform(*self.late) * move_ms / 1_000
        elif fault == "answers too late":
            network.down.late_s = self.rng.uniform(*TOO_LATE) * move_ms / 1_000
        elif fault == "late radio":
            agents.order(do="radio", ms=round(self.rng.uniform(*self.late) * move_ms))
        agents.order(do="go", expected_ms=expected_ms)
        await asyncio.sleep(self.rng.uniform(0.1, 0.6) * move_ms / 1_000)
        if fault == "frozen":
            os.kill(agents.process.pid, signal.SIGSTOP)
        elif fault == "blocked loop":
            agents.order(do="block", ms=expected_ms)
        if fault in ("cut both ways", "cut towards the coordinator"):
            network.up.open.clear()
        if fault in ("cut both ways", "cut towards the agent"):
            network.down.open.clear()
        await asyncio.sleep(expected_ms / 1_000 + 0.1)
        if fault == "frozen":
            os.kill(agents.process.pid, signal.SIGCONT)
        network.heal()
        agents.order(do="radio", ms=0)

    async def _settle(self) -> None:
        """Resets what the overstays stopped, as soon as every car has confirmed that it stands."""
        async with asyncio.timeout(SETTLE_S):
            while True:
                try:
                    await self.server.reset()
                    break
                except RequestError as error:
                    if error.reason != "OCCUPANT_UNCONFIRMED":
                        raise
                    await asyncio.sleep(0.05)
        for group in self.groups:
            said = len(group.agents.said)
            group.agents.order(do="settle")
            await group.agents.until_said("settled", said)

    def trials(self) -> list[Trial]:
        """Every grant so far, and what its car did under it."""
        said = [line for group in self.groups for line in group.agents.said if line.get("token")]
        holder_ns = {line["token"]: line["deadline_ns"] for line in said}
        motions: dict[int, list[dict[str, Any]]] = {}
        for group in self.groups:
            for motion in group.vehicles.said:
                motions.setdefault(motion["token"], []).append(motion)
        return [
            trial(token, fault, self.deadlines_ns[token], holder_ns.get(token), motions.get(token, []))
            for token, fault in sorted(self.faults.items())
        ]


def trial(token: int, fault: str, deadline_ns: int, holder_ns: int | None, motions: Iterable[dict[str, Any]]) -> Trial:
    last = max(motions, key=lambda m: int(m["until_ns"]), default=None)
    if last is None:
        return Trial(token, fault, None, None, None, 0.0)
    outside = max(max(HELD_MM[0] - m["lo_mm"], m["hi_mm"] - HELD_MM[1]) for m in motions)
    return Trial(
        token=token,
        fault=fault,
        stood_ms=(last["until_ns"] - deadline_ns) / 1e6,
        ordered_ms=None if holder_ns is None else (last["ordered_ns"] - holder_ns) / 1e6,
        thread_ms=(last["ordered_ns"] - last["due_ns"]) / 1e6,
        outside_mm=outside,
    )


def lanes(count: int) -> str:
    """A floor of lanes side by side, each with a stop group of its own."""
    zones = "\n".join(
        f"  L{lane}_{n}: {{cells: [[{n}, {lane}]], stop_group: lane_{lane}}}"
        for lane in range(count)
        for n in range(LANE_ZONES)
    )
    grid = "\n".join(f"  {'.' * LANE_ZONES}" for _ in range(count))
    return (
        f"format: zonelock.floor/1\nsite: lanes\nversion: 1\ncell_mm: 1000\ngrid: |\n{grid}\n"
        f"defaults: {{capacity: 1, stop_group: lanes, hold_max_ms: 60000}}\nzones:\n{zones}\n"
        "agent_kinds:\n  agv: {speed_mm_s: 800, braking_mm_s2: 16000, length_mm: 400, width_mm: 400}\n"
    )


def summary(trials: list[Trial]) -> str:
    """A table by fault: how many trials, in how many the car moved, and the worst times."""
    rows = [f"{'fault':<28} trials  moved  stand to coordinator's  order to D  order to own  outside mm"]
    for fault in [*sorted({t.fault for t in trials}), "all"]:
        of = [t for t in trials if fault in (t.fault, "all")]
        moved = [t for t in of if t.stood_ms is not None]
        worst = [
            max((v for t in of if (v := getattr(t, name)) is not None), default=float("nan"))
            for name in ("stood_ms", "ordered_ms", "thread_ms")
        ]
        outside = max((t.outside_mm for t in moved), default=float("nan"))
        rows.append(
            f"{fault:<28} {len(of):6} {len(moved):6} {worst[0]:20.1f} ms {worst[1]:8.1f} ms {worst[2]:10.1f} ms "
            f"{outside:11.0f}"
        )
    return "\n".join(rows)

"""One simulated run from its options to its report: what `zonelock demo` and `zonelock sim` do underneath.

The rule owned here: input is read and checked whole before any process starts, and whatever was started is gone when
the run returns, raises or is cancelled.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
from zonelock_client import Operator, RequestError

from coordinator.floor import Floor
from coordinator.floor.examples import bundled
from coordinator.floor.importers import from_moving_ai, read_scenario
from coordinator.floor.model import read_text
from zonelock_sim.bodies import Cell
from zonelock_sim.options import Progress, Report, SimError, SimOptions, Tell
from zonelock_sim.processes import Endpoint, coordinator
from zonelock_sim.scene import Scene
from zonelock_sim.uplink import Uplink

PROGRESS_S = 1.0
DEMO_FLOOR = "machining"


@dataclass(frozen=True, slots=True)
class Stage:
    """The floor and the transport orders of a run, read and checked."""

    floor: Floor
    pairs: list[tuple[Cell, Cell]] | None


async def run_sim(options: SimOptions, tell: Tell = lambda progress: None, stop: asyncio.Event | None = None) -> Report:
    """Runs the simulated floor as `options` say; `tell` hears how it goes, on this event loop.

    Starts a coordinator of its own unless `options.server` names one. Runs for `options.seconds` or until `stop` is set
    (by a signal handler, say), whichever comes first, and reports in both cases. Raises SimError, IncidentError, and
    FloorError for bad floors, maps and scenarios; whatever it started is stopped first, also when it is cancelled.
    """
    telling = _Telling(tell)
    stage = await load_stage(options)
    if options.virtual:
        return await _run_virtual(options, stage, telling, stop)
    uplink = Uplink(floor_hash=stage.floor.hash, gateway=options.gateway, credentials=options.credentials)
    scene = Scene(stage.floor, options, uplink, pairs=stage.pairs, tell=telling.say)
    telling.say("starting", _opening(options, stage))
    recording = contextlib.nullcontext() if options.history is None else _recording(options.history, uplink, scene)
    async with _endpoint(options, stage) as endpoint:
        telling.at(endpoint)
        telling.say("ready", f"coordinator at {endpoint.target}, store {endpoint.store}")
        with recording:
            async with uplink.open(endpoint.target):
                beside = [
                    asyncio.create_task(telling.every_second(scene)),
                    asyncio.create_task(uplink.watch(scene.world.traffic, frozenset(scene.agents))),
                ]
                try:
                    await _unless_it_dies(scene.run(options.seconds, stop), endpoint)
                finally:
                    for task in beside:
                        task.cancel()
                    await asyncio.gather(*beside, return_exceptions=True)
            report = replace(scene.report(), store=endpoint.store.partition(":")[0])
        telling.say("stopping", "done; stopping what was started", report)
    return report


@contextlib.contextmanager
def _recording(folder: Path, uplink: Uplink, scene: Scene) -> Iterator[None]:
    """The agents' side of the run's history, and where the vehicles' bodies are.

    Arms swing between two looks of the ground truth, which is too coarse for a history: they are judged by the ledger.
    """
    from chaos.chronicle import AgentChronicle

    chronicle = AgentChronicle(folder / "agents.jsonl")
    uplink.on_agent = chronicle.watch
    vehicles = {vehicle.agent_id for vehicle in scene.vehicles}

    def passed(body: str, what: str, zone: str) -> None:
        if body in vehicles:
            placed = what == "removed" or scene.truth.observations == 1  # not by itself
            chronicle.body(body, what, zone, by="people" if placed else "self")

    scene.truth.on_zone = passed
    with contextlib.closing(chronicle):
        yield


async def _run_virtual(options: SimOptions, stage: Stage, telling: _Telling, stop: asyncio.Event | None) -> Report:
    """The run has an event loop and a thread of its own; this one goes on hearing signals.

    Cancelled, it still tells the report of what was done so far.
    """
    from zonelock_sim.virtual import run_virtual

    loop, stopping = asyncio.get_running_loop(), threading.Event()

    def say(kind: str, message: str, report: Report | None) -> None:
        loop.call_soon_threadsafe(telling.say, kind, message, report)

    telling.say("starting", f"{_opening(options, stage)}, on virtual time")
    running = asyncio.create_task(asyncio.to_thread(run_virtual, stage.floor, options, stage.pairs, say, stopping))
    asked = asyncio.create_task((stop or asyncio.Event()).wait())
    try:
        await asyncio.wait({running, asked}, return_when=asyncio.FIRST_COMPLETED)
        stopping.set()
        return await running
    finally:
        stopping.set()
        asked.cancel()
        await asyncio.gather(running, asked, return_exceptions=True)
        if not running.cancelled() and running.exception() is None:
            telling.say("stopping", "done", running.result())


async def _unless_it_dies(running: Coroutine[Any, Any, None], endpoint: Endpoint) -> None:
    """Runs to the end, or raises SimError when the coordinator that this run started ends before."""
    run, died = asyncio.create_task(running), asyncio.create_task(endpoint.died())
    try:
        await asyncio.wait({run, died}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (run, died):
            if not task.done():
                task.cancel()
        await asyncio.gather(run, died, return_exceptions=True)
    if not run.cancelled():
        run.result()
    elif not died.cancelled():
        raise SimError(f"the coordinator ended while agents were driving; it said:\n{died.result()}")


async def load_stage(options: SimOptions) -> Stage:
    """Reads floor and scenario. Raises FloorError with every problem found, SimError when the server has no answer."""
    if options.floor is None and options.server is not None:
        floor = await _floor_of(options.server, options.credentials)
    else:
        floor = load_floor(options.floor or bundled(DEMO_FLOOR), aisles=options.aisles)
    pairs: list[tuple[Cell, Cell]] | None = None
    if options.scenario is not None:
        tasks = read_scenario(read_text(options.scenario), floor, source=str(options.scenario))
        pairs = [(task.start, task.goal) for task in tasks]
    return Stage(floor, pairs)


def load_floor(path: Path, *, aisles: bool = False) -> Floor:
    """A floor YAML, or a Moving AI map by its suffix `.map`. Raises FloorError."""
    if path.suffix == ".map":
        return from_moving_ai(read_text(path), aisles=aisles, site=path.stem, source=str(path))
    return Floor.load(path)


async def _floor_of(server: str, credentials: grpc.ChannelCredentials | None) -> Floor:
    """The floor that a running coordinator works on."""
    try:
        async with Operator(server, operator="zonelock-sim", credentials=credentials) as operator:
            return Floor.parse((await operator.floor()).source_yaml, f"the floor of {server}")
    except RequestError as error:
        raise SimError(f"server {server}: {error}; check the address, or start one with `zonelock serve`") from error


@contextlib.asynccontextmanager
async def _endpoint(options: SimOptions, stage: Stage) -> AsyncIterator[Endpoint]:
    if options.server is not None:
        yield Endpoint(options.server, "", "server")
        return
    async with coordinator(options, stage.floor.to_yaml()) as endpoint:
        yield endpoint


def _opening(options: SimOptions, stage: Stage) -> str:
    floor = stage.floor
    text = f"{options.agents} vehicles on {floor.site}: {floor.width} × {floor.height} cells, {len(floor.zones)} zones"
    if options.server is not None:
        return f"{text}; coordinator {options.server}"
    return f"{text}; starting a coordinator on {options.store}, seed {options.seed}"


class _Telling:
    """Puts what happens into Progress values."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._began = time.monotonic()
        self._target = ""
        self._web_url = ""

    def at(self, endpoint: Endpoint) -> None:
        self._target, self._web_url = endpoint.target, endpoint.web_url

    def say(self, kind: str, message: str, report: Report | None = None) -> None:
        elapsed_s = time.monotonic() - self._began
        self._tell(Progress(kind, message, elapsed_s, self._target, self._web_url, report))

    async def every_second(self, scene: Scene) -> None:
        await scene.world.gate.wait()
        while True:
            report = scene.report()
            self.say(
                "running",
                f"{report.seconds:.0f} s: {report.tasks_done} tasks done, {report.grants} grants, "
                f"{report.collisions} collisions, {report.stops} stops",
                report,
            )
            await asyncio.sleep(PROGRESS_S)

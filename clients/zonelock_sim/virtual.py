"""A run on virtual time: the same vehicles, SDK and coordinator in one process, without sockets, threads or waiting.

What is real: the coordinator's runtime, core and gRPC services, the SDK with its links and session core, and every
frame, which becomes bytes and is read back. What is not: time (`chaos.sim.loop`), the network (`chaos.sim.transport`,
with delays drawn by the seed), the store (`memory_store`) and the thread of the SDK's dead-man, whose turns are timers
here. The rule owned here: nothing in a run depends on the machine it runs on; the same options give the same report,
wall time aside. Imports the coordinator and `chaos` only when such a run is asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextvars import Context
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import zonelock_client.agent
import zonelock_client.dead_man
import zonelock_client.fleet
import zonelock_client.grant
import zonelock_client.link
import zonelock_client.operators
import zonelock_client.standstill
from zonelock.v1 import safety_service_pb2_grpc
from zonelock_client.clock import boottime_ns
from zonelock_client.dead_man import process_dead_man

from coordinator.floor import Floor
from zonelock_sim.bodies import Cell
from zonelock_sim.memory_store import MemoryStore
from zonelock_sim.options import Report, SimError, SimOptions
from zonelock_sim.scene import Scene
from zonelock_sim.uplink import Uplink
from zonelock_sim.world import VIRTUAL_PACE

if TYPE_CHECKING:
    from chaos.sim.loop import Process, VirtualLoop
    from chaos.sim.transport import Transport
    from coordinator.runtime import Runtime

Say = Callable[[str, str, Report | None], None]

COORDINATOR, FLEET = "coordinator", "fleet"
BOOT_S = 1_000
"""What the clocks show when a run begins; nothing may depend on it."""

COMMIT_MS = 2.0
LINK_TICK_S = 0.2
"""How often the SDK's links look at the time. Deadlines do not wait for it: the dead-man has timers of its own."""

MAX_VIRTUAL_S = 86_400
PROGRESS_WALL_S = 1.0
LOOK_S = 0.5
SILENCED = ("zonelock", "coordinator")

_CLOCKED = (
    zonelock_client.agent,
    zonelock_client.dead_man,
    zonelock_client.grant,
    zonelock_client.link,
    zonelock_client.standstill,
)

_T = TypeVar("_T")


def run_virtual(
    floor: Floor, options: SimOptions, pairs: list[tuple[Cell, Cell]] | None, say: Say, stopping: threading.Event
) -> Report:
    """Runs to the end of `options.seconds`, of all tasks, or until `stopping` is set. Raises SimError, IncidentError.

    Takes the calling thread, which must run no event loop, for as long as it goes.
    """
    from chaos.sim.loop import NS_PER_S, Process
    from chaos.sim.network import Network
    from chaos.sim.transport import Transport

    loop = _virtual_loop()
    rng = random.Random(f"{options.seed} sdk")
    transport = Transport(loop, Network(loop, lambda concern: random.Random(f"{options.seed} {concern}")))
    fleet, host = (Process(loop, name, boot_ns=BOOT_S * NS_PER_S) for name in (FLEET, COORDINATOR))
    run = _Run(loop, transport, host, floor, options, pairs, say, stopping)
    asyncio.set_event_loop(loop)
    try:
        with _seams(rng, transport, fleet):
            task = loop.create_task(run.main(), name="virtual run", context=fleet.context.copy())
            loop.run_world(task.done, MAX_VIRTUAL_S * NS_PER_S)
            if not task.done():
                raise SimError(f"the run did not end within {MAX_VIRTUAL_S} virtual seconds; give it --seconds")
            report = task.result()
            loop.run_world(lambda: False, loop.true_ns)  # what ended with the run has its last turns
    finally:
        asyncio.set_event_loop(None)
        loop.close()
    for what, error in loop.failures:
        raise SimError(f"the simulated site failed: {what}: {error!r}") from error
    return report


class _Run:
    """The coordinator, the agents and the end of one run."""

    def __init__(
        self,
        loop: VirtualLoop,
        transport: Transport,
        host: Process,
        floor: Floor,
        options: SimOptions,
        pairs: list[tuple[Cell, Cell]] | None,
        say: Say,
        stopping: threading.Event,
    ) -> None:
        self._loop, self._transport, self._host = loop, transport, host
        self._floor, self._options, self._pairs = floor, options, pairs
        self._say, self._stopping = say, stopping
        self._began = time.monotonic()

    async def main(self) -> Report:
        runtime = self._boot()
        serving = self._loop.create_task(runtime.run(), name="coordinator", context=self._host.context.copy())
        uplink = Uplink(floor_hash=self._floor.hash, gateway=self._options.gateway)
        over = asyncio.Event()
        try:
            scene = Scene(
                self._floor,
                self._options,
                uplink,
                pairs=self._pairs,
                tell=lambda kind, message: self._say(kind, message, None),
                pace=replace(VIRTUAL_PACE, naive=self._options.naive),
            )
            async with uplink.open(f"{COORDINATOR}:0"):
                looking = asyncio.create_task(self._look(scene, over, serving))
                try:
                    await scene.run(self._options.seconds, over)
                finally:
                    looking.cancel()
                    await asyncio.gather(looking, return_exceptions=True)
            return self._report(scene)
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)

    def _report(self, scene: Scene) -> Report:
        """The count so far."""
        return replace(scene.report(), store="memory", wall_seconds=round(time.monotonic() - self._began, 1))

    def _boot(self) -> Runtime:
        """The coordinator: what `coordinator.app` puts together, on the simulated network."""
        from chaos.sim.seams import BOOTED, boottime_ms
        from chaos.sim.transport import SimServer
        from coordinator.core.model import Timing
        from coordinator.rpc.errors import Tally
        from coordinator.rpc.limits import RpcLimits
        from coordinator.rpc.safety_service import SafetyService
        from coordinator.rpc.watch import FloorFeed
        from coordinator.rpc.zone_service import ZoneService, add_to_server
        from coordinator.runtime import Runtime

        runtime = Runtime(
            self._floor.spec(),
            MemoryStore(COMMIT_MS),
            Timing(),
            assume_empty=True,
            now_ms=boottime_ms,
            wall_time=lambda: BOOTED,
        )
        limits, tally = RpcLimits(), Tally()
        server = SimServer(self._transport, COORDINATOR, self._host)
        zones = ZoneService(runtime, self._floor, FloorFeed(runtime, self._floor, limits), limits, tally)
        add_to_server(zones, server)  # type: ignore[arg-type]
        safety = SafetyService(runtime, limits, tally)
        safety_service_pb2_grpc.add_SafetyServiceServicer_to_server(safety, server)  # type: ignore[arg-type]
        return runtime

    async def _look(self, scene: Scene, over: asyncio.Event, serving: asyncio.Task[None]) -> None:
        """Ends the run when its work is done, when nobody moves any more, when somebody asks; tells how it goes."""
        told = time.monotonic()
        while not over.is_set():
            await asyncio.sleep(LOOK_S)
            if serving.done() or self._stopping.is_set() or scene.finished():
                over.set()
            if time.monotonic() - told >= PROGRESS_WALL_S and scene.world.gate.is_set():
                told, report = time.monotonic(), self._report(scene)
                of = f" of {report.tasks_total - report.tasks_unreachable}" if report.tasks_total else ""
                text = (
                    f"{report.seconds:.0f} virtual s in {report.wall_seconds:.0f} s: {report.tasks_done}{of} tasks, "
                    f"{report.grants} grants, {report.collisions} collisions, {report.stops} stops"
                )
                self._say("running", text, report)
        if serving.done():
            serving.result()


def _virtual_loop() -> VirtualLoop:
    from chaos.sim.loop import VirtualLoop

    class Loop(VirtualLoop):
        """Nobody is killed in such a run, so tasks that have ended need not be kept."""

        def create_task(
            self,
            coro: Generator[Any, None, _T] | Coroutine[Any, Any, _T],
            *,
            name: object = None,
            context: Context | None = None,
        ) -> asyncio.Task[_T]:
            return asyncio.Task(coro, loop=self, name=name, context=context)  # type: ignore[arg-type]

    return Loop()


@contextlib.contextmanager
def _seams(rng: random.Random, transport: Transport, fleet: Process) -> Iterator[None]:
    """The SDK's and the coordinator's clocks, chance, thread and sockets are the simulated site's, until the end.

    The seams are module attributes. One that no longer exists fails here at once instead of letting real time in. What
    other threads of this process do with the SDK meanwhile (a dead-man that watches real grants) goes on as it was.
    """
    import coordinator.rpc.safety_service
    from chaos.sim import seams
    from chaos.sim.loop import PROCESS

    def inside(simulated: Callable[..., Any], real: Callable[..., Any]) -> Callable[..., Any]:
        def either(*args: Any) -> Any:
            return (real if PROCESS.get() is None else simulated)(*args)

        return either

    dead_man = fleet.context.copy().run(seams.SimDeadMan)
    chance = _Chance(rng)
    clock = inside(seams.boottime_ns, boottime_ns)
    channel = inside(transport.channel, zonelock_client.link.open_channel)
    replaced: list[tuple[Any, str, Any]] = [(module, "boottime_ns", clock) for module in _CLOCKED]
    replaced += [
        (zonelock_client.link, "TICK_S", LINK_TICK_S),
        (zonelock_client.link, "random", chance),
        (zonelock_client.link, "open_channel", channel),
        (zonelock_client.operators, "open_channel", channel),
        (zonelock_client.operators, "uuid", chance),
        (zonelock_client.fleet, "secrets", chance),
        (zonelock_client.fleet, "process_dead_man", inside(lambda: dead_man, process_dead_man)),
        (coordinator.rpc.safety_service, "_wall_clock", lambda: seams.BOOTED),
    ]
    kept = [(module, name, getattr(module, name)) for module, name, _ in replaced]
    loggers = [logging.getLogger(name) for name in SILENCED]
    levels = [logger.level for logger in loggers]
    for module, name, value in replaced:
        setattr(module, name, value)
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for module, name, value in kept:
            setattr(module, name, value)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


class _Chance:
    """What the SDK takes from `random`, `secrets` and `uuid`, by the run's seed."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def uniform(self, low: float, high: float) -> float:
        return self._rng.uniform(low, high)

    def token_hex(self, size: int) -> str:
        return self._rng.randbytes(size).hex()

    def token_bytes(self, size: int) -> bytes:
        return self._rng.randbytes(size)

    def uuid4(self) -> UUID:
        return UUID(bytes=self._rng.randbytes(16))

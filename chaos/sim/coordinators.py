"""The real coordinator as a simulated process: runtime, core, session streams, operators' calls, EtcdStore.

Only sockets and clocks are replaced. Every event and step of its core goes into the history and is checked against the
core's invariants; a core that raises, or a runtime that ends, is a finding. A coordinator can be killed at any task
switch and started again with nothing but the ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from zonelock.v1 import cluster_service_pb2_grpc, safety_service_pb2_grpc

from chaos.recording import CoordinatorRecord
from chaos.sim.etcd_client import ENDPOINT, EtcdPath
from chaos.sim.loop import NS_PER_MS, Process, current_process
from chaos.sim.seams import BOOTED, boottime_ms
from chaos.sim.transport import SimServer
from chaos.sim.truth import LEDGER
from coordinator.core import events as ev
from coordinator.core.effects import Send, Step
from coordinator.core.invariants import check
from coordinator.core.machine import Machine
from coordinator.core.model import NOTHING_SEEN, Mark, Record
from coordinator.core.rejections import Refusal
from coordinator.rpc.cluster_service import ClusterFacts, ClusterService
from coordinator.rpc.errors import Tally
from coordinator.rpc.leader_line import LeaderLine
from coordinator.rpc.limits import RpcLimits
from coordinator.rpc.safety_service import SafetyService
from coordinator.rpc.session import SessionStream
from coordinator.rpc.watch import FloorFeed
from coordinator.rpc.zone_service import ZoneService, add_to_server
from coordinator.runtime import Halted, Outlet, Runtime
from coordinator.store import codec
from coordinator.store.etcd import EtcdStore
from coordinator.store.etcd_journal import ENTRY, decoded
from coordinator.store.etcdpb import rpc_pb2

if TYPE_CHECKING:
    from chaos.sim.world import World


CHECK_EVERY = 8
"""The core's invariants are asked after every event that had an effect, and after so many that had none."""

PORT = 7600
HALT_MS = 1_500
"""How long a person needs to see why a coordinator has halted."""


class SimCoordinator:
    """One coordinator's host: started, killed, stopped and started again by the nemesis."""

    def __init__(self, world: World, name: str, path: EtcdPath) -> None:
        self.world, self.name, self.path = world, name, path
        self.record = CoordinatorRecord(world.history, name)
        path.on_write = self._wrote
        self.process: Process | None = None
        self.runtime: WatchedRuntime | None = None
        self.marks = KeptMark()
        self.crashes = 0
        self._boots = self._quiet_events = 0

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.alive

    def start(self) -> None:
        """Boots the process. Its clock begins anywhere and counts at its own rate."""
        if self.running:
            raise RuntimeError(f"{self.name} runs already: two of it would be a fault that no plan draws")
        world, self._boots = self.world, self._boots + 1
        rng = world.chance(f"clock {self.name} {self._boots}")
        process = Process(
            world.loop,
            self.name,
            boot_ns=rng.randrange(1, 4_000_000) * NS_PER_MS,
            rate_ppm=world.rate_ppm(rng),
        )
        process.on_death.append(self._died)
        self.process = process
        world.transport.silent_hosts.discard(self.name)
        self.record.restarted(world.loop.now_ms)
        process.call(self._boot)

    def _boot(self) -> None:
        world, process = self.world, current_process()
        store = EtcdStore(ENDPOINT, name=self.name, lease_ms=world.plan.lease_ms, compact_every=0)
        self.path.epoch = lambda: store._epoch
        runtime = WatchedRuntime(self, store)
        self.runtime = runtime
        limits, tally = RpcLimits(), Tally()
        address = f"{self.name}:{PORT}"
        store.introduce(self.name, address)
        line = LeaderLine(runtime)
        line.introduce(self.name, address)
        line.on_change = store.follow_by(line)
        facts = ClusterFacts(name=self.name, address=address, leader_id=store.identity)
        server = SimServer(world.transport, self.name, process)
        cluster = ClusterService(runtime, limits, tally, facts)
        cluster_service_pb2_grpc.add_ClusterServiceServicer_to_server(cluster, server)  # type: ignore[arg-type]
        zones = ZoneService(runtime, world.floor, FloorFeed(runtime, world.floor, limits), limits, tally)
        add_to_server(zones, server)  # type: ignore[arg-type]
        safety = SafetyService(runtime, limits, tally, line)
        safety_service_pb2_grpc.add_SafetyServiceServicer_to_server(safety, server)  # type: ignore[arg-type]
        process.launch(lambda: self._run(runtime), "runtime")

    async def _run(self, runtime: Runtime) -> None:
        try:
            await runtime.run()
        except asyncio.CancelledError:
            raise
        except Halted:
            # What a foreign writer deserves: an alarm. A person looks, and starts the coordinator again.
            if not self.world.etcd.touched:
                self.world.violate(f"{self.name}: halted over a foreign write, and there was none")
            self.kill()
            self.world.loop.after_ms(HALT_MS, self._start_again)
        except Exception as error:
            self.world.violate(f"{self.name}: the runtime ended: {type(error).__name__}: {error}")

    def _start_again(self) -> None:
        if not self.running:  # a restoration may have started it before
            self.start()

    def kill(self, *, power: bool = False) -> None:
        if self.process is not None and self.process.alive:
            if power:
                self.world.transport.silent_hosts.add(self.name)
            self.process.kill()

    def _died(self) -> None:
        self.path.fate.given_up = True  # what is under way may still be applied, after its sender's death
        self.crashes += 1
        self.runtime = None
        self.record.crashed(self.world.loop.now_ms)

    # -- what it does --------------------------------------------------------------------------------------------

    def _wrote(self, request: rpc_pb2.TxnRequest, epoch: int, outcome: str, applied: bool, revision: int) -> None:
        """Written down when it is applied: the order of these lines is the ledger's own."""
        records: dict[str, Record | None] = {}
        folded: list[str] = []
        for operation in request.success:
            put, delete = operation.request_put, operation.request_delete_range
            path = put.key or delete.key
            key = path.removeprefix(LEDGER).decode()
            if path.startswith(LEDGER) and not key.startswith(ENTRY):
                folded.append(key)
            elif path.startswith(LEDGER) and put.key:
                for name, value in decoded(key, put.value).items():
                    records[name] = codec.decode(name, value) if value is not None else None
        if applied:
            self.world.truth.folded(folded)
        if not records:
            return
        self.world.commits += 1
        self.record.committed(
            self.world.loop.now_ms,
            records,
            epoch=epoch,
            outcome=outcome,
            revision=revision or None,
            applied=applied if outcome == "lost" else None,
        )

    def handled(self, machine: Machine, event: ev.Event, step: Step) -> None:
        world = self.world
        world.events += 1
        if step.writes or step.stops or not isinstance(event, (ev.Heard, ev.Ticked, ev.Committed, ev.Reported)):
            self.record.handled(world.loop.now_ms, event, step, stream=self._stream_of(event))
        world.truth.on_step(f"{self.name} (ledger {self.record.run})", machine, step)
        self._quiet_events = 0 if step.writes or step.sends or step.stops else self._quiet_events + 1
        if self._quiet_events % CHECK_EVERY == 0:
            for broken in check(machine):
                world.violate(f"{self.name} after {type(event).__name__}: {broken}")

    def _stream_of(self, event: ev.Event) -> int | None:
        conn, runtime = getattr(event, "conn", None), self.runtime
        return runtime.streams.get(conn) if runtime is not None and conn is not None else None


class KeptMark:
    """The coordinator's high-water file: it outlives the process."""

    def __init__(self) -> None:
        self._mark = NOTHING_SEEN

    def read(self) -> Mark:
        return self._mark

    def write(self, mark: Mark) -> None:
        self._mark = mark


class WatchedRuntime(Runtime):
    """The runtime, with an ear at its core and at every outlet."""

    def __init__(self, host: SimCoordinator, store: EtcdStore) -> None:
        world, self._host = host.world, host
        self.streams: dict[int, int] = {}
        """The runtime's own count of a stream -> its number in the history."""
        super().__init__(
            world.floor.spec(),
            store,
            world.timing,
            marks=host.marks,  # type: ignore[arg-type]  # what a file of that kind does
            now_ms=boottime_ms,
            wall_time=lambda: BOOTED,
        )

    def attach(self, outlet: Outlet) -> int:
        heard = HeardOutlet(self._host, outlet)
        conn = super().attach(heard)
        self.streams[conn] = heard.number
        return conn

    def _decide(self, machine: Machine, event: ev.Event) -> Step:
        host = self._host
        try:
            step = super()._decide(machine, event)
        except Exception as error:
            host.world.violate(f"{host.name}: the core raised on {type(event).__name__}: {error!r}")
            raise
        host.handled(machine, event, step)
        return step


class HeardOutlet:
    """Writes down what leaves, when it leaves, under the number of its stream and with the frame that it echoes."""

    def __init__(self, host: SimCoordinator, outlet: Outlet) -> None:
        self._host, self._outlet = host, outlet
        stream = outlet if isinstance(outlet, SessionStream) else None
        self._stream = stream
        context: Any = stream._context if stream is not None else None
        self.number: int = context.number if context is not None else 0  # 0: a call, which is no stream

    def deliver(self, sends: Sequence[Send], *, stop: bool) -> None:
        host, stream = self._host, self._stream
        if stream is None or stream._trouble is None:
            for send in sends:
                echo = stream._frame if stream is not None else None
                host.record.emitted(host.world.loop.now_ms, send, stop=stop, echo_frame=echo, stream=self.number)
        self._outlet.deliver(sends, stop=stop)

    def acknowledge(self, frame: int, mark: Mark) -> None:
        self._outlet.acknowledge(frame, mark)

    def fail(self, refusal: Refusal, message: str, metadata: tuple[tuple[str, str], ...] = ()) -> None:
        self._outlet.fail(refusal, message, metadata)


def machine_maker(world: World) -> Callable[..., Machine]:
    """Makes the core, and notes who begins to decide by which ledger. Takes the place of `Machine` in the runtime."""

    def made(*args: Any, **options: Any) -> Machine:
        machine = Machine(*args, **options)
        host = world.coordinator(current_process().name)
        runtime, record = host.runtime, host.record
        epoch = runtime.epoch if runtime is not None else 0
        if epoch == world.newest_epoch():
            record.took_over(world.loop.now_ms, epoch, counter=machine.counter.token)
        else:
            record.run += 1  # it read the ledger, stood still, and begins to believe that it leads: it does not
        world.takeovers += 1
        world.truth.loaded()
        return machine

    return made

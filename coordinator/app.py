"""One coordinator put together: floor, store, runtime, gRPC, page. The only file here that sees every part."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable
from pathlib import Path

from zonelock.v1 import cluster_service_pb2 as cpb

from coordinator import compiled
from coordinator.config import CoordinatorConfig
from coordinator.core.model import FloorSpec
from coordinator.floor import Floor
from coordinator.garbage import GarbageRounds
from coordinator.high_water import HighWater
from coordinator.hooks import Hooks, all_of
from coordinator.metrics import Metrics
from coordinator.observe import Observation, Surroundings
from coordinator.pending_stops import PendingStops
from coordinator.rpc.server import ClusterFacts, RpcServer
from coordinator.rpc.translate import floor_message
from coordinator.rpc.watch import FloorFeed
from coordinator.runtime import Runtime
from coordinator.stop_output import HookOutput, LogOutput
from coordinator.store.etcd import EtcdStore
from coordinator.store.etcd_login import EtcdAccess
from coordinator.store.port import Store
from coordinator.store.sqlite import SqliteStore
from coordinator.store_view import describe_etcd
from coordinator.upkeep import Upkeep
from coordinator.web.server import WebServer

log = logging.getLogger("zonelock.app")

STOP_GRACE_S = 0.5
RESIGN_S = 2.0
"""How long a last commit may take; a store that does not answer is left to the lease."""
ANY_HOST = ("0.0.0.0", "[::]", "")


def open_store(config: CoordinatorConfig) -> Store:
    """The store that the configuration names; nothing is opened or connected yet."""
    kind, _, rest = config.store.partition(":")
    if kind == "memory":
        return SqliteStore(":memory:")
    if kind == "sqlite":
        return SqliteStore(rest)
    return EtcdStore(
        rest.split(","),
        prefix=config.etcd_prefix,
        name=config.name or config.listen,
        lease_ms=config.lease_ms,
        access=EtcdAccess(config.etcd_tls(), config.etcd_user, config.etcd_password),
        alone=not config.etcd_shared,
    )


async def surroundings(store: Store, config: CoordinatorConfig) -> Surroundings:
    """The size of etcd's largest database or of SQLite's file (0 when nobody says), and when certificates end."""
    kind, _, path = config.store.partition(":")
    size = 0
    if isinstance(store, EtcdStore):
        size = max((member.db_bytes for member in (await store.status()).endpoints), default=0)
    elif kind == "sqlite":
        size = (await asyncio.to_thread(Path(path).stat)).st_size
    uses = (("etcd", config.etcd_tls()), ("grpc", config.server_tls()))
    ends = {use: await asyncio.to_thread(files.expires_at_s) for use, files in uses if files is not None}
    return Surroundings(size, ends)


Watch = Callable[[FloorSpec, CoordinatorConfig], Hooks]
"""Makes one more watcher of the runtime, such as the recorder of a history."""


class Coordinator:
    """A coordinator in this process. `start` returns when it serves; it may still stand by for leadership.

    Raises from `start`: FloorError, StoreError (misconfigured), rpc.server.ListenError (address in use).
    `failed` ends when the runtime has ended by an error that only a person can mend.
    """

    def __init__(self, config: CoordinatorConfig, floor: Floor | None = None, watch: Watch | None = None) -> None:
        self.config = config
        self.floor = floor if floor is not None else Floor.load(config.floor)
        self._store = open_store(config)
        self.observation = Observation()
        path, marks = config.pending_stops_file(), config.high_water_file()
        hooks = [HookOutput(config.stop_hook, config.stop_hook_timeout_ms)] if config.stop_hook else []
        self.runtime = Runtime(
            self.floor.spec(),
            self._store,
            config.timing(),
            assume_empty=config.assume_empty,
            check_invariants=config.check_invariants,
            pending=PendingStops(path) if path is not None else None,
            marks=HighWater(marks, self.floor.site) if marks is not None else None,
            audit_file=config.audit_file(),
            outputs=(LogOutput(), *hooks),
            hooks=all_of((self.observation, *((watch(self.floor.spec(), config),) if watch is not None else ()))),
        )
        self.observation.follow(self.runtime)
        self._feed = FloorFeed(self.runtime, self.floor)
        self._facts = ClusterFacts(peer_tls=config.peer_tls(), describe=self._describe_store)
        self._rpc = RpcServer(
            self.runtime,
            self.floor,
            config.listen,
            feed=self._feed,
            tls=config.server_tls(),
            facts=self._facts,
        )
        self._web = (
            WebServer(
                self._feed,
                floor_message(self.floor),
                config.web,
                leading=lambda: self.runtime.leading,
                not_ready_because=lambda: self.runtime.not_ready_because,
                metrics=Metrics(self.observation, self._rpc.tally).exposition,
            )
            if config.web
            else None
        )
        alarm = self.runtime.safeguards.alarm
        self._upkeep = (
            Upkeep(self._store, config.etcd_quota_bytes, leads=lambda: self.runtime.leading, alarm=alarm)
            if isinstance(self._store, EtcdStore)
            else None
        )
        self._task: asyncio.Task[None] | None = None
        self.target = ""
        self.web_url = ""

    async def start(self) -> None:
        try:
            port = await self._rpc.start()
            self.target = f"{_reachable(self.config.listen)}:{port}"
            self._introduce(port)
            if self._web is not None:
                self.web_url = f"http://{_reachable(self.config.web)}:{await self._web.start()}/"
        except BaseException:
            await self.stop()
            raise
        self._task = asyncio.create_task(self.runtime.run(), name="zonelock-runtime")
        if self._upkeep is not None:
            self._upkeep.start()
        self.observation.start(lambda: surroundings(self._store, self.config))

    def _introduce(self, port: int) -> None:
        """Now that it is known where this coordinator listens, others may be told."""
        host = self.config.listen.rpartition(":")[0]
        facts = self._facts
        facts.address = self.config.advertise or f"{socket.gethostname() if host in ANY_HOST else host}:{port}"
        facts.name = self.config.name or facts.address
        self._rpc.line.introduce(facts.name, facts.address)
        if isinstance(self._store, EtcdStore):
            self._store.introduce(facts.name, facts.address)
            facts.leader_id = self._store.identity
            self._rpc.line.on_change = self._store.follow_by(self._rpc.line)

    async def _describe_store(self, response: cpb.GetClusterResponse) -> None:
        response.store, response.lease_ms, response.tick_age_ms = self._store.name, self._store.lease_ms, -1
        response.alarms.extend(self.runtime.safeguards.alarms)
        if isinstance(self._store, EtcdStore):
            response.store_quota_bytes = self.config.etcd_quota_bytes
            await describe_etcd(self._store, response)

    async def leading(self) -> None:
        """Returns when this coordinator leads and has committed; raises what ended its runtime, if that did."""
        await self._until(lambda: self.runtime.leading)

    async def ready(self) -> None:
        """Returns when this coordinator leads, or stands by behind a leader; raises what ended its runtime."""
        await self._until(lambda: self.runtime.ready)

    async def _until(self, reached: Callable[[], bool]) -> None:
        if self._task is None:
            raise RuntimeError("start() first")
        changed = asyncio.Event()
        self.runtime.standby.on_change.append(changed.set)
        try:
            while not reached() and not self._task.done():
                changed.clear()
                waiting = asyncio.create_task(changed.wait())
                await asyncio.wait({self._task, waiting}, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
            if self._task.done():
                self._task.result()
        finally:
            self.runtime.standby.on_change.remove(changed.set)

    async def failed(self) -> None:
        """Waits for the runtime to end, and raises what ended it."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def stop(self) -> None:
        """Gives up leadership and closes every stream. Grants stay; agents go on to the next leader."""
        if self._task is not None:
            await self.runtime.resign(RESIGN_S)
        if self._upkeep is not None:
            await self._upkeep.stop()
        await self.observation.stop()
        await self._rpc.stop(STOP_GRACE_S)
        if self._web is not None:
            await self._web.stop()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await self._task
            self._task = None
        await self._store.close()


def _reachable(address: str) -> str:
    host = address.rpartition(":")[0]
    return "127.0.0.1" if host in ANY_HOST else host


async def serve(
    config: CoordinatorConfig, ready: Callable[[Coordinator], None] | None = None, watch: Watch | None = None
) -> None:
    """Runs one coordinator until SIGTERM or SIGINT. Calls `ready` when it serves; raises what ended it otherwise."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    log.info("the core is %s", compiled.in_words())
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    coordinator = Coordinator(config, watch=watch)
    await coordinator.start()
    garbage = GarbageRounds()
    garbage.start()
    coordinator.runtime.on_leading.append(lambda leads: garbage.loaded() if leads else None)
    try:
        if ready is not None:
            ready(coordinator)
        waits = {asyncio.create_task(stopping.wait()), asyncio.create_task(coordinator.failed())}
        done, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        for task in done:
            task.result()
    finally:
        await garbage.stop()
        await coordinator.stop()

"""A small site for the wire's tests: a real floor, core and runtime over an in-memory ledger, served on a free port.

`HeldStore` lets a test hold commits back, fail them or leave them uncertain, so that answers queue on purpose and not
by luck.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import grpc
from google.rpc import error_details_pb2, status_pb2
from zonelock.v1 import safety_service_pb2_grpc as sgrpc
from zonelock.v1 import zone_service_pb2 as zpb
from zonelock.v1 import zone_service_pb2_grpc as zgrpc

from coordinator.core.model import Timing
from coordinator.floor import Floor
from coordinator.rpc.errors import DOMAIN
from coordinator.rpc.server import RpcLimits, RpcServer
from coordinator.runtime import Runtime
from coordinator.store.port import CommitUncertain, Loaded, StoreUnavailable
from coordinator.store.sqlite import SqliteStore

FLOOR_YAML = """
format: zonelock.floor/1
site: test
version: 1
cell_mm: 1000
grid: |
  .....
  .....
defaults: {hold_max_ms: 60000}
zones:
  A: {cells: [[0, 0]]}
  B: {cells: [[1, 0]]}
  C: {cells: [[2, 0], [3, 0]], capacity: 2}
  D: {cells: [[4, 0]], stop_group: east}
  R: {cells: [[0, 1, 5, 1]]}
areas:
  north: [A, B, C, D]
agent_kinds:
  agv: {speed_mm_s: 1500, braking_mm_s2: 1000, length_mm: 800, width_mm: 600}
"""

SECRET = b"0123456789abcdef"
WAIT_S = 5.0
"""How long a test waits for something that comes at once on an idle machine."""


class HeldStore(SqliteStore):
    """An in-memory store whose commits a test can hold back (`let` cleared), refuse, or leave uncertain."""

    def __init__(self) -> None:
        super().__init__(":memory:")
        self.let = asyncio.Event()
        self.let.set()
        self.unavailable = False
        self.uncertain_once = False

    async def commit(self, writes: Mapping[str, bytes | None]) -> int:
        await self.let.wait()
        if self.unavailable:
            raise StoreUnavailable("switched off by the test")
        revision = await super().commit(writes)
        if self.uncertain_once:
            self.uncertain_once = False
            raise CommitUncertain("made uncertain by the test")
        return revision

    async def load(self) -> Loaded:
        return await super().load()


@dataclass
class Site:
    floor: Floor
    store: HeldStore
    runtime: Runtime
    server: RpcServer
    target: str
    channel: grpc.aio.Channel
    zones: zgrpc.ZoneServiceAsyncStub
    safety: sgrpc.SafetyServiceAsyncStub


@contextlib.asynccontextmanager
async def running(
    limits: RpcLimits | None = None, *, lead: bool = True, assume_empty: bool = True, timing: Timing | None = None
) -> AsyncIterator[Site]:
    floor = Floor.parse(FLOOR_YAML)
    store = HeldStore()
    runtime = Runtime(floor.spec(), store, timing or Timing(), assume_empty=assume_empty, check_invariants=True)
    server = RpcServer(runtime, floor, "127.0.0.1:0", limits)
    port = await server.start()
    task = asyncio.create_task(runtime.run()) if lead else None
    target = f"127.0.0.1:{port}"
    try:
        async with grpc.aio.insecure_channel(target) as channel:
            if lead:
                await until(lambda: runtime.leading)
            yield Site(
                floor,
                store,
                runtime,
                server,
                target,
                channel,
                zgrpc.ZoneServiceStub(channel),
                sgrpc.SafetyServiceStub(channel),
            )
    finally:
        store.let.set()
        await server.stop(0)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await store.close()


async def until(true: Callable[[], bool]) -> None:
    """Waits for a condition that nothing announces."""
    async with asyncio.timeout(WAIT_S):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def operation(agent_id: str, **kind: object) -> zpb.Operation:
    return zpb.Operation(agent_id=agent_id, **kind)  # type: ignore[arg-type]


def hello(agent_id: str, secret: bytes = SECRET) -> zpb.Operation:
    return operation(agent_id, hello=zpb.Hello(session_secret=secret, agent_kind="agv", vehicle_watchdog=True))


def ask(agent_id: str, request_id: str, *zones: str, expected_ms: int = 30_000) -> zpb.Operation:
    return operation(agent_id, ask=zpb.Ask(request_id=request_id, zones=zones, expected_ms=expected_ms))


@dataclass
class Client:
    """A stream seen from the robot's side: numbers its frames, remembers what it read."""

    call: grpc.aio.StreamStreamCall[zpb.SessionRequest, zpb.SessionResponse]
    frames: list[zpb.SessionResponse] = field(default_factory=list)
    unread: list[zpb.Answer] = field(default_factory=list)
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    async def send(self, *operations: zpb.Operation) -> int:
        number = next(self.numbers)
        await self.call.write(zpb.SessionRequest(frame=number, operations=operations))
        return number

    async def frame(self) -> zpb.SessionResponse:
        async with asyncio.timeout(WAIT_S):
            frame = await self.call.read()
        if not isinstance(frame, zpb.SessionResponse):
            raise EOFError(f"the stream ended: {await self.call.code()} {await self.call.details()}")
        self.frames.append(frame)
        return frame

    async def answer(self, kind: str) -> zpb.Answer:
        """The next answer of this kind; others before it are dropped."""
        while True:
            while self.unread:
                answer = self.unread.pop(0)
                if answer.WhichOneof("kind") == kind:
                    return answer
            self.unread.extend((await self.frame()).answers)

    async def acknowledged(self, frame: int) -> zpb.SessionResponse:
        while not self.frames or self.frames[-1].ack_frame < frame:
            await self.frame()
        return self.frames[-1]

    async def end(self) -> grpc.aio.AioRpcError:
        """Reads until the stream ends with an error."""
        try:
            while True:
                await self.frame()
        except grpc.aio.AioRpcError as error:
            return error


def connect(site: Site) -> Client:
    return Client(site.zones.Session())


async def greeted(site: Site, *agents: str) -> Client:
    client = connect(site)
    await client.send(*(hello(agent) for agent in agents))
    for _ in agents:
        await client.answer("welcome")
    return client


@dataclass(frozen=True)
class Error:
    """What a client can read out of a failed call."""

    code: grpc.StatusCode
    message: str
    reason: str
    metadata: dict[str, str]
    retry_ms: int | None


def read_error(error: grpc.aio.AioRpcError) -> Error:
    """Decodes the status details as any client would; fails the test when there are none."""
    raw = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
    message = error.details() or ""
    assert isinstance(raw, bytes), f"no status details: {error!r}"
    status = status_pb2.Status.FromString(raw)
    assert (status.code, status.message) == (error.code().value[0], message)
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    retry_ms: int | None = None
    for detail in status.details:
        if detail.Is(info.DESCRIPTOR):
            detail.Unpack(info)
        elif detail.Is(retry.DESCRIPTOR):
            detail.Unpack(retry)
            retry_ms = retry.retry_delay.seconds * 1_000 + retry.retry_delay.nanos // 1_000_000
    assert info.domain == DOMAIN
    assert info.metadata["remedy"] and message.endswith(info.metadata["remedy"])
    return Error(error.code(), message, info.reason, dict(info.metadata), retry_ms)


async def refused(call: Awaitable[object]) -> Error:
    """The error that a unary call must end with."""
    try:
        outcome = await call
    except grpc.aio.AioRpcError as error:
        return read_error(error)
    raise AssertionError(f"answered with {outcome}")

"""What others offer for the same: etcd's own Lock service and, as limits, a bare put and a bare gRPC echo.

Each runs under the same window, from the same process, against processes of its own, as the coordinator's agents do.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from benchmarks.streams import Window
from coordinator.store.etcd_client import EtcdClient
from coordinator.store.etcdpb import rpc_pb2

LEASE_S = 600
VALUE_BYTES = 200
"""About what the record of one unit takes."""

ECHO_BYTES = 80
_NUMBERS = {bytes: descriptor_pb2.FieldDescriptorProto.TYPE_BYTES, int: descriptor_pb2.FieldDescriptorProto.TYPE_INT64}


def _messages(**fields_of: dict[str, type]) -> dict[str, Any]:
    """Message classes of etcd's Lock service, whose fields count from 1 (https://etcd.io/docs/v3.5/dev-guide/). Only
    what a lock needs is named; other fields of a reply are kept unread.
    """
    file = descriptor_pb2.FileDescriptorProto(name="benchmarks/v3lock.proto", package="v3lockpb", syntax="proto3")
    for name, fields in fields_of.items():
        message = file.message_type.add(name=name)
        for field, kind in fields.items():
            number = 2 if field == "key" and name == "LockResponse" else len(message.field) + 1
            message.field.add(
                name=field, number=number, type=_NUMBERS[kind], label=descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {n: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"v3lockpb.{n}")) for n in fields_of}


_LOCK = _messages(
    LockRequest={"name": bytes, "lease": int},
    LockResponse={"key": bytes},
    UnlockRequest={"key": bytes},
    UnlockResponse={},
)


class EtcdLocks:
    """etcd's Lock service at its leading member, one channel, a lease an agent as its manual advises."""

    def __init__(self, endpoints: Sequence[str]) -> None:
        self._endpoints = endpoints
        self._client = EtcdClient(endpoints)
        self._leases: list[int] = []

    async def open(self, agents: int) -> None:
        members = await self._client.statuses()
        leader = next((m.endpoint for m in members if m.leads), self._endpoints[0])
        self._client.prefer(leader)
        self._leases = [(await self._client.grant_lease(LEASE_S))[0] for _ in range(agents)]
        self._channel = grpc.aio.insecure_channel(leader)
        self._lock = self._method("Lock")
        self._unlock = self._method("Unlock")

    def _method(self, name: str) -> Any:
        return self._channel.unary_unary(
            f"/v3lockpb.Lock/{name}",
            request_serializer=_LOCK[f"{name}Request"].SerializeToString,
            response_deserializer=_LOCK[f"{name}Response"].FromString,
        )

    async def acquire(self, agent: int, name: str) -> bytes:
        """Waits for the lock; returns the key that owns it."""
        reply = await self._lock(_LOCK["LockRequest"](name=name.encode(), lease=self._leases[agent]))
        return bytes(reply.key)

    async def release(self, key: bytes) -> None:
        await self._unlock(_LOCK["UnlockRequest"](key=key))

    async def pair(self, agent: int, names: Sequence[str]) -> float:
        """Locks the names one after the other, unlocks them; the milliseconds until all were locked."""
        asked = time.perf_counter()
        keys = [await self.acquire(agent, name) for name in names]
        took_ms = (time.perf_counter() - asked) * 1000
        for key in keys:
            await self.release(key)
        return took_ms

    async def close(self) -> None:
        await self._channel.close()
        await self._client.close()


async def etcd_locks(endpoints: Sequence[str], names_of: Sequence[Sequence[str]], seconds: float) -> Window:
    """Every agent locks and unlocks its own names until the window is over."""
    locks = EtcdLocks(endpoints)
    await locks.open(len(names_of))
    window = Window(seconds)

    async def work(agent: int, names: Sequence[str]) -> None:
        while not window.over():
            window.paired(await locks.pair(agent, names))

    await asyncio.gather(*(work(agent, names) for agent, names in enumerate(names_of)))
    await locks.close()
    return window


async def etcd_puts(endpoints: Sequence[str], in_flight: int, seconds: float) -> Window:
    """Bare puts through the coordinator's own etcd client; a pair is two of them, an acquire one."""
    client = EtcdClient(endpoints)
    members = await client.statuses()
    client.prefer(next((m.endpoint for m in members if m.leads), endpoints[0]))
    window = Window(seconds)

    async def put(key: bytes) -> None:
        request = rpc_pb2.PutRequest(key=key, value=b"x" * VALUE_BYTES)
        await client.txn(rpc_pb2.TxnRequest(success=[rpc_pb2.RequestOp(request_put=request)]), repeatable=True)

    await _pairs_of(put, [f"/bench/put/{i}".encode() for i in range(in_flight)], window)
    await client.close()
    return window


async def _pairs_of(act: Callable[[Any], Awaitable[None]], targets: Sequence[Any], window: Window) -> None:
    """Acts twice a pair on every target at once, the first timed as an acquire."""

    async def work(target: Any) -> None:
        while not window.over():
            asked = time.perf_counter()
            await act(target)
            took_ms = (time.perf_counter() - asked) * 1000
            await act(target)
            window.paired(took_ms)

    await asyncio.gather(*(work(target) for target in targets))


@asynccontextmanager
async def bare_server() -> AsyncIterator[str]:
    """The address of `benchmarks.bare_server` in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.bare_server", stdout=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.PIPE
    )
    try:
        if process.stdout is None:
            raise RuntimeError("the bare server has no output to tell its address on")
        yield (await process.stdout.readline()).decode().strip()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def echoes(target: str, streams: int, seconds: float) -> Window:
    """Round trips over bare streams, one message in flight on each; a pair is two of them."""
    async with grpc.aio.insecure_channel(target) as channel:
        calls: list[Any] = [channel.stream_stream("/bench.Bare/Echo")() for _ in range(streams)]
        window = Window(seconds)

        async def trip(call: Any) -> None:
            await call.write(b"x" * ECHO_BYTES)
            await call.read()

        await _pairs_of(trip, calls, window)
        for call in calls:
            call.cancel()
    return window

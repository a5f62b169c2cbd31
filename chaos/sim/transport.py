"""gRPC's surface over the simulated network: generated stubs and servicers talk through it as if it were grpc.aio.

Messages really become bytes and are read back. Each call is a connection of its own. A killed process resets its
connections, a host that loses power says nothing (half-open until a keepalive notices); what was sent before a cut may
arrive long after both ends went elsewhere. Implements only what zonelock uses of grpc.aio, and fails loudly beyond it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import grpc

from chaos.sim.loop import Process, VirtualLoop, current_process
from chaos.sim.network import KEEPALIVE_MS, Network, Pipe

WINDOW_ITEMS = 64
"""Messages that a stalled direction takes before writing into it blocks (HTTP/2 flow control)."""


@dataclass(frozen=True, slots=True)
class Status:
    """How a call ended."""

    code: grpc.StatusCode
    details: str = ""
    trailer: tuple[tuple[str, bytes | str], ...] = ()


@dataclass(frozen=True, slots=True)
class Message:
    data: bytes


@dataclass(frozen=True, slots=True)
class Open:
    """The client opens the call; `data` is a unary call's request."""

    method: str
    data: bytes
    metadata: tuple[tuple[str, str], ...] = ()


class Cancel:
    """The client, or its kernel, resets the call."""


class HalfClose:
    """The client will write no more."""


RESET = Status(grpc.StatusCode.UNAVAILABLE, "simulated: connection reset by peer")
REFUSED = Status(grpc.StatusCode.UNAVAILABLE, "simulated: connection refused")


class Transport:
    """Who listens where, and the wires between."""

    def __init__(self, loop: VirtualLoop, network: Network) -> None:
        self.loop, self.network = loop, network
        self.calls = 0
        self.servers: dict[str, SimServer] = {}
        self.silent_hosts: set[str] = set()
        """Hosts without power: nobody answers, not even with a reset."""
        self.on_write: Callable[[Process, Any], None] | None = None
        """May add to what is about to leave a client."""
        self.on_request: Callable[[Process, int, Any], None] | None = None
        self.on_response: Callable[[Process, int, Any], None] | None = None

    def channel(self, target: str, credentials: object = None) -> SimChannel:
        """Takes the place of `open_channel`."""
        return SimChannel(self, target.partition(":")[0])


class Wire:
    """One call's connection."""

    def __init__(self, transport: Transport, client: ClientCall, server_host: str) -> None:
        self.transport, self.client, self.server_host = transport, client, server_host
        network, here = transport.network, client.process.name
        self.up = Pipe(network.way(here, server_host), self._at_server, self.break_off)
        self.down = Pipe(network.way(server_host, here), self._at_client, self.break_off)
        self.call: ServerCall | None = None
        self._server: SimServer | None = None
        client.process.on_death.append(self._client_died)

    def break_off(self) -> None:
        """A keepalive gave up: both ends see the connection gone."""
        self.close()
        if self._server is not None and self.call is not None:
            self._server.process.call(self.call.reset)
        self.client.process.call(self.client.take, RESET)

    def close(self) -> None:
        self.up.close()
        self.down.close()

    def _client_died(self) -> None:
        if self.client.process.name in self.transport.silent_hosts:
            self.transport.loop.after_ms(KEEPALIVE_MS, self.break_off)
        else:
            self.up.send(Cancel())

    def server_died(self) -> None:
        if self.server_host in self.transport.silent_hosts:
            self.transport.loop.after_ms(KEEPALIVE_MS, self.break_off)
        else:
            self.down.send(RESET)

    def _at_client(self, item: Message | Status) -> None:
        self.client.process.call(self.client.take, item)
        if isinstance(item, Status):
            self.close()

    def _at_server(self, item: Open | Message | HalfClose | Cancel) -> None:
        if isinstance(item, Open):
            server = self.transport.servers.get(self.server_host)
            if server is None or not server.process.alive:
                if self.server_host not in self.transport.silent_hosts:
                    self.down.send(REFUSED)
                return
            self._server = server
            server.process.call(server.accept, self, item)
        elif self._server is not None:
            # Through the server's process, so that one that is stopped takes nothing until it goes on.
            self._server.process.call(self._hand_over, item)
        if isinstance(item, Cancel):
            self.close()

    def _hand_over(self, item: Message | HalfClose | Cancel) -> None:
        if self.call is None:
            return
        if isinstance(item, Cancel):
            self.call.reset()
        else:
            self.call.take(item)


# -- client ----------------------------------------------------------------------------------------------------------


class ClientCall:
    """One call, as the client has it: `grpc.aio.StreamStreamCall` as far as zonelock uses it."""

    def __init__(
        self,
        transport: Transport,
        host: str,
        method: str,
        encode: Callable[[Any], bytes],
        decode: Callable[[bytes], Any],
    ) -> None:
        self.process = current_process()
        self._transport, self._encode, self._decode = transport, encode, decode
        self._inbox: deque[Any] = deque()
        self._news = asyncio.Event()
        self.status: Status | None = None
        transport.calls += 1
        self.number = transport.calls
        self._wire = Wire(transport, self, host)
        self._method = method

    def open(self, request: bytes = b"", metadata: tuple[tuple[str, str], ...] = ()) -> None:
        self._wire.up.send(Open(self._method, request, metadata))

    def take(self, item: Message | Status) -> None:
        if self.status is not None:
            return
        if isinstance(item, Status):
            self.status = item
        else:
            message = self._decode(item.data)
            if self._transport.on_response is not None:
                self._transport.on_response(self.process, self.number, message)
            self._inbox.append(message)
        self._news.set()

    async def read(self) -> Any:
        while not self._inbox:
            if self.status is not None:
                self._raise_for_status()
                return grpc.aio.EOF
            self._news.clear()
            await self._news.wait()
        return self._inbox.popleft()

    async def initial_metadata(self) -> object:
        """Never: every simulated call is a connection of its own, and none is borrowed."""
        return await asyncio.get_running_loop().create_future()

    async def write(self, message: Any) -> None:
        if self._transport.on_write is not None:
            self._transport.on_write(self.process, message)
        data = self._encode(message)
        while self._wire.up.backlog > WINDOW_ITEMS and self.status is None:  # noqa: ASYNC110 - full windows are rare
            await asyncio.sleep(0.05)
        if self.status is not None:
            self._raise_for_status()
            raise asyncio.InvalidStateError("RPC already finished.")
        if self._transport.on_request is not None:
            self._transport.on_request(self.process, self.number, message)
        self._wire.up.send(Message(data))

    async def done_writing(self) -> None:
        if self.status is None:
            self._wire.up.send(HalfClose())

    def cancel(self) -> bool:
        if self.status is not None:
            return False
        self.status = Status(grpc.StatusCode.CANCELLED, "Locally cancelled by application!")
        self._news.set()
        self._wire.down.close()
        self._wire.up.send(Cancel())
        return True

    def _raise_for_status(self) -> None:
        status = self.status
        if status is not None and status.code is not grpc.StatusCode.OK:
            raise grpc.aio.AioRpcError(
                status.code, grpc.aio.Metadata(), grpc.aio.Metadata(*status.trailer), details=status.details
            )


class SimChannel:
    """`grpc.aio.Channel` as far as the generated stubs use it."""

    def __init__(self, transport: Transport, host: str) -> None:
        self._transport, self._host = transport, host

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Calls end by themselves or are cancelled by who made them."""

    def stream_stream(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, **_: Any
    ) -> Callable[[], ClientCall]:
        def start() -> ClientCall:
            call = ClientCall(self._transport, self._host, method, request_serializer, response_deserializer)
            call.open()
            return call

        return start

    def unary_unary(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, **_: Any
    ) -> Callable[..., Coroutine[Any, Any, Any]]:
        async def invoke(
            request: Any,
            timeout: float | None = None,  # noqa: ASYNC109 - grpc's own signature
            metadata: tuple[tuple[str, str], ...] = (),
        ) -> Any:
            call = ClientCall(self._transport, self._host, method, request_serializer, response_deserializer)
            call.open(request_serializer(request), metadata)
            try:
                async with asyncio.timeout(timeout):
                    return await call.read()
            except TimeoutError:
                deadline = grpc.StatusCode.DEADLINE_EXCEEDED
                raise grpc.aio.AioRpcError(deadline, grpc.aio.Metadata(), grpc.aio.Metadata(), "timed out") from None
            finally:
                call.cancel()

        return invoke

    def unary_stream(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, **_: Any
    ) -> Callable[[Any], ClientCall]:
        def start(request: Any) -> ClientCall:
            call = ClientCall(self._transport, self._host, method, request_serializer, response_deserializer)
            call.open(request_serializer(request))
            return call

        return start


# -- server ----------------------------------------------------------------------------------------------------------


class ServerCall:
    """One call, as the servicer's context: `grpc.aio.ServicerContext` as far as zonelock uses it."""

    def __init__(self, wire: Wire, decode: Callable[[bytes], Any], encode: Callable[[Any], bytes] | None) -> None:
        """`encode` as a method's `response_serializer`: None where responses come encoded."""
        self._wire, self._decode, self._encode = wire, decode, encode
        self._inbox: deque[Message | HalfClose] = deque()
        self._news = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self._metadata: tuple[tuple[str, str], ...] = ()

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return self._metadata

    def opened_with(self, metadata: tuple[tuple[str, str], ...]) -> None:
        self._metadata = metadata

    def take(self, item: Message | HalfClose) -> None:
        self._inbox.append(item)
        self._news.set()

    def reset(self) -> None:
        """The connection is gone: grpc.aio cancels the handler."""
        if self.task is not None:
            self.task.cancel()

    async def read(self) -> Any:
        while not self._inbox:
            self._news.clear()
            await self._news.wait()
        item = self._inbox[0]
        if isinstance(item, HalfClose):
            return grpc.aio.EOF  # from now on
        self._inbox.popleft()
        return self._decode(item.data)

    async def write(self, message: Any) -> None:
        data = message if self._encode is None else self._encode(message)
        while self._wire.down.backlog > WINDOW_ITEMS:  # noqa: ASYNC110 - full windows are rare
            await asyncio.sleep(0.05)
        self._wire.down.send(Message(data))

    async def send_initial_metadata(self, metadata: object) -> None:
        """Nothing waits for it."""

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()) -> None:
        self._wire.down.send(Status(code, details, tuple(trailing_metadata)))
        raise grpc.aio.AbortError

    @property
    def number(self) -> int:
        """The same as the client's."""
        return self._wire.client.number

    def peer(self) -> str:
        return f"sim:{self._wire.client.process.name}"

    async def serve(self, behaviour: Callable[..., Coroutine[Any, Any, Any]], request: Any, *, unary: bool) -> None:
        try:
            response = await behaviour(request, self)
        except grpc.aio.AbortError:
            return
        if unary:
            self._wire.down.send(Message(response if self._encode is None else self._encode(response)))
        self._wire.down.send(Status(grpc.StatusCode.OK))


class SimServer:
    """`grpc.aio.Server` as far as the generated registration functions use it."""

    def __init__(self, transport: Transport, host: str, process: Process) -> None:
        self.transport, self.host, self.process = transport, host, process
        self._methods: dict[str, Any] = {}
        self._wires: list[Wire] = []
        transport.servers[host] = self
        process.on_death.append(self._died)

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """The registered form below is enough."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        for name, handler in handlers.items():
            self._methods[f"/{service}/{name}"] = handler

    def accept(self, wire: Wire, opened: Open) -> None:
        handler = self._methods[opened.method]
        call = ServerCall(wire, handler.request_deserializer, handler.response_serializer)
        call.opened_with(opened.metadata)
        wire.call = call
        self._wires = [
            w for w in self._wires if w.call is not None and w.call.task is not None and not w.call.task.done()
        ]
        self._wires.append(wire)
        unary = handler.unary_unary is not None
        behaviour = handler.unary_unary or handler.unary_stream or handler.stream_stream
        request = None if handler.request_streaming else handler.request_deserializer(opened.data)
        call.task = asyncio.get_running_loop().create_task(
            call.serve(behaviour, request, unary=unary), name=f"{self.host}{opened.method}"
        )

    def _died(self) -> None:
        for wire in self._wires:
            wire.server_died()

"""A coordinator that answers from a script: what no real one would do, and what one does rarely."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from zonelock.v1 import zone_service_pb2 as pb

from coordinator.core.rejections import Refusal
from coordinator.rpc.errors import abort, problem


class Conversation:
    """One stream, seen from the script: operations in order, and answers to them."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self._waiting: list[pb.Operation] = []
        self.newest = 0

    async def expect(self, kind: str) -> pb.Operation:
        """The next operation of the kind; others before it are skipped."""
        while True:
            while self._waiting:
                operation = self._waiting.pop(0)
                if operation.WhichOneof("kind") == kind:
                    return operation
            self._waiting += (await self.read()).operations

    async def read(self) -> pb.SessionRequest:
        """The next frame. Raises EOFError when the client has left; a script may end so."""
        request = await self._context.read()
        if not isinstance(request, pb.SessionRequest):
            raise EOFError("the client left")
        self.newest = request.frame
        return request

    async def say(self, *answers: pb.Answer, ack: bool = True) -> None:
        response = pb.SessionResponse(answers=answers, epoch=1, ack_frame=self.newest if ack else 0)
        await self._context.write(response)

    async def refuse(self, reason: str, **metadata: str) -> None:
        """Ends the stream as a coordinator does that cannot serve it."""
        await abort(self._context, problem(Refusal(reason), "", metadata.items()))

    async def welcome(self) -> pb.Operation:
        hello = await self.expect("hello")
        welcome = pb.Welcome(heartbeat_ms=200, suspend_ms=2_000, lost_ms=5_000, rho_ppm=10_000)
        await self.say(pb.Answer(agent_id=hello.agent_id, welcome=welcome))
        return hello


Script = Callable[[Conversation], Awaitable[None]]


@contextlib.asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[str]:
    """Serves the script to each stream; yields host:port."""

    async def session(_: object, context: Any) -> None:
        with contextlib.suppress(EOFError):
            await script(Conversation(context))

    handler = grpc.stream_stream_rpc_method_handler(
        session,
        request_deserializer=pb.SessionRequest.FromString,
        response_serializer=pb.SessionResponse.SerializeToString,
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("zonelock.v1.ZoneService", {"Session": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)

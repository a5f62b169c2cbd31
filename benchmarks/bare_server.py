"""The least that grpc.aio can do, as a limit for what a coordinator could: echo a stream, fan a message out.

`python -m benchmarks.bare_server` prints its address and serves until its standard input ends. `/bench.Bare/Echo`
answers every message with itself. `/bench.Bare/Listen` streams whatever `/bench.Bare/Tell` is called with, to all.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc


class Bare(grpc.GenericRpcHandler):
    """Bytes in, bytes out: no message classes, no state but who listens."""

    def __init__(self) -> None:
        self._listeners: set[asyncio.Queue[bytes]] = set()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """The handler of a method's name."""
        match handler_call_details.method:
            case "/bench.Bare/Echo":
                return grpc.stream_stream_rpc_method_handler(self.echo)
            case "/bench.Bare/Listen":
                return grpc.unary_stream_rpc_method_handler(self.listen)
            case "/bench.Bare/Tell":
                return grpc.unary_unary_rpc_method_handler(self.tell)
        return None

    async def echo(self, messages: AsyncIterator[bytes], context: Any) -> None:
        while (message := await context.read()) is not grpc.aio.EOF:
            await context.write(message)

    async def listen(self, request: bytes, context: Any) -> None:
        told: asyncio.Queue[bytes] = asyncio.Queue()
        self._listeners.add(told)
        try:
            await context.write(request)  # says that this one listens
            while True:
                await context.write(await told.get())
        finally:
            self._listeners.discard(told)

    async def tell(self, message: bytes, context: Any) -> bytes:
        for told in self._listeners:
            told.put_nowait(message)
        return b""


async def main() -> None:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((Bare(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(0)


if __name__ == "__main__":
    asyncio.run(main())

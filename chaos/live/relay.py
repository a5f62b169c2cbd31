"""A TCP relay between two processes that can be slow, cut, silenced, held up in one direction, and closed."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self


class Relay:
    """`target` forwards to another host:port, until it is told otherwise; each way takes `delay_s` at least."""

    def __init__(self, towards: str, delay_s: float = 0.0) -> None:
        host, _, port = towards.rpartition(":")
        self._towards, self._delay_s = (host, int(port)), delay_s
        self._server: asyncio.Server | None = None
        self._port = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.broken = asyncio.Event()
        self._open = asyncio.Event()
        self._open.set()
        self._upwards = asyncio.Event()
        self._upwards.set()

    async def __aenter__(self) -> Self:
        await self.restore()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self._port}"

    async def restore(self) -> None:
        """Listens (again), on the same port as before."""
        self._open.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._relay, "127.0.0.1", self._port)
            self._port = self._server.sockets[0].getsockname()[1]

    def silence(self) -> None:
        """Connections stay up and whatever is sent disappears."""
        self._open.clear()

    def hold(self) -> None:
        """What is sent towards the target waits, and arrives after `let_through`; what comes back passes. So does a
        network that loses one direction: TCP sends again, and old requests arrive late.
        """
        self._upwards.clear()

    def let_through(self) -> None:
        self._upwards.set()

    def cut(self) -> None:
        """Every connection breaks; new ones are welcome."""
        for writer in self._writers:
            writer.transport.abort()

    async def close(self) -> None:
        """Refuses connections and breaks those there are."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._towards)
        except OSError:
            writer.transport.abort()
            return
        pair = {writer, far_writer}
        self._writers |= pair
        ways = [self._pass(reader, far_writer, self._upwards), self._pass(far_reader, writer)]
        tasks = {asyncio.create_task(way) for way in ways}
        self._tasks |= tasks
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            self._tasks -= tasks
            self._writers -= pair
            self.broken.set()
            for end in pair:
                end.transport.abort()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event | None = None
    ) -> None:
        try:
            while data := await reader.read(65_536):
                if self._delay_s:
                    await asyncio.sleep(self._delay_s)
                if gate is not None:
                    await gate.wait()
                if self._open.is_set():
                    writer.write(data)
                    await writer.drain()
        except OSError:
            return

"""Hearing of stops at every coordinator, leading or not, beside the session that one of them has.

Rules: one watch for each coordinator and link, whatever the number of agents; a watch that ends is begun again after a
jittered pause; a coordinator that cannot be reached is no reason to halt. Decides nothing: the session core does. The
connection of a watch that stands may be borrowed for a session: agents that go on to the next leader, all at once,
then need no handshake.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import grpc
from zonelock.v1 import floor_pb2, safety_service_pb2, safety_service_pb2_grpc

from zonelock_client.status import from_rpc_error

logger = logging.getLogger("zonelock.client")

STEADY_S = 2.0
"""A watch that lasted this long was a good one: the next is tried for soon."""
UNSERVED_PAUSES = 20
"""How many pauses long the pause is where the coordinator does not serve the watch at all."""

_UNSERVED = frozenset(
    {grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED}
)

WatchCall = grpc.aio.UnaryStreamCall[safety_service_pb2.WatchStopsRequest, safety_service_pb2.WatchStopsResponse]


class Connection:
    """A channel with a watch on it, and perhaps a session. Closed by whoever leaves last."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self._users = 1

    def borrow(self) -> Connection:
        self._users += 1
        return self

    async def leave(self) -> None:
        self._users -= 1
        if self._users == 0:
            await self.channel.close()


class StopFeed:
    """Watches stops at each of `targets` from `start` to `close`.

    `channel` opens one to a target; `pause_s` gives the pause after so many failures in a row; `hear` takes the target
    and what it tells, `silent` the target whose watch ended.
    """

    def __init__(
        self,
        targets: tuple[str, ...],
        *,
        channel: Callable[[str], grpc.aio.Channel],
        pause_s: Callable[[int], float],
        hear: Callable[[str, floor_pb2.Stop], None],
        silent: Callable[[str], None],
    ) -> None:
        self._targets = tuple(dict.fromkeys(targets))
        self._channel, self._pause_s = channel, pause_s
        self._hear, self._silent = hear, silent
        self._tasks: list[asyncio.Task[None]] = []
        self._standing: dict[str, Connection] = {}

    def connection(self, target: str) -> Connection | None:
        """Borrows the connection on which this coordinator's watch stands; `leave` it at the end."""
        connection = self._standing.get(target)
        return None if connection is None else connection.borrow()

    def doubt(self, target: str) -> None:
        """A session there has ended: the next one had better have a connection of its own."""
        self._standing.pop(target, None)

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._follow(t), name=f"zonelock-stops-{t}") for t in self._targets]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def _follow(self, target: str) -> None:
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            began_s, pauses = loop.time(), 1
            try:
                await self._watch(target)
            except grpc.aio.AioRpcError as error:
                logger.info("watch of stops at %s ended: %s", target, from_rpc_error(error))
                pauses = UNSERVED_PAUSES if error.code() in _UNSERVED else 1
            except Exception:
                logger.exception("watch of stops at %s failed", target)
            finally:
                self._silent(target)
            failures = 0 if loop.time() - began_s >= STEADY_S else failures + 1
            await asyncio.sleep(pauses * self._pause_s(failures))

    async def _watch(self, target: str) -> None:
        """One watch, to its end."""
        connection = Connection(self._channel(target))
        request = safety_service_pb2.WatchStopsRequest()
        call: WatchCall = safety_service_pb2_grpc.SafetyServiceStub(connection.channel).WatchStops(request)
        accepted = asyncio.create_task(self._stands(target, connection, call))
        try:
            while isinstance(told := await call.read(), safety_service_pb2.WatchStopsResponse):
                self._hear(target, told.stop)
        finally:
            accepted.cancel()
            await asyncio.gather(accepted, return_exceptions=True)
            if self._standing.get(target) is connection:
                del self._standing[target]
            call.cancel()
            await connection.leave()

    async def _stands(self, target: str, connection: Connection, call: WatchCall) -> None:
        await call.initial_metadata()
        self._standing[target] = connection

"""The asyncio shell around a session core: one stream at a time, over the coordinators in turn.

Rules: one task writes (gRPC forbids concurrent writes), and it takes everything queued in a loop iteration into one
frame; the clock is read before the write; a stream is replaced when it ends, is silent, or leads nowhere: by the next
coordinator at once, where there is another, by the one that a standby names, and after the first round with a jittered
pause that doubles while nobody welcomes anyone. What agents asked and owe survives in the core. Decides
nothing by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from typing import Any, Protocol

import grpc
from zonelock.v1 import floor_pb2
from zonelock.v1 import zone_service_pb2 as pb
from zonelock.v1 import zone_service_pb2_grpc as pb_grpc

from zonelock_client.clock import boottime_ns
from zonelock_client.errors import RequestError
from zonelock_client.session_core import SessionCore
from zonelock_client.session_core.values import Notice, Welcomed
from zonelock_client.status import from_rpc_error
from zonelock_client.stop_feed import Connection, StopFeed

logger = logging.getLogger("zonelock.client")

TICK_S = 0.05
"""How often time is looked at; deadlines do not wait for it, the dead-man's thread has its own clock."""
PART_S = 0.5
"""How long a closing client waits for the coordinator to notice."""
BACKOFF_FIRST_S = 0.05
BACKOFF_MOST_S = 2.0
MAX_MESSAGE_BYTES = 16 * 1024 * 1024

CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    # A failed connection's own back-off must not outlast ours, nor be shared with another channel of the process.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    # The time that a handshake may take, in spite of its name: below it a longer path, or a busy coordinator to which a
    # whole fleet comes at once, is never reached.
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # A dead path is found out by pings, though the only coordinator may stay silent for a good reason. Measured with
    # grpcio 1.85: without a ping time-out of its own a ping that nobody answers ends nothing within 25 s.
    ("grpc.keepalive_time_ms", 1_500),
    ("grpc.keepalive_timeout_ms", 2_000),
    ("grpc.http2.ping_timeout_ms", 2_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
)

SessionCall = grpc.aio.StreamStreamCall[pb.SessionRequest, pb.SessionResponse]


class Listener(Protocol):
    """An agent's shell, told what happened to it."""

    def take(self, notice: Notice) -> None: ...


def open_channel(target: str, credentials: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
    if credentials is None:
        return grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS)
    return grpc.aio.secure_channel(target, credentials, options=CHANNEL_OPTIONS)


def pause_s(failures: int) -> float:
    """Full-range jitter around a doubling pause: a thousand agents of a restarted coordinator do not return at once."""
    most = min(BACKOFF_MOST_S, BACKOFF_FIRST_S * 2 ** min(failures, 16))
    return random.uniform(most / 4, most)


class Link:
    """Keeps a stream to one of the coordinators while it runs."""

    def __init__(self, targets: tuple[str, ...], credentials: grpc.ChannelCredentials | None = None) -> None:
        self.core = SessionCore(boottime_ns(), alternatives=len(targets) > 1)
        self.targets = targets
        self.credentials = credentials
        self.last_error: RequestError | None = None
        self.listeners: dict[str, Listener] = {}
        self.on_dispatch: list[Callable[[], None]] = []
        self.loop = asyncio.get_running_loop()
        self._outgoing = asyncio.Event()
        self._restart = asyncio.Event()
        self._welcomed = False
        self._detour = ""
        self._closing = False
        self._tasks: list[asyncio.Task[None]] = []
        self._stop_feed = StopFeed(
            targets if len(targets) > 1 else (),  # the session carries the stops of the only one
            channel=lambda target: open_channel(target, credentials),
            pause_s=pause_s,
            hear=self._hear_stop,
            silent=self.core.stops_silent,
        )

    @property
    def target(self) -> str:
        """The coordinator that is tried or used now."""
        return self._detour or self.targets[0]

    def start(self) -> None:
        self._tasks = [
            self.loop.create_task(self._run(), name="zonelock-link"),
            self.loop.create_task(self._tick(), name="zonelock-tick"),
        ]
        self._stop_feed.start()

    def wake(self) -> None:
        """Something was queued: the writer takes it, with all else that this loop iteration queues, into one frame."""
        self._outgoing.set()

    def poke(self) -> None:
        """Looks at the time now and acts on what happened."""
        self.core.advance(boottime_ns())
        self.dispatch()

    def poke_from_thread(self) -> None:
        # A loop that is closing has nothing left to tell; the halt itself ran on the thread.
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self.poke)

    def dispatch(self) -> None:
        """Acts on the core's notices. An agent's callback may queue more; the writer wakes if there is anything."""
        for notice in self.core.take_notices():
            if isinstance(notice, Welcomed):
                self._welcomed = True
            listener = self.listeners.get(notice.agent_id)
            if listener is None:
                continue
            try:
                listener.take(notice)
            except Exception:
                logger.exception("agent %s: %s could not be handled", notice.agent_id, type(notice).__name__)
        if self.core.has_frame(boottime_ns()):
            self._outgoing.set()
        if self.core.restart_because:
            self._restart.set()

    async def close(self) -> None:
        self._closing = True
        await self._stop_feed.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    # -- inside --------------------------------------------------------------------------------------------------

    def _hear_stop(self, target: str, stop: floor_pb2.Stop) -> None:
        self.core.hear_stop(target, stop)
        self.dispatch()

    async def _run(self) -> None:
        failures, left = 0, ""
        while True:
            self._welcomed = False
            hint = ""
            try:
                await self._serve(self.target)
            except grpc.aio.AioRpcError as error:
                self.last_error = from_rpc_error(error)
                hint = self.last_error.metadata.get("leader", "")
                logger.info("stream to %s ended: %s", self.target, self.last_error)
            except Exception:
                logger.exception("stream to %s failed", self.target)
            finally:
                self.core.stream_closed(boottime_ns())
                self.dispatch()
            failures, left = (0, self.target) if self._welcomed else (failures + 1, left)
            first_round = len(self.targets) > 1 and failures < len(self.targets)
            self._turn_to_next(hint if hint != left or not first_round else "")
            # The first round over several coordinators takes no pause: one of them leads, or is about to.
            if not first_round:
                await asyncio.sleep(pause_s(failures - len(self.targets) + 1))

    def _turn_to_next(self, hint: str) -> None:
        """To the leader that a standby named, else to the next in turn. A leader that nobody configured is tried once:
        its address is of use only if it can be reached from here.
        """
        before = self.target
        if not self._detour:
            self.targets = (*self.targets[1:], self.targets[0])
        self._detour = ""
        if hint in self.targets:
            at = self.targets.index(hint)
            self.targets = (*self.targets[at:], *self.targets[:at])
        elif hint != before:
            self._detour = hint

    async def _serve(self, target: str) -> None:
        """One stream, from its first frame to its end."""
        connection = self._stop_feed.connection(target) or Connection(open_channel(target, self.credentials))
        try:
            call: SessionCall = pb_grpc.ZoneServiceStub(connection.channel).Session()
            self._restart.clear()
            self.core.stream_opened(boottime_ns())
            self._outgoing.set()
            reader = self.loop.create_task(self._read(call))
            writer = self.loop.create_task(self._write(call))
            restart = self.loop.create_task(self._restart.wait())
            tasks: list[asyncio.Task[Any]] = [reader, writer, restart]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                if restart.done():
                    logger.info("leaving %s: %s", target, self.core.restart_because)
                elif writer.done() and not reader.done():
                    # The writer only learns that the call ended; the reader learns why.
                    await asyncio.wait([reader], timeout=1.0)
            except asyncio.CancelledError:
                if self._closing:
                    try:
                        await self._part(call, writer, reader)
                    except Exception:  # or the link would go on, and who closes it would wait for ever
                        logger.exception("the stream to %s could not be ended in order", target)
                raise
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                call.cancel()
            if not reader.cancelled():
                reader.result()
        finally:
            # A coordinator that is ending takes calls on a connection that stands and answers none: dial it afresh.
            self._stop_feed.doubt(target)
            await connection.leave()

    async def _part(self, call: SessionCall, writer: asyncio.Task[None], reader: asyncio.Task[None]) -> None:
        """Ends the stream and waits until the coordinator has noticed, so that a client that connects under the same
        name right after is no duplicate. Bounded: whoever does not answer is left.
        """
        writer.cancel()
        with contextlib.suppress(TimeoutError, grpc.aio.AioRpcError, asyncio.InvalidStateError):
            async with asyncio.timeout(PART_S):
                await asyncio.gather(writer, return_exceptions=True)
                await call.done_writing()
                await asyncio.wait([reader])

    async def _read(self, call: SessionCall) -> None:
        while True:
            response = await call.read()
            if not isinstance(response, pb.SessionResponse):
                return
            self.core.receive(response, boottime_ns())
            self.dispatch()

    async def _write(self, call: SessionCall) -> None:
        while True:
            await self._outgoing.wait()
            # One turn of the loop more, so that tasks that were woken or started just now join the frame.
            await asyncio.sleep(0)
            self._outgoing.clear()
            while (frame := self.core.next_frame(boottime_ns())) is not None:
                await call.write(frame)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self.poke()

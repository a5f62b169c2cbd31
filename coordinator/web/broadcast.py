"""One subscription to the floor feed, shared by every browser.

Rule: a browser costs the coordinator nothing that grows with how slowly it reads. Encoded updates sit in one short
ring; a browser is only a cursor into it. Whoever falls off the ring's end gets a fresh snapshot instead of the
backlog, and a browser that reconnects within the ring's span carries on from its Last-Event-ID. Each update is
converted once. While nobody watches, the feed is not subscribed to at all.

Never imports the runtime or the core: it sees the feed alone.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

from zonelock.v1 import zone_service_pb2

from coordinator.web.encode import Json, to_json
from coordinator.web.picture import Picture

RING_UPDATES = 64
"""Updates kept for browsers that lag or reconnect: some seconds at the feed's pace of ten a second."""
ZONES_PER_SLICE = 500
"""A snapshot's zones are encoded in slices, so that 5,700 zones never hold the loop for long."""
ALIVE_S = 2.0
"""A browser hears at least this often, or it must take the coordinator for gone."""

_log = logging.getLogger(__name__)


class Feed(Protocol):
    """What `coordinator.rpc.watch.FloorFeed` offers: the whole picture first, then what changed."""

    def subscribe(self, min_interval_ms: int = 0) -> AsyncIterator[zone_service_pb2.WatchFloorResponse]: ...


@dataclass(frozen=True, slots=True)
class _Update:
    seq: int
    frame: bytes


class FloorBroadcast:
    """Turns the feed into server-sent events. `clock_ms` is monotonic; its readings go out as `server_ms`."""

    def __init__(self, feed: Feed, *, clock_ms: Callable[[], int], leading: Callable[[], bool]) -> None:
        self._feed = feed
        self._clock_ms = clock_ms
        self._leading = leading
        self._run = ""
        self._seq = 0
        self._ring: deque[_Update] = deque(maxlen=RING_UPDATES)
        self._picture = Picture()
        self._snapshot = _Update(0, b"")
        self._encoding = asyncio.Lock()
        self._moved = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None
        self._joined_now = 0
        self._closed = False

    def close(self) -> None:
        """Ends every browser's stream; they reconnect by themselves."""
        self._closed = True
        self._end_pump()
        self._wake()

    @contextmanager
    def _joined(self) -> Iterator[None]:
        self._joined_now += 1
        if self._pump is None:
            self._start_pump()
        try:
            yield
        finally:
            self._joined_now -= 1
            if self._joined_now == 0:
                self._end_pump()

    async def frames(self, last_event_id: str) -> AsyncGenerator[bytes]:
        """Server-sent events for one browser until the feed or the server ends; something at least every ALIVE_S."""
        with self._joined():
            run, cursor = self._run, self._cursor(last_event_id)
            while not self._closed and self._run == run:
                moved = self._moved
                if self._seq in (cursor, 0):
                    if not await _happens(moved, ALIVE_S):
                        yield self._alive()
                elif cursor is None or not self._ring or cursor < self._ring[0].seq - 1:
                    snapshot = await self._whole()
                    cursor = snapshot.seq
                    yield snapshot.frame
                else:
                    news = [update for update in self._ring if update.seq > cursor]
                    cursor = news[-1].seq
                    yield b"".join(update.frame for update in news)

    def _cursor(self, last_event_id: str) -> int | None:
        run, _, seq = last_event_id.partition("-")
        if run != self._run or not seq.isdecimal() or len(seq) > 15:
            return None
        return int(seq) if int(seq) <= self._seq else None

    def _start_pump(self) -> None:
        self._run = secrets.token_hex(4)
        self._seq = 0
        self._ring.clear()
        self._picture = Picture()
        self._snapshot = _Update(0, b"")
        self._pump = asyncio.create_task(self._drain_feed(), name="web-floor-feed")

    def _end_pump(self) -> None:
        """Whoever still watches this run sees the run's name change and ends."""
        if self._pump is not None:
            self._pump.cancel()
        self._pump = None
        self._run = ""
        self._wake()

    async def _drain_feed(self) -> None:
        me = asyncio.current_task()
        updates = self._feed.subscribe()
        try:
            async for message in updates:
                await self._publish(message)
        except Exception:  # the map must not take the coordinator down with it
            _log.exception("floor map: the floor feed failed; browsers will reconnect")
        finally:
            if isinstance(updates, AsyncGenerator):  # a cancelled reader must not leave its place in the feed taken
                await updates.aclose()
        if self._pump is me:
            self._end_pump()

    async def _publish(self, message: zone_service_pb2.WatchFloorResponse) -> None:
        at_ms = self._clock_ms()
        update: Json = {**to_json(message, without="zones"), "zones": []}
        for start in range(0, len(message.zones), ZONES_PER_SLICE):
            if start:
                await asyncio.sleep(0)
            update["zones"] += [to_json(zone) for zone in message.zones[start : start + ZONES_PER_SLICE]]
        seq = self._seq + 1
        frame = await self._frame(seq, update, at_ms)
        self._picture.apply(update, at_ms)
        news = _Update(seq, frame)
        self._ring.append(news)
        self._seq = seq
        if message.snapshot:
            self._snapshot = news
        self._wake()

    async def _whole(self) -> _Update:
        """The whole picture; browsers that need it at the same update share one encoding."""
        async with self._encoding:
            if self._snapshot.seq != self._seq:
                seq, at_ms = self._seq, self._clock_ms()
                self._snapshot = _Update(seq, await self._frame(seq, self._picture.whole(at_ms), at_ms))
            return self._snapshot

    async def _frame(self, seq: int, update: Json, at_ms: int) -> bytes:
        zones = update["zones"]
        slices = []
        for start in range(0, len(zones), ZONES_PER_SLICE):
            if start:
                await asyncio.sleep(0)
            slices.append(_compact(zones[start : start + ZONES_PER_SLICE])[1:-1])
        rest = _compact(
            {"server_ms": at_ms, "leading": self._leading(), **{k: v for k, v in update.items() if k != "zones"}}
        )
        data = f'{rest[:-1]},"zones":[{",".join(slices)}]}}'
        return f"id: {self._run}-{seq}\ndata: {data}\n\n".encode()

    def _alive(self) -> bytes:
        """Comments keep proxies open but pages cannot see them, so the page gets an event of its own as well."""
        data = _compact({"server_ms": self._clock_ms(), "leading": self._leading()})
        return f": keep-alive\nevent: alive\ndata: {data}\n\n".encode()

    def _wake(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


async def _happens(event: asyncio.Event, within_s: float) -> bool:
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), within_s)
    return event.is_set()

"""What waits to be written to one client: two lanes, stops first; bounded, because a client may never read.

A stop overtakes everything that is queued. Beyond the bound nothing is dropped silently: the stream ends (SLOW_READER),
the agents' link counts as lost, and they learn the current state when they come back. Knows nothing of gRPC.

Answers come encoded, and a frame is put together from their bytes: what a thousand receivers are told alike is encoded
once, and nothing is copied into a message only to be encoded from there.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import lru_cache

from zonelock.v1 import zone_service_pb2 as zpb

from coordinator.core.model import Mark
from coordinator.rpc.limits import RpcLimits

_ANSWERS = zpb.SessionResponse.ANSWERS_FIELD_NUMBER
_LENGTH_DELIMITED = 2


class Outbox:
    """Filled synchronously by the runtime's deliveries, drained by the stream's one writer."""

    def __init__(self, limits: RpcLimits, epoch: int = 0) -> None:
        self._limits = limits
        self._stops: deque[bytes] = deque()
        self._answers: deque[bytes] = deque()
        self._bytes = 0
        self._ack_frame = 0
        self._mark = Mark(epoch)
        self._acknowledged = False
        self._closed = False
        self._wake = asyncio.Event()
        self._frames = 0

    def __len__(self) -> int:
        return len(self._stops) + len(self._answers)

    @property
    def size_bytes(self) -> int:
        return self._bytes

    @property
    def overflowing(self) -> bool:
        return len(self) > self._limits.unread_answers or self._bytes > self._limits.unread_bytes

    def put(self, answer: bytes, *, stop: bool = False) -> None:
        """`answer`: an encoded `Answer`."""
        self._bytes += len(answer)
        (self._stops if stop else self._answers).append(answer)
        self._wake.set()

    def acknowledge(self, frame: int, mark: Mark) -> None:
        """Neither ever falls. An acknowledgement leaves with the next answers, or by itself."""
        if frame > self._ack_frame or mark != self._mark:
            self._ack_frame, self._mark = max(frame, self._ack_frame), self._mark.joined(mark)
            self._acknowledged = True
            self._wake.set()

    def clear(self) -> None:
        self._stops.clear()
        self._answers.clear()
        self._bytes = 0
        self._acknowledged = False

    def close(self) -> None:
        """Nothing more will come; what is queued may still be taken."""
        self._closed = True
        self._wake.set()

    async def ready(self) -> bool:
        """Returns when there is something to write, or False when there never will be again."""
        while not self._filled:
            if self._closed:
                return False
            self._wake.clear()
            await self._wake.wait()
        return True

    @property
    def _filled(self) -> bool:
        return bool(self._stops or self._answers or self._acknowledged)

    def next_frame(self) -> bytes | None:
        """The next frame to write, an encoded `SessionResponse`: the stops alone if there are any, otherwise what is
        queued, up to a frame's size.
        """
        if not self._filled:
            return None
        lane = self._stops or self._answers
        size = 0
        self._acknowledged = False
        self._frames += 1
        mark = self._mark
        head = zpb.SessionResponse(
            frame=self._frames,
            ack_frame=self._ack_frame,
            epoch=mark.epoch,
            revision=mark.revision,
            newest_token=mark.token,
        )
        parts = [head.SerializeToString()]
        for _ in range(min(len(lane), self._limits.answers_per_frame)):
            if size and size + len(lane[0]) > self._limits.response_bytes:
                break
            answer = lane.popleft()
            parts += (_opening(len(answer)), answer)
            size += len(answer)
        self._bytes -= size
        return b"".join(parts)


@lru_cache(maxsize=1_024)
def _opening(size: int) -> bytes:
    """What stands before an answer of so many bytes in a frame: the field's number and wire type, then its length,
    seven bits a byte, lowest first (protobuf.dev, "Encoding").
    """
    found = bytearray((_ANSWERS << 3 | _LENGTH_DELIMITED,))
    while size > 0x7F:
        found.append(size & 0x7F | 0x80)
        size >>= 7
    found.append(size)
    return bytes(found)

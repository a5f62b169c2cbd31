"""What waits to be written to one client: two lanes, stops first; bounded, because a client may never read.

A stop overtakes everything that is queued. Beyond the bound nothing is dropped silently: the stream ends (SLOW_READER),
the agents' link counts as lost, and they learn the current state when they come back. Knows nothing of gRPC.
"""

from __future__ import annotations

import asyncio
from collections import deque

from zonelock.v1 import zone_service_pb2 as zpb

from coordinator.core.model import Mark
from coordinator.rpc.limits import RpcLimits


class Outbox:
    """Filled synchronously by the runtime's deliveries, drained by the stream's one writer."""

    def __init__(self, limits: RpcLimits, epoch: int = 0) -> None:
        self._limits = limits
        self._stops: deque[tuple[zpb.Answer, int]] = deque()
        self._answers: deque[tuple[zpb.Answer, int]] = deque()
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
    def bytes(self) -> int:
        return self._bytes

    @property
    def overflowing(self) -> bool:
        return len(self) > self._limits.unread_answers or self._bytes > self._limits.unread_bytes

    def put(self, answer: zpb.Answer, *, stop: bool = False) -> None:
        size = answer.ByteSize()
        self._bytes += size
        (self._stops if stop else self._answers).append((answer, size))
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

    def next_frame(self) -> zpb.SessionResponse | None:
        """The next frame to write: the stops alone if there are any, otherwise what is queued, up to a frame's size."""
        if not self._filled:
            return None
        lane = self._stops or self._answers
        answers: list[zpb.Answer] = []
        size = 0
        while lane and len(answers) < self._limits.answers_per_frame:
            if answers and size + lane[0][1] > self._limits.response_bytes:
                break
            answer, answer_size = lane.popleft()
            answers.append(answer)
            size += answer_size
        self._bytes -= size
        self._acknowledged = False
        self._frames += 1
        return zpb.SessionResponse(
            frame=self._frames,
            ack_frame=self._ack_frame,
            epoch=self._mark.epoch,
            revision=self._mark.revision,
            newest_token=self._mark.token,
            answers=answers,
        )

"""One `Session` stream: frames in, events to the core, answers out. One reader, one writer, and a bound on both.

Rules owned here: frames count from 1 without gaps; a bad operation is answered by `Failed` and the stream lives on, a
bad frame ends it; a stop overtakes everything queued; a client that does not read, or that sends faster than commits
follow, costs a bounded amount of memory. However the stream ends, the runtime learns that the link is gone, and that
says nothing about where its agents are. Never imports the runtime.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from zonelock.v1 import zone_service_pb2 as zpb

from coordinator.core import events as ev
from coordinator.core.effects import Send
from coordinator.core.model import Mark
from coordinator.core.rejections import Refusal
from coordinator.floor import Floor
from coordinator.rpc.errors import Problem, RequestRefused, Tally, abort, bad_field, internal, problem, problem_of
from coordinator.rpc.limits import MAX_ID_CHARS, RpcLimits
from coordinator.rpc.outbox import Outbox
from coordinator.rpc.port import Runtime
from coordinator.rpc.requests import event_of, request_id_of
from coordinator.rpc.translate import Greeting, encoded_answer, failed_message
from coordinator.rpc.turns import Turns

log = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[zpb.SessionRequest, bytes]
"""Responses leave as bytes: see `Outbox`."""


class SessionStream:
    """One stream's life. The runtime's outlet for every agent that says hello on it."""

    def __init__(
        self,
        runtime: Runtime,
        floor: Floor,
        greeting: Greeting,
        limits: RpcLimits,
        tally: Tally,
        turns: Turns,
        context: Any,
    ) -> None:
        self._runtime, self._floor, self._greeting = runtime, floor, greeting
        self._limits, self._tally, self._turns = limits, tally, turns
        self._context: Context = context
        self._outbox = Outbox(limits, runtime.epoch)
        self._conn = 0
        self._frame = 0
        self._greeted = False
        self._uncommitted: deque[tuple[int, int]] = deque()
        self._uncommitted_operations = 0
        self._room = asyncio.Event()
        self._trouble: Problem | None = None
        self._failed = asyncio.Event()
        self._writing_since: float | None = None
        self._stall_check: asyncio.TimerHandle | None = None

    # -- outlet: called by the runtime, synchronously --------------------------------------------------------------

    def deliver(self, sends: Sequence[Send], *, stop: bool) -> None:
        """Takes answers. What they say of time is true now, so the newest frame handled is the one to echo (I6)."""
        if self._trouble is not None:
            return
        try:
            for send in sends:
                self._outbox.put(encoded_answer(send, self._frame, self._greeting), stop=stop)
        except Exception as error:  # a bug here ends this stream, never the runtime's loop that delivers to all
            self._end(internal(error, "Session.deliver", self._tally))
            return
        self._tally.answers += len(sends)
        if self._outbox.overflowing:
            self._give_up(f"{len(self._outbox)} answers ({self._outbox.size_bytes} bytes) are unread")

    def acknowledge(self, frame: int, mark: Mark) -> None:
        self._outbox.acknowledge(frame, mark)
        while self._uncommitted and self._uncommitted[0][0] <= frame:
            self._uncommitted_operations -= self._uncommitted.popleft()[1]
        if self._uncommitted_operations < self._limits.uncommitted_operations:
            self._room.set()

    def fail(self, refusal: Refusal, message: str, metadata: tuple[tuple[str, str], ...] = ()) -> None:
        self._end(problem(refusal, message, metadata))

    # -- life ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serves the stream until either side ends it. Raises what `context.abort` raises, when with an error."""
        self._conn = self._runtime.attach(self)
        try:
            # Before anything else: a status cannot be sent while the first write, which would carry it, is under way.
            await self._context.send_initial_metadata(())
            await self._serve()
        finally:
            self._runtime.detach(self._conn)
        if self._trouble is not None:
            self._tally.refused(self._trouble.reason)
            await abort(self._context, self._trouble)

    async def _serve(self) -> None:
        reader = asyncio.create_task(self._read(), name=f"session-{self._conn}-reader")
        writer = asyncio.create_task(self._write(), name=f"session-{self._conn}-writer")
        failed = asyncio.create_task(self._failed.wait(), name=f"session-{self._conn}-failed")
        try:
            await asyncio.wait({reader, writer, failed}, return_when=asyncio.FIRST_COMPLETED)
            self._runtime.detach(self._conn)
            if reader.done() and not reader.cancelled():
                self._note(reader.exception())
            await self._let_finish(writer)
        finally:
            if self._stall_check is not None:
                self._stall_check.cancel()
            for task in (reader, writer, failed):
                task.cancel()
            _, wrote, _ = await asyncio.gather(reader, writer, failed, return_exceptions=True)
            self._note(wrote)

    async def _let_finish(self, writer: asyncio.Task[None]) -> None:
        """What was committed and queued before the end still goes out, if the client reads. Writes never overlap."""
        self._outbox.close()
        if self._trouble is None or self._trouble.reason != Refusal.SLOW_READER.value:
            await asyncio.wait({writer}, timeout=self._limits.write_stall_ms / 1_000)

    def _note(self, outcome: BaseException | None) -> None:
        """What ended a task; a transport that failed under it only says that the client went away."""
        if isinstance(outcome, Exception) and not isinstance(outcome, grpc.aio.BaseError) and self._trouble is None:
            self._trouble = problem_of(outcome) or internal(outcome, "Session", self._tally)

    def _end(self, trouble: Problem) -> None:
        if self._trouble is None:
            self._trouble = trouble
            self._failed.set()

    def _give_up(self, why: str) -> None:
        """What is queued is dropped: the client learns the current state when it comes back."""
        if self._trouble is None:
            self._tally.slow_readers += 1
            log.warning("session %d with %s ends: %s", self._conn, self._context.peer(), why)
        self._end(problem(Refusal.SLOW_READER, f"The stream ended because {why}."))
        self._outbox.clear()

    # -- writing -----------------------------------------------------------------------------------------------------

    async def _write(self) -> None:
        """Returns when the outbox is closed and empty. gRPC completes a write when the transport has taken it."""
        loop = asyncio.get_running_loop()
        while await self._outbox.ready():
            frame = self._outbox.next_frame()
            if frame is not None:
                self._tally.frames_out += 1
                self._writing_since = loop.time()
                if self._stall_check is None:
                    self._stall_check = loop.call_later(self._limits.write_stall_ms / 1_000, self._check_stall)
                await self._context.write(frame)
                self._writing_since = None

    def _check_stall(self) -> None:
        """Ends the stream when flow control has held one write up for too long. One timer now and then instead of one
        for each write, which would cost as much as the write.
        """
        self._stall_check = None
        if self._writing_since is None:
            return
        loop = asyncio.get_running_loop()
        left_s = self._writing_since + self._limits.write_stall_ms / 1_000 - loop.time()
        if left_s > 0:
            self._stall_check = loop.call_later(left_s, self._check_stall)
        else:
            self._give_up(f"a write has waited {self._limits.write_stall_ms} ms for the client to read")

    # -- reading -----------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        """Returns when the client has sent its last frame."""
        while True:
            if self._uncommitted_operations >= self._limits.uncommitted_operations:
                await self._room_for_more()
            try:
                request = await self._context.read()
            except DecodeError as error:
                raise bad_field("frame", str(error), "the bytes of a SessionRequest") from None
            if not isinstance(request, zpb.SessionRequest):
                return  # grpc.aio.EOF: a half-close
            if self._trouble is not None:
                return  # the stream's status answers it; a refusal by itself would only make the client wait
            await self._handle(request)

    async def _room_for_more(self) -> None:
        while self._uncommitted_operations >= self._limits.uncommitted_operations:
            self._room.clear()
            await self._room.wait()

    async def _handle(self, request: zpb.SessionRequest) -> None:
        """Submits a frame's operations, as many at a time as the turn allows: a stop does not wait for all of a large
        frame, nor for those of many streams.
        """
        operations = request.operations
        self._check_frame(request, len(operations))
        self._frame = frame = request.frame
        runtime, turns, spoke = self._runtime, self._turns, False
        for index, operation in enumerate(operations):
            now_ms = runtime.now_ms()
            if turns.is_over(now_ms):
                now_ms = await turns.next(len(operations) - index, had_some=index > 0)
            spoke = self._submit(operation, index, now_ms) or spoke
        runtime.heard(self._conn, frame, spoke=spoke)
        cost = max(1, len(operations))
        self._uncommitted.append((frame, cost))
        self._uncommitted_operations += cost
        self._tally.frames_in += 1
        self._tally.operations += len(operations)

    def _check_frame(self, request: zpb.SessionRequest, count: int) -> None:
        size, limit = request.ByteSize(), self._limits.frame_bytes
        if size > limit:
            raise RequestRefused(
                Refusal.FRAME_TOO_LARGE,
                f"frame {request.frame} has {size} bytes; at most {limit} are read.",
                (("field", "frame"), ("value", f"{size} bytes"), ("limit", str(limit))),
            )
        most = self._limits.operations_per_frame
        if count > most:
            raise RequestRefused(
                Refusal.FRAME_TOO_LARGE,
                f"frame {request.frame} has {count} operations; at most {most} go in one.",
                (("field", "operations"), ("value", str(count)), ("limit", str(most))),
            )
        if request.frame != self._frame + 1:
            raise bad_field("frame", request.frame, str(self._frame + 1), Refusal.FRAME_ORDER)

    def _submit(self, operation: zpb.Operation, index: int, now_ms: int) -> bool:
        """Whether the operation reached the runtime; the answer says what became of it."""
        cause = f"{self._conn}.{self._frame}.{index}"
        try:
            event = event_of(operation, self._conn, now_ms, cause, self._floor)
        except RequestRefused as refused:
            self._answer_failed(operation, problem(refused.refusal, refused.message, refused.metadata))
            return False
        try:
            self._runtime.submit(event)
        except Exception as error:
            trouble = problem_of(error)
            if trouble is None or not self._greeted:
                raise  # a bug, or a client that had better try another coordinator
            if not isinstance(event, ev.Reported):
                self._answer_failed(operation, trouble)  # the stream lives on, for stops leave without a store too
            return False
        self._greeted = self._greeted or isinstance(event, ev.Hello)
        return True

    def _answer_failed(self, operation: zpb.Operation, trouble: Problem) -> None:
        self._tally.refused(trouble.reason)
        answer = zpb.Answer(
            agent_id=operation.agent_id[:MAX_ID_CHARS],
            request_id=request_id_of(operation),
            failed=failed_message(trouble),
        )
        self._outbox.put(answer.SerializeToString())
        if self._outbox.overflowing:
            self._give_up(f"{len(self._outbox)} answers are unread")

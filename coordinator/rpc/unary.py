"""Acquire, Release, Extend without a stream: a detached hello, one operation, one final answer.

The call is an outlet of its own. What a unary caller holds is orphaned as soon as the call ends: it lives until its
deadline and is given back or extended by a later call with the same session secret. A call that ends early (cancelled,
timed out at the client) says nothing about the grant; asking again under the same request id tells. Never imports the
runtime.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from zonelock.v1 import zone_service_pb2 as zpb

from coordinator.core import effects as fx
from coordinator.core import events as ev
from coordinator.core.model import Mark
from coordinator.core.rejections import Refusal, Rejection
from coordinator.floor import Floor
from coordinator.rpc import requests
from coordinator.rpc.errors import RequestRefused
from coordinator.rpc.limits import RpcLimits
from coordinator.rpc.port import Runtime
from coordinator.rpc.translate import extended_message, granted_message, rejected_message, released_message

NO_ECHO = 0
"""A unary call has no frames: its caller counts D from the moment it sent the request."""


class UnaryCall:
    """The outlet of one call. The first answer that is not Queued ends it; a failure raises RequestRefused."""

    def __init__(self, runtime: Runtime, limits: RpcLimits, method: str) -> None:
        self._runtime, self._limits, self._method = runtime, limits, method
        self._final: asyncio.Future[fx.Answer] = asyncio.get_running_loop().create_future()
        self._queued = asyncio.Event()
        self.conn = runtime.attach(self)

    # -- outlet ----------------------------------------------------------------------------------------------------

    def deliver(self, sends: Sequence[fx.Send], *, stop: bool) -> None:
        for send in sends:
            match send.answer:
                case fx.Queued():
                    self._queued.set()
                case fx.Failed() as failed:
                    self._refuse(failed.refusal, failed.message, failed.metadata)
                case fx.Welcome() | fx.Warned() | fx.StopRaised() | fx.StopEnded():
                    pass  # news for a stream; a call has its one answer
                case answer if not self._final.done():
                    self._final.set_result(answer)

    def acknowledge(self, frame: int, mark: Mark) -> None:
        pass

    def fail(self, refusal: Refusal, message: str, metadata: tuple[tuple[str, str], ...] = ()) -> None:
        self._refuse(refusal, message, metadata)

    def _refuse(self, refusal: Refusal, message: str, metadata: tuple[tuple[str, str], ...]) -> None:
        if not self._final.done():
            self._final.set_exception(RequestRefused(refusal, message, metadata))

    # -- the call's side ---------------------------------------------------------------------------------------------

    def origin(self, agent_id: str) -> requests.Origin:
        cause = f"{self.conn}.{self._method}"
        return requests.Origin(self.conn, self._runtime.now_ms(), requests.identifier("agent_id", agent_id), cause)

    def submit(self, *events: ev.Event) -> None:
        for event in events:
            self._runtime.submit(event)

    def close(self) -> None:
        """The runtime forgets the call, whichever way it ended. Idempotent there."""
        self._runtime.detach(self.conn)
        if self._final.done() and not self._final.cancelled():
            self._final.exception()  # read, so that an unread failure is not reported as lost

    async def answer(self, within_ms: int = 0) -> fx.Answer:
        """The final answer. Raises RequestRefused; COMMIT_UNCERTAIN when no commit follows in time."""
        done, _ = await asyncio.wait({self._final}, timeout=(within_ms or self._limits.answer_ms) / 1_000)
        if not done:
            raise self._uncommitted()
        return self._final.result()

    async def answer_within(self, wait_ms: int) -> fx.Answer | None:
        """The final answer, or None once the ask is queued and `wait_ms` have passed since the call began."""
        await asyncio.wait({self._final}, timeout=wait_ms / 1_000)
        if self._final.done():
            return self._final.result()
        queued = asyncio.create_task(self._queued.wait())  # whether it is, only a commit tells
        either: set[asyncio.Future[Any]] = {self._final, queued}
        try:
            done, _ = await asyncio.wait(
                either, timeout=self._limits.answer_ms / 1_000, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            queued.cancel()
        if not done:
            raise self._uncommitted()
        return self._final.result() if self._final.done() else None

    def _uncommitted(self) -> RequestRefused:
        message = f"{self._method}: nothing was committed within {self._limits.answer_ms} ms."
        return RequestRefused(Refusal.COMMIT_UNCERTAIN, message)


async def acquire(runtime: Runtime, limits: RpcLimits, request: zpb.AcquireRequest) -> zpb.AcquireResponse:
    wait_ms = requests.integer("wait_ms", request.wait_ms, 0, limits.acquire_wait_ms)
    call = UnaryCall(runtime, limits, "Acquire")
    try:
        origin = call.origin(request.agent_id)
        asked = requests.asked(origin, request.ask)
        call.submit(requests.detached_hello(origin, request.session_secret), asked)
        answer = await call.answer_within(wait_ms)
        if answer is None:
            later = call.origin(request.agent_id)
            call.submit(requests.cancelled(later, zpb.Cancel(request_id=asked.request_id)))
            answer = await call.answer()
        return _acquire_response(answer, asked, wait_ms)
    finally:
        call.close()


def _acquire_response(answer: fx.Answer, asked: ev.Asked, wait_ms: int) -> zpb.AcquireResponse:
    match answer:
        case fx.Granted():
            return zpb.AcquireResponse(granted=granted_message(answer, NO_ECHO))
        case fx.Rejected():
            return zpb.AcquireResponse(rejected=rejected_message(answer))
        case fx.Cancelled():
            message = (
                f"{', '.join(asked.zones)} did not become free within wait_ms {wait_ms}; ask again, or wait longer"
            )
            ended = fx.Rejected(Rejection.WAIT_ENDED, message, zones=asked.zones)
            return zpb.AcquireResponse(rejected=rejected_message(ended))
    raise TypeError(f"the core answered an ask with {type(answer).__name__}")


async def release(runtime: Runtime, limits: RpcLimits, request: zpb.ReleaseRequest) -> zpb.ReleaseResponse:
    call = UnaryCall(runtime, limits, "Release")
    try:
        origin = call.origin(request.agent_id)
        released = requests.released(origin, request.release)
        call.submit(requests.detached_hello(origin, request.session_secret), released)
        answer = await call.answer()
    finally:
        call.close()
    match answer:
        case fx.Released():
            return zpb.ReleaseResponse(released=released_message(answer))
        case fx.Rejected():
            return zpb.ReleaseResponse(rejected=rejected_message(answer))
    raise TypeError(f"the core answered a release with {type(answer).__name__}")


async def extend(runtime: Runtime, limits: RpcLimits, request: zpb.ExtendRequest, floor: Floor) -> zpb.ExtendResponse:
    call = UnaryCall(runtime, limits, "Extend")
    try:
        origin = call.origin(request.agent_id)
        operations: list[ev.Event] = [requests.detached_hello(origin, request.session_secret)]
        if request.HasField("telemetry"):
            operations.append(requests.reported(origin, request.telemetry, floor))
        operations.append(requests.extend_asked(origin, request.extend))
        call.submit(*operations)
        answer = await call.answer()
    finally:
        call.close()
    match answer:
        case fx.Extended():
            return zpb.ExtendResponse(extended=extended_message(answer, NO_ECHO))
        case fx.Rejected():
            return zpb.ExtendResponse(rejected=rejected_message(answer))
    raise TypeError(f"the core answered an extension with {type(answer).__name__}")

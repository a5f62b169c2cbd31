"""From a refusal to what a client sees, and nothing else: one table (`core.rejections.REFUSALS`), one shape.

    RequestRefused ──▶ Problem ──▶ grpc status + google.rpc.Status {ErrorInfo, RetryInfo}   (a call or a stream ends)
    core Failed ─────▶ Problem ──▶ zonelock.v1.Failed                                       (one operation on a stream)
    anything else ───▶ INTERNAL, logged with its traceback and counted; its text never leaves the coordinator

`ErrorInfo.metadata` always holds `remedy`; where a field is to blame also `field` and `value`. Never imports the
runtime: its refusals are told by their shape (an exception with `refusal` and `message`).
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

import grpc
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2

from coordinator.core.rejections import REFUSALS, Refusal

log = logging.getLogger(__name__)

DOMAIN = "zonelock"
DETAILS_KEY = "grpc-status-details-bin"
MAX_MESSAGE_BYTES = 800
MAX_METADATA_BYTES = 200
MAX_METADATA_ENTRIES = 6
"""Status details travel in an HTTP/2 trailer, which clients read up to 8 KiB by default: base64 and percent-encoded."""

Metadata = Iterable[tuple[str, str]]


class RequestRefused(Exception):
    """A call that cannot be served; carries its row of the table. Only this package raises and catches it."""

    def __init__(self, refusal: Refusal, message: str = "", metadata: Metadata = ()) -> None:
        super().__init__(message or REFUSALS[refusal].meaning)
        self.refusal = refusal
        self.message = message
        self.metadata = tuple(metadata)


def bad_field(field_name: str, value: object, right: str, refusal: Refusal = Refusal.BAD_FIELD) -> RequestRefused:
    """One field is to blame: its name, its value, and what would be right."""
    shown = clip(repr(value), MAX_METADATA_BYTES)
    return RequestRefused(refusal, f"{field_name} is {shown}; use {right}.", (("field", field_name), ("value", shown)))


def bad_size(field_name: str, size: str, right: str, refusal: Refusal = Refusal.BAD_FIELD) -> RequestRefused:
    """A field whose size is to blame; its value stays out of the message (too long, or a secret)."""
    return RequestRefused(refusal, f"{field_name} is {size}; use {right}.", (("field", field_name), ("value", size)))


def clip(text: str, most_bytes: int) -> str:
    """Cut to so many bytes of UTF-8, with an ellipsis where something is missing."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= most_bytes:
        return encoded.decode()
    return encoded[: most_bytes - 3].decode("utf-8", "ignore") + "…"


@dataclass(frozen=True, slots=True)
class Problem:
    """A refusal ready for the wire. `code` is the `grpc.StatusCode` number; `message` ends in the remedy."""

    code: int
    reason: str
    message: str
    metadata: tuple[tuple[str, str], ...]
    retry_ms: int

    @property
    def status_code(self) -> grpc.StatusCode:
        return STATUS_CODES[self.code]

    def status(self) -> status_pb2.Status:
        status = status_pb2.Status(code=self.code, message=self.message)
        info = error_details_pb2.ErrorInfo(reason=self.reason, domain=DOMAIN, metadata=dict(self.metadata))
        status.details.add().Pack(info)
        if self.retry_ms:
            delay = duration_pb2.Duration(seconds=self.retry_ms // 1_000, nanos=self.retry_ms % 1_000 * 1_000_000)
            status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
        return status


STATUS_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


def problem(refusal: Refusal, message: str = "", metadata: Metadata = ()) -> Problem:
    """Completes a refusal from the table: the message ends in the remedy, the metadata names it."""
    entry = REFUSALS[refusal]
    text = clip(message.strip() or entry.meaning, MAX_MESSAGE_BYTES)
    if entry.remedy not in text:
        text = f"{text.removesuffix('.')}. {entry.remedy}"
    pairs = [("remedy", entry.remedy)]
    for key, value in list(metadata)[:MAX_METADATA_ENTRIES]:
        if key != "remedy":
            pairs.append((clip(key, MAX_METADATA_BYTES), clip(value, MAX_METADATA_BYTES)))
    code = grpc.StatusCode[entry.code.value].value[0]
    return Problem(code, refusal.value, text, tuple(pairs), entry.retry_ms)


def problem_of(error: Exception) -> Problem | None:
    """The problem that an exception stands for; None when it is not a refusal but a bug."""
    refusal = getattr(error, "refusal", None)
    if not isinstance(refusal, Refusal):
        return None
    return problem(refusal, str(getattr(error, "message", "")), getattr(error, "metadata", ()))


async def abort(context: grpc.aio.ServicerContext[Any, Any], trouble: Problem) -> NoReturn:
    """Ends the call with the problem's status and details, or silently when the client has gone meanwhile."""
    trailer = ((DETAILS_KEY, trouble.status().SerializeToString()),)
    try:
        await context.abort(trouble.status_code, trouble.message, trailer)
    except grpc.aio.AbortError:
        raise
    except grpc.aio.BaseError as gone:
        log.debug("nobody is left to be told: %s", trouble.message)
        raise grpc.aio.AbortError from gone


@dataclass(slots=True)
class Tally:
    """What the wire counted since it started, for whoever exports it."""

    calls: int = 0
    frames_in: int = 0
    frames_out: int = 0
    operations: int = 0
    answers: int = 0
    slow_readers: int = 0
    internal_errors: int = 0
    refusals: dict[str, int] = field(default_factory=dict)

    def refused(self, reason: str) -> None:
        self.refusals[reason] = self.refusals.get(reason, 0) + 1


_Request = TypeVar("_Request")
_Response = TypeVar("_Response")
_Servicer = TypeVar("_Servicer")


def answered(
    method: Callable[[_Servicer, _Request, Any], Awaitable[_Response]],
) -> Callable[[_Servicer, _Request, Any], Awaitable[_Response]]:
    """Wraps a servicer's coroutine method: refusals become statuses, bugs become INTERNAL. The servicer has a
    `tally`."""

    @functools.wraps(method)
    async def guarded(self: _Servicer, request: _Request, context: Any) -> _Response:
        tally: Tally = self.tally  # type: ignore[attr-defined]
        tally.calls += 1
        try:
            return await method(self, request, context)
        except grpc.aio.AbortError:
            raise
        except grpc.aio.BaseError as gone:  # the transport failed under a read or a write: the client went away
            raise grpc.aio.AbortError from gone
        except Exception as error:
            trouble = problem_of(error) or internal(error, method.__name__, tally)
        tally.refused(trouble.reason)
        return await abort(context, trouble)

    return guarded


def internal(error: Exception, where: str, tally: Tally) -> Problem:
    """A bug: the traceback goes to the log, the client learns only that it was one."""
    tally.internal_errors += 1
    log.error("%s failed", where, exc_info=error)
    return problem(Refusal.INTERNAL)

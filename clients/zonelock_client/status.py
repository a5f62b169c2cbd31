"""From a gRPC status to `RequestError`: google.rpc.Status details in the trailing metadata, without which the bare
code.

Imports grpc, google.rpc and the errors only.
"""

from __future__ import annotations

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from zonelock_client.errors import GrantRejected, RequestError, status_code
from zonelock_client.session_core.values import Failure, Rejection

_DETAILS_KEY = "grpc-status-details-bin"


def from_rpc_error(error: grpc.aio.AioRpcError) -> RequestError:
    """The status of a failed call with its ErrorInfo and RetryInfo, where the server sent them."""
    reason, metadata, retry_ms = "", {}, 0
    for key, value in error.trailing_metadata() or ():
        if key != _DETAILS_KEY or not isinstance(value, bytes):
            continue
        try:
            status = status_pb2.Status.FromString(value)
        except DecodeError:
            continue
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        for detail in status.details:
            if detail.Unpack(info):
                reason, metadata = info.reason, dict(info.metadata)
            elif detail.Unpack(retry):
                retry_ms = retry.retry_delay.seconds * 1_000 + retry.retry_delay.nanos // 1_000_000
    return RequestError(error.code(), reason, error.details() or "no details", metadata, retry_ms=retry_ms)


def from_failure(failure: Failure) -> RequestError:
    """A `Failed` answer as the exception that a unary call would have raised."""
    return RequestError(
        status_code(failure.code), failure.reason, failure.message, dict(failure.metadata), retry_ms=failure.retry_ms
    )


def from_rejection(rejection: Rejection) -> GrantRejected:
    return GrantRejected(
        rejection.reason,
        rejection.message,
        zones=rejection.zones,
        stop_ids=rejection.stop_ids,
        retreat_zone=rejection.retreat_zone,
    )

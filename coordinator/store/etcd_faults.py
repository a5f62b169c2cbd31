"""What a failed etcd call says about whether it was executed: the one table behind "never retry a write blindly".

A write that failed in any way not listed here may still be applied, now or later: a member that timed out, lost its
leader or is stopping has usually proposed it already. Sources: etcd's `api/v3rpc/rpctypes/error.go`, and where each of
those errors is raised in `etcdserver` (before proposing, or when applying, which is all or nothing). Imports no store.
"""

from __future__ import annotations

from enum import Enum

import grpc
from grpc.aio import AioRpcError

_SERVER = "etcdserver: "

_NEVER_SENT = ("failed to connect to all addresses", "DNS resolution failed")
"""How gRPC begins the details of a call for which it never had a connection."""


class Fault(Enum):
    """What the caller may conclude."""

    ELSEWHERE = "refused unexecuted by this member; another may take it"
    REFUSED = "refused unexecuted by the cluster; another member will say the same"
    LOGIN = "refused unexecuted because our token is not good any more; a new one will do"
    UNCERTAIN = "may have been executed, or be executed later"


_BY_DETAILS = {
    # The interceptor refuses, before it looks at the request, because we send `hasleader`.
    "no leader": Fault.ELSEWHERE,
    "not capable": Fault.ELSEWHERE,
    # Raised before proposing, when applying lags behind.
    "too many requests": Fault.ELSEWHERE,
    # Checked before proposing, and again when applying: there a write that goes over the quota is kept all the same.
    "mvcc: database space exceeded": Fault.UNCERTAIN,
    # Checked before proposing; users and roles that changed meanwhile, when applying, instead of it.
    "invalid auth token": Fault.LOGIN,
    "revision of auth store is old": Fault.LOGIN,
}
_BY_CODE = {
    grpc.StatusCode.INVALID_ARGUMENT: Fault.REFUSED,
    grpc.StatusCode.NOT_FOUND: Fault.REFUSED,
    grpc.StatusCode.FAILED_PRECONDITION: Fault.REFUSED,
    grpc.StatusCode.OUT_OF_RANGE: Fault.REFUSED,
    grpc.StatusCode.PERMISSION_DENIED: Fault.REFUSED,
    grpc.StatusCode.UNAUTHENTICATED: Fault.REFUSED,
}
"""Only for details that etcd itself wrote: a proxy may send any code after passing the call on."""

_REMEDIES = {
    "no leader": "the member sees no quorum: check the other members and the network between them",
    "mvcc: database space exceeded": "etcd's quota is used up: run `etcdctl compact`, `defrag` and `alarm disarm`",
    "too many requests": "etcd is overloaded: look at its disk latency",
    "user name is empty": "etcd wants a login: give etcd_user and etcd_password_file, or etcd_cert with a user as CN",
    "authentication failed, invalid user ID or password": "correct etcd_user or what etcd_password_file holds",
    "authentication is not enabled": "run `etcdctl auth enable`, or leave etcd_user out",
    "permission denied": "give its role more: `etcdctl role grant-permission ROLE --prefix=true readwrite PREFIX`",
}


def judge(error: AioRpcError) -> Fault:
    """What `error` says about a write."""
    details = error.details() or ""
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        return Fault.ELSEWHERE
    if error.code() is grpc.StatusCode.UNAVAILABLE and details.startswith(_NEVER_SENT):
        return Fault.ELSEWHERE
    if not details.startswith(_SERVER):
        return Fault.UNCERTAIN
    known = _BY_DETAILS.get(details.removeprefix(_SERVER))
    return known or _BY_CODE.get(error.code(), Fault.UNCERTAIN)


def explain(endpoint: str, error: AioRpcError) -> str:
    """One line for people: who said what, and what to try."""
    details = error.details() or ""
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        return f"{endpoint} is not an etcd v3 server ({details}): check the address"
    remedy = _REMEDIES.get(details.removeprefix(_SERVER))
    said = f"{endpoint}: {error.code().name.lower()}" + (f" ({details})" if details else "")
    return f"{said}: {remedy}" if remedy else said

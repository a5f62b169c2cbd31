"""A thin asyncio client for the part of etcd's v3 API that the store needs, over several members.

Owns the rule that a write is sent to a second member only when the first provably did not execute it; otherwise the
caller gets CommitUncertain and has to find out. Reads, and writes whose repetition changes nothing, go round the
members. One channel per member and our own rotation: gRPC's balancers retry where we must not. Knows nothing of leaders
and ledgers.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import grpc
from grpc.aio import AioRpcError

from coordinator.store.etcd_faults import Fault, explain, judge
from coordinator.store.etcd_login import EtcdAccess, Login, LoginRefused, LoginUnanswered
from coordinator.store.etcd_member import Member, Members
from coordinator.store.etcdpb import kv_pb2, rpc_pb2
from coordinator.store.port import CommitUncertain, StoreUnavailable
from coordinator.tls import diagnose

DEADLINE_S = 0.6
CONNECT_POLL_S = 0.005
MAX_ENDPOINTS = 32

_ENDPOINT = re.compile(r"(?:https?://)?(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>\d{1,5})/?")

_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")

PRODUCTION_FLOORS = ((3, 5, 28), (3, 6, 9))
"""The first release of each line of etcd without the data-loss and stale-read bugs that concern a coordinator."""

_T = TypeVar("_T")

KeyRange = tuple[bytes, bytes]
"""Every key from the first to before the second."""

WatchNotice = Callable[[bytes, bytes | None, int], None]
"""Told (key, its value or None when it was deleted, mod_revision)."""


class Refused(StoreUnavailable):
    """The cluster said no without executing the call, and every member would."""


class Compacted(StoreUnavailable):
    """The history from the revision asked for on is gone."""


class EndpointError(StoreUnavailable, ValueError):
    """An endpoint is misspelt."""


@dataclass(frozen=True, slots=True)
class EndpointStatus:
    """One member as it answered, or did not."""

    endpoint: str
    reachable: bool
    version: str = ""
    member_id: int = 0
    leader_id: int = 0
    db_bytes: int = 0
    problem: str = ""
    alarms: tuple[str, ...] = ()
    """What it is itself alarmed about: NOSPACE, CORRUPT."""

    @property
    def leads(self) -> bool:
        return self.reachable and self.member_id == self.leader_id


def parse_endpoints(text: str | Sequence[str], *, tls: bool = False) -> tuple[str, ...]:
    """`host:port,host:port` (a leading http://, or https:// with `tls`, is allowed) to (`host:port`, ...).

    Raises EndpointError.
    """
    parts = [part.strip() for part in (text.split(",") if isinstance(text, str) else text)]
    if not any(parts):
        raise EndpointError("no etcd endpoint given: write host:port,host:port,..., e.g. 127.0.0.1:2379")
    endpoints = []
    for part in parts:
        if part.startswith("https://") and not tls:
            raise EndpointError(
                f"etcd endpoint {part!r}: https:// wants etcd_ca, the authority that signed its certificate"
            )
        if part.startswith("http://") and tls:
            raise EndpointError(
                f"etcd endpoint {part!r}: plain http:// contradicts etcd_ca: write https:// or host:port"
            )
        match = _ENDPOINT.fullmatch(part)
        if match is None or not 0 < int(match["port"]) < 65536:
            raise EndpointError(f"etcd endpoint {part!r} is not host:port: write e.g. 127.0.0.1:2379")
        endpoint = f"{match['host']}:{match['port']}"
        if endpoint in endpoints:
            raise EndpointError(f"etcd endpoint {endpoint} is given twice: name each member once")
        endpoints.append(endpoint)
    if len(endpoints) > MAX_ENDPOINTS:
        raise EndpointError(
            f"{len(endpoints)} etcd endpoints are given, at most {MAX_ENDPOINTS} make sense: name members"
        )
    return tuple(endpoints)


def production_floor() -> str:
    """The oldest releases for production, for people."""
    return " / ".join(".".join(map(str, release)) for release in PRODUCTION_FLOORS)


def fit_for_production(version: str) -> bool:
    """Whether an etcd release is at or above the floor of its line. A later line is; an older or unknown one is not."""
    match = _VERSION.match(version)
    if match is None:
        return False
    release = (int(match[1]), int(match[2]), int(match[3]))
    same_line = [floor for floor in PRODUCTION_FLOORS if floor[:2] == release[:2]]
    return release >= (same_line[0] if same_line else PRODUCTION_FLOORS[-1])


class EtcdClient:
    """Calls go to the member that worked last; a failure moves on to the next."""

    def __init__(
        self, endpoints: str | Sequence[str], *, deadline_s: float = DEADLINE_S, access: EtcdAccess | None = None
    ) -> None:
        self._access = access or EtcdAccess()
        self.endpoints = parse_endpoints(endpoints, tls=self._access.tls is not None)
        self._deadline_s = deadline_s
        self._login = Login(self._access, deadline_s)
        self._members = Members(self.endpoints, self._access.tls)
        self._current = 0

    @property
    def token(self) -> str:
        """What etcd knows us by at present; empty without a login."""
        return self._login.latest

    async def txn(self, request: rpc_pb2.TxnRequest, *, repeatable: bool) -> rpc_pb2.TxnResponse:
        """Runs a transaction. `repeatable` says that running it twice, or late, does no harm.

        Raises StoreUnavailable (not executed, or repeatable and nobody answered); unless repeatable, CommitUncertain.
        """
        return await self._call(
            lambda m: m.kv.Txn(request, timeout=self._deadline_s, metadata=m.metadata), repeatable=repeatable
        )

    async def read_key(self, key: bytes) -> tuple[kv_pb2.KeyValue | None, int]:
        """The key as a quorum has it (None when absent), and the store's revision. Raises StoreUnavailable."""
        request = rpc_pb2.RangeRequest(key=key)
        reply = await self._call(
            lambda m: m.kv.Range(request, timeout=self._deadline_s, metadata=m.metadata), repeatable=True
        )
        return (reply.kvs[0] if reply.kvs else None), reply.header.revision

    async def compact(self, revision: int) -> None:
        """Drops the history below `revision`. Raises StoreUnavailable."""
        request = rpc_pb2.CompactionRequest(revision=revision)
        await self._call(
            lambda m: m.kv.Compact(request, timeout=self._deadline_s, metadata=m.metadata), repeatable=True
        )

    async def grant_lease(self, ttl_s: int) -> tuple[int, int]:
        """A new lease: its id and the seconds that etcd gave, which may be more than asked. Raises StoreUnavailable."""
        request = rpc_pb2.LeaseGrantRequest(TTL=ttl_s)
        # A repeated grant leaves a lease behind that nobody uses and that expires by itself.
        reply = await self._call(
            lambda m: m.lease.LeaseGrant(request, timeout=self._deadline_s, metadata=m.metadata), repeatable=True
        )
        return reply.ID, reply.TTL

    async def keep_alive(self, lease: int) -> int:
        """Renews the lease once: the seconds it now has, 0 when it is gone. Raises StoreUnavailable."""

        async def renew(member: Member) -> int:
            call = member.lease.LeaseKeepAlive(timeout=self._deadline_s, metadata=member.metadata)
            try:
                await call.write(rpc_pb2.LeaseKeepAliveRequest(ID=lease))
                reply = await call.read()
                if isinstance(reply, rpc_pb2.LeaseKeepAliveResponse):
                    return int(reply.TTL)
                raise StoreUnavailable(f"{member.endpoint} ended the lease's stream: {await call.details()}")
            finally:
                call.cancel()

        return await self._call(renew, repeatable=True)

    async def revoke_lease(self, lease: int) -> None:
        """Ends the lease and deletes what hangs on it. Raises StoreUnavailable."""
        request = rpc_pb2.LeaseRevokeRequest(ID=lease)
        await self._call(
            lambda m: m.lease.LeaseRevoke(request, timeout=self._deadline_s, metadata=m.metadata), repeatable=True
        )

    async def watch(
        self, keys: Sequence[bytes | KeyRange], from_revision: int, timeout_s: float, notice: WatchNotice
    ) -> None:
        """Tells `notice` of each write and deletion of the keys at or after the revision, until the timeout.

        Only hints, to be checked by reading: a member may lag, and what it told may come again from the next one.
        Raises StoreUnavailable when no member keeps the watch, and Compacted when it cannot begin so early.
        """
        ranges = [(key, b"") if isinstance(key, bytes) else key for key in keys]
        creates = [
            rpc_pb2.WatchRequest(
                create_request=rpc_pb2.WatchCreateRequest(key=first, range_end=end, start_revision=from_revision)
            )
            for first, end in ranges
        ]

        async def watch(member: Member) -> None:
            call = member.watch.Watch(timeout=timeout_s, metadata=member.metadata)
            try:
                for create in creates:
                    await call.write(create)
                while isinstance(reply := await call.read(), rpc_pb2.WatchResponse):
                    if reply.compact_revision:
                        raise Compacted(f"{member.endpoint} has the watch's beginning no more")
                    if reply.canceled:
                        raise StoreUnavailable(f"{member.endpoint} ended the watch: {reply.cancel_reason}")
                    for event in reply.events:
                        gone = event.type == kv_pb2.Event.DELETE
                        notice(event.kv.key, None if gone else event.kv.value, event.kv.mod_revision)
            except AioRpcError as error:
                if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                    raise
            finally:
                call.cancel()

        await self._call(watch, repeatable=True)

    async def statuses(self) -> list[EndpointStatus]:
        """Every endpoint's own answer, in order. Never raises for a member that is down."""
        return await asyncio.gather(*(self._status(member) for member in self._members.dialled()))

    async def _status(self, member: Member) -> EndpointStatus:
        member.token = self._login.latest
        try:
            reply = await member.maintenance.Status(
                rpc_pb2.StatusRequest(), timeout=self._deadline_s, metadata=member.metadata, wait_for_ready=True
            )
        except AioRpcError as error:
            silent = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            problem = await self._why_silent(member) if silent else explain(member.endpoint, error)
            return EndpointStatus(member.endpoint, reachable=False, problem=problem)
        return EndpointStatus(
            member.endpoint,
            reachable=True,
            version=reply.version,
            member_id=reply.header.member_id,
            leader_id=reply.leader,
            db_bytes=reply.dbSize,
            alarms=tuple(sorted({error.rpartition("alarm:")[2].strip() for error in reply.errors})),
        )

    async def _why_silent(self, member: Member) -> str:
        """gRPC only says that it has no connection; a handshake of our own says what is wrong with a certificate."""
        found = await diagnose(member.endpoint, self._access.tls, self._deadline_s)
        return found if "TLS" in found or "certificate" in found else "no answer"

    async def check_login(self) -> None:
        """Raises LoginRefused when etcd does not take our user and password; silent while no member can be asked."""
        member = await self._pick(set())
        if member is not None:
            with contextlib.suppress(LoginUnanswered):
                await self._login.token(member.endpoint, member.auth)

    def prefer(self, endpoint: str) -> None:
        """Begins with this member, until a failure moves on. The leading one spares a hop."""
        self._current = self.endpoints.index(endpoint)

    async def close(self) -> None:
        """Closes every channel. Idempotent."""
        await self._members.close()

    async def _call(self, call: Callable[[Member], Awaitable[_T]], *, repeatable: bool) -> _T:
        problems: list[str] = []
        tried: set[str] = set()
        while (member := await self._pick(tried)) is not None:
            tried.add(member.endpoint)
            try:
                return await self._as_user(member, call)
            except LoginRefused as error:
                raise Refused(str(error)) from error
            except LoginUnanswered as error:
                problems.append(str(error))
                self._move_on(member)
            except AioRpcError as error:
                problem = explain(member.endpoint, error)
                fault = judge(error)
                self._move_on(member)
                if fault in (Fault.REFUSED, Fault.LOGIN):
                    raise Refused(f"etcd refused: {problem}") from error
                if fault is Fault.UNCERTAIN and not repeatable:
                    raise CommitUncertain(f"etcd may or may not have committed: {problem}") from error
                problems.append(problem)
        unconnected = [endpoint for endpoint in self.endpoints if endpoint not in tried]
        if unconnected:
            problems.append(f"no connection to {', '.join(unconnected)}")
        raise StoreUnavailable(f"no etcd member could be used: {'; '.join(problems)}")

    async def _as_user(self, member: Member, call: Callable[[Member], Awaitable[_T]]) -> _T:
        """The call with our token; once more with a new one if the member does not know it, and so did nothing."""
        member.token = await self._login.token(member.endpoint, member.auth)
        try:
            return await call(member)
        except AioRpcError as error:
            if judge(error) is not Fault.LOGIN:
                raise
        member.token = await self._login.token(member.endpoint, member.auth, refused=member.token)
        return await call(member)

    async def _pick(self, tried: set[str]) -> Member | None:
        """The next member that is connected, waiting up to the deadline for the first one to be; None when none is.

        A call made without a connection could not be told from one that was lost on the way.
        """
        members = self._members.dialled()
        order = [members[(self._current + i) % len(members)] for i in range(len(members))]
        candidates = [member for member in order if member.endpoint not in tried]
        if not candidates:
            return None
        loop = asyncio.get_running_loop()
        give_up = loop.time() + self._deadline_s
        while True:
            for member in candidates:
                if member.ready():
                    self._current = self.endpoints.index(member.endpoint)
                    return member
            if loop.time() >= give_up:
                return None
            await asyncio.sleep(CONNECT_POLL_S)

    def _move_on(self, member: Member) -> None:
        """From a member that failed; what failed may be a watch of one that commits have left before."""
        failed = self.endpoints.index(member.endpoint)
        if self._current == failed:
            self._current = (failed + 1) % len(self.endpoints)

"""One short conversation with one coordinator, or the first of several that serves, over synchronous gRPC because it
starts fastest.

Rules owned: whatever goes wrong between here and the coordinator becomes a `Failure` that names the address, the reason
and what to try; a reason from `google.rpc.ErrorInfo` is looked up in the public table of refusals. Of several
coordinators the next is asked only where the last has provably done nothing. Imports `zonelock.v1` and grpc.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from zonelock.v1 import (
    cluster_service_pb2,
    cluster_service_pb2_grpc,
    floor_pb2,
    safety_service_pb2,
    safety_service_pb2_grpc,
    zone_service_pb2,
    zone_service_pb2_grpc,
)

from zonelock_cli.dialing import credentials, objection
from zonelock_cli.exits import ExitCode
from zonelock_cli.failures import Failure
from zonelock_cli.output import progress
from zonelock_cli.picture import Picture

Response = TypeVar("Response")

MESSAGE_MAX_BYTES = 64 * 1024 * 1024
"""A floor of 100,000 zones arrives in one picture."""

CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", MESSAGE_MAX_BYTES),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.enable_http_proxy", 0),
)

REACH_S = 1.0
"""How long one of several coordinators may take to say that it is there: a stop must not wait for a frozen one."""
NOTHING_DONE = frozenset({"NOT_LEADER", "STORE_UNAVAILABLE"})
"""Refusals after which another coordinator may be asked for the same."""
ERROR_DOMAIN = "zonelock"
ROLE_KEY = "zonelock-role"
LEADER_KEY = "zonelock-leader"


class Link:
    """A channel to `server`, used as a context manager. Each call waits at most `wait_s` seconds.

    `server` may be several addresses, separated by commas: the first that answers is talked to.
    """

    def __init__(self, server: str, wait_s: float) -> None:
        self._servers = tuple(server.split(","))
        self._reached = len(self._servers) == 1
        self.wait_s = wait_s
        self.commits = True
        """False once a watch said that its coordinator leads, and its store does not commit."""
        self._stands_by = False
        self._stopped = threading.Event()
        self._watch: Any = None
        self._dial(self._servers[0])

    def _reach(self, behind: str = "") -> None:
        """Of several coordinators, dials the first that answers at all, beginning with the one behind `behind`. Raises
        Failure that names each and what is wrong with it.
        """
        if self._reached and not behind:
            return
        at = self._servers.index(behind) + 1 if behind in self._servers else 0
        wrong: list[str] = []
        for server in (*self._servers[at:], *self._servers[:at]):
            self._channel.close()
            self._dial(server)
            limit_s = min(REACH_S, self.wait_s)
            try:
                health: Any = health_pb2_grpc.HealthStub(self._channel)
                health.Check(health_pb2.HealthCheckRequest(), timeout=limit_s)
            except grpc.RpcError as error:
                if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                    wrong.append(translated(error, server, limit_s).message)
                    continue
            self._reached = True
            return
        raise Failure(
            ExitCode.UNAVAILABLE,
            f"none of {len(self._servers)} coordinators answers",
            "Check the addresses (--server, $ZONELOCK_SERVER) and the coordinators' logs.",
            reason="UNAVAILABLE",
            problems=wrong,
        )

    def _dial(self, server: str) -> None:
        self.server = server
        ours = credentials()
        self._channel = (
            grpc.insecure_channel(server, options=CHANNEL_OPTIONS)
            if ours is None
            else grpc.secure_channel(server, ours, options=CHANNEL_OPTIONS)
        )
        self._zones = zone_service_pb2_grpc.ZoneServiceStub(self._channel)
        self._safety = safety_service_pb2_grpc.SafetyServiceStub(self._channel)
        self._cluster = cluster_service_pb2_grpc.ClusterServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()

    def picture(self) -> Picture:
        """The whole floor as of now."""
        return self._from_any(self._picture)

    def _picture(self) -> Picture:
        with self._translated(), progress(f"waiting for {self.server}"):
            call = self._begin_watch(zone_service_pb2.WatchFloorRequest(), self.wait_s)
            try:
                for response in call:
                    if response.snapshot:
                        return Picture.of(response)
            finally:
                call.cancel()
                self._watch = None
        raise Failure(
            ExitCode.UNAVAILABLE,
            f"the coordinator at {self.server} ended the watch before it showed the floor",
            "It may be shutting down; look at its log and try again.",
        )

    def changes(self, min_interval_ms: int) -> Iterator[zone_service_pb2.WatchFloorResponse]:
        """The whole picture, then changes until the caller stops reading. Waits `wait_s` for the first only.

        With several coordinators the watch goes on at another when one is lost: with the whole picture again.
        """
        self._reach()
        while True:
            try:
                yield from self._changes(min_interval_ms)
                return
            except Failure as failure:
                if len(self._servers) == 1 or failure.exit_code != ExitCode.UNAVAILABLE or self._stopped.is_set():
                    raise
                self._reach(self.server)

    def _changes(self, min_interval_ms: int) -> Iterator[zone_service_pb2.WatchFloorResponse]:
        impatience = threading.Timer(self.wait_s, self._end_watch)
        impatience.daemon = True
        impatience.start()
        begun = False
        try:
            with self._translated():
                for response in self._begin_watch(zone_service_pb2.WatchFloorRequest(min_interval_ms=min_interval_ms)):
                    impatience.cancel()
                    begun = True
                    yield response
        except Failure as failure:
            if failure.reason != "CANCELLED":
                raise
            if not begun and not self._stopped.is_set():
                raise self._silent() from None
        finally:
            impatience.cancel()
            self._end_watch()
            self._watch = None

    def stop(self) -> None:
        """Ends `changes` from another thread, as if the coordinator had nothing more to say."""
        self._stopped.set()
        self._end_watch()

    def _begin_watch(self, request: zone_service_pb2.WatchFloorRequest, timeout: float | None = None) -> Any:
        """A watch of the coordinator that was dialled or, where that one stands by and names it, of the leader."""
        self._watch = call = self._zones.WatchFloor(request, timeout=timeout)
        told = dict(call.initial_metadata() or ())
        leader = str(told.get(LEADER_KEY, ""))
        if leader and leader != self.server and not self._stands_by:
            self._stands_by = True
            call.cancel()
            self._channel.close()
            self._dial(leader)
            return self._begin_watch(request, timeout)
        role = told.get(ROLE_KEY)
        self._stands_by, self.commits = role == "standing-by", role != "not-committing"
        return call

    def _end_watch(self) -> None:
        if (watch := self._watch) is not None:
            watch.cancel()

    def _silent(self) -> Failure:
        return nobody_leads(self.server, self.wait_s) if self._stands_by else silent(self.server, self.wait_s)

    def floor(self) -> floor_pb2.Floor:
        request = zone_service_pb2.GetFloorRequest()
        response: zone_service_pb2.GetFloorResponse = self._call("zones", "GetFloor", request)
        return response.floor

    def trip_stop(self, request: safety_service_pb2.TripStopRequest) -> floor_pb2.Stop:
        response: safety_service_pb2.TripStopResponse = self._call("safety", "TripStop", request)
        return response.stop

    def reset_stops(self, request: safety_service_pb2.ResetStopRequest) -> list[floor_pb2.Stop]:
        response: safety_service_pb2.ResetStopResponse = self._call("safety", "ResetStop", request)
        return list(response.stops)

    def list_zones(self, names: tuple[str, ...]) -> zone_service_pb2.ListZonesResponse:
        """The zones (or areas) named, or all."""
        response: zone_service_pb2.ListZonesResponse = self._call(
            "zones", "ListZones", zone_service_pb2.ListZonesRequest(names=names)
        )
        return response

    def clear_zones(self, request: safety_service_pb2.ClearZonesRequest) -> list[str]:
        response: safety_service_pb2.ClearZonesResponse = self._call("safety", "ClearZones", request)
        return sorted(response.cleared)

    def revoke_grants(self, request: safety_service_pb2.RevokeGrantsRequest) -> list[int]:
        response: safety_service_pb2.RevokeGrantsResponse = self._call("safety", "RevokeGrants", request)
        return sorted(response.tokens)

    def cluster(self) -> cluster_service_pb2.GetClusterResponse:
        """The coordinators and their store, as this one knows them."""
        request = cluster_service_pb2.GetClusterRequest()
        response: cluster_service_pb2.GetClusterResponse = self._call("cluster", "GetCluster", request)
        return response

    def close_zones(self, request: safety_service_pb2.CloseZonesRequest) -> list[floor_pb2.Closure]:
        response: safety_service_pb2.CloseZonesResponse = self._call("safety", "CloseZones", request)
        return sorted(response.closures, key=lambda closure: closure.zone)

    def open_zones(self, request: safety_service_pb2.OpenZonesRequest) -> list[str]:
        response: safety_service_pb2.OpenZonesResponse = self._call("safety", "OpenZones", request)
        return sorted(response.opened)

    def _call(self, service: str, method: str, request: Any) -> Any:
        def call() -> Any:
            with self._translated(), progress(f"waiting for {self.server}"):
                return getattr(getattr(self, f"_{service}"), method)(request, timeout=self.wait_s)

        return self._from_any(call)

    def _from_any(self, ask: Callable[[], Response]) -> Response:
        """What the first coordinator says that does not pass the question on."""
        self._reach()
        for _ in self._servers[1:]:
            try:
                return ask()
            except Failure as failure:
                if failure.reason not in NOTHING_DONE:
                    raise
                self._reach(self.server)
        return ask()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as error:
            if self._stands_by and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise self._silent() from error
            raise translated(error, self.server, self.wait_s) from error


def silent(server: str, wait_s: float) -> Failure:
    return Failure(
        ExitCode.UNAVAILABLE,
        f"the coordinator at {server} did not answer within {wait_s:g} s",
        "Check the address (--server, $ZONELOCK_SERVER) and the coordinator's log, or wait longer with --wait-s.",
        reason="DEADLINE_EXCEEDED",
    )


def nobody_leads(server: str, wait_s: float) -> Failure:
    return Failure(
        ExitCode.UNAVAILABLE,
        f"the coordinator at {server} stands by, and for {wait_s:g} s it knew of nobody who leads",
        f"Stops still work. `zonelock cluster status --server {server}` shows the other coordinators and the store.",
        reason="NOT_LEADER",
    )


def translated(error: grpc.RpcError, server: str, wait_s: float) -> Failure:
    """What a failed call means to the person who made it."""
    code, details = error.code(), error.details() or ""
    info = error_info(error)
    if info is not None:
        return refused(info.reason, details, dict(info.metadata), code)
    if code is grpc.StatusCode.UNAVAILABLE:
        if "refused" not in details and (said := objection(server)):
            return Failure(
                ExitCode.UNAVAILABLE,
                said,
                "Give --tls-ca, --tls-cert and --tls-key as the coordinator wants them; none for a plain one.",
                reason="UNAVAILABLE",
            )
        return Failure(
            ExitCode.UNAVAILABLE,
            f"cannot reach a coordinator at {server}: {_first_cause(details)}",
            "Start one with `zonelock serve` or `zonelock demo`, or name another with --server or $ZONELOCK_SERVER.",
            reason="UNAVAILABLE",
        )
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return silent(server, wait_s)
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return Failure(
            ExitCode.FAILURE,
            f"what answers at {server} is not a zonelock coordinator of this version: {details}",
            "Check the port; compare `zonelock version` on both machines.",
            reason="UNIMPLEMENTED",
        )
    return Failure(
        ExitCode.FAILURE,
        f"the call to {server} failed with {code.name}: {details}",
        "Look at the coordinator's log.",
        reason=code.name,
    )


def refused(reason: str, message: str, details: dict[str, str], code: grpc.StatusCode) -> Failure:
    """A refusal with a public reason: the table's remedy, and exit 3 where waiting or another coordinator helps."""
    from zonelock_cli.tables import refusal_remedy

    unavailable = code is grpc.StatusCode.UNAVAILABLE
    remedy = refusal_remedy(reason) or "Look at the coordinator's log; this zonelock does not know the reason."
    exit_code = ExitCode.UNAVAILABLE if unavailable else ExitCode.REFUSED
    if code is grpc.StatusCode.INTERNAL:
        exit_code = ExitCode.FAILURE
    return Failure(exit_code, message or reason, remedy, reason=reason, details=details)


def error_info(error: grpc.RpcError) -> error_details_pb2.ErrorInfo | None:
    """The `google.rpc.ErrorInfo` of our domain in a failed call, if it has one."""
    if not isinstance(error, grpc.Call):
        return None
    try:
        status = rpc_status.from_call(error)
    except ValueError:
        # A status whose code or message contradicts the call's own: someone between rewrote it. Trust the call.
        return None
    for detail in status.details if status is not None else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info) and info.domain == ERROR_DOMAIN:
            return info
    return None


def _first_cause(details: str) -> str:
    """grpc piles up causes ('failed to connect to all addresses; last error: ...: Connection refused (111)')."""
    folded = details.casefold()
    for words in ("connection refused", "no route to host", "name or service not known", "network is unreachable"):
        if words in folded:
            return words
    if any(words in folded for words in ("name resolution", "dns", "errors resolving", "lookup error")):
        return "the host name does not resolve"
    return details or "no answer"

"""The gRPC server: ZoneService, SafetyService, health (alive against ready-to-grant) and reflection on one port.

Health service "" is SERVING from the start: the process is alive. "zonelock.v1.ZoneService" and "leading" are SERVING
only while this coordinator leads and its store commits: ready to grant. "ready" is SERVING while it does what its role
asks for, a standby's too: a rolling restart waits for that. Never opens a port that another process listens on.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from contextlib import suppress
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME as HEALTH_SERVICE
from grpc_health.v1.health import aio as health
from grpc_reflection.v1alpha import reflection
from zonelock.v1 import cluster_service_pb2 as cpb
from zonelock.v1 import cluster_service_pb2_grpc as cgrpc
from zonelock.v1 import safety_service_pb2 as spb
from zonelock.v1 import safety_service_pb2_grpc as sgrpc
from zonelock.v1 import zone_service_pb2 as zpb

from coordinator.floor import Floor
from coordinator.rpc.cluster_service import ClusterFacts, ClusterService
from coordinator.rpc.errors import Tally
from coordinator.rpc.leader_line import LeaderLine
from coordinator.rpc.limits import RpcLimits
from coordinator.rpc.port import Runtime
from coordinator.rpc.safety_service import SafetyService
from coordinator.rpc.turns import Turns
from coordinator.rpc.watch import FloorFeed
from coordinator.rpc.zone_service import ZoneService, add_to_server
from coordinator.tls import TlsFiles

log = logging.getLogger(__name__)

ZONE_SERVICE = zpb.DESCRIPTOR.services_by_name["ZoneService"].full_name
SAFETY_SERVICE = spb.DESCRIPTOR.services_by_name["SafetyService"].full_name
TRIP_STOP = f"/{SAFETY_SERVICE}/TripStop"
CLUSTER_SERVICE = cpb.DESCRIPTOR.services_by_name["ClusterService"].full_name
ALIVE = ""
LEADING = "leading"
READY = "ready"
LOOK_S = 0.5
"""Readiness is looked at this often at least: a leader that falls silent changes it without a word."""

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class ListenError(Exception):
    """The address cannot be listened on. The message names it and ends in what to try."""

    def __init__(self, listen: str, message: str) -> None:
        super().__init__(message)
        self.listen = listen


class PortInUse(ListenError):
    """Another process listens there, quite possibly another coordinator."""


class StopsFirst(grpc.aio.ServerInterceptor):
    """Makes way for a stop as soon as its call arrives, which takes several turns of the loop to be read."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns

    async def intercept_service(self, continuation: Any, handler_call_details: grpc.HandlerCallDetails) -> Any:
        if handler_call_details.method == TRIP_STOP:
            self._turns.hurry()
        return await continuation(handler_call_details)


class RpcServer:
    """Serves one runtime on one address, `host:port`; port 0 takes a free one.

    Raises ValueError for an address that is not one; `start` raises ListenError or PortInUse. `feed` is shared with the
    web page: the machine's changes have one consumer. With `tls` it speaks nothing else, and with its `ca` serves only
    clients that show a certificate of that authority.
    """

    def __init__(
        self,
        runtime: Runtime,
        floor: Floor,
        listen: str,
        limits: RpcLimits | None = None,
        *,
        feed: FloorFeed | None = None,
        tls: TlsFiles | None = None,
        facts: ClusterFacts | None = None,
    ) -> None:
        self._host, self._port = split_address(listen)
        self._tls = tls
        self._runtime, self._listen = runtime, listen
        self._limits = limits or RpcLimits()
        self.tally = Tally()
        self.feed = feed or FloorFeed(runtime, floor, self._limits)
        self._zones = ZoneService(runtime, floor, self.feed, self._limits, self.tally)
        self._facts = facts or ClusterFacts()
        self.line = LeaderLine(runtime, self._facts.peer_tls)
        self._safety = SafetyService(runtime, self._limits, self.tally, self.line)
        self._cluster = ClusterService(runtime, self._limits, self.tally, self._facts)
        self._health = health.HealthServicer()
        self._server: grpc.aio.Server | None = None
        self._ready_changed = asyncio.Event()
        self._readiness: asyncio.Task[None] | None = None

    async def start(self) -> int:
        """Listens; returns the port."""
        server = grpc.aio.server(options=self._options(), interceptors=(StopsFirst(self._zones.turns),))
        add_to_server(self._zones, server)
        sgrpc.add_SafetyServiceServicer_to_server(self._safety, server)
        cgrpc.add_ClusterServiceServicer_to_server(self._cluster, server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = (ZONE_SERVICE, SAFETY_SERVICE, CLUSTER_SERVICE, HEALTH_SERVICE, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
        port = self._bind(server)
        await self._health.set(ALIVE, SERVING)
        await self._publish_readiness()
        self._runtime.standby.on_change.append(self._ready_changed.set)
        self._readiness = asyncio.create_task(self._follow_readiness(), name="rpc-readiness")
        self.feed.start()
        await server.start()
        self._server = server
        log.info("gRPC on %s:%d%s", self._host, port, "" if self._tls is None else ", TLS only")
        return port

    async def stop(self, grace_s: float = 1.0) -> None:
        """Not ready first, then no new calls; streams are told to go elsewhere; after `grace_s` what is left is cut."""
        if self._server is None:
            return
        server, self._server = self._server, None
        if self._ready_changed.set in self._runtime.standby.on_change:
            self._runtime.standby.on_change.remove(self._ready_changed.set)
        if self._readiness is not None:
            self._readiness.cancel()
        await self._health.enter_graceful_shutdown()
        await self.feed.stop()
        await self.line.close()
        self._zones.end_sessions("This coordinator is shutting down.")
        await server.stop(grace_s)

    def _options(self) -> list[tuple[str, int]]:
        limits = self._limits
        return [
            ("grpc.so_reuseport", 0),  # with it two coordinators would share a port and split its clients between them
            ("grpc.max_receive_message_length", limits.transport_bytes),
            ("grpc.keepalive_time_ms", limits.keepalive_ms),
            ("grpc.keepalive_timeout_ms", limits.keepalive_timeout_ms),
            ("grpc.http2.ping_timeout_ms", limits.keepalive_timeout_ms),  # what really ends a silenced connection
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.http2.min_ping_interval_without_data_ms", limits.min_ping_ms),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", limits.min_ping_ms),
        ]

    # -- readiness -------------------------------------------------------------------------------------------------

    async def _follow_readiness(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._ready_changed.wait()
            self._ready_changed.clear()
            await self._publish_readiness()

    async def _publish_readiness(self) -> None:
        for service in (ZONE_SERVICE, SAFETY_SERVICE, LEADING):
            await self._health.set(service, SERVING if self._runtime.leading else NOT_SERVING)
        await self._health.set(READY, SERVING if self._runtime.ready else NOT_SERVING)

    # -- listening -------------------------------------------------------------------------------------------------

    def _bind(self, server: grpc.aio.Server) -> int:
        try:
            address = f"{self._host}:{self._port}"
            if self._tls is None:
                port = server.add_insecure_port(address)
            else:
                port = server.add_secure_port(address, self._tls.server_credentials())
        except RuntimeError as error:
            raise self._explain(error) from error
        if port == 0:
            raise self._explain(None)
        return port

    def _explain(self, error: RuntimeError | None) -> ListenError:
        """gRPC says only that it failed; binding a plain socket says why."""
        where = f"listen is {self._listen!r}"
        try:
            self._probe()
        except socket.gaierror as unknown:
            return ListenError(
                self._listen, f"{where}: the host is not known ({unknown.strerror}); use an address of this machine."
            )
        except OSError as why:
            if why.errno == errno.EADDRINUSE:
                return PortInUse(
                    self._listen,
                    f"{where}: another process listens there, perhaps another coordinator; "
                    f"stop it (`ss -ltnp 'sport = :{self._port}'` names it), or choose another port "
                    "(--listen HOST:PORT).",
                )
            return ListenError(
                self._listen,
                f"{where}: {why.strerror}; use an address of this machine and a port that this user may open.",
            )
        return ListenError(self._listen, f"{where}: cannot listen ({error}); try another port (--listen HOST:PORT).")

    def _probe(self) -> None:
        host = self._host.strip("[]")
        family, kind, protocol, _, address = socket.getaddrinfo(host, self._port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)


def split_address(listen: str) -> tuple[str, int]:
    """`host:port` in parts; raises ValueError that names what is wrong."""
    host, colon, port = listen.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise ValueError(f"listen is {listen!r}; use HOST:PORT with a port of 0 to 65535, such as 127.0.0.1:7600")
    return host, int(port)


__all__ = ["ClusterFacts", "FloorFeed", "ListenError", "PortInUse", "RpcLimits", "RpcServer", "split_address"]

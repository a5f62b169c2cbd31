"""`zonelock.v1.ZoneService`: each method hands over to the module that owns it."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import grpc
from zonelock.v1 import zone_service_pb2 as zpb
from zonelock.v1 import zone_service_pb2_grpc as zgrpc

from coordinator.core.rejections import Refusal
from coordinator.floor import Floor
from coordinator.rpc import requests, unary
from coordinator.rpc.errors import RequestRefused, Tally, answered
from coordinator.rpc.limits import MAX_CLEARED_NAMES, RpcLimits
from coordinator.rpc.picture import resolve_zones, zone_message
from coordinator.rpc.planning import Planning
from coordinator.rpc.port import Runtime
from coordinator.rpc.session import SessionStream
from coordinator.rpc.translate import Greeting, floor_message
from coordinator.rpc.turns import Turns
from coordinator.rpc.watch import FloorFeed

MAX_WATCH_INTERVAL_MS = 60_000
ROLE_KEY = "zonelock-role"
LEADER_KEY = "zonelock-leader"


class ZoneService(zgrpc.ZoneServiceServicer):
    """Asking for zones, holding them, giving them back, and looking on."""

    def __init__(self, runtime: Runtime, floor: Floor, feed: FloorFeed, limits: RpcLimits, tally: Tally) -> None:
        self._runtime, self._floor, self._feed, self._limits = runtime, floor, feed, limits
        self.tally = tally
        self._floor_pb = floor_message(floor)
        self._planning = Planning(floor)
        self.turns = Turns(runtime.now_ms)
        runtime.operations_said = lambda: self.turns.waiting
        self._sessions: set[SessionStream] = set()

    def end_sessions(self, message: str) -> None:
        """Tells every client to go elsewhere; their streams end with NOT_LEADER."""
        for session in list(self._sessions):
            session.fail(Refusal.NOT_LEADER, message)

    @answered
    async def Session(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        await self._runtime.turn()
        greeting = Greeting(self._floor.site, self._floor.hash, self._floor.version, self._runtime.machine.timing)
        session = SessionStream(self._runtime, self._floor, greeting, self._limits, self.tally, self.turns, context)
        self._sessions.add(session)
        try:
            await session.run()
        finally:
            self._sessions.discard(session)

    @answered
    async def Acquire(self, request: zpb.AcquireRequest, context: Any) -> zpb.AcquireResponse:  # noqa: N802
        await self._runtime.turn()
        return await unary.acquire(self._runtime, self._limits, request)

    @answered
    async def Release(self, request: zpb.ReleaseRequest, context: Any) -> zpb.ReleaseResponse:  # noqa: N802
        await self._runtime.turn()
        return await unary.release(self._runtime, self._limits, request)

    @answered
    async def Extend(self, request: zpb.ExtendRequest, context: Any) -> zpb.ExtendResponse:  # noqa: N802
        await self._runtime.turn()
        return await unary.extend(self._runtime, self._limits, request, self._floor)

    @answered
    async def GetFloor(self, request: zpb.GetFloorRequest, context: Any) -> zpb.GetFloorResponse:  # noqa: N802
        return zpb.GetFloorResponse(floor=self._floor_pb)

    @answered
    async def ListZones(self, request: zpb.ListZonesRequest, context: Any) -> zpb.ListZonesResponse:  # noqa: N802
        machine, now_ms = self._runtime.machine, self._runtime.now_ms()
        wanted = requests.names("names", request.names, MAX_CLEARED_NAMES)
        zones = resolve_zones(machine, wanted)
        shown = [zone_message(machine, zone, now_ms) for zone in zones]
        return zpb.ListZonesResponse(zones=shown, incarnation=machine.counter.incarnation)

    @answered
    async def PlanRoute(self, request: zpb.PlanRouteRequest, context: Any) -> zpb.PlanRouteResponse:  # noqa: N802
        return await self._planning.answer(self._runtime.machine, request, self._runtime.now_ms())

    @answered
    async def WatchFloor(self, request: zpb.WatchFloorRequest, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        interval_ms = requests.integer("min_interval_ms", request.min_interval_ms, 0, MAX_WATCH_INTERVAL_MS)
        if self._feed.watchers >= self._limits.watchers:
            raise RequestRefused(
                Refusal.QUEUE_FULL, f"{self._feed.watchers} clients watch already; this coordinator serves no more."
            )
        # Before the first write, which would carry it: a standby has nothing to write, and a status must find its way.
        await context.send_initial_metadata(self._standing())
        async with aclosing(self._feed.subscribe(min_interval_ms=interval_ms)) as updates:
            async for update in updates:
                await self._write(context, update)
        raise RequestRefused(Refusal.NOT_LEADER, "This coordinator is shutting down.")

    def _standing(self) -> tuple[tuple[str, str], ...]:
        """What a watcher is to know before anything is shown: whether it sees the floor as it is, or had better look
        elsewhere. The leader is named only where it is known to live.
        """
        if not self._runtime.stands_by:
            return ((ROLE_KEY, "leading" if self._runtime.leading else "not-committing"),)
        leader = self._runtime.standby.leader if self._runtime.ready else None
        return ((ROLE_KEY, "standing-by"), *(((LEADER_KEY, leader.address),) if leader and leader.address else ()))

    async def _write(self, context: Any, update: zpb.WatchFloorResponse) -> None:
        try:
            async with asyncio.timeout(self._limits.write_stall_ms / 1_000):
                await context.write(update)
        except TimeoutError:
            self.tally.slow_readers += 1
            why = f"The watch ended because a write waited {self._limits.write_stall_ms} ms for the client to read."
            raise RequestRefused(Refusal.SLOW_READER, why) from None


def add_to_server(service: ZoneService, server: grpc.aio.Server) -> None:
    """Registers every method as the generated code does, but for Session, whose frames come encoded."""
    zgrpc.add_ZoneServiceServicer_to_server(service, server)
    session: grpc.RpcMethodHandler[zpb.SessionRequest, bytes] = grpc.stream_stream_rpc_method_handler(
        service.Session, request_deserializer=zpb.SessionRequest.FromString, response_serializer=None
    )
    name = zpb.DESCRIPTOR.services_by_name["ZoneService"].full_name
    server.add_registered_method_handlers(name, {"Session": session})

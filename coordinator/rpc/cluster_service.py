"""`zonelock.v1.ClusterService`: what coordinators say to each other, and what can be asked about all of them."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from zonelock.v1 import cluster_service_pb2 as cpb
from zonelock.v1 import cluster_service_pb2_grpc as cgrpc

from coordinator.core.rejections import Refusal
from coordinator.rpc.errors import RequestRefused, Tally, answered, bad_field
from coordinator.rpc.limits import MAX_NAMES, RpcLimits
from coordinator.rpc.port import Runtime
from coordinator.rpc.requests import identifier
from coordinator.rpc.stop_news import StopNews
from coordinator.rpc.translate import stop_message, stop_record
from coordinator.tls import TlsFiles

log = logging.getLogger(__name__)

RECORD_S = 1.5
"""How long a hand-over waits for its commit."""


@dataclass(slots=True)
class ClusterFacts:
    """What `app` knows of this coordinator and its store, and this package does not. Complete before it serves."""

    name: str = ""
    address: str = ""
    leader_id: str = ""
    peer_tls: TlsFiles | None = None
    """For dialling the other coordinators; None where they listen without TLS."""
    describe: Callable[[cpb.GetClusterResponse], Awaitable[None]] | None = None
    """Fills in the store's part."""


@dataclass(slots=True, eq=False)
class _Follower:
    name: str
    address: str
    floor_hash: str
    news: StopNews = field(repr=False)
    told_successor: bool = False


class ClusterService(cgrpc.ClusterServiceServicer):
    """One coordinator's half of it."""

    def __init__(self, runtime: Runtime, limits: RpcLimits, tally: Tally, facts: ClusterFacts) -> None:
        self._runtime, self._limits, self.tally, self._facts = runtime, limits, tally, facts
        self._followers: dict[int, _Follower] = {}
        self._next = 1
        runtime.standby.on_change.append(self._changed)
        runtime.standby.choose_successor = self._successor

    @answered
    async def Follow(self, request: cpb.FollowRequest, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        if self._runtime.stands_by:
            raise self._runtime.standby.refusal("this coordinator does not lead; there is nothing to follow")
        if len(self._followers) >= self._limits.watchers:
            raise RequestRefused(Refusal.QUEUE_FULL, f"{len(self._followers)} coordinators follow this one already.")
        await context.send_initial_metadata(())
        leader_id = self._facts.leader_id
        number, self._next = self._next, self._next + 1
        with StopNews(self._runtime) as news:
            follower = _Follower(request.name, request.address, request.floor_hash, news)
            self._followers[number] = follower
            if request.floor_hash not in (self._runtime.standby.floor_hash, ""):
                log.warning(
                    "%s follows with floor %s, and %s is led here: it could not take over. Start every "
                    "coordinator with the same floor file",
                    request.name,
                    request.floor_hash[:12],
                    self._runtime.standby.floor_hash[:12],
                )
            try:
                stops = [stop_message(stop) for stop in self._runtime.known_stops()]
                floor_hash = self._runtime.machine.floor.hash
                await context.write(
                    cpb.FollowResponse(leader_id=leader_id, snapshot=True, stops=stops, floor_hash=floor_hash)
                )
                named = False
                while True:
                    if (stop := await news.next()) is not None:
                        await context.write(cpb.FollowResponse(leader_id=leader_id, stops=[stop_message(stop)]))
                    elif (heir := self._runtime.standby.successor) is not None and not named:
                        named = True
                        await context.write(cpb.FollowResponse(leader_id=leader_id, successor=heir.address))
                    else:
                        break
            finally:
                del self._followers[number]
        raise self._runtime.standby.refusal("this coordinator does not lead any more, or you are too far behind")

    @answered
    async def HandOverStops(  # noqa: N802
        self, request: cpb.HandOverStopsRequest, context: Any
    ) -> cpb.HandOverStopsResponse:
        if len(request.stops) > MAX_NAMES:
            raise bad_field("stops", len(request.stops), f"at most {MAX_NAMES} in one call")
        for stop in request.stops:
            identifier("stops.stop_id", stop.stop_id)
        try:
            stops = [stop_record(stop) for stop in request.stops]
        except ValueError as error:
            raise bad_field("stops", str(error), "stops as another coordinator told of them") from None
        recorded = await self._runtime.record_stops(stops, RECORD_S)
        return cpb.HandOverStopsResponse(stops=[stop_message(stop) for stop in recorded])

    @answered
    async def GetCluster(self, request: cpb.GetClusterRequest, context: Any) -> cpb.GetClusterResponse:  # noqa: N802
        response = cpb.GetClusterResponse(epoch=self._runtime.epoch)
        leads = not self._runtime.stands_by
        role = cpb.COORDINATOR_ROLE_LEADING if leads else cpb.COORDINATOR_ROLE_STANDING_BY
        response.coordinators.add(
            name=self._facts.name,
            address=self._facts.address,
            role=role,
            ready=self._runtime.ready,
            floor_hash=self._runtime.standby.floor_hash,
        )
        fit = (self._runtime.standby.floor_hash, "")
        for _, follower in sorted(self._followers.items()):
            response.coordinators.add(
                name=follower.name,
                address=follower.address,
                role=cpb.COORDINATOR_ROLE_STANDING_BY,
                ready=follower.floor_hash in fit,
                floor_hash=follower.floor_hash,
            )
        leader = self._runtime.standby.leader
        if leads:
            response.leader_name, response.leader_address = self._facts.name, self._facts.address
        elif leader is not None:
            response.leader_name, response.leader_address, response.epoch = leader.name, leader.address, leader.epoch
            response.coordinators.add(
                name=leader.name, address=leader.address, role=cpb.COORDINATOR_ROLE_LEADING, ready=True
            )
        if self._facts.describe is not None:
            await self._facts.describe(response)
        return response

    def _changed(self) -> None:
        ends, heir = self._runtime.stands_by, self._runtime.standby.successor
        for follower in self._followers.values():
            if ends or (heir is not None and not follower.told_successor):
                follower.told_successor = True
                follower.news.end()

    def _successor(self) -> str:
        """Of those that could take over, the one that has followed longest."""
        fit = (self._runtime.standby.floor_hash, "")  # an older version does not say
        followers = (follower for _, follower in sorted(self._followers.items()))
        return next((f.address for f in followers if f.floor_hash in fit and f.address), "")

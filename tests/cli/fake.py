"""A coordinator of cardboard: a real gRPC server that shows a canned floor and records what it is asked to do.

Lets the commands be tested for what they show and send, with states (a circle of waiters, a refused reset) that a real
coordinator would have to be led into.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent import futures
from typing import Any, Self

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
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

TOKEN = (1 << 40) | 7


def canned() -> zone_service_pb2.WatchFloorResponse:
    """A floor with somebody in every state that a person may ask about."""
    held = floor_pb2.Occupant(
        slot=0, state=floor_pb2.SLOT_STATE_HELD, agent_id="AGV_01", token=TOKEN, remaining_ms=4_200, since_ms=3_800
    )
    orphan = floor_pb2.Occupant(
        slot=0, state=floor_pb2.SLOT_STATE_HELD, agent_id="AGV_04", token=TOKEN + 1, remaining_ms=900, orphaned=True
    )
    overdue = floor_pb2.Occupant(
        slot=0,
        state=floor_pb2.SLOT_STATE_BLOCKED,
        agent_id="AGV_03",
        token=TOKEN + 2,
        cause=floor_pb2.BLOCK_CAUSE_OVERDUE,
        since_ms=65_000,
    )
    free = floor_pb2.Occupant(slot=1, state=floor_pb2.SLOT_STATE_FREE)
    unknown = floor_pb2.Occupant(slot=0, state=floor_pb2.SLOT_STATE_UNKNOWN)
    stop = floor_pb2.Stop(
        stop_id="deadline:1099511627785",
        cause=floor_pb2.STOP_CAUSE_OVERDUE,
        stop_groups=["east"],
        zones=["Z_32"],
        tripped_by="coordinator",
        reason="AGV_03 overdue in Z_32",
        active=True,
        age_ms=64_000,
        acknowledged_by=["AGV_06"],
        unconfirmed=["AGV_03"],
    )
    ended = floor_pb2.Stop(stop_id="op-old", reason="drill", active=False, reset_by="mia", reset_reason="over")
    return zone_service_pb2.WatchFloorResponse(
        snapshot=True,
        epoch=12,
        floor_hash="ab" * 32,
        zones=[
            _zone("X_1", floor_pb2.ZONE_STATE_HELD, [held, free], capacity=2, waiters=1),
            _zone("X_2", floor_pb2.ZONE_STATE_HELD, [orphan]),
            _zone("Z_32", floor_pb2.ZONE_STATE_STOPPED, [overdue], group="east", stop_ids=[stop.stop_id]),
            _zone("Z_40", floor_pb2.ZONE_STATE_UNKNOWN, [unknown]),
            _zone("Z_41", floor_pb2.ZONE_STATE_FREE, []),
        ],
        agents=[
            _agent("AGV_01", held=["X_1"], explanation="holds X_1, 4.2 s left"),
            _agent("AGV_02", explanation="waits for X_1 behind AGV_01"),
            _agent("AGV_03", held=[], stop_ids=[stop.stop_id], link=floor_pb2.LINK_STATE_SILENT),
            _agent("AGV_04", held=["X_2"], link=floor_pb2.LINK_STATE_GONE),
            _agent("AGV_05", activity="charging"),
        ],
        stops=[stop, ended],
        waits=[
            _wait("AGV_02", "X_1", "AGV_01", 2_500),
            _wait("AGV_07", "X_2", "AGV_08", 1_500),
            _wait("AGV_08", "X_2", "AGV_07", 1_400),
        ],
        waits_changed=True,
        totals=zone_service_pb2.Totals(
            grants=70, releases=66, stops=2, live_grants=2, connected_agents=4, waiting=3, commits=90
        ),
    )


def _zone(
    name: str,
    state: floor_pb2.ZoneState.ValueType,
    occupants: list[floor_pb2.Occupant],
    *,
    capacity: int = 1,
    group: str = "floor",
    stop_ids: list[str] | None = None,
    waiters: int = 0,
) -> floor_pb2.ZoneView:
    return floor_pb2.ZoneView(
        name=name,
        state=state,
        capacity=capacity,
        stop_group=group,
        occupants=occupants,
        stop_ids=stop_ids or [],
        waiters=waiters,
    )


def _agent(
    agent_id: str,
    *,
    held: list[str] | None = None,
    stop_ids: list[str] | None = None,
    link: floor_pb2.LinkState.ValueType = floor_pb2.LINK_STATE_CONNECTED,
    explanation: str = "",
    activity: str = "",
) -> floor_pb2.AgentView:
    return floor_pb2.AgentView(
        agent_id=agent_id,
        kind="agv",
        link=link,
        held_zones=held or [],
        stop_ids=stop_ids or [],
        explanation=explanation,
        activity=activity,
    )


def _wait(agent_id: str, zone: str, behind: str, since_ms: int) -> floor_pb2.WaitView:
    blocker = floor_pb2.Blocker(
        zone=zone,
        kind=floor_pb2.BLOCKER_KIND_HELD,
        agent_id=behind,
        since_ms=since_ms,
        detail=f"{behind} holds it; it leaves or its deadline stops the group",
    )
    return floor_pb2.WaitView(
        agent_id=agent_id,
        request_id="r1",
        zones=[zone],
        priority=3,
        waiting_ms=since_ms,
        position=1,
        blockers=[blocker],
    )


def refusal(code: grpc.StatusCode, reason: str, message: str, **metadata: str) -> Any:
    """A status with ErrorInfo in the domain that the coordinator uses."""
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.ErrorInfo(reason=reason, domain="zonelock", metadata=metadata))
    return rpc_status.to_status(status_pb2.Status(code=code.value[0], message=message, details=[detail]))


class FakeCoordinator(
    zone_service_pb2_grpc.ZoneServiceServicer,
    safety_service_pb2_grpc.SafetyServiceServicer,
    cluster_service_pb2_grpc.ClusterServiceServicer,
):
    """`responses` is what a watcher gets; it then waits for `more` until the server stops. `refuse` answers safety
    calls.
    """

    def __init__(self) -> None:
        self.responses = [canned()]
        self.asked: list[Any] = []
        self.refuse: Any = None
        self.mute = False
        self.farewell: Any = None
        """The status that ends a watch once it is `over`."""
        self.standing: tuple[tuple[str, str], ...] = ()
        """What a watcher is told of this coordinator's role."""
        self.cluster = cluster_service_pb2.GetClusterResponse()
        self.over = threading.Event()
        self.floor = floor_pb2.Floor(
            site="plant",
            version=3,
            hash="ab" * 32,
            width=4,
            height=2,
            cell_mm=1_000,
            zones=[
                floor_pb2.ZoneSpec(
                    name="Z_32", capacity=1, stop_group="east", hold_max_ms=60_000, cells=[floor_pb2.Cell(x=0, y=0)]
                )
            ],
            areas=[floor_pb2.AreaSpec(name="loading", zones=["Z_32"])],
            agent_kinds=[floor_pb2.AgentKind(name="agv", speed_mm_s=1_500)],
            source_yaml="format: zonelock.floor/1\nsite: plant\n",
        )

    def __enter__(self) -> Self:
        self.server = grpc.server(futures.ThreadPoolExecutor(max_workers=8), options=[("grpc.so_reuseport", 0)])
        zone_service_pb2_grpc.add_ZoneServiceServicer_to_server(self, self.server)
        safety_service_pb2_grpc.add_SafetyServiceServicer_to_server(self, self.server)
        cluster_service_pb2_grpc.add_ClusterServiceServicer_to_server(self, self.server)
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def stop(self) -> None:
        self.over.set()
        self.server.stop(grace=None).wait(5)

    def WatchFloor(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: N802
        if self.standing:
            context.send_initial_metadata(self.standing)
        if self.mute:
            self.over.wait(30)
            return
        if self.refuse is not None:
            context.abort_with_status(self.refuse)
        yield from self.responses
        while not self.over.wait(0.05) and context.is_active():
            pass
        if self.farewell is not None:
            context.abort_with_status(self.farewell)

    def _cardboard(self, request: Any, context: grpc.ServicerContext) -> None:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "made of cardboard")

    Session: Any = _cardboard
    Acquire: Any = _cardboard
    Release: Any = _cardboard
    Extend: Any = _cardboard
    ListStops: Any = _cardboard
    ListAudit: Any = _cardboard
    Follow: Any = _cardboard
    HandOverStops: Any = _cardboard

    def GetCluster(self, request: Any, context: grpc.ServicerContext) -> cluster_service_pb2.GetClusterResponse:  # noqa: N802
        return self.cluster

    def ListZones(self, request: Any, context: grpc.ServicerContext) -> zone_service_pb2.ListZonesResponse:  # noqa: N802
        zones = [z for z in canned().zones if not request.names or z.name in request.names]
        return zone_service_pb2.ListZonesResponse(zones=zones, incarnation=1)

    def GetFloor(self, request: Any, context: grpc.ServicerContext) -> zone_service_pb2.GetFloorResponse:  # noqa: N802
        return zone_service_pb2.GetFloorResponse(floor=self.floor)

    def TripStop(self, request: Any, context: grpc.ServicerContext) -> safety_service_pb2.TripStopResponse:  # noqa: N802
        self._take(request, context)
        return safety_service_pb2.TripStopResponse(
            stop=floor_pb2.Stop(
                stop_id=request.stop_id,
                cause=floor_pb2.STOP_CAUSE_OPERATOR,
                stop_groups=["east"],
                tripped_by=request.operator,
                reason=request.reason,
                active=True,
            )
        )

    def ResetStop(self, request: Any, context: grpc.ServicerContext) -> safety_service_pb2.ResetStopResponse:  # noqa: N802
        self._take(request, context)
        ended = [
            floor_pb2.Stop(stop_id=i, reset_by=request.operator, reset_reason=request.reason) for i in request.stop_ids
        ]
        return safety_service_pb2.ResetStopResponse(stops=ended)

    def ClearZones(self, request: Any, context: grpc.ServicerContext) -> safety_service_pb2.ClearZonesResponse:  # noqa: N802
        self._take(request, context)
        return safety_service_pb2.ClearZonesResponse(cleared=request.zones or ["Z_40"])

    def RevokeGrants(self, request: Any, context: grpc.ServicerContext) -> safety_service_pb2.RevokeGrantsResponse:  # noqa: N802
        self._take(request, context)
        return safety_service_pb2.RevokeGrantsResponse()

    def CloseZones(self, request: Any, context: grpc.ServicerContext) -> safety_service_pb2.CloseZonesResponse:  # noqa: N802
        self._take(request, context)
        closures = [floor_pb2.Closure(zone=z, closed_by=request.operator, reason=request.reason) for z in request.zones]
        return safety_service_pb2.CloseZonesResponse(closures=closures)

    def OpenZones(self, request: Any, context: grpc.ServicerContext) -> safety_service_pb2.OpenZonesResponse:  # noqa: N802
        self._take(request, context)
        return safety_service_pb2.OpenZonesResponse(opened=request.zones)

    def PlanRoute(self, request: Any, context: grpc.ServicerContext) -> zone_service_pb2.PlanRouteResponse:  # noqa: N802
        self._take(request, context)
        return zone_service_pb2.PlanRouteResponse()

    def WatchStops(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: N802
        return iter(())

    def _take(self, request: Any, context: grpc.ServicerContext) -> None:
        self.asked.append(request)
        if self.refuse is not None:
            context.abort_with_status(self.refuse)

"""What a person (or a script in a person's name) does: look, stop, reset, clear, revoke, close, open.

Rule: every action names its operator and a reason, and a stop carries an id chosen here, so that sending it to
several coordinators trips one stop. Calls try each coordinator in turn while one is UNAVAILABLE. Never moves a
machine: a reset restarts nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from types import TracebackType
from typing import Self, TypeVar

import grpc
from zonelock.v1 import floor_pb2, safety_service_pb2, safety_service_pb2_grpc
from zonelock.v1 import zone_service_pb2 as pb
from zonelock.v1 import zone_service_pb2_grpc as pb_grpc

from zonelock_client import arguments
from zonelock_client.errors import ArgumentError
from zonelock_client.link import open_channel
from zonelock_client.status import from_rpc_error

T = TypeVar("T")

CALL_TIMEOUT_S = 5.0
MAX_AUDIT_ENTRIES = 1_000


class Operator:
    """`async with Operator("host:7600", operator="mara") as operator: await operator.zones()`.

    All methods raise RequestError (with the last coordinator's status when none could serve) and ArgumentError.
    """

    def __init__(
        self,
        target: str,
        *,
        operator: str,
        timeout_s: float = CALL_TIMEOUT_S,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        self._targets = arguments.targets(target)
        self._operator = arguments.name("operator", operator)
        self._timeout_s = arguments.seconds("timeout_s", timeout_s)
        self._credentials = credentials
        self._channels: dict[str, grpc.aio.Channel] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        channels = list(self._channels.values())
        self._channels.clear()
        for channel in channels:
            await channel.close()

    # -- looking -------------------------------------------------------------------------------------------------

    async def floor(self) -> floor_pb2.Floor:
        """The map, as the coordinator loaded it."""
        request = pb.GetFloorRequest()
        response = await self._call(lambda c: pb_grpc.ZoneServiceStub(c).GetFloor(request, timeout=self._timeout_s))
        return response.floor

    async def zones(self, *names: str) -> list[floor_pb2.ZoneView]:
        """The zones (or areas) named, or all, as the last commit left them."""
        return list((await self._list_zones(names)).zones)

    async def _list_zones(self, names: tuple[str, ...]) -> pb.ListZonesResponse:
        request = pb.ListZonesRequest(names=names)
        return await self._call(lambda c: pb_grpc.ZoneServiceStub(c).ListZones(request, timeout=self._timeout_s))

    async def plan_route(
        self, from_zone: str, to_zone: str, *, agent_id: str = "", agent_kind: str = "", alternatives: int = 3
    ) -> list[pb.PlannedRoute]:
        """Up to three ways around what is held now, quickest first; nothing is reserved by planning."""
        request = pb.PlanRouteRequest(
            from_zone=arguments.name("from_zone", from_zone),
            to_zone=arguments.name("to_zone", to_zone),
            agent_id=agent_id,
            agent_kind=agent_kind,
            alternatives=arguments.whole("alternatives", alternatives, 1, 3),
        )
        response = await self._call(lambda c: pb_grpc.ZoneServiceStub(c).PlanRoute(request, timeout=self._timeout_s))
        return list(response.routes)

    async def watch(self, *, min_interval_ms: int = 0) -> AsyncGenerator[pb.WatchFloorResponse, None]:
        """The whole picture first (`snapshot`), then what changed. Ends by raising RequestError when the stream breaks.

        A watch is begun again by the caller; the next first picture replaces all that was known.
        """
        arguments.whole("min_interval_ms", min_interval_ms, 0, arguments.MAX_DURATION_MS)
        request = pb.WatchFloorRequest(min_interval_ms=min_interval_ms)
        for target in self._targets:
            served = False
            try:
                async for picture in pb_grpc.ZoneServiceStub(self._channel(target)).WatchFloor(request):
                    served = True
                    yield picture
            except grpc.aio.AioRpcError as error:
                if served or not _may_try_next(error) or target == self._targets[-1]:
                    raise from_rpc_error(error) from error
            else:
                return

    async def stops(self, *, include_ended: bool = False) -> list[floor_pb2.Stop]:
        request = safety_service_pb2.ListStopsRequest(include_ended=include_ended)
        response = await self._call(
            lambda c: safety_service_pb2_grpc.SafetyServiceStub(c).ListStops(request, timeout=self._timeout_s)
        )
        return list(response.stops)

    async def audit(self, *, limit: int = 100, after_seq: int = 0) -> list[safety_service_pb2.AuditEntry]:
        """Safety actions in order: stops, resets, clearances."""
        arguments.whole("limit", limit, 1, MAX_AUDIT_ENTRIES)
        request = safety_service_pb2.ListAuditRequest(limit=limit, after_seq=after_seq)
        response = await self._call(
            lambda c: safety_service_pb2_grpc.SafetyServiceStub(c).ListAudit(request, timeout=self._timeout_s)
        )
        return list(response.entries)

    # -- acting --------------------------------------------------------------------------------------------------

    async def trip_stop(
        self,
        reason: str,
        *,
        zone: str = "",
        stop_group: str = "",
        floor: bool = False,
        stop_id: str = "",
        agent_id: str = "",
    ) -> floor_pb2.Stop:
        """Trips a latched stop of a zone's stop group, a stop group, or the floor. A repeat of `stop_id` is the
        same stop."""
        if [bool(zone), bool(stop_group), floor].count(True) != 1:
            raise ArgumentError(
                f"zone={zone!r}, stop_group={stop_group!r}, floor={floor}: give exactly one scope for the stop"
            )
        request = safety_service_pb2.TripStopRequest(
            operator=self._operator,
            reason=_reason(reason),
            stop_id=stop_id or f"stop-{uuid.uuid4().hex[:12]}",
            agent_id=agent_id,
        )
        if zone:
            request.zone = zone
        elif stop_group:
            request.stop_group = stop_group
        else:
            request.floor = True
        response = await self._call(
            lambda c: safety_service_pb2_grpc.SafetyServiceStub(c).TripStop(request, timeout=self._timeout_s)
        )
        return response.stop

    async def reset(self, stop_ids: Iterable[str], reason: str) -> list[floor_pb2.Stop]:
        """Ends stops by id. Refused (OCCUPANT_UNCONFIRMED) until every occupant in scope stands or is cleared."""
        ids = (stop_ids,) if isinstance(stop_ids, str) else tuple(stop_ids)
        if not ids:
            raise ArgumentError("stop_ids=() names no stop; `await operator.stops()` lists the active ones")
        request = safety_service_pb2.ResetStopRequest(operator=self._operator, reason=_reason(reason), stop_ids=ids)
        response = await self._call(
            lambda c: safety_service_pb2_grpc.SafetyServiceStub(c).ResetStop(request, timeout=self._timeout_s)
        )
        return list(response.stops)

    async def clear(
        self,
        zones: Iterable[str] = (),
        reason: str = "",
        *,
        all_unknown: bool = False,
        agent_id: str = "",
        seen: Iterable[floor_pb2.ZoneView] | None = None,
    ) -> list[str]:
        """Confirms that nobody stands in the zones (or areas) any more; returns what was cleared.

        `all_unknown`: every zone never confirmed empty. `agent_id`: only what this agent left behind. `seen`: the zones
        as they were shown (`zones()`) to the person who went to look; without it they are read now, just before. What
        is occupied otherwise by the time the clearance arrives is not cleared (OCCUPANT_CHANGED), and a live grant
        never is (STILL_GRANTED).
        """
        names = (zones,) if isinstance(zones, str) else tuple(zones)
        if not names and not all_unknown and not agent_id:
            raise ArgumentError("zones=() names nothing to clear; name zones, an agent_id, or say all_unknown=True")
        request = safety_service_pb2.ClearZonesRequest(
            operator=self._operator, reason=_reason(reason), zones=names, all_unknown=all_unknown, agent_id=agent_id
        )
        if seen is None:
            looked = await self._list_zones(names)
            seen, request.incarnation = looked.zones, looked.incarnation
        request.seen.extend(blocked_units(seen, agent_id))
        response = await self._call(
            lambda c: safety_service_pb2_grpc.SafetyServiceStub(c).ClearZones(request, timeout=self._timeout_s)
        )
        return list(response.cleared)

    async def revoke(self, *, reason: str, token: int = 0, agent_id: str = "") -> list[int]:
        """Takes one grant back, or all of an agent's; returns their tokens once that is durable.

        In two phases: the holder is told to stand still and holds on until it confirms or its deadline passes, so the
        zones are not free yet. Refused (NOTHING_TO_REVOKE) when no live grant matches. Raises ArgumentError,
        RequestError.
        """
        if bool(token) == bool(agent_id):
            raise ArgumentError(
                f"token={token!r}, agent_id={agent_id!r}: give exactly one, a grant's token or an agent"
            )
        request = safety_service_pb2.RevokeGrantsRequest(operator=self._operator, reason=_reason(reason))
        if token:
            request.token = arguments.whole("token", token, 1, arguments.MAX_TOKEN)
        else:
            request.agent_id = arguments.identifier("agent_id", agent_id)
        response = await self._call(
            lambda c: safety_service_pb2_grpc.SafetyServiceStub(c).RevokeGrants(request, timeout=self._timeout_s)
        )
        return list(response.tokens)

    async def close_zones(self, zones: Iterable[str], reason: str, *, agent_id: str = "") -> list[floor_pb2.Closure]:
        """Lets zones (or areas) grant nothing new until they are opened; returns each one's closure once it is durable.

        Holders carry on and leave as usual; waiters are turned away (CLOSED). A zone that was closed before stays
        closed by whoever closed it. `agent_id`: set when a machine's observer closes them. Raises ArgumentError,
        RequestError.
        """
        request = safety_service_pb2.CloseZonesRequest(
            operator=self._operator, reason=_reason(reason), zones=_some(zones, "close"), agent_id=agent_id
        )
        response = await self._call(
            lambda c: safety_service_pb2_grpc.SafetyServiceStub(c).CloseZones(request, timeout=self._timeout_s)
        )
        return list(response.closures)

    async def open_zones(self, zones: Iterable[str], reason: str) -> list[str]:
        """Lets closed zones (or areas) be granted again; returns those that were closed. Raises ArgumentError,
        RequestError.
        """
        request = safety_service_pb2.OpenZonesRequest(
            operator=self._operator, reason=_reason(reason), zones=_some(zones, "open")
        )
        response = await self._call(
            lambda c: safety_service_pb2_grpc.SafetyServiceStub(c).OpenZones(request, timeout=self._timeout_s)
        )
        return list(response.opened)

    # -- inside --------------------------------------------------------------------------------------------------

    def _channel(self, target: str) -> grpc.aio.Channel:
        if target not in self._channels:
            self._channels[target] = open_channel(target, self._credentials)
        return self._channels[target]

    async def _call(self, call: Callable[[grpc.aio.Channel], Awaitable[T]]) -> T:
        """Tries each coordinator in turn while one is UNAVAILABLE; the next call begins with the one that served."""
        for _ in range(len(self._targets) - 1):
            try:
                return await call(self._channel(self._targets[0]))
            except grpc.aio.AioRpcError as error:
                if not _may_try_next(error):
                    raise from_rpc_error(error) from error
                self._targets = (*self._targets[1:], self._targets[0])
        try:
            return await call(self._channel(self._targets[0]))
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error


def _may_try_next(error: grpc.aio.AioRpcError) -> bool:
    return error.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


def _some(zones: Iterable[str], what: str) -> tuple[str, ...]:
    names = (zones,) if isinstance(zones, str) else tuple(zones)
    if not names:
        raise ArgumentError(f"zones=() names nothing to {what}; name zones or areas")
    return names


def _reason(reason: str) -> str:
    if not reason.strip():
        raise ArgumentError(f"reason={reason!r} must say why; it is kept in the audit")
    return reason


def blocked_units(zones: Iterable[floor_pb2.ZoneView], agent_id: str = "") -> Iterator[safety_service_pb2.SeenUnit]:
    """What a clearance names: every slot that is occupied without a live grant (by `agent_id`, or by anybody)."""
    for zone in zones:
        for occupant in zone.occupants:
            if occupant.state == floor_pb2.SLOT_STATE_BLOCKED and agent_id in ("", occupant.agent_id):
                yield safety_service_pb2.SeenUnit(
                    zone=zone.name, slot=occupant.slot, agent_id=occupant.agent_id, token=occupant.token
                )

"""`zonelock.v1.SafetyService`: what operators do, validated and named, and what was done before.

Every action here carries who and why, so that the audit can say it. A stop request leaves at once; its answer waits
until it is durable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn, TypeVar
from uuid import uuid4

import grpc
from zonelock.v1 import floor_pb2 as fpb
from zonelock.v1 import safety_service_pb2 as spb
from zonelock.v1 import safety_service_pb2_grpc as sgrpc

from coordinator.core import effects as fx
from coordinator.core import events as ev
from coordinator.core import views
from coordinator.core.model import StopRecord
from coordinator.core.rejections import Refusal
from coordinator.rpc import requests
from coordinator.rpc.errors import DETAILS_KEY, RequestRefused, Tally, answered, bad_field
from coordinator.rpc.leader_line import FORWARDED, LeaderLine
from coordinator.rpc.limits import (
    DEFAULT_AUDIT_ENTRIES,
    MAX_AUDIT_ENTRIES,
    MAX_CLEARED_NAMES,
    MAX_INT,
    MAX_NAMES,
    RpcLimits,
)
from coordinator.rpc.picture import audit_messages, reported_stop_message, stop_view_message
from coordinator.rpc.port import Runtime
from coordinator.rpc.stop_news import StopNews
from coordinator.rpc.translate import closure_message, stop_message
from coordinator.rpc.unary import UnaryCall

Answer = TypeVar("Answer", bound=fx.Answer)


@dataclass(frozen=True, slots=True)
class Action:
    """What somebody does by this call, and the event that says so; `operator` and `reason` go into the audit."""

    method: str
    event: Callable[..., ev.Event]
    operator: str
    reason: str


class SafetyService(sgrpc.SafetyServiceServicer):
    """Stopping, resetting, clearing, and reading about it."""

    def __init__(self, runtime: Runtime, limits: RpcLimits, tally: Tally, line: LeaderLine | None = None) -> None:
        self._runtime, self._limits, self._line = runtime, limits, line
        self.tally = tally
        self._watching = 0

    @answered
    async def TripStop(self, request: spb.TripStopRequest, context: Any) -> spb.TripStopResponse:  # noqa: N802
        agent_id = requests.optional_identifier("agent_id", request.agent_id)
        operator = requests.required_text("operator", request.operator or agent_id, Refusal.OPERATOR_REQUIRED)
        reason = requests.required_text("reason", request.reason, Refusal.REASON_REQUIRED)
        zone, stop_group, floor = _scope(request)
        stop_id = requests.optional_identifier("stop_id", request.stop_id)
        if not stop_id:
            stop_id = f"{'agent' if agent_id else 'operator'}:{uuid4().hex[:12]}"
        action = Action("TripStop", ev.StopAsked, operator, reason)
        what = {"stop_id": stop_id, "zone": zone, "stop_group": stop_group, "floor": floor, "agent_id": agent_id}
        try:
            stops = await self._stops_of(action, self._limits.stop_answer_ms, **what)
        except RequestRefused as refused:
            if refused.refusal is not Refusal.COMMIT_UNCERTAIN:
                raise
            recorded = await self._recorded(stop_id)
            if recorded is not None:
                return spb.TripStopResponse(stop=stop_message(recorded))
            message = f"The stop {stop_id!r} was sent to every connected agent, but it is not known to be durable yet."
            raise RequestRefused(refused.refusal, message, (("stop_id", stop_id),)) from refused
        return spb.TripStopResponse(stop=stops[0])

    @answered
    async def ResetStop(self, request: spb.ResetStopRequest, context: Any) -> spb.ResetStopResponse:  # noqa: N802
        operator, reason = _who_and_why(request.operator, request.reason)
        if isinstance(told := await self._by_the_leader("ResetStop", request, context), spb.ResetStopResponse):
            return told
        if not request.stop_ids:
            raise bad_field("stop_ids", [], "the id of every stop that the reset ends (ListStops shows them)")
        if len(request.stop_ids) > MAX_NAMES:
            raise bad_field("stop_ids", len(request.stop_ids), f"at most {MAX_NAMES} ids")
        stop_ids = tuple(requests.identifier("stop_ids", stop_id) for stop_id in request.stop_ids)
        action = Action("ResetStop", ev.ResetAsked, operator, reason)
        return spb.ResetStopResponse(stops=await self._stops_of(action, stop_ids=stop_ids))

    @answered
    async def ClearZones(self, request: spb.ClearZonesRequest, context: Any) -> spb.ClearZonesResponse:  # noqa: N802
        operator, reason = _who_and_why(request.operator, request.reason)
        if isinstance(told := await self._by_the_leader("ClearZones", request, context), spb.ClearZonesResponse):
            return told
        zones = requests.names("zones", request.zones, MAX_CLEARED_NAMES)
        agent_id = requests.optional_identifier("agent_id", request.agent_id)
        if not (zones or request.all_unknown or agent_id):
            raise bad_field("zones", [], "zones or areas by name, all_unknown, or an agent_id")
        answer = await self._carry_out(
            Action("ClearZones", ev.ClearAsked, operator, reason),
            fx.ZonesCleared,
            zones=zones,
            all_unknown=request.all_unknown,
            agent_id=agent_id,
            seen=requests.seen_units(request.seen),
            incarnation=requests.integer("incarnation", request.incarnation, 0, MAX_INT),
        )
        return spb.ClearZonesResponse(cleared=answer.zones)

    @answered
    async def RevokeGrants(self, request: spb.RevokeGrantsRequest, context: Any) -> spb.RevokeGrantsResponse:  # noqa: N802
        operator, reason = _who_and_why(request.operator, request.reason)
        if isinstance(told := await self._by_the_leader("RevokeGrants", request, context), spb.RevokeGrantsResponse):
            return told
        if request.WhichOneof("target") is None:
            raise bad_field("target", "", "a token, or an agent_id")
        answer = await self._carry_out(
            Action("RevokeGrants", ev.RevokeAsked, operator, reason),
            fx.GrantsRevoked,
            token=requests.integer("token", request.token, 0, MAX_INT),
            agent_id=requests.optional_identifier("agent_id", request.agent_id),
        )
        return spb.RevokeGrantsResponse(tokens=answer.tokens)

    @answered
    async def CloseZones(self, request: spb.CloseZonesRequest, context: Any) -> spb.CloseZonesResponse:  # noqa: N802
        agent_id = requests.optional_identifier("agent_id", request.agent_id)
        operator, reason = _who_and_why(request.operator or agent_id, request.reason)
        if isinstance(told := await self._by_the_leader("CloseZones", request, context), spb.CloseZonesResponse):
            return told
        action = Action("CloseZones", ev.CloseAsked, operator, reason)
        zones = _some_zones(request.zones)
        answer = await self._carry_out(action, fx.ZonesClosed, zones=zones, agent_id=agent_id)
        return spb.CloseZonesResponse(closures=[closure_message(closure) for closure in answer.closures])

    @answered
    async def OpenZones(self, request: spb.OpenZonesRequest, context: Any) -> spb.OpenZonesResponse:  # noqa: N802
        operator, reason = _who_and_why(request.operator, request.reason)
        if isinstance(told := await self._by_the_leader("OpenZones", request, context), spb.OpenZonesResponse):
            return told
        action = Action("OpenZones", ev.OpenAsked, operator, reason)
        answer = await self._carry_out(action, fx.ZonesOpened, zones=_some_zones(request.zones))
        return spb.OpenZonesResponse(opened=answer.zones)

    @answered
    async def WatchStops(self, request: spb.WatchStopsRequest, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        """Written by hand, as in WatchFloor, so that a client that does not read cannot hold up anything."""
        if self._watching >= self._limits.watchers:
            raise RequestRefused(Refusal.QUEUE_FULL, f"{self._watching} clients watch stops here already.")
        await context.send_initial_metadata(())
        self._watching += 1
        try:
            with StopNews(self._runtime) as news:
                for stop in self._runtime.known_stops():
                    await self._write_stop(context, stop)
                while (told := await news.next()) is not None:
                    await self._write_stop(context, told)
        finally:
            self._watching -= 1
        self._too_slow()

    def _too_slow(self) -> NoReturn:
        self.tally.slow_readers += 1
        raise RequestRefused(Refusal.SLOW_READER, "The watch of stops ended because its client does not read.")

    async def _write_stop(self, context: Any, stop: StopRecord) -> None:
        message = stop_message(stop)
        del message.zones[:]
        message.zones.extend(self._runtime.zones_in(stop))
        try:
            async with asyncio.timeout(self._limits.write_stall_ms / 1_000):
                await context.write(spb.WatchStopsResponse(stop=message))
        except TimeoutError:
            self._too_slow()

    @answered
    async def ListStops(self, request: spb.ListStopsRequest, context: Any) -> spb.ListStopsResponse:  # noqa: N802
        machine = self._runtime.machine
        stop_ids = views.stop_ids(machine, include_ended=request.include_ended)
        return spb.ListStopsResponse(stops=[stop_view_message(machine, s, self._runtime.now_ms()) for s in stop_ids])

    @answered
    async def ListAudit(self, request: spb.ListAuditRequest, context: Any) -> spb.ListAuditResponse:  # noqa: N802
        limit = requests.integer("limit", request.limit, 0, MAX_AUDIT_ENTRIES) or DEFAULT_AUDIT_ENTRIES
        after_seq = requests.integer("after_seq", request.after_seq, 0, MAX_INT)
        return spb.ListAuditResponse(entries=audit_messages(self._runtime.machine, limit, after_seq))

    async def _by_the_leader(self, method: str, request: Any, context: Any) -> Any:
        """What the leader answers, where this coordinator stands by; None where it is to be answered here."""
        if self._line is None or not self._runtime.stands_by:
            return None
        if FORWARDED in tuple((key, value) for key, value in context.invocation_metadata() or ()):
            return None  # two coordinators take each other for the leader: say so rather than go round
        try:
            return await self._line.forward(method, request)
        except grpc.aio.AioRpcError as error:
            trailer = tuple((key, value) for key, value in error.trailing_metadata() or () if key == DETAILS_KEY)
            await context.abort(error.code(), error.details() or "", trailer)

    async def _recorded(self, stop_id: str) -> StopRecord | None:
        """The stop as the leader recorded it, where this coordinator stands by."""
        if self._line is None or not self._runtime.stands_by:
            return None
        return await self._line.recorded(stop_id)

    async def _stops_of(self, action: Action, within_ms: int = 0, **what: Any) -> list[fpb.Stop]:
        answer = await self._carry_out(action, fx.StopsReported, within_ms, **what)
        now_ms = self._runtime.now_ms()
        return [reported_stop_message(self._runtime.machine, record, now_ms) for record in answer.stops]

    async def _carry_out(self, action: Action, answered_by: type[Answer], within_ms: int = 0, **what: Any) -> Answer:
        """The core's answer. `what` is the rest of the event, and valid: a call is attached only for what is."""
        call = UnaryCall(self._runtime, self._limits, action.method)
        try:
            event = action.event(
                now_ms=self._runtime.now_ms(),
                cause=f"{call.conn}.{action.method}",
                conn=call.conn,
                operator=action.operator,
                reason=action.reason,
                recorded_at=_wall_clock(),
                **what,
            )
            call.submit(event)
            answer = await call.answer(within_ms)
        finally:
            call.close()
        if not isinstance(answer, answered_by):
            raise TypeError(f"the core answered {type(event).__name__} with {type(answer).__name__}")
        return answer


def _who_and_why(operator: str, reason: str) -> tuple[str, str]:
    return (
        requests.required_text("operator", operator, Refusal.OPERATOR_REQUIRED),
        requests.required_text("reason", reason, Refusal.REASON_REQUIRED),
    )


def _some_zones(given: Sequence[str]) -> tuple[str, ...]:
    zones = requests.names("zones", given, MAX_CLEARED_NAMES)
    if not zones:
        raise bad_field("zones", [], "zones or areas by name, at least one")
    return zones


def _scope(request: spb.TripStopRequest) -> tuple[str, str, bool]:
    """Zone, stop group, floor: exactly one of them is set."""
    match request.WhichOneof("scope"):
        case "zone":
            return requests.name("zone", request.zone), "", False
        case "stop_group":
            return "", requests.name("stop_group", request.stop_group), False
        case "floor" if request.floor:
            return "", "", True
        case "floor":
            raise bad_field("floor", False, "true, or name a zone or a stop_group", Refusal.BAD_SCOPE)
    raise bad_field("scope", "", "exactly one of zone, stop_group and floor", Refusal.BAD_SCOPE)


def _wall_clock() -> str:
    """For people who read the audit; nothing is decided by it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")

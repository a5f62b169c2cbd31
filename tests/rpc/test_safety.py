from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

import grpc
import pytest
from rpc.site import ask, greeted, operation, refused, running
from zonelock.v1 import cluster_service_pb2 as cpb
from zonelock.v1 import cluster_service_pb2_grpc as cgrpc
from zonelock.v1 import floor_pb2 as fpb
from zonelock.v1 import safety_service_pb2 as spb
from zonelock.v1 import zone_service_pb2 as zpb

from coordinator.rpc.server import RpcLimits
from coordinator.rpc.turns import Turns


async def test_a_stop_is_listed_acknowledged_reset_by_name_and_audited() -> None:
    async with running() as site:
        client = await greeted(site, "AGV_1")
        await client.send(ask("AGV_1", "r1", "A"))
        await client.answer("granted")
        tripped = await site.safety.TripStop(spb.TripStopRequest(operator="Ada", reason="smoke", zone="A"))
        stop_id = tripped.stop.stop_id
        assert stop_id.startswith("operator:")
        assert list(tripped.stop.stop_groups) == ["floor"]
        assert (await client.answer("stop_raised")).stop_raised.stop.reason == "smoke"
        [zone] = (await site.zones.ListZones(zpb.ListZonesRequest(names=["A"]))).zones
        assert zone.state == fpb.ZONE_STATE_STOPPED
        assert zone.occupants[0].cause == fpb.BLOCK_CAUSE_STOPPED
        reset = spb.ResetStopRequest(operator="Ada", reason="aired", stop_ids=[stop_id])
        early = await refused(site.safety.ResetStop(reset))
        assert early.reason == "OCCUPANT_UNCONFIRMED"
        assert "AGV_1" in early.message
        number = await client.send(operation("AGV_1", stop_ack=zpb.StopAck(stop_ids=[stop_id])))
        await client.acknowledged(number)
        listed = (await site.safety.ListStops(spb.ListStopsRequest())).stops
        assert list(listed[0].acknowledged_by) == ["AGV_1"]
        ended = (await site.safety.ResetStop(reset)).stops
        assert (ended[0].active, ended[0].reset_by, ended[0].reset_reason) == (False, "Ada", "aired")
        assert (await client.answer("stop_ended")).stop_ended.stop.stop_id == stop_id
        assert not (await site.safety.ListStops(spb.ListStopsRequest())).stops
        assert len((await site.safety.ListStops(spb.ListStopsRequest(include_ended=True))).stops) == 1
        entries = (await site.safety.ListAudit(spb.ListAuditRequest())).entries
        assert [(e.action, e.actor, e.reason) for e in entries][-2:] == [
            ("stop", "Ada", "smoke"),
            ("reset", "Ada", "aired"),
        ]
        assert datetime.fromisoformat(entries[-1].recorded_at).tzinfo is not None


async def test_the_call_of_a_stop_makes_turns_short_and_no_other_call_does(monkeypatch: pytest.MonkeyPatch) -> None:
    hurried: list[Turns] = []

    def hurry(turns: Turns) -> None:
        hurried.append(turns)

    monkeypatch.setattr(Turns, "hurry", hurry)
    async with running() as site:
        await site.safety.ListStops(spb.ListStopsRequest())
        assert hurried == []
        await site.safety.TripStop(spb.TripStopRequest(operator="Ada", reason="smoke", zone="A"))
        assert len(hurried) == 1


async def test_an_agent_may_trip_a_stop_and_a_repeat_is_the_same_stop() -> None:
    async with running() as site:
        request = spb.TripStopRequest(agent_id="AGV_1", reason="bumper", stop_group="east", stop_id="agent:1")
        first = await site.safety.TripStop(request)
        second = await site.safety.TripStop(request)
        assert first.stop.stop_id == second.stop.stop_id == "agent:1"
        assert first.stop.cause == fpb.STOP_CAUSE_AGENT
        assert first.stop.tripped_by == "AGV_1"
        assert len((await site.safety.ListStops(spb.ListStopsRequest())).stops) == 1


@pytest.mark.parametrize(
    ("request_", "reason", "field"),
    [
        (spb.TripStopRequest(reason="r", floor=True), "OPERATOR_REQUIRED", "operator"),
        (spb.TripStopRequest(operator=" ", reason="r", floor=True), "OPERATOR_REQUIRED", "operator"),
        (spb.TripStopRequest(operator="Ada", floor=True), "REASON_REQUIRED", "reason"),
        (spb.TripStopRequest(operator="Ada", reason="r"), "BAD_SCOPE", "scope"),
        (spb.TripStopRequest(operator="Ada", reason="r", floor=False), "BAD_SCOPE", "floor"),
        (spb.TripStopRequest(operator="Ada", reason="r", zone=""), "BAD_FIELD", "zone"),
        (spb.TripStopRequest(operator="Ada", reason="x" * 201, floor=True), "BAD_FIELD", "reason"),
        (spb.TripStopRequest(operator="A\x1b[2Jda", reason="r", floor=True), "BAD_FIELD", "operator"),
        (spb.TripStopRequest(operator="Ada", reason="two\nlines", floor=True), "BAD_FIELD", "reason"),
        (spb.TripStopRequest(operator="Ada", reason="r", floor=True, stop_id="a b"), "BAD_FIELD", "stop_id"),
    ],
)
async def test_a_stop_request_without_a_name_a_reason_or_a_scope_is_refused(
    request_: spb.TripStopRequest, reason: str, field: str
) -> None:
    async with running() as site:
        error = await refused(site.safety.TripStop(request_))
        assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
        assert error.metadata["field"] == field
        assert not site.runtime.machine.stops.all()


async def test_unknown_scopes_and_stops_are_not_found() -> None:
    async with running() as site:
        for request in (
            spb.TripStopRequest(operator="Ada", reason="r", zone="nowhere"),
            spb.TripStopRequest(operator="Ada", reason="r", stop_group="nowhere"),
        ):
            assert (await refused(site.safety.TripStop(request))).code is grpc.StatusCode.NOT_FOUND
        reset = spb.ResetStopRequest(operator="Ada", reason="r", stop_ids=["nope"])
        assert (await refused(site.safety.ResetStop(reset))).reason == "UNKNOWN_STOP"


@pytest.mark.parametrize("stop_id", ["x\ny", "~journal/1", "", "s" * 65])
async def test_a_stop_that_another_coordinator_cannot_have_told_of_is_refused_and_leaves_nothing(stop_id: str) -> None:
    async with running() as site:
        stop = fpb.Stop(stop_id=stop_id, cause=fpb.STOP_CAUSE_OPERATOR, floor=True, active=True)
        handed_over = cgrpc.ClusterServiceStub(site.channel).HandOverStops(cpb.HandOverStopsRequest(stops=[stop]))
        assert (await refused(handed_over)).metadata["field"] == "stops.stop_id"
        assert site.runtime.known_stops() == []


async def test_a_cold_floor_is_cleared_by_a_named_operator_once() -> None:
    async with running(assume_empty=False) as site:
        states = {z.state for z in (await site.zones.ListZones(zpb.ListZonesRequest())).zones}
        assert states == {fpb.ZONE_STATE_UNKNOWN}
        request = spb.ClearZonesRequest(operator="Ada", reason="walked the floor", all_unknown=True)
        assert sorted((await site.safety.ClearZones(request)).cleared) == ["A", "B", "C", "D", "R"]
        states = {z.state for z in (await site.zones.ListZones(zpb.ListZonesRequest())).zones}
        assert states == {fpb.ZONE_STATE_FREE}
        assert (await refused(site.safety.ClearZones(request))).reason == "NOTHING_TO_CLEAR"


async def test_a_clearance_that_names_nothing_or_a_live_grant_is_refused() -> None:
    async with running() as site:
        nothing = spb.ClearZonesRequest(operator="Ada", reason="r")
        assert (await refused(site.safety.ClearZones(nothing))).metadata["field"] == "zones"
        client = await greeted(site, "AGV_1")
        await client.send(ask("AGV_1", "r1", "A"))
        await client.answer("granted")
        held = spb.ClearZonesRequest(operator="Ada", reason="r", zones=["A"])
        assert (await refused(site.safety.ClearZones(held))).reason == "STILL_GRANTED"


async def test_a_reset_must_name_stops() -> None:
    async with running() as site:
        error = await refused(site.safety.ResetStop(spb.ResetStopRequest(operator="Ada", reason="r")))
        assert error.metadata["field"] == "stop_ids"


async def test_the_audit_is_read_in_pages() -> None:
    async with running() as site:
        for i in range(5):
            await site.safety.TripStop(
                spb.TripStopRequest(operator="Ada", reason=f"r{i}", stop_group="east", stop_id=f"s{i}")
            )
        newest = (await site.safety.ListAudit(spb.ListAuditRequest(limit=2))).entries
        assert [e.reason for e in newest] == ["r3", "r4"]
        page = (await site.safety.ListAudit(spb.ListAuditRequest(limit=2, after_seq=newest[0].seq - 2))).entries
        assert [e.reason for e in page] == ["r2", "r3"]
        for bad in (-1, 1_001):
            error = await refused(site.safety.ListAudit(spb.ListAuditRequest(limit=bad)))
            assert error.metadata["field"] == "limit"


async def test_a_stop_that_cannot_be_made_durable_yet_says_that_it_was_sent() -> None:
    async with running(RpcLimits(answer_ms=200)) as site:
        client = await greeted(site, "AGV_1")
        await client.send(ask("AGV_1", "r1", "A"))
        await client.answer("granted")
        site.store.let.clear()
        trip = asyncio.ensure_future(
            refused(site.safety.TripStop(spb.TripStopRequest(operator="Ada", reason="r", floor=True, stop_id="s1")))
        )
        assert (await client.answer("stop_raised")).stop_raised.stop.stop_id == "s1"
        error = await trip
        assert error.reason == "COMMIT_UNCERTAIN"
        assert "'s1' was sent" in error.message
        site.store.let.set()


async def test_a_closed_zone_is_refused_shown_and_opened_by_name() -> None:
    async with running() as site:
        client = await greeted(site, "AGV_1")
        closing = spb.CloseZonesRequest(operator="Ada", reason="bearing", zones=["A"])
        [closure] = (await site.safety.CloseZones(closing)).closures
        assert (closure.zone, closure.closed_by, closure.reason) == ("A", "Ada", "bearing")
        [zone] = (await site.zones.ListZones(zpb.ListZonesRequest(names=["A"]))).zones
        assert (zone.state, zone.closure.closed_by) == (fpb.ZONE_STATE_CLOSED, "Ada")
        assert "zonelock open A" in zone.explanation
        await client.send(ask("AGV_1", "r1", "A"))
        assert (await client.answer("rejected")).rejected.reason == zpb.REJECT_REASON_CLOSED
        opening = spb.OpenZonesRequest(operator="Ada", reason="mended", zones=["A"])
        assert list((await site.safety.OpenZones(opening)).opened) == ["A"]
        assert list((await site.safety.OpenZones(opening)).opened) == []
        await client.send(ask("AGV_1", "r2", "A"))
        await client.answer("granted")
        entries = (await site.safety.ListAudit(spb.ListAuditRequest())).entries
        assert [(e.action, e.actor) for e in entries][-2:] == [("closure", "Ada"), ("opening", "Ada")]


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (spb.CloseZonesRequest(reason="r", zones=["A"]), "OPERATOR_REQUIRED"),
        (spb.CloseZonesRequest(operator="Ada", zones=["A"]), "REASON_REQUIRED"),
        (spb.CloseZonesRequest(operator="Ada", reason="r"), "BAD_FIELD"),
        (spb.CloseZonesRequest(agent_id="edge-1", reason="r", zones=["nowhere"]), "UNKNOWN_ZONE"),
        (spb.OpenZonesRequest(operator="Ada", reason="r"), "BAD_FIELD"),
        (spb.OpenZonesRequest(operator="Ada", zones=["A"]), "REASON_REQUIRED"),
    ],
)
async def test_an_incomplete_closing_or_opening_is_refused(
    request_: spb.CloseZonesRequest | spb.OpenZonesRequest, reason: str
) -> None:
    async with running() as site:
        if isinstance(request_, spb.CloseZonesRequest):
            error = await refused(site.safety.CloseZones(request_))
        else:
            error = await refused(site.safety.OpenZones(request_))
        assert error.reason == reason


async def test_an_action_that_is_refused_for_a_field_leaves_no_call_behind() -> None:
    """A call that stays attached is told of every stop for ever: repeated, a mistake would fill the memory."""
    who: dict[str, Any] = {"operator": "Ada", "reason": "smoke"}
    async with running() as site:
        for call in (
            site.safety.ClearZones(spb.ClearZonesRequest(**who, zones=["A"], incarnation=1 << 63)),
            site.safety.ClearZones(spb.ClearZonesRequest(**who, zones=["A"], seen=[spb.SeenUnit(zone="")])),
            site.safety.RevokeGrants(spb.RevokeGrantsRequest(**who, token=1 << 63)),
            site.safety.RevokeGrants(spb.RevokeGrantsRequest(**who, agent_id="no id")),
            site.safety.ResetStop(spb.ResetStopRequest(**who, stop_ids=["no id"])),
            site.safety.TripStop(spb.TripStopRequest(**who, zone="A", stop_id="no id")),
        ):
            assert (await refused(call)).reason == "BAD_FIELD"
        assert not site.runtime._outlets._open

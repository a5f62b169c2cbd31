from __future__ import annotations

import asyncio

import grpc
import pytest
from rpc.site import SECRET, Site, ask, greeted, operation, refused, running, until
from zonelock.v1 import zone_service_pb2 as zpb

from coordinator.rpc.server import RpcLimits


def acquire_request(agent_id: str, *zones: str, request_id: str = "r1", wait_ms: int = 0) -> zpb.AcquireRequest:
    return zpb.AcquireRequest(
        agent_id=agent_id,
        session_secret=SECRET,
        ask=zpb.Ask(request_id=request_id, zones=zones, expected_ms=30_000),
        wait_ms=wait_ms,
    )


async def held_by(site: Site, agent_id: str, zone: str) -> int:
    response = await site.zones.Acquire(acquire_request(agent_id, zone))
    assert response.WhichOneof("outcome") == "granted"
    return response.granted.token


async def test_acquire_extend_and_release_work_without_a_stream() -> None:
    async with running() as site:
        token = await held_by(site, "AGV_1", "A")
        extended = await site.zones.Extend(
            zpb.ExtendRequest(
                agent_id="AGV_1",
                session_secret=SECRET,
                extend=zpb.Extend(token=token, expected_ms=40_000, request_id="x1"),
                telemetry=zpb.Telemetry(has_position=True, x_mm=500, y_mm=500),
            )
        )
        assert extended.extended.token == token
        assert extended.extended.remaining_ms == 40_000
        inside = await site.zones.Release(
            zpb.ReleaseRequest(agent_id="AGV_1", session_secret=SECRET, release=zpb.Release(token=token))
        )
        assert inside.rejected.reason == zpb.REJECT_REASON_STILL_INSIDE
        await site.zones.Extend(
            zpb.ExtendRequest(
                agent_id="AGV_1",
                session_secret=SECRET,
                extend=zpb.Extend(token=token, expected_ms=41_000, request_id="x2"),
                telemetry=zpb.Telemetry(inside_known=True),
            )
        )
        released = await site.zones.Release(
            zpb.ReleaseRequest(agent_id="AGV_1", session_secret=SECRET, release=zpb.Release(token=token))
        )
        assert list(released.released.zones) == ["A"]


async def test_an_extension_without_telemetry_is_rejected() -> None:
    async with running() as site:
        token = await held_by(site, "AGV_1", "A")
        response = await site.zones.Extend(
            zpb.ExtendRequest(
                agent_id="AGV_1",
                session_secret=SECRET,
                extend=zpb.Extend(token=token, expected_ms=5_000, request_id="x1"),
            )
        )
        assert response.rejected.reason == zpb.REJECT_REASON_STALE_TELEMETRY


async def test_a_unary_grant_outlives_its_call() -> None:
    async with running() as site:
        token = await held_by(site, "AGV_1", "A")
        await until(lambda: not site.runtime.machine.sessions["AGV_1"].calls)
        assert site.runtime.machine.grants.get(token) is not None
        again = await site.zones.Acquire(acquire_request("AGV_1", "A"))
        assert again.granted.token == token


@pytest.mark.parametrize("wait_ms", [0, 150])
async def test_an_ask_still_queued_after_wait_ms_is_cancelled_and_says_so(wait_ms: int) -> None:
    async with running() as site:
        await held_by(site, "AGV_1", "A")
        response = await site.zones.Acquire(acquire_request("AGV_2", "A", wait_ms=wait_ms))
        assert response.rejected.reason == zpb.REJECT_REASON_WAIT_ENDED
        assert list(response.rejected.zones) == ["A"]
        assert f"wait_ms {wait_ms}" in response.rejected.message
        assert len(site.runtime.machine.queue) == 0


async def test_a_waiting_acquire_gets_the_zone_as_soon_as_it_is_released() -> None:
    async with running() as site:
        token = await held_by(site, "AGV_1", "A")
        waiting = asyncio.ensure_future(site.zones.Acquire(acquire_request("AGV_2", "A", wait_ms=60_000)))
        await until(lambda: len(site.runtime.machine.queue) == 1)
        await site.zones.Release(
            zpb.ReleaseRequest(agent_id="AGV_1", session_secret=SECRET, release=zpb.Release(token=token))
        )
        response = await waiting
        assert response.granted.token > token


async def test_a_grant_that_wins_the_race_against_the_end_of_the_wait_is_returned() -> None:
    async with running() as site:
        client = await greeted(site, "AGV_1")
        await client.send(ask("AGV_1", "r1", "A"))
        token = (await client.answer("granted")).granted.token
        waiting = asyncio.ensure_future(site.zones.Acquire(acquire_request("AGV_2", "A", wait_ms=300)))
        await until(lambda: len(site.runtime.machine.queue) == 1)
        site.store.let.clear()
        await client.send(operation("AGV_1", release=zpb.Release(token=token)))
        await asyncio.sleep(0.5)  # the wait ends while the grant's commit is under way
        site.store.let.set()
        assert (await waiting).WhichOneof("outcome") == "granted"


async def test_a_caller_that_goes_away_leaves_the_queue() -> None:
    async with running() as site:
        await held_by(site, "AGV_1", "A")
        waiting = site.zones.Acquire(acquire_request("AGV_2", "A", wait_ms=60_000))
        await until(lambda: len(site.runtime.machine.queue) == 1)
        waiting.cancel()
        await until(lambda: len(site.runtime.machine.queue) == 0)


async def test_a_call_that_no_commit_answers_says_that_its_outcome_is_not_known() -> None:
    async with running(RpcLimits(answer_ms=200)) as site:
        site.store.let.clear()
        for wait_ms in (0, 50):
            error = await refused(site.zones.Acquire(acquire_request("AGV_1", "A", wait_ms=wait_ms)))
            assert error.reason == "COMMIT_UNCERTAIN"
            assert error.retry_ms == 500


@pytest.mark.parametrize("wait_ms", [-1, 60_001])
async def test_a_wait_out_of_range_is_refused_by_field(wait_ms: int) -> None:
    async with running() as site:
        error = await refused(site.zones.Acquire(acquire_request("AGV_1", "A", wait_ms=wait_ms)))
        assert error.metadata["field"] == "wait_ms"
        assert "0 to 60000" in error.message


async def test_refusals_of_unary_calls_name_field_value_and_remedy() -> None:
    async with running() as site:
        cases = {
            "EMPTY_ASK": acquire_request("AGV_1"),
            "UNKNOWN_ZONE": acquire_request("AGV_1", "nowhere"),
            "TOO_MANY_ZONES": acquire_request("AGV_1", *(f"Z{i}" for i in range(33))),
            "DUPLICATE_ZONE": acquire_request("AGV_1", "A", "A"),
            "BAD_FIELD": acquire_request("AGV 1", "A"),
        }
        for reason, request in cases.items():
            error = await refused(site.zones.Acquire(request))
            assert error.reason == reason
        request = acquire_request("AGV_1", "A")
        request.session_secret = b"short"
        error = await refused(site.zones.Acquire(request))
        assert error.metadata["field"] == "session_secret"
        assert "short" not in error.message
        assert not site.runtime.machine.totals.grants


async def test_stale_and_foreign_tokens_are_refused() -> None:
    async with running() as site:
        token = await held_by(site, "AGV_1", "A")
        for agent_id, wrong, reason in (("AGV_1", token + 99, "STALE_TOKEN"), ("AGV_2", token, "NOT_HOLDER")):
            request = zpb.ReleaseRequest(agent_id=agent_id, session_secret=SECRET, release=zpb.Release(token=wrong))
            assert (await refused(site.zones.Release(request))).reason == reason


async def test_get_floor_returns_the_map_and_list_zones_what_is_named() -> None:
    async with running() as site:
        floor = (await site.zones.GetFloor(zpb.GetFloorRequest())).floor
        assert (floor.hash, floor.width, floor.height, floor.cell_mm) == (site.floor.hash, 5, 2, 1_000)
        assert [zone.name for zone in floor.zones] == ["A", "B", "C", "D", "R"]
        assert [(cell.x, cell.y) for cell in floor.zones[2].cells] == [(2, 0), (3, 0)]
        await held_by(site, "AGV_1", "A")
        every = await site.zones.ListZones(zpb.ListZonesRequest())
        assert [zone.name for zone in every.zones] == ["A", "B", "C", "D", "R"]
        area = await site.zones.ListZones(zpb.ListZonesRequest(names=["north", "A"]))
        assert [zone.name for zone in area.zones] == ["A", "B", "C", "D"]
        assert area.zones[0].occupants[0].agent_id == "AGV_1"
        error = await refused(site.zones.ListZones(zpb.ListZonesRequest(names=["A", "Z_99"])))
        assert error.reason == "UNKNOWN_ZONE"
        assert error.metadata["field"] == "names[1]"
        assert error.code is grpc.StatusCode.NOT_FOUND

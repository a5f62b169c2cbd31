from __future__ import annotations

import asyncio
from contextlib import aclosing

import grpc
import pytest
from rpc.site import WAIT_S, Site, ask, greeted, operation, refused, running, until
from zonelock.v1 import floor_pb2 as fpb
from zonelock.v1 import safety_service_pb2 as spb
from zonelock.v1 import zone_service_pb2 as zpb

from coordinator.rpc.server import RpcLimits

Watch = grpc.aio.UnaryStreamCall[zpb.WatchFloorRequest, zpb.WatchFloorResponse]


async def read(watch: Watch) -> zpb.WatchFloorResponse:
    async with asyncio.timeout(WAIT_S):
        update = await watch.read()
    assert isinstance(update, zpb.WatchFloorResponse), await watch.code()
    return update


async def read_until_zone(watch: Watch, name: str, state: fpb.ZoneState.ValueType) -> zpb.WatchFloorResponse:
    while True:
        update = await read(watch)
        if any(zone.name == name and zone.state == state for zone in update.zones):
            return update


async def read_to_the_end(watch: Watch) -> None:
    while isinstance(await watch.read(), zpb.WatchFloorResponse):
        pass


def watch_floor(site: Site, min_interval_ms: int = 0) -> Watch:
    return site.zones.WatchFloor(zpb.WatchFloorRequest(min_interval_ms=min_interval_ms))


async def test_a_watch_opens_with_the_whole_picture_and_goes_on_with_changes_alone() -> None:
    async with running() as site:
        watch = watch_floor(site)
        whole = await read(watch)
        assert whole.snapshot
        assert [zone.name for zone in whole.zones] == ["A", "B", "C", "D", "R"]
        assert {zone.state for zone in whole.zones} == {fpb.ZONE_STATE_FREE}
        assert (whole.floor_hash, whole.epoch) == (site.floor.hash, site.runtime.epoch)
        client = await greeted(site, "AGV_1", "AGV_2")
        await client.send(ask("AGV_1", "r1", "A"), ask("AGV_2", "r2", "A", "B"))
        update = await read_until_zone(watch, "A", fpb.ZONE_STATE_HELD)
        assert not update.snapshot
        assert "D" not in {zone.name for zone in update.zones}
        while not update.waits_changed:
            update = await read(watch)
        assert [(w.agent_id, list(w.zones), w.blockers[0].agent_id) for w in update.waits] == [
            ("AGV_2", ["A", "B"], "AGV_1")
        ]
        assert update.totals.live_grants == 1
        assert update.totals.commits > 0
        watch.cancel()


async def test_agents_positions_stops_and_departures_are_watched() -> None:
    async with running() as site:
        watch = watch_floor(site)
        client = await greeted(site, "AGV_1")
        at = zpb.Telemetry(has_position=True, x_mm=1_500, y_mm=500, heading_mdeg=90_000, activity="driving")
        await client.send(operation("AGV_1", telemetry=at))
        seen: dict[str, fpb.AgentView] = {}
        while not seen.get("AGV_1", fpb.AgentView()).has_position:
            seen.update({agent.agent_id: agent for agent in (await read(watch)).agents})
        agent = seen["AGV_1"]
        assert (agent.x_mm, agent.y_mm, agent.heading_mdeg, agent.activity) == (1_500, 500, 90_000, "driving")
        assert list(agent.inside_zones) == ["B"]
        assert agent.link == fpb.LINK_STATE_CONNECTED
        await site.safety.TripStop(spb.TripStopRequest(operator="Ada", reason="r", zone="D", stop_id="s1"))
        update = await read_until_zone(watch, "D", fpb.ZONE_STATE_STOPPED)
        assert [(stop.stop_id, stop.active) for stop in update.stops] == [("s1", True)]
        await site.safety.ResetStop(spb.ResetStopRequest(operator="Ada", reason="r", stop_ids=["s1"]))
        update = await read_until_zone(watch, "D", fpb.ZONE_STATE_FREE)
        assert [(stop.stop_id, stop.active) for stop in update.stops] == [("s1", False)]
        await client.send(operation("AGV_1", goodbye=zpb.Goodbye()))
        while not seen["AGV_1"].removed:
            seen.update({agent.agent_id: agent for agent in (await read(watch)).agents})
        watch.cancel()


async def test_held_zones_are_sent_again_so_that_running_times_stay_right() -> None:
    async with running(RpcLimits(refresh_ms=200)) as site:
        client = await greeted(site, "AGV_1")
        await client.send(ask("AGV_1", "r1", "A"))
        await client.answer("granted")
        watch = watch_floor(site)
        left: list[int] = []
        while len(left) < 4:
            zones = (await read(watch)).zones
            left.extend(zone.occupants[0].remaining_ms for zone in zones if zone.name == "A" and zone.occupants)
        assert left == sorted(left, reverse=True)
        assert left[-1] < left[0]
        watch.cancel()


async def test_a_late_subscriber_gets_the_present_state_once_and_not_a_pile() -> None:
    async with running(RpcLimits(watch_interval_ms=20)) as site, aclosing(site.server.feed.subscribe()) as updates:
        assert (await anext(updates)).snapshot
        client = await greeted(site, "AGV_1")
        for i in range(20):
            await client.send(ask("AGV_1", f"r{i}", "A"))
            token = (await client.answer("granted")).granted.token
            await client.send(operation("AGV_1", release=zpb.Release(token=token)))
            await client.answer("released")
            await asyncio.sleep(0.02)  # a beat or two each: a pile for whoever does not read
        update = await anext(updates)
        assert not update.snapshot
        assert [(zone.name, zone.state) for zone in update.zones] == [("A", fpb.ZONE_STATE_FREE)]
        assert update.totals.grants == 20


async def test_watchers_that_keep_up_share_one_message() -> None:
    async with running() as site:
        feed = site.server.feed
        async with aclosing(feed.subscribe()) as one, aclosing(feed.subscribe()) as other:
            await anext(one)
            await anext(other)
            pending = asyncio.gather(anext(one), anext(other))
            await greeted(site, "AGV_1")
            first, second = await pending
            assert first is second
            assert [agent.agent_id for agent in first.agents] == ["AGV_1"]


async def test_a_client_s_minimum_interval_is_kept() -> None:
    async with running(RpcLimits(watch_interval_ms=20)) as site:
        watch = watch_floor(site, min_interval_ms=400)
        await read(watch)
        started = asyncio.get_running_loop().time()
        client = await greeted(site, "AGV_1")
        await client.send(ask("AGV_1", "r1", "A"))
        await read_until_zone(watch, "A", fpb.ZONE_STATE_HELD)
        assert asyncio.get_running_loop().time() - started > 0.3
        watch.cancel()


async def test_a_standby_s_watch_begins_when_it_leads_and_begins_anew_after_a_reload() -> None:
    async with running(lead=False) as site:
        watch = watch_floor(site)
        await until(lambda: site.server.feed.watchers == 1)
        lead = asyncio.create_task(site.runtime.run())
        assert (await read(watch)).snapshot
        before = site.runtime.machine
        site.store.uncertain_once = True
        await until(lambda: site.runtime.machine is not before)
        while not (await read(watch)).snapshot:
            pass
        watch.cancel()
        lead.cancel()
        await asyncio.gather(lead, return_exceptions=True)


async def test_changes_do_not_pile_up_while_nobody_watches() -> None:
    async with running(RpcLimits(watch_interval_ms=20)) as site:
        client = await greeted(site, "AGV_1")
        await client.send(ask("AGV_1", "r1", "A"))
        await client.answer("granted")
        await until(lambda: not site.runtime.machine._changes.zones)


async def test_watches_are_bounded_in_number_and_given_back() -> None:
    async with running(RpcLimits(watchers=1)) as site:
        watch = watch_floor(site)
        await read(watch)
        second = watch_floor(site)
        error = await refused(second.read())
        assert (error.code, error.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL")
        watch.cancel()
        await until(lambda: site.server.feed.watchers == 0)
        third = watch_floor(site)
        assert (await read(third)).snapshot
        third.cancel()


@pytest.mark.parametrize("interval_ms", [-1, 60_001])
async def test_an_interval_out_of_range_is_refused(interval_ms: int) -> None:
    async with running() as site:
        error = await refused(watch_floor(site, interval_ms).read())
        assert error.metadata["field"] == "min_interval_ms"


async def test_a_watch_ends_with_a_retry_when_the_coordinator_stops() -> None:
    async with running() as site:
        watch = watch_floor(site)
        await read(watch)
        stopping = asyncio.create_task(site.server.stop(1.0))
        assert (await refused(read_to_the_end(watch))).reason == "NOT_LEADER"
        await stopping


async def test_a_watcher_that_never_reads_is_ended_and_its_place_given_back() -> None:
    async with running(RpcLimits(write_stall_ms=100)) as site:

        class Stalled:
            """A call whose transport takes nothing more."""

            async def send_initial_metadata(self, metadata: object) -> None:
                pass

            async def write(self, message: object) -> None:
                await asyncio.Event().wait()

            async def abort(self, code: grpc.StatusCode, message: str, trailer: object) -> None:
                ended.append(code)
                raise grpc.aio.AbortError

        ended: list[grpc.StatusCode] = []
        with pytest.raises(grpc.aio.AbortError):
            await site.server._zones.WatchFloor(zpb.WatchFloorRequest(), Stalled())
        assert ended == [grpc.StatusCode.RESOURCE_EXHAUSTED]
        assert site.server.tally.refusals == {"SLOW_READER": 1}
        assert site.server.feed.watchers == 0

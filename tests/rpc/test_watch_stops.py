"""Stops are heard at every coordinator, leading or not, and a leader records the one that it never heard of."""

from __future__ import annotations

import asyncio
from typing import Any

from rpc.site import WAIT_S, greeted, operation, refused, running, until
from zonelock.v1 import floor_pb2 as fpb
from zonelock.v1 import safety_service_pb2 as spb
from zonelock.v1 import zone_service_pb2 as zpb


async def heard(watch: Any) -> fpb.Stop:
    async with asyncio.timeout(WAIT_S):
        response = await watch.read()
    stop: fpb.Stop = response.stop
    return stop


async def test_a_watcher_hears_active_stops_first_then_trips_and_resets_with_every_zone_in_scope() -> None:
    async with running() as site:
        await site.safety.TripStop(spb.TripStopRequest(operator="Ada", reason="smoke", zone="D", stop_id="s1"))
        watch = site.safety.WatchStops(spb.WatchStopsRequest())
        first = await heard(watch)
        assert (first.stop_id, list(first.zones), first.active) == ("s1", ["D"], True)
        await site.safety.TripStop(spb.TripStopRequest(operator="Ada", reason="drill", floor=True, stop_id="s2"))
        assert sorted((await heard(watch)).zones) == ["A", "B", "C", "D", "R"]
        await site.safety.ResetStop(spb.ResetStopRequest(operator="Ada", reason="over", stop_ids=["s1"]))
        ended = await heard(watch)
        assert (ended.stop_id, ended.active) == ("s1", False)
        watch.cancel()
        await until(lambda: not site.runtime.on_stop)


async def test_a_standby_passes_a_stop_on_to_whoever_watches_it_and_says_that_it_is_not_recorded() -> None:
    async with running(lead=False) as site:
        watch = site.safety.WatchStops(spb.WatchStopsRequest())
        await until(lambda: bool(site.runtime.on_stop))
        request = spb.TripStopRequest(operator="Ada", reason="smoke", zone="D", stop_id="s1")
        told = await refused(site.safety.TripStop(request))
        assert told.reason == "COMMIT_UNCERTAIN"
        stop = await heard(watch)
        assert (stop.stop_id, list(stop.zones), stop.tripped_by) == ("s1", ["D"], "Ada")
        wrong = await refused(site.safety.TripStop(spb.TripStopRequest(operator="Ada", reason="x", zone="nowhere")))
        assert wrong.reason == "BAD_SCOPE"
        watch.cancel()


async def test_a_leader_records_a_stop_that_only_its_agent_heard_of() -> None:
    async with running() as site:
        client = await greeted(site, "AGV_1")
        await client.send(operation("AGV_1", stop_ack=zpb.StopAck(stop_ids=["s1"])))
        await until(lambda: [s.stop_id for s in site.runtime.known_stops()] == ["s1"])
        [stop] = (await site.safety.ListStops(spb.ListStopsRequest())).stops
        assert (stop.tripped_by, list(stop.acknowledged_by)) == ("AGV_1", ["AGV_1"])

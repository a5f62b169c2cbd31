"""Three coordinators on three etcd members: any one of them dies, freezes or leaves, and the agents carry on.

Real processes and real signals. The agents do nothing about it: the SDK does. `Crew` keeps the books.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from zonelock_client import Operator, RequestError
from zonelock_sim.cluster import LocalCluster

from chaos.live.crew import Crew, at_work, change_of_leader, describe, leader_of, settled, write_floor


@pytest.fixture
async def cluster(tmp_path: Path, etcd_binary: Path) -> AsyncIterator[LocalCluster]:
    async with LocalCluster(write_floor(tmp_path)) as local:
        yield local


@pytest.mark.timeout(120)
async def test_agents_carry_on_when_the_leader_is_killed_twice(cluster: LocalCluster) -> None:
    async with at_work(cluster) as crew:
        for _ in range(2):
            leader = await settled(cluster)
            os.kill(cluster.pid(leader), signal.SIGKILL)
            await cluster.stop_coordinator(leader)
            await change_of_leader(cluster, leader)
            await crew.granted(50)
            await cluster.start_coordinator(leader)


@pytest.mark.timeout(120)
async def test_a_leader_that_is_told_to_end_hands_over_at_once(cluster: LocalCluster) -> None:
    async with at_work(cluster) as crew:
        leader = await settled(cluster)
        os.kill(cluster.pid(leader), signal.SIGTERM)
        await change_of_leader(cluster, leader)
        await crew.granted(50)
        process = cluster.places[leader].process
        assert process is not None
        await asyncio.wait_for(process.ended(), 30)
        assert process.exit_code == 0


@pytest.mark.timeout(120)
async def test_a_frozen_leader_falls_and_a_thawed_one_stands_by(cluster: LocalCluster) -> None:
    async with at_work(cluster) as crew:
        leader = await settled(cluster)
        os.kill(cluster.pid(leader), signal.SIGSTOP)
        try:
            await change_of_leader(cluster, leader)
            await crew.granted(50)
        finally:
            os.kill(cluster.pid(leader), signal.SIGCONT)
        # Thawed, it must find out that it does not lead before it grants or acknowledges anything.
        thawed = cluster.places[leader]
        while (await describe(thawed.listen)).leader_name == thawed.name:  # noqa: ASYNC110 - another process is asked
            await asyncio.sleep(0.02)
        await crew.granted(50)
        assert await leader_of(cluster) != leader


@pytest.mark.timeout(120)
async def test_agents_carry_on_when_the_etcd_member_that_leads_is_killed(cluster: LocalCluster) -> None:
    async with at_work(cluster) as crew:
        seen = await describe(cluster.places[await settled(cluster)].listen)
        member = next(i for i, m in enumerate(seen.store_members) if m.leads)
        cluster.etcd.kill(member)
        await crew.granted(50)
        await cluster.etcd.restart(member)
        await crew.granted(50)


@pytest.mark.timeout(120)
async def test_operators_are_served_by_a_standby_through_the_leader(cluster: LocalCluster) -> None:
    leader = await settled(cluster)
    standby = cluster.places[(leader + 1) % 3]
    async with Operator(standby.listen, operator="mara") as beside:
        stop = await beside.trip_stop("smoke", zone="Z_03")
        assert stop.active
        with pytest.raises(RequestError) as refused:
            await beside.reset(["no-such-stop"], "looked")
        assert refused.value.reason == "UNKNOWN_STOP"
        ended = await beside.reset([stop.stop_id], "looked: nothing burns")
        assert [s.active for s in ended] == [False]
        with pytest.raises(RequestError) as elsewhere:
            await beside.stops()
        assert elsewhere.value.reason == "NOT_LEADER"
        assert elsewhere.value.metadata["leader"] == cluster.places[leader].listen


@pytest.mark.slow
@pytest.mark.timeout(280)
async def test_a_rolling_restart_of_all_six_processes_loses_nothing_and_stops_nothing(cluster: LocalCluster) -> None:
    async with at_work(cluster) as crew:
        for index in range(3):
            await settled(cluster)
            await cluster.stop_coordinator(index)
            await crew.granted(20)
            await cluster.start_coordinator(index)
            await crew.granted(20)
            cluster.etcd.kill(index)
            await crew.granted(20)
            await cluster.etcd.restart(index)
            await crew.granted(20)


async def test_a_crew_notices_when_two_are_let_into_one_zone() -> None:
    crew = Crew("nowhere:1")
    crew._enter("A", ("Z_00",), 5)
    with pytest.raises(AssertionError, match="with A inside"):
        crew._enter("B", ("Z_00",), 6)

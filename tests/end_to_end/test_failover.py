"""Three coordinators on three etcd members: any one of them dies, freezes or leaves, and the agents carry on.

Real processes and real signals. The agents do nothing about it: the SDK does. `Crew` keeps the books.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from etcd_cluster import make_space
from zonelock_client import LinkLost, Operator, RequestError, connect
from zonelock_sim.cluster import LocalCluster

from chaos.check import judge
from chaos.live.crew import Crew, at_work, change_of_leader, describe, leader_of, settled, way_to_etcd, write_floor
from coordinator.store import etcd_txn
from coordinator.store.etcd_client import EtcdClient
from coordinator.store.etcdpb import rpc_pb2
from coordinator.store.port import StoreUnavailable


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


@pytest.mark.timeout(120)
async def test_a_leader_whose_requests_no_longer_reach_etcd_falls_and_its_late_ones_change_nothing(
    tmp_path: Path, etcd_binary: Path
) -> None:
    """What it sent waits in the network and arrives after another has taken over: only the fence keeps that out."""
    cluster = LocalCluster(write_floor(tmp_path))
    await cluster.start_etcd()
    async with way_to_etcd(cluster) as relays:
        try:
            await cluster.start()
            async with at_work(cluster) as crew:
                leader = await settled(cluster)
                for relay in relays[leader]:
                    relay.hold()
                await change_of_leader(cluster, leader)
                await crew.granted(50)
                for relay in relays[leader]:
                    relay.let_through()
                await crew.granted(50)
                assert await settled(cluster) != leader
        finally:
            await cluster.stop()


@pytest.mark.slow
@pytest.mark.timeout(280)
async def test_a_full_etcd_grants_nothing_stops_all_the_same_and_goes_on_when_it_has_space(
    tmp_path: Path, etcd_binary: Path
) -> None:
    flags = ("--quota-backend-bytes", "25000000")
    async with LocalCluster(write_floor(tmp_path), etcd_flags=flags) as cluster:
        leader = cluster.places[await settled(cluster)].listen
        halted = asyncio.Event()
        async with (
            connect(cluster.target, agent_id="A", on_halt=lambda halt: halted.set()) as agent,
            Operator(leader, operator="mara") as operator,
        ):
            held = await agent.acquire("Z_00", expected_ms=50_000)
            await fill(cluster.etcd.endpoints)
            with pytest.raises(RequestError) as refused:
                await operator.trip_stop("smoke", zone="Z_00")
            assert refused.value.reason == "COMMIT_UNCERTAIN"  # it left; nobody can say that it is durable
            await halted.wait()
            assert await held.lost == "stopped"
            with pytest.raises(LinkLost, match="alarm disarm"):
                await connect(leader, agent_id="B", connect_timeout_s=5)
            await make_space(cluster.etcd.endpoints)
            await reset_all(cluster)
            await agent.stop_cleared()
            grant = await agent.acquire("Z_00", expected_ms=50_000)
            await grant.cleared()


async def reset_all(cluster: LocalCluster) -> None:
    """As soon as somebody leads again and every agent in scope has been heard."""
    async with Operator(cluster.target, operator="mara") as operator:
        while True:
            with suppress(RequestError):
                stops = await operator.stops()
                await operator.reset([stop.stop_id for stop in stops], "looked: nothing burns")
                return
            await asyncio.sleep(0.1)


async def fill(endpoints: list[str]) -> None:
    """Rewrites a foreign key until etcd refuses: all history, which a compaction drops."""
    client = EtcdClient(endpoints)
    try:
        for _ in range(100):
            put = etcd_txn.put(b"ballast", b"x" * 900_000)
            await client.txn(rpc_pb2.TxnRequest(success=[put]), repeatable=True)
    except StoreUnavailable:
        return
    finally:
        await client.close()


@pytest.mark.slow
@pytest.mark.timeout(280)
async def test_a_rolling_restart_of_all_six_processes_loses_nothing_and_stops_nothing(
    tmp_path: Path, etcd_binary: Path
) -> None:
    """Every agent goes on after each step, no stop is caused, and the checkers find nothing in the history."""
    async with LocalCluster(write_floor(tmp_path), history=tmp_path) as cluster:
        async with at_work(cluster, agents=16) as crew:
            for index in range(3):
                await settled(cluster)
                await cluster.stop_coordinator(index)
                await crew.each_granted(3)
                await cluster.start_coordinator(index)
                await crew.each_granted(3)
                cluster.etcd.kill(index)
                await crew.each_granted(3)
                await cluster.etcd.restart(index)
                await crew.each_granted(3)
        names = [place.name for place in cluster.places]
    verdict = await asyncio.to_thread(judge, "rolling restart", (), [f"{tmp_path}/{name}.jsonl" for name in names])
    assert not verdict.problem
    assert sum(verdict.kinds.values()) > 1_000, verdict.kinds
    assert verdict.violations == ()


async def test_a_crew_notices_when_two_are_let_into_one_zone() -> None:
    crew = Crew("nowhere:1")
    crew._enter("A", ("Z_00",), 5)
    with pytest.raises(AssertionError, match="with A inside"):
        crew._enter("B", ("Z_00",), 6)

"""Claims over the wire: rings are told, sidings named, the idle asked to yield, ways planned. A real coordinator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from zonelock_client import Agent, ArgumentError, GrantRejected, RequestError, connect
from zonelock_client.testing import TestServer

AISLE = """
format: zonelock.floor/1
site: aisle
version: 1
cell_mm: 1000
grid: |
  .....
  @.@@@
zone_per_cell: {prefix: Z}
agent_kinds:
  agv: {speed_mm_s: 500, braking_mm_s2: 1000, length_mm: 600, width_mm: 600}
"""
"""Five cells in a row, and a siding below the second."""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TestServer]:
    plan = tmp_path / "aisle.yaml"
    plan.write_text(AISLE)
    async with TestServer(plan) as server:
        yield server


async def standing(server: TestServer, name: str, zone: str) -> Agent:
    return await connect(server.target, agent_id=name, agent_kind="agv", standing_zones=[zone], stop_ms=50)


async def step(agent: Agent, zone: str, leaves: str) -> None:
    """Into the next zone and out of the one before, whose residue the ask converts where need be."""
    behind = [leaves] if not any(leaves in grant.zones for grant in agent.grants) else []
    grant = await agent.acquire(zone, *behind, expected_ms=10_000, timeout_s=5)
    for held in agent.grants:
        if leaves in held.zones:
            await held.cleared(leaves)
    assert zone in grant.zones


async def answered(*agents: Agent) -> None:
    """Waits until the coordinator has spoken about everybody's claim: they come over different streams."""
    async with asyncio.timeout(5):
        while any(agent.can_finish is None for agent in agents):  # noqa: ASYNC110  the SDK keeps no event for it
            await asyncio.sleep(0.01)


async def test_two_that_must_swap_are_told_the_ring_and_one_draws_back(server: TestServer) -> None:
    async with await standing(server, "AGV_1", "Z_1_0") as one, await standing(server, "AGV_2", "Z_4_0") as two:
        one.claim("Z_2_0", "Z_3_0", "Z_4_0")
        two.claim("Z_3_0", "Z_2_0", "Z_1_0", "Z_0_0")
        await answered(one, two)
        with pytest.raises(GrantRejected) as told:
            await one.acquire("Z_2_0", "Z_1_0", expected_ms=5_000, timeout_s=5)
        assert told.value.reason == "WOULD_DEADLOCK"
        assert "AGV_1 holds Z_1_0 and needs Z_4_0" in told.value.message
        assert told.value.retreat_zone == "Z_1_1"
        one.claim(told.value.retreat_zone)
        await step(one, "Z_1_1", "Z_1_0")
        for before, zone in (("Z_4_0", "Z_3_0"), ("Z_3_0", "Z_2_0"), ("Z_2_0", "Z_1_0"), ("Z_1_0", "Z_0_0")):
            await step(two, zone, before)
        one.claim("Z_1_0", "Z_2_0")
        await step(one, "Z_1_0", "Z_1_1")
        assert one.can_finish
        for agent in (one, two):
            for grant in agent.grants:
                await grant.cleared()


async def test_an_idle_agent_in_the_way_is_asked_to_yield(server: TestServer) -> None:
    asked: asyncio.Queue[str] = asyncio.Queue()
    async with await standing(server, "AGV_1", "Z_2_0") as idle, await standing(server, "AGV_2", "Z_4_0") as bound:
        idle.on_yield(asked.put_nowait)
        idle.claim()
        bound.claim("Z_3_0", "Z_2_0", "Z_1_0", "Z_0_0")
        async with asyncio.timeout(5):
            refuge = await asked.get()
        assert refuge == "Z_1_1"


async def test_the_claim_is_said_again_after_its_grants_only_for_what_is_left(server: TestServer) -> None:
    async with await standing(server, "AGV_1", "Z_4_0") as agent:
        agent.claim("Z_3_0", "Z_2_0", "Z_1_0")
        await step(agent, "Z_3_0", "Z_4_0")
        assert agent.core.route is not None
        assert agent.core.route.zones == ("Z_2_0", "Z_1_0")
        for grant in agent.grants:
            await grant.cleared()


async def test_a_claim_of_too_many_zones_is_refused_at_once(server: TestServer) -> None:
    async with await standing(server, "AGV_1", "Z_4_0") as agent:
        with pytest.raises(ArgumentError, match="2000"):
            agent.claim(*["Z_3_0"] * 2_001)


async def test_ways_are_planned_by_travel_time_and_around_what_is_blocked(server: TestServer) -> None:
    async with await standing(server, "AGV_1", "Z_2_0"):
        calls = server.operator()
        (way, *_) = await calls.plan_route("Z_0_0", "Z_1_1", agent_kind="agv")
        assert list(way.zones) == ["Z_1_0", "Z_1_1"]
        assert (way.travel_ms, way.wait_ms) == (4_000, 0)
        assert await calls.plan_route("Z_0_0", "Z_4_0") == []
        assert len(await calls.plan_route("Z_2_0", "Z_4_0", agent_id="AGV_1")) == 1
        with pytest.raises(RequestError, match="UNKNOWN_ZONE"):
            await calls.plan_route("Z_0_0", "nowhere")

"""Proving to a real coordinator that the machine has left zones that it still blocks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from client.floor_view import shown, until_shown
from zonelock_client import (
    ArgumentError,
    GrantLost,
    LinkLost,
    OperatorRequired,
    RequestError,
    StillInside,
    connect,
)
from zonelock_client.testing import FLOOR, TestServer

from chaos.live.relay import Relay


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TestServer]:
    """West may be proven empty by its last holder; everywhere else a person looks."""
    floor = tmp_path / "floor.yaml"
    text = FLOOR.replace("Z_31: {", "Z_31: {vacancy: holder, ").replace("Z_32: {", "Z_32: {vacancy: holder, ")
    floor.write_text(text, "utf-8")
    async with TestServer(floor, check_invariants=True) as server:
        yield server


class Contour:
    """A laser scanner that counts how often it was asked."""

    def __init__(self, *inside: str) -> None:
        self.inside = inside
        self.measured = 0

    def __call__(self) -> tuple[str, ...]:
        self.measured += 1
        return self.inside


async def test_an_abandoned_zone_is_free_once_its_holder_proved_that_it_left(server: TestServer) -> None:
    async with connect(server.target, agent_id="A") as agent:
        async with agent.hold("Z_31", "Z_32", expected_ms=20_000) as grant:
            await grant.cleared("Z_32")
        await until_shown(server, "Z_31", "BLOCKED ABANDONED")
        contour = Contour("Z_32")
        await grant.prove_left(contour)
        assert await shown(server, "Z_31") == "FREE"
        assert contour.measured >= 3
        assert grant.zones == ()
        await grant.prove_left(contour)  # nothing left to prove


async def test_the_apps_own_fresh_reports_prove_it_as_well(server: TestServer) -> None:
    async with connect(server.target, agent_id="A") as agent:
        grant = await agent.acquire("Z_31", expected_ms=20_000)
        await grant.park()

        async def keep_reporting() -> None:
            while True:
                agent.report(inside=[], activity="driving away")
                await asyncio.sleep(0.03)

        reporting = asyncio.create_task(keep_reporting())
        await grant.prove_left()
        reporting.cancel()
        assert await shown(server, "Z_31") == "FREE"


async def test_a_silent_app_proves_nothing(server: TestServer) -> None:
    async with connect(server.target, agent_id="A") as agent:
        grant = await agent.acquire("Z_31", expected_ms=20_000)
        await grant.abandon()
        agent.report(inside=[])  # before the nonce
        with pytest.raises(TimeoutError):
            await grant.prove_left(timeout_s=0.5)
        assert await shown(server, "Z_31") == "BLOCKED ABANDONED"


async def test_an_overdue_zone_is_free_after_the_proof_and_the_stop_stays(server: TestServer) -> None:
    stopped = asyncio.Event()
    async with connect(server.target, agent_id="A", on_stop=lambda stop: stopped.set()) as agent:
        with pytest.raises(GrantLost):
            async with agent.hold("Z_31", expected_ms=1_000, timeout_s=20) as grant:
                await asyncio.Event().wait()
        await stopped.wait()
        await grant.prove_left(Contour())
        assert await shown(server, "Z_31") == "STOPPED"
        await server.reset()
        assert await shown(server, "Z_31") == "FREE"


async def test_a_grant_that_only_its_holder_gave_up_is_simply_given_back(server: TestServer) -> None:
    async with connect(server.target, agent_id="A", stop_ms=10_000) as agent:
        with pytest.raises(GrantLost):
            async with agent.hold("Z_31", expected_ms=10_500) as grant:
                await asyncio.Event().wait()
        await grant.prove_left(Contour())
        assert await shown(server, "Z_31") == "FREE"
        async with server.operator() as operator:
            assert await operator.stops() == []


async def test_one_report_from_inside_ends_the_proof(server: TestServer) -> None:
    async with connect(server.target, agent_id="A") as agent:
        grant = await agent.acquire("Z_31", expected_ms=20_000)
        await grant.abandon()
        with pytest.raises(StillInside, match="Z_31"):
            await grant.prove_left(Contour("Z_31", "Z_32"))
        assert await shown(server, "Z_31") == "BLOCKED ABANDONED"
        await grant.prove_left(Contour("Z_32"))
        assert await shown(server, "Z_31") == "FREE"


async def test_where_the_floor_wants_a_person_the_error_says_so(server: TestServer) -> None:
    async with connect(server.target, agent_id="A") as agent:
        grant = await agent.acquire("Z_31", "Z_41", expected_ms=20_000)
        await grant.abandon()
        with pytest.raises(OperatorRequired, match="zonelock clear Z_41") as caught:
            await grant.prove_left(Contour())
        assert caught.value.zones == ("Z_41",)
        await server.clear("Z_41")
        await grant.prove_left(Contour())
        assert await shown(server, "Z_31") == "FREE"


async def test_a_live_grant_is_given_back_and_not_proven_empty(server: TestServer) -> None:
    async with connect(server.target, agent_id="A") as agent:
        grant = await agent.acquire("Z_31", expected_ms=20_000)
        with pytest.raises(ArgumentError, match="cleared"):
            await grant.prove_left(Contour())
        with pytest.raises(OperatorRequired, match="nothing to prove"):
            await agent.prove_vacancy(grant.token, contour=Contour())
        await grant.cleared()


async def test_zones_that_a_person_cleared_meanwhile_end_the_proof(server: TestServer) -> None:
    async with connect(server.target, agent_id="A") as agent:
        grant = await agent.acquire("Z_31", expected_ms=20_000)
        await grant.abandon()
        proving = asyncio.create_task(grant.prove_left())
        await server.clear("Z_31")
        while not proving.done():
            agent.report(inside=[])
            await asyncio.sleep(0.02)
        await proving


async def test_a_contour_that_cannot_be_measured_ends_the_proof_with_its_error(server: TestServer) -> None:
    async def broken() -> list[str]:
        raise OSError("the scanner is dirty")

    async with connect(server.target, agent_id="A") as agent:
        grant = await agent.acquire("Z_31", expected_ms=20_000)
        await grant.abandon()
        with pytest.raises(OSError, match="scanner"):
            await grant.prove_left(broken)
        agent.report(inside=[])
        assert await shown(server, "Z_31") == "BLOCKED ABANDONED"


async def test_a_proof_survives_a_broken_link(server: TestServer) -> None:
    moved = asyncio.Event()
    async with (
        Relay(server.target) as relay,
        connect(relay.target, agent_id="A", on_link=lambda state: moved.set()) as agent,
    ):
        grant = await agent.acquire("Z_31", expected_ms=20_000)
        await grant.abandon()
        measured = asyncio.Event()

        async def contour() -> list[str]:
            if not measured.is_set():
                measured.set()
                moved.clear()
                relay.cut()
                await moved.wait()
            return []

        await grant.prove_left(contour)
        assert await shown(server, "Z_31") == "FREE"


async def test_a_later_process_with_the_same_secret_can_prove_it(server: TestServer) -> None:
    agent = await connect(server.target, agent_id="A")
    grant = await agent.acquire("Z_31", expected_ms=20_000)
    await agent.close()
    async with connect(server.target, agent_id="A", session_secret=agent.session_secret) as again:
        await again.prove_vacancy(grant.token, zones=grant.zones, contour=Contour())
    assert await shown(server, "Z_31") == "FREE"


async def test_another_session_proves_nothing(server: TestServer) -> None:
    agent = await connect(server.target, agent_id="A")
    grant = await agent.acquire("Z_31", expected_ms=20_000)
    await agent.close()
    async with connect(server.target, agent_id="A") as other:
        with pytest.raises(RequestError) as caught:
            await other.prove_vacancy(grant.token, contour=Contour())
        assert caught.value.reason == "NOT_HOLDER"
    await until_shown(server, "Z_31", "BLOCKED ABANDONED")


async def test_closing_the_agent_ends_a_proof(server: TestServer) -> None:
    async with connect(server.target, agent_id="A") as agent:
        grant = await agent.acquire("Z_31", expected_ms=20_000)
        await grant.abandon()
        proving = asyncio.create_task(grant.prove_left())
        await asyncio.sleep(0.05)
        await agent.close()
        with pytest.raises(LinkLost):
            await proving

"""A grant that an operator takes back: the machine halts, and the coordinator hears what became of the zones."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest
from client.floor_view import shown, until_shown
from zonelock_client import ArgumentError, GrantLost, Halt, RequestError, connect
from zonelock_client.testing import TestServer


@pytest.fixture
async def server() -> AsyncIterator[TestServer]:
    async with TestServer(check_invariants=True) as server:
        yield server


async def revoke(server: TestServer, agent_id: str = "A") -> list[int]:
    async with server.operator("mara") as operator:
        return await operator.revoke(agent_id=agent_id, reason="make way for the tugger")


async def test_a_revoked_agent_halts_and_then_says_that_it_stands(server: TestServer) -> None:
    halted = threading.Event()
    go_on = threading.Event()

    def on_halt(halt: Halt) -> None:
        assert halt.reason == "revoked"
        halted.set()
        assert go_on.wait(20)

    async with connect(server.target, agent_id="A", on_halt=on_halt) as agent:
        grant = await agent.acquire("Z_31", expected_ms=20_000)
        assert await revoke(server) == [grant.token]
        assert await grant.lost == "revoked"
        assert "mara" in grant.lost_message and "make way for the tugger" in grant.lost_message
        assert not grant.may_move()
        await asyncio.to_thread(halted.wait, 20)
        assert await shown(server, "Z_31") == "HELD"  # the motion stop has not returned: nothing is confirmed
        go_on.set()
        await until_shown(server, "Z_31", "BLOCKED STOPPED")
        async with server.operator() as operator:
            assert await operator.stops() == []


async def test_a_revoked_block_ends_in_grant_lost_and_its_end_is_the_confirmation(server: TestServer) -> None:
    async with connect(server.target, agent_id="A") as agent:
        inside = asyncio.Event()

        async def work() -> None:
            async with agent.hold("Z_31", expected_ms=20_000):
                inside.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await inside.wait()
        await revoke(server)
        with pytest.raises(GrantLost, match="make way for the tugger") as caught:
            await task
        assert caught.value.reason == "revoked"
        await until_shown(server, "Z_31", "BLOCKED STOPPED")


async def test_a_revoked_agent_that_gives_the_zone_back_itself_leaves_it_free(server: TestServer) -> None:
    def on_halt(_: Halt) -> None:
        assert gone.wait(20)

    gone = threading.Event()
    async with connect(server.target, agent_id="A", on_halt=on_halt) as agent:
        grant = await agent.acquire("Z_31", expected_ms=20_000)
        await revoke(server)
        await grant.lost
        await grant.cleared()
        gone.set()
        assert await shown(server, "Z_31") == "FREE"


async def test_a_release_that_is_contradicted_becomes_a_standstill_after_all(server: TestServer) -> None:
    released = threading.Event()

    def on_halt(_: Halt) -> None:
        assert released.wait(20)

    async with connect(server.target, agent_id="A", on_halt=on_halt) as agent:
        grant = await agent.acquire("Z_31", expected_ms=20_000)
        agent.report(inside=["Z_31"])
        await revoke(server)
        await grant.lost
        giving_back = asyncio.create_task(grant.cleared())
        await asyncio.sleep(0)
        released.set()
        with pytest.raises(Exception, match="STILL_INSIDE"):
            await giving_back
        await until_shown(server, "Z_31", "BLOCKED STOPPED")


async def test_nothing_is_confirmed_when_the_motion_stop_fails(
    server: TestServer, caplog: pytest.LogCaptureFixture
) -> None:
    def on_halt(_: Halt) -> None:
        raise OSError("the drive does not answer")

    async with connect(server.target, agent_id="A", on_halt=on_halt) as agent:
        grant = await agent.acquire("Z_31", expected_ms=1_000)
        await revoke(server)
        await grant.lost
        await until_shown(server, "Z_31", "STOPPED OVERDUE")
    assert "nobody says that it stands" in caplog.text


async def test_without_a_motion_stop_or_a_block_the_app_confirms_by_itself(server: TestServer) -> None:
    async with connect(server.target, agent_id="A") as agent:
        grant = await agent.acquire("Z_31", expected_ms=20_000)
        await revoke(server)
        await grant.lost
        assert await shown(server, "Z_31") == "HELD"
        await grant.standing()
        assert await shown(server, "Z_31") == "BLOCKED STOPPED"


async def test_closing_a_revoked_agent_abandons_what_it_has_not_confirmed(server: TestServer) -> None:
    async with connect(server.target, agent_id="A") as agent:
        grant = await agent.acquire("Z_31", expected_ms=20_000)
        await revoke(server)
        await grant.lost
    await until_shown(server, "Z_31", "BLOCKED ABANDONED")


async def test_a_revocation_names_one_target_and_one_that_holds(server: TestServer) -> None:
    async with server.operator() as operator:
        with pytest.raises(ArgumentError, match="exactly one"):
            await operator.revoke(reason="r")
        with pytest.raises(ArgumentError, match="exactly one"):
            await operator.revoke(token=7, agent_id="A", reason="r")
        with pytest.raises(ArgumentError, match="reason"):
            await operator.revoke(token=7, reason=" ")
        with pytest.raises(RequestError) as caught:
            await operator.revoke(token=7, reason="r")
        assert caught.value.reason == "NOTHING_TO_REVOKE"

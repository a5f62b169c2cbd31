"""Emergency stops as an agent lives through them: halted first, acknowledged after, resumed by asking again."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest
from client.floor_view import shown, until, until_acknowledged, until_waiting
from zonelock_client import Agent, GrantLost, GrantRejected, Halt, RequestError, Stop, connect
from zonelock_client.testing import TestServer


@pytest.fixture
async def server() -> AsyncIterator[TestServer]:
    async with TestServer(check_invariants=True) as server:
        yield server


async def hold_for_ever(agent: Agent) -> None:
    async with agent.hold("Z_31", expected_ms=20_000):
        await asyncio.Event().wait()


async def acknowledged(server: TestServer, stop_id: str) -> list[str]:
    async with server.operator() as operator:
        return next(list(s.acknowledged_by) for s in await operator.stops() if s.stop_id == stop_id)


async def test_a_stop_halts_is_acknowledged_reset_and_the_next_ask_takes_the_zone_up_again(server: TestServer) -> None:
    story: list[str] = []

    def on_halt(halt: Halt) -> None:
        story.append(f"halt {halt.reason} on {threading.current_thread().name}")

    async def on_stop(stop: Stop) -> None:
        await asyncio.sleep(0)
        story.append(f"stop {stop.reason}")

    async with connect(server.target, agent_id="A", on_halt=on_halt, on_stop=on_stop) as agent:
        work = asyncio.create_task(hold_for_ever(agent))
        await until(server, lambda p: any("Z_31" in view.held_zones for view in p.agents))
        stop = await server.stop_floor("a person on the floor")
        with pytest.raises(GrantLost) as caught:
            await work
        assert caught.value.reason == "stopped"
        await until_acknowledged(server, stop.stop_id)
        assert sorted(story) == ["halt stopped on zonelock-dead-man", "stop a person on the floor"]
        assert [s.stop_id for s in agent.active_stops] == [stop.stop_id]
        with pytest.raises(GrantRejected, match="latched"):
            await agent.acquire("Z_31", expected_ms=8_000)
        assert await shown(server, "Z_31") == "STOPPED STOPPED"
        await server.reset(stop.stop_id)
        await agent.stop_cleared()
        assert agent.active_stops == ()
        assert await shown(server, "Z_31") == "BLOCKED STOPPED"
        async with agent.hold("Z_31", expected_ms=8_000) as grant:
            await grant.cleared()
    assert await shown(server, "Z_31") == "FREE"


async def refused_reset(server: TestServer) -> str:
    with pytest.raises(RequestError) as caught:
        await server.reset()
    return caught.value.reason


@pytest.mark.parametrize("broken", ["on_halt", "on_stop", "slow on_stop"])
async def test_a_stop_stays_unacknowledged_when_what_halts_the_machine_fails(
    server: TestServer, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    called = asyncio.Event()
    loop = asyncio.get_running_loop()

    def raising(_: object) -> None:
        loop.call_soon_threadsafe(called.set)
        raise OSError("the drive does not answer")

    async def hanging(_: object) -> None:
        called.set()
        await asyncio.Event().wait()

    async with connect(
        server.target,
        agent_id="A",
        on_halt=raising if broken == "on_halt" else None,
        on_stop={"on_stop": raising, "slow on_stop": hanging}.get(broken),
        halt_timeout_s=0.05,
    ) as agent:
        await agent.acquire("Z_31", expected_ms=20_000)
        stop = await server.stop_floor()
        await called.wait()
        await asyncio.sleep(0.2)
        assert await acknowledged(server, stop.stop_id) == []
        assert await refused_reset(server) == "OCCUPANT_UNCONFIRMED"
    assert "halt callback raised" in caplog.text or "stays unacknowledged" in caplog.text


async def test_a_slow_motion_stop_is_acknowledged_when_it_returns_and_not_before(server: TestServer) -> None:
    returned = threading.Event()

    def on_halt(halt: Halt) -> None:
        returned.wait(20)

    async with connect(server.target, agent_id="A", on_halt=on_halt, halt_timeout_s=0.05) as agent:
        await agent.acquire("Z_31", expected_ms=20_000)
        stop = await server.stop_floor()
        await asyncio.sleep(0.2)
        assert await acknowledged(server, stop.stop_id) == []
        returned.set()
        await until_acknowledged(server, stop.stop_id)


async def test_without_callbacks_the_end_of_the_cancelled_block_confirms(server: TestServer) -> None:
    may_end = asyncio.Event()
    async with connect(server.target, agent_id="A") as agent:

        async def work() -> None:
            async with agent.hold("Z_31", expected_ms=20_000):
                try:
                    await asyncio.Event().wait()
                finally:
                    await may_end.wait()  # the controller brings its machine to a stand

        task = asyncio.create_task(work())
        await until(server, lambda p: any("Z_31" in view.held_zones for view in p.agents))
        stop = await server.stop_floor()
        await asyncio.sleep(0.2)
        assert await acknowledged(server, stop.stop_id) == []
        may_end.set()
        with pytest.raises(GrantLost):
            await task
        await until_acknowledged(server, stop.stop_id)


async def test_a_stop_elsewhere_lets_an_agent_carry_on_but_rejects_its_ask_there_until_the_reset(
    server: TestServer,
) -> None:
    async with connect(server.target, agent_id="A") as a, connect(server.target, agent_id="B") as b:
        grant = await a.acquire("Z_31", expected_ms=20_000)
        stop = await b.trip_stop("smoke", zone="Z_41")
        assert stop.tripped_by == "B"
        with pytest.raises(GrantRejected) as caught:
            await a.acquire("Z_42", expected_ms=8_000)
        assert caught.value.reason == "STOPPED"
        assert caught.value.stop_ids == (stop.stop_id,)
        assert grant.may_move()
        waiting = asyncio.create_task(a.stop_cleared())
        await asyncio.sleep(0.05)
        assert not waiting.done()
        await server.reset(stop.stop_id)
        await waiting
        await (await a.acquire("Z_42", expected_ms=8_000)).cleared()
        await grant.cleared()


async def test_a_waiter_is_rejected_by_a_stop_and_may_ask_again_after_it(server: TestServer) -> None:
    async with connect(server.target, agent_id="A") as a, connect(server.target, agent_id="B") as b:
        grant = await a.acquire("Z_31", expected_ms=20_000)
        waiting = asyncio.create_task(b.acquire("Z_31", expected_ms=8_000))
        await until_waiting(server, "B")
        stop = await server.stop_floor()
        with pytest.raises(GrantRejected):
            await waiting
        assert grant.lost_reason == "stopped" or await grant.lost == "stopped"
        await until_acknowledged(server, stop.stop_id)
        await server.reset(stop.stop_id)
        await b.stop_cleared()
        await a.stop_cleared()
        async with a.hold("Z_31", expected_ms=8_000) as again:
            await again.cleared()
        await (await b.acquire("Z_31", expected_ms=8_000)).cleared()

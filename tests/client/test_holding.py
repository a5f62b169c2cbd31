"""Holding zones of a real coordinator: blocks, queues, loss, cancellation, giving back."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator

import pytest
from client.floor_view import shown, until, until_shown
from zonelock.v1 import floor_pb2
from zonelock_client import (
    ArgumentError,
    ExtensionRejected,
    GoodbyeRejected,
    GrantLost,
    GrantRejected,
    Halt,
    LinkLost,
    RequestError,
    StillInside,
    connect,
    connect_fleet,
)
from zonelock_client.testing import TestServer


@pytest.fixture
async def server() -> AsyncIterator[TestServer]:
    async with TestServer(check_invariants=True) as server:
        yield server


async def test_a_hold_that_was_cleared_frees_its_zones(server: TestServer) -> None:
    async with connect(server.target, agent_id="AGV_07") as agent:
        async with agent.hold("Z_31", "Z_32", expected_ms=8_000) as grant:
            assert grant.may_move()
            assert grant.may_enter()
            assert 7_000 < grant.remaining_ms() <= 7_720
            assert await shown(server, "Z_31") == "HELD"
            await grant.cleared("Z_31")
            assert grant.zones == ("Z_32",)
            assert await shown(server, "Z_31") == "FREE"
            await grant.cleared()
        assert await shown(server, "Z_32") == "FREE"
        assert not grant.may_move()
        assert agent.grants == ()


async def test_an_exception_in_the_block_abandons_the_grant_and_keeps_the_zone_occupied(server: TestServer) -> None:
    async with connect(server.target, agent_id="AGV_07") as agent:
        with pytest.raises(ZeroDivisionError):
            async with agent.hold("Z_31", expected_ms=8_000):
                _ = 1 / 0
    await until_shown(server, "Z_31", "BLOCKED ABANDONED")


async def test_leaving_the_block_without_cleared_abandons_the_rest(server: TestServer) -> None:
    async with (
        connect(server.target, agent_id="AGV_07") as agent,
        agent.hold("Z_31", "Z_32", expected_ms=8_000) as grant,
    ):
        await grant.cleared("Z_31")
    assert await shown(server, "Z_31") == "FREE"
    await until_shown(server, "Z_32", "BLOCKED ABANDONED")


async def test_a_waiter_learns_who_is_in_the_way_and_takes_over_when_the_zone_is_given_back(server: TestServer) -> None:
    async with connect(server.target, agent_id="A") as a, connect(server.target, agent_id="B") as b:
        first = await a.acquire("Z_31", expected_ms=8_000)
        queued = asyncio.Event()
        seen: list[floor_pb2.Blocker] = []

        def on_queued(position: int, blockers: tuple[floor_pb2.Blocker, ...]) -> None:
            seen.extend(blockers)
            queued.set()

        waiting = asyncio.create_task(b.acquire("Z_31", expected_ms=8_000, on_queued=on_queued))
        await queued.wait()
        assert seen[0].agent_id == "A"
        await first.cleared()
        second = await waiting
        assert second.token > first.token
        await second.cleared()


async def test_an_ask_that_times_out_leaves_the_queue(server: TestServer) -> None:
    async with connect(server.target, agent_id="A") as a, connect(server.target, agent_id="B") as b:
        grant = await a.acquire("Z_31", expected_ms=8_000)
        with pytest.raises(TimeoutError):
            async with b.hold("Z_31", expected_ms=8_000, timeout_s=0.05):
                pytest.fail("held by A")
        await grant.cleared()
        # B's cancellation may still be on its way; were it forgotten, B would keep the zone and A wait for ever.
        async with a.hold("Z_31", expected_ms=8_000, timeout_s=20) as again:
            await again.cleared()


async def test_no_wait_is_rejected_when_the_zone_is_taken(server: TestServer) -> None:
    async with connect(server.target, agent_id="A") as a, connect(server.target, agent_id="B") as b:
        grant = await a.acquire("Z_31", expected_ms=8_000)
        with pytest.raises(GrantRejected, match="held by A") as caught:
            await b.acquire("Z_31", expected_ms=8_000, no_wait=True)
        assert caught.value.reason == "BUSY"
        with pytest.raises(GrantRejected) as caught:
            await a.acquire("Z_31", expected_ms=8_000)
        assert caught.value.reason == "ALREADY_HELD"
        await grant.cleared()


async def test_losing_the_grant_cancels_the_block_and_raises_in_place_of_the_cancellation(server: TestServer) -> None:
    async with connect(server.target, agent_id="AGV_07") as agent:
        with pytest.raises(GrantLost) as caught:
            async with agent.hold("Z_31", expected_ms=400) as grant:
                await asyncio.Event().wait()
        assert caught.value.reason == "deadline" == grant.lost_reason
        assert isinstance(caught.value.__cause__, asyncio.CancelledError)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        assert await grant.lost == "deadline"
        assert not grant.may_move()


async def test_a_block_that_ends_without_noticing_the_loss_raises_all_the_same(server: TestServer) -> None:
    async with connect(server.target, agent_id="AGV_07") as agent:
        with pytest.raises(GrantLost):
            async with agent.hold("Z_31", expected_ms=300):
                time.sleep(0.4)  # noqa: ASYNC251 - a controller that blocks its loop
        await asyncio.sleep(0)  # nothing was left behind that cancels later


async def test_a_cancellation_from_outside_stays_one_even_when_the_grant_is_lost_too(server: TestServer) -> None:
    async with connect(server.target, agent_id="AGV_07") as agent:
        entered = asyncio.Event()

        async def work() -> None:
            async with agent.hold("Z_31", expected_ms=8_000):
                entered.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until_shown(server, "Z_31", "BLOCKED ABANDONED")

        async def both() -> None:
            async with agent.hold("Z_32", expected_ms=300) as grant:
                try:
                    await asyncio.Event().wait()
                finally:
                    assert grant.lost
                    task = asyncio.current_task()
                    assert task is not None
                    task.cancel()

        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(both())


async def test_only_the_hold_that_lost_its_grant_raises_when_holds_are_nested(server: TestServer) -> None:
    async with connect(server.target, agent_id="AGV_07") as agent, agent.hold("Z_31", expected_ms=20_000) as outer:
        with pytest.raises(GrantLost) as caught:
            async with agent.hold("X_01", expected_ms=1_000) as inner:
                await asyncio.Event().wait()
        assert caught.value.token == inner.token
        assert not outer.lost or outer.lost_reason == "stopped"


async def test_the_outer_hold_raises_when_both_are_lost_at_once(server: TestServer) -> None:
    async with connect(server.target, agent_id="AGV_07") as agent:
        tokens: list[int] = []

        async def work() -> None:
            async with agent.hold("Z_31", expected_ms=8_000) as outer:
                tokens.append(outer.token)
                async with agent.hold("Z_32", expected_ms=8_000) as inner:
                    tokens.append(inner.token)
                    await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await until(server, lambda p: any("Z_32" in view.held_zones for view in p.agents))
        await server.stop_floor()
        with pytest.raises(GrantLost) as caught:
            await task
        assert caught.value.token == tokens[0]
        assert caught.value.reason == "stopped"


async def test_an_outer_timeout_is_not_mistaken_for_a_loss(server: TestServer) -> None:
    async with connect(server.target, agent_id="AGV_07") as agent:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), agent.hold("Z_31", expected_ms=8_000):
                await asyncio.Event().wait()


async def test_the_motion_stop_fires_from_its_own_thread_while_the_event_loop_is_blocked(server: TestServer) -> None:
    halts: list[tuple[Halt, str, int]] = []

    def on_halt(halt: Halt) -> None:
        halts.append((halt, threading.current_thread().name, time.monotonic_ns()))

    async with connect(server.target, agent_id="AGV_07", on_halt=on_halt, stop_ms=100) as agent:
        grant = await agent.acquire("Z_31", expected_ms=500)
        allowed = grant.remaining_ms()
        began = time.monotonic_ns()
        time.sleep(1.2)  # noqa: ASYNC251 - the event loop is blocked past the deadline
        woke = time.monotonic_ns()
        assert not grant.may_move()
        assert grant.lost.is_set()
        (halt, thread, at_ns), *rest = halts
        assert (halt.reason, halt.zones, halt.token) == ("deadline", ("Z_31",), grant.token)
        assert thread == "zonelock-dead-man"
        assert began + allowed * 1_000_000 <= at_ns < woke
        assert [h.reason for h, _, _ in rest] in ([], ["stopped"])


async def test_an_overdue_hold_stops_its_group_unless_the_holder_says_that_it_stands(server: TestServer) -> None:
    async with connect(server.target, agent_id="A", stop_ms=1_000) as a:
        grant = await a.acquire("Z_31", expected_ms=1_400)
        assert await grant.lost == "deadline"
        await grant.standing()
        assert await shown(server, "Z_31") == "BLOCKED STOPPED"
        async with server.operator() as operator:
            assert await operator.stops() == []
        grant = await a.acquire("Z_31", expected_ms=1_400)  # its own residue is converted
        stopped = asyncio.Event()
        a.on_stop(lambda stop: stopped.set())
        await stopped.wait()
        (stop,) = a.active_stops
        assert stop.stop_id == f"deadline:{grant.token}"


async def test_a_release_is_refused_while_the_latest_report_is_inside(server: TestServer) -> None:
    async with connect(server.target, agent_id="A") as agent, agent.hold("Z_31", expected_ms=8_000) as grant:
        agent.report(inside=["Z_31"])
        with pytest.raises(StillInside):
            await grant.cleared()
        assert grant.may_move()
        agent.report(inside=[])
        await grant.cleared()
    assert await shown(server, "Z_31") == "FREE"


async def test_an_extension_needs_fresh_telemetry_and_moves_the_deadline(server: TestServer) -> None:
    async with connect(server.target, agent_id="A") as agent:
        async with agent.hold("Z_31", expected_ms=2_000) as grant:
            with pytest.raises(ExtensionRejected, match="telemetry") as caught:
                await grant.extend(5_000)
            assert caught.value.reason == "STALE_TELEMETRY"
            agent.report(progress_permille=10)
            assert await grant.extend(5_000) > 4_000
            with pytest.raises(RequestError) as failure:
                await grant.extend(70_000)
            assert failure.value.reason == "BAD_DURATION"
            await grant.cleared()
        with pytest.raises(ArgumentError, match=r"ask again"):
            await grant.extend(5_000)


async def test_auto_extension_carries_a_moving_agent_past_its_first_deadline(server: TestServer) -> None:
    warned: list[int] = []
    async with (
        connect(
            server.target, agent_id="A", auto_extend=True, on_warned=lambda grant: warned.append(grant.token)
        ) as agent,
        agent.hold("Z_31", expected_ms=900) as grant,
    ):
        for step in range(1, 31):
            agent.report(progress_permille=step)
            await asyncio.sleep(0.05)
            assert grant.may_move()
        await grant.cleared()
    assert set(warned) == {grant.token}


async def test_a_parked_agent_needs_no_deadline_and_takes_its_zone_up_again(server: TestServer) -> None:
    async with connect(server.target, agent_id="A") as agent:
        async with agent.hold("Z_31", expected_ms=8_000) as grant:
            await grant.park()
        assert await shown(server, "Z_31") == "BLOCKED PARKED"
        async with agent.hold("Z_31", expected_ms=8_000) as again:
            assert again.token > grant.token
            await again.cleared()


async def test_an_agent_that_occupies_zones_cannot_say_goodbye_and_one_that_does_not_can(server: TestServer) -> None:
    agent = await connect(server.target, agent_id="A")
    grant = await agent.acquire("Z_31", expected_ms=8_000)
    with pytest.raises(GoodbyeRejected, match="Z_31"):
        await agent.goodbye()
    await grant.cleared()
    await agent.goodbye()
    with pytest.raises(LinkLost, match="closed"):
        await agent.acquire("Z_31", expected_ms=8_000)
    async with connect(server.target, agent_id="A"):  # the id is free again at once
        pass


async def test_a_second_client_with_the_same_agent_id_is_refused(server: TestServer) -> None:
    async with connect(server.target, agent_id="A"):
        with pytest.raises(RequestError, match="A") as caught:
            await connect(server.target, agent_id="A")
        assert caught.value.reason == "DUPLICATE_AGENT"


async def test_an_unknown_kind_and_an_unknown_zone_are_errors_that_name_them(server: TestServer) -> None:
    with pytest.raises(RequestError, match="agent_kind 'drone'") as caught:
        await connect(server.target, agent_id="A", agent_kind="drone")
    assert caught.value.reason == "UNKNOWN_AGENT_KIND"
    async with connect(server.target, agent_id="A") as agent:
        with pytest.raises(RequestError, match="Z_99") as caught:
            await agent.acquire("Z_99", expected_ms=8_000)
        assert caught.value.reason == "UNKNOWN_ZONE"
        assert caught.value.metadata["zone"] == "Z_99"


async def test_closing_abandons_live_grants_and_halts(server: TestServer) -> None:
    halted = threading.Event()
    agent = await connect(server.target, agent_id="A", on_halt=lambda halt: halted.set())
    grant = await agent.acquire("Z_31", expected_ms=8_000)
    await agent.close()
    assert grant.lost_reason == "closed"
    assert await asyncio.to_thread(halted.wait, 5)
    await until_shown(server, "Z_31", "BLOCKED ABANDONED")


async def test_a_new_process_with_the_same_secret_takes_its_grants_up_again(server: TestServer) -> None:
    agent = await connect(server.target, agent_id="A")
    grant = await agent.acquire("Z_31", expected_ms=8_000)
    await agent.close(keep_grants=True)
    async with connect(
        server.target, agent_id="A", session_secret=agent.session_secret, highest_token=agent.highest_token
    ) as again:
        (resumed,) = again.grants
        assert resumed.token == grant.token
        assert resumed.may_move()
        await resumed.cleared()
    assert await shown(server, "Z_31") == "FREE"


async def test_a_fleet_moves_many_agents_over_one_stream(server: TestServer) -> None:
    async with connect_fleet(server.target) as fleet:
        agents = [await fleet.agent(f"AGV_{n:02}", vehicle_watchdog=True) for n in range(8)]
        assert [a.agent_id for a in fleet.agents] == [f"AGV_{n:02}" for n in range(8)]

        async def through(agent_index: int) -> int:
            async with agents[agent_index].hold("X_01", expected_ms=20_000) as grant:
                await grant.cleared()
                return grant.token

        tokens = await asyncio.gather(*(through(n) for n in range(8)))
        assert len(set(tokens)) == 8
        with pytest.raises(ArgumentError, match="already open"):
            await fleet.agent("AGV_00", vehicle_watchdog=True)
        await agents[0].goodbye()
        assert len(fleet.agents) == 7


async def test_a_gateway_holds_only_for_vehicles_with_a_watchdog_of_their_own(server: TestServer) -> None:
    async with connect_fleet(server.target) as fleet:
        with pytest.raises(ArgumentError, match="watchdog of their own"):
            await fleet.agent("AGV_00")
        assert fleet.agents == ()


async def test_a_zone_that_an_agent_stands_in_is_declared_and_converted(server: TestServer) -> None:
    async with connect(server.target, agent_id="A", standing_zones=["Z_31"]) as agent:
        assert await shown(server, "Z_31") == "BLOCKED DECLARED"
        async with agent.hold("Z_31", "Z_32", expected_ms=8_000) as grant:
            await grant.cleared()


async def test_an_unconfirmed_floor_gives_nothing_until_it_is_cleared() -> None:
    async with TestServer(assume_empty=False) as server, connect(server.target, agent_id="A") as agent:
        assert await shown(server, "Z_31") == "UNKNOWN"
        with pytest.raises(GrantRejected, match="never confirmed empty"):
            await agent.acquire("Z_31", expected_ms=8_000, no_wait=True)
        assert "Z_31" in await server.operator_clear_all()
        await (await agent.acquire("Z_31", expected_ms=8_000)).cleared()

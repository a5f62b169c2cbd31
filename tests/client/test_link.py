"""Bad networks and odd coordinators: cut, silent and closed links, rotation, late grants, refusals, batched frames."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from client.floor_view import shown, until_shown, until_waiting
from client.scripted import Conversation, scripted
from zonelock.v1 import zone_service_pb2 as pb
from zonelock_client import Agent, GrantLost, Halt, LinkLost, LinkState, RequestError, connect
from zonelock_client.testing import TestServer

from chaos.live.relay import Relay


class LinkStory:
    """The link states in order, awaitable."""

    def __init__(self, agent: Agent) -> None:
        self.states: list[LinkState] = []
        self._changed = asyncio.Event()
        agent.on_link(self._note)

    def _note(self, state: LinkState) -> None:
        self.states.append(state)
        self._changed.set()

    async def until(self, state: LinkState) -> None:
        while state not in self.states:
            self._changed.clear()
            await self._changed.wait()
        self.states.clear()


@pytest.fixture
async def server() -> AsyncIterator[TestServer]:
    async with TestServer(heartbeat_ms=100, suspend_ms=600, lost_ms=1_500, check_invariants=True) as server:
        yield server


async def test_a_grant_survives_a_cut_link_and_is_given_back_over_the_next_one(server: TestServer) -> None:
    async with Relay(server.target) as relay, connect(relay.target, agent_id="A") as agent:
        story = LinkStory(agent)
        async with agent.hold("Z_31", expected_ms=30_000) as grant:
            relay.cut()
            await story.until(LinkState.SUSPENDED)
            assert grant.may_move()
            assert not grant.may_enter()
            await story.until(LinkState.CONNECTED)
            assert grant.may_enter()
            await grant.cleared()
    assert await shown(server, "Z_31") == "FREE"


async def test_a_coordinator_at_the_end_of_a_long_path_is_reached() -> None:
    """A handshake there and back takes a third of a second."""
    async with (
        TestServer() as server,
        Relay(server.target, delay_s=0.15) as relay,
        connect(relay.target, agent_id="A") as agent,
    ):
        grant = await agent.acquire("Z_31", expected_ms=30_000)
        await grant.cleared()


async def test_a_waiter_keeps_waiting_over_a_cut_link(server: TestServer) -> None:
    async with (
        Relay(server.target) as relay,
        connect(server.target, agent_id="A") as a,
        connect(relay.target, agent_id="B") as b,
    ):
        first = await a.acquire("Z_31", expected_ms=30_000)
        waiting = asyncio.create_task(b.acquire("Z_31", expected_ms=8_000))
        await until_waiting(server, "B")
        story = LinkStory(b)
        relay.cut()
        await story.until(LinkState.CONNECTED)
        await until_waiting(server, "B")
        await first.cleared()
        await (await waiting).cleared()


async def test_a_release_over_a_dead_link_waits_in_the_outbox_even_when_its_caller_gives_up(server: TestServer) -> None:
    async with Relay(server.target) as relay, connect(relay.target, agent_id="A") as agent:
        story = LinkStory(agent)
        async with agent.hold("Z_31", expected_ms=30_000) as grant:
            await relay.close()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await grant.cleared()
            assert not grant.may_move()
        assert await shown(server, "Z_31") == "HELD"
        await relay.restore()
        await story.until(LinkState.CONNECTED)
        # A hello, the release, and only then this ask: it can only be granted because the zone was given back.
        await (await agent.acquire("Z_31", expected_ms=8_000)).cleared()
    assert await shown(server, "Z_31") == "FREE"


async def test_a_release_that_is_refused_after_its_caller_gave_up_abandons_the_grant(server: TestServer) -> None:
    async with Relay(server.target) as relay, connect(relay.target, agent_id="A") as agent:
        story = LinkStory(agent)
        async with agent.hold("Z_31", expected_ms=30_000) as grant:
            agent.report(inside=["Z_31"])
            await relay.close()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await grant.cleared()
        await relay.restore()
        await story.until(LinkState.CONNECTED)
        await (await agent.acquire("Z_32", expected_ms=8_000)).cleared()
        await until_shown(server, "Z_31", "BLOCKED ABANDONED")


async def test_a_silent_coordinator_is_left_for_the_next_one(server: TestServer) -> None:
    async with (
        Relay(server.target) as first,
        Relay(server.target) as second,
        connect(f"{first.target},{second.target}", agent_id="A") as agent,
    ):
        story = LinkStory(agent)
        grant = await agent.acquire("Z_31", expected_ms=30_000)
        first.silence()
        await story.until(LinkState.SUSPENDED)
        await story.until(LinkState.CONNECTED)
        assert agent.grants == (grant,)
        await grant.cleared()
        await first.restore()


async def test_a_lost_link_halts_from_the_thread_and_motion_is_allowed_again_when_it_is_back(
    server: TestServer,
) -> None:
    halts: list[tuple[str, str]] = []
    halted = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_halt(halt: Halt) -> None:
        halts.append((halt.reason, threading.current_thread().name))
        loop.call_soon_threadsafe(halted.set)

    async with Relay(server.target) as relay, connect(relay.target, agent_id="A", on_halt=on_halt) as agent:
        story = LinkStory(agent)
        async with agent.hold("Z_31", expected_ms=50_000) as grant:
            await relay.close()
            await halted.wait()
            assert halts == [("link", "zonelock-dead-man")]
            assert agent.link is LinkState.LOST
            assert not grant.may_move()
            assert not grant.lost
            await story.until(LinkState.LOST)
            await relay.restore()
            await story.until(LinkState.CONNECTED)
            assert grant.may_move()
            await grant.cleared()


async def test_an_outage_that_a_blocked_event_loop_slept_through_halts_and_the_next_one_halts_again(
    server: TestServer,
) -> None:
    halts: list[str] = []
    told: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def on_halt(halt: Halt) -> None:
        halts.append(halt.reason)
        loop.call_soon_threadsafe(told.put_nowait, halt.reason)

    async with Relay(server.target) as relay, connect(relay.target, agent_id="A", on_halt=on_halt) as agent:
        grant = await agent.acquire("Z_31", expected_ms=50_000)
        time.sleep(2.0)  # noqa: ASYNC251 - longer than lost_ms: nobody could have stopped the machine
        assert halts == ["link"]
        assert not grant.may_move()
        assert await told.get() == "link"
        while not grant.may_move():  # noqa: ASYNC110 - whether the link's state was seen to change is left open
            await asyncio.sleep(0.01)
        await relay.close()
        assert await told.get() == "link"
        story = LinkStory(agent)
        await relay.restore()
        await story.until(LinkState.CONNECTED)
        await grant.cleared()


async def test_a_dead_path_to_the_only_coordinator_is_found_out_by_pings() -> None:
    async with (
        TestServer(lost_ms=600_000) as server,
        Relay(server.target) as relay,
        connect(relay.target, agent_id="A") as agent,
    ):
        story = LinkStory(agent)
        grant = await agent.acquire("Z_31", expected_ms=50_000)
        relay.silence()
        await story.until(LinkState.SUSPENDED)
        await relay.broken.wait()  # long before lost_ms
        await relay.restore()
        await story.until(LinkState.CONNECTED)
        await grant.cleared()


async def test_an_agent_carries_on_over_a_restarted_coordinator(tmp_path: Path) -> None:
    store = f"sqlite:{tmp_path / 'ledger.sqlite'}"
    server = TestServer(store=store)
    await server.start()
    port = int(server.target.rpartition(":")[2])
    async with connect(server.target, agent_id="A") as agent:
        story = LinkStory(agent)
        grant = await agent.acquire("Z_31", expected_ms=30_000)
        await server.stop()
        server = TestServer(store=store, port=port)
        await server.start()
        await story.until(LinkState.CONNECTED)
        assert grant.may_move()
        await grant.cleared()
        assert await shown(server, "Z_31") == "FREE"
    await server.stop()


async def test_nobody_at_the_address_is_told_with_the_address_and_what_to_try(free_port: int) -> None:
    with pytest.raises(LinkLost, match=f"127.0.0.1:{free_port}.*zonelock serve"):
        await connect(f"127.0.0.1:{free_port}", agent_id="A", connect_timeout_s=0.3)


# -- scripted coordinators -------------------------------------------------------------------------------------------


def granted(token: int, operation: pb.Operation, echo: int) -> pb.Answer:
    ask = operation.ask
    grant = pb.Granted(
        token=token,
        zones=ask.zones,
        slots=[0] * len(ask.zones),
        expected_ms=ask.expected_ms,
        remaining_ms=ask.expected_ms,
        echo_frame=echo,
        request_id=ask.request_id,
    )
    return pb.Answer(agent_id=operation.agent_id, request_id=ask.request_id, granted=grant)


async def test_a_grant_that_arrives_after_its_deadline_is_declined_and_raised_as_late() -> None:
    declined: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def script(talk: Conversation) -> None:
        await talk.welcome()
        ask = await talk.expect("ask")
        echo = talk.newest
        await asyncio.sleep(0.4)
        await talk.say(granted(7, ask, echo))
        declined.set_result((await talk.expect("decline")).decline.token)
        await talk.expect("hello")

    async with scripted(script) as target, connect(target, agent_id="A") as agent:
        with pytest.raises(GrantLost, match="after its own deadline") as caught:
            await agent.acquire("Z_31", expected_ms=500)
        assert caught.value.reason == "late"
        assert await declined == 7


async def test_a_grant_with_an_unknown_echo_is_never_used() -> None:
    async def script(talk: Conversation) -> None:
        await talk.welcome()
        ask = await talk.expect("ask")
        await talk.say(granted(7, ask, talk.newest + 1_000))
        await talk.expect("decline")
        await talk.expect("hello")

    async with scripted(script) as target, connect(target, agent_id="A") as agent:
        with pytest.raises(GrantLost, match="send time is not known"):
            await agent.acquire("Z_31", expected_ms=60_000)


async def test_a_grant_in_the_moment_of_its_askers_cancellation_is_declined() -> None:
    asked = asyncio.Event()
    declined: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def script(talk: Conversation) -> None:
        await talk.welcome()
        ask = await talk.expect("ask")
        asked.set()
        await talk.expect("cancel")
        await talk.say(granted(7, ask, talk.newest))
        declined.set_result((await talk.expect("decline")).decline.token)
        await talk.expect("hello")

    async with scripted(script) as target, connect(target, agent_id="A") as agent:
        waiting = asyncio.create_task(agent.acquire("Z_31", expected_ms=60_000))
        await asked.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await declined == 7


async def test_what_one_loop_iteration_queues_leaves_in_one_frame_telemetry_first() -> None:
    frames: list[list[str]] = []
    done = asyncio.Event()

    async def script(talk: Conversation) -> None:
        await talk.welcome()
        for n in range(3):
            ask = await talk.expect("ask")
            await talk.say(granted(7 + n, ask, talk.newest))
        while not done.is_set():
            request = await talk.read()
            if request.operations:
                frames.append([str(o.WhichOneof("kind")) for o in request.operations])
            for operation in request.operations:
                if operation.WhichOneof("kind") == "release":
                    released = pb.Released(token=operation.release.token)
                    await talk.say(pb.Answer(agent_id=operation.agent_id, released=released))

    async with scripted(script) as target, connect(target, agent_id="A") as agent:
        grants = [await agent.acquire(f"Z_{n}", expected_ms=60_000) for n in range(3)]
        releases = [asyncio.create_task(grant.cleared()) for grant in grants]
        agent.report(activity="first")
        agent.report(activity="second")
        await asyncio.gather(*releases)
        done.set()
    assert frames[0] == ["telemetry", "release", "release", "release"]


async def test_a_standby_is_left_at_once_for_the_leader() -> None:
    async def standby(talk: Conversation) -> None:
        hello = await talk.expect("hello")
        failed = pb.Failed(code=grpc.StatusCode.UNAVAILABLE.value[0], reason="NOT_LEADER", message="standing by")
        await talk.say(pb.Answer(agent_id=hello.agent_id, failed=failed), ack=False)
        await talk.expect("ask")

    async def leader(talk: Conversation) -> None:
        await talk.welcome()
        await talk.expect("ask")

    async with (
        scripted(standby) as first,
        scripted(leader) as second,
        connect(f"{first},{second}", agent_id="A") as agent,
    ):
        assert agent.link is LinkState.CONNECTED


async def test_the_leader_that_a_standby_names_is_dialled_though_nobody_configured_it() -> None:
    async def leader(talk: Conversation) -> None:
        await talk.welcome()
        await talk.expect("ask")

    async with scripted(leader) as second:

        async def standby(talk: Conversation) -> None:
            await talk.refuse("NOT_LEADER", leader=second)

        async with scripted(standby) as first, connect(first, agent_id="A") as agent:
            assert agent.link is LinkState.CONNECTED


async def test_a_dead_leader_that_a_standby_still_names_is_not_gone_back_to_before_the_others(free_port: int) -> None:
    dead = f"127.0.0.1:{free_port}"
    dialled: list[str] = []

    async def standby(talk: Conversation) -> None:
        dialled.append("standby")
        await talk.refuse("NOT_LEADER", leader=dead)

    async def leader(talk: Conversation) -> None:
        dialled.append("leader")
        await talk.welcome()
        await talk.expect("ask")

    async with (
        scripted(standby) as first,
        scripted(leader) as second,
        connect(f"{first},{dead},{second}", agent_id="A") as agent,
    ):
        assert agent.link is LinkState.CONNECTED
    assert dialled[-1] == "leader"


async def test_a_refusal_after_a_reconnection_ends_what_waits_and_loses_the_grants() -> None:
    streams = 0

    async def script(talk: Conversation) -> None:
        nonlocal streams
        streams += 1
        if streams == 1:
            await talk.welcome()
            ask = await talk.expect("ask")
            await talk.say(granted(7, ask, talk.newest))
            await talk.expect("ask")
            return
        hello = await talk.expect("hello")
        failed = pb.Failed(
            code=grpc.StatusCode.FAILED_PRECONDITION.value[0], reason="FLOOR_MISMATCH", message="restored"
        )
        await talk.say(pb.Answer(agent_id=hello.agent_id, failed=failed))
        await talk.expect("ask")

    async with scripted(script) as target, connect(target, agent_id="A") as agent:
        grant = await agent.acquire("Z_31", expected_ms=60_000)
        with pytest.raises(RequestError) as caught:
            await agent.acquire("Z_32", expected_ms=60_000)
        assert caught.value.reason == "FLOOR_MISMATCH"
        assert await grant.lost == "refused"
        with pytest.raises(RequestError):
            await agent.acquire("Z_32", expected_ms=60_000)

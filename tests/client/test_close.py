"""Closing an agent says what is owed first: a stop that it stands for is acknowledged before the stream ends."""

from __future__ import annotations

import asyncio
import time

import grpc
import pytest
import zonelock_client.link
from client.scripted import Conversation, scripted
from zonelock_client import Halt, connect
from zonelock_client.link import Link
from zonelock_client.testing import TestServer


async def test_an_agent_closed_while_it_halts_has_acknowledged_the_stop() -> None:
    """Without its acknowledgement nobody could clear its zones before its own time had run out."""

    def halt_slowly(halt: Halt) -> None:
        time.sleep(0.2)

    async with TestServer() as server:
        agent = await connect(server.target, agent_id="AGV_1", on_halt=halt_slowly)
        zone = next(iter(server.floor.zones))
        grant = await agent.acquire(zone, expected_ms=20_000)
        stop = await server.stop_floor()
        await grant.lost
        await agent.close(flush_s=5.0)
        assert await server.clear(zone) == [zone]
        (ended,) = await server.reset(stop.stop_id)
        assert not ended.active


async def test_an_agent_whose_stream_cannot_be_ended_in_order_closes_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The failure would take the place of the cancellation: the link would go on, and `close` wait for it for ever."""

    async def fail(*_: object) -> None:
        raise grpc.aio.UsageError

    monkeypatch.setattr(Link, "_part", fail)
    async with TestServer() as server:
        agent = await connect(server.target, agent_id="AGV_1")
        async with asyncio.timeout(10.0):
            await agent.close()


async def test_a_client_of_the_same_name_that_connects_right_after_a_close_is_no_duplicate() -> None:
    async with TestServer() as server:
        for secret in (b"first" * 8, b"second" * 8):
            agent = await connect(server.target, agent_id="AGV_1", session_secret=secret)
            await agent.close()


async def test_a_close_waits_until_the_coordinator_has_ended_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut off before that, the stream would end as a broken one, at a moment that the next client cannot wait for."""
    monkeypatch.setattr(zonelock_client.link, "PART_S", 30.0)
    half_closed, may_end = asyncio.Event(), asyncio.Event()

    async def script(conversation: Conversation) -> None:
        await conversation.welcome()
        try:
            while True:
                await conversation.read()
                await conversation.say()
        except EOFError:
            half_closed.set()
            await may_end.wait()

    async with scripted(script) as target:
        agent = await connect(target, agent_id="AGV_1")
        closing = asyncio.create_task(agent.close())
        await half_closed.wait()
        done, _ = await asyncio.wait({closing}, timeout=0.2)
        assert not done
        may_end.set()
        await closing

"""What needs a commit and what does not, and timers in busy moments: that somebody waits promises nothing, for one."""

from __future__ import annotations

import asyncio

import pytest
from runtime.test_runtime import world

from coordinator import runtime
from coordinator.core import effects as fx

PATIENCE_S = 2.0


async def test_that_an_agent_waits_is_said_without_a_commit() -> None:
    async with world() as w:
        holder, first = await w.agent("a")
        waiter, second = await w.agent("b")
        w.ask(first, "Z1", name="a")
        await holder.until(fx.Granted)
        w.ask(second, "Z1", name="b")
        assert waiter.answers(fx.Queued), "said before anything else had a turn, and so before any commit"


async def test_that_an_agent_waits_keeps_its_order_behind_what_is_being_committed() -> None:
    async with world() as w:
        holder, first = await w.agent("a")
        waiter, second = await w.agent("b")
        w.store.gate.clear()
        w.ask(first, "Z1", name="a")
        w.ask(second, "Z2", name="b", request="r-first")
        w.ask(second, "Z1", name="b", request="r-second")
        assert not waiter.answers(fx.Queued)
        w.store.gate.set()
        await waiter.until(fx.Queued)
        await holder.until(fx.Granted)
        assert [s.request_id for s in waiter.sends if s.request_id.startswith("r-")] == ["r-first", "r-second"]


async def test_a_grant_still_waits_for_its_commit() -> None:
    async with world() as w:
        out, conn = await w.agent("a")
        w.store.entered.clear()
        w.store.gate.clear()
        w.ask(conn, "Z1")
        await w.store.entered.wait()
        assert not out.answers(fx.Granted)
        w.store.gate.set()
        await out.until(fx.Granted)


async def test_an_overdue_hold_trips_though_events_never_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "TICK_MS", 60_000)  # nothing but the deadline's own timer
    async with world() as w:
        out, conn = await w.agent()
        w.ask(conn, "Z1", ms=1)
        await out.until(fx.Granted)
        give_up = asyncio.get_running_loop().time() + PATIENCE_S
        while not out.stops and asyncio.get_running_loop().time() < give_up:
            w.runtime.heard(conn, 1)
            await asyncio.sleep(0)
        assert [type(s.answer) for s in out.stops] == [fx.StopRaised]


async def test_a_busy_moment_is_not_followed_by_an_empty_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "TICK_MS", 60_000)
    async with world() as w:
        out, conn = await w.agent()
        w.store.entered.clear()
        w.store.gate.clear()
        w.ask(conn, "Z1")
        await w.store.entered.wait()
        w.ask(conn, "Z2")  # decided while the first is being committed
        before = w.runtime.commits
        w.store.gate.set()
        await out.until(fx.Granted, 2)
        for _ in range(20):
            await asyncio.sleep(0)
        assert w.runtime.commits == before + 2

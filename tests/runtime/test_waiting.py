"""That somebody waits promises nothing: it is said at once while nothing awaits a commit, else in its order."""

from __future__ import annotations

from runtime.test_runtime import world

from coordinator.core import effects as fx


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

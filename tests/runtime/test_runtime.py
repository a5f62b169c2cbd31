"""The runtime's order of effects: commit before grant, stop before commit, and what follows a commit that failed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from runtime.scripted import Recorder, ScriptedStore

from coordinator.core import effects as fx
from coordinator.core import events as ev
from coordinator.core.machine import Machine
from coordinator.core.model import FloorSpec, Timing, UnitState, ZoneSpec
from coordinator.core.rejections import Refusal
from coordinator.runtime import Halted, Runtime, StoreDown
from coordinator.store.port import MAX_OPERATIONS, CommitUncertain, Fenced, RecordConflict, StoreUnavailable

FLOOR = FloorSpec("test", 1, "h", tuple(ZoneSpec(f"Z{i}", stop_group="g") for i in range(200)))


class World:
    """A runtime on a scripted store, with one agent on a recorded stream."""

    def __init__(self) -> None:
        self.store = ScriptedStore()
        self.runtime = Runtime(FLOOR, self.store, Timing(), assume_empty=True, check_invariants=True)
        self.task = asyncio.create_task(self.runtime.run())
        self.requests = 0

    async def leading(self, wanted: bool = True) -> None:
        reached = asyncio.Event()
        self.runtime.on_leading.append(lambda leads: reached.set() if leads == wanted else None)
        if self.runtime.leading != wanted:
            await reached.wait()

    async def agent(self, name: str = "a") -> tuple[Recorder, int]:
        out = Recorder()
        conn = self.runtime.attach(out)
        self.runtime.submit(ev.Hello(now_ms=self.runtime.now_ms(), conn=conn, agent_id=name, session=f"secret-{name}"))
        await out.until(fx.Welcome)
        return out, conn

    def ask(self, conn: int, *zones: str, name: str = "a", request: str = "", ms: int = 10_000) -> None:
        self.requests += 1
        self.runtime.submit(
            ev.Asked(
                now_ms=self.runtime.now_ms(),
                conn=conn,
                agent_id=name,
                request_id=request or f"r{self.requests}",
                zones=zones,
                expected_ms=ms,
                payload=str(zones),
            )
        )

    def stop(self, out: Recorder, **scope: object) -> None:
        conn = self.runtime.attach(out)
        self.runtime.submit(
            ev.StopAsked(
                now_ms=self.runtime.now_ms(),
                conn=conn,
                operator="ann",
                reason="test",
                stop_id="s",
                zone=str(scope.get("zone", "")),
                floor=bool(scope.get("floor", False)),
            )
        )


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    made = World()
    await made.leading()
    try:
        yield made
    finally:
        made.store.gate.set()
        made.task.cancel()
        await asyncio.gather(made.task, return_exceptions=True)
        await made.store.close()


async def test_no_grant_is_told_before_its_commit_and_a_stop_is_told_before_its_own() -> None:
    async with world() as w:
        out, conn = await w.agent()
        w.ask(conn, "Z1")
        granted = await out.until(fx.Granted)
        w.store.gate.clear()
        w.ask(conn, "Z2")
        operator = Recorder()
        w.stop(operator, zone="Z1")
        assert [type(s.answer) for s in out.stops] == [fx.StopRaised]  # gone, while the store does nothing
        assert out.answers(fx.Granted) == [granted]
        assert operator.sends == []
        w.store.gate.set()
        await operator.until(fx.StopsReported)
        assert out.answers(fx.Granted) == [granted]  # Z2's grant was overtaken by the stop and is never told


async def test_what_streams_have_begun_to_say_is_gathered_in_one_commit() -> None:
    async with world() as w:
        out, conn = await w.agent()
        said, now_ms = 0, w.runtime.now_ms()
        w.runtime.now_ms = lambda: now_ms
        w.runtime.operations_said = lambda: 20 - said
        before = len(w.store.commits)
        for i in range(20):
            w.ask(conn, f"Z{i}")
            said += 1
            await asyncio.sleep(0)
        await out.until(fx.Granted, 20)
        assert 21 in w.store.commits[before:]  # twenty units and the counter


async def test_a_commit_does_not_wait_for_streams_that_never_come_to_an_end() -> None:
    async with world() as w:
        out, conn = await w.agent()
        w.runtime.operations_said = lambda: 1
        w.ask(conn, "Z1")
        await out.until(fx.Granted)


async def test_of_many_operations_half_goes_ahead_to_be_committed_while_the_rest_is_decided() -> None:
    async with world() as w:
        out, conn = await w.agent()
        said, now_ms = 0, w.runtime.now_ms()
        w.runtime.now_ms = lambda: now_ms
        w.runtime.operations_said = lambda: 180 - said
        before = len(w.store.commits)
        for i in range(180):
            w.ask(conn, f"Z{i}")
            said += 1
            await asyncio.sleep(0)
        await out.until(fx.Granted, 180)
        first, *rest = (size for size in w.store.commits[before:] if size)
        assert first == 91  # ninety units and the counter
        assert sum(rest) == 90 + len(rest)


async def test_what_is_decided_during_a_commit_goes_together_in_the_next() -> None:
    async with world() as w:
        out, conn = await w.agent()
        w.store.gate.clear()
        w.store.entered.clear()
        await w.store.entered.wait()
        for i in range(20):
            w.ask(conn, f"Z{i}")
        before = len(w.store.commits)
        w.store.gate.set()
        await out.until(fx.Granted, 20)
        assert w.store.commits[before:] == [21]  # twenty units and the counter


async def test_a_batch_is_split_between_steps_at_the_stores_limit() -> None:
    async with world() as w:
        out, conn = await w.agent()
        w.store.gate.clear()
        w.store.entered.clear()
        await w.store.entered.wait()
        for i in range(6):
            w.ask(conn, *(f"Z{30 * i + k}" for k in range(30)))
        before = len(w.store.commits)
        w.store.gate.set()
        await out.until(fx.Granted, 6)
        assert w.store.commits[before:] == [121, 61]


async def test_a_stop_larger_than_one_transaction_is_committed_in_parts() -> None:
    async with world() as w:
        out, conn = await w.agent()
        for i in range(0, 192, 32):
            w.ask(conn, *(f"Z{i + k}" for k in range(32)))
        await out.until(fx.Granted, 6)
        before = len(w.store.commits)
        operator = Recorder()
        w.stop(operator, floor=True)
        await operator.until(fx.StopsReported)
        await w.agent("b")  # is welcomed behind everything that was decided before it came
        assert w.store.commits[before:] == [2, MAX_OPERATIONS, 192 - MAX_OPERATIONS]  # first of all the stop itself


async def test_a_stop_is_with_every_receiver_before_the_runtime_goes_through_what_it_ends() -> None:
    async with world() as w:
        out, conn = await w.agent()
        other, _ = await w.agent("b")
        w.ask(conn, "Z1", "Z2")
        await out.until(fx.Granted)
        machine = w.runtime.machine
        held = machine.units.of_agent("a")
        w.stop(Recorder(), floor=True)
        assert [s.agent_id for s in out.stops] == ["a"]
        assert other.stops == []  # it is nowhere
        assert machine.units.of_agent("a") == held  # not looked at yet
        await asyncio.sleep(0)  # what `stop` put into the loop's queue has run
        assert machine.winding_down == []
        assert {u.state for u in machine.units.of_agent("a")} == {UnitState.BLOCKED}


async def test_no_commit_between_the_halves_of_a_stop_makes_a_grant_known() -> None:
    """Its commit comes back when the stop has been told, and before the grants under it have been ended."""
    async with world() as w:
        out, conn = await w.agent()
        w.ask(conn, "Z1")
        await out.until(fx.Granted)
        w.store.gate.clear()
        w.store.entered.clear()
        w.ask(conn, "Z2")
        await w.store.entered.wait()
        w.runtime._wind_down = lambda: None  # type: ignore[method-assign]  # as if the loop never came to it
        operator = Recorder()
        w.stop(operator, zone="Z1")
        w.store.gate.set()
        await operator.until(fx.StopsReported)
        assert len(out.answers(fx.Granted)) == 1
        assert w.runtime.machine.grants.all() == []


async def test_an_uncertain_commit_rewrites_the_fence_and_reloads_what_really_happened() -> None:
    async with world() as w:
        out, conn = await w.agent()
        w.store.lose_next = True
        w.ask(conn, "Z1", request="r")
        assert await out.until_failed() is Refusal.COMMIT_UNCERTAIN
        assert out.answers(fx.Granted) == []
        await w.leading()
        assert w.store.refences == 1
        again, conn = await w.agent()
        welcome = await again.until(fx.Welcome)
        assert isinstance(welcome, fx.Welcome)
        assert [g.zones for g in welcome.grants] == [("Z1",)]


async def test_a_commit_that_was_not_applied_is_repeated_and_then_answered() -> None:
    async with world() as w:
        out, conn = await w.agent()
        w.store.fail_next = StoreUnavailable("no quorum")
        w.ask(conn, "Z1")
        await out.until(fx.Granted)
        assert out.failures == []


async def test_a_stop_that_left_before_an_uncertain_commit_is_put_back_after_the_reload() -> None:
    async with world() as w:
        out, conn = await w.agent()
        w.ask(conn, "Z1")
        await out.until(fx.Granted)
        w.store.fail_next = CommitUncertain("lost before it was applied")
        w.stop(Recorder(), zone="Z1")
        assert len(out.stops) == 1
        await out.until_failed()
        await w.leading()
        assert [s.stop_id for s in w.runtime.machine.stops.active()] == ["s"]
        assert w.runtime.machine.units.of("Z1")[0].state is UnitState.BLOCKED


async def test_without_a_committing_store_only_stops_are_taken() -> None:
    async with world() as w:
        out, conn = await w.agent()
        w.ask(conn, "Z1")
        await out.until(fx.Granted)
        w.store.gate.clear()
        w.store.fail_next = StoreUnavailable("no quorum")
        w.ask(conn, "Z2")
        w.store.gate.set()
        await w.leading(False)
        with pytest.raises(StoreDown, match="no quorum"):
            w.ask(conn, "Z3")
        w.stop(Recorder(), zone="Z1")
        assert len(out.stops) == 1
        await w.leading()


async def test_losing_leadership_ends_every_stream_and_stands_by() -> None:
    async with world() as w:
        out, conn = await w.agent()
        w.store.fail_next = Fenced("somebody else")
        w.ask(conn, "Z1")
        assert await out.until_failed() is Refusal.NOT_LEADER
        assert out.answers(fx.Granted) == []


async def test_a_foreign_writer_halts_the_coordinator() -> None:
    async with world() as w:
        _, conn = await w.agent()
        w.store.fail_next = RecordConflict("unit/Z1/0")
        w.ask(conn, "Z1")
        with pytest.raises(Halted, match="foreign writer"):
            await w.task


async def test_heartbeats_are_acknowledged_only_behind_a_commit_that_began_after_them() -> None:
    async with world() as w:
        out, conn = await w.agent()
        w.store.gate.clear()
        w.store.entered.clear()
        await w.store.entered.wait()
        w.runtime.heard(conn, 7)
        w.store.gate.set()
        await out.until_acked(7)
        commits = w.runtime.commits
        assert commits >= 2  # not the one that was under way when frame 7 was handled


async def test_an_event_that_breaks_the_core_is_quarantined_and_the_floor_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world() as w:
        out, conn = await w.agent()
        w.ask(conn, "Z1")
        await out.until(fx.Granted)

        def boom(self: Machine, event: ev.Reported) -> None:
            raise KeyError("planted")

        with monkeypatch.context() as patch:
            patch.setitem(w.runtime.machine._handlers, ev.Reported, lambda event: boom(w.runtime.machine, event))
            w.runtime.submit(ev.Reported(now_ms=w.runtime.now_ms(), conn=conn, agent_id="a"))
        assert await out.until_failed() is Refusal.INTERNAL
        assert w.runtime.safeguards.quarantined == 1
        await w.leading(False)
        await w.leading()
        assert w.store.refences == 1
        again, _ = await w.agent()
        welcome = await again.until(fx.Welcome)
        assert isinstance(welcome, fx.Welcome)
        assert [g.zones for g in welcome.grants] == [("Z1",)]
        w.runtime.submit(ev.Reported(now_ms=w.runtime.now_ms(), conn=conn_of(w, again), agent_id="a"))
        refused = await again.until(fx.Failed)  # said again, it is refused and takes nobody down
        assert isinstance(refused, fx.Failed)
        assert refused.refusal is Refusal.INTERNAL
        w.ask(conn_of(w, again), "Z2")
        await again.until(fx.Granted)
        assert (w.runtime.safeguards.quarantined, w.store.refences) == (1, 1)


def conn_of(w: World, out: Recorder) -> int:
    return next(conn for conn, outlet in w.runtime._outlets._open.items() if outlet is out)


async def test_an_overdue_hold_trips_only_behind_a_fresh_fence() -> None:
    async with world() as w:
        w.store.lease_ms = 400
        out, conn = await w.agent()
        w.ask(conn, "Z1", ms=500)  # due when the held commit has made the fence stale
        await out.until(fx.Granted)
        w.store.gate.clear()
        await asyncio.sleep(0.8)
        assert out.stops == []
        w.store.gate.set()
        await out.until(fx.Expired)
        assert len(out.stops) == 1

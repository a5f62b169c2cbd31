"""Stops that left before they were durable outlive the coordinator; a damaged file stops everything."""

from __future__ import annotations

import asyncio
from pathlib import Path

from runtime.scripted import Recorder, ScriptedStore

from coordinator.core import effects as fx
from coordinator.core import events as ev
from coordinator.core.model import FloorSpec, StopCause, StopRecord, Timing, UnitState, ZoneSpec
from coordinator.pending_stops import PendingStops
from coordinator.runtime import Runtime
from coordinator.store.port import CommitUncertain, StoreUnavailable

FLOOR = FloorSpec("test", 1, "h", (ZoneSpec("A", stop_group="west"), ZoneSpec("B", stop_group="east")))
STOP = StopRecord("s", StopCause.OPERATOR, False, ("west",), ("A",), "ann", "smoke", token=7, seq=3)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    file = PendingStops(tmp_path / "new" / "stops.json")
    assert file.read() == {}
    file.write([STOP])
    assert file.read() == {"s": STOP}
    file.write([])
    assert file.read() == {}


def test_a_damaged_file_is_set_aside_and_stops_the_floor(tmp_path: Path) -> None:
    path = tmp_path / "stops.json"
    for text in ("{", '{"version": 2, "stops": []}', '{"version": 1, "stops": [{"stop_id": "s"}]}', "[]"):
        path.write_text(text, encoding="utf-8")
        (stop,) = PendingStops(path).read().values()
        assert stop.floor
        assert str(path) in stop.reason
        assert path.with_suffix(".damaged").read_text(encoding="utf-8") == text
        assert not path.exists()


async def test_a_stop_outlives_a_coordinator_that_died_without_its_store(tmp_path: Path) -> None:
    """The store stops committing, an operator stops the area, the coordinator dies: the next one knows."""
    file = PendingStops(tmp_path / "stops.json")
    store = ScriptedStore()
    first = Runtime(FLOOR, store, Timing(), assume_empty=True, pending=file)
    task = asyncio.create_task(first.run())
    await changed(first, True)
    store.fail_next = StoreUnavailable("no quorum")
    store.gate.clear()
    operator = Recorder()
    first.submit(
        ev.StopAsked(
            now_ms=first.now_ms(), conn=first.attach(operator), operator="ann", reason="smoke", stop_id="s", zone="A"
        )
    )
    await kept(file, 1)
    assert operator.sends == []
    task.cancel()  # dies; nothing of the commit was applied
    await asyncio.gather(task, return_exceptions=True)

    store.gate.set()
    store.fail_next = None
    second = Runtime(FLOOR, store, Timing(), pending=file)
    task = asyncio.create_task(second.run())
    await changed(second, True)
    assert [s.stop_id for s in second.machine.stops.active()] == ["s"]
    await kept(file, 0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await store.close()


async def kept(file: PendingStops, count: int) -> None:
    """Waits until the file holds this many stops; it is written behind the stops, on a thread."""
    for _ in range(1_000):
        if len(await asyncio.to_thread(file.read)) == count:
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"the file never held {count} stops")


async def changed(runtime: Runtime, leading: bool) -> None:
    reached = asyncio.Event()
    runtime.on_leading.append(lambda leads: reached.set() if leads == leading else None)
    if runtime.leading != leading:
        await reached.wait()


async def test_a_release_received_before_an_uncertain_commit_does_not_become_a_stop() -> None:
    store = ScriptedStore()
    runtime = Runtime(FLOOR, store, Timing(reattach_ms=300), assume_empty=True)
    task = asyncio.create_task(runtime.run())
    await changed(runtime, True)
    out = Recorder()
    conn = runtime.attach(out)
    runtime.submit(ev.Hello(now_ms=runtime.now_ms(), conn=conn, agent_id="a", session="s"))
    ask = ev.Asked(
        now_ms=runtime.now_ms(), conn=conn, agent_id="a", request_id="r", zones=("A",), expected_ms=200, payload="p"
    )
    runtime.submit(ask)
    granted = await out.until(fx.Granted)
    assert isinstance(granted, fx.Granted)
    store.fail_next = CommitUncertain("lost before it was applied")
    runtime.submit(ev.Released(now_ms=runtime.now_ms(), conn=conn, agent_id="a", token=granted.token))
    await out.until_failed()
    await changed(runtime, True)
    for _ in range(500):  # until its inherited time has run out
        if runtime.machine.grants.get(granted.token) is None:
            break
        await asyncio.sleep(0.01)
    assert runtime.machine.units.of("A")[0].state is UnitState.BLOCKED
    assert runtime.machine.stops.active() == []
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await store.close()


class NeverWritten(PendingStops):
    """The coordinator dies before its first write."""

    def write(self, stops: list[StopRecord]) -> None:
        raise OSError("no time left")


async def test_a_stop_that_left_just_before_a_crash_is_adopted_from_who_received_it(tmp_path: Path) -> None:
    """Neither the store nor the file knows of it: the stop leaves first (I4), and the crash is faster than the disk."""
    file = NeverWritten(tmp_path / "stops.json")
    store = ScriptedStore()
    first = Runtime(FLOOR, store, Timing(), assume_empty=True, pending=file)
    task = asyncio.create_task(first.run())
    await changed(first, True)
    out = Recorder()
    conn = first.attach(out)
    first.submit(ev.Hello(now_ms=first.now_ms(), conn=conn, agent_id="a", session="s"))
    ask = ev.Asked(
        now_ms=first.now_ms(), conn=conn, agent_id="a", request_id="r", zones=("A",), expected_ms=9_000, payload="p"
    )
    first.submit(ask)
    await out.until(fx.Granted)
    store.gate.clear()
    operator = first.attach(Recorder())
    first.submit(
        ev.StopAsked(now_ms=first.now_ms(), conn=operator, operator="ann", reason="smoke", stop_id="s-1", zone="A")
    )
    (raised,) = (send.answer for send in out.stops)
    assert isinstance(raised, fx.StopRaised)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert file.read() == {}

    store.gate.set()
    second = Runtime(FLOOR, store, Timing(), pending=PendingStops(tmp_path / "stops.json"))
    task = asyncio.create_task(second.run())
    await changed(second, True)
    assert second.machine.stops.active() == []
    out = Recorder()
    conn = second.attach(out)
    latched = (raised.stop.stop_id,)
    second.submit(ev.Hello(now_ms=second.now_ms(), conn=conn, agent_id="a", session="s", latched_stop_ids=latched))
    await out.until(fx.Welcome)
    (stop,) = second.machine.stops.active()
    assert (stop.stop_id, stop.stop_groups) == ("s-1", ("west",))
    assert second.machine.units.of("A")[0].state is UnitState.BLOCKED
    desk = Recorder()
    second.submit(
        ev.ResetAsked(
            now_ms=second.now_ms(), conn=second.attach(desk), operator="ann", reason="looked", stop_ids=("s-1",)
        )
    )
    await desk.until(fx.StopsReported)  # by its id, as if it had never been lost
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await store.close()


async def test_a_stop_that_left_just_before_a_shutdown_is_in_the_file(tmp_path: Path) -> None:
    file = PendingStops(tmp_path / "stops.json")
    store = ScriptedStore()
    runtime = Runtime(FLOOR, store, Timing(), assume_empty=True, pending=file)
    task = asyncio.create_task(runtime.run())
    await changed(runtime, True)
    store.gate.clear()
    conn = runtime.attach(Recorder())
    runtime.submit(
        ev.StopAsked(now_ms=runtime.now_ms(), conn=conn, operator="ann", reason="smoke", stop_id="s-1", zone="A")
    )
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert sorted(file.read()) == ["s-1"]
    await store.close()

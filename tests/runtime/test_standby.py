"""What a coordinator does while it does not lead: whom it lets wait, and which stops it tells of."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from runtime.scripted import Recorder, ScriptedStore
from runtime.test_runtime import FLOOR

from coordinator.core import events as ev
from coordinator.core.model import Mark, StopCause, StopRecord, Timing
from coordinator.core.rejections import Refusal
from coordinator.pending_stops import PendingStops
from coordinator.runtime import NotLeading, Runtime
from coordinator.safeguards import Safeguards
from coordinator.standby import PARK_MS, YIELD_MS, Standby, StoreDown
from coordinator.store.port import LeaderSeen


class SharedStore(ScriptedStore):
    """A store whose standing the test decides."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: LeaderSeen | None = None
        self.doubt = False
        self.why = ""

    @property
    def leader(self) -> LeaderSeen | None:
        return self.seen

    @property
    def heir(self) -> bool:
        return self.doubt

    @property
    def trouble(self) -> str:
        return self.why


class Bench:
    def __init__(self, pending: PendingStops | None = None) -> None:
        self.now_ms = 0
        self.store = SharedStore()
        self.safeguards = Safeguards(pending, (), lambda: self.now_ms)
        self.standby = Standby(FLOOR, self.store, self.safeguards, lambda: self.now_ms)
        self.told: list[tuple[str, bool]] = []
        self.safeguards.on_stop.append(lambda stop: self.told.append((stop.stop_id, stop.active)))


def stop(stop_id: str, *, active: bool = True) -> StopRecord:
    by = "" if active else "mara"
    return StopRecord(stop_id, StopCause.OPERATOR, True, (), (), "ann", "smoke", active, by, by and "looked")


async def test_nobody_waits_at_a_standby_whose_leader_lives() -> None:
    bench = Bench()
    async with asyncio.timeout(5):
        await bench.standby.turn(lambda: False)


async def test_agents_wait_for_the_lead_where_the_leader_seems_gone_and_not_for_ever() -> None:
    bench = Bench()
    bench.store.doubt = True
    leads = False
    waiting = asyncio.create_task(bench.standby.turn(lambda: leads))
    await asyncio.sleep(0)
    bench.standby.changed()
    await asyncio.sleep(0)
    assert not waiting.done()
    leads = True
    bench.standby.changed()
    await asyncio.wait_for(waiting, 5)

    bench.now_ms = 0
    waiting = asyncio.create_task(bench.standby.turn(lambda: False))
    await asyncio.sleep(0)
    bench.now_ms = PARK_MS
    bench.standby.changed()
    await asyncio.wait_for(waiting, 5)


async def test_a_refusal_names_the_leader_or_why_there_is_none() -> None:
    bench = Bench()
    bench.store.seen = LeaderSeen("c1", "10.0.0.1:7600", "id", 5)
    refused = bench.standby.refusal("stands by")
    assert isinstance(refused, NotLeading)
    assert refused.metadata == (("leader", "10.0.0.1:7600"),)
    bench.store.seen, bench.store.why = None, "quota is used up"
    down = bench.standby.refusal("stands by")
    assert isinstance(down, StoreDown)
    assert down.refusal is Refusal.STORE_UNAVAILABLE
    assert "quota is used up" in down.message


async def test_what_the_leader_tells_of_stops_is_passed_on_once_and_its_resets_too() -> None:
    bench = Bench()
    bench.standby.hear([stop("a"), stop("b")], whole=True)
    bench.standby.hear([stop("a")], whole=False)
    bench.standby.hear([stop("a", active=False)], whole=False)
    bench.standby.hear([stop("a")], whole=False)  # an old copy: the reset is known
    assert bench.told == [("a", True), ("b", True), ("a", False)]
    assert [s.stop_id for s in bench.standby.known_stops()] == ["b"]


async def test_a_stop_that_the_next_leader_does_not_know_is_owed_to_it() -> None:
    """It left the last leader and may never have reached the ledger, or was reset behind our back: the ledger knows."""
    bench = Bench()
    bench.standby.hear([stop("a"), stop("b")], whole=True)
    bench.standby.hear([stop("b")], whole=True)
    assert [s.stop_id for s in bench.standby.unrecorded()] == ["a"]
    assert {s.stop_id for s in bench.standby.known_stops()} == {"a", "b"}
    bench.standby.recorded([stop("a", active=False)])
    assert bench.standby.unrecorded() == []
    assert [s.stop_id for s in bench.standby.known_stops()] == ["b"]


async def test_a_stop_asked_of_a_standby_leaves_at_once_and_is_kept_until_the_leader_has_it(tmp_path: Path) -> None:
    pending = PendingStops(tmp_path / "c.pending-stops.json")
    bench = Bench(pending)
    await bench.safeguards.open()
    asked = ev.StopAsked(now_ms=0, conn=1, operator="ann", reason="smoke", stop_id="s", floor=True)
    refusal, message = bench.standby.stop(asked)
    assert (refusal, bench.told) == (Refusal.COMMIT_UNCERTAIN, [("s", True)])
    assert "not recorded yet" in message
    await bench.safeguards.close()
    assert set(pending.read()) == {"s"}
    bench.standby.recorded([stop("s")])
    assert bench.standby.unrecorded() == []
    assert [s.stop_id for s in bench.standby.known_stops()] == ["s"]  # in force, told by the leader


@pytest.mark.parametrize("scope", [{}, {"zone": "NOWHERE"}])
async def test_a_stop_of_nothing_is_refused_and_leaves_nowhere(scope: dict[str, str]) -> None:
    bench = Bench()
    asked = ev.StopAsked(now_ms=0, conn=1, operator="ann", reason="smoke", stop_id="s", **scope)  # type: ignore[arg-type]
    assert bench.standby.stop(asked)[0] is Refusal.BAD_SCOPE
    assert bench.told == []


async def test_a_standby_keeps_how_far_the_leaders_ledger_is() -> None:
    bench = Bench()
    for notice in bench.store.on_progress:
        notice(5, 70, 1 << 40 | 9)
        notice(5, 69, 1 << 40 | 8)  # a watch may tell things late
    assert bench.safeguards.high_water == Mark(5, 70, 1 << 40 | 9)


async def test_agents_are_sent_to_the_successor_that_the_leader_named_and_for_a_moment_only() -> None:
    bench = Bench()
    bench.store.seen = LeaderSeen("c1", "10.0.0.1:7600", "id", 5)
    bench.standby.name_successor("10.0.0.2:7600")
    assert bench.standby.refusal("stands by").metadata == (("leader", "10.0.0.2:7600"),)  # type: ignore[union-attr]
    bench.now_ms = YIELD_MS
    assert bench.standby.refusal("stands by").metadata == (("leader", "10.0.0.1:7600"),)  # type: ignore[union-attr]


async def test_a_leader_that_ends_tells_every_stream_where_to_go_on_before_its_last_commit() -> None:
    store = ScriptedStore()
    runtime = Runtime(FLOOR, store, Timing(), assume_empty=True)
    runtime.standby.choose_successor = lambda: "10.0.0.2:7600"
    running = asyncio.create_task(runtime.run())
    leads = asyncio.Event()
    runtime.on_leading.append(lambda _: leads.set())
    async with asyncio.timeout(5):
        await leads.wait()
        outlet = Recorder()
        runtime.attach(outlet)
        store.gate.clear()
        store.entered.clear()
        await store.entered.wait()
        resigning = asyncio.create_task(runtime.resign(5))
        await asyncio.sleep(0)
        assert runtime.standby.successor is not None  # the standbys know while the last commit is under way
        assert not outlet.failures
        store.gate.set()
        await resigning
        await running
    assert outlet.failures == [Refusal.NOT_LEADER]
    assert outlet.hints == [(("leader", "10.0.0.2:7600"),)]

"""A clearance holds for the occupancy that its operator saw, and for no later one."""

from __future__ import annotations

from core.bench import Bench, only

from coordinator.core import effects as fx
from coordinator.core import events as ev
from coordinator.core.model import BlockCause, UnitState
from coordinator.core.rejections import Refusal


def test_a_clearance_that_arrives_after_the_occupant_came_back_and_parked_is_refused() -> None:
    """Found by thinking: the request stalls in the network while the machine that was towed away returns."""
    bench = Bench()
    bench.hello("a")
    token = only(bench.ask("a", "A"), fx.Granted).token
    bench.abandon("a", token)
    seen = bench.seen()
    token = only(bench.ask("a", "A"), fx.Granted).token
    bench.abandon("a", token, block=BlockCause.PARKED)
    late = ev.ClearAsked(now_ms=bench.now_ms, conn=0, operator="ann", reason="towed", zones=("A",), seen=seen)
    refused = only(bench.do(late), fx.Failed)
    assert refused.refusal is Refusal.OCCUPANT_CHANGED
    assert dict(refused.metadata)["found"] == f"a (token {token})"
    assert bench.machine.units.of("A")[0].state is UnitState.BLOCKED
    only(bench.clear("A"), fx.ZonesCleared)


def test_a_clearance_that_names_nobody_clears_unknown_zones_and_no_occupied_one() -> None:
    bench = Bench(assume_empty=False)
    bench.hello("a", standing_zones=("A",))
    assert only(bench.clear("A", "B", seen=()), fx.Failed).refusal is Refusal.OCCUPANT_CHANGED
    assert bench.machine.units.of("B")[0].state is UnitState.UNKNOWN  # all or nothing
    assert only(bench.clear("B", seen=()), fx.ZonesCleared).zones == ("B",)


def test_a_confirmation_of_the_whole_floor_does_not_outlive_the_ledger_that_was_looked_at() -> None:
    bench = Bench(assume_empty=False)
    bench.hello("a", highest_token=(1 << 40) + 9)
    refused = only(bench.clear(all_unknown=True, incarnation=1), fx.Failed)
    assert refused.refusal is Refusal.OCCUPANT_CHANGED
    only(bench.clear(all_unknown=True, incarnation=bench.machine.counter.incarnation), fx.ZonesCleared)

"""A ledger that was restored from an old copy: who notices, what follows, and what must not be taken for one."""

from __future__ import annotations

from typing import Any

from core.bench import Bench, only

from coordinator.core import effects as fx
from coordinator.core import events as ev
from coordinator.core.invariants import check
from coordinator.core.machine import Machine
from coordinator.core.model import Ledger, Mark, StopCause, UnitState


def test_a_ledger_below_what_an_agent_saw_is_distrusted_whole() -> None:
    """Restored from an old copy, which knows nothing of the grant that a was given after it was made."""
    bench = Bench()
    bench.hello("b")
    only(bench.ask("b", "C"), fx.Granted)
    seen = (1 << 40) + 77
    answers = bench.hello("a", highest_token=seen)
    stop = only(answers, fx.Welcome).active_stops[0]
    assert (stop.cause, stop.floor) == (StopCause.LEDGER, True)
    assert bench.machine.counter.token > seen
    assert [u.state for u in bench.machine.units.of("A")] == [UnitState.UNKNOWN]
    assert bench.machine.units.of("C")[0].state is UnitState.BLOCKED  # b is known to stand there
    bench.start()
    assert [u.state for u in bench.machine.units.of("A")] == [UnitState.UNKNOWN]
    for agent in ("a", "b"):
        bench.hello(agent, highest_token=seen)
        bench.acknowledge(agent)
    bench.clear(all_unknown=True)
    only(bench.reset(stop.stop_id), fx.StopsReported)
    assert only(bench.ask("a", "A"), fx.Granted).token > seen


def test_a_stop_that_the_copy_does_not_know_holds_the_floor_until_it_is_reset_too() -> None:
    """The simulator, seed 584: b stood in the stop's scope, and began anew; only a, elsewhere, still knew of it."""
    bench = Bench()
    for agent, zone in (("a", "A"), ("b", "C")):
        bench.hello(agent)
        only(bench.ask(agent, zone), fx.Granted)
    bench.start()
    bench.latched["a"] = {"s"}
    bench.hello("b")
    bench.hello("a", highest_token=(1 << 40) + 77)
    assert bench.latched["b"] == bench.latched["a"] == {"s", "ledger:2"}
    for agent in ("a", "b"):
        bench.acknowledge(agent)
    bench.clear(all_unknown=True)
    only(bench.reset("ledger:2"), fx.StopsReported)
    assert only(bench.ask("b", "C"), fx.Rejected).stop_ids == ("s",)
    only(bench.reset("s"), fx.StopsReported)
    only(bench.ask("b", "C"), fx.Granted)


def test_after_a_distrusted_ledger_routes_are_judged_by_the_room_that_there_is() -> None:
    """The simulator, seed 5 with a restoration: two stood head-on for ever, and each was told that it could finish."""
    bench = Bench()
    bench.hello("b", highest_token=(1 << 40) + 77)
    bench.acknowledge("b")
    assert check(bench.machine) == []
    bench.clear(all_unknown=True)
    only(bench.reset(bench.machine.stops.active()[0].stop_id), fx.StopsReported)
    assert check(bench.machine) == []
    assert bench.machine.routes.room("A") == len(bench.machine.units.of("A"))


def test_a_token_of_which_only_one_zone_was_occupied_is_still_one_agents_after_a_reload() -> None:
    """The simulator, seed 23 with a restoration: the given-back zone forgets whose it was, the kept one does not."""
    bench = Bench()
    bench.hello("a")
    token = only(bench.ask("a", "A", "B"), fx.Granted).token
    bench.release("a", token, "A")
    bench.hello("b", highest_token=(1 << 40) + 77)
    bench.start()
    assert check(bench.machine) == []
    assert {u.token for zone in ("A", "B") for u in bench.machine.units.of(zone)} == {token}


def seen_of(bench: Bench) -> dict[str, Any]:
    """What every acknowledgement of the bench's leader says."""
    return {
        "highest_epoch": bench.epoch,
        "highest_revision": bench.revision,
        "highest_token": bench.machine.counter.token,
    }


def test_an_agent_that_saw_only_a_later_revision_finds_a_restored_ledger_out() -> None:
    """The first one back was granted nothing since the copy was made, and must not be served from it all the same."""
    bench = Bench()
    bench.hello("b")
    seen = seen_of(bench)
    copy = (dict(bench.kept), bench.epoch, bench.revision)
    bench.hello("a", standing_zones=("A",))  # b hears of the commit, and of no token of its own
    seen["highest_revision"] = bench.revision
    bench.kept, bench.epoch, bench.revision = copy
    bench.highest.clear()
    bench.start()
    stop = only(bench.hello("b", **seen), fx.Welcome).active_stops[0]
    assert (stop.cause, stop.floor) == (StopCause.LEDGER, True)
    assert "saw revision" in stop.reason
    assert [u.state for u in bench.machine.units.of("A")] == [UnitState.UNKNOWN]


def test_an_agent_that_saw_a_later_leader_finds_a_restored_ledger_out() -> None:
    bench = Bench()
    copy = (dict(bench.kept), bench.epoch, bench.revision)
    bench.start()
    bench.start()
    bench.hello("b")
    seen = seen_of(bench)
    bench.kept, bench.epoch, bench.revision = copy
    bench.start()
    stop = only(bench.hello("b", **seen), fx.Welcome).active_stops[0]
    assert "saw a leader with fence" in stop.reason


def test_a_ledger_that_went_on_is_never_distrusted_for_what_was_seen_of_it() -> None:
    bench = Bench()
    for _ in range(3):
        bench.hello("a", **seen_of(bench))
        token = only(bench.ask("a", "A"), fx.Granted).token
        bench.release("a", token)
        bench.hello("a", **seen_of(bench))
        seen = seen_of(bench)
        bench.start()
        bench.hello("a", **seen)
    assert bench.machine.stops.active() == []


def test_a_ledger_that_was_found_out_once_is_not_distrusted_again_for_the_same_marks() -> None:
    """Agents come back one after the other, each with a mark of the ledger that was lost; one stop is enough."""
    bench = Bench()
    bench.start()
    bench.start()
    seen = seen_of(bench)
    bench.epoch, bench.revision = 0, 0
    bench.start()
    bench.hello("a", **seen)
    bench.hello("b", **seen)
    bench.start()
    bench.hello("c", **seen)
    assert [s.cause for s in bench.machine.stops.active()] == [StopCause.LEDGER]


def test_a_new_ledger_of_a_floor_declared_empty_goes_on_above_the_old_tokens_without_a_stop() -> None:
    bench = Bench()
    bench.kept.clear()
    bench.assume_empty = False
    bench.machine = Machine(bench.floor, Ledger(epoch=1), bench.timing, bench.now_ms)
    bench.do(ev.Started(now_ms=bench.now_ms, assume_empty=True, seen=Mark(epoch=7, revision=9, token=(3 << 40) + 5)))
    assert bench.machine.stops.active() == []
    bench.hello("a")
    token = only(bench.ask("a", "A"), fx.Granted).token
    assert token > (3 << 40) + 5
    bench.start()
    assert bench.machine.units.of("A")[0].token == token
    assert bench.machine.units.of("B")[0].state is UnitState.FREE


def test_a_coordinator_that_saw_more_itself_distrusts_its_ledger() -> None:
    bench = Bench()
    bench.do(ev.Started(now_ms=bench.now_ms, seen=Mark(token=1 << 42)))
    assert [s.cause for s in bench.machine.stops.active()] == [StopCause.LEDGER]

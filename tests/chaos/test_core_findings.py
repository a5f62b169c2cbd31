"""Bugs of the core that the checkers found, each as the shortest scene that shows it."""

from __future__ import annotations

from chaos.stories.floors import row_floor
from chaos.stories.scene import Scene
from coordinator.core.machine import Machine


def deadline_ms(scene: Scene) -> int:
    machine = scene.machine
    assert isinstance(machine, Machine)
    found = machine.next_deadline_ms()
    assert found is not None
    return found


def test_an_inherited_deadline_is_takeover_plus_what_the_ledger_says_remains() -> None:
    """An extended grant records its remaining time; its first commit under a new leader used to start it all over."""
    s = Scene(row_floor("A B"))
    s.hello("V1")
    s.ask("V1", "A", ms=10_000)
    s.drive("V1", "A")
    s.wait(8_500)
    s.extend("V1", 3_000)
    s.crash()
    s.restart()
    taken_over = s.now_ms
    s.wait(4_000)
    stops = [line for line in s.history if line.kind == "step" and line.get("stops")]
    assert [line.t for line in stops] == [taken_over + 3_030], s.verdict()
    assert s.verdict() == []


def test_two_extensions_in_one_commit_count_the_second_and_not_the_original_time() -> None:
    s = Scene(row_floor("A B"))
    s.hello("V1")
    s.ask("V1", "A", ms=20_000)
    s.drive("V1", "A")
    s.wait(15_000)
    s.hold_commits()
    s.extend("V1", 6_000)
    s.extend("V1", 7_000)
    s.let_commit()
    committed = s.now_ms
    s.wait(9_000)
    stops = [line.t for line in s.history if line.kind == "step" and line.get("stops")]
    assert stops == [committed + 7_070], s.verdict()
    assert s.verdict() == []


def test_a_grant_that_was_told_counts_as_told_although_an_older_one_is_extended_meanwhile() -> None:
    """An extension decided during a commit kept the grants behind it from becoming live: a stop then freed the zone
    of a holder that had been told, as if it had never been.
    """
    s = Scene(row_floor("A B"))
    s.hello("V1")
    s.hello("V2")
    s.ask("V1", "A", ms=20_000)
    s.drive("V1", "A")
    s.hold_commits()
    s.extend("V1", 10_000)
    s.ask("V2", "B", ms=20_000)
    under_way = s.begin_commit()
    s.extend("V1", 11_000)
    s.finish_commit(under_way)
    s.settle()
    s.drive("V2", "B")
    s.stop("s-1", floor=True)
    s.let_commit()
    s.wait(300)
    assert s.verdict() == []
    machine = s.machine
    assert machine is not None and machine.units.of("B")[0].agent_id == "V2"
    assert machine.units.of("B")[0].state.value == "BLOCKED"


def test_an_agent_that_comes_back_latched_holds_no_live_grant() -> None:
    """V1's grant of C, still under way, is what brings it into the stop's scope. The lost commit takes that grant away;
    V1 stays latched, has given up everything, and must not count as the holder of B: that hold would be tripped later.
    """
    s = Scene(row_floor("B@west C@east"))
    s.hello("V1")
    s.ask("V1", "B", ms=5_000)
    s.drive("V1", "B")
    s.hold_commits()
    s.ask("V1", "C")
    s.stop("s-1", stop_group="east")
    s.lose(applied=False)
    s.wait(8_000)
    machine = s.machine
    assert machine is not None
    assert [stop.stop_id for stop in machine.stops.active()] == ["s-1"]
    assert machine.units.of("B")[0].cause.value == "STOPPED"
    assert s.verdict() == []


def test_a_shorter_extension_in_the_same_commit_takes_nothing_from_a_longer_one() -> None:
    """The holder was told of both and reckons with the longer; the coordinator used to trip by the shorter."""
    s = Scene(row_floor("A B"))
    s.hello("V1")
    s.ask("V1", "A", ms=5_000)
    s.drive("V1", "A")
    s.wait(1_000)
    s.hold_commits()
    s.extend("V1", 6_000)
    s.extend("V1", 1_000)
    s.let_commit()
    committed = s.now_ms
    assert deadline_ms(s) <= committed + 6_060
    s.go("V1")
    s.wait(8_000)
    stops = [line.t for line in s.history if line.kind == "step" and line.get("stops")]
    assert stops == [committed + 6_060], s.verdict()
    assert s.verdict() == []

"""The watchdog thread: on time, in order, once, and undisturbed by callbacks that fail."""

from __future__ import annotations

import threading
import time

import pytest
from zonelock_client import dead_man
from zonelock_client.clock import boottime_ns
from zonelock_client.dead_man import DeadMan, process_dead_man
from zonelock_client.session_core import HeldGrant, LostReason


class Bell:
    """An alarm that notes what happens to it."""

    def __init__(self, due_in_ms: float, *, fails: bool = False, story: list[str] | None = None) -> None:
        self.at_ns: int | None = boottime_ns() + round(due_in_ms * 1e6)
        self.rang = threading.Event()
        self.rang_ns = 0
        self.times = 0
        self._fails = fails
        self._story = story if story is not None else []

    def due_ns(self) -> int | None:
        return self.at_ns

    def trip(self) -> None:
        self.at_ns = None
        self._story.append("trip")

    def halt(self) -> None:
        self.rang_ns = boottime_ns()
        self.times += 1
        self._story.append("halt")
        self.rang.set()
        if self._fails:
            raise OSError("the drive does not answer")


def test_an_alarm_rings_when_it_is_due_and_not_before() -> None:
    watch, bell = DeadMan(), Bell(60)
    due_ns = bell.at_ns
    assert due_ns is not None
    watch.watch(bell)
    assert bell.rang.wait(10)
    assert bell.rang_ns >= due_ns


def test_alarms_that_moved_ring_at_their_new_time_only() -> None:
    watch, later, sooner = DeadMan(), Bell(40), Bell(60_000)
    watch.watch(later)
    watch.watch(sooner)
    later.at_ns = moved_ns = boottime_ns() + 150_000_000
    sooner.at_ns = boottime_ns()
    watch.watch(sooner)
    assert sooner.rang.wait(10)
    assert later.rang.wait(10)
    assert later.rang_ns >= moved_ns
    assert (sooner.times, later.times) == (1, 1)


def test_an_alarm_that_ended_never_rings() -> None:
    watch, ended, after = DeadMan(), Bell(20), Bell(60)
    watch.watch(ended)
    watch.watch(after)
    ended.at_ns = None
    assert after.rang.wait(10)
    assert not ended.rang.is_set()


def test_everything_due_is_marked_before_anything_halts_and_a_failing_halt_disturbs_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    story: list[str] = []
    watch = DeadMan()
    blocker = threading.Event()
    watch.call(lambda: bool(blocker.wait(10)) and None)  # type: ignore[arg-type]
    bells = [Bell(0, fails=True, story=story), Bell(0, story=story)]
    for bell in bells:
        watch.watch(bell)
    blocker.set()
    assert all(bell.rang.wait(10) for bell in bells)
    assert sorted(story[:2]) == ["trip", "trip"]
    assert "halt callback raised" in caplog.text


def test_a_call_runs_on_the_thread_and_its_outcome_comes_back() -> None:
    watch = DeadMan()
    names: list[str] = []
    watch.call(lambda: names.append(threading.current_thread().name)).result(10)
    assert names == ["zonelock-dead-man"]

    def fails() -> None:
        raise OSError("the drive does not answer")

    with pytest.raises(OSError, match="drive"):
        watch.call(fails).result(10)


def test_ended_alarms_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_man, "STALE_ENTRIES_MAX", 50)
    watch = DeadMan()
    for _ in range(500):
        bell = Bell(60_000)
        watch.watch(bell)
        bell.at_ns = None
    assert len(watch._heap) <= 101
    assert len(watch._latest) <= 101


def test_an_alarm_that_names_a_new_time_when_it_rings_is_watched_on() -> None:
    watch = DeadMan()

    class Twice(Bell):
        def trip(self) -> None:
            self.at_ns = boottime_ns() + 30_000_000 if self.times == 0 else None

        def halt(self) -> None:
            self.times += 1
            if self.times == 2:
                self.rang.set()

    bell = Twice(0)
    watch.watch(bell)
    assert bell.rang.wait(10)


def test_there_is_one_thread_per_process() -> None:
    assert process_dead_man() is process_dead_man()


def test_a_grant_is_lost_once_however_many_threads_find_out() -> None:
    held = HeldGrant(token=1, zones=("Z",), expected_ms=1, deadline_ns=0, warn_ns=0)
    reasons = [LostReason.DEADLINE, LostReason.STOPPED, LostReason.REVOKED] * 8
    won: list[LostReason] = []
    gate = threading.Barrier(len(reasons))

    def lose(reason: LostReason) -> None:
        gate.wait()
        if held.lose(reason, "test"):
            won.append(reason)

    threads = [threading.Thread(target=lose, args=(reason,)) for reason in reasons]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == [held.lost_reason]


def test_the_clock_is_the_one_that_counts_through_sleep() -> None:
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    assert before <= boottime_ns() <= time.clock_gettime_ns(time.CLOCK_BOOTTIME)

"""The dead-man: one daemon thread per process that halts agents whose time is over, whatever their event loop does.

Rule: an alarm that is due is marked lost before any callback runs, and its callback runs on this thread, so that a
blocked event loop delays neither. Callbacks must be short: they share the thread. What holds the GIL for long (a C
extension that never releases it) delays the thread too; against that only a watchdog in the vehicle's own
controller helps. Never imports asyncio or grpc: the thread touches no event loop.
"""

from __future__ import annotations

import heapq
import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from zonelock_client.clock import boottime_ns

logger = logging.getLogger("zonelock.client")

MAX_SLEEP_S = 0.05
"""The thread's waits count monotonic time, which stands still in system sleep: look at the clock at least this
often."""
STALE_ENTRIES_MAX = 4_096
"""Alarms that ended before their time stay in the heap until it is due, or until there are this many."""


@dataclass(frozen=True, slots=True)
class Halt:
    """Why the machine must stand still. `reason` is a LostReason, or "link" when the coordinator is out of reach."""

    agent_id: str
    reason: str
    message: str
    token: int = 0
    zones: tuple[str, ...] = ()


class Alarm(Protocol):
    """Something with a time. Called from the dead-man's thread."""

    def due_ns(self) -> int | None:
        """When it is due on CLOCK_BOOTTIME; None when it no longer is. Asked again after it tripped."""

    def trip(self) -> None:
        """It is due: mark it. Must not block; every due alarm trips before any halts."""

    def halt(self) -> None:
        """Stop the motion."""


class DeadMan:
    """Alarms by time. Alarms may move later by themselves; whoever moves one sooner calls `watch` again."""

    def __init__(self) -> None:
        self._wake = threading.Condition()
        self._heap: list[tuple[int, int, Alarm]] = []
        self._latest: dict[Alarm, int] = {}
        self._entries = 0
        self._calls: deque[tuple[Callable[[], None], Future[None]]] = deque()
        self._thread: threading.Thread | None = None

    def watch(self, alarm: Alarm) -> None:
        """Adds an alarm, or looks again at one whose time moved. Thread-safe."""
        due_ns = alarm.due_ns()
        if due_ns is None:
            return
        with self._wake:
            self._push(due_ns, alarm)
            if len(self._heap) > 2 * STALE_ENTRIES_MAX:
                self._drop_ended()
            if self._heap[0][2] is alarm:
                self._wake.notify()
            self._start()

    def call(self, function: Callable[[], None]) -> Future[None]:
        """Runs a halt on the thread as soon as it is free. The future has the outcome. Thread-safe."""
        future: Future[None] = Future()
        with self._wake:
            self._calls.append((function, future))
            self._wake.notify()
            self._start()
        return future

    def _push(self, due_ns: int, alarm: Alarm) -> None:
        # An alarm counts under its latest entry only; an earlier one is skipped when its time comes.
        self._entries += 1
        self._latest[alarm] = self._entries
        heapq.heappush(self._heap, (due_ns, self._entries, alarm))

    def _drop_ended(self) -> None:
        latest = self._latest
        self._heap = [e for e in self._heap if latest.get(e[2]) == e[1] and e[2].due_ns() is not None]
        heapq.heapify(self._heap)
        self._latest = {alarm: entry for _, entry, alarm in self._heap}

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="zonelock-dead-man", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            with self._wake:
                calls, due = self._take_calls(), self._take_due()
                if not calls and not due:
                    self._wake.wait(self._pause_s())
                    continue
            for alarm in due:
                alarm.trip()
            for alarm in due:
                _guard(alarm.halt)
                self.watch(alarm)
            for function, future in calls:
                _settle(function, future)

    def _take_calls(self) -> list[tuple[Callable[[], None], Future[None]]]:
        calls = list(self._calls)
        self._calls.clear()
        return calls

    def _take_due(self) -> list[Alarm]:
        now_ns = boottime_ns()
        due: list[Alarm] = []
        while self._heap and self._heap[0][0] <= now_ns:
            _, entry, alarm = heapq.heappop(self._heap)
            if self._latest.get(alarm) != entry:
                continue
            del self._latest[alarm]
            due_ns = alarm.due_ns()
            if due_ns is None:
                continue
            if due_ns <= now_ns:
                due.append(alarm)
            else:
                self._push(due_ns, alarm)
        return due

    def _pause_s(self) -> float | None:
        if not self._heap:
            return None
        return min(MAX_SLEEP_S, max(0.0, (self._heap[0][0] - boottime_ns()) / 1e9))


def _guard(function: Callable[[], None]) -> None:
    try:
        function()
    except Exception:
        logger.exception("a halt callback raised; make sure by other means that the machine stands still")


def _settle(function: Callable[[], None], future: Future[None]) -> None:
    try:
        function()
    except Exception as error:
        logger.exception("a halt callback raised; make sure by other means that the machine stands still")
        future.set_exception(error)
    else:
        future.set_result(None)


_process: DeadMan | None = None
_process_lock = threading.Lock()


def process_dead_man() -> DeadMan:
    """The process's one dead-man."""
    global _process  # noqa: PLW0603 - one thread per process is the point
    with _process_lock:
        if _process is None:
            _process = DeadMan()
        return _process


def _after_fork() -> None:
    # Threads do not survive a fork: a child that inherited this object would believe itself watched.
    global _process, _process_lock
    _process, _process_lock = None, threading.Lock()


os.register_at_fork(after_in_child=_after_fork)

"""Virtual time: one event loop on which every simulated process runs, each by its own clock.

Rules owned here: nothing sleeps, and between two handles no time passes but what timers ask for; handles run in the
order in which they became ready, timers by (time, order of creation), so that one seed gives one history. A `Process`
is what the kernel would know of a program: it can be killed (none of its handles ever runs again, no `finally` of it
either), stopped (SIGSTOP: its handles wait until it goes on) and blown up after so many task switches; its clock counts
at a rate of its own. Which process a handle belongs to travels in its context, as a task's children inherit it. Never
imports zonelock.
"""

from __future__ import annotations

import asyncio
import heapq
import warnings
from asyncio import base_events, events
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeVar

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
PPM = 1_000_000

_T = TypeVar("_T")

PROCESS: ContextVar[Process | None] = ContextVar("simulated process", default=None)


class Process:
    """A program on a host: its clock, and whether it runs."""

    def __init__(self, loop: VirtualLoop, name: str, *, boot_ns: int = 0, rate_ppm: int = 0) -> None:
        """`boot_ns` is what its clock shows now; `rate_ppm` how much faster than true time it counts."""
        self.loop, self.name = loop, name
        self.rate_ppm = rate_ppm
        self._base_true_ns, self._base_local_ns = loop.true_ns, boot_ns
        self.alive, self.paused = True, False
        self.switches = 0
        self.fuse: int | None = None
        """Task switches until the process is killed."""
        self.on_death: list[Callable[[], None]] = []
        self._parked: deque[events.Handle] = deque()
        self.context = copy_context()
        self.context.run(PROCESS.set, self)

    def local_ns(self, true_ns: int) -> int:
        """What its clock shows at that moment."""
        return self._base_local_ns + (true_ns - self._base_true_ns) * (PPM + self.rate_ppm) // PPM

    def true_ns(self, local_ns: int) -> int:
        """The moment at which its clock shows at least this."""
        return self._base_true_ns + -(-(local_ns - self._base_local_ns) * PPM // (PPM + self.rate_ppm))

    @property
    def now_ns(self) -> int:
        return self.local_ns(self.loop.true_ns)

    def launch(self, make: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        """Begins a task of this process as soon as it gets the processor. The task is not expected to raise."""
        self.call(self._begin, make, name)

    def _begin(self, make: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        task = self.loop.create_task(make(), name=f"{self.name}/{name}", context=self.context.copy())
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self.loop.failures.append((f"{task.get_name()} ended", task.exception()))

    def call(self, function: Callable[..., None], *args: Any) -> None:
        """Runs a function in this process as soon as it gets the processor."""
        self.loop.call_soon(function, *args, context=self.context)

    def kill(self) -> None:
        """SIGKILL: whatever it was doing, it does no more."""
        if not self.alive:
            return
        self.alive = False
        self._parked.clear()
        for notice in self.on_death:
            notice()

    def pause(self) -> None:
        """SIGSTOP."""
        self.paused = True

    def resume(self) -> None:
        """SIGCONT: what became due meanwhile runs now, in order."""
        self.paused = False
        self.loop.put_back(self._parked)
        self._parked = deque()

    def park(self, handle: events.Handle) -> None:
        self._parked.append(handle)


class VirtualLoop(base_events.BaseEventLoop):
    """An asyncio loop without a selector. `true_ns` is the world's time; `time()` is the running process's clock."""

    def __init__(self) -> None:
        super().__init__()
        self.true_ns = 0
        self.handles_run = 0
        self.failures: list[tuple[str, BaseException | None]] = []
        self.on_task_switch: Callable[[Process], None] | None = None
        self._world = Context()
        self._queue: deque[events.Handle] = deque()
        self._timers: list[tuple[int, int, events.TimerHandle]] = []
        self._created = 0
        self._current: Process | None = None
        self._tasks: list[asyncio.Task[Any]] = []
        self._disposing = False
        self._until: Callable[[], bool] = lambda: False
        self._limit_ns = 0
        self.set_exception_handler(_note_failure)

    # -- time ----------------------------------------------------------------------------------------------------

    def time(self) -> float:
        """Seconds on the clock of the process whose handle runs; true seconds outside any."""
        process = self._current
        return (self.true_ns if process is None else process.local_ns(self.true_ns)) / NS_PER_S

    @property
    def now_ms(self) -> int:
        """True milliseconds."""
        return self.true_ns // NS_PER_MS

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> events.TimerHandle:
        """`when` is on the clock of the process whose handle runs."""
        local_ns = round(when * NS_PER_S)
        process = self._current
        true_ns = local_ns if process is None else process.true_ns(local_ns)
        return self.call_at_true(true_ns, callback, *args, context=context or copy_context())

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> events.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at_true(
        self, true_ns: int, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> events.TimerHandle:
        """A timer of the world, unless `context` says of which process: whoever set it may die or stop."""
        timer = events.TimerHandle(true_ns / NS_PER_S, callback, args, self, context or self._world)
        if not self._disposing:
            self._created += 1
            heapq.heappush(self._timers, (true_ns, self._created, timer))
        return timer

    def after_ms(
        self, delay_ms: int, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> None:
        """A timer of the world, in true milliseconds from now."""
        self.call_at_true(self.true_ns + delay_ms * NS_PER_MS, callback, *args, context=context)

    # -- handles -------------------------------------------------------------------------------------------------

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> events.Handle:
        handle = events.Handle(callback, args, self, context)
        if not self._disposing:
            self._queue.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]  # there is one thread

    def create_task(
        self,
        coro: Generator[Any, None, _T] | Coroutine[Any, Any, _T],
        *,
        name: object = None,
        context: Context | None = None,
    ) -> asyncio.Task[_T]:
        # Kept until the end: a killed process's tasks must not be collected, which would run their `finally` blocks.
        task = asyncio.Task(coro, loop=self, name=name, context=context)  # type: ignore[arg-type]
        self._tasks.append(task)
        return task

    def put_back(self, handles: deque[events.Handle]) -> None:
        self._queue.extend(handles)

    def _timer_handle_cancelled(self, handle: events.TimerHandle) -> None:
        """Cancelled timers stay in the heap until their time; nothing counts them."""

    def run_world(self, until: Callable[[], bool], limit_ns: int) -> None:
        """Runs until the predicate holds (asked whenever time is about to pass) or true time reaches the limit."""
        self._until, self._limit_ns = until, limit_ns
        self._stopping = False
        self.run_forever()

    def _run_once(self) -> None:
        """Everything that is ready, then one step of time."""
        queue = self._queue
        while queue:
            self._run(queue.popleft())
        if self._until():
            self._stopping = True
            return
        timers = self._timers
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)
        if not timers or timers[0][0] > self._limit_ns:
            self.true_ns = max(self.true_ns, self._limit_ns)
            self._stopping = True
            return
        self.true_ns = max(self.true_ns, timers[0][0])
        while timers and timers[0][0] <= self.true_ns:
            timer = heapq.heappop(timers)[2]
            if not timer._cancelled:
                queue.append(timer)

    def _run(self, handle: events.Handle) -> None:
        if handle._cancelled:
            return
        process: Process | None = handle._context.get(PROCESS)  # type: ignore[attr-defined]
        if process is not None:
            if not process.alive:
                return
            if process.paused:
                process.park(handle)
                return
            process.switches += 1
            if process.fuse is not None:
                process.fuse -= 1
                if process.fuse < 0:
                    process.kill()
                    return
        self.handles_run += 1
        self._current = process
        try:
            handle._run()
        finally:
            self._current = None

    # -- the end -------------------------------------------------------------------------------------------------

    def dispose(self) -> None:
        """Drops everything; coroutines that never ended are closed while the loop is deaf to them."""
        self._disposing = True
        self._queue.clear()
        self._timers.clear()
        for task in self._tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # what a closed coroutine had made and not begun yet
            for task in self._tasks:
                if task.done():
                    if not task.cancelled():
                        task.exception()
                    continue
                coroutine = task.get_coro()
                try:
                    coroutine.close()
                except BaseException as error:
                    self.failures.append(("dispose", error))
        self._tasks.clear()
        self.close()

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody waits in a selector."""

    async def shutdown_asyncgens(self) -> None:
        """Generators end with their tasks."""


def _note_failure(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    if isinstance(loop, VirtualLoop) and not loop._disposing:
        loop.failures.append((str(context.get("message")), context.get("exception")))


def current_process() -> Process:
    """The process whose handle runs. Raises RuntimeError in the world's own callbacks."""
    process = PROCESS.get()
    if process is None:
        raise RuntimeError("no simulated process runs here")
    return process

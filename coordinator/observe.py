"""What a coordinator counts and measures of itself, kept as plain numbers until somebody asks.

Rules: counting costs well under a microsecond, for it happens between a decision and its effects; nothing is kept per
agent or zone except what bounds hold; zones are counted in slices, so that a large floor never holds the event loop.
`metrics` turns the numbers into Prometheus families. Imports the core and the hooks; the runtime is seen by its shape.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import time
from bisect import bisect_left
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from coordinator.core import effects as fx
from coordinator.core import events as ev
from coordinator.core.machine import Machine
from coordinator.core.model import StopRecord
from coordinator.core.views import shown_state
from coordinator.hooks import Hooks

log = logging.getLogger("zonelock.observe")

SURVEY_EVERY_S = 5.0
SURVEY_STOPPED_S = 1.0
"""While a stop is active, and at least between two surveys."""
ZONES_PER_SLICE = 250
"""Zones counted between two turns of the event loop: about half a millisecond's work."""
LAG_EVERY_S = 0.1
WAITS_KEPT = 10_000
"""Queued asks whose wait is being timed; beyond it the oldest goes untimed."""
STOPS_KEPT = 1_000
"""Stop ids that are counted already: a stop is told again after every reload."""

_FINE = (0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
_COARSE = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_COUNTS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)


class Spread:
    """A histogram: how many observations fell up to each bound, and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What lies outside of the process: the store's size in bytes, and when certificates end (Unix time) by use."""

    store_bytes: int = 0
    certificates: Mapping[str, float] = field(default_factory=dict)


Look = Callable[[], Awaitable[Surroundings]]


class Safeguards(Protocol):
    """What is read of `coordinator.safeguards`."""

    quarantined: int
    alarms_raised: int
    on_stop: list[Callable[[StopRecord], None]]

    def stops_in_flight(self) -> list[StopRecord]: ...


class Runtime(Protocol):
    """What is read of `coordinator.runtime`. `machine` raises on a standby."""

    leading: bool
    epoch: int
    on_leading: list[Callable[[bool], None]]

    @property
    def safeguards(self) -> Safeguards: ...

    @property
    def machine(self) -> Machine: ...

    def known_stops(self) -> list[StopRecord]: ...

    def tick_age_ms(self) -> int | None: ...


class Observation(Hooks):
    """The numbers of one coordinator. `follow` connects it to its runtime, `start` begins what is measured by time."""

    def __init__(self) -> None:
        self.runtime: Runtime | None = None
        self.takeovers = 0
        self.answers: Counter[type[object]] = Counter()
        self.rejections: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.stops_raised: Counter[str] = Counter()
        self.ack_alarms = 0
        self.ticks = 0
        self.wait = Spread(_COARSE)
        self.decision = Spread(_FINE)
        self.commit = Spread(_FINE)
        self.tick = Spread(_FINE)
        self.batch = Spread(_COUNTS)
        self.emission = Spread(_FINE)
        self.lag = Spread(_FINE)
        self.gc_pause = Spread(_FINE)
        self.zones: dict[str, int] = {}
        self.unacknowledged = 0
        self.store_bytes = 0
        self.certificates: Mapping[str, float] = {}
        self._waits: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._counted_stops: OrderedDict[str, None] = OrderedDict()
        self._tasks: list[asyncio.Task[None]] = []
        self._gc_began = 0.0
        self._changed = asyncio.Event()

    def follow(self, runtime: Runtime) -> None:
        self.runtime = runtime
        runtime.on_leading.append(lambda _: self._changed.set())
        runtime.safeguards.on_stop.append(self._count_stop)

    # -- told by the runtime -----------------------------------------------------------------------------------------

    def took_over(self) -> None:
        self.takeovers += 1

    def handled(self, event: ev.Event, step: fx.Step, decided_s: float, emitted_s: float) -> None:
        if type(event) is ev.Asked:
            self.decision.add(decided_s)
        if step.stops:
            self.emission.add(emitted_s)
            self.answers[fx.StopRaised] += len(step.stops)
        if step.alarms and type(event) is ev.Ticked:
            self.ack_alarms += len(step.alarms)

    def committed(self, writes: int, seconds: float) -> None:
        if writes:
            self.commit.add(seconds)
            self.batch.add(writes)
        else:
            self.tick.add(seconds)

    def released(self, sends: Sequence[fx.Send]) -> None:
        for send in sends:
            answer = send.answer
            kind = type(answer)
            self.answers[kind] += 1
            if kind is fx.Released:
                continue
            if kind is fx.Granted:
                began_ms = self._waits.pop((send.agent_id, send.request_id), None) if self._waits else None
                if began_ms is not None:
                    self.wait.add((_boot_ms() - began_ms) / 1000)
            elif kind is fx.Queued:
                self._waits.setdefault((send.agent_id, send.request_id), _boot_ms())
                if len(self._waits) > WAITS_KEPT:
                    self._waits.popitem(last=False)
            elif isinstance(answer, fx.Rejected):
                self.rejections[answer.reason.value] += 1
                self._waits.pop((send.agent_id, send.request_id), None)
            elif isinstance(answer, fx.Failed):
                self.failures[answer.refusal.value] += 1
            elif kind is fx.Cancelled:
                self._waits.pop((send.agent_id, send.request_id), None)

    def _count_stop(self, stop: StopRecord) -> None:
        if not stop.active or stop.stop_id in self._counted_stops:
            return
        self._counted_stops[stop.stop_id] = None
        if len(self._counted_stops) > STOPS_KEPT:
            self._counted_stops.popitem(last=False)
        self.stops_raised[stop.cause.value] += 1
        self._changed.set()

    # -- measured by time --------------------------------------------------------------------------------------------

    def start(self, look: Look) -> None:
        """`look` may raise; then what it last said stays."""
        gc.callbacks.append(self._on_gc)
        self._tasks = [
            asyncio.create_task(self._watch_loop(), name="zonelock-loop-lag"),
            asyncio.create_task(self._survey_for_ever(look), name="zonelock-survey"),
        ]

    async def stop(self) -> None:
        """Idempotent."""
        if self._on_gc in gc.callbacks:
            gc.callbacks.remove(self._on_gc)
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _on_gc(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._gc_began = time.perf_counter()
        else:
            self.gc_pause.add(time.perf_counter() - self._gc_began)

    async def _watch_loop(self) -> None:
        """A timer that comes late shows for how long something else held the loop."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_EVERY_S
            await asyncio.sleep(LAG_EVERY_S)
            self.lag.add(max(0.0, loop.time() - due))

    async def _survey_for_ever(self, look: Look) -> None:
        while True:
            try:
                await self.survey(look)
            except Exception as error:  # a floor that cannot be counted is no reason to stop counting
                log.debug("survey: %s", error)
            await asyncio.sleep(SURVEY_STOPPED_S)
            if not self.stops_active():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), SURVEY_EVERY_S - SURVEY_STOPPED_S)
            self._changed.clear()

    async def survey(self, look: Look) -> None:
        """Counts the zones by the state they are shown in and the agents that owe an acknowledgement; looks around."""
        machine = self.machine()
        self.zones = {} if machine is None else await _count_zones(machine)
        self.unacknowledged = 0 if machine is None else await _count_unacknowledged(machine)
        around = await look()
        self.store_bytes, self.certificates = around.store_bytes, around.certificates

    def machine(self) -> Machine | None:
        """None on a standby, whose ledger is elsewhere."""
        if self.runtime is None:
            return None
        try:
            return self.runtime.machine
        except Exception:
            return None

    def stops_active(self) -> int:
        return 0 if self.runtime is None else len(self.runtime.known_stops())

    def sessions(self) -> dict[str, int]:
        """By the agent's link."""
        machine = self.machine()
        sessions = [] if machine is None else list(machine.sessions.values())
        connected = sum(1 for session in sessions if session.stream is not None)
        return {"connected": connected, "gone": len(sessions) - connected}


async def _count_zones(machine: Machine) -> dict[str, int]:
    found: Counter[str] = Counter()
    stopped: dict[str, tuple[str, ...]] = {}
    for stop in machine.stops.active():
        stopped.update(dict.fromkeys(machine.stops.zones_in(stop), (stop.stop_id,)))
        await asyncio.sleep(0)
    names = list(machine.units.zone_names)
    for first in range(0, len(names), ZONES_PER_SLICE):
        for name in names[first : first + ZONES_PER_SLICE]:
            units = machine.units.of(name)
            found[shown_state(units, stopped.get(name, ()), closed=name in machine.closures).value] += 1
        await asyncio.sleep(0)
    return dict(found)


async def _count_unacknowledged(machine: Machine) -> int:
    """Agents that have not confirmed standing in time, over all active stops."""
    late: set[str] = set()
    for stop in machine.stops.active():
        late.update(machine.late_to_acknowledge(stop, machine.now_ms))
        await asyncio.sleep(0)
    return len(late)


def _boot_ms() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000

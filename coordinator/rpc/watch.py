"""The floor as a feed: the whole picture first, then what changed. The machine's one consumer of changes.

Rule owned here: watching costs a bounded amount however slowly somebody reads. What changed is kept as *names*, never
as a pile of messages; a subscriber that is late gets the present state of everything that changed since its last
message, in one. Those who keep up share one message per beat. The whole picture is built in slices, so that a floor of
thousands of zones never holds the event loop while a stop wants to leave.

Times in messages age: clients count `remaining_ms`, `since_ms`, `waiting_ms` on by themselves. What has running times
is sent again once a second, so that nobody drifts and a silent link shows. A new machine (takeover, reload) is a new
whole picture.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

from zonelock.v1 import zone_service_pb2 as zpb

from coordinator.core import views
from coordinator.core.machine import Changes, Machine
from coordinator.floor import Floor
from coordinator.rpc.errors import problem_of
from coordinator.rpc.limits import RpcLimits
from coordinator.rpc.picture import agent_message, stop_view_message, totals_message, wait_messages, zone_message
from coordinator.rpc.port import Runtime

log = logging.getLogger(__name__)

ZONES_PER_SLICE = 250
AGENTS_PER_SLICE = 25
"""Zones and agents between two turns of the event loop while a message is built: about a millisecond's work."""


@dataclass(slots=True, eq=False)
class _Subscriber:
    """What one watcher has not seen yet. `beats` counts those that `pending` covers; `whole` asks for everything."""

    pending: Changes = field(default_factory=Changes)
    beats: int = 0
    whole: bool = True
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, changes: Changes) -> None:
        self.beats += 1
        self.pending.zones |= changes.zones
        self.pending.agents |= changes.agents
        self.pending.stops |= changes.stops
        self.pending.waits |= changes.waits
        self.news.set()

    def start_over(self) -> None:
        self.whole = True
        self.news.set()

    def take(self) -> tuple[Changes, int]:
        taken = self.pending, self.beats
        self.pending, self.beats = Changes(), 0
        self.news.clear()
        return taken


class FloorFeed:
    """Takes the machine's changes at the feed's pace and tells every subscriber. `start` and `stop` belong to its
    owner."""

    def __init__(self, runtime: Runtime, floor: Floor, limits: RpcLimits | None = None) -> None:
        self._runtime, self._floor = runtime, floor
        self._limits = limits or RpcLimits()
        self._subscribers: set[_Subscriber] = set()
        self._machine: Machine | None = None
        self._beat = 0
        self._shared: tuple[int, zpb.WatchFloorResponse] | None = None
        self._sharing = asyncio.Lock()
        self._pulse: asyncio.Task[None] | None = None
        self._ended = False
        self._refreshed_ms = 0

    @property
    def watchers(self) -> int:
        return len(self._subscribers)

    def start(self) -> None:
        """Begins to take changes, watched or not: they must not pile up. Idempotent."""
        if self._pulse is None and not self._ended:
            self._pulse = asyncio.create_task(self._run(), name="floor-feed")

    async def stop(self) -> None:
        """Ends every subscription, for good. Idempotent."""
        self._ended = True
        if self._pulse is not None:
            self._pulse.cancel()
            await asyncio.gather(self._pulse, return_exceptions=True)
            self._pulse = None
        for subscriber in self._subscribers:
            subscriber.news.set()

    async def subscribe(self, min_interval_ms: int = 0) -> AsyncGenerator[zpb.WatchFloorResponse, None]:
        """The whole picture, then what changed, not more often than `min_interval_ms`. Ends when the feed stops.

        While the coordinator stands by there is nothing to tell; the picture comes when it leads.
        """
        self.start()
        subscriber = _Subscriber()
        self._subscribers.add(subscriber)
        try:
            while not self._ended:
                update = await self._next(subscriber)
                if update is not None:
                    yield update
                    await asyncio.sleep(min_interval_ms / 1_000)
                if not subscriber.whole:
                    await subscriber.news.wait()
                elif update is None:
                    subscriber.news.clear()
                    await subscriber.news.wait()
        finally:
            self._subscribers.discard(subscriber)

    # -- taking changes ----------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._limits.watch_interval_ms / 1_000)
            try:
                self._take()
            except Exception as error:
                if problem_of(error) is None:  # a refusal only says that this coordinator stands by
                    log.exception("the floor feed missed a beat")

    def _take(self) -> None:
        machine = self._runtime.machine
        now_ms = self._runtime.now_ms()
        changes = machine.take_changes()
        if machine is not self._machine:
            self._machine = machine
            for subscriber in self._subscribers:
                subscriber.start_over()
            return
        if not self._subscribers:
            return
        if now_ms - self._refreshed_ms >= self._limits.refresh_ms:
            self._refreshed_ms = now_ms
            _add_ageing(changes, machine)
        if changes.zones or changes.agents or changes.stops or changes.waits:
            self._beat += 1
            for subscriber in self._subscribers:
                subscriber.add(changes)

    # -- building messages ---------------------------------------------------------------------------------------------

    async def _next(self, subscriber: _Subscriber) -> zpb.WatchFloorResponse | None:
        """What the subscriber has not seen; None when that is nothing, or when this coordinator stands by."""
        try:
            machine = self._runtime.machine
        except Exception as error:
            if problem_of(error) is None:
                raise
            return None
        if subscriber.whole:
            subscriber.whole = False
            subscriber.take()
            return await self._whole(machine)
        changes, beats = subscriber.take()
        if beats == 0:
            return None
        if beats > 1:
            return await self._update(machine, changes)
        async with self._sharing:
            if self._shared is None or self._shared[0] != self._beat:
                beat = self._beat
                self._shared = beat, await self._update(machine, changes)
            return self._shared[1]

    async def _update(self, machine: Machine, changes: Changes) -> zpb.WatchFloorResponse:
        update = self._opening(machine)
        await self._fill(update, machine, sorted(changes.zones), sorted(changes.agents), sorted(changes.stops))
        if changes.waits:
            update.waits.extend(wait_messages(machine, self._runtime.now_ms()))
            update.waits_changed = True
        return update

    def _opening(self, machine: Machine) -> zpb.WatchFloorResponse:
        return zpb.WatchFloorResponse(
            epoch=self._runtime.epoch, floor_hash=self._floor.hash, incarnation=machine.counter.incarnation
        )

    async def _whole(self, machine: Machine) -> zpb.WatchFloorResponse:
        """The whole picture. What changes while it is built is pending already and follows in the next message."""
        if self._machine is None:
            self._machine = machine
            machine.take_changes()  # all of what a start changed is in this picture
        whole = self._opening(machine)
        whole.snapshot = True
        stop_ids = views.stop_ids(machine, include_ended=False)
        await self._fill(whole, machine, list(machine.units.zone_names), views.agent_ids(machine), stop_ids)
        whole.waits.extend(wait_messages(machine, self._runtime.now_ms()))
        whole.waits_changed = True
        return whole

    async def _fill(
        self,
        message: zpb.WatchFloorResponse,
        machine: Machine,
        zones: Sequence[str],
        agents: Sequence[str],
        stops: Sequence[str],
    ) -> None:
        for start in range(0, len(zones), ZONES_PER_SLICE):
            now_ms = self._runtime.now_ms()
            message.zones.extend(zone_message(machine, name, now_ms) for name in zones[start : start + ZONES_PER_SLICE])
            await asyncio.sleep(0)
        for start in range(0, len(agents), AGENTS_PER_SLICE):
            now_ms = self._runtime.now_ms()
            message.agents.extend(agent_message(machine, a, now_ms) for a in agents[start : start + AGENTS_PER_SLICE])
            await asyncio.sleep(0)
        now_ms = self._runtime.now_ms()
        message.stops.extend(stop_view_message(machine, stop_id, now_ms) for stop_id in stops)
        message.totals.CopyFrom(totals_message(machine, self._runtime.commits))


def _add_ageing(changes: Changes, machine: Machine) -> None:
    """Everything that shows a running time; a link that goes silent is a change of its own."""
    for grant in machine.grants.all():
        changes.zones.update(grant.zones)
    waiters = machine.queue.in_order()
    changes.agents.update(waiter.agent_id for waiter in waiters)
    changes.waits = changes.waits or bool(waiters)

"""What the runtime must not forget while a commit may fail: stops that left, releases that came, what broke the core.

A stop is remembered from the moment it leaves until the store is known to hold it, in memory and in the file of
pending stops, and handed to the outputs. A release is remembered until its commit, so that losing it does not become
a stop. An event that made the core raise is remembered for a while and refused, so that its sender cannot take down
one coordinator after another.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from coordinator.core import effects as fx
from coordinator.core import events as ev
from coordinator.core.model import NOTHING_SEEN, Mark, StopRecord
from coordinator.high_water import KEEP_S, HighWater
from coordinator.pending_stops import PendingStops
from coordinator.stop_output import StopOutput, StopOutputs

log = logging.getLogger("zonelock.safeguards")

ALARMS_KEPT = 100

QUARANTINE_MS = 30_000
"""For how long events like one that made the core raise are refused."""


class Safeguards:
    """Lives as long as its runtime, over every reload."""

    def __init__(
        self,
        pending: PendingStops | None,
        outputs: Sequence[StopOutput],
        now_ms: Callable[[], int],
        marks: HighWater | None = None,
    ) -> None:
        self._pending, self._marks, self._now_ms = pending, marks, now_ms
        self._outputs = StopOutputs(outputs, self.alarm)
        self._stops: dict[str, StopRecord] = {}
        self._written: dict[str, StopRecord] = {}
        self._stops_changed = asyncio.Event()
        self._ordered: set[str] = set()
        """Stops that the outputs here were told of, and not yet of their reset."""
        self._leaving: deque[tuple[int, int]] = deque()
        self._refused_until: dict[tuple[str, str], int] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self.high_water = NOTHING_SEEN
        self._kept = NOTHING_SEEN
        self._farther = asyncio.Event()
        self.quarantined = 0
        self.alarms_raised = 0
        self.alarms: deque[str] = deque(maxlen=ALARMS_KEPT)
        self.on_stop: list[Callable[[StopRecord], None]] = []

    async def open(self) -> None:
        """Reads what an earlier coordinator left and starts the outputs."""
        if self._pending is not None:
            self._stops.update(await asyncio.to_thread(self._pending.read))
        if self._marks is not None:
            self.high_water = self._kept = await asyncio.to_thread(self._marks.read)
            self._keepers.append(asyncio.create_task(self._keep_mark(self._marks), name="zonelock-high-water"))
        self._outputs.start()
        self._keepers.append(asyncio.create_task(self._keep(), name="zonelock-pending-stops"))

    async def close(self) -> None:
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        if self._pending is not None and self._stops != self._written:
            await self._write_stops(self._pending)
        if self._marks is not None:
            await self._write_mark(self._marks)
        await self._outputs.close()

    def alarm(self, sentence: str) -> None:
        """For whoever is on call: logged, counted, and kept for a while."""
        self.alarms_raised += 1
        self.alarms.append(sentence)
        log.critical("ALARM: %s", sentence)

    # -- stops ---------------------------------------------------------------------------------------------------

    def note(self, event: ev.Event, step: fx.Step) -> None:
        """Called for every step before anything of it is committed."""
        for write in step.writes:
            record = write.record
            if type(record) is StopRecord and record.active:
                self.hold(record)
        if type(event) is ev.Released or type(event) is ev.Abandoned:
            done = [send for send in step.sends if isinstance(send.answer, (fx.Released, fx.Abandoned))]
            if done and step.writes:
                self._leaving.append((step.seq, event.token))
        for sentence in step.alarms:
            self.alarm(sentence)

    def hold(self, stop: StopRecord) -> None:
        """A stop that leaves now: to the outputs, to whoever watches, and into the file until it is durable."""
        self._stops[stop.stop_id] = stop
        self._stops_changed.set()
        self._tell(stop)

    def keep(self, stop: StopRecord) -> None:
        """A stop that another coordinator let go, and that may not have reached the ledger."""
        self._stops[stop.stop_id] = stop
        self._stops_changed.set()

    def pass_on(self, stop: StopRecord) -> None:
        """To whoever watches stops here. The outputs are the affair of the coordinator that recorded it."""
        for notice in list(self.on_stop):
            notice(stop)

    def ended(self, stop: StopRecord) -> None:
        """Another coordinator recorded the reset; outputs that were told of the stop here are told of that."""
        if self._stops.pop(stop.stop_id, None) is not None:
            self._stops_changed.set()
        if stop.stop_id in self._ordered:
            self._tell(stop)
        else:
            self.pass_on(stop)

    def _tell(self, stop: StopRecord) -> None:
        if stop.active:
            self._ordered.add(stop.stop_id)
        else:
            self._ordered.discard(stop.stop_id)
        self._outputs.order(stop)
        self.pass_on(stop)

    def durable(self, stop: StopRecord) -> None:
        """The store holds this stop, or its reset."""
        if self._stops.pop(stop.stop_id, None) is not None:
            self._stops_changed.set()
        if not stop.active:
            self._tell(stop)

    def recorded(self, stop_ids: Iterable[str]) -> None:
        """The ledger that was just loaded knows these stops, active or reset by now."""
        for stop_id in stop_ids:
            if self._stops.pop(stop_id, None) is not None:
                self._stops_changed.set()

    def stops_in_flight(self) -> list[StopRecord]:
        """Stops that have left and are not known to be durable."""
        return list(self._stops.values())

    def took_over(self, stops: Iterable[StopRecord]) -> None:
        """A ledger was loaded: the outputs hear of its active stops, again or for the first time."""
        for stop in stops:
            if stop.active:
                self._tell(stop)

    async def _keep(self) -> None:
        """Keeps the file of pending stops up to date, one write at a time."""
        while True:
            await self._stops_changed.wait()
            self._stops_changed.clear()
            if self._pending is not None:
                await self._write_stops(self._pending)

    async def _write_stops(self, pending: PendingStops) -> None:
        stops = dict(self._stops)
        try:
            await asyncio.to_thread(pending.write, list(stops.values()))
            self._written = stops
        except OSError as error:
            self.alarm(f"cannot keep stops that are not yet durable beside the coordinator: {error}")

    # -- how far the ledger was seen -------------------------------------------------------------------------------

    def saw(self, mark: Mark) -> None:
        """The ledger is this far: agents are told, and the next coordinator on this machine will know."""
        self.high_water = self.high_water.joined(mark)
        self._farther.set()

    async def _keep_mark(self, marks: HighWater) -> None:
        while True:
            await self._farther.wait()
            self._farther.clear()
            await self._write_mark(marks)
            await asyncio.sleep(KEEP_S)

    async def _write_mark(self, marks: HighWater) -> None:
        mark = self.high_water
        if mark == self._kept:
            return
        try:
            await asyncio.to_thread(marks.write, mark)
            self._kept = mark
        except OSError as error:
            self.alarm(f"cannot keep how far the ledger was seen beside the coordinator: {error}")

    # -- releases ------------------------------------------------------------------------------------------------

    def committed(self, upto: int) -> None:
        """Steps up to this one are durable, and with them the releases that they handled."""
        while self._leaving and self._leaving[0][0] <= upto:
            self._leaving.popleft()

    def take_leaving(self) -> tuple[int, ...]:
        """Tokens whose release was handled and may be lost; called at a reload."""
        tokens = tuple(token for _, token in self._leaving)
        self._leaving.clear()
        return tokens

    # -- quarantine ----------------------------------------------------------------------------------------------

    def quarantine(self, event: ev.Event, error: Exception) -> None:
        """Counts and alarms an event that made the core raise, and refuses its like for a while."""
        self.quarantined += 1
        log.critical("the core raised on %r; reloading from the store", event, exc_info=error)
        culprit = _culprit(event)
        if culprit is not None:
            self._refused_until[culprit] = self._now_ms() + QUARANTINE_MS
            who, what = culprit
            self.alarm(f"{what} of {who} makes the core raise; refused for {QUARANTINE_MS // 1000} s: report this bug")

    def refuses(self, event: ev.Event) -> bool:
        """Whether the event is like one in quarantine: its sender says it again, to this coordinator or the next."""
        culprit = _culprit(event) if self._refused_until else None
        if culprit is None or culprit not in self._refused_until:
            return False
        if self._now_ms() < self._refused_until[culprit]:
            return True
        del self._refused_until[culprit]
        return False


def _culprit(event: ev.Event) -> tuple[str, str] | None:
    """Who said what; None for what nobody said, and for stops, which are never refused."""
    if isinstance(event, ev.StopAsked):
        return None
    who = getattr(event, "agent_id", "") or getattr(event, "operator", "")
    return (str(who), type(event).__name__) if who else None

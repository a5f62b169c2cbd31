"""Zones that an operator, or a machine's observer by policy, has closed: they grant nothing new until somebody opens
them.

A closure is neither an occupancy nor a stop. Who holds a closed zone carries on, may extend, and leaves as usual; who
stands there without a grant (its residue) may ask for it again in order to leave. Everybody else is rejected CLOSED,
rather than queued: a waiter for a zone that a person opens next week would keep its other zones from everyone. A
closure outlives restarts and failovers and is one durable record per zone; opening deletes it. Routes through a
closed zone stay declared: once it is open again they can all be finished, as before.
"""

from __future__ import annotations

from collections.abc import Iterable

from coordinator.core import effects as fx
from coordinator.core import events as ev
from coordinator.core.claims import Waiter
from coordinator.core.model import ClosureRecord
from coordinator.core.safety import Safety


class Closing(Safety):
    """The layer of closures; what an ask meets of them is in `asking`."""

    def _on_close_asked(self, event: ev.CloseAsked) -> None:
        """A zone that is closed already stays closed by whoever closed it."""
        self._check_operator(event)
        zones = list(self._named(event.zones))
        closed = [zone for zone in zones if zone not in self.closures]
        for zone in closed:
            record = ClosureRecord(zone, event.operator, event.reason, event.agent_id, self.counter.token)
            self.closures[zone] = record
            self._write(record)
        if closed:
            self._audit("closure", event.agent_id or event.operator, event.reason, closed, event.recorded_at)
            self._changes.zones.update(closed)
            self._turn_away(self.queue.waiting_for(closed))
        self._send(event.conn, "", "", fx.ZonesClosed(tuple(self.closures[zone] for zone in zones)))

    def _turn_away(self, waiters: Iterable[Waiter]) -> None:
        for waiter in waiters:
            if self._closed_to(waiter.agent_id, waiter.session, waiter.zones):
                self._reject_closed(waiter)

    def _on_open_asked(self, event: ev.OpenAsked) -> None:
        """Zones that are open already are not named in the answer."""
        self._check_operator(event)
        opened = [zone for zone in self._named(event.zones) if zone in self.closures]
        for zone in opened:
            self._writes.append(fx.Write(self.closures.pop(zone).key, None))
        if opened:
            self._audit("opening", event.operator, event.reason, opened, event.recorded_at)
            self._changes.zones.update(opened)
        self._send(event.conn, "", "", fx.ZonesOpened(tuple(opened)))

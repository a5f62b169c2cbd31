"""What an agent calls back: the motion stop and what else its app wants to hear of.

Rule: `on_halt` runs on the dead-man's thread, everything else on the event loop. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from zonelock_client.grant import Grant
from zonelock_client.session_core.values import LinkState
from zonelock_client.standstill import HaltCallback, Standstill, StopCallback

LinkCallback = Callable[[LinkState], Awaitable[None] | None]
GrantCallback = Callable[[Grant], Awaitable[None] | None]
YieldCallback = Callable[[str], Awaitable[None] | None]


@dataclass(frozen=True, slots=True)
class Listeners:
    """Callbacks of the event loop, in the order in which they were registered."""

    link_moved: list[LinkCallback] = field(default_factory=list)
    warned: list[GrantCallback] = field(default_factory=list)
    asked_to_yield: list[YieldCallback] = field(default_factory=list)


class Callbacks:
    """The part of `Agent` that takes callbacks."""

    def __init__(self, standstill: Standstill) -> None:
        self.standstill = standstill
        self._listeners = Listeners()

    def on_halt(self, callback: HaltCallback) -> HaltCallback:
        """Registers the motion stop. It is called FROM THE DEAD-MAN'S THREAD, whatever the event loop does.

        Called at the deadline of a grant, when the link counts as LOST with grants held, on a stop, and when the
        coordinator ends a grant. Must be short, thread-safe and idempotent; must return once the machine is told to
        stand, and raise if it could not tell it. Usable as a decorator.
        """
        self.standstill.on_halt.append(callback)
        return callback

    def on_stop(self, callback: StopCallback) -> StopCallback:
        """Registers a callback (sync or async, on the event loop) for an emergency stop.

        The stop is acknowledged ("stands still") once every on_halt and on_stop callback has returned; one that
        raises, or an async one still running after `halt_timeout_s` (it is cancelled then), leaves it
        unacknowledged, so that an operator has to look. Usable as a decorator.
        """
        self.standstill.on_stop.append(callback)
        return callback

    def on_link(self, callback: LinkCallback) -> LinkCallback:
        """Registers a callback (sync or async, on the event loop) for changes of `link`. Usable as a decorator."""
        self._listeners.link_moved.append(callback)
        return callback

    def on_yield(self, callback: YieldCallback) -> YieldCallback:
        """Registers a callback (sync or async, on the event loop) for "you stand in the way: would you go there?".

        It gets the name of a zone that is in nobody's way. Only an agent that said `claim()` (it has arrived) is asked;
        it should claim a route there and go, or begin its next task. Asked again after a while. Usable as a decorator.
        """
        self._listeners.asked_to_yield.append(callback)
        return callback

    def on_warned(self, callback: GrantCallback) -> GrantCallback:
        """Registers a callback (sync or async, on the event loop) for "four fifths of this grant's time are over"."""
        self._listeners.warned.append(callback)
        return callback

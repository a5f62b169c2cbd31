"""Where the runtime can be watched from inside, without knowing by whom.

Rule: what is called here runs on the event loop between a decision and its effects, so it counts and returns: it never
waits, never raises, and decides nothing. Imports the core's events and effects only.
"""

from __future__ import annotations

from collections.abc import Sequence

from coordinator.core import effects as fx
from coordinator.core import events as ev


class Hooks:
    """Does nothing; whoever counts overrides what it needs. Durations in seconds."""

    def took_over(self) -> None:
        """This coordinator was given the lead."""

    def handled(self, event: ev.Event, step: fx.Step, decided_s: float, emitted_s: float) -> None:
        """The core took `decided_s` for the event; after `emitted_s` its stops, if any, were with every stream."""

    def committed(self, writes: int, seconds: float) -> None:
        """A transaction of so many writes (0: a tick) is durable."""

    def released(self, sends: Sequence[fx.Send]) -> None:
        """These answers leave behind their commit."""

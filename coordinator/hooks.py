"""Where the runtime can be watched from inside, without knowing by whom.

Rule: what is called here runs on the event loop between a decision and its effects, so it counts and returns: it never
waits, never raises, and decides nothing. Imports the core's events and effects only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from coordinator.core import effects as fx
from coordinator.core import events as ev
from coordinator.core.model import Ledger


class Hooks:
    """Does nothing; whoever counts overrides what it needs. Durations in seconds."""

    def took_over(self) -> None:
        """This coordinator was given the lead."""

    def loaded(self, ledger: Ledger) -> None:
        """The ledger was read under this coordinator's fence, and is decided on from here."""

    def handled(self, event: ev.Event, step: fx.Step, decided_s: float, emitted_s: float) -> None:
        """The core took `decided_s` for the event; after `emitted_s` its stops, if any, were with every stream."""

    def committed(self, writes: int, seconds: float) -> None:
        """A transaction of so many writes (0: a tick) is durable."""

    def wrote(self, writes: Mapping[str, fx.Write], epoch: int, revision: int) -> None:
        """These records are durable, at this revision under this fence."""

    def released(self, sends: Sequence[fx.Send]) -> None:
        """These answers leave behind their commit."""


def all_of(hooks: Sequence[Hooks]) -> Hooks:
    """Every one of these watchers, in order; one alone is told without a detour."""
    return hooks[0] if len(hooks) == 1 else AllHooks(hooks)


class AllHooks(Hooks):
    """Several watchers, in order."""

    def __init__(self, hooks: Sequence[Hooks]) -> None:
        self._hooks = tuple(hooks)

    def took_over(self) -> None:
        for hook in self._hooks:
            hook.took_over()

    def loaded(self, ledger: Ledger) -> None:
        for hook in self._hooks:
            hook.loaded(ledger)

    def handled(self, event: ev.Event, step: fx.Step, decided_s: float, emitted_s: float) -> None:
        for hook in self._hooks:
            hook.handled(event, step, decided_s, emitted_s)

    def committed(self, writes: int, seconds: float) -> None:
        for hook in self._hooks:
            hook.committed(writes, seconds)

    def wrote(self, writes: Mapping[str, fx.Write], epoch: int, revision: int) -> None:
        for hook in self._hooks:
            hook.wrote(writes, epoch, revision)

    def released(self, sends: Sequence[fx.Send]) -> None:
        for hook in self._hooks:
            hook.released(sends)

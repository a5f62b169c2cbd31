"""What the wire needs of the coordinator's runtime, as a structural type: `coordinator.runtime.Runtime` has it, and
tests that need a runtime in an impossible state can stand in for one. What it gives in return is the runtime's
`Outlet`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from coordinator.core.events import Event
from coordinator.core.machine import Machine
from coordinator.core.model import StopRecord
from coordinator.runtime import LeaderSeen, Outlet, Standby


class Runtime(Protocol):
    """Everything is called on the event loop and returns at once."""

    @property
    def machine(self) -> Machine:
        """The core, to be read only. Raises an exception with `refusal` NOT_LEADER on a standby."""

    @property
    def epoch(self) -> int: ...

    @property
    def leading(self) -> bool:
        """Whether the store commits; False also on a standby."""

    @property
    def commits(self) -> int: ...

    @property
    def on_leading(self) -> list[Callable[[bool], None]]:
        """Called with the new value whenever `leading` changes."""

    operations_said: Callable[[], int]
    """Set by the wire: how many operations wait for their turn, which the next commit can still take with it."""

    def now_ms(self) -> int:
        """CLOCK_BOOTTIME, milliseconds."""

    @property
    def stands_by(self) -> bool:
        """It has no ledger to decide on."""

    @property
    def ready(self) -> bool:
        """It does what its role asks for: leads and commits, or stands by behind a leader that lives."""

    @property
    def standby(self) -> Standby:
        """What it knows while it does not lead."""

    async def turn(self) -> None:
        """Waits for this coordinator to lead while that is to be expected, for a bounded time."""

    async def record_stops(self, stops: Sequence[StopRecord], timeout_s: float) -> list[StopRecord]:
        """Puts stops that left at a standby into the ledger; as it has them once that is durable."""

    def attach(self, outlet: Outlet) -> int: ...

    def detach(self, conn: int) -> None: ...

    def heard(self, conn: int, frame: int, *, spoke: bool = False) -> None: ...

    def known_stops(self) -> list[StopRecord]:
        """Active stops, leading or not."""

    @property
    def on_stop(self) -> list[Callable[[StopRecord], None]]:
        """Called with every stop that is tripped, taken over, or reset here."""

    def zones_in(self, stop: StopRecord) -> list[str]:
        """Every zone in the stop's scope."""

    def submit(self, event: Event) -> None:
        """Raises an exception with `refusal` and `message` when the event cannot be taken."""


__all__ = ["LeaderSeen", "Outlet", "Runtime"]

"""`zonelock hold` from ask to end: one agent, one grant, one command in the custody of its warden.

Rules owned here: the SDK's deadline D already leaves the grace and a margin, so the command is gone before the coordinator
could call the hold overdue; a stop is acknowledged only when nothing of the command is left; what the command's end says about
the zones is told to the coordinator exactly once (given back, abandoned, or standing).
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zonelock_cli.custody import Custody, Ending, NotStarted
from zonelock_cli.exits import ExitCode
from zonelock_cli.failures import Failure
from zonelock_cli.output import PATIENCE_S, View, duration

if TYPE_CHECKING:
    from zonelock_client import Agent, Grant

EXPECTED_MS = 10_000
"""Asked for at first; short, so that a holder that vanishes is noticed soon, and extended while the command lives."""

KILL_MARGIN_MS = 100
"""What it takes beside the grace to end a process group on a busy machine."""

LOOK_S = 0.1
REPORT_S = 0.5
GIVE_BACK_S = 5.0
STAND_S = 1.0
NEVER_NS = 1 << 62


@dataclass(frozen=True, slots=True)
class Order:
    """What `zonelock hold` was asked to do."""

    server: str
    wait_s: float
    zones: tuple[str, ...]
    command: tuple[str, ...]
    agent_id: str
    kind: str
    expected_ms: int | None
    extend: bool
    priority: int
    no_queue: bool
    timeout_s: float | None
    grace_ms: int
    release_on_failure: bool


@dataclass(slots=True)
class Teller:
    """Tells what happens, as lines for people or as JSON events."""

    view: View

    def tell(self, event: str, text: str, **fields: Any) -> None:
        if self.view.json:
            self.view.document({"event": event, **fields})
        else:
            from rich.markup import escape

            self.view.say(f"[dim]hold:[/dim] {escape(text)}")

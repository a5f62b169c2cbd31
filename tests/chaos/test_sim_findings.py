"""What the simulator found in the product, each with the seed that showed it. They stay found."""

from __future__ import annotations

import pytest

from chaos.sim.coordinators import SimCoordinator
from chaos.sim.plan import plan_of
from chaos.sim.world import run
from coordinator.core import events as ev
from coordinator.core.effects import Step
from coordinator.core.machine import Machine


def test_a_coordinator_ticks_at_its_period_and_its_deadlines_and_not_ever_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seed 3: every periodic tick left the deadline's timer behind, and each of those armed another one."""
    ticks = 0
    handled = SimCoordinator.handled

    def count(self: SimCoordinator, machine: Machine, event: ev.Event, step: Step) -> None:
        nonlocal ticks
        ticks += isinstance(event, ev.Ticked)
        handled(self, machine, event, step)

    monkeypatch.setattr(SimCoordinator, "handled", count)
    outcome = run(plan_of(3))
    assert ticks / (outcome.simulated_ms / 1_000) < 25, "10 a second by the period, some more for deadlines"

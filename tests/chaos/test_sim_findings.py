"""What the simulator found in the product, each with the seed that showed it. They stay found."""

from __future__ import annotations

import pytest

from chaos.sim import floors
from chaos.sim.coordinators import SimCoordinator
from chaos.sim.plan import Fault, FaultKind, Plan, RobotPlan, plan_of
from chaos.sim.story import story
from chaos.sim.world import run
from coordinator.core import events as ev
from coordinator.core.effects import Step, StopEnded
from coordinator.core.machine import Machine
from coordinator.core.model import Ledger, Timing
from coordinator.runtime import Runtime


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


def _stopped_leaders(robots: int) -> Plan:
    """Two coordinators, of which whoever leads is stopped (SIGSTOP) again and again for longer than its lease."""
    starts = ("z00", "z22", "z32")[:robots]
    return Plan(
        seed=2,
        shape="hall",
        coordinators=2,
        robots=tuple((f"agv{i + 1}", zone, RobotPlan(parks=0.3)) for i, zone in enumerate(starts)),
        safety_ms=40_000,
        liveness_ms=120_000,
        lease_ms=2_000,
        faults=tuple(Fault(at_ms, FaultKind.PAUSE, "leader", 7_000) for at_ms in range(5_000, 36_000, 5_000)),
    )


def test_a_leader_that_stood_still_does_not_take_its_old_ledger_for_a_restored_one() -> None:
    """Seed 12: agents came back with tokens of the next leader, and the old one stopped the floor."""
    outcome = run(_stopped_leaders(3))
    assert not outcome.violations, story(outcome)
    assert outcome.counts["takeovers"] > 3


def test_the_test_above_would_see_a_floor_stopped_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Runtime, "_may_be_outdated", lambda *_: False)
    assert any("restored ledger" in v for v in run(_stopped_leaders(3)).violations)


def test_whoever_acknowledged_a_stop_hears_of_its_end() -> None:
    """Seed 47: a rebooted agent that the stop no longer covered stayed latched for ever."""
    machine = Machine(floors.floor_of("hall").spec(), Ledger(), Timing(), 0)
    machine.handle(ev.Started(now_ms=0, assume_empty=True))
    machine.handle(ev.Hello(now_ms=1, conn=1, agent_id="agv1", session="s"))
    machine.handle(ev.StopAsked(now_ms=2, conn=2, operator="mara", reason="drill", stop_id="drill", floor=True))
    machine.handle(ev.StopAcked(now_ms=3, conn=1, agent_id="agv1", stop_ids=("drill",)))
    step = machine.handle(ev.ResetAsked(now_ms=4, conn=2, operator="mara", reason="over", stop_ids=("drill",)))
    assert any(s.agent_id == "agv1" and isinstance(s.answer, StopEnded) for s in step.sends)

"""The dead-man against ground truth: no body moves when its time is over, nor beyond its zones, whatever failed.

Vehicles and agents are processes of their own, on a real coordinator; the agent is frozen, cut off, told late, or
blocked while its car shuttles along its lane. The coordinator's deadline and the vehicle's own log decide, not the SDK.
Three planted bugs show that it would be seen.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from end_to_end.dead_man_site import FAULTS, Site, Trial, summary

ROOMY_MS = range(1_000, 1_101)
"""Grants long enough for a D that is counted from receipt to pass the coordinator's deadline by far."""
VERY_LATE = (0.6, 0.7)


def check(trials: list[Trial], *, moved_share: float = 0.7) -> None:
    harmful = [t for t in trials if not t.is_harmless]
    assert not harmful, f"{harmful}\n{summary(trials)}"
    moved = sum(t.stood_ms is not None for t in trials)
    # Where the answer came too late nothing moves, and rightly; elsewhere a car that stands proves nothing.
    assert moved >= moved_share * len(trials), summary(trials)


async def test_no_car_moves_when_its_time_is_over_nor_beyond_its_zones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with Site(tmp_path) as site:
        for faults in zip(FAULTS[::2], FAULTS[1::2], strict=True):
            await site.round(*faults)
    trials = site.trials()
    with capsys.disabled():
        print(f"\n{summary(trials)}")
    assert len(trials) == 40
    check(trials)


async def test_a_holder_that_counts_from_receipt_is_seen(tmp_path: Path) -> None:
    async with Site(tmp_path, cars=2, plant_agent="receipt", expected_ms=ROOMY_MS, late=VERY_LATE) as site:
        await site.round("late answers", "late answers")
    assert any(not t.is_harmless for t in site.trials()), summary(site.trials())


async def test_a_vehicle_that_counts_from_receipt_is_seen(tmp_path: Path) -> None:
    async with Site(tmp_path, cars=2, plant_vehicle="receipt", expected_ms=ROOMY_MS, late=VERY_LATE) as site:
        await site.round("late radio", "late radio")
    assert any(not t.is_harmless for t in site.trials()), summary(site.trials())


async def test_a_vehicle_that_trusts_its_gateway_to_halt_it_is_seen(tmp_path: Path) -> None:
    async with Site(tmp_path, cars=2, plant_vehicle="trusting") as site:
        await site.round("frozen", "frozen")
    assert all(not t.is_harmless for t in site.trials()), summary(site.trials())


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_thousand_trials(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(20)
    async with Site(tmp_path, cars=12, seed=20) as site:
        while len(site.faults) < 1_000:
            await site.round(rng.choice(FAULTS), rng.choice(FAULTS))
    trials = site.trials()
    with capsys.disabled():
        print(f"\n{summary(trials)}")
    check(trials)

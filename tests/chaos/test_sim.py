"""The simulator itself: one seed is one history on any hash seed; it sees what it breaks, and cuts failures down."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from chaos.mutations import planted
from chaos.sim.campaign import campaign, hunt, judged, same_promise, shrink
from chaos.sim.plan import Fault, FaultKind, Plan, plan_of
from chaos.sim.story import plan_in_words, story
from chaos.sim.world import run


def test_promises_are_kept_over_a_few_seeds() -> None:
    tally = campaign(range(8))
    assert not tally.failed, "\n\n".join(story(o) for o in tally.failed)
    assert tally.counts["hops"] > 0 and tally.counts["faults"] > 0


def test_the_same_seed_gives_the_same_history() -> None:
    assert run(plan_of(5)).digest == run(plan_of(5)).digest != run(plan_of(6)).digest


def test_the_digest_does_not_depend_on_the_hash_seed() -> None:
    def digest(hash_seed: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "chaos.sim", "--seed", "7", "--json"],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        return str(json.loads(done.stdout)["digest"])

    assert digest("0") == digest("1") == run(plan_of(7)).digest


def test_every_kind_of_fault_occurs_within_two_hundred_seeds() -> None:
    seen = {fault.kind for seed in range(200) for fault in plan_of(seed).faults}
    assert seen == set(FaultKind) - {FaultKind.RESTORE}, "a restoration is for plans made by hand"


def test_a_planted_bug_is_caught_and_told_in_words() -> None:
    with planted("free_on_expiry"):
        failed = next(o for o in (judged(plan_of(seed)) for seed in range(60)) if o.violations)
    told = story(failed)
    assert f"Seed {failed.plan.seed}" in told and "Broken: " in told
    assert not judged(failed.plan).violations, "the bug is gone with its plant"


def test_a_hunt_counts_the_seeds_that_a_planted_bug_took() -> None:
    catch = hunt("free_on_expiry", 0, 60)
    assert 1 <= catch.seeds <= 60 and catch.violation


def test_a_failing_plan_is_cut_down_to_what_it_needs() -> None:
    plan = replace(plan_of(0), faults=tuple(Fault(1_000 * i, FaultKind.LATE_RELEASE, "agv1") for i in range(1, 9)))
    needed = {plan.faults[2], plan.faults[6]}
    runs: list[Plan] = []

    def fails(candidate: Plan) -> bool:
        runs.append(candidate)
        return needed <= set(candidate.faults)

    smallest = shrink(plan, fails)
    assert set(smallest.faults) == needed
    assert len(smallest.robots) == 1 and smallest.coordinators == 1
    assert len(runs) < 100
    assert "late" in plan_in_words(smallest)


@pytest.mark.parametrize(
    ("violation", "promise"),
    [("[12 ms] I6: c1 trips", "I6"), ("[0 ms] I9: not everyone", "I9")],
)
def test_a_violation_names_its_promise(violation: str, promise: str) -> None:
    assert same_promise(violation) == promise

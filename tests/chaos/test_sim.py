"""The simulator itself: one seed is one history on any hash seed; it sees what it breaks, and cuts failures down."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from chaos.mutations import planted
from chaos.mutations.__main__ import main as mutations
from chaos.sim.campaign import campaign, judged, same_promise, shrink, verdicts
from chaos.sim.hunt import Hunt, Ledger, hunt, row
from chaos.sim.plan import Fault, FaultKind, Plan, plan_of
from chaos.sim.story import plan_in_words, story
from chaos.sim.world import run


def test_promises_are_kept_over_a_few_seeds() -> None:
    tally = campaign(range(8))
    assert not tally.failed, "\n\n".join(story(judged(plan_of(v.seed))) for v in tally.failed)
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
    assert seen == set(FaultKind)


def test_a_planted_bug_is_caught_and_told_in_words() -> None:
    with planted("free_on_expiry"):
        failed = next(o for o in (judged(plan_of(seed)) for seed in range(60)) if o.violations)
    told = story(failed)
    assert f"Seed {failed.plan.seed}" in told and "Broken: " in told
    assert not judged(failed.plan).violations, "the bug is gone with its plant"


def test_verdicts_are_the_same_from_several_processes_and_come_in_order() -> None:
    assert list(verdicts(range(3), jobs=2)) == list(verdicts(range(3)))


def test_a_hunt_counts_the_seeds_that_a_planted_bug_took() -> None:
    ledger = Ledger()
    hunt(ledger, ["free_on_expiry"], max_seeds=60)
    [caught] = ledger.hunts["free_on_expiry"]
    assert caught.caught is not None and 1 <= caught.tried <= 60
    assert caught.violation and caught.invariant.startswith("I") and caught.judge
    assert row(ledger, "free_on_expiry").median == caught.tried


def test_a_hunt_that_was_broken_off_goes_on_where_it_was(tmp_path: Path) -> None:
    state = tmp_path / "hunts.json"
    state.write_text(json.dumps(Ledger({"free_on_expiry": [Hunt(0, tried=499)]}).as_json()))
    asked = ["hunt", "--plant", "free_on_expiry", "--max", "500", "--jobs", "1", "--state", str(state), "--json"]
    mutations(asked)
    [after] = Ledger.from_json(json.loads(state.read_text())).hunts["free_on_expiry"]
    assert after.tried == 500, "one seed was left of its 500"
    assert mutations([*asked, "--max-seconds", "1"]) == (0 if after.caught is not None else 1)


def test_a_plant_that_does_not_exist_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert mutations(["hunt", "--plant", "nobody"]) == 2
    assert "--plant nobody: not one of" in capsys.readouterr().err


def test_a_median_counts_only_when_every_round_caught_the_plant() -> None:
    ledger = Ledger({"trip_late": [Hunt(0, 7, 6), Hunt(10_000, 500)]})
    assert row(ledger, "trip_late").median is None
    ledger.hunts["trip_late"][1] = Hunt(10_000, 9, 10_008)
    assert row(ledger, "trip_late").median == 8


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

"""The check of I10 accepts the ring's writer and finds one that waits for its observers."""

from __future__ import annotations

import pytest

from benchmarks.edge_ring import judge_account, latency, saturation
from chaos.checkers.undisturbed import ALONE, Phase, ratios, undisturbed

# On a machine under test the tail belongs to whoever else runs; the middle of many writes does not.
MIDDLE = ("p50_us",)
GENEROUS = 5.0


async def test_a_writer_whose_observers_run_stop_and_die_writes_on() -> None:
    measured, _ = await latency(3, 1_000)
    assert undisturbed(measured, MIDDLE, GENEROUS) == []


async def test_a_writer_that_waits_for_its_observers_is_found() -> None:
    measured, _ = await latency(3, 50, planted=True)
    found = undisturbed(measured, MIDDLE, GENEROUS)
    assert any("stopped_p50_over_alone" in violation for violation in found), measured


def test_a_phase_that_never_ends_is_a_violation_of_its_own() -> None:
    measured = [[Phase(ALONE, 10, 10, {"p50_us": 1.0}), Phase("stopped", 10, 3, {})]]
    assert undisturbed(measured, MIDDLE) == [
        "I10: with observers stopped, the writer wrote 3 of 10 records and no more"
    ]


def test_ratios_are_medians_of_those_within_a_round() -> None:
    def turn(alone: float, running: float) -> list[Phase]:
        return [Phase(ALONE, 1, 1, {"p99_us": alone}), Phase("running", 1, 1, {"p99_us": running})]

    measured = [turn(1.0, 1.0), turn(10.0, 10.5), turn(1.0, 9.0)]
    assert ratios(measured, ("p99_us",)) == {"running_p99_over_alone": 1.05}
    assert undisturbed(measured, ("p99_us",)) == []
    assert undisturbed(measured, ("p99_us",), 1.01) != []


async def test_every_readers_account_is_exact_when_the_writer_runs_at_full_speed() -> None:
    figures = await saturation(30_000)
    assert figures["greedy_received"] > 0
    assert figures["slow_received"] + figures["slow_lapped"] + figures["slow_torn"] + figures["slow_skipped"] == 30_000


@pytest.mark.parametrize("changed", [{"lapped": 1}, {"wrong": 1}, {"inexact": 1}, {"produced": 9}])
def test_an_account_that_is_not_exact_is_refused(changed: dict[str, int]) -> None:
    told = {"produced": 10, "received": 8, "lapped": 2, "torn": 0, "skipped": 0, "wrong": 0, "inexact": 0}
    judge_account("greedy", told, 10)
    with pytest.raises(RuntimeError, match="account is wrong"):
        judge_account("greedy", told | changed, 10)

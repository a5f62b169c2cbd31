"""Anomaly rules, the throttle, the heartbeat and what eyes are shown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_node.channels import Window
from edge_node.dsp.baseline import LearnedBaseline
from edge_node.dsp.downsample import for_eyes
from edge_node.dsp.features import Extractor, Plan
from edge_node.dsp.heartbeat import PERIOD_NS, Pulse
from edge_node.dsp.rules import Measures, Rule
from edge_node.dsp.thresholds import FixedThresholds
from edge_node.dsp.throttle import Throttle
from edge_node.findings import Anomaly, Provenance, Severity, State

Signal = NDArray[np.floating[Any]]

FROM = Provenance("spindle", 1, 0, 256, 0, 1_000.0)
EXTRACTOR = Extractor(Plan(1_000.0, 256))


def judged(rule: Rule, data: Signal, coverage: float = 1.0) -> list[Anomaly]:
    batch = EXTRACTOR.features(Window(data.astype(np.float32), 1_000.0, 0, 0))
    return rule.judge(batch, FROM, coverage)


def learned(channels: int = 2, seed: int = 1) -> tuple[LearnedBaseline, np.random.Generator]:
    rule = LearnedBaseline(Measures(tuple(f"c{n}" for n in range(channels))))
    rng = np.random.default_rng(seed)
    for _ in range(rule.learning):
        assert not rule.ready
        assert judged(rule, rng.normal(0, 1, (channels, 256))) == []
    assert rule.ready
    return rule, rng


def test_the_learned_rule_is_quiet_on_what_it_learned() -> None:
    rule, rng = learned()
    found = sum(bool(judged(rule, rng.normal(0, 1, (2, 256)))) for _ in range(1_000))
    assert found < 10


def test_a_level_that_doubles_is_found_after_the_windows_that_confirm_it() -> None:
    rule, rng = learned()
    louder = [np.stack([rng.normal(0, 1, 256), rng.normal(0, 2, 256)]) for _ in range(rule.confirm)]
    counts = [judged(rule, data) for data in louder]
    assert [bool(c) for c in counts] == [False, False, True]
    assert {a.channel for a in counts[-1]} == {"c1"}
    finding = next(a for a in counts[-1] if a.measure == "deviation")
    assert finding.value == pytest.approx(2.0, rel=0.2) and finding.expected == pytest.approx(1.0, rel=0.1)
    assert 0.5 <= finding.confidence <= 1.0


def test_one_shock_shared_by_two_windows_is_no_anomaly() -> None:
    rule, rng = learned()
    shock = rng.normal(0, 1, (2, 256))
    shock[0, 100] = 50.0
    assert judged(rule, shock) == judged(rule, shock) == []


def test_shocks_that_were_there_while_it_learned_are_usual() -> None:
    """Too rare to widen the median deviation: only the tail that was seen tells that they belong to this machine."""

    def window(number: int) -> Signal:
        data = rng.normal(0, 1, (1, 256))
        if number % 20 < 3:  # three in a row, as many as confirm an anomaly
            data[0, 100] = 30.0
        return data

    rng, rule = np.random.default_rng(4), LearnedBaseline(Measures(("c0",)))
    for number in range(rule.learning):
        judged(rule, window(number))
    assert not any(judged(rule, window(number)) for number in range(400))


def test_confidence_falls_with_the_samples_that_were_not_seen() -> None:
    rule, rng = learned()
    loud = rng.normal(0, 3, (2, 256))
    for _ in range(2):
        judged(rule, loud)
    whole, half = judged(rule, loud), judged(rule, loud, coverage=0.5)
    assert half[0].confidence == pytest.approx(whole[0].confidence / 2)


def test_a_channel_that_was_dead_while_learning_is_not_judged() -> None:
    rule = LearnedBaseline(Measures(("dead", "alive")))
    rng = np.random.default_rng(2)
    for _ in range(rule.learning):
        judged(rule, np.stack([np.zeros(256), rng.normal(0, 1, 256)]))
    found = [judged(rule, rng.normal(0, 50, (2, 256))) for _ in range(5)][-1]
    assert {a.channel for a in found} == {"alive"}


def test_relearning_takes_a_changed_machine_for_usual() -> None:
    rule, rng = learned()
    rule.relearn()
    for _ in range(rule.learning):
        judged(rule, rng.normal(0, 3, (2, 256)))
    assert not any(judged(rule, rng.normal(0, 3, (2, 256))) for _ in range(50))


def test_fixed_thresholds_compare_with_the_same_figures_for_all() -> None:
    rule = FixedThresholds(Measures(("a", "b")), nominal_rms=1.2)
    shocked = np.random.default_rng(3).normal(0, 1, (2, 256))
    shocked[1, 10] = 12.0
    assert [(a.channel, a.measure) for a in judged(rule, shocked)] == [("b", "kurtosis")]
    assert [(a.channel, a.measure) for a in judged(rule, np.full((2, 256), 5.0))] == [("a", "rms"), ("b", "rms")]


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(Severity), st.integers(0, 400)), max_size=80))
def test_every_alert_is_passed_or_counted_and_told_once(offers: list[tuple[int, Severity, int]]) -> None:
    throttle, now, told, passed = Throttle(interval_ns=1_000), 0, 0, 0
    for channel, severity, step in offers:
        now += step
        anomaly = Anomaly(f"c{channel}", "kurtosis", 1.0, 1.0, 1.0, severity, 1.0, replace(FROM, t_ns=now))
        sent = throttle.offer(anomaly)
        if sent is not None:
            passed += 1
            told += sent.suppressed
    told += sum(throttle.drain().values())
    assert (throttle.offered, throttle.passed, throttle.suppressed) == (len(offers), passed, told)
    assert throttle.offered == throttle.passed + throttle.suppressed
    assert throttle.drain() == {}


def test_a_graver_alert_is_not_held_back() -> None:
    throttle = Throttle(interval_ns=1_000)
    warn = Anomaly("c", "kurtosis", 1.0, 1.0, 1.0, Severity.WARN, 1.0, FROM)
    assert throttle.offer(warn) == warn
    assert throttle.offer(warn) is None
    assert throttle.offer(replace(warn, severity=Severity.ALARM)) == replace(
        warn, severity=Severity.ALARM, suppressed=1
    )


def test_the_heartbeat_tells_the_share_of_samples_seen() -> None:
    pulse = Pulse(since_ns=0, seen=750, missed=250, windows=3)
    assert pulse.beat(PERIOD_NS - 1, ready=True) is None
    beat = pulse.beat(PERIOD_NS, ready=True)
    assert beat is not None
    assert (beat.state, beat.coverage, beat.windows) == (State.DEGRADED, 0.75, 3)
    nothing = pulse.beat(2 * PERIOD_NS, ready=True)
    assert nothing is not None and (nothing.state, nothing.coverage) == (State.DEGRADED, 0.0)


@pytest.mark.parametrize(
    ("pulse", "ready", "state"),
    [
        (Pulse(0, seen=10), False, State.LEARNING),
        (Pulse(0, seen=10), True, State.OK),
        (Pulse(0, seen=10, bad_channels=1), True, State.DEGRADED),
        (Pulse(0, seen=10, suppressed=1), True, State.ANOMALY),
    ],
)
def test_the_heartbeats_state(pulse: Pulse, ready: bool, state: State) -> None:
    beat = pulse.beat(PERIOD_NS, ready=ready)
    assert beat is not None and beat.state is state


def test_what_eyes_are_shown_keeps_the_ends_and_the_spike() -> None:
    values = np.sin(np.linspace(0, 20, 10_000)).astype(np.float32)
    values[4_321] = 9.0
    kept, shown = for_eyes(values, 100)
    assert kept.size == 100 and kept[0] == 0 and kept[-1] == 9_999 and 4_321 in kept
    np.testing.assert_array_equal(shown, values[kept])
    with pytest.raises(ValueError, match="points: 2 is below 3"):
        for_eyes(values, 2)

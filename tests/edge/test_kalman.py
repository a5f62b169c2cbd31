"""The drift filter against filterpy, against its own intervals, and in what it says of sensors."""

from __future__ import annotations

import numpy as np
import pytest
from filterpy.kalman import KalmanFilter

from edge_node.drift.fusion import DISCOUNT, Fusion, Group
from edge_node.drift.kalman import Filter, Model
from edge_node.drift.watch import DriftWatch

MODEL = Model(
    noise=0.5, value_drift=0.2, bias_drift=0.01, rate_drift=0.001, first_value=10.0, first_bias=1.0, first_rate=0.01
)


def oracle(model: Model, dt: float) -> KalmanFilter:
    """The same one-sensor model in filterpy."""
    kf = KalmanFilter(dim_x=3, dim_z=1)
    kf.x = np.zeros((3, 1))
    kf.P = np.diag([model.first_value**2, model.first_bias**2, model.first_rate**2])
    kf.F = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, dt], [0.0, 0.0, 1.0]])
    kf.H = np.array([[1.0, 1.0, 0.0]])
    kf.R = np.array([[model.noise**2]])
    kf.Q = np.diag([model.value_drift**2, model.bias_drift**2, model.rate_drift**2]) * dt
    return kf


def test_one_sensor_agrees_with_filterpy_to_a_billionth() -> None:
    rng, dt = np.random.default_rng(1), 0.1
    ours, theirs = Filter(MODEL, 1, 1, gate=np.inf), oracle(MODEL, dt)
    for step in range(2_000):
        reading = 3.0 + 0.001 * step + rng.normal(0, 0.5)
        ours.predict(dt)
        theirs.predict()
        ours.update(np.array([[reading]]))
        theirs.update(np.array([[reading]]))
        np.testing.assert_allclose(ours.mean[0], theirs.x[:, 0], rtol=0, atol=1e-9)
        np.testing.assert_allclose(ours.covariance[0], theirs.P, rtol=0, atol=1e-9)


def test_three_sensors_taken_in_one_by_one_agree_with_filterpy_taking_them_at_once() -> None:
    rng, dt, sensors = np.random.default_rng(2), 0.5, 3
    ours, size = Filter(MODEL, 1, sensors, gate=np.inf), 1 + 2 * sensors
    kf = KalmanFilter(dim_x=size, dim_z=sensors)
    kf.x, kf.P, kf.F = np.zeros((size, 1)), ours.covariance[0].copy(), np.eye(size)
    kf.H, kf.R = np.zeros((sensors, size)), np.eye(sensors) * MODEL.noise**2
    drift = [MODEL.value_drift**2]
    for sensor in range(sensors):
        kf.F[1 + 2 * sensor, 2 + 2 * sensor] = dt
        kf.H[sensor, [0, 1 + 2 * sensor]] = 1.0
        drift += [MODEL.bias_drift**2, MODEL.rate_drift**2]
    kf.Q = np.diag(drift) * dt
    for _ in range(300):
        readings = 2.0 + rng.normal(0, 0.5, sensors)
        ours.predict(dt)
        kf.predict()
        ours.update(readings[None])
        kf.update(readings[:, None])
        np.testing.assert_allclose(ours.mean[0], kf.x[:, 0], rtol=0, atol=1e-9)
        np.testing.assert_allclose(ours.covariance[0], kf.P, rtol=0, atol=1e-9)


def test_an_injected_bias_lies_in_its_interval_in_95_of_100_runs() -> None:
    """A thousand runs as a thousand groups of four sensors; the first of each is biased by what the model allows."""
    rng, runs, sensors = np.random.default_rng(3), 1_000, 4
    model = Model(noise=0.5, value_drift=0.3, first_value=20.0, first_bias=2.0)
    bias = rng.normal(0, model.first_bias, (runs, sensors))
    value = rng.normal(20.0, 5.0, runs)
    filters = Filter(model, runs, sensors)
    for _ in range(200):
        value += rng.normal(0, model.value_drift * np.sqrt(0.1), runs)
        filters.predict(0.1)
        filters.update(value[:, None] + bias + rng.normal(0, model.noise, (runs, sensors)))
    estimate, variance = filters.relative_bias(np.ones((runs, sensors), dtype=np.bool_))
    truth = bias[:, 0] - bias[:, 1:].mean(axis=1)
    inside = np.abs(estimate[:, 0] - truth) <= 1.959964 * np.sqrt(variance[:, 0])
    assert 0.92 <= inside.mean() <= 0.98


def four_sensors(reference: str = "", tolerance: float = 1.0) -> Fusion:
    group = Group("spindle temperature", ("t1", "t2", "t3", "t4"), tolerance=tolerance, reference=reference)
    return Fusion([group], Model(noise=0.2, value_drift=0.1, bias_drift=0.02, rate_drift=0.002, first_bias=0.5))


def run(fusion: Fusion, steps: int, biases: object = 0.0, seed: int = 4) -> list[str]:
    rng, opened = np.random.default_rng(seed), []
    for step in range(steps):
        added = biases(step) if callable(biases) else biases
        readings = 40.0 + np.asarray(added) + rng.normal(0, 0.2, (1, 4))
        opened += [item.sensor for item in fusion.step(readings, 1.0, step * 1_000_000_000)]
    return opened


def test_a_sensor_that_drifts_is_flagged_alone_discounted_and_opened_once() -> None:
    fusion = four_sensors()
    opened = run(fusion, 600, lambda step: np.array([0.0, 0.01 * step, 0.0, 0.0]))
    assert opened == ["t2"]
    assert [item.sensor for item in fusion.items()] == ["t2"]
    fused = fusion.fused()[0]
    assert fused.suspicious == ("t2",) and fused.trusted
    assert abs(fused.value - 40.0) < 1.0  # six units of drift on one of four would pull a plain mean by 1.5


def test_healthy_sensors_are_not_flagged() -> None:
    assert run(four_sensors(), 5_000) == []


def test_recalibration_closes_the_item_and_the_sensor_counts_again() -> None:
    fusion = four_sensors()
    run(fusion, 600, lambda step: np.array([0.0, 0.01 * step, 0.0, 0.0]))
    fusion.recalibrated("spindle temperature", "t2")
    assert fusion.items() == []
    assert run(fusion, 300, seed=5) == []
    assert fusion.fused()[0].suspicious == ()


def test_a_common_bias_is_said_to_be_unobservable_and_flags_nobody() -> None:
    fusion = four_sensors()
    assert run(fusion, 600, lambda step: 0.01 * step) == []
    assert not fusion.fused()[0].common_bias_observable


def test_a_reference_makes_the_common_bias_of_the_others_observable() -> None:
    fusion = four_sensors(reference="t1")
    opened = run(fusion, 900, lambda step: np.array([0.0, *[0.01 * step] * 3]))
    assert sorted(opened) == ["t2", "t3", "t4"]
    assert fusion.fused()[0].common_bias_observable and fusion.fused()[0].trusted
    assert abs(fusion.fused()[0].value - 40.0) < 1.0


def test_an_outlier_is_gated_out_and_counted() -> None:
    fusion = four_sensors()
    run(fusion, 200)
    before = fusion.fused()[0].value
    fusion.step(np.array([[40.0, 1e6, 40.0, np.nan]]), 1.0, 0)
    assert abs(fusion.fused()[0].value - before) < 0.5
    assert fusion.outliers.tolist() == [[0, 1, 0, 0]]


def test_a_sensor_that_jumps_is_learned_anew_and_flagged() -> None:
    fusion = four_sensors()
    run(fusion, 300)
    assert run(fusion, 100, np.array([0.0, 0.0, 7.0, 0.0]), seed=6) == ["t3"]


def test_two_sensors_that_differ_are_both_named() -> None:
    fusion = Fusion([Group("pair", ("a", "b"), tolerance=1.0)], Model(noise=0.1, value_drift=0.1, bias_drift=0.05))
    for step in range(300):
        fusion.step(np.array([[1.0, 1.0 + 0.02 * step]]), 1.0, step)
    assert "recalibrate both" in fusion.items()[0].reason
    assert not fusion.fused()[0].trusted


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Model(noise=0.0, value_drift=1.0), "noise: 0.0 is not above 0"),
        (lambda: Model(noise=1.0, value_drift=-1.0), "value_drift: -1.0 is below 0"),
        (lambda: Group("g", ("a", "a"), 1.0), "name each sensor once"),
        (lambda: Group("g", ("a",), 1.0, reference="b"), "reference: b of g is none of a"),
        (lambda: Filter(MODEL, 1, 2).update(np.zeros((2, 1))), r"readings: shape \(2, 1\) is not \(1, 2\)"),
        (lambda: Filter(MODEL, 1, 1).predict(-1.0), "dt_s: -1.0 is below 0"),
    ],
)
def test_bad_input_is_named(make: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()  # type: ignore[operator]


def test_a_discounted_reading_weighs_less() -> None:
    plain, discounted = Filter(MODEL, 1, 1), Filter(MODEL, 1, 1)
    for filters, noise in ((plain, None), (discounted, np.array([[MODEL.noise * DISCOUNT]]))):
        filters.update(np.array([[5.0]]), noise)
    assert discounted.covariance[0, 0, 0] > plain.covariance[0, 0, 0]


def test_a_reading_counts_for_more_the_longer_the_last_one_is_ago_and_an_earlier_clock_for_no_time() -> None:
    model = Model(noise=0.05, value_drift=0.05, bias_drift=0.0, rate_drift=0.0, first_bias=0.1)

    def value_after(passed_s: float) -> float:
        watch = DriftWatch([(Group("wall", ("t1", "t2", "t3"), tolerance=1.0), model)], ("t1", "t2", "t3"))
        start_ns = 10_000_000_000
        for reading, t_ns in ((300.0, start_ns), (300.1, start_ns + int(passed_s * 1e9))):
            assert watch.take(np.full(3, reading, np.float32), t_ns) == []
        return watch.fused()[0].value

    at_once, later, much_later = (value_after(passed_s) for passed_s in (0.0, 1.0, 100.0))
    assert at_once < later < much_later < 300.1
    assert value_after(-5.0) == at_once  # a new writer's clock

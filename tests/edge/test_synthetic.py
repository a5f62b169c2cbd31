from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import signal

from edge_node.channels import Channel
from edge_node.sources import SourceError
from edge_node.sources.bearing import BearingSource, Damage
from edge_node.sources.mock import MockSource

RATE_HZ = 20_000.0
ONE = (Channel("acc"),)
OUTER = Damage("outer", fault_hz=107.36, slip=0.015, jitter=0.01)


def source(damage: Damage, *, noise: float = 0.0, imbalance: float = 0.0, seed: int = 1) -> BearingSource:
    return BearingSource(ONE, RATE_HZ, damage, noise=noise, imbalance=imbalance, seed=seed)


def envelope_spectrum(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    envelope = np.abs(signal.hilbert(samples))
    return np.fft.rfftfreq(len(samples), 1 / RATE_HZ), np.abs(np.fft.rfft(envelope - envelope.mean()))


@pytest.mark.parametrize("sizes", [[7] * 400, [1, 2_799], [1_400, 1_400]])
def test_samples_do_not_depend_on_the_size_of_the_blocks(sizes: list[int]) -> None:
    whole = source(OUTER, noise=0.1, imbalance=0.5).take(2_800)
    pieces = source(OUTER, noise=0.1, imbalance=0.5)
    np.testing.assert_allclose(np.concatenate([pieces.take(n) for n in sizes]), whole, atol=1e-6)


def test_the_envelope_shows_the_rate_of_strikes_slowed_by_slip() -> None:
    hz, lines = envelope_spectrum(source(OUTER).take(200_000)[:, 0])
    band = (hz > 90) & (hz < 125)
    assert hz[band][lines[band].argmax()] == pytest.approx(107.36 * (1 - 0.015), abs=1.0)


def test_a_strike_rings_at_the_resonance_and_decays_with_the_damping() -> None:
    damage = Damage("outer", fault_hz=5.0, jitter=0.0, slip=0.0, resonance_hz=3_000.0, damping=0.02)
    strike = source(damage).take(4_000)[2_000:, 0]
    hz = np.fft.rfftfreq(len(strike), 1 / RATE_HZ)
    assert hz[np.abs(np.fft.rfft(strike)).argmax()] == pytest.approx(3_000, abs=15)
    after_s = 0.005
    early, late = (np.abs(strike[at : at + 20]).max() for at in (0, round(after_s * RATE_HZ)))
    assert late / early == pytest.approx(math.exp(-0.02 * 2 * math.pi * 3_000 * after_s), rel=0.05)


@pytest.mark.parametrize(("place", "turns_hz"), [("inner", 29.95), ("ball", 11.93)])
def test_a_turning_fault_is_modulated_at_the_rate_at_which_it_passes_the_load(place: str, turns_hz: float) -> None:
    damage = Damage(place, fault_hz=160.0, slip=0.0, jitter=0.0)  # type: ignore[arg-type]
    hz, lines = envelope_spectrum(source(damage).take(400_000)[:, 0])

    def line(at_hz: float) -> float:
        return float(lines[np.abs(hz - at_hz) < 0.2].max())

    beside = (hz > turns_hz * 1.2) & (hz < turns_hz * 1.8)
    assert line(turns_hz) > 10 * np.median(lines[beside])
    assert line(160.0 + turns_hz) > 10 * np.median(lines[beside])


def test_wear_lets_strikes_grow_from_the_first_to_the_full_amplitude() -> None:
    worn = source(Damage("outer", fault_hz=100.0, amplitude=4.0, begin_amplitude=1.0, wear_s=10.0, wear_power=1.0))
    assert [worn.strength(t) for t in (0.0, 5.0, 10.0, 60.0)] == [1.0, 2.5, 4.0, 4.0]


def test_a_healthy_bearing_is_noise_and_the_shafts_own_sine() -> None:
    samples = source(Damage(), noise=0.1, imbalance=1.0).take(200_000)[:, 0]
    assert samples.std() == pytest.approx(math.sqrt(0.5 + 0.01), rel=0.01)
    hz = np.fft.rfftfreq(len(samples), 1 / RATE_HZ)
    assert hz[np.abs(np.fft.rfft(samples)).argmax()] == pytest.approx(29.95, abs=0.1)


def test_each_channel_has_its_own_gain_and_noise() -> None:
    two = (Channel("near"), Channel("far"))
    samples = BearingSource(two, RATE_HZ, OUTER, gains=(1.0, 0.25), noise=0.0, imbalance=0.0).take(4_000)
    np.testing.assert_allclose(samples[:, 1], samples[:, 0] * 0.25, rtol=1e-6)
    noisy = BearingSource(two, RATE_HZ, Damage(), noise=1.0, imbalance=0.0).take(20_000)
    assert abs(np.corrcoef(noisy.T)[0, 1]) < 0.03


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (Damage("outer", fault_hz=0.0), "fault_hz = 0.0"),
        (Damage(resonance_hz=RATE_HZ), "below half of rate_hz"),
        (Damage("outer", fault_hz=100.0, slip=0.5), "slip = 0.5"),
        (Damage(damping=0.0), "damping = 0.0"),
    ],
)
def test_an_impossible_bearing_is_refused_with_what_would_be_right(damage: Damage, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        source(damage)


def test_the_mock_is_two_sines_noise_and_shocks() -> None:
    mock = MockSource((Channel("a"), Channel("b")), 10_000.0, shocks_per_s=20.0)
    samples = np.concatenate([mock.take(1_000) for _ in range(100)])
    assert samples.shape == (100_000, 2) and samples.dtype == np.float32
    lines = np.abs(np.fft.rfft(samples[:, 0])) / 50_000
    assert lines[500] == pytest.approx(1.0, rel=0.03)
    assert lines[1_200] == pytest.approx(0.5, rel=0.03)
    shocks = int((np.abs(samples) > 4.0).sum())
    assert 300 < shocks < 400 + 100, "10 s of two channels with 20 shocks a second each, most of them above 4"
    quiet = MockSource(ONE, 10_000.0, noise=0.0, shocks_per_s=0.0).take(10_000)
    assert np.abs(quiet).max() <= 1.5 + 1e-5

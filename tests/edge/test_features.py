"""Feature values against closed forms and against scipy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.signal
import scipy.stats
from numpy.typing import NDArray

from edge_node.channels import Window
from edge_node.dsp.bearings import BEARING_6205, Bearing, Fault
from edge_node.dsp.features import BadWindow, Extractor, Plan
from edge_node.dsp.severity import Machine, zone
from edge_node.dsp.windows import Framing, Taper, coherent_gain, noise_bandwidth_bins, taper
from edge_node.findings import FeatureBatch, Quality

Signal = NDArray[np.floating[Any]]

RATE, SAMPLES = 8_192.0, 8_192
SHAFT_HZ = 1_797 / 60


def of(*rows: Signal, rate: float = RATE, **plan: object) -> FeatureBatch:
    data = np.ascontiguousarray(np.stack(rows), dtype=np.float32)
    settings = Plan(rate, data.shape[1], **plan)  # type: ignore[arg-type]
    return Extractor(settings).features(Window(data, rate, 0, 0))


def seconds(samples: int = SAMPLES, rate: float = RATE) -> Signal:
    return np.arange(samples) / rate


def test_a_sine_has_the_closed_forms() -> None:
    batch = of(3.0 * np.sin(2 * np.pi * 64 * seconds()))
    assert batch.rms[0] == pytest.approx(3 / np.sqrt(2), rel=1e-5)
    assert batch.peak_to_peak[0] == pytest.approx(6.0, rel=1e-5)
    assert batch.crest[0] == pytest.approx(np.sqrt(2), rel=1e-5)
    assert batch.kurtosis[0] == pytest.approx(1.5, rel=1e-4)
    assert batch.excess_kurtosis[0] == pytest.approx(-1.5, rel=1e-4)


def test_a_square_wave_has_crest_and_kurtosis_one() -> None:
    batch = of(np.where(np.arange(SAMPLES) % 128 < 64, 2.0, -2.0))
    assert (batch.rms[0], batch.crest[0], batch.kurtosis[0]) == pytest.approx((2.0, 1.0, 1.0), rel=1e-5)


def test_a_pulse_train_has_the_kurtosis_of_its_duty() -> None:
    """Pulses with duty p: a Bernoulli variable, kurtosis 1 / (p (1 - p)) - 3 and crest sqrt((1 - p) / p)."""
    duty = 1 / 64
    batch = of(np.where(np.arange(SAMPLES) % 64 == 0, 5.0, 0.0))
    assert batch.kurtosis[0] == pytest.approx(1 / (duty * (1 - duty)) - 3, rel=1e-4)
    assert batch.crest[0] == pytest.approx(np.sqrt((1 - duty) / duty), rel=1e-4)
    assert batch.mean[0] == pytest.approx(5 * duty, rel=1e-5)


def test_gaussian_noise_with_a_bias_has_both_in_its_rms() -> None:
    noise = np.random.default_rng(1).normal(0, 0.5, 1 << 20) + 2.0
    batch = of(noise)
    assert batch.rms[0] == pytest.approx(np.hypot(2.0, 0.5), rel=1e-3)
    assert batch.deviation[0] == pytest.approx(0.5, rel=5e-3)
    assert batch.kurtosis[0] == pytest.approx(3.0, abs=0.03)


def test_moments_agree_with_scipy_on_heavy_tails() -> None:
    x = np.random.default_rng(2).standard_t(5, (4, SAMPLES)).astype(np.float32)
    batch = of(*x)
    np.testing.assert_allclose(batch.excess_kurtosis, scipy.stats.kurtosis(x.astype(np.float64), axis=1), rtol=1e-3)
    np.testing.assert_allclose(batch.deviation, x.astype(np.float64).std(axis=1), rtol=1e-5)


def test_tapers_have_their_gains_and_noise_bandwidths() -> None:
    assert coherent_gain(taper(Taper.HANN, 4096)) == pytest.approx(0.5, rel=1e-6)
    assert noise_bandwidth_bins(taper(Taper.HANN, 4096)) == pytest.approx(1.5, rel=1e-6)
    assert coherent_gain(taper(Taper.HAMMING, 4096)) == pytest.approx(0.54, rel=1e-6)
    assert noise_bandwidth_bins(taper(Taper.HAMMING, 4096)) == pytest.approx(1.3628, rel=1e-4)
    np.testing.assert_allclose(taper(Taper.HANN, 512), scipy.signal.get_window("hann", 512), atol=1e-6)


@pytest.mark.parametrize("kind", list(Taper))
@pytest.mark.parametrize("samples", [4096, 4095])
def test_bands_add_up_to_the_mean_square_by_parseval(kind: Taper, samples: int) -> None:
    x = np.random.default_rng(3).normal(0, 1, samples).astype(np.float32)
    half = RATE / 2
    batch = of(x, taper=kind, bands_hz=((0.0, 100.0), (100.0, 1_000.0), (1_000.0, half), (half, half + 1))[:3])
    weights = taper(kind, samples).astype(np.float64)
    d = x.astype(np.float64) - x.mean(dtype=np.float64)
    whole = np.sum((weights * d) ** 2) / np.sum(weights**2)
    spectrum = np.fft.rfft(weights * d)
    at_half = abs(spectrum[-1]) ** 2 / (samples * np.sum(weights**2)) if samples % 2 == 0 else 0.0
    assert batch.band_energy[0].sum() + at_half == pytest.approx(whole, rel=1e-4)


def test_band_energy_agrees_with_scipys_periodogram() -> None:
    x = np.random.default_rng(4).normal(0, 1, SAMPLES)
    frequency, density = scipy.signal.periodogram(x, RATE, window="hann", detrend="constant", scaling="density")
    inside = (frequency >= 500) & (frequency < 1_500)
    expected = density[inside].sum() * RATE / SAMPLES
    assert of(x, bands_hz=((500.0, 1_500.0),)).band_energy[0, 0] == pytest.approx(expected, rel=1e-4)


def test_one_g_at_159_hz_is_seven_millimetres_a_second() -> None:
    batch = of(np.sin(2 * np.pi * 159.155 * seconds(50_000, 50_000.0)), rate=50_000.0)
    assert batch.velocity_rms_mm_s[0] == pytest.approx(6.934, abs=0.005)


def test_velocity_leaves_out_what_lies_outside_10_to_1000_hz() -> None:
    t = seconds()
    batch = of(np.sin(2 * np.pi * 5 * t), np.sin(2 * np.pi * 2_000 * t))
    assert batch.velocity_rms_mm_s.max() < 0.02


def test_a_6205_at_1797_rpm_has_the_known_lines() -> None:
    lines = [BEARING_6205.fault_hz(fault, SHAFT_HZ) for fault in (Fault.OUTER, Fault.INNER, Fault.BALL, Fault.CAGE)]
    assert lines == pytest.approx([107.36, 162.19, 141.17, 11.93], abs=0.005)


@pytest.mark.parametrize("fault", [Fault.OUTER, Fault.INNER, Fault.BALL])
def test_an_amplitude_modulated_carrier_shows_its_line_and_no_other(fault: Fault) -> None:
    t, line = seconds(65_536, 50_000.0), BEARING_6205.fault_hz(fault, SHAFT_HZ)
    x = 2.0 * (1 + 0.3 * np.cos(2 * np.pi * line * t)) * np.sin(2 * np.pi * 6_000 * t)
    batch = of(x, rate=50_000.0, bearing=BEARING_6205, shaft_hz=SHAFT_HZ, resonance_hz=(4_000.0, 8_000.0))
    place = Plan(1.0, 64).faults.index(fault)
    assert batch.envelope_line[0, place] == pytest.approx(0.6, rel=0.16)  # Hann loses up to 1.42 dB between two bins
    others = np.delete(batch.envelope_line[0], place)
    assert others.max() < 0.01


@pytest.mark.parametrize("slip", [-0.018, 0.018])
def test_a_line_is_found_where_rolling_elements_slip_to(slip: float) -> None:
    t, line = seconds(65_536, 50_000.0), BEARING_6205.fault_hz(Fault.INNER, SHAFT_HZ) * (1 + slip)
    x = 2.0 * (1 + 0.3 * np.cos(2 * np.pi * line * t)) * np.sin(2 * np.pi * 6_000 * t)
    batch = of(x, rate=50_000.0, bearing=BEARING_6205, shaft_hz=SHAFT_HZ, resonance_hz=(4_000.0, 8_000.0))
    place = Plan(1.0, 64).faults.index(Fault.INNER)
    assert batch.envelope_line[0, place] == pytest.approx(0.6, rel=0.16)


def test_the_envelope_agrees_with_scipys_hilbert_transform() -> None:
    rng, t = np.random.default_rng(5), seconds(32_768, 50_000.0)
    x = rng.normal(0, 0.1, t.size) + (1 + 0.5 * np.cos(2 * np.pi * 107.36 * t)) * np.sin(2 * np.pi * 6_000 * t)
    extractor = Extractor(
        Plan(50_000.0, t.size, bearing=BEARING_6205, shaft_hz=SHAFT_HZ, resonance_hz=(4_000.0, 8_000.0))
    )
    found = extractor.features(Window(x.astype(np.float32)[None], 50_000.0, 0, 0)).envelope_line[0, 0]
    band = scipy.signal.sosfiltfilt(scipy.signal.butter(8, (4_000, 8_000), "bandpass", fs=50_000, output="sos"), x)
    envelope = np.abs(scipy.signal.hilbert(band))
    weights = scipy.signal.get_window("hann", t.size)
    spectrum = 2 * np.abs(np.fft.rfft(weights * (envelope - envelope.mean()))) / weights.sum()
    near = round(107.36 * t.size / 50_000)
    assert found == pytest.approx(spectrum[near - 2 : near + 3].max(), rel=0.02)


@pytest.mark.parametrize(
    ("row", "quality"),
    [
        (np.full(SAMPLES, 1.5), Quality.STUCK),
        (np.where(np.arange(SAMPLES) == 7, np.nan, 1.0), Quality.NOT_A_NUMBER),
        (np.where(np.arange(SAMPLES) == 7, np.inf, 1.0), Quality.NOT_A_NUMBER),
        (np.clip(4 * np.sin(2 * np.pi * 8 * seconds()), -2.0, 2.0), Quality.CLIPPED),
        (np.sin(2 * np.pi * 8 * seconds()), Quality.OK),
    ],
)
def test_bad_samples_are_named_and_leave_the_other_channels_alone(row: Signal, quality: Quality) -> None:
    good = 1.9 * np.sin(2 * np.pi * 64 * seconds())
    batch = of(good, row, good, full_scale=2.0)
    assert batch.quality == (Quality.OK, quality, Quality.OK)
    assert batch.kurtosis[0] == batch.kurtosis[2] == pytest.approx(1.5, rel=1e-4)


def test_samples_never_seen_are_told_with_the_window() -> None:
    data = np.random.default_rng(6).normal(0, 1, (1, 64)).astype(np.float32)
    assert Extractor(Plan(RATE, 64)).features(Window(data, RATE, 640, 0, missing=64)).quality == (Quality.MISSING,)


def test_windows_that_do_not_follow_the_plan_are_refused() -> None:
    extractor, data = Extractor(Plan(RATE, 128)), np.zeros((1, 64), dtype=np.float32)
    with pytest.raises(BadWindow, match="64 samples where the plan has 128"):
        extractor.features(Window(data, RATE, 0, 0))
    with pytest.raises(BadWindow, match=r"rate_hz: 4096\.0 where the plan has 8192\.0"):
        extractor.features(Window(np.zeros((1, 128), dtype=np.float32), RATE / 2, 0, 0))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rate_hz": 0.0}, "rate_hz: 0.0 is not above 0"),
        ({"samples": 8}, "samples: 8 of a window is not 16"),
        ({"overlap": 1.0}, "overlap: 1.0 is not in 0 <= overlap < 1"),
        ({"bands_hz": ((5.0, 2.0),)}, r"bands_hz: \(5.0, 2.0\) is not 0 <= low < high"),
        ({"bands_hz": ((600.0, 700.0),)}, "starts above 500.0 Hz, half the rate"),
        ({"bearing": BEARING_6205, "shaft_hz": 30.0}, "resonance_hz"),
        ({"bearing": BEARING_6205, "resonance_hz": (100.0, 200.0)}, "shaft_hz: 0.0 is not above 0"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_by_its_field(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        _ = Plan(**{"rate_hz": 1_000.0, "samples": 256, **settings}).hop  # type: ignore[arg-type]


def test_a_bearing_that_cannot_be_is_refused_by_its_field() -> None:
    with pytest.raises(ValueError, match="ball_mm: 40 is not between 0 and pitch_mm 39"):
        Bearing(balls=9, ball_mm=40, pitch_mm=39)


def test_velocity_zones_are_those_of_the_standard() -> None:
    assert [zone(v, Machine.MEDIUM_RIGID) for v in (1.4, 1.5, 2.9, 4.6)] == ["A", "B", "C", "D"]


def test_framing_overlaps_and_never_spans_a_gap() -> None:
    framing, block = Framing(1, 64, 32), np.arange(40, dtype=np.float32)[None]
    windows = list(framing.feed(block, 1_000.0, 0, 0))
    windows += framing.feed(block + 40, 1_000.0, 40, 40_000_000)
    assert [(w.first_index, w.t_ns, w.missing) for w in windows] == [(0, 0, 0)]
    windows = list(framing.feed(block + 80, 1_000.0, 80, 80_000_000))
    assert [(w.first_index, w.t_ns, w.data[0, 0]) for w in windows] == [(32, 32_000_000, 32.0)]
    gap = list(framing.feed(np.tile(block, 2) + 1_000, 1_000.0, 1_000, 10**9))
    # 120 to 999 were never there, and 96 to 119 had been in no window yet
    assert [(w.first_index, w.missing) for w in gap] == [(1_000, 880 + 24)]
    with pytest.raises(ValueError, match="missing channels"):
        next(framing.feed(np.zeros((2, 8), dtype=np.float32), 1_000.0, 1_080, 0))

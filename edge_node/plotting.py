"""One window as a picture: waveform, spectrum, and the envelope spectrum with the bearing's fault lines.

Needs matplotlib, which is an extra: import this only where a picture is wanted. Computes what the features compute, by
the same definitions, and decides nothing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy.fft
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from edge_node.channels import Channel, Samples
from edge_node.dsp.downsample import for_eyes
from edge_node.dsp.envelope import Envelope
from edge_node.dsp.features import Plan
from edge_node.dsp.windows import coherent_gain, taper

POINTS = 2_000
WIDTH_INCHES, HEIGHT_INCHES, DPI = 10.0, 8.0, 110


def picture(path: Path, samples: Samples, channel: Channel, plan: Plan, title: str) -> None:
    """Writes the PNG. `samples` of one channel, shape (samples,), in its unit. OSError when it cannot be written."""
    figure = Figure(figsize=(WIDTH_INCHES, HEIGHT_INCHES), layout="constrained")
    wave, spectrum, envelope = figure.subplots(3, 1)
    at, values = for_eyes(samples, POINTS)
    wave.plot(at / plan.rate_hz * 1_000, values, linewidth=0.7)
    wave.set(title=title, xlabel="ms", ylabel=channel.unit)

    weights = taper(plan.taper, plan.samples)
    lines = scipy.fft.rfft(((samples - samples.mean()) * weights)[None, :], axis=1)
    hz = np.arange(lines.shape[1]) * plan.rate_hz / plan.samples
    spectrum.plot(hz, 2 * np.abs(lines[0]) / (plan.samples * coherent_gain(weights)), linewidth=0.7)
    spectrum.set(xlabel="Hz", ylabel=f"{channel.unit} (amplitude)", xlim=(0, plan.rate_hz / 2))

    if plan.bearing is None:
        envelope.text(0.5, 0.5, "no bearing configured: no envelope spectrum", ha="center", va="center")
        envelope.set_axis_off()
    else:
        _envelope(envelope, lines, channel, plan)
    figure.savefig(path, dpi=DPI, format="png")


def _envelope(axes: Axes, lines: NDArray[np.complex64], channel: Channel, plan: Plan) -> None:
    if plan.bearing is None:
        return
    faults = {fault: plan.bearing.fault_hz(fault, plan.shaft_hz) for fault in plan.faults}
    made = Envelope(plan.rate_hz, plan.samples, plan.taper, plan.resonance_hz, tuple(faults.values()))
    found = made.spectrum(lines.astype(np.complex64))[0]
    hz = np.arange(found.shape[0]) * made.step_hz
    axes.plot(hz, found, linewidth=0.7)
    for n, (fault, at_hz) in enumerate(sorted(faults.items(), key=lambda item: item[1])):
        axes.axvline(at_hz, color=f"C{n + 1}", linestyle="--", linewidth=0.9, label=f"{fault} {at_hz:.1f} Hz")
    axes.set(xlabel="Hz", ylabel=f"envelope, {channel.unit}", xlim=(0, 4 * max(faults.values())))
    axes.legend(loc="upper right")

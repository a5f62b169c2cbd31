"""What an observer finds: features, anomalies, heartbeats and sensors to recalibrate, as plain records.

Owns the words that the sink, the coordinator's link and the commands share. A finding always carries where it comes
from (its provenance) and how far it may be trusted (its confidence).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class Severity(IntEnum):
    """How grave an anomaly is; a policy says what each does."""

    NOTICE = 1
    WARN = 2
    ALARM = 3


class Quality(StrEnum):
    """What is wrong with a channel's samples, so that nobody trusts a feature of them."""

    OK = "OK"
    NOT_A_NUMBER = "NOT_A_NUMBER"
    CLIPPED = "CLIPPED"
    STUCK = "STUCK"
    MISSING = "MISSING"


class State(StrEnum):
    """The state that a heartbeat carries. LEARNING: no baseline yet. DEGRADED: not all samples seen, or bad ones."""

    LEARNING = "LEARNING"
    OK = "OK"
    DEGRADED = "DEGRADED"
    ANOMALY = "ANOMALY"


@dataclass(frozen=True, slots=True)
class Provenance:
    """Which samples a finding was computed from, and by which rule. `replayed` ones never act on the plant."""

    source: str
    writer_epoch: int
    first_index: int
    samples: int
    t_ns: int
    rate_hz: float
    rule: str = ""
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class FeatureBatch:
    """Features of one window, one value per channel.

    The arrays have the shape (channels,), but `band_energy` (channels, bands) and `envelope_score` and
    `envelope_line` (channels, faults), with no faults where no bearing is planned for. Units are the channel's (u):
    `mean`, `rms`, `deviation`, `peak_to_peak` and `envelope_line` in u, `band_energy` in u²; `crest`, `kurtosis`,
    `excess_kurtosis` and `envelope_score` are ratios; `velocity_rms_mm_s` in mm/s. Channels whose quality is not OK
    carry NaN where the value means nothing.
    """

    mean: Floats
    rms: Floats
    deviation: Floats
    peak_to_peak: Floats
    crest: Floats
    kurtosis: Floats
    excess_kurtosis: Floats
    band_energy: Floats
    envelope_line: Floats
    envelope_score: Floats
    velocity_rms_mm_s: Floats
    quality: tuple[Quality, ...]

    @property
    def channels(self) -> int:
        return int(self.rms.shape[0])


@dataclass(frozen=True, slots=True)
class Anomaly:
    """One channel left its usual behaviour.

    `measure` names the feature, `value` what it was, `expected` what is usual, `score` how many robust standard
    deviations lie between (for fixed thresholds: value over threshold). `confidence` is 0 to 1: see `dsp.baseline`.
    `suppressed` counts equal ones that the throttle held back since the last.
    """

    channel: str
    measure: str
    value: float
    expected: float
    score: float
    severity: Severity
    confidence: float
    provenance: Provenance
    suppressed: int = 0


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Once a second: the observer is there, what state it is in, and which share of the samples it has truly seen."""

    t_ns: int
    state: State
    coverage: float
    windows: int
    anomalies: int
    suppressed: int
    bad_channels: int


@dataclass(frozen=True, slots=True)
class Recalibration:
    """A sensor that can be trusted less: open until somebody recalibrates it.

    `bias` and `half_width` (95 % interval) are relative to the other sensors of its group, in their unit.
    """

    group: str
    sensor: str
    reason: str
    bias: float
    half_width: float
    opened_t_ns: int

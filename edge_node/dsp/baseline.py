"""The default rule: each channel is compared with what is usual for that channel.

Fixed thresholds alone alarm on healthy machines, since what is usual differs from channel to channel. This rule looks
on for LEARNING windows, then judges. In words: of the logarithm of each measure it keeps the median and a spread; the
spread is the largest of the scaled median absolute deviation (1.4826 MAD estimates the standard deviation of a
Gaussian: P. J. Rousseeuw and C. Croux, J. Am. Stat. Assoc. 88, 1993, section 1), of what the tail seen while learning
calls for, and of a least spread. The score is the distance above the median in spreads. A score above the threshold
in `confirm` windows one after the other is an anomaly: one shock that two overlapping windows share is not.

The confidence of a finding is coverage x learned x margin: the share of samples seen, the share of the learning windows
that could be used for this channel, and 1 - threshold / (2 score) with the score in thresholds, 0.5 at the threshold.

The baseline is frozen once learned: a fault that grows slowly must not become usual. `relearn` starts anew, for a
person who has changed the machine.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_node.dsp.rules import Matrix, Measures
from edge_node.findings import Anomaly, FeatureBatch, Provenance, Severity

VERSION = "learned-baseline/1"

MAD_TO_DEVIATION = 1.4826
TAIL_DEVIATIONS = 2.326
"""How far out the 99th percentile of a Gaussian lies, in standard deviations."""

LEAST_SPREAD = 0.02
"""In logarithms: differences of 2 % are never unusual in themselves."""

MIN_LEARNING = 20
MAX_LEARNING = 10_000


@dataclass(slots=True)
class LearnedBaseline:
    """Learns what is usual for each channel and measure, then finds what is above it."""

    measures: Measures
    learning: int = 120
    warn_score: float = 5.0
    alarm_score: float = 10.0
    confirm: int = 3
    _seen: list[Matrix] = field(default_factory=list)
    _median: Matrix | None = None
    _spread: Matrix | None = None
    _usable: Matrix | None = None
    _above: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        if not MIN_LEARNING <= self.learning <= MAX_LEARNING:
            raise ValueError(f"learning: {self.learning} windows is not {MIN_LEARNING} to {MAX_LEARNING}")
        if not 0 < self.warn_score <= self.alarm_score:
            raise ValueError(f"warn_score: {self.warn_score} is not above 0 and at most alarm_score {self.alarm_score}")
        if self.confirm < 1:
            raise ValueError(f"confirm: {self.confirm} windows is below 1")

    @property
    def version(self) -> str:
        return f"{VERSION} learning={self.learning} warn={self.warn_score:g} confirm={self.confirm}"

    @property
    def ready(self) -> bool:
        return self._median is not None

    def relearn(self) -> None:
        """Forgets what was usual and learns anew."""
        self._seen.clear()
        self._median = self._spread = self._usable = self._above = None

    def judge(self, batch: FeatureBatch, provenance: Provenance, coverage: float) -> list[Anomaly]:
        """The anomalies of one window; none while learning."""
        matrix = self.measures.of(batch)
        logarithm = np.log(matrix)
        if self._median is None or self._spread is None or self._usable is None or self._above is None:
            self._seen.append(logarithm)
            if len(self._seen) >= self.learning:
                self._learn()
            return []
        with np.errstate(invalid="ignore"):
            score = (logarithm - self._median) / self._spread
            self._above = np.where(score > self.warn_score, self._above + 1, 0)
        found = []
        for channel, measure in np.argwhere(self._above >= self.confirm):
            at = float(score[channel, measure])
            margin = 1.0 - self.warn_score / (2.0 * at)
            found.append(
                Anomaly(
                    channel=self.measures.channels[channel],
                    measure=self.measures.names[measure],
                    value=float(matrix[channel, measure]),
                    expected=float(np.exp(self._median[channel, measure])),
                    score=at,
                    severity=Severity.ALARM if at >= self.alarm_score else Severity.WARN,
                    confidence=coverage * float(self._usable[channel, measure]) * margin,
                    provenance=provenance,
                )
            )
        return found

    def _learn(self) -> None:
        seen = np.stack(self._seen)
        self._seen.clear()
        with warnings.catch_warnings(), np.errstate(invalid="ignore"):
            warnings.simplefilter("ignore", RuntimeWarning)  # a channel that was never usable has only NaN
            median = np.nanmedian(seen, axis=0)
            scaled = MAD_TO_DEVIATION * np.nanmedian(np.abs(seen - median), axis=0)
            tail = (np.nanquantile(seen, 0.99, axis=0) - median) / TAIL_DEVIATIONS
        self._median = median
        self._spread = np.fmax(np.fmax(scaled, tail), LEAST_SPREAD)
        self._usable = np.mean(np.isfinite(seen), axis=0)
        self._above = np.zeros(median.shape, dtype=np.int64)

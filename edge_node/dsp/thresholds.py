"""The plain rule of the field: fixed thresholds on kurtosis and RMS, the same for every channel.

Selectable, and not the default: on healthy machines with shocks or another level it alarms all the time. Compare
`python -m benchmarks edge_rules`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_node.dsp.rules import Measures
from edge_node.findings import Anomaly, FeatureBatch, Provenance, Severity

VERSION = "fixed-thresholds/1"


@dataclass(frozen=True, slots=True)
class FixedThresholds:
    """Alarms when kurtosis (Pearson) exceeds `kurtosis` or RMS exceeds `rms_factor` times `nominal_rms` (units)."""

    measures: Measures
    nominal_rms: float
    kurtosis: float = 3.5
    rms_factor: float = 2.5

    def __post_init__(self) -> None:
        for name in ("nominal_rms", "kurtosis", "rms_factor"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: {getattr(self, name)} is not above 0")

    @property
    def version(self) -> str:
        return f"{VERSION} kurtosis={self.kurtosis:g} rms={self.rms_factor:g}x{self.nominal_rms:g}"

    @property
    def ready(self) -> bool:
        return True

    def judge(self, batch: FeatureBatch, provenance: Provenance, coverage: float) -> list[Anomaly]:
        """The anomalies of one window. Their score is the value over its threshold."""
        found = []
        limits = (("kurtosis", batch.kurtosis, self.kurtosis), ("rms", batch.rms, self.rms_factor * self.nominal_rms))
        for measure, values, limit in limits:
            for channel in np.flatnonzero(values > limit):
                value = float(values[channel])
                found.append(
                    Anomaly(
                        channel=self.measures.channels[channel],
                        measure=measure,
                        value=value,
                        expected=limit,
                        score=value / limit,
                        severity=Severity.WARN,
                        confidence=coverage,
                        provenance=provenance,
                    )
                )
        return found

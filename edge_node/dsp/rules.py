"""What every anomaly rule is: a thing that judges feature batches, by a name and version that findings carry.

Owns the measures that rules look at. A channel whose samples cannot be trusted is not judged: its quality speaks for
it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge_node.dsp.bearings import Fault
from edge_node.findings import Anomaly, FeatureBatch, Provenance, Quality

Matrix = NDArray[np.float64]


class Rule(Protocol):
    """Judges the windows of a fixed set of channels, in their order."""

    @property
    def version(self) -> str:
        """Name, version and settings, as findings carry it."""

    @property
    def ready(self) -> bool:
        """Whether it judges yet; a rule that learns does not at first."""

    def judge(self, batch: FeatureBatch, provenance: Provenance, coverage: float) -> list[Anomaly]:
        """The anomalies of one window, in the order of the channels. `coverage`: the share of samples seen, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Measures:
    """The measures that a rule judges, as the columns of a matrix (channels, measures)."""

    channels: tuple[str, ...]
    faults: tuple[Fault, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return ("deviation", "kurtosis", "velocity_rms_mm_s", *(f"envelope_{fault}" for fault in self.faults))

    def of(self, batch: FeatureBatch) -> Matrix:
        """Shape (channels, measures); NaN where a measure does not apply or the samples cannot be trusted."""
        if batch.channels != len(self.channels):
            raise ValueError(f"channels: {batch.channels} in the window, {len(self.channels)} known to the rule")
        single: Sequence[NDArray[np.float32]] = (batch.deviation, batch.kurtosis, batch.velocity_rms_mm_s)
        matrix = np.column_stack([*single, batch.envelope_score[:, : len(self.faults)]]).astype(np.float64)
        matrix[[quality not in (Quality.OK, Quality.MISSING) for quality in batch.quality]] = np.nan
        matrix[~(matrix > 0)] = np.nan
        return matrix

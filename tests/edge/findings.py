"""Findings for tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edge_node.findings import Anomaly, FeatureBatch, Provenance, Quality, Severity


def anomaly(**changed: Any) -> Anomaly:
    """A confident ALARM of a live machine's outer ring."""
    where = {"replayed": changed.pop("replayed", False), "first_index": changed.pop("first_index", 81_920)}
    provenance = Provenance(
        source="spindle",
        writer_epoch=7,
        samples=2_048,
        t_ns=changed.pop("t_ns", 1_000),
        rate_hz=20_000.0,
        rule="learned-baseline/1 learning=120",
        **where,
    )
    given: dict[str, Any] = {
        "channel": "de",
        "measure": "envelope_outer",
        "value": 14.5,
        "expected": 1.75,
        "score": 12.0,
        "severity": Severity.ALARM,
        "confidence": 0.8,
        "provenance": provenance,
    }
    return Anomaly(**(given | changed))


def batch(*, rms: Sequence[float], quality: tuple[Quality, ...]) -> FeatureBatch:
    values = np.asarray(rms, np.float32)
    one = np.ones_like(values)
    none = np.empty((len(values), 0), np.float32)
    return FeatureBatch(one, values, one, one, one, 3 * one, 0 * one, none, none, none, one, quality)

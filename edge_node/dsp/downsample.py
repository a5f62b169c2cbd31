"""Fewer points for eyes: Largest Triangle Three Buckets.

Keeps the shape that a person sees in a plot: S. Steinarsson, "Downsampling time series for visual representation", MSc
thesis, University of Iceland, 2013, section 4.2. Never computes features: those come from all the samples.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from tsdownsample import LTTBDownsampler

from edge_node.channels import Samples

MIN_POINTS = 3
_LTTB = LTTBDownsampler()  # type: ignore[no-untyped-call]  # the library has no annotations for its constructor


def for_eyes(values: Samples, points: int) -> tuple[NDArray[np.int64], Samples]:
    """At most `points` of `values`, shape (samples,): their indices and the values. First and last always stay.

    ValueError: points below 3, or values of more than one dimension.
    """
    if points < MIN_POINTS:
        raise ValueError(f"points: {points} is below {MIN_POINTS}: the first, the last and one between")
    if values.ndim != 1:
        raise ValueError(f"values: {values.ndim} dimensions; give one channel at a time")
    if values.size <= points:
        return np.arange(values.size), values
    kept = _LTTB.downsample(np.ascontiguousarray(values), n_out=points).astype(np.int64)
    return kept, values[kept]

"""Which channels of a window cannot be trusted, and why.

NOT_A_NUMBER: any NaN or infinity. STUCK: not one sample differs from the others (a dead sensor or a cut wire still
delivers a constant). CLIPPED: more than CLIPPED_SHARE of the samples lie at the converter's full scale.
"""

from __future__ import annotations

import numpy as np

from edge_node.channels import Samples
from edge_node.findings import Floats, Quality

CLIPPED_SHARE = 0.001
AT_FULL_SCALE = 0.999
"""A sample counts as clipped from this share of full scale on: the last counts of a converter are not exact."""


def quality_of(x: Samples, low: Floats, high: Floats, full_scale: float) -> list[Quality]:
    """The quality of each row of x; `low` and `high` are its extremes. A NaN in a row is one in its extremes."""
    found = []
    limit = np.float32(full_scale * AT_FULL_SCALE)
    for row in range(x.shape[0]):
        if not (np.isfinite(low[row]) and np.isfinite(high[row])):
            found.append(Quality.NOT_A_NUMBER)
        elif low[row] == high[row]:
            found.append(Quality.STUCK)
        elif full_scale and max(high[row], -low[row]) >= limit and clipped_share(x[row], full_scale) > CLIPPED_SHARE:
            found.append(Quality.CLIPPED)
        else:
            found.append(Quality.OK)
    return found


def clipped_share(x: Samples, full_scale: float) -> float:
    """The share of samples at or beyond the converter's full scale."""
    return float(np.count_nonzero(np.abs(x) >= full_scale * AT_FULL_SCALE)) / x.size

"""The SDK's one clock. CLOCK_BOOTTIME counts through system sleep, so that a deadline passes while a laptop is shut.

Rule: no wall clock takes part in anything. Imports the standard library only.
"""

from __future__ import annotations

import time


def boottime_ns() -> int:
    """Nanoseconds since boot, sleep included (Linux CLOCK_BOOTTIME)."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

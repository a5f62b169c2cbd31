"""The sign of life: once a second the observer's state and which share of the samples it has truly seen.

Silence and health must not look alike: without a heartbeat nobody may conclude that the machine is well. Coverage is
samples seen over samples produced since the last heartbeat, as the ring counts them.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_node.findings import Heartbeat, State

PERIOD_NS = 1_000_000_000
FULL_COVERAGE = 0.999
"""Below this share of samples seen the state is DEGRADED: a feature may have been missed."""


@dataclass(slots=True)
class Pulse:
    """Collects what happened since the last heartbeat. The times are the caller's, on one monotonic clock."""

    since_ns: int
    seen: int = 0
    missed: int = 0
    windows: int = 0
    anomalies: int = 0
    suppressed: int = 0
    bad_channels: int = 0

    def beat(self, now_ns: int, *, ready: bool) -> Heartbeat | None:
        """The heartbeat when its period has passed; starts the next period."""
        if now_ns - self.since_ns < PERIOD_NS:
            return None
        produced = self.seen + self.missed
        coverage = self.seen / produced if produced else 0.0
        if not ready:
            state = State.LEARNING
        elif coverage < FULL_COVERAGE or self.bad_channels:
            state = State.DEGRADED
        else:
            state = State.OK
        if self.anomalies or self.suppressed:
            state = State.ANOMALY
        beat = Heartbeat(now_ns, state, coverage, self.windows, self.anomalies, self.suppressed, self.bad_channels)
        self.since_ns = now_ns
        self.seen = self.missed = self.windows = self.anomalies = self.suppressed = self.bad_channels = 0
        return beat

"""Holds back repeats of an alert, and counts exactly how many it held back.

One alert per (channel, measure) and interval; a graver one passes at once. Every alert is either passed or counted:
`passed + suppressed = offered` at all times, and the count leaves with the next alert that passes, or by `drain`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from edge_node.findings import Anomaly, Severity

MAX_KEYS = 100_000
"""Channels times measures that are told apart; beyond it alerts pass without being held back."""


@dataclass(slots=True)
class _Last:
    t_ns: int
    severity: Severity
    suppressed: int = 0


@dataclass(slots=True)
class Throttle:
    """Passes at most one alert of a kind within `interval_ns`, on the samples' own clock."""

    interval_ns: int
    offered: int = 0
    passed: int = 0
    suppressed: int = 0
    _last: dict[tuple[str, str], _Last] = field(default_factory=dict)

    def offer(self, anomaly: Anomaly) -> Anomaly | None:
        """The alert with the count of those held back before it, or None when it is held back itself."""
        self.offered += 1
        key, now = (anomaly.channel, anomaly.measure), anomaly.provenance.t_ns
        last = self._last.get(key)
        if last is not None and 0 <= now - last.t_ns < self.interval_ns and anomaly.severity <= last.severity:
            last.suppressed += 1
            self.suppressed += 1
            return None
        held_back = last.suppressed if last is not None else 0
        if last is not None or len(self._last) < MAX_KEYS:
            self._last[key] = _Last(now, anomaly.severity)
        self.passed += 1
        return replace(anomaly, suppressed=held_back)

    def drain(self) -> dict[tuple[str, str], int]:
        """What was held back and not told yet, per (channel, measure), in their order; told herewith."""
        found = {key: last.suppressed for key, last in sorted(self._last.items()) if last.suppressed}
        for key in found:
            self._last[key].suppressed = 0
        return found

"""Frame numbers, their send times, and what acknowledgements say of the link.

Rule: a frame's send time is noted before the frame is written, so that it can only be too early, never too late.
Times of frames beyond the newest FRAMES_REMEMBERED are forgotten; a forgotten frame has no time, never a guessed
one. Imports no I/O.
"""

from __future__ import annotations

from collections import OrderedDict

from zonelock_client.session_core.values import NS_PER_MS, LinkState

FRAMES_REMEMBERED = 8_192
"""Send times kept per stream: seconds of frames at full load, while an echo is as old as one commit."""
MAX_UNACKNOWLEDGED = 4_096
"""Frames that may wait for an acknowledgement; beyond it only the link's own time-out goes on."""


class FrameLog:
    """One stream's frames, counted from 1."""

    def __init__(self) -> None:
        self.last = 0
        self.acknowledged = 0
        self._sent_ns: OrderedDict[int, int] = OrderedDict()

    def open(self, now_ns: int) -> int:
        """Numbers the next frame and notes that it leaves at `now_ns`."""
        self.last += 1
        self._sent_ns[self.last] = now_ns
        if len(self._sent_ns) > FRAMES_REMEMBERED:
            self._sent_ns.popitem(last=False)
        return self.last

    def sent_ns(self, frame: int) -> int | None:
        """When the frame left; None when it never did or is forgotten."""
        return self._sent_ns.get(frame)

    def acknowledge(self, frame: int) -> int | None:
        """Notes an acknowledgement; returns the frame's send time when it is news and known."""
        if frame <= self.acknowledged or frame > self.last:
            return None
        self.acknowledged = frame
        return self._sent_ns.get(frame)

    @property
    def is_full(self) -> bool:
        """Whether too much is unacknowledged to send more."""
        return self.last - self.acknowledged >= MAX_UNACKNOWLEDGED


def link_state(now_ns: int, contact_ns: int, *, welcomed: bool, suspend_ms: int, lost_ms: int) -> LinkState:
    """The link by time alone. `contact_ns` is the send time of the newest frame known to be handled."""
    silent_ns = now_ns - contact_ns
    if silent_ns >= lost_ms * NS_PER_MS:
        return LinkState.LOST
    if not welcomed or silent_ns >= suspend_ms * NS_PER_MS:
        return LinkState.SUSPENDED
    return LinkState.CONNECTED

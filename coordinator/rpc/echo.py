"""Which client frame a deadline is counted from (`echo_frame`). Owns the wire's half of I6: D is never too late.

A holder's dead-man is `D = t_send(echo_frame) + remaining * (1 - rho) - stop_ms`, so the echoed frame must have been
*handled* before the moment from which `remaining` counts:

* `Granted`, also inside `Welcome`: the runtime brings `remaining` up to the moment of delivery, so the newest frame
  handled by then qualifies. A recent one is wanted: the ask itself may be minutes old.
* `Extended`: what is left was reckoned when the extension was handled, and a commit has passed since. Only the frame
  that carried the extension is sure to be older than that.

When in doubt an older frame is named: a D that is too early stops a machine that might have gone on, and nothing worse.
"""

from __future__ import annotations

from collections import deque

from coordinator.core import effects as fx

FIRST_FRAME = 1


class Echoes:
    """The frames of one stream that deadlines may be counted from. Bounded by the stream's uncommitted operations."""

    def __init__(self) -> None:
        self._extensions: dict[tuple[str, str], deque[int]] = {}

    def extension_asked(self, agent_id: str, request_id: str, frame: int) -> None:
        self._extensions.setdefault((agent_id, request_id), deque()).append(frame)

    def frame_for(self, send: fx.Send, newest: int) -> int:
        """The frame to echo in this answer; to be called once for each answer, in order, at delivery."""
        if not isinstance(send.answer, fx.Extended | fx.Rejected | fx.Failed):
            return newest
        key = send.agent_id, send.request_id
        frames = self._extensions.get(key)
        if frames is None:
            return FIRST_FRAME
        frame = frames.popleft()
        if not frames:
            del self._extensions[key]
        return frame

"""Lines for whoever reads a descriptor, from a thread of their own: a process that must not wait shows by this.

Rule owned: `show` returns at once, whether the reader is slow, stalled or gone, and whether the disk behind it is full.
What could not be shown is counted, and said once it can be. Nothing goes through `sys.stdout`, whose lock a stalled
write would hold at exit. Imports only the standard library.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable

LINES_MAX = 1_000
CLOSE_WITHIN_S = 1.0


class Showing:
    """Writes lines to `fd` in order. `gap` makes the line that says how many are missing before the next."""

    def __init__(self, fd: int, gap: Callable[[int], str]) -> None:
        self.lost = 0
        self._fd, self._gap, self._untold = fd, gap, 0
        self._lines: queue.Queue[str | None] = queue.Queue(LINES_MAX)
        self._thread = threading.Thread(target=self._work, name=f"shows on {fd}", daemon=True)
        self._thread.start()

    def show(self, line: str) -> None:
        """Hands one line over, without its end; or counts it as lost."""
        try:
            if self._untold:
                self._lines.put_nowait(self._gap(self._untold))
                self._untold = 0
            self._lines.put_nowait(line)
        except queue.Full:
            self.lost += 1
            self._untold += 1

    def close(self) -> None:
        """Lets what was handed over be written, if somebody reads it soon."""
        try:
            self._lines.put_nowait(None)
        except queue.Full:
            return
        self._thread.join(CLOSE_WITHIN_S)

    def _work(self) -> None:
        while (line := self._lines.get()) is not None:
            data = memoryview(f"{line}\n".encode())
            try:
                while data:
                    data = data[os.write(self._fd, data) :]
            except OSError:
                # Its reader is gone, or its disk is full: neither may end what shows here.
                self.lost += 1


class ShowingHandler(logging.Handler):
    """Log records by a Showing."""

    def __init__(self, showing: Showing) -> None:
        super().__init__()
        self.showing = showing

    def emit(self, record: logging.LogRecord) -> None:
        self.showing.show(self.format(record))

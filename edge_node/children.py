"""What every process of an edge node does first: end when it is told to, and end when its parent has died.

Rule owned: no child outlives the node. Never imports another part of it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import threading

PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that the kernel sends when the parent dies."""


def end_with_parent(parent_pid: int) -> threading.Event:
    """Returns the event that SIGTERM, SIGINT or the parent's death sets. `parent_pid`: whose child this should be."""
    ending = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ending.set())
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent_pid:
        # It died before the kernel knew whom to tell.
        ending.set()
    return ending

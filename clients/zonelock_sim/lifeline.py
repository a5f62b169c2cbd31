"""Runs a command that must not outlive the process that started it: `python lifeline.py PARENT_PID COMMAND...`.

Linux ends the child with SIGTERM when the parent dies, however it dies (prctl(2), PR_SET_PDEATHSIG; kept over
execve). It is set here, after the fork and in a process of its own, because Python code between fork and exec may
meet locks that another thread held (grpc's do). Elsewhere than on Linux the command simply runs. Imports only the
standard library, and is run by its path so that starting it costs no package import.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
USAGE_EXIT = 2


def main(arguments: list[str]) -> int:
    """Becomes the command; returns (an exit code) only when it cannot or need not."""
    if len(arguments) < 2 or not arguments[0].isdecimal():
        print("usage: lifeline.py PARENT_PID COMMAND...", file=sys.stderr)
        return USAGE_EXIT
    parent, command = int(arguments[0]), arguments[1:]
    if sys.platform == "linux":
        if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM) != 0:
            print(f"lifeline: prctl failed: {os.strerror(ctypes.get_errno())}", file=sys.stderr)
        if os.getppid() != parent:
            return 0  # the parent died before the request took hold
    return os.execvp(command[0], command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

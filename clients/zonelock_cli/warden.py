"""A small process between `zonelock hold` and its command, which ends the command when the zones may no longer be used.

Started as `python -I -S warden.py CONTROL_FD REPORT_FD GRACE_MS COMMAND...`. It exists because the process that talks
to the coordinator can itself hang, be stopped or be killed, and the command must end all the same. Rules owned here:

* the command is told to end (SIGTERM to its process group, SIGKILL GRACE_MS later) when CONTROL says `end`, when
  CONTROL is closed (its other end died), or when the deadline last written to CONTROL passes on CLOCK_BOOTTIME;
* nothing of the command's process group outlives the report that it ended.

CONTROL carries lines: `until NANOSECONDS`, `signal NUMBER`, `end`. REPORT carries one JSON object a line:
`{"started": pid}` or `{"failed": errno}`, then `{"ended": returncode, "cause": ...}` with cause "itself", "end",
"closed" or "deadline". Imports only the standard library, and little of that: it must start fast.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

LOOK_S = 0.05
"""The longest that a change of CLOCK_BOOTTIME (a suspended machine) or of the group goes unseen."""

LINE_MAX_BYTES = 4_096


class Warden:
    """One command and what is known of how long it may run."""

    def __init__(self, control: int, report: int, grace_ms: int) -> None:
        self.control = control
        self.report = report
        self.grace_s = grace_ms / 1_000
        self.until_ns: int | None = None
        self.pending = b""
        self.ending = ""

    def run(self, command: Sequence[str]) -> int:
        """Starts the command, waits for its end whoever brings that about, and reports both."""
        try:
            # A session of its own: the group is ours to signal as a whole, and a terminal's Ctrl-C reaches the holder
            # first.
            child = subprocess.Popen(command, start_new_session=True)
        except OSError as error:
            self._tell(f'{{"failed": {error.errno or 0}}}')
            return 1
        self._tell(f'{{"started": {child.pid}}}')
        self._watch(child)
        cause = self.ending or "itself"
        self._end_group(child)
        self._tell(f'{{"ended": {child.wait()}, "cause": "{cause}"}}')
        return 0

    def _watch(self, child: subprocess.Popen[bytes]) -> None:
        """Returns when the command ended or when it must."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.control, selectors.EVENT_READ)
            exit_fd = os.pidfd_open(child.pid)
            try:
                selector.register(exit_fd, selectors.EVENT_READ)
                while not self.ending and child.poll() is None:
                    ready = selector.select(LOOK_S if self.until_ns is not None else None)
                    if any(key.fd == self.control for key, _ in ready):
                        self._read_control(child)
                    if self.until_ns is not None and time.clock_gettime_ns(time.CLOCK_BOOTTIME) >= self.until_ns:
                        self.ending = "deadline"
            finally:
                os.close(exit_fd)

    def _read_control(self, child: subprocess.Popen[bytes]) -> None:
        data = os.read(self.control, LINE_MAX_BYTES)
        if not data:
            self.ending = "closed"
            return
        *lines, self.pending = (self.pending + data).split(b"\n")
        for line in lines:
            match line.split():
                case [b"until", nanoseconds]:
                    self.until_ns = int(nanoseconds)
                case [b"signal", number]:
                    signal_group(child.pid, int(number))
                case [b"end"]:
                    self.ending = "end"
                case _:
                    # Not ours to guess at: the safe reading of an order that makes no sense is "end".
                    self.ending = "end"

    def _end_group(self, child: subprocess.Popen[bytes]) -> None:
        """Ends whatever is left of the command: politely, then, after the grace, for certain."""
        give_up = time.monotonic() + self.grace_s
        signal_group(child.pid, signal.SIGTERM)
        # A stopped process does not see SIGTERM before it goes on.
        signal_group(child.pid, signal.SIGCONT)
        while time.monotonic() < give_up:
            child.poll()
            if child.returncode is not None and not group_lives(child.pid):
                return
            time.sleep(0.005)
        signal_group(child.pid, signal.SIGKILL)
        child.wait()

    def _tell(self, line: str) -> None:
        try:
            os.write(self.report, line.encode() + b"\n")
        except BrokenPipeError:
            # Nobody is left to be told; the command is ended through `control` all the same.
            return


def signal_group(group: int, number: int) -> None:
    """Signals a process group that may be gone already."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return


def group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def main(argv: Sequence[str]) -> int:
    control, report, grace_ms, *command = argv
    # A handler that does nothing, not SIG_IGN: a command inherits what is ignored, but not a handler. The holder gets
    # these signals as well and decides; what the warden itself obeys is `control`.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP, signal.SIGQUIT):
        signal.signal(number, lambda *_: None)
    os.set_inheritable(int(control), False)
    os.set_inheritable(int(report), False)
    return Warden(int(control), int(report), int(grace_ms)).run(command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

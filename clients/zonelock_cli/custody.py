"""The holder's side of a command under a `warden`: start it, tell it how long it may run, learn how it ended.

Rule owned: a command never runs without a warden that would end it; should the warden itself be killed, the command's
process group is killed from here. Imports only the standard library.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from zonelock_cli.warden import signal_group

WARDEN = Path(__file__).with_name("warden.py")
START_WAIT_S = 10.0


class NotStarted(Exception):
    """The command could not be started; `errno` says why."""

    def __init__(self, errno: int) -> None:
        super().__init__(os.strerror(errno) if errno else "the warden did not start")
        self.errno = errno


@dataclass(frozen=True, slots=True)
class Ending:
    """How the command ended. `returncode` is negative for a signal; `cause` as in `warden`, or "warden lost"."""

    returncode: int
    cause: str

    @property
    def exit_code(self) -> int:
        """What a shell would report: 128 and the signal's number for a command that a signal ended."""
        return self.returncode if self.returncode >= 0 else 128 - self.returncode


class Custody:
    """A running command. `ended` resolves once, with the Ending."""

    def __init__(
        self, process: asyncio.subprocess.Process, control: int, reports: asyncio.StreamReader, pid: int
    ) -> None:
        self.pid = pid
        self._process = process
        self._control: int | None = control
        self._reports = reports
        self._until_ns = 0
        self._closing = threading.Lock()
        self.ended: asyncio.Task[Ending] = asyncio.create_task(self._wait(), name="command-end")

    @classmethod
    async def begin(cls, command: Sequence[str], *, grace_ms: int, until_ns: int) -> Self:
        """Starts `command` under a warden that ends it at `until_ns` on CLOCK_BOOTTIME. Raises NotStarted."""
        control_read, control_write = os.pipe()
        report_read, report_write = os.pipe()
        os.write(control_write, b"until %d\n" % until_ns)
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                "-S",
                str(WARDEN),
                str(control_read),
                str(report_write),
                str(grace_ms),
                *command,
                pass_fds=(control_read, report_write),
            )
        except OSError as error:
            for fd in (control_write, report_read):
                os.close(fd)
            raise NotStarted(error.errno or 0) from error
        finally:
            os.close(control_read)
            os.close(report_write)
        reports = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reports), os.fdopen(report_read, "rb", buffering=0)
        )
        first = await asyncio.wait_for(reports.readline(), START_WAIT_S)
        said = json.loads(first) if first else {"failed": 0}
        if "failed" in said:
            os.close(control_write)
            await process.wait()
            raise NotStarted(int(said["failed"]))
        custody = cls(process, control_write, reports, int(said["started"]))
        custody._until_ns = until_ns
        return custody

    def allow_until(self, until_ns: int) -> None:
        """Moves the warden's own deadline; it acts on it even if this process hangs."""
        if until_ns != self._until_ns:
            self._until_ns = until_ns
            self._order(f"until {until_ns}")

    def forward(self, number: signal.Signals) -> None:
        """Passes a signal that this process got on to the command's whole group."""
        self._order(f"signal {int(number)}")

    def order_end(self) -> None:
        """Tells the warden to end the command now. Callable from any thread; returns at once."""
        self._order("end")

    async def end(self) -> Ending:
        """Ends the command now; returns when nothing of its group is left."""
        self.order_end()
        return await asyncio.shield(self.ended)

    def _order(self, line: str) -> None:
        with self._closing:
            if self._control is None:
                return
            # The warden may be gone; `_wait` is about to see that.
            with contextlib.suppress(BrokenPipeError):
                os.write(self._control, line.encode() + b"\n")

    def _let_go(self) -> None:
        # Under the lock: another thread must never write to a descriptor that has become something else.
        with self._closing:
            if self._control is not None:
                os.close(self._control)
                self._control = None

    async def _wait(self) -> Ending:
        line = await self._reports.readline()
        await self._process.wait()
        self._let_go()
        if not line:
            # Somebody killed the warden. What it watched must not go on unwatched.
            signal_group(self.pid, signal.SIGKILL)
            return Ending(-int(signal.SIGKILL), "warden lost")
        said = json.loads(line)
        return Ending(int(said["ended"]), str(said["cause"]))

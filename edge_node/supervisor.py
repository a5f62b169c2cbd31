"""The node's processes: one writer and one observer per source, started, listened to, restarted, ended.

Rules owned: a child that dies is started again, later each time; one without a sign of life for `stall_ms` is reported,
killed (which also ends one that is stopped) and started again; the others do not notice. A source that has come to its
end is not started again. When the node ends, every child ends first. Never touches a ring's contents.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from edge_node.entries import LINE_BYTES_MAX, BadEntry, Entry, incident, parse
from edge_node.ring import RingError
from edge_node.ring.segments import read_segment, ring_path

log = logging.getLogger(__name__)

CHECK_S = 0.2
RESTART_FIRST_S, RESTART_MOST_S = 0.2, 10.0
STEADY_S = 30.0
"""A child that lived this long begins again with the shortest wait."""

START_WITHIN_S = 30.0
"""Until its first word: a busy machine may take long to load what a child imports."""

END_WITHIN_S = 5.0
"""After SIGTERM; then SIGKILL."""


class Role(StrEnum):
    WRITER = "writer"
    OBSERVER = "observer"


MODULES = {Role.WRITER: "edge_node.acquire", Role.OBSERVER: "edge_node.observer"}


@dataclass(slots=True)
class Child:
    """One process of the node, and the next one in its place."""

    role: Role
    source: str
    process: asyncio.subprocess.Process | None = None
    restarts: int = 0
    stalls: int = 0
    heard_at: float = 0.0
    started_at: float = 0.0
    finished: bool = False
    spoken: bool = False
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    """Its first word was heard."""

    @property
    def pid(self) -> int:
        return self.process.pid if self.process is not None else 0


@dataclass(slots=True)
class Supervisor:
    """Runs the processes of `sources`. `take` gets every entry that they hand on, and incidents of the node's own."""

    config_path: Path
    sources: tuple[str, ...]
    ring_folder: Path
    stall_s: float
    take: Callable[[Entry], None]
    waits_for_observer: frozenset[str] = frozenset()
    """Sources whose writer starts once its observer is there: a recording may be over before."""
    children: list[Child] = field(init=False)
    _ending: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.children = [Child(role, source) for source in self.sources for role in Role]

    def end(self) -> None:
        """Lets `run` come to its end."""
        self._ending.set()

    async def run(self) -> None:
        """Until `end` is called, or every source has come to its end."""
        async with asyncio.TaskGroup() as tasks:
            mine = [tasks.create_task(self._keep(child)) for child in self.children]
            finished = tasks.create_task(self._all_finished())
            await asyncio.wait([tasks.create_task(self._ending.wait()), finished], return_when="FIRST_COMPLETED")
            self._ending.set()
            # Observers first see what the writers wrote last; then nobody is left to write for.
            for task in mine:
                task.cancel()

    async def _all_finished(self) -> None:
        writers = [child for child in self.children if child.role is Role.WRITER]
        while not self._ending.is_set():
            if all(child.finished for child in writers):
                await asyncio.sleep(1.0)
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), CHECK_S)

    async def _keep(self, child: Child) -> None:
        wait_s = RESTART_FIRST_S
        try:
            if child.role is Role.WRITER and child.source in self.waits_for_observer:
                await self._observed(child.source)
            while True:
                await self._start(child)
                code = await self._live(child)
                if child.role is Role.WRITER and code == 0:
                    child.finished = True
                    self.take(incident(child.source, "source_ended", "its writer has come to its end"))
                    return
                if time.monotonic() - child.started_at > STEADY_S:
                    wait_s = RESTART_FIRST_S
                child.restarts += 1
                self._report(child, "restarted", f"ended with {code}; starts again in {wait_s:g} s")
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, RESTART_MOST_S)
        finally:
            await asyncio.shield(self._stop(child))

    async def _observed(self, source: str) -> None:
        """Until the source's observer has said its first word; it may never, so not for long."""
        observer = next(c for c in self.children if c.role is Role.OBSERVER and c.source == source)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(observer.ready.wait(), START_WITHIN_S)

    async def _start(self, child: Child) -> None:
        child.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            MODULES[child.role],
            str(self.config_path),
            child.source,
            str(os.getpid()),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_BYTES_MAX,
        )
        child.started_at = child.heard_at = time.monotonic()
        child.spoken = False

    async def _live(self, child: Child) -> int:
        """Listens until the process ends or is found stalled; its exit code."""
        process = child.process
        if process is None:
            raise RuntimeError("a child is listened to before it was started")
        listening = asyncio.create_task(self._listen(child, process))
        try:
            while True:
                try:
                    await asyncio.wait_for(process.wait(), CHECK_S)
                    break
                except TimeoutError:
                    pass
                if self._stalled(child):
                    child.stalls += 1
                    self._report(child, "stalled", "no sign of life; it is ended and started again")
                    with contextlib.suppress(ProcessLookupError):
                        process.kill()
            await listening
            return await process.wait()
        finally:
            listening.cancel()

    async def _listen(self, child: Child, process: asyncio.subprocess.Process) -> None:
        if process.stdout is None:
            raise RuntimeError("a child was started without a pipe")
        while line := await process.stdout.readline():
            child.heard_at, child.spoken = time.monotonic(), True
            child.ready.set()
            try:
                self.take(parse(line))
            except BadEntry as error:
                self._report(child, "unreadable", str(error))

    def _stalled(self, child: Child) -> bool:
        if child.role is Role.WRITER:
            self._hear_ring(child)
        patience_s = self.stall_s if child.spoken else max(self.stall_s, START_WITHIN_S)
        return time.monotonic() - child.heard_at > patience_s

    def _hear_ring(self, child: Child) -> None:
        """A writer speaks by its ring's heartbeat."""
        with contextlib.suppress(RingError):
            segment = read_segment(ring_path(child.source, self.ring_folder))
            child.heard_at = max(child.heard_at, segment.heartbeat_ns / 1e9)

    def _report(self, child: Child, what: str, detail: str) -> None:
        log.warning("%s of %s (process %d) %s: %s", child.role, child.source, child.pid, what, detail)
        self.take(incident(child.source, f"{child.role}_{what}", detail, pid=child.pid, restarts=child.restarts))

    async def _stop(self, child: Child) -> None:
        process = child.process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), END_WITHIN_S)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

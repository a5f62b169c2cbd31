"""Histories of live runs: what real coordinators and real agents on one machine did, in the format of `chaos.history`.

Every process writes a file of its own, line by line, so that a SIGKILL costs at most the line being written; a process
that comes back appends to its file. The clock is CLOCK_BOOTTIME, which all processes of a machine share: `merge` puts
their files in one order (by `x_us`, microseconds) and every commit where its revision belongs. A coordinator that takes
over writes down the whole ledger that it read as a commit: that is how a history knows what became of a transaction
whose outcome nobody lived to hear. What is recorded is what happened; nothing is judged here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from zonelock.v1 import zone_service_pb2 as pb
from zonelock_client import Agent

from chaos.history import History, Line, parse
from chaos.recording import CoordinatorRecord, floor_fields
from chaos.sim.wire import WireRecord
from coordinator.config import CoordinatorConfig
from coordinator.core import effects as fx
from coordinator.core import events as ev
from coordinator.core.model import FloorSpec, Ledger, Record, Timing
from coordinator.hooks import Hooks

QUIET = (ev.Heard, ev.Ticked, ev.Committed, ev.Reported)
"""Events that leave no line unless something follows from them: there are many, and no checker reads them."""


def boottime_us() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000


class LiveHistory(History):
    """One process's file. Keeps nothing in memory; the time of every line is the time at which it is written."""

    def __init__(self, path: Path) -> None:
        self.began_us = boottime_us()
        self._file = path.open("a", buffering=1, encoding="utf-8")
        self.continues = self._file.tell() > 0
        super().__init__(origin="live", out=None if self.continues else self._file, validate=False)
        self._out = self._file

    def add(self, t: int, src: str, kind: str, **fields: Any) -> Line:
        now_us = boottime_us()
        line = super().add(now_us // 1_000, src, kind, x_us=now_us, **fields)
        del self.lines[:-1]
        return line

    @property
    def now_ms(self) -> int:
        return boottime_us() // 1_000

    def close(self) -> None:
        self._file.close()


class CoordinatorChronicle(Hooks):
    """Watches one coordinator's runtime."""

    def __init__(
        self, path: Path, name: str, floor: FloorSpec, timing: Timing, *, lease_ms: int = 0, stop_file: bool = False
    ) -> None:
        self.history = LiveHistory(path)
        self.record = CoordinatorRecord(self.history, name)
        self.record.run = self.history.began_us  # (coord, run, seq) names one step over every restart
        if self.history.continues:
            self.record.crashed(0, "its process ended")
        else:
            fields = floor_fields(floor, timing, lease_ms=lease_ms or None) | {"stop_file": stop_file}
            self.history.add(0, name, "floor", **fields)
        self.record.restarted(0)

    def loaded(self, ledger: Ledger) -> None:
        counter = ledger.counter.token if ledger.counter is not None else None
        kept: list[Record] = [*ledger.units, *ledger.stops]
        if ledger.counter is not None:
            kept.append(ledger.counter)
        records = {record.key: record for record in kept}
        # First what the ledger holds, which may be more than anybody lived to write down; then who decides on it.
        self.record.committed(0, records, epoch=ledger.epoch, revision=ledger.revision)
        self.record.took_over(0, ledger.epoch, revision=ledger.revision, counter=counter)

    def handled(self, event: ev.Event, step: fx.Step, decided_s: float, emitted_s: float) -> None:
        if step.writes or step.stops or not isinstance(event, QUIET):
            self.record.handled(0, event, step)
        for send in step.stops:
            self.record.emitted(0, send, stop=True)

    def wrote(self, writes: Mapping[str, fx.Write], epoch: int, revision: int) -> None:
        if writes:
            records = {key: write.record for key, write in writes.items()}
            self.record.committed(0, records, epoch=epoch, revision=revision)

    def released(self, sends: Sequence[fx.Send]) -> None:
        for send in sends:
            self.record.emitted(0, send)


def coordinators_chronicle(path: Path) -> Callable[[FloorSpec, CoordinatorConfig], Hooks]:
    """For `coordinator.app.serve`: records the coordinator that it runs in this file."""

    def watch(floor: FloorSpec, config: CoordinatorConfig) -> Hooks:
        kept = config.pending_stops_file() is not None
        name = config.name or config.listen
        return CoordinatorChronicle(path, name, floor, config.timing(), lease_ms=config.lease_ms, stop_file=kept)

    return watch


class AgentChronicle:
    """Watches agents of this process: what they say, what reaches them, and (told by the caller) where they are."""

    def __init__(self, path: Path) -> None:
        self.history = LiveHistory(path)
        self._conns = self.history.began_us  # streams are numbered once in a history, over every process and restart
        self._watched: set[int] = set()

    def close(self) -> None:
        """Closes the file; what is told afterwards is an error."""
        self.history.close()

    def watch(self, agent: Agent) -> None:
        """From now on; agents on one link are watched together."""
        core = agent._link.core
        if id(core) in self._watched:
            return
        self._watched.add(id(core))
        wire = WireRecord(self.history, cast(Any, self.history), cast(Any, SimpleNamespace(on_answer=_deaf)))
        process = cast(Any, SimpleNamespace(name=agent.agent_id))
        next_frame, receive, opened = core.next_frame, core.receive, core.stream_opened

        conn = self._next_conn()

        def open_stream(now_ns: int) -> None:
            nonlocal conn
            conn = self._next_conn()
            opened(now_ns)

        def say(now_ns: int) -> pb.SessionRequest | None:
            frame = next_frame(now_ns)
            if frame is not None:
                wire.on_request(process, conn, frame)
            return frame

        def hear(response: pb.SessionResponse, now_ns: int) -> None:
            wire.on_response(process, conn, response)
            receive(response, now_ns)

        for name, watched in (("stream_opened", open_stream), ("next_frame", say), ("receive", hear)):
            setattr(core, name, watched)

    def _next_conn(self) -> int:
        self._conns += 1
        return self._conns

    def body(self, agent: str, what: str, zone: str = "", by: str = "self") -> None:
        """Ground truth: the machine `enter`s or `leave`s a zone; `by` people when it was put there."""
        self.history.add(0, "floor", "body", agent=agent, what=what, zone=zone or None, by=by)


def _deaf(*_: object) -> None:
    """The simulator's ground truth listens here; a live run has its own."""


def merge(paths: Iterable[Path]) -> list[Line]:
    """The files of one live run as one history. Raises HistoryError, OSError.

    A line that a SIGKILL cut off is left out. A commit that a coordinator heard of only after another one had taken
    over (it stood still meanwhile) stands where its revision says that it was applied.
    """
    found: list[tuple[tuple[int, int, int], Line]] = []
    head: dict[str, Line] = {}
    for place, path in enumerate(paths):
        rows = path.read_text("utf-8").split("\n")[:-1]
        for line in parse(rows, str(path)):
            if line.kind in ("header", "floor"):
                head.setdefault(line.kind, line)
            else:
                found.append(((line.get("x_us", line.t * 1_000), place, line.number), line))
    ordered = _by_revision([line for _, line in sorted(found, key=lambda each: each[0])])
    began = ordered[0].t if ordered else 0
    start = [replace(head[kind], t=0 if kind == "header" else began) for kind in ("header", "floor") if kind in head]
    return [replace(line, number=number) for number, line in enumerate([*start, *ordered], 1)]


def _by_revision(lines: list[Line]) -> list[Line]:
    """Moves commits back before the takeover that had read them already, and before the ledger that it wrote down."""
    placed: list[Line] = []
    reigns: list[tuple[int, int, int]] = []
    """(revision, epoch, place of the first line) of every takeover so far."""
    for line in lines:
        if line.kind == "takeover":
            epoch = line["epoch"]
            own = (at for at, each in enumerate(placed) if each.kind == "commit" and each["epoch"] == epoch)
            reigns.append((line["revision"], epoch, next(own, len(placed))))
        elif line.kind == "commit":
            later = next(((e, at) for revision, e, at in reigns if revision > line["revision"]), None)
            if later is not None and line["epoch"] < later[0]:
                placed.insert(later[1], replace(line, t=placed[later[1]].t))
                reigns = [(revision, e, at + (at >= later[1])) for revision, e, at in reigns]
                continue
        placed.append(line)
    return placed


__all__ = ["AgentChronicle", "CoordinatorChronicle", "LiveHistory", "merge"]

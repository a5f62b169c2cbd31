"""A plant for end-to-end tests: real `zonelock` processes around a real coordinator process, on a small floor."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

PATIENCE_S = 20.0

FLOOR = """
format: zonelock.floor/1
site: plant
version: 1
cell_mm: 1000
grid:
  - "...."
zones:
  Z_32: {cells: [[0, 0]], stop_group: east}
  Z_33: {cells: [[1, 0]], stop_group: east}
  Z_40: {cells: [[2, 0]], stop_group: west, hold_max_ms: 3000}
  Z_41: {cells: [[3, 0]], stop_group: south}
areas:
  loading: [Z_32, Z_33]
agent_kinds:
  agv: {speed_mm_s: 1000, braking_mm_s2: 1000, length_mm: 900, width_mm: 600}
"""


def zonelock(*args: str, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    """One command, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "zonelock_cli", *args],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        **kwargs,
    )


def error_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The failure on standard error; a coordinator's log lines may stand before it."""
    error: dict[str, Any] = json.loads(done.stderr.strip().splitlines()[-1])["error"]
    assert error["exit"] == done.returncode
    assert error["remedy"]
    return error


def eventually(what: Callable[[], Any], because: str) -> Any:
    """Asks until the answer is true; the last resort where nothing can be awaited."""
    give_up = time.monotonic() + PATIENCE_S
    while not (answer := what()):
        assert time.monotonic() < give_up, f"never came true: {because}"
        time.sleep(0.02)
    return answer


def alive(pid: int) -> bool:
    """Running, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


@dataclass
class Plant:
    """A coordinator that can be killed, and whatever speaks to it."""

    folder: Path
    ready: dict[str, Any] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None

    @property
    def server(self) -> str:
        return str(self.ready["grpc"])

    def start(self, *more: str) -> Self:
        floor = self.folder / "floor.yaml"
        floor.write_text(FLOOR)
        listen = self.ready.get("grpc", "127.0.0.1:0")
        with (self.folder / "coordinator.log").open("a") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "zonelock_cli", "serve", "--floor", str(floor), "--listen", listen),
                    *("--store", f"sqlite:{self.folder / 'ledger.sqlite'}", "--web", "off", "-o", "json", *more),
                ],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, (self.folder / "coordinator.log").read_text()
        self.ready = json.loads(line)
        return self

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        assert self.process.stdout is not None
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE_S)
        self.process.stdout.close()
        self.process = None
        return code

    def do(self, *args: str, code: int = 0) -> Any:
        """A command against this coordinator; its JSON answer, or its error."""
        done = zonelock(*args, env={**os.environ, "ZONELOCK_SERVER": self.server})
        assert done.returncode == code, (args, done.stdout, done.stderr)
        return json.loads(done.stdout) if code == 0 else error_of(done)

    def zone(self, name: str) -> dict[str, Any]:
        zone: dict[str, Any] = self.do("zones", name)["zones"][0]
        return zone

    @contextmanager
    def hold(self, *args: str, agent: str = "H1", **kwargs: Any) -> Iterator[Held]:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "zonelock_cli", "hold", "--server", self.server, "--agent", agent),
                *("-o", "json", *args),
            ],
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            **kwargs,
        )
        held = Held(process)
        try:
            yield held
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()
            for stream in (process.stdout, process.stderr):
                assert stream is not None
                stream.close()


@dataclass
class Held:
    """A running `zonelock hold`, seen through the events it reports."""

    process: subprocess.Popen[str]
    events: list[dict[str, Any]] = field(default_factory=list)

    def until(self, event: str) -> dict[str, Any]:
        """Reads on to the next event of this name."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            said: dict[str, Any] = json.loads(line)
            self.events.append(said)
            if said.get("event") == event:
                return said
        raise AssertionError(f"hold ended without {event!r}: {self.events}")

    def finish(self) -> int:
        """Waits for the end; what is still said goes to `events`."""
        assert self.process.stderr is not None
        self.events += [json.loads(line) for line in self.process.stderr if line.startswith("{")]
        return self.process.wait(PATIENCE_S)

    @property
    def last(self) -> dict[str, Any]:
        return self.events[-1]

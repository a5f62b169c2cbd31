"""Small rings for tests, and processes that write or read one and can be stopped and killed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from edge_node.channels import Channel, Quantity
from edge_node.ring import RingWriter
from edge_node.ring.layout import Format

RATE_HZ = 1_000.0


def channels(count: int = 2) -> tuple[Channel, ...]:
    return tuple(Channel(f"acc{i}", Quantity.VIBRATION, "m/s²", 0.001, 30.0) for i in range(count))


def writer(folder: Path, **changed: Any) -> RingWriter:
    """A ring called "press": two channels, eight frames, eight records, int16."""
    given: dict[str, Any] = {"format": Format.INT16, "frames": 8, "capacity": 8, "folder": folder, "count": 2}
    given |= changed
    return RingWriter("press", channels(given.pop("count")), RATE_HZ, **given)


def block(writer: RingWriter, number: int) -> np.ndarray[Any, Any]:
    """Samples that tell which record they belong to, all over the record."""
    g = writer.geometry
    values = (np.arange(g.frames * g.channels, dtype=np.int64) * 7 + number * 131) % 30_000
    return values.astype(g.format.dtype).reshape(g.frames, g.channels)


def write(writer: RingWriter, records: int) -> None:
    for _ in range(records):
        number = writer.produced
        writer.write(block(writer, number), 1_000 + number)


WRITER = """
import sys, json
from pathlib import Path
from edge.rings import writer, write
ring = writer(Path(sys.argv[1]))
print(json.dumps({"epoch": ring.epoch}), flush=True)
for line in sys.stdin:
    write(ring, int(line))
    print(json.dumps({"produced": ring.produced}), flush=True)
"""

READER = """
import sys, json, time
from pathlib import Path
from edge_node.ring import RingReader
reader = RingReader("press", folder=Path(sys.argv[1]), start="oldest")
print(json.dumps({"attached": reader.epoch}), flush=True)
while True:
    if reader.read() is None:
        time.sleep(0.001)
"""


class Process:
    """A Python process that is told one line at a time and answers each with a line of JSON."""

    def __init__(self, source: str, folder: Path, root: Path) -> None:
        path = f"{root}:{root / 'tests'}:{root / 'protos'}:{root / 'clients'}"
        self.process = subprocess.Popen(
            [sys.executable, "-c", source, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": path},
        )
        self.first = self.answer()

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the process ended with {self.process.wait()}"
        found: dict[str, Any] = json.loads(line)
        return found

    def tell(self, line: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self.answer()

    def end(self) -> None:
        """Kills it, stopped or not, and waits until it is gone."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

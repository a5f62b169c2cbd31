"""The Python ring and the same layout in C read each other's records."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from edge.rings import RATE_HZ, channels, write, writer

from edge_node.ring import RingReader
from edge_node.ring.layout import Format, describe


@pytest.fixture(scope="session")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler on PATH: apt-get install gcc")
    built = tmp_path_factory.mktemp("peer") / "ring_peer"
    source = Path(__file__).parent / "ring_peer.c"
    subprocess.run([compiler, "-std=c11", "-O2", "-Wall", "-Werror", "-o", built, source], check=True)
    return built


def weighted_sum(samples: np.ndarray) -> int:
    raw = np.frombuffer(samples.tobytes(), np.uint8).astype(np.uint64)
    return int((raw * np.arange(1, len(raw) + 1, dtype=np.uint64)).sum())


@pytest.mark.parametrize("kind", list(Format))
def test_a_reader_in_c_sees_what_the_python_reader_sees(tmp_path: Path, peer: Path, kind: Format) -> None:
    with writer(tmp_path, format=kind, count=3, frames=5) as ring:
        write(ring, 20)
        told = subprocess.run([peer, "read", ring.path], capture_output=True, text=True, check=True)
        with RingReader("press", folder=tmp_path, start="oldest") as reader:
            records = list(iter(reader.read, None))
            expected = [
                f"{r.number} {r.first_index} {r.t_ns} {len(r.samples)} {r.flags} {weighted_sum(r.samples)}"
                for r in records
            ]
            tally = reader.tally()
        *seen, total = told.stdout.splitlines()
        assert seen == expected and len(seen) == 7
        assert total == f"tally {tally.produced} {tally.received} {tally.lapped + tally.torn} {tally.skipped}"


def test_a_reader_in_c_refuses_a_record_that_was_changed(tmp_path: Path, peer: Path) -> None:
    with writer(tmp_path) as ring:
        write(ring, 3)
        ring._bytes[ring._starts[1] + 64] ^= 1
        told = subprocess.run([peer, "read", ring.path], capture_output=True, text=True, check=True)
        assert [line.split()[0] for line in told.stdout.splitlines()] == ["0", "2", "tally"]


@pytest.mark.parametrize("kind", list(Format))
def test_the_python_reader_believes_a_writer_in_c(tmp_path: Path, peer: Path, kind: Format) -> None:
    given = channels(3)
    shape = [str(n) for n in (int(kind), 3, 5, 8, RATE_HZ)]
    process = subprocess.Popen(
        [peer, "write", tmp_path / "press.ring", *shape, describe(given).decode(), "12"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == b"written\n"
        with RingReader("press", folder=tmp_path, start="oldest") as reader:
            records = list(iter(reader.read, None))
            assert reader.channels == given
            assert [(r.number, r.first_index, r.t_ns) for r in records] == [(n, 5 * n, 1_000 + n) for n in range(5, 12)]
            size = 15 * kind.dtype.itemsize
            for r in records:
                assert r.samples.tobytes() == bytes((r.number + i) % 256 for i in range(size))
            assert reader.tally().exact and reader.torn == 0
    finally:
        process.communicate()

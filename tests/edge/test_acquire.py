from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from edge.rings import channels

from edge_node.acquire import Acquisition
from edge_node.looking import Look
from edge_node.ring import Origin, RingReader, RingWriter
from edge_node.ring.layout import Flag, Format
from edge_node.sources.base import Block, Nature, Problems

RATE_HZ = 1_000.0


class Given:
    """A source of the blocks that a test gives it."""

    nature = Nature.SYNTHETIC
    paced = False

    def __init__(self, *blocks: Block) -> None:
        self.channels, self.rate_hz, self.problems, self._blocks = channels(), RATE_HZ, Problems(), blocks

    def blocks(self, frames: int) -> Iterator[Block]:
        yield from self._blocks

    def close(self) -> None:
        pass


def acquire(folder: Path, source: Given, format: Format) -> tuple[RingWriter, Acquisition]:
    ring = RingWriter(
        "press", source.channels, RATE_HZ, format=format, frames=4, capacity=64, folder=folder, origin=Origin.LIVE
    )
    acquisition = Acquisition(source, ring, threading.Event(), speed=0)
    acquisition.run()
    return ring, acquisition


def test_int16_rings_carry_counts_and_what_is_missing_or_too_large_is_marked(tmp_path: Path) -> None:
    samples = np.array([[0.5, -1.0], [np.nan, 40.0], [0.0, -40.0], [np.inf, 0.001]], np.float32)
    ring, acquisition = acquire(tmp_path, Given(Block(samples)), Format.INT16)
    with ring, RingReader("press", folder=tmp_path, start="oldest") as reader:
        record = reader.read()
        assert record is not None
        assert record.samples.tolist() == [[500, -1_000], [-32_768, 32_767], [0, -32_767], [-32_768, 1]]
        assert acquisition.problems.counts["clipped"] == 2
        look = Look("press", tmp_path, 16, 16)
        physical = look.physical(record.samples)
        np.testing.assert_allclose(physical[1], [-1.0, 32.767, -32.767, 0.001], rtol=1e-6)
        assert np.isnan(physical[0]).tolist() == [False, True, False, True]
        look.close()


def test_frames_that_the_source_lost_are_a_gap_in_the_ring(tmp_path: Path) -> None:
    block = np.zeros((4, 2), np.float32)
    ring, _ = acquire(tmp_path, Given(Block(block), Block(block, lost=10)), Format.FLOAT32)
    with ring, RingReader("press", folder=tmp_path, start="oldest") as reader:
        records = list(iter(reader.read, None))
        assert [(r.first_index, r.flags) for r in records] == [(0, 0), (14, Flag.GAP_BEFORE)]
        assert records[1].t_ns - records[0].t_ns == pytest.approx(14e6, abs=1e6)


def test_a_block_with_too_few_channels_is_filled_with_nan_and_named(tmp_path: Path) -> None:
    ring, acquisition = acquire(tmp_path, Given(Block(np.ones((4, 1), np.float32))), Format.FLOAT32)
    with ring, RingReader("press", folder=tmp_path, start="oldest") as reader:
        record = reader.read()
        assert record is not None
        assert record.samples[:, 0].tolist() == [1.0] * 4 and np.isnan(record.samples[:, 1]).all()
        assert acquisition.problems.counts["missing_channel"] == 1


def test_problems_are_told_with_how_many_are_new(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = Given(Block(np.zeros((4, 2), np.float32)))
    source.problems.note("bad_quality", "acc0: BadSensorFailure", 3)
    ring, acquisition = acquire(tmp_path, source, Format.FLOAT32)
    with ring:
        assert '"what": "bad_quality", "detail": "acc0: BadSensorFailure", "times": 3' in capfd.readouterr().out
        acquisition.tell()
        assert capfd.readouterr().out == ""

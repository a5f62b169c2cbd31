from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from edge.rings import RATE_HZ, READER, WRITER, Process, block, channels, write, writer
from hypothesis import given
from hypothesis import strategies as st

from edge_node.ring import Origin, RingError, RingReader, RingWriter, list_segments, remove_stale
from edge_node.ring.layout import Flag, Format

Spawn = Callable[[str], Process]


@pytest.fixture
def spawn(tmp_path: Path, repository: Path) -> Iterator[Spawn]:
    alive: list[Process] = []

    def start(source: str) -> Process:
        alive.append(Process(source, tmp_path, repository))
        return alive[-1]

    yield start
    for process in alive:
        process.end()


@given(
    kind=st.sampled_from(Format),
    count=st.integers(1, 9),
    frames=st.integers(1, 33),
    capacity=st.integers(2, 9),
    records=st.integers(0, 30),
)
def test_what_is_read_is_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, kind: Format, count: int, frames: int, capacity: int, records: int
) -> None:
    folder = tmp_path_factory.mktemp("ring")
    with (
        writer(folder, format=kind, count=count, frames=frames, capacity=capacity) as ring,
        RingReader("press", folder=folder, start="oldest") as reader,
    ):
        for _ in range(records):
            write(ring, 1)
            found = reader.read()
            assert found is not None
            assert found.samples.dtype == kind.dtype
            np.testing.assert_array_equal(found.samples, block(ring, found.number))
            assert (found.first_index, found.t_ns) == (found.number * frames, 1_000 + found.number)
        assert reader.read() is None
        assert reader.tally().produced == reader.received == records


def test_the_ring_says_what_its_channels_are(tmp_path: Path) -> None:
    with writer(tmp_path, origin=Origin.REPLAYED) as ring, RingReader("press", folder=tmp_path) as reader:
        assert reader.channels == ring.channels
        assert reader.header.origin is Origin.REPLAYED
        assert reader.header.pid == os.getpid()


def test_the_last_block_of_a_source_may_be_short(tmp_path: Path) -> None:
    with writer(tmp_path) as ring, RingReader("press", folder=tmp_path) as reader:
        ring.write(block(ring, 0)[:3], 5)
        ring.write(block(ring, 1), 6)
        short, full = reader.read(), reader.read()
        assert short is not None and short.samples.shape == (3, 2)
        assert full is not None and full.first_index == 3


def test_frames_that_the_source_lost_are_counted_by_the_index_and_flagged(tmp_path: Path) -> None:
    with writer(tmp_path) as ring, RingReader("press", folder=tmp_path) as reader:
        write(ring, 1)
        ring.skip(5)
        write(ring, 2)
        found = [reader.read() for _ in range(3)]
        assert [r and (r.first_index, r.flags) for r in found] == [(0, 0), (13, Flag.GAP_BEFORE), (21, 0)]


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((8, 3), np.int16), np.zeros((9, 2), np.int16), np.zeros((8, 2), np.float32), np.zeros((0, 2), np.int16)],
)
def test_a_block_of_another_shape_is_refused_and_harms_nothing(tmp_path: Path, wrong: np.ndarray) -> None:
    with writer(tmp_path) as ring, RingReader("press", folder=tmp_path) as reader:
        with pytest.raises(RingError, match=r"this ring takes int16 \(1 to 8, 2\)"):
            ring.write(wrong, 0)
        write(ring, 1)
        assert reader.read() is not None
        assert reader.tally().exact


def test_a_lapped_reader_jumps_to_the_latest_record_and_counts_what_it_lost(tmp_path: Path) -> None:
    with writer(tmp_path) as ring, RingReader("press", folder=tmp_path) as reader:
        write(ring, 100)
        found = reader.read()
        assert found is not None and found.number == 99
        assert reader.tally() == reader.tally().__class__(produced=100, received=1, lapped=99)


def test_a_reader_that_comes_late_counts_what_was_before_it_as_skipped(tmp_path: Path) -> None:
    with writer(tmp_path) as ring:
        write(ring, 20)
        with RingReader("press", folder=tmp_path) as latest:
            assert latest.read() is None
            assert (latest.tally().skipped, latest.tally().produced) == (20, 20)
        with RingReader("press", folder=tmp_path, start="oldest") as oldest:
            numbers = [record.number for record in iter(oldest.read, None)]
            assert numbers == list(range(13, 20))
            assert oldest.tally().exact


def test_records_left_out_on_purpose_are_counted(tmp_path: Path) -> None:
    with writer(tmp_path) as ring, RingReader("press", folder=tmp_path) as reader:
        write(ring, 5)
        assert reader.skip_to_latest(keep=2) == 3
        assert [r.number for r in iter(reader.read, None)] == [3, 4]
        assert reader.skip_to_latest(keep=2) == 0
        assert reader.tally().exact


@given(byte=st.integers(8, 63 + 32), bit=st.integers(0, 7))
def test_a_changed_bit_anywhere_in_a_record_is_never_believed(
    tmp_path_factory: pytest.TempPathFactory, byte: int, bit: int
) -> None:
    folder = tmp_path_factory.mktemp("ring")
    with writer(folder) as ring, RingReader("press", folder=folder) as reader:
        write(ring, 2)
        covered = byte < 44 or byte >= 64
        ring._bytes[ring._starts[0] + byte] ^= 1 << bit
        numbers = [r.number for r in iter(reader.read, None)]
        assert numbers == ([1] if covered else [0, 1])
        assert reader.torn == covered
        assert reader.tally().exact


def test_a_reader_cannot_write_into_the_ring(tmp_path: Path) -> None:
    with writer(tmp_path) as ring, RingReader("press", folder=tmp_path) as reader:
        maps = Path("/proc/self/maps").read_text().splitlines()
        rights = sorted(line.split()[1] for line in maps if "press.ring" in line)
        assert rights == ["r--s", "rw-s"], "one mapping of the writer's, one of the reader's"
        with pytest.raises(TypeError, match="read-only"):
            reader._mapping.bytes[0] = 0
        write(ring, 1)
        found = reader.read()
        assert found is not None
        with pytest.raises(ValueError, match="read-only"):
            found.samples[0, 0] = 1


def test_a_second_writer_is_refused_while_the_first_lives(tmp_path: Path, spawn: Spawn) -> None:
    with writer(tmp_path), pytest.raises(RingError, match="another process writes it"):
        writer(tmp_path)
    other = spawn(WRITER)
    with pytest.raises(RingError, match="another process writes it"):
        writer(tmp_path)
    other.end()
    writer(tmp_path).close()


def test_a_reader_follows_a_writer_that_was_killed_and_started_again(tmp_path: Path, spawn: Spawn) -> None:
    first = spawn(WRITER)
    with RingReader("press", folder=tmp_path) as reader:
        assert not reader.follow()
        first.tell("5")
        first.end()
        second = spawn(WRITER)
        second.tell("3")
        assert not reader.follow(), "what the first wrote has not been read"
        assert [r.epoch for r in iter(reader.read, None)] == [first.first["epoch"]] * 5
        assert reader.ended
        assert reader.follow()
        assert [(r.epoch, r.number) for r in iter(reader.read, None)] == [(second.first["epoch"], n) for n in range(3)]
        assert second.first["epoch"] > first.first["epoch"]
        assert (reader.epochs, reader.tally().produced, reader.tally().exact) == (2, 8, True)


def test_a_closed_ring_ends_once_it_was_read(tmp_path: Path) -> None:
    ring = writer(tmp_path)
    with RingReader("press", folder=tmp_path) as reader:
        write(ring, 1)
        ring.close()
        ring.close()
        assert not reader.ended
        assert reader.read() is not None
        assert reader.ended and not reader.follow()
    with pytest.raises(RingError, match="whether its writer runs"):
        RingReader("press", folder=tmp_path)


def test_a_killed_writers_ring_is_listed_as_dead_and_removed_and_a_living_ones_is_not(
    tmp_path: Path, spawn: Spawn
) -> None:
    dead = spawn(WRITER)
    dead.tell("4")
    dead.end()
    with RingWriter("lathe", channels(), RATE_HZ, folder=tmp_path):
        assert [(s.path.name, s.head, s.writer_alive) for s in list_segments(tmp_path)] == [
            ("lathe.ring", 0, True),
            ("press.ring", 4, False),
        ]
        assert remove_stale(tmp_path) == [tmp_path / "press.ring"]
        assert remove_stale(tmp_path) == []
        assert (tmp_path / "lathe.ring").exists()


def test_an_unfinished_file_of_a_dead_writer_is_removed(tmp_path: Path) -> None:
    half = tmp_path / ".press.ring.4000000.1.tmp"
    half.write_bytes(b"")
    assert remove_stale(tmp_path) == [half]


def test_a_reader_that_exits_stops_or_dies_leaves_the_ring_as_it_is(tmp_path: Path, spawn: Spawn) -> None:
    with writer(tmp_path) as ring:
        stopped, killed = spawn(READER), spawn(READER)
        os.kill(stopped.process.pid, signal.SIGSTOP)
        write(ring, 100)
        killed.end()
        write(ring, 100)
        assert ring.produced == 200 and ring.path.exists()
        stopped.end()
        with RingReader("press", folder=tmp_path, start="oldest") as reader:
            assert reader.read() is not None


def test_a_ring_without_room_is_refused_when_it_is_made_rather_than_killed_when_it_is_used(tmp_path: Path) -> None:
    source = (
        "import sys; from pathlib import Path; from edge.rings import writer; writer(Path(sys.argv[1]), frames=4096)"
    )
    limited = subprocess.run(
        [sys.executable, "-c", source, str(tmp_path)],
        env={"PYTHONPATH": ":".join(sys.path)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, 65_536)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "no room" in limited.stderr and "lower capacity" in limited.stderr
    assert list(tmp_path.iterdir()) == [], "nothing half made stays behind"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"capacity": 1}, "capacity = 1: must be 2 to"),
        ({"frames": 0}, "frames = 0: must be 1 to"),
        ({"frames": 1 << 20, "count": 1_000}, "at most"),
    ],
)
def test_an_impossible_shape_is_refused_with_what_would_be_right(
    tmp_path: Path, changed: dict[str, int], message: str
) -> None:
    with pytest.raises(RingError, match=message):
        writer(tmp_path, **changed)


def test_what_is_no_ring_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "press.ring"
    path.write_bytes(b"")
    with pytest.raises(RingError, match="not a ring"):
        RingReader("press", folder=tmp_path)
    path.write_bytes(b"x" * 8_192)
    with pytest.raises(RingError, match="not a ring"):
        RingReader("press", folder=tmp_path)
    with pytest.raises(RingError, match="ring name"):
        RingReader("../press", folder=tmp_path)
    assert list_segments(tmp_path) == []


def test_a_ring_of_another_layout_version_or_with_a_broken_head_is_refused(tmp_path: Path) -> None:
    with writer(tmp_path) as ring:
        ring._bytes[8] = 2
        with pytest.raises(RingError, match="layout version 2"):
            RingReader("press", folder=tmp_path)
        ring._bytes[8] = 1
        ring._bytes[28] ^= 64
        with pytest.raises(RingError, match="its shape makes that"):
            RingReader("press", folder=tmp_path)


def test_a_folder_that_cannot_be_is_told_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(RingError, match="no folder for rings"):
            writer(folder)

"""The writer runs on between any two loads of a reader, in the middle of its copy, and with its stores seen out of
order.

Nothing here depends on luck with threads: the reader's view of the memory is a stand-in that lets the writer write
where the test says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from edge.rings import block, write, writer
from hypothesis import given
from hypothesis import strategies as st

from edge_node.ring import RingReader, RingWriter
from edge_node.ring.reader import Record


class Racing:
    """A reader's memory in which the writer goes on `steps` records at each look, and in the middle of each copy."""

    def __init__(self, ring: RingWriter, reader: RingReader, steps: Iterator[int], *, stale_words: bool) -> None:
        self.ring, self.steps, self.stale_words = ring, steps, stale_words
        self.words, self.bytes = reader._mapping.words, reader._mapping.bytes
        self.seen: dict[int, int] = {}
        reader._mapping.words = Words(self)  # type: ignore[assignment]
        reader._mapping.bytes = Bytes(self)  # type: ignore[assignment]

    def go_on(self) -> None:
        write(self.ring, next(self.steps, 0))


class Words:
    def __init__(self, race: Racing) -> None:
        self.race = race

    def __getitem__(self, at: int) -> int:
        self.race.go_on()
        value = self.race.words[at]
        if not self.race.stale_words or at < 64:
            return value
        # A processor that shows the payload's stores before the sequence word's: each word is seen one look late.
        shown = self.race.seen.get(at, value)
        self.race.seen[at] = value
        return shown

    def release(self) -> None:
        self.race.words.release()


class Bytes:
    def __init__(self, race: Racing) -> None:
        self.race = race

    def __getitem__(self, part: slice) -> bytes:
        middle = part.start + (part.stop - part.start) // 2
        first = bytes(self.race.bytes[part.start : middle])
        self.race.go_on()
        return first + bytes(self.race.bytes[middle : part.stop])

    def release(self) -> None:
        self.race.bytes.release()


def accepted_under_race(
    folder: Path, steps: list[int], capacity: int, *, stale_words: bool
) -> tuple[list[Record], RingReader, RingWriter]:
    ring = writer(folder, capacity=capacity)
    reader = RingReader("press", folder=folder)
    write(ring, capacity - 1)
    race = Racing(ring, reader, iter(steps), stale_words=stale_words)
    accepted = []
    for _ in range(2 * len(steps) + 4):
        found = reader.read()
        if found is not None:
            accepted.append(found)
        assert reader.tally().exact, reader.tally()
    reader._mapping.words, reader._mapping.bytes = race.words, race.bytes
    accepted += iter(reader.read, None)
    return accepted, reader, ring


@given(steps=st.lists(st.integers(0, 12), max_size=40), capacity=st.integers(2, 9), stale_words=st.booleans())
def test_whatever_the_writer_does_meanwhile_a_record_is_whole_or_counted_as_lost(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int], capacity: int, stale_words: bool
) -> None:
    accepted, reader, ring = accepted_under_race(
        tmp_path_factory.mktemp("ring"), steps, capacity, stale_words=stale_words
    )
    with ring, reader:
        for record in accepted:
            np.testing.assert_array_equal(record.samples, block(ring, record.number))
        assert [r.number for r in accepted] == sorted({r.number for r in accepted})
        tally = reader.tally()
        assert tally.exact
        assert (tally.produced, tally.received) == (ring.produced, len(accepted))


def test_without_its_checksum_a_reader_would_believe_a_torn_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stand-in does tear records: a reader that trusts the sequence word alone is caught by the property above."""

    def trusting(self: RingReader, number: int, copy: bytes) -> Record:
        g = self.geometry
        return Record(
            self.epoch, number, 0, 0, 0, np.frombuffer(copy[64:96], g.format.dtype).reshape(g.frames, g.channels)
        )

    monkeypatch.setattr(RingReader, "_verified", trusting)
    # The writer laps in the middle of the third copy, and the late word does not say so.
    accepted, reader, ring = accepted_under_race(tmp_path, [0, 0, 2, 0], 2, stale_words=True)
    with ring, reader:
        assert any(not np.array_equal(r.samples, block(ring, r.number)) for r in accepted)


def test_a_copy_that_the_writer_overtakes_is_torn_and_the_next_read_goes_on_from_the_latest(tmp_path: Path) -> None:
    # Looks: head, sequence word; then in the middle of the copy the writer goes round once.
    accepted, reader, ring = accepted_under_race(tmp_path, [0, 0, 9], 8, stale_words=False)
    with ring, reader:
        assert reader.torn == 1
        assert accepted[0].number == 15 and reader.lapped == 14
        assert reader.tally().produced == ring.produced == 16

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from edge.rings import block, channels, write, writer

from edge_node.channels import Window
from edge_node.looking import Look
from edge_node.ring import Origin, RingWriter
from edge_node.ring.layout import Format

SAMPLES, HOP = 16, 8


def look(folder: Path) -> Look:
    return Look("press", folder, SAMPLES, HOP)


def all_windows(look: Look) -> list[Window]:
    found: list[Window] = []
    while True:
        new = list(look.windows())
        if not new and look.reader.behind == 0:
            return found
        found += new


def test_windows_overlap_and_hold_physical_values_channel_by_channel(tmp_path: Path) -> None:
    with writer(tmp_path) as ring:
        looking = look(tmp_path)
        write(ring, 4)
        windows = all_windows(looking)
        assert [w.first_index for w in windows] == [0, 8, 16]
        counts = np.concatenate([block(ring, 0), block(ring, 1)])
        np.testing.assert_allclose(windows[0].data, counts.T * 0.001, rtol=1e-6)
        assert windows[0].data.flags.c_contiguous and windows[0].data.dtype == np.float32
        assert (looking.seen, looking.missed) == (32, 0)
        looking.close()


def test_what_was_overwritten_counts_as_missed_and_no_window_spans_it(tmp_path: Path) -> None:
    with writer(tmp_path) as ring:
        looking = look(tmp_path)
        write(ring, 2)
        assert len(all_windows(looking)) == 1
        write(ring, 30)
        assert all_windows(looking) == []
        write(ring, 1)
        (after,) = all_windows(looking)
        assert after.first_index == 31 * 8
        assert looking.seen + looking.missed == 33 * 8
        looking.close()


def test_what_the_source_lost_counts_as_missed(tmp_path: Path) -> None:
    with writer(tmp_path) as ring:
        looking = look(tmp_path)
        write(ring, 1)
        ring.skip(24)
        write(ring, 2)
        assert [w.first_index for w in all_windows(looking)] == [32]
        assert (looking.seen, looking.missed) == (24, 24)
        looking.close()


def test_a_restarted_writer_is_followed_and_no_window_spans_the_epochs(tmp_path: Path) -> None:
    first = writer(tmp_path)
    looking = look(tmp_path)
    write(first, 3)
    first.close()
    with writer(tmp_path) as second:
        write(second, 2)
        windows = all_windows(looking)
        epochs = [looking.provenance(w).writer_epoch for w in windows[-1:]]
        assert [w.first_index for w in windows] == [0, 8, 0] and epochs == [second.epoch]
        assert looking.restarts == 1
        looking.close()


@pytest.mark.parametrize(
    ("origin", "replayed"), [(Origin.LIVE, False), (Origin.REPLAYED, True), (Origin.SYNTHETIC, True)]
)
def test_what_is_not_live_says_so_in_every_window(tmp_path: Path, origin: Origin, replayed: bool) -> None:
    with RingWriter(
        "press", channels(), 1_000.0, format=Format.INT16, frames=8, capacity=8, folder=tmp_path, origin=origin
    ) as ring:
        looking = look(tmp_path)
        write(ring, 2)
        (window,) = all_windows(looking)
        assert window.replayed is replayed and looking.provenance(window).replayed is replayed
        looking.close()

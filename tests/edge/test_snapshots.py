"""Snapshots: packed without loss, kept within bounds, uploaded and verified."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from edge_node.channels import Channel, Quantity, Window
from edge_node.findings import Provenance
from edge_node.snapshots.encode import SnapshotError, decode, encode, shuffle, unshuffle
from edge_node.snapshots.spool import SPOOL_BYTES_MIN, Spool
from edge_node.snapshots.upload import FIRST_WAIT_S, Uploader

ADC = Channel("spindle", Quantity.VIBRATION, "g", scale=0.5)


def taken(counts: NDArray[Any], first_index: int = 0, channel: Channel = ADC) -> bytes:
    data = np.atleast_2d(counts).astype(np.float32) * np.float32(channel.scale)
    window = Window(data, 50_000.0, first_index, 0)
    provenance = Provenance("press", 7, first_index, window.samples, 0, 50_000.0)
    return encode(window, [channel] * window.channels, provenance)


@given(arrays.arrays(np.int16, st.tuples(st.integers(1, 4), st.integers(1, 200))))
def test_what_came_from_a_16_bit_converter_comes_back_exactly(counts: NDArray[np.int16]) -> None:
    message, samples = decode(taken(counts))
    np.testing.assert_array_equal(samples, counts.astype(np.float32) * np.float32(0.5))
    assert [channel.clipped for channel in message.channels] == [0] * counts.shape[0]


@given(st.binary(max_size=400).filter(lambda raw: len(raw) % 2 == 0))
def test_unshuffle_undoes_shuffle(raw: bytes) -> None:
    assert unshuffle(shuffle(raw)) == raw


def test_shuffling_makes_a_smooth_signal_smaller() -> None:
    import zstandard

    raw = (20_000 * np.sin(np.linspace(0, 300, 65_536))).astype("<i2").tobytes()
    compress = zstandard.ZstdCompressor(level=3).compress
    assert len(compress(shuffle(raw))) < 0.95 * len(compress(raw))


def test_samples_that_do_not_fit_are_counted() -> None:
    message, samples = decode(taken(np.array([0.0, 40_000.0, -40_000.0, np.nan, np.inf, -32_768.0])))
    assert message.channels[0].clipped == 4
    assert samples[0].tolist() == [0.0, 16_383.5, -16_384.0, 0.0, 0.0, -16_384.0]


def test_floats_without_a_known_scale_keep_15_bits_of_their_largest() -> None:
    values = np.random.default_rng(1).normal(0, 1e-3, (1, 1_000)).astype(np.float32)
    _, samples = decode(taken(values, channel=Channel("mic", Quantity.ACOUSTIC, "Pa")))
    assert np.abs(samples - values).max() <= np.abs(values).max() / 32_767


@pytest.mark.parametrize("cut", [0.3, 0.9, 0.999])
def test_a_truncated_snapshot_is_refused(cut: float) -> None:
    data = taken(np.random.default_rng(2).integers(-999, 999, (2, 500)))
    with pytest.raises(SnapshotError):
        decode(data[: int(len(data) * cut)])


def test_no_altered_byte_goes_unnoticed() -> None:
    data = taken(np.random.default_rng(3).integers(-999, 999, (1, 400)))
    message, samples = decode(data)
    for place in range(len(data)):
        altered = bytearray(data)
        altered[place] ^= 0x10
        try:
            other, found = decode(bytes(altered))
        except SnapshotError:
            continue
        message.payload = other.payload = b""  # a zstd frame has spare bits that change nothing
        assert other == message
        np.testing.assert_array_equal(found, samples)


def test_the_spool_keeps_its_bound_and_lets_uploaded_ones_go_first(tmp_path: Path) -> None:
    rng, size = np.random.default_rng(4), 200_000
    spool = Spool(tmp_path, SPOOL_BYTES_MIN)
    for place in range(2):
        path = spool.put(taken(rng.integers(-32_768, 32_767, size), place))
        assert path is not None
        os.utime(path, ns=(place, place))
    spool.mark_uploaded(spool.kept()[1])
    third = spool.put(taken(rng.integers(-32_768, 32_767, size), 2))
    assert third is not None and spool.lost == 0
    assert spool.pending()[0].name.startswith("press-7-0000000000000000")
    os.utime(third, ns=(2, 2))
    spool.put(taken(rng.integers(-32_768, 32_767, size), 3))
    assert spool.lost == 1
    assert sum(kept.size_bytes for kept in spool.kept()) <= SPOOL_BYTES_MIN


def test_the_same_snapshot_is_kept_once(tmp_path: Path) -> None:
    spool, data = Spool(tmp_path, SPOOL_BYTES_MIN), taken(np.arange(100))
    assert spool.put(data) == spool.put(data)
    assert len(spool.kept()) == 1


def test_a_half_written_snapshot_is_removed_only_by_whoever_stores_there(tmp_path: Path) -> None:
    (tmp_path / "press-7-0-abc.part").write_bytes(b"half")
    spool = Spool(tmp_path, SPOOL_BYTES_MIN)
    # Looking at the spool must not take the file that an observer is writing from under it.
    assert spool.kept() == [] and len(list(tmp_path.iterdir())) == 1
    spool.clear_parts()
    assert list(tmp_path.iterdir()) == []


def test_looking_at_a_spool_that_is_not_there_makes_no_folder(tmp_path: Path) -> None:
    assert Spool(tmp_path / "none", SPOOL_BYTES_MIN).kept() == [] and not (tmp_path / "none").exists()


def test_a_file_without_a_snapshot_in_it_is_not_taken_for_a_newer_version() -> None:
    with pytest.raises(SnapshotError, match="0 bytes are not a snapshot"):
        decode(b"")


def test_a_full_disk_is_counted_and_survived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path, SPOOL_BYTES_MIN)

    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert spool.put(taken(np.arange(100))) is None
    assert spool.refused == 1 and list(tmp_path.iterdir()) == []


def test_pending_snapshots_are_uploaded_and_verified(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", SPOOL_BYTES_MIN)
    data = [taken(np.arange(100) + place, place) for place in range(3)]
    for item in data:
        spool.put(item)
    uploader = Uploader(spool, f"file://{tmp_path}/store")
    assert uploader.run_once() == FIRST_WAIT_S
    assert spool.pending() == [] and uploader.uploaded == 3
    assert sorted(p.read_bytes() for p in (tmp_path / "store").iterdir()) == sorted(data)
    uploader.run_once()
    assert uploader.uploaded == 3


class Refusing(MemoryFileSystem):  # type: ignore[misc]
    """An object store that refuses at first, then stores other bytes, then works."""

    protocol = "refusing"
    cachable = False
    answers: list[str] = []  # noqa: RUF012 - shared by the instances that a URL makes

    def pipe_file(self, path: str, value: bytes, **options: object) -> None:
        answer = self.answers.pop(0) if self.answers else "ok"
        if answer == "refuse":
            raise PermissionError("403 Forbidden")
        super().pipe_file(path, value[:-1] if answer == "spoil" else value, **options)


def test_a_store_that_refuses_is_retried_with_longer_waits_and_nothing_is_lost(tmp_path: Path) -> None:
    fsspec.register_implementation("refusing", Refusing, clobber=True)
    Refusing.answers = ["refuse", "refuse", "spoil"]
    spool = Spool(tmp_path, SPOOL_BYTES_MIN)
    spool.put(taken(np.arange(100)))
    uploader = Uploader(spool, "refusing://bucket/line-1", _jitter=lambda: 1.0)
    assert [uploader.run_once() for _ in range(2)] == [1.0, 2.0]
    assert "403 Forbidden" in uploader.last_error
    assert uploader.run_once() == 4.0 and "holds" in uploader.last_error
    assert len(spool.pending()) == 1
    assert uploader.run_once() == FIRST_WAIT_S
    assert spool.pending() == [] and uploader.failures == 3 and uploader.last_error == ""


def test_a_snapshot_that_is_evicted_before_its_turn_does_not_hold_up_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path / "spool", SPOOL_BYTES_MIN)
    for place in range(2):
        spool.put(taken(np.arange(100) + place, place))
    pending = spool.pending()
    pending[0].path.unlink()
    monkeypatch.setattr(Spool, "pending", lambda self: pending)
    uploader = Uploader(spool, f"file://{tmp_path}/store")
    assert uploader.run_once() == FIRST_WAIT_S
    assert (uploader.uploaded, uploader.failures) == (1, 0)


def test_a_snapshot_damaged_on_site_is_named_and_never_uploaded_as_whole(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", SPOOL_BYTES_MIN)
    for place in range(2):
        spool.put(taken(np.arange(100) + place, place))
    bad, good = spool.kept()
    bad.path.write_bytes(bad.path.read_bytes()[:-9])
    uploader = Uploader(spool, f"file://{tmp_path}/store")
    for _ in range(2):
        assert uploader.run_once() == FIRST_WAIT_S
    assert [path.name for path in (tmp_path / "store").iterdir()] == [good.name]
    assert list(uploader.damaged) == [bad.name] and uploader.failures == 0
    assert [kept.name for kept in spool.pending()] == [bad.name]


def test_an_upload_that_cannot_be_remembered_on_a_full_disk_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path / "spool", SPOOL_BYTES_MIN)
    spool.put(taken(np.arange(100)))
    uploader = Uploader(spool, f"file://{tmp_path}/store")

    def full(self: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "touch", full)
        uploader.run_once()
    assert uploader.uploaded == 0 and "No space left" in uploader.last_error
    uploader.run_once()
    assert uploader.uploaded == 1 and spool.pending() == []


def test_a_url_of_no_known_store_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="url: nowhere://x"):
        Uploader(Spool(tmp_path, SPOOL_BYTES_MIN), "nowhere://x")

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat, wavfile

from edge_node.channels import Channel
from edge_node.sources import SourceError
from edge_node.sources.base import Nature, Pace
from edge_node.sources.replay import ReplaySource

DATA = np.arange(60, dtype=np.float32).reshape(30, 2)
TWO = (Channel("de"), Channel("fe"))


def played(
    path: Path, channels: Sequence[Channel] = TWO, rate_hz: float | None = 100.0, **more: Any
) -> tuple[Any, Any, ReplaySource]:
    source = ReplaySource(path, channels, rate_hz, **more)
    assert source.nature is Nature.REPLAYED
    return np.concatenate([b.samples for b in source.blocks(8)]), source.problems.counts, source


def save(folder: Path, kind: str) -> Path:
    path = folder / f"run.{kind}"
    if kind == "npy":
        np.save(path, DATA)
    elif kind == "csv":
        lines = ["de,fe", *(f"{a},{b}" for a, b in DATA)]
        path.write_text("\n".join(lines) + "\n")
    elif kind == "wav":
        wavfile.write(path, 100, DATA)
    else:
        savemat(path, {"de": DATA[:, 0], "fe": DATA[:, 1], "rpm": 1797})
    return path


@pytest.mark.parametrize("kind", ["npy", "csv", "wav", "mat"])
def test_every_format_is_played_as_it_was_recorded(tmp_path: Path, kind: str) -> None:
    samples, problems, source = played(save(tmp_path, kind))
    np.testing.assert_array_equal(samples, DATA)
    assert not problems
    assert source.rate_hz == 100.0


@pytest.mark.parametrize("kind", ["npy", "csv", "wav", "mat"])
def test_a_truncated_file_is_named_and_what_is_whole_of_it_is_played(tmp_path: Path, kind: str) -> None:
    path = save(tmp_path, kind)
    path.write_bytes(path.read_bytes()[:-30])
    if kind == "mat":
        with pytest.raises(SourceError, match="truncated"):
            played(path)
        return
    samples, problems, _ = played(path)
    assert 20 <= len(samples) < 30
    whole = samples[:-1]
    np.testing.assert_array_equal(whole, DATA[: len(whole)])
    assert problems["truncated"] == 1 or kind == "csv"


def test_16_bit_sound_is_scaled_to_one(tmp_path: Path) -> None:
    path = tmp_path / "run.wav"
    wavfile.write(path, 100, np.array([[0], [16_384], [-32_768]], np.int16))
    samples, _, _ = played(path, (Channel("mic"),))
    np.testing.assert_array_equal(samples[:, 0], [0.0, 0.5, -1.0])


def test_a_rate_that_differs_from_the_files_is_named_and_the_files_is_used(tmp_path: Path) -> None:
    _, problems, source = played(save(tmp_path, "wav"), rate_hz=48_000.0)
    assert source.rate_hz == 100.0 and problems["wrong_rate"] == 1
    assert "48000" in source.problems.first["wrong_rate"]


def test_a_channel_that_the_file_lacks_is_nan_and_named(tmp_path: Path) -> None:
    channels = (Channel("fe"), Channel("de"), Channel("ba"))
    samples, problems, _ = played(save(tmp_path, "csv"), channels)
    np.testing.assert_array_equal(samples[:, :2], DATA[:, ::-1])
    assert np.isnan(samples[:, 2]).all()
    assert problems["missing_channel"] == 1 and problems["not_a_number"] == 30


def test_columns_are_chosen_by_name(tmp_path: Path) -> None:
    samples, problems, _ = played(save(tmp_path, "mat"), (Channel("x"),), columns=("fe",))
    np.testing.assert_array_equal(samples[:, 0], DATA[:, 1])
    assert problems == {}


def test_a_file_with_none_of_the_channels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="none of the channels"):
        played(save(tmp_path, "csv"), (Channel("x"),), columns=("zz",))


def test_cells_that_are_no_numbers_and_broken_lines_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    path.write_text("de,fe\n1,2\n3,oops\n4\n5,nan\n6,7\n")
    samples, problems, _ = played(path)
    np.testing.assert_array_equal(samples, [[1, 2], [3, np.nan], [5, np.nan], [6, 7]])
    assert problems == {"short_line": 1, "not_a_number": 2}


def test_a_file_without_names_is_played_by_position(tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    path.write_text("1,2\n3,4\n5,6\n")
    samples, problems, _ = played(path)
    np.testing.assert_array_equal(samples, [[1, 2], [3, 4], [5, 6]])
    assert not problems


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.npy", None, "No such file"),
        ("run.txt", b"1", "is not one of .csv, .mat, .npy, .wav"),
        ("run.npy", b"not numpy", "not an npy file"),
        ("run.wav", b"RIFFnothing", "not a wav file"),
        ("run.mat", b"nothing", "truncated"),
        ("run.csv", b"de,fe\n", "no complete frame"),
    ],
)
def test_a_file_that_cannot_be_played_is_refused_in_words(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=message):
        played(tmp_path / name)


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "run.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(SourceError, match="never unpickled"):
        played(tmp_path / "run.npy")


def test_a_recording_without_a_rate_needs_one(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="give rate_hz"):
        played(save(tmp_path, "npy"), rate_hz=None)


def test_a_transposed_matrix_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "run.npy", DATA.T)
    with pytest.raises(SourceError, match="transposed"):
        played(tmp_path / "run.npy")


def test_a_repeated_replay_begins_again(tmp_path: Path) -> None:
    source = ReplaySource(save(tmp_path, "npy"), TWO, 100.0, repeat=True)
    blocks = source.blocks(30)
    np.testing.assert_array_equal(next(blocks).samples, next(blocks).samples)


def test_a_pace_says_how_long_to_wait_and_catches_up_with_little_only() -> None:
    pace = Pace(rate_hz=10.0, speed=2.0)
    assert pace.due_in_s(20) == pytest.approx(1.0, abs=0.05)
    pace._began -= 100.0
    assert pace.due_in_s(20) == 0.0 and pace.late == 1
    assert pace.due_in_s(20) == pytest.approx(1.0, abs=0.05)
    pace._began -= 2.5
    assert pace.due_in_s(20) == 0.0 and pace.late == 1, "half a second behind is caught up with"
    assert pace.due_in_s(20) == pytest.approx(0.5, abs=0.05)
    assert Pace(rate_hz=1.0, speed=0).due_in_s(1_000) == 0.0


def test_a_wav_that_breaks_off_in_its_head_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path, "wav")
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(SourceError, match="not a wav file"):
        played(path)


def test_an_npy_whose_head_claims_more_than_memory_holds_is_played_as_far_as_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "run.npy"
    with path.open("wb") as file:
        head = {"descr": "<f4", "fortran_order": False, "shape": (10**15, 2)}
        np.lib.format.write_array_header_1_0(file, head)
        file.write(DATA.tobytes())
    samples, counts, _ = played(path)
    np.testing.assert_array_equal(samples, DATA)
    assert counts["truncated"] == 1


def test_an_empty_npy_is_not_called_transposed(tmp_path: Path) -> None:
    path = tmp_path / "run.npy"
    np.save(path, DATA[:0])
    with pytest.raises(SourceError, match="no complete frame"):
        played(path)

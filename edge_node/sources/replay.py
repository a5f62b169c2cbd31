"""Files played again: npy, csv, wav and MATLAB .mat, as far as they can be read.

Rules owned: a replayed sample says that it is one and never acts on the plant. A truncated file is played up to where
it breaks off, a channel that is not in it is NaN, a cell that is no number is NaN; each is named and counted. A file
of which nothing can be played is a SourceError that says why. Never unpickles anything.
"""

from __future__ import annotations

import csv
import math
import struct
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_node.channels import Channel
from edge_node.sources.base import Block, Nature, Problems, SourceError

Samples = NDArray[Any]
BYTES_MAX = 4 << 30


@dataclass(frozen=True, slots=True)
class Recording:
    """What a file holds: samples of shape (frames, columns), the columns' names ("0", "1", ... where it has none), and
    the rate where it says one.
    """

    samples: Samples
    columns: tuple[str, ...]
    rate_hz: float | None = None


class ReplaySource:
    """Plays `path` once, or again and again with `repeat`. Each channel's column is `columns[n]`, or the column of the
    channel's name, or else the n-th. The file's own rate wins over `rate_hz` and is named when they differ.
    """

    nature = Nature.REPLAYED
    paced = False

    def __init__(
        self,
        path: Path,
        channels: Sequence[Channel],
        rate_hz: float | None,
        *,
        columns: Sequence[str] = (),
        variable: str = "",
        repeat: bool = False,
    ) -> None:
        self.channels, self.problems, self._repeat = tuple(channels), Problems(), repeat
        recording = read_recording(path, self.problems, variable)
        rate = recording.rate_hz or rate_hz
        if rate is None or not 0 < rate < math.inf:
            raise SourceError(f"{path}: says no rate of its own; give rate_hz, the samples a second of each channel")
        if recording.rate_hz and rate_hz and not math.isclose(recording.rate_hz, rate_hz):
            self.problems.note("wrong_rate", f"rate_hz = {rate_hz}, but {path} says {rate}; the file's is used")
        self.rate_hz = rate
        self._samples = self._chosen(path, recording, columns)

    def _chosen(self, path: Path, recording: Recording, columns: Sequence[str]) -> Samples:
        """The recording's columns in the channels' order; NaN for a channel that it does not have."""
        named = {name: n for n, name in enumerate(recording.columns)}
        picked: list[int | None] = []
        for n, channel in enumerate(self.channels):
            wanted = columns[n] if n < len(columns) else channel.name
            at = named.get(wanted)
            if at is None and n >= len(columns) and channel.name not in named and n < len(recording.columns):
                at = n
            picked.append(at)
            if at is None:
                known = ", ".join(recording.columns[:8])
                self.problems.note("missing_channel", f"{path}: no column for {channel.name} ({wanted!r}); has {known}")
        if all(at is None for at in picked):
            raise SourceError(f"{path}: has none of the channels; its columns are {', '.join(recording.columns[:8])}")
        if [*picked] == [*range(len(recording.columns))]:
            return recording.samples
        out = np.full((len(recording.samples), len(picked)), np.nan, np.float32)
        for n, at in enumerate(picked):
            if at is not None:
                out[:, n] = recording.samples[:, at]
        return out

    def blocks(self, frames: int) -> Iterator[Block]:
        while True:
            for at in range(0, len(self._samples), frames):
                part = self._samples[at : at + frames].astype(np.float32)
                bad = int(np.count_nonzero(~np.isfinite(part)))
                self.problems.note("not_a_number", f"frames from {at} on", bad)
                yield Block(part)
            if not self._repeat:
                return

    def close(self) -> None:
        """Nothing to give back."""


def read_recording(path: Path, problems: Problems, variable: str = "") -> Recording:
    """Reads a whole file by its ending. Raises SourceError when nothing of it can be played."""
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise SourceError(f"{path}: ending {path.suffix!r} is not one of {', '.join(sorted(READERS))}; convert it")
    try:
        size = path.stat().st_size
        if size > BYTES_MAX:
            raise SourceError(f"{path}: {size} bytes, and a replay holds at most {BYTES_MAX}; cut it into pieces")
        recording = reader(path, problems, variable)
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror or error}; check the path") from None
    if recording.samples.shape[0] == 0:
        raise SourceError(f"{path}: holds no complete frame; record it again")
    return recording


def _as_frames(path: Path, data: Samples) -> Samples:
    """(frames, columns); one-dimensional data is one column."""
    if data.ndim == 1:
        data = data[:, None]
    if data.ndim != 2 or data.dtype.kind not in "iuf":
        raise SourceError(f"{path}: {data.dtype} of shape {data.shape}; needs real numbers as (frames, columns)")
    if data.shape[1] > data.shape[0] > 0:
        raise SourceError(
            f"{path}: {data.shape[0]} frames of {data.shape[1]} columns; looks transposed: save it with .T"
        )
    return data


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(map(str, range(count)))


def _read_npy(path: Path, problems: Problems, variable: str) -> Recording:
    with path.open("rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(file)
        except ValueError as error:
            raise SourceError(f"{path}: not an npy file ({error}); save it with numpy.save") from None
        if dtype.hasobject:
            raise SourceError(f"{path}: holds Python objects, which are never unpickled; save plain numbers")
        count = math.prod(shape)
        # A damaged head may claim more than memory holds; no more is read than there is.
        there = (path.stat().st_size - file.tell()) // max(1, dtype.itemsize)
        flat = np.fromfile(file, dtype, min(count, there))
    if len(flat) == count:
        return _plain(path, flat.reshape(shape, order="F" if fortran else "C"))
    if fortran and len(shape) > 1:
        raise SourceError(f"{path}: truncated, and stored column by column, so no frame is whole; record it again")
    width = math.prod(shape[1:])
    whole = len(flat) // width
    problems.note("truncated", f"{path}: {whole} of {shape[0]} frames are there; plays those")
    return _plain(path, flat[: whole * width].reshape(whole, *shape[1:]))


def _plain(path: Path, data: Samples) -> Recording:
    frames = _as_frames(path, data)
    return Recording(frames, _numbered(frames.shape[1]))


def _read_csv(path: Path, problems: Problems, variable: str) -> Recording:
    """One frame a line; a first line without any number is the columns' names."""
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        rows = csv.reader(file)
        first = next(rows, [])
        names = tuple(cell.strip() for cell in first)
        headed = bool(names) and all(math.isnan(_number(cell)) for cell in names)
        width = len(names)
        values = [] if headed or not first else [[_number(cell) for cell in first]]
        for line, row in enumerate(rows, 2):
            if len(row) != width:
                if row:
                    problems.note("short_line", f"{path}, line {line}: {len(row)} cells, and {width} columns; left out")
                continue
            values.append([_number(cell) for cell in row])
    samples = np.asarray(values, np.float32).reshape(len(values), width)
    return Recording(samples, names if headed else _numbered(width))


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan


def _read_wav(path: Path, problems: Problems, variable: str) -> Recording:
    from scipy.io import wavfile

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            rate, data = wavfile.read(path)
        except (ValueError, EOFError, struct.error) as error:
            raise SourceError(f"{path}: not a wav file that can be read ({error}); record it again") from None
    for warning in told:
        problems.note("truncated", f"{path}: {warning.message}; plays what is there")
    if data.dtype.kind in "iu":
        # As is usual for sound: full scale is 1. An 8-bit wav is unsigned around 128.
        middle = 128.0 if data.dtype == np.uint8 else 0.0
        scale = 128.0 if data.dtype == np.uint8 else float(np.iinfo(data.dtype).max) + 1
        data = ((data - middle) / scale).astype(np.float32)
    plain = _plain(path, data)
    return Recording(plain.samples, plain.columns, float(rate))


def _read_mat(path: Path, problems: Problems, variable: str) -> Recording:
    """One matrix (frames, columns), or every real vector of the greatest length as a column of its name."""
    from scipy.io import loadmat

    try:
        found = loadmat(path, variable_names=[variable] if variable else None)
    except NotImplementedError:
        raise SourceError(f"{path}: saved as MATLAB 7.3 (HDF5); save it with save(..., '-v7')") from None
    except Exception as error:
        raise SourceError(f"{path}: cannot be read ({error}); is it truncated? save it again") from None
    arrays = {
        name: np.squeeze(value)
        for name, value in sorted(found.items())
        if not name.startswith("__") and isinstance(value, np.ndarray) and value.dtype.kind in "iuf" and value.size > 1
    }
    if not arrays:
        what = f"no variable {variable!r}" if variable else "no matrix of real numbers"
        raise SourceError(f"{path}: {what}; name one with `variable`")
    if len(arrays) == 1 or any(a.ndim > 1 for a in arrays.values()):
        if len(arrays) > 1:
            raise SourceError(f"{path}: several matrices ({', '.join(arrays)}); name one with `variable`")
        return _plain(path, next(iter(arrays.values())))
    length = max(len(a) for a in arrays.values())
    columns = {name: a for name, a in arrays.items() if len(a) == length}
    for name in sorted(set(arrays) - set(columns)):
        problems.note("short_variable", f"{path}: {name} has {len(arrays[name])} samples, others {length}; left out")
    return Recording(np.stack(list(columns.values()), axis=1), tuple(columns))


READERS: dict[str, Callable[[Path, Problems, str], Recording]] = {
    ".npy": _read_npy,
    ".csv": _read_csv,
    ".wav": _read_wav,
    ".mat": _read_mat,
}

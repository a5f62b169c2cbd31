from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from edge_node import sink as module
from edge_node.entries import Entry, Kind, incident
from edge_node.sink import JsonLinesSink


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def entry(number: int) -> Entry:
    return incident("spindle", "test", "x" * 100, number=number)


def test_entries_are_appended_as_lines_in_order(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "findings.jsonl"
    for part in (range(3), range(3, 5)):
        sink = JsonLinesSink(path, 1 << 20, 3)
        for n in part:
            sink.write(entry(n))
        sink.close()
    assert [line["number"] for line in lines(path)] == [0, 1, 2, 3, 4]
    assert all(line["written_unix_ms"] > 0 for line in lines(path))


def test_what_is_kept_is_bounded_and_the_newest_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "findings.jsonl"
    sink = JsonLinesSink(path, 4_096, 3)
    for n in range(200):
        sink.write(entry(n))
    sink.close()
    files = sorted(tmp_path.iterdir())
    assert [f.name for f in files] == ["findings.jsonl", "findings.jsonl.1", "findings.jsonl.2"]
    assert all(f.stat().st_size <= 4_096 for f in files)
    kept = [line["number"] for f in (files[2], files[1], files[0]) for line in lines(f)]
    assert kept == list(range(200 - len(kept), 200))
    assert sink.lost == 0


def test_one_file_is_bounded_too(tmp_path: Path) -> None:
    path = tmp_path / "findings.jsonl"
    sink = JsonLinesSink(path, 4_096, 1)
    for n in range(100):
        sink.write(entry(n))
    assert [f.name for f in tmp_path.iterdir()] == ["findings.jsonl"]
    assert lines(path)[-1]["number"] == 99


def test_a_full_disk_is_survived_counted_and_told_once_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "findings.jsonl"
    sink = JsonLinesSink(path, 1 << 20, 3)
    sink.write(entry(0))
    monkeypatch.setattr(module, "RETRY_S", 0.0)
    whole, room = os.write, [30]

    def cramped(fd: int, data: bytes) -> int:
        """A disk with room for 30 bytes more takes what fits, as a real one does, and then refuses."""
        if room[0] == 0:
            raise OSError(28, "No space left on device")
        taken, room[0] = room[0], 0
        return whole(fd, data[:taken])

    monkeypatch.setattr(os, "write", cramped)
    for n in range(1, 4):
        sink.write(entry(n))
    assert sink.lost == 3
    monkeypatch.setattr(os, "write", whole)
    sink.write(entry(4))
    told = lines(path)
    assert [line.get("number") for line in told] == [0, None, 4], "no half line stays behind"
    assert (told[1]["kind"], told[1]["lost"]) == ("gap", 3)


def test_a_device_that_is_always_full_never_raises() -> None:
    sink = JsonLinesSink(Path("/dev/full"), 1 << 20, 1)
    for n in range(3):
        sink.write(entry(n))
    assert (sink.lost, sink.written) == (3, 0)


def test_a_gap_is_an_entry_of_its_own_kind() -> None:
    assert json.loads(Entry(Kind.GAP, "sink", {"lost": 3}).line()) == {"kind": "gap", "source": "sink", "lost": 3}

"""Lines for a reader that may be slow, gone, or a full disk."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest
from zonelock_cli import showing as module
from zonelock_cli.showing import Showing


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    yield read, write
    for end in (read, write):
        with contextlib.suppress(OSError):
            os.close(end)


def test_lines_come_in_order_and_closing_waits_for_them(pipe: tuple[int, int]) -> None:
    read, write = pipe
    out = Showing(write, str)
    for n in range(100):
        out.show(f"line {n}")
    out.close()
    assert os.read(read, 1 << 16).decode().splitlines() == [f"line {n}" for n in range(100)]


def test_a_stalled_reader_holds_nothing_up_and_is_told_what_it_missed(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINES_MAX", 3)
    read, write = pipe
    out = Showing(write, lambda lost: f"gap {lost}")
    for _ in range(200):
        out.show("x" * 4_095)
    assert out.lost > 100
    told = ""
    while "gap" not in told:
        # There is always a line to come: this one, or one that waits before it.
        out.show("late")
        told += os.read(read, 4_096).decode()
    out.close()


def test_a_reader_that_is_gone_is_survived_and_counted(pipe: tuple[int, int]) -> None:
    read, write = pipe
    os.close(read)
    out = Showing(write, str)
    out.show("one")
    out.show("two")
    out.close()
    assert out.lost == 2

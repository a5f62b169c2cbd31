"""docs/edge.md and the code describe one layout."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from edge_node.ring import layout

ROW = re.compile(r"^\| (\d+) \| ([^|]+) \| (\w+) \| ([^|]*)", re.MULTILINE)
SIZES = {"8 bytes": "8s", "u32": "I", "u64": "Q", "i64": "q", "f64": "d"}


@pytest.fixture(scope="module")
def tables(repository: Path) -> list[list[tuple[int, str, str]]]:
    text = (repository / "docs" / "edge.md").read_text("utf-8").partition("### Ring layout")[2]
    head, _, record = text.partition("One record's slot:")
    return [[(int(at), kind.strip(), name) for at, kind, name, _ in ROW.findall(part)] for part in (head, record)]


def packed(rows: list[tuple[int, str, str]]) -> tuple[str, list[int]]:
    """The struct format of consecutive rows, and the offsets that it gives them."""
    kinds = [SIZES[kind] for _, kind, _ in rows]
    starts = [rows[0][0] + struct.calcsize("<" + "".join(kinds[:n])) for n in range(len(kinds))]
    return "<" + "".join(kinds), starts


def test_the_head_of_the_file_is_as_documented(tables: list[list[tuple[int, str, str]]]) -> None:
    head = tables[0]
    fixed = [row for row in head if row[0] < layout.HEAD_AT]
    form, starts = packed(fixed)
    assert form == layout.FIXED.format
    assert starts == [at for at, _, _ in fixed]
    assert {name: at for at, _, name in head if at >= layout.HEAD_AT} == {
        "head": layout.HEAD_AT,
        "heartbeat_ns": layout.HEARTBEAT_AT,
        "state": layout.STATE_AT,
        "description": layout.DESCRIPTION_AT,
    }
    assert {name: at for at, _, name in head}["epoch"] == layout.EPOCH_AT


def test_a_record_is_as_documented(tables: list[list[tuple[int, str, str]]]) -> None:
    rows = tables[1]
    covered = [row for row in rows if layout.RECORD_AT <= row[0] < layout.CHECKSUM_AT]
    form, starts = packed(covered)
    assert form == layout.RECORD.format
    assert starts == [at for at, _, _ in covered]
    at = {name: at for at, _, name in rows}
    assert (at["sequence"], at["checksum"], at["payload"]) == (0, layout.CHECKSUM_AT, layout.PAYLOAD_AT)
    assert layout.RECORD_END == layout.CHECKSUM_AT


def test_every_word_stands_at_a_multiple_of_its_size(tables: list[list[tuple[int, str, str]]]) -> None:
    for at, kind, name in (row for table in tables for row in table if row[1] in SIZES):
        assert at % struct.calcsize("<" + SIZES[kind]) == 0, name

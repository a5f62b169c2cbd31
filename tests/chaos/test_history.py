"""The history format: what is written is read back, equal runs give equal bytes, and errors name their line."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.history import FORMAT, SCHEMA, VERSION, History, HistoryError, Line, parse, problems_of, read
from chaos.stories.floors import row_floor
from chaos.stories.scene import Scene

ROOT = Path(__file__).resolve().parents[2]
HEADER = json.dumps({"t": 0, "src": "x", "kind": "header", "format": FORMAT, "version": VERSION, "origin": "hand"})


def problems(*rows: str) -> list[str]:
    with pytest.raises(HistoryError) as raised:
        parse([HEADER, *rows], "the file")
    return raised.value.problems


def recorded() -> History:
    s = Scene(row_floor("A B"))
    s.hello("V1")
    s.ask("V1", "A", ms=2_000)
    s.drive("V1", "A")
    s.stop("s-1", floor=True)
    s.reset("s-1")
    s.wait(3_000)
    return s.history


def test_what_is_saved_is_read_back_line_by_line(tmp_path: Path) -> None:
    history = recorded()
    history.save(tmp_path / "h.jsonl")
    assert read(tmp_path / "h.jsonl") == history.lines


def test_a_stream_gets_each_line_as_it_is_recorded() -> None:
    out = io.StringIO()
    history = History(origin="live", note="a note", out=out)
    history.add(5, "floor", "body", agent="V1", what="enter", zone="A", by=None)
    assert (
        out.getvalue().splitlines()[1] == '{"agent":"V1","kind":"body","src":"floor","t":5,"what":"enter","zone":"A"}'
    )
    assert parse(out.getvalue().splitlines()) == history.lines


def test_equal_runs_have_equal_digests_under_any_hash_seed() -> None:
    program = "import sys; sys.path[:0] = ['tests']; from planted.improv import improvise; "
    program += "print(improvise(7, 40).scene.history.digest)"
    found = [
        subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, env={"PYTHONHASHSEED": seed, "PATH": "/usr/bin"},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert found[0] == found[1]
    assert len(found[0].strip()) == 64


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("not json", "line 2: not JSON"),
        ("[1]", "line 2: not an object"),
        ('{"t":"1","src":"a","kind":"crash"}', "line 2: t: '1', src: 'a', kind: 'crash'; needs an integer"),
        ('{"t":1,"src":"a","kind":"nonsense"}', "line 2 (nonsense): kind: 'nonsense' is not one of header, floor"),
        ('{"t":1,"src":"a","kind":"crash"}', "line 2 (crash): coord: missing; a crash line has a string"),
        ('{"t":1,"src":"a","kind":"crash","coord":7}', "line 2 (crash): coord: 7 is not a string"),
        (
            '{"t":1,"src":"a","kind":"crash","coord":"c1","speed":3}',
            "line 2 (crash): speed: a crash line has no such field (it has coord, why); prefix your own with x_",
        ),
        ('{"t":-1,"src":"a","kind":"crash","coord":"c1"}', "line 2: t: -1 after 0"),
        (HEADER, "line 2: the first line, and no other, is the header"),
        (
            '{"t":1,"src":"s","kind":"commit","coord":"c1","epoch":1,"outcome":"maybe"}',
            "line 2 (commit): outcome: 'maybe' is not one of ok, lost, late, refused",
        ),
        (
            '{"t":1,"src":"c","kind":"step","coord":"c1","seq":1,"units":[{"zone":"A"}]}',
            "line 2 (step): units: [{'zone': 'A'}] is not a list of objects with zone, slot, state, agent, token",
        ),
    ],
)
def test_a_wrong_line_is_refused_with_its_number_and_what_would_be_right(row: str, says: str) -> None:
    assert any(problem.startswith(says) for problem in problems(row)), problems(row)


def test_a_file_without_a_header_or_of_another_version_is_refused() -> None:
    with pytest.raises(HistoryError, match="empty"):
        parse([])
    with pytest.raises(HistoryError, match="the first line, and no other"):
        parse(['{"t":1,"src":"a","kind":"crash","coord":"c1"}'])
    with pytest.raises(HistoryError, match="this reader knows 1"):
        parse([HEADER.replace(f'"version": {VERSION}', '"version": 99')])


def test_a_writer_may_add_fields_of_its_own_and_nothing_else() -> None:
    history = History()
    history.add(1, "c1", "crash", coord="c1", x_await_point="commit")
    with pytest.raises(HistoryError, match="no such field"):
        history.add(1, "c1", "crash", coord="c1", await_point="commit")
    with pytest.raises(HistoryError, match="never runs backwards"):
        history.add(0, "c1", "crash", coord="c1")
    assert len(history) == 2


def test_only_the_first_of_many_problems_are_shown() -> None:
    with pytest.raises(HistoryError, match=r"\.\.\. and 50 more"):
        parse([HEADER, *["nonsense"] * 100])


@given(st.dictionaries(st.text(max_size=8), st.integers() | st.text(max_size=5) | st.none() | st.lists(st.integers())))
def test_no_fields_make_the_schema_raise(fields: dict[str, Any]) -> None:
    for kind in SCHEMA:
        problems_of(Line(0, "x", kind, fields))


@given(st.lists(st.text(max_size=40), max_size=5))
def test_no_file_makes_the_reader_raise_anything_but_a_history_error(rows: list[str]) -> None:
    with pytest.raises(HistoryError):
        parse(rows)


def test_the_page_on_the_format_names_every_kind_and_every_field() -> None:
    page = (ROOT / "docs" / "history.md").read_text("utf-8")
    for kind, spec in SCHEMA.items():
        assert f"`{kind}`" in page, kind
        for name in (*spec.must, *spec.may):
            assert f"`{name}`" in page, f"{kind}: {name}"

"""`python -m chaos.check`: a table or JSON, and an exit status that a script can rely on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from planted.hand import Hand, unit

from chaos.check import main


def saved(tmp_path: Path, name: str, hand: Hand) -> str:
    path = tmp_path / name
    hand.history.save(path)
    return str(path)


@pytest.fixture
def legal(tmp_path: Path) -> str:
    return saved(tmp_path, "legal.jsonl", Hand().confirmed().grant("V1", 1, "A"))


@pytest.fixture
def illegal(tmp_path: Path) -> str:
    return saved(tmp_path, "illegal.jsonl", Hand().confirmed().grant("V1", 1, "A").commit(unit("A", "FREE", "V1", 1)))


def test_histories_that_keep_every_promise_exit_with_zero(legal: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([legal, "-o", "json"]) == 0
    (verdict,) = json.loads(capsys.readouterr().out)
    assert verdict["violations"] == []
    assert verdict["lines"] == 9
    assert set(verdict["took_ms"]) == {"I1", "I2", "I3", "I4", "I5", "I6", "I9"}


def test_a_violation_exits_with_one_and_tells_its_story(
    legal: str, illegal: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([legal, illegal, "-o", "table"]) == 1
    out = capsys.readouterr().out
    assert "illegal.jsonl" in out
    assert "becomes FREE without proof that it is empty" in out
    assert "granted reaches V1" in out


def test_only_the_named_promises_are_checked(illegal: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([illegal, "--only", "I3", "--only", "I4"]) == 0
    (verdict,) = json.loads(capsys.readouterr().out)
    assert sorted(verdict["took_ms"]) == ["I3", "I4"]


def test_a_file_that_is_no_history_exits_with_two_and_says_what_to_do(
    tmp_path: Path, legal: str, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text("{}\n")
    assert main([str(broken), legal]) == 2
    assert "line 1" in capsys.readouterr().err
    assert main([str(tmp_path / "absent.jsonl")]) == 2
    assert "docs/history.md" in capsys.readouterr().err

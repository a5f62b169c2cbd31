"""The stories: each takes the course that is written down, keeps every promise, and says so when it does not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from chaos.stories.__main__ import main
from chaos.stories.play import FOLDER, Player, StoryError, play

STORIES = sorted(FOLDER.glob("*.story"))
PAGE = Path(__file__).resolve().parents[2] / "docs" / "history.md"


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_a_story_takes_the_course_that_is_written_down(path: Path) -> None:
    written = path.read_text("utf-8")
    course = play(written, path.name)
    assert course.text == written, f"if that is what should happen: python -m chaos.stories --rewrite {path}"
    assert course.scene is not None
    assert course.scene.verdict() == []


def test_the_canonical_scenes_are_there() -> None:
    assert {path.stem for path in STORIES} >= {
        "arm_and_agv",
        "overstay",
        "radio_gap",
        "killed_gateway",
        "restart_in_a_stop",
        "swap_in_an_aisle",
        "ring_of_four",
        "parked_in_a_corridor",
    }


def test_a_course_that_changed_is_shown_and_can_be_written_down(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    story = tmp_path / "s.story"
    shutil.copy(FOLDER / "overstay.story", story)
    written = story.read_text("utf-8")
    story.write_text(written.replace("AGV_07 enters Z_32", "AGV_07 enters Z_99"), "utf-8")
    assert main([str(story)]) == 1
    out = capsys.readouterr().out
    assert "AGV_07 enters Z_99" in out
    assert "--rewrite" in out
    assert main([str(story), "--rewrite"]) == 0
    assert story.read_text("utf-8") == written
    assert main([str(story), "--history", str(tmp_path / "h.jsonl")]) == 0
    assert (tmp_path / "h.jsonl").stat().st_size > 1_000


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("> hello V1", "s:1: > hello V1: there is no floor yet"),
        ("> floor A\n> juggle V1", "s:2: > juggle V1: 'juggle' is no verb; there are abandon, acknowledge, ask"),
        ("> floor A\n> hello V1\n> release V1", "s:3: > release V1: V1 holds no live grant"),
        ("> floor A-B", "s:1: > floor A-B: floor: 'A-B' is no zone"),
        ("> floor A\n> go V9", "s:2: > go V9: V9 has not said hello"),
        ("> floor A\n>", "s:2: >: nothing to do"),
    ],
)
def test_a_line_that_cannot_be_played_is_named(text: str, says: str) -> None:
    with pytest.raises(StoryError) as raised:
        play(text, "s")
    assert str(raised.value).startswith(says)


def test_a_story_that_cannot_be_played_exits_with_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    story = tmp_path / "s.story"
    story.write_text("> hello V1\n")
    assert main([str(story)]) == 2
    assert "docs/history.md" in capsys.readouterr().err


def test_the_page_lists_every_verb() -> None:
    player = Player()
    page = PAGE.read_text("utf-8")
    for verb in (*player._verbs, *player._simple):
        assert f"`{verb}" in page, verb

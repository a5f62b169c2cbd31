"""`python -m chaos.stories [--rewrite] [FILE...]`: play the stories, and show or write down what has changed."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path

from chaos.stories.play import FOLDER, StoryError, play


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m chaos.stories", description="Play the stories.")
    parser.add_argument("files", nargs="*", metavar="FILE", type=Path, help="stories; all of chaos/stories by default")
    parser.add_argument("--rewrite", action="store_true", help="write the new course into the files")
    parser.add_argument("--history", metavar="FILE", type=Path, help="keep the (last) story's history in this file")
    options = parser.parse_args(argv)
    status = 0
    for path in options.files or sorted(FOLDER.glob("*.story")):
        try:
            before = path.read_text("utf-8")
            course = play(before, str(path))
        except (StoryError, OSError) as error:
            print(f"{error}\nThe verbs are listed in docs/history.md.", file=sys.stderr)
            status = 2
            continue
        if course.scene is not None and options.history is not None:
            course.scene.history.save(options.history)
        if course.text == before:
            print(f"{path.name}: as written")
        elif options.rewrite:
            path.write_text(course.text, "utf-8")
            print(f"{path.name}: rewritten")
        else:
            print(f"{path.name}: takes another course; --rewrite writes it down")
            rows = difflib.unified_diff(before.splitlines(), course.text.splitlines(), "written", "played", lineterm="")
            print("\n".join(rows))
            status = max(status, 1)
    return status


if __name__ == "__main__":
    sys.exit(main())

"""What is wrong with a floor, said so that its author can mend it.

Rule owned here: every problem names the field, its value, what is wrong and what to do, and all problems of one reading
are reported together. Never imports anything of zonelock.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

MAX_PROBLEMS_SHOWN = 40
MAX_VALUE_CHARS = 60


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to mend. `line` counts from 1 in the source text; 0 when it has no place there."""

    field: str
    value: str
    message: str
    remedy: str
    line: int = 0

    def __str__(self) -> str:
        place = f"line {self.line}: " if self.line else ""
        value = f" = {self.value}" if self.value else ""
        return f"{place}{self.field}{value}: {self.message}. {self.remedy}"


class FloorError(ValueError):
    """A floor, map, layout or scenario that cannot be used. `problems` holds every one of them, in source order."""

    def __init__(self, source: str, problems: Iterable[Problem]) -> None:
        self.source = source
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__(self._text())

    def _text(self) -> str:
        count = len(self.problems)
        lines = [f"{self.source}: {count} problem{'' if count == 1 else 's'}"]
        lines += [f"  {problem}" for problem in self.problems[:MAX_PROBLEMS_SHOWN]]
        if count > MAX_PROBLEMS_SHOWN:
            lines.append(f"  ... and {count - MAX_PROBLEMS_SHOWN} more; mend these first")
        return "\n".join(lines)


def shown(value: object) -> str:
    """`value` as a problem shows it: one line, cut to a readable length."""
    text = " ".join(repr(value).split())
    return text if len(text) <= MAX_VALUE_CHARS else text[: MAX_VALUE_CHARS - 3] + "..."

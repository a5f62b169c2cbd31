"""Collects hand-made histories and judges them: the illegal must be refused in words, the legal accepted by all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from planted.hand import Hand

from chaos.checkers import CHECKERS, check
from chaos.checkers.verdict import STORY_LINES

Made = Callable[[], Hand]


@dataclass
class Cases:
    """Histories of one test module."""

    refused: list[tuple[str, str, Made]] = field(default_factory=list)
    accepted: list[tuple[str, Made]] = field(default_factory=list)

    def illegal(self, invariant: str, says: str) -> Callable[[Made], Made]:
        """The checker of `invariant` must object with words that contain `says`."""

        def register(made: Made) -> Made:
            self.refused.append((invariant, says, made))
            return made

        return register

    def legal(self, invariant: str) -> Callable[[Made], Made]:
        """The history comes near to breaking `invariant`; no checker may object."""

        def register(made: Made) -> Made:
            self.accepted.append((invariant, made))
            return made

        return register

    def of_refused(self) -> pytest.MarkDecorator:
        names = [made.__name__ for _, _, made in self.refused]
        return pytest.mark.parametrize(("invariant", "says", "made"), self.refused, ids=names)

    def of_accepted(self) -> pytest.MarkDecorator:
        made = [made for _, made in self.accepted]
        return pytest.mark.parametrize("made", made, ids=[m.__name__ for m in made])

    def shares(self, invariant: str) -> tuple[int, int]:
        """How many histories are refused, and accepted, for the sake of this invariant."""
        refused = sum(1 for name, _, _ in self.refused if name == invariant)
        return refused, sum(1 for name, _ in self.accepted if name == invariant)


def must_refuse(invariant: str, says: str, made: Made) -> None:
    """Refused in words, at a line of the history, with a story that ends there; twice the same, and nothing changed."""
    lines = made().lines
    before = [line.encode() for line in lines]
    found = CHECKERS[invariant](lines)
    assert found, f"{invariant} saw nothing in {made.__name__}"
    assert any(says in violation.message for violation in found), [v.message for v in found]
    for violation in found:
        assert violation.invariant == invariant
        assert lines[violation.line - 1].number == violation.line
        assert 1 <= len(violation.story) <= STORY_LINES
        assert violation.story[-1].number == violation.line
    assert CHECKERS[invariant](lines) == found
    assert [line.encode() for line in lines] == before


def must_accept(made: Made) -> None:
    found = check(made().lines)
    assert not found, "\n\n".join(str(violation) for violation in found)

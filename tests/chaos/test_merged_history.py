"""Several coordinators' files as one history: a commit stands where the ledger has it, not where it was heard of."""

from __future__ import annotations

from chaos.chronicle import _by_revision
from chaos.history import Line


def commit(t: int, coord: str, epoch: int, revision: int) -> Line:
    return Line(t, coord, "commit", {"coord": coord, "epoch": epoch, "revision": revision})


def takeover(t: int, coord: str, epoch: int, revision: int) -> Line:
    return Line(t, coord, "takeover", {"coord": coord, "epoch": epoch, "revision": revision})


def test_a_commit_that_a_frozen_leader_hears_of_when_it_thaws_stands_before_what_the_next_leader_read() -> None:
    """The next leader writes down the ledger that it read before its take-over; the old commit is in that ledger."""
    lines = [
        takeover(0, "a", 5, 5),
        commit(10, "a", 5, 8),
        commit(90, "b", 20, 20),  # the ledger, as b read it
        takeover(90, "b", 20, 20),
        commit(95, "b", 20, 21),
        commit(300, "a", 5, 9),  # sent at 11, heard of at 300
        commit(310, "b", 20, 22),
    ]
    placed = [(line.kind, line["epoch"], line["revision"], line.t) for line in _by_revision(lines)]
    assert placed == [
        ("takeover", 5, 5, 0),
        ("commit", 5, 8, 10),
        ("commit", 5, 9, 90),
        ("commit", 20, 20, 90),
        ("takeover", 20, 20, 90),
        ("commit", 20, 21, 95),
        ("commit", 20, 22, 310),
    ]

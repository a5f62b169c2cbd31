"""The promises of the design, checked over a recorded history: I1 to I6 and I9.

Each checker is a pure function from the lines of a history to its violations, and knows nothing but those lines. They
accept what they cannot see: a history without commits cannot break I4. `CHECKERS` names them in the order in which
they are best read; `check` runs all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from chaos.checkers.commit_order import commit_order
from chaos.checkers.exclusion import exclusion
from chaos.checkers.fencing import fencing
from chaos.checkers.latched import latched
from chaos.checkers.liveness import liveness
from chaos.checkers.overstay import overstay
from chaos.checkers.vacancy import vacancy
from chaos.checkers.verdict import Violation
from chaos.history import Line

Checker = Callable[[Sequence[Line]], list[Violation]]

CHECKERS: dict[str, Checker] = {
    "I1": exclusion,
    "I2": vacancy,
    "I3": fencing,
    "I4": commit_order,
    "I5": latched,
    "I6": overstay,
    "I9": liveness,
}


def check(lines: Iterable[Line], *, only: Iterable[str] = ()) -> list[Violation]:
    """Every violation, by line. `only` names invariants; empty means all. Raises KeyError for an unknown name."""
    recorded = list(lines)
    names = list(only) or list(CHECKERS)
    found = [violation for name in names for violation in CHECKERS[name](recorded)]
    return sorted(found, key=lambda v: (v.line, v.invariant))


__all__ = [
    "CHECKERS",
    "Violation",
    "check",
    "commit_order",
    "exclusion",
    "fencing",
    "latched",
    "liveness",
    "overstay",
    "vacancy",
]

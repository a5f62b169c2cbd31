"""How many seeds the simulator needs until it sees a planted bug: hunts, each over seeds of its own, and their medians.

A hunt takes one plant through consecutive seeds until something objects. Round r begins at seed r * ROUND_SEEDS: rounds
share nothing. What is known so far lives in a `Ledger` that goes to and from JSON: a hunt may be broken off
after any seed and taken up again. Never decides what counts as caught: `campaign` judges.
"""

from __future__ import annotations

import multiprocessing
import re
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from typing import Any

from chaos.mutations import MUTATIONS, unavailable
from chaos.sim.campaign import Verdict, verdict

ROUND_SEEDS = 10_000
STRETCH = 8
"""Seeds that a worker takes at once: it stops at the first that is caught."""


@dataclass(slots=True)
class Hunt:
    """One round. `caught` is the seed that showed the bug, None while none has."""

    first: int
    tried: int = 0
    caught: int | None = None
    invariant: str = ""
    judge: str = ""
    violation: str = ""

    def take(self, found: Verdict) -> None:
        self.tried += 1
        if found.violations:
            self.caught, self.judge, self.violation = found.seed, found.judge, found.violations[0]
            named = re.search(r"I\d", self.violation)
            self.invariant = named.group() if named else "-"


@dataclass(slots=True)
class Ledger:
    """Every hunt so far: plant -> its rounds."""

    hunts: dict[str, list[Hunt]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {"hunts": {name: [asdict(hunt) for hunt in rounds] for name, rounds in sorted(self.hunts.items())}}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Ledger:
        return cls({name: [Hunt(**hunt) for hunt in rounds] for name, rounds in value["hunts"].items()})

    def rounds(self, name: str, count: int) -> list[Hunt]:
        """The first so many rounds of a plant, new ones included."""
        known = self.hunts.setdefault(name, [])
        known.extend(Hunt(number * ROUND_SEEDS) for number in range(len(known), count))
        return known[:count]


@dataclass(frozen=True, slots=True)
class Row:
    """What the hunts of one plant came to. `seeds` has None for a round in which it was not caught (yet)."""

    name: str
    seeds: tuple[int | None, ...]
    tried: int
    invariants: tuple[str, ...]
    judges: tuple[str, ...]
    unavailable: str = ""

    @property
    def median(self) -> float | None:
        """Over all rounds; None unless each of them caught it."""
        known = [s for s in self.seeds if s is not None]
        return statistics.median(known) if known and len(known) == len(self.seeds) else None

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"median": self.median}


def row(ledger: Ledger, name: str) -> Row:
    rounds = ledger.hunts.get(name, [])
    caught = [hunt for hunt in rounds if hunt.caught is not None]
    return Row(
        name,
        tuple(hunt.tried if hunt.caught is not None else None for hunt in rounds),
        sum(hunt.tried for hunt in rounds),
        tuple(sorted({hunt.invariant for hunt in caught})),
        tuple(sorted({hunt.judge for hunt in caught})),
        unavailable(name),
    )


def stretch(name: str, first: int, count: int) -> list[Verdict]:
    """The next seeds of one hunt, up to the first that is caught."""
    found: list[Verdict] = []
    for seed in range(first, first + count):
        found.append(verdict(seed, name))
        if found[-1].violations:
            break
    return found


def hunt(
    ledger: Ledger,
    names: Sequence[str] = (),
    rounds: int = 1,
    max_seeds: int = 500,
    jobs: int = 1,
    max_seconds: float = 0.0,
    on_news: Callable[[str, Hunt], None] | None = None,
) -> None:
    """Goes on with every hunt that has neither caught its plant nor tried `max_seeds`, the least tried first. Which
    seeds a hunt takes does not depend on `jobs` or on where it was broken off.
    """
    wanted = [n for n in names or sorted(MUTATIONS) if not unavailable(n)]
    open_hunts = [(name, one) for name in wanted for one in ledger.rounds(name, rounds)]
    until = time.monotonic() + max_seconds if max_seconds else None
    busy: dict[Future[list[Verdict]], tuple[str, Hunt]] = {}
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        while True:
            running = [id(one) for _, one in busy.values()]
            ready = [
                (name, one)
                for name, one in open_hunts
                if one.caught is None and one.tried < max_seeds and id(one) not in running
            ]
            ready.sort(key=lambda pair: pair[1].tried)
            for name, one in ready[: jobs - len(busy)] if until is None or time.monotonic() < until else ():
                count = min(STRETCH, max_seeds - one.tried)
                busy[pool.submit(stretch, name, one.first + one.tried, count)] = name, one
            if not busy:
                return
            done, _ = wait(busy, return_when=FIRST_COMPLETED)
            for future in done:
                name, one = busy.pop(future)
                for found in future.result():
                    one.take(found)
                if on_news is not None:
                    on_news(name, one)

"""Many seeds: run them, add them up, keep what failed; and one failing plan, cut down to what still fails.

A seed is judged by the truth beside the ledger, by the core's own invariants after every event, and by the history's
checkers; all three look at the same run. Shrinking only ever removes: faults, agents, the rest of the time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

from chaos.checkers import CHECKERS, check
from chaos.mutations import MUTATIONS, planted, unavailable
from chaos.sim.plan import FaultKind, Plan, plan_of
from chaos.sim.world import Outcome, run

MAX_SHRINK_RUNS = 400
MS_PER_HOUR = 3_600_000

HISTORY_CHECKERS = tuple(name for name in CHECKERS if name != "I1")
"""What is asked of the history besides the truth, which sees every body enter, and the core's own invariants."""


def judged(plan: Plan, checkers: tuple[str, ...] = HISTORY_CHECKERS) -> Outcome:
    """One run with every verdict in it. `checkers` names invariants to look for in the history too."""
    outcome = run(plan)
    if not checkers or outcome.violations:
        return outcome
    hushed = (OLD_COPY, CLEARED, LIE) if _lied(plan) else (OLD_COPY, CLEARED)
    found = [v for v in check(outcome.history, only=checkers) if not any(h in v.message for h in hushed)]
    return replace(outcome, violations=tuple(f"[{v.t} ms] {v.invariant}: {v.message}" for v in found))


OLD_COPY = "and it has not given it back"
"""A copy of a grant that reaches an agent after it gave that grant back entitles it to nothing, and a history does not
show that it is one. That no body moves past its deadline the truth sees by itself."""

CLEARED = "is granted to another session of that name"
"""A clearance and the next grant may share one commit, in which only the grant is left to see."""

LIE = "with its body still inside"
"""What an agent says is its own doing; that nobody believes it is the product's, and the truth looks after that."""


def _lied(plan: Plan) -> bool:
    return any(fault.kind is FaultKind.EARLY_RELEASE for fault in plan.faults)


@dataclass(slots=True)
class Tally:
    """What a campaign came to."""

    seeds: int = 0
    failed: list[Outcome] = field(default_factory=list)
    simulated_ms: int = 0
    took_s: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        self.seeds += 1
        self.simulated_ms += outcome.simulated_ms
        for name, count in outcome.counts.items():
            self.counts[name] = self.counts.get(name, 0) + count
        if outcome.violations:
            self.failed.append(outcome)

    def as_json(self) -> dict[str, object]:
        return {
            "seeds": self.seeds,
            "failed": [
                {"seed": o.plan.seed, "digest": o.digest, "violations": list(o.violations)} for o in self.failed
            ],
            "simulated_hours": round(self.simulated_ms / MS_PER_HOUR, 3),
            "seconds": round(self.took_s, 1),
            "seeds_per_second": round(self.seeds / self.took_s, 2) if self.took_s else 0.0,
            **self.counts,
        }


def campaign(
    seeds: Iterable[int],
    checkers: tuple[str, ...] = HISTORY_CHECKERS,
    on_outcome: Callable[[Outcome], None] | None = None,
    stop_at_failures: int = 0,
) -> Tally:
    """Runs every seed; with `stop_at_failures` no further than so many failures."""
    tally, began = Tally(), time.monotonic()
    for seed in seeds:
        outcome = judged(plan_of(seed), checkers)
        tally.add(outcome)
        if on_outcome is not None:
            on_outcome(outcome)
        if stop_at_failures and len(tally.failed) >= stop_at_failures:
            break
    tally.took_s = time.monotonic() - began
    return tally


# -- planted bugs ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Catch:
    """How long a planted bug stayed unseen. `seeds` is 0 when it was never caught."""

    name: str
    seeds: int
    first_seed: int
    violation: str
    unavailable: str = ""


def plant(name: str | None) -> AbstractContextManager[None]:
    """The product with that bug in it; without a name, as it is."""
    return planted(name) if name else nullcontext()


def hunt(name: str, first_seed: int, max_seeds: int, checkers: tuple[str, ...] = HISTORY_CHECKERS) -> Catch:
    """Seeds until a planted bug is caught."""
    reason = unavailable(name)
    if reason:
        return Catch(name, 0, 0, "", reason)
    with planted(name):
        for tried, seed in enumerate(range(first_seed, first_seed + max_seeds), 1):
            outcome = judged(plan_of(seed), checkers)
            if outcome.violations:
                return Catch(name, tried, seed, outcome.violations[0])
    return Catch(name, 0, 0, "")


def hunts(first_seed: int, max_seeds: int, names: Sequence[str] = ()) -> Iterator[Catch]:
    """Every planted bug in turn."""
    for name in names or sorted(MUTATIONS):
        yield hunt(name, first_seed, max_seeds)


# -- shrinking -------------------------------------------------------------------------------------------------------


def shrink(plan: Plan, fails: Callable[[Plan], bool]) -> Plan:
    """The plan without whatever it does not need in order to fail. Deterministic; at most MAX_SHRINK_RUNS runs."""
    budget = MAX_SHRINK_RUNS

    def still(candidate: Plan) -> bool:
        nonlocal budget
        budget -= 1
        return budget >= 0 and fails(candidate)

    changed = True
    while changed and budget > 0:
        changed = False
        for smaller in _smaller(plan):
            if still(smaller):
                plan, changed = smaller, True
                break
    return plan


def _smaller(plan: Plan) -> Iterator[Plan]:
    """Candidates, the boldest first."""
    count = len(plan.faults)
    size = count // 2
    while size >= 1:
        for start in range(0, count, size):
            yield replace(plan, faults=plan.faults[:start] + plan.faults[start + size :])
        size //= 2
    if len(plan.robots) > 1:
        for name, _, _ in plan.robots:
            yield plan.without_robot(name)
    if plan.coordinators > 1:
        hosts = f"c{plan.coordinators}"
        kept = tuple(f for f in plan.faults if hosts not in (f.target, f.how))
        yield replace(plan, coordinators=plan.coordinators - 1, faults=kept)
    last_ms = max((f.at_ms for f in plan.faults), default=0)
    if plan.safety_ms > last_ms + 10_000:
        yield replace(plan, safety_ms=last_ms + 10_000)


def same_promise(violation: str) -> str:
    """Which promise a violation is about, so that a plan is not shrunk into another failure."""
    return violation.partition("] ")[2].partition(":")[0]

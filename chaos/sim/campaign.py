"""Many seeds: run them, on several processes, add them up, keep what failed; and cut a failing plan down.

A seed is judged by the truth beside the ledger, by the core's own invariants after every event, and by the history's
checkers; all three look at the same run. Shrinking only ever removes: faults, agents, the rest of the time.
"""

from __future__ import annotations

import multiprocessing
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import islice

from chaos.checkers import check
from chaos.mutations import planted
from chaos.sim.plan import Plan, plan_of
from chaos.sim.world import Outcome, run

MAX_SHRINK_RUNS = 400
MS_PER_HOUR = 3_600_000

AHEAD = 3
"""Seeds handed to each process in advance."""


def judged(plan: Plan) -> Outcome:
    """One run with every verdict in it."""
    return rejudged(run(plan))


def rejudged(outcome: Outcome) -> Outcome:
    """With what the checkers see in its history, where nothing was seen before."""
    if outcome.violations:
        return outcome
    found = check(outcome.history)
    return replace(outcome, violations=tuple(f"[{v.t} ms] {v.invariant}: {v.message}" for v in found))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is left of a run when its history is dropped: small enough to travel between processes."""

    seed: int
    digest: str
    violations: tuple[str, ...]
    judge: str
    """Who saw the first violation: see JUDGES. Empty when every promise was kept."""
    simulated_ms: int
    counts: dict[str, int]


JUDGES = ("truth", "core", "runtime", "checker")
"""The truth beside the ledger; the core's own invariants; an exception or a runtime that ended; a history's checker."""


def verdict(seed: int, plant: str = "") -> Verdict:
    """One seed, with that bug planted for the length of its run: nothing that a plant remembers reaches the next."""
    with planted(plant) if plant else nullcontext():
        outcome = run(plan_of(seed))
        judge = _judge_of(outcome.violations[0]) if outcome.violations else "checker"
        outcome = rejudged(outcome)
    found = outcome.violations
    return Verdict(seed, outcome.digest, found, judge if found else "", outcome.simulated_ms, outcome.counts)


def _judge_of(violation: str) -> str:
    told = violation.partition("] ")[2]
    if re.match(r"I\d:", told):
        return "truth"
    return "core" if re.match(r"\w+ after \w+: I\d:", told) else "runtime"


def verdicts(seeds: Sequence[int], jobs: int = 1, plant: str = "") -> Iterator[Verdict]:
    """The verdict of each seed, in the order of `seeds` however many processes work at once."""
    if jobs <= 1 or len(seeds) <= 1:
        yield from (verdict(seed, plant) for seed in seeds)
        return
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        waiting: deque[Future[Verdict]] = deque()
        ahead = iter(seeds)
        try:
            waiting.extend(pool.submit(verdict, seed, plant) for seed in islice(ahead, jobs * AHEAD))
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(pool.submit(verdict, seed, plant) for seed in islice(ahead, 1))
        finally:
            pool.shutdown(cancel_futures=True)


@dataclass(slots=True)
class Tally:
    """What a campaign came to."""

    seeds: int = 0
    failed: list[Verdict] = field(default_factory=list)
    simulated_ms: int = 0
    took_s: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, one: Verdict) -> None:
        self.seeds += 1
        self.simulated_ms += one.simulated_ms
        for name, count in one.counts.items():
            self.counts[name] = self.counts.get(name, 0) + count
        if one.violations:
            self.failed.append(one)

    def as_json(self) -> dict[str, object]:
        return {
            "seeds": self.seeds,
            "failed": [{"seed": v.seed, "digest": v.digest, "violations": list(v.violations)} for v in self.failed],
            "simulated_hours": round(self.simulated_ms / MS_PER_HOUR, 3),
            "seconds": round(self.took_s, 1),
            "seeds_per_second": round(self.seeds / self.took_s, 2) if self.took_s else 0.0,
            **self.counts,
        }


def campaign(
    seeds: Sequence[int],
    jobs: int = 1,
    on_verdict: Callable[[Verdict], None] | None = None,
    plant: str = "",
    max_seconds: float = 0.0,
) -> Tally:
    """Runs every seed; with `max_seconds` begins none after that many."""
    tally, began = Tally(), time.monotonic()
    for one in verdicts(seeds, jobs, plant):
        tally.add(one)
        if on_verdict is not None:
            on_verdict(one)
        if max_seconds and time.monotonic() - began > max_seconds:
            break
    tally.took_s = time.monotonic() - began
    return tally


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

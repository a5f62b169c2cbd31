"""`python -m chaos.sim`: run seeds, replay one, cut a failing one down.

Exit status 0: every promise was kept; 1: not; 2: wrong arguments.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from chaos.mutations import MUTATIONS, planted
from chaos.sim.campaign import Tally, Verdict, campaign, judged, same_promise, shrink
from chaos.sim.plan import Plan, plan_of
from chaos.sim.story import plan_in_words, story
from chaos.sim.world import Outcome

MAX_STORIES = 3
PROGRESS_EVERY = 50


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.mutate is not None and options.mutate not in MUTATIONS:
        print(f"--mutate {options.mutate}: not one of {', '.join(sorted(MUTATIONS))}", file=sys.stderr)
        return 2
    if options.seed is None:
        return _many(options)
    with planted(options.mutate) if options.mutate else nullcontext():
        return _one(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m chaos.sim", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seeds", type=_count, default=300, help="how many seeds to run (default 300)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--seed", type=int, help="run this one seed and tell what happened")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--history", type=Path, help="with --seed: save the history to this file")
    parser.add_argument("--no-shrink", action="store_true", help="tell a failing seed as it is")
    parser.add_argument("--mutate", metavar="NAME", help="plant this bug first (see chaos/mutations)")
    parser.add_argument("--jobs", type=_count, default=os.cpu_count() or 1, help="processes (default: one a core)")
    parser.add_argument("--max-seconds", type=float, default=0.0, help="begin no further seed after so long")
    return parser


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not 1 or more")
    return value


def _many(options: argparse.Namespace) -> int:
    seeds = range(options.first, options.first + options.seeds)

    def progress(one: Verdict) -> None:
        done = one.seed - options.first + 1
        if one.violations:
            print(f"seed {one.seed}: {one.violations[0]}", file=sys.stderr, flush=True)
        elif done % PROGRESS_EVERY == 0 and sys.stderr.isatty():
            print(f"{done} seeds", file=sys.stderr, flush=True)

    plant = options.mutate or ""
    tally = campaign(seeds, options.jobs, progress, plant, options.max_seconds)
    if options.json:
        print(json.dumps(tally.as_json()))
    else:
        print(_summary(tally))
        for one in tally.failed[:MAX_STORIES]:
            with planted(plant) if plant else nullcontext():
                print(f"\n{_told(judged(plan_of(one.seed)), cut=not options.no_shrink)}")
            print(f"\nAgain: python -m chaos.sim --seed {one.seed}{f' --mutate {plant}' if plant else ''}")
    return 1 if tally.failed else 0


def _one(options: argparse.Namespace) -> int:
    outcome = judged(plan_of(options.seed))
    if options.history is not None:
        outcome.history.save(options.history)
    if options.json:
        counts = {"simulated_ms": outcome.simulated_ms, **outcome.counts}
        print(json.dumps({"seed": options.seed, "digest": outcome.digest, "violations": outcome.violations, **counts}))
    elif outcome.violations:
        print(_told(outcome, cut=not options.no_shrink))
    else:
        print(plan_in_words(outcome.plan))
        print("\nEvery promise was kept.")
    if not options.json:
        print(f"digest {outcome.digest}")
    return 1 if outcome.violations else 0


def _told(outcome: Outcome, *, cut: bool) -> str:
    if not cut:
        return story(outcome)
    promise = same_promise(outcome.violations[0])

    def fails(plan: Plan) -> bool:
        found = judged(plan).violations
        return bool(found) and same_promise(found[0]) == promise

    return story(judged(shrink(outcome.plan, fails)))


def _summary(tally: Tally) -> str:
    told = tally.as_json()
    told.pop("failed")
    width = max(len(name) for name in told)
    rows = [f"{name.replace('_', ' '):<{width}}  {value:,}" for name, value in told.items()]
    verdict = "every promise was kept" if not tally.failed else f"{len(tally.failed)} seeds broke a promise"
    return "\n".join([*rows, verdict])


if __name__ == "__main__":
    sys.exit(main())

"""`python -m chaos.mutations hunt`: how many seeds of the simulator each planted bug needs; `list` names the bugs.

Exit status 0: every bug that was hunted is caught; 1: some are not (yet); 2: wrong arguments.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from chaos.mutations import MUTATIONS, unavailable
from chaos.sim.hunt import Hunt, Ledger, Row, hunt, row


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.command == "list":
        for name, mutation in sorted(MUTATIONS.items()):
            print(f"{name:<32} {unavailable(name) or mutation.description}")
        return 0
    unknown = sorted(set(options.plant) - MUTATIONS.keys())
    if unknown:
        print(f"--plant {unknown[0]}: not one of {', '.join(sorted(MUTATIONS))}", file=sys.stderr)
        return 2
    return _hunt(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m chaos.mutations", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="name the planted bugs")
    hunting = commands.add_parser("hunt", help="plant bugs and count the seeds until each is caught")
    hunting.add_argument("--plant", action="append", default=[], metavar="NAME", help="only this one; may be repeated")
    hunting.add_argument("--rounds", type=int, default=1, help="hunts for each bug, on seeds of their own (default 1)")
    hunting.add_argument("--max", type=int, default=500, help="seeds after which a round gives up (default 500)")
    hunting.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    hunting.add_argument("--max-seconds", type=float, default=0.0, help="begin nothing more after so long")
    hunting.add_argument("--state", type=Path, help="a JSON file: go on from what is in it, and keep it up to date")
    hunting.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _hunt(options: argparse.Namespace) -> int:
    known: Path | None = options.state
    ledger = Ledger()
    if known is not None and known.exists():
        ledger = Ledger.from_json(json.loads(known.read_text("utf-8")))

    def news(name: str, one: Hunt) -> None:
        if known is not None:
            beside = known.with_suffix(".new")
            beside.write_text(json.dumps(ledger.as_json(), indent=1) + "\n", "utf-8")
            beside.replace(known)
        if one.caught is not None and not options.json:
            print(f"{name}: seed {one.caught}, after {one.tried}: {one.violation[:140]}", file=sys.stderr, flush=True)

    hunt(ledger, options.plant, options.rounds, options.max, options.jobs, options.max_seconds, news)
    rows = [row(ledger, name) for name in options.plant or sorted(MUTATIONS)]
    escaped = [r.name for r in rows if not r.unavailable and (not r.seeds or None in r.seeds)]
    if options.json:
        print(json.dumps({"plants": [r.as_json() for r in rows], "not_caught": escaped}))
    else:
        print(table(rows))
        print(f"not caught in every round: {', '.join(escaped)}" if escaped else "every one is caught")
    return 1 if escaped else 0


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    said = ["| plant | seeds until caught, per round | median | broke | seen by |", "|---|---|---|---|---|"]
    for one in rows:
        seeds = ", ".join("-" if s is None else str(s) for s in one.seeds) or one.unavailable or "-"
        median = "-" if one.median is None else f"{one.median:g}"
        said.append(f"| `{one.name}` | {seeds} | {median} | {', '.join(one.invariants)} | {', '.join(one.judges)} |")
    return "\n".join(said)


if __name__ == "__main__":
    sys.exit(main())

"""`python -m chaos.check FILE...`: do recorded histories keep the promises?

A table on a terminal, JSON elsewhere or with `-o json`. Exit status 0: all kept; 1: a violation; 2: a file that is no
history.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from chaos.checkers import CHECKERS, Violation
from chaos.chronicle import merge
from chaos.history import HistoryError, Line, read


@dataclass(frozen=True, slots=True)
class Verdict:
    """One file's outcome. `problem` is why it is no history."""

    path: str
    lines: int
    span_ms: int
    kinds: dict[str, int]
    took_ms: dict[str, int]
    violations: tuple[Violation, ...]
    problem: str = ""

    def as_json(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "lines": self.lines,
            "span_ms": self.span_ms,
            "kinds": self.kinds,
            "took_ms": self.took_ms,
            "violations": [v.as_json() for v in self.violations],
            "problem": self.problem,
        }


def judge(path: str, only: Sequence[str] = (), merged: Sequence[str] = ()) -> Verdict:
    """Reads and checks one file, or several of one run as one history that is called `path`."""
    try:
        lines = merge([Path(each) for each in merged]) if merged else read(path)
    except (HistoryError, OSError, UnicodeDecodeError) as error:
        return Verdict(path, 0, 0, {}, {}, (), str(error))
    violations: list[Violation] = []
    took: dict[str, int] = {}
    for name in only or CHECKERS:
        began = time.monotonic_ns()
        violations.extend(CHECKERS[name](lines))
        took[name] = (time.monotonic_ns() - began) // 1_000_000
    violations.sort(key=lambda v: (v.line, v.invariant))
    return Verdict(path, len(lines), _span(lines), dict(sorted(_kinds(lines).items())), took, tuple(violations))


def _span(lines: Sequence[Line]) -> int:
    return lines[-1].t - lines[1].t if len(lines) > 1 else 0  # the header has no time of its own


def _kinds(lines: Sequence[Line]) -> Counter[str]:
    return Counter(line.kind for line in lines)


def _table(verdicts: Sequence[Verdict], names: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("history")
    table.add_column("lines", justify="right")
    table.add_column("seconds", justify="right")
    for name in names:
        table.add_column(name, justify="right")
    for verdict in verdicts:
        counts = Counter(v.invariant for v in verdict.violations)
        if verdict.problem:
            cells = [Text("-")] * len(names)
        else:
            cells = [Text(str(counts[n]), "bold red") if counts[n] else Text("ok", "green") for n in names]
        table.add_row(verdict.path, str(verdict.lines), f"{verdict.span_ms / 1000:.1f}", *cells)
    return table


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m chaos.check", description="Check recorded histories.")
    parser.add_argument("files", nargs="+", metavar="FILE", help="a recorded history, one JSON object a line")
    parser.add_argument("-o", "--output", choices=("auto", "table", "json"), default="auto")
    parser.add_argument(
        "--only", action="append", default=[], choices=list(CHECKERS), help="check this promise only (repeatable)"
    )
    parser.add_argument("--merge", action="store_true", help="the files are of one live run: one history")
    options = parser.parse_args(argv)
    if options.merge:
        verdicts = [judge(" + ".join(options.files), options.only, options.files)]
    else:
        verdicts = [judge(path, options.only) for path in options.files]
    if options.output == "json" or (options.output == "auto" and not sys.stdout.isatty()):
        print(json.dumps([v.as_json() for v in verdicts], indent=2))
    else:
        console = Console()
        console.print(_table(verdicts, options.only or list(CHECKERS)))
        for verdict in verdicts:
            for violation in verdict.violations:
                console.print(Text(f"\n{verdict.path}: {violation}"), soft_wrap=True)
    for verdict in verdicts:
        if verdict.problem:
            print(
                f"{verdict.problem}\nGive a file that chaos.history wrote; docs/history.md says how.", file=sys.stderr
            )
    if any(v.problem for v in verdicts):
        return 2
    return 1 if any(v.violations for v in verdicts) else 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m benchmarks [NAME...] [--json] [--rounds N]`: runs the named benchmarks (all without names)."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import acquire, safe_step
from benchmarks.report import Report, machine, versions

BENCHMARKS: dict[str, Callable[[int], Coroutine[Any, Any, Report]]] = {
    "acquire": acquire.run,
    "safe_step": safe_step.run,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(BENCHMARKS)}")
    parser.add_argument("--json", action="store_true", help="one JSON object a benchmark")
    parser.add_argument("--rounds", type=int, default=5, help="figures are medians over this many rounds (default 5)")
    chosen = parser.parse_args()
    unknown = [n for n in chosen.names if n not in BENCHMARKS]
    if unknown or chosen.rounds < 1:
        what = f"NAME = {unknown[0]!r}: not one of {', '.join(BENCHMARKS)}" if unknown else "--rounds: use 1 or more"
        parser.error(what)
    for name in chosen.names or BENCHMARKS:
        report = asyncio.run(BENCHMARKS[name](chosen.rounds))
        if chosen.json:
            print(json.dumps({"benchmark": name, "machine": machine(), "versions": versions(), **report.as_json()}))
        else:
            show(name, report)
    return 0


def show(name: str, report: Report) -> None:
    console = Console()
    for title, rows in (("figures", report.figures), ("ratios", report.ratios)):
        table = Table(title=f"{name}: {title} (medians of {report.rounds} rounds)", title_justify="left")
        table.add_column("what")
        table.add_column("value", justify="right")
        for key, value in rows.items():
            table.add_row(key, f"{value:,.3f}" if value < 100 else f"{value:,.0f}")
        console.print(table)


if __name__ == "__main__":
    sys.exit(main())

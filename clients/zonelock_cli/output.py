"""How commands speak: tables to people, JSON to machines, progress to neither.

Rules owned: standard output carries only the answer; with JSON it is exactly one document on one line (streams: one a
line). Progress goes to standard error, and only once something took longer than PATIENCE_S. Rich is imported when a
table is drawn.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

import click

if TYPE_CHECKING:
    from rich.console import Console

PATIENCE_S = 2.0
"""Work that takes longer than this says that it is still at it."""

PIPE_COLUMNS = 160
"""The width of a table that does not go to a terminal."""

STATE_STYLES = {
    "FREE": "green",
    "HELD": "cyan",
    "BLOCKED": "yellow",
    "STOPPED": "bold red",
    "UNKNOWN": "magenta",
    "CLOSED": "blue",
    "CONNECTED": "green",
    "SILENT": "yellow",
    "GONE": "red",
    "WAITING": "yellow",
    "HOLDING": "cyan",
    "IDLE": "green",
}


@dataclass(frozen=True, slots=True)
class View:
    """Where and how one command answers. `stream` None: standard output, whatever that is when something is said."""

    json: bool
    stream: TextIO | None = None

    def document(self, data: Any) -> None:
        """One JSON document on one line, flushed so that a reader of a stream sees it at once."""
        click.echo(json.dumps(data, ensure_ascii=False), file=self.stream)

    def say(self, text: str = "") -> None:
        """A line for people."""
        self.console().print(text, highlight=False, soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()) -> None:
        """A plain table. `right` names the columns of numbers. Cells may carry rich markup; escape what is not ours."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column, justify="right" if column in right else "left", overflow="fold")
        for row in rows:
            table.add_row(*row)
        self.console().print(table)

    def block(self, rows: Sequence[tuple[str, str]]) -> None:
        """An aligned block of names and values."""
        width = max(len(name) for name, _ in rows)
        for name, value in rows:
            self.say(f"[bold]{name:<{width}}[/bold]  {value}")

    def console(self) -> Console:
        from rich.console import Console

        stream = self.stream or sys.stdout
        return Console(file=stream, width=None if stream.isatty() else PIPE_COLUMNS, highlight=False, emoji=False)


def state(name: str) -> str:
    """A state's name in its colour."""
    style = STATE_STYLES.get(name)
    return f"[{style}]{name}[/{style}]" if style else name


def duration(ms: int) -> str:
    """Milliseconds as people read them: 850 ms, 12.3 s, 4 min 05 s, 2 h 10 min; the sign is kept."""
    sign, span = ("-" if ms < 0 else ""), abs(ms)
    if span < 1_000:
        return f"{sign}{span} ms"
    if span < 60_000:
        return f"{sign}{span // 1_000}.{span % 1_000 // 100} s"
    if span < 3_600_000:
        return f"{sign}{span // 60_000} min {span % 60_000 // 1_000:02d} s"
    return f"{sign}{span // 3_600_000} h {span % 3_600_000 // 60_000:02d} min"


def since(ms: int) -> str:
    """ " since 3.0 s", or nothing where the coordinator does not say (0)."""
    return f" since {duration(ms)}" if ms > 0 else ""


def doing(agent: Mapping[str, Any]) -> str:
    """What an agent is doing, in a clause: its explanation without its name and without what would resolve it."""
    text = str(agent["explanation"] or agent["activity"])
    return text.removeprefix(f"{agent['agent_id']} ").partition(";")[0]


@contextmanager
def progress(doing: str) -> Iterator[None]:
    """Says `doing` on standard error once it has lasted PATIENCE_S: a spinner on a terminal, one line elsewhere."""
    with spinner_after(doing, PATIENCE_S):
        yield


@contextmanager
def spinner_after(doing: str, delay_s: float) -> Iterator[None]:
    shown: list[Any] = []
    lock = threading.Lock()
    over = False

    def begin() -> None:
        with lock:
            if over:
                return
            if not sys.stderr.isatty():
                print(f"{doing} ...", file=sys.stderr, flush=True)
                return
            from rich.console import Console

            status = Console(stderr=True).status(f"{doing} ...")
            status.start()
            shown.append(status)

    timer = threading.Timer(delay_s, begin)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        with lock:
            over = True
            for status in shown:
                status.stop()

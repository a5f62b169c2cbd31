"""What a command raises when it cannot do its work: an exit code, what happened, and what to try.

Rule owned: no failure leaves without a remedy. On a terminal it is two lines on standard error; with `-o json` one JSON
object there, so that standard output stays what the command's documented shape says. Imports only click and the
standard library at load.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any

import click

from zonelock_cli.exits import ExitCode

NEAREST_MAX = 3
"""How many near misses an unknown name is answered with."""


class Failure(click.ClickException):
    """Ends the command with `code`. `reason` is a name that `zonelock errors` explains, where there is one."""

    def __init__(
        self,
        code: ExitCode,
        message: str,
        remedy: str,
        *,
        reason: str = "",
        details: Mapping[str, str] | None = None,
        problems: Sequence[str] = (),
    ) -> None:
        super().__init__(message)
        self.exit_code = int(code)  # type: ignore[misc]  # click reads it off the instance; its stub says class
        self.remedy = remedy
        self.reason = reason
        self.details = dict(sorted((details or {}).items()))
        self.problems = tuple(problems)
        self.as_json = False

    def document(self) -> dict[str, Any]:
        """The JSON shape of every failure, documented in docs/cli.md."""
        return {
            "error": {
                "exit": self.exit_code,
                "reason": self.reason,
                "message": self.message,
                "remedy": self.remedy,
                "problems": list(self.problems),
                "details": self.details,
            }
        }

    def show(self, file: IO[Any] | None = None) -> None:
        if self.as_json:
            click.echo(json.dumps(self.document()), file=file, err=file is None)
            return
        named = f" [{self.reason}]" if self.reason else ""
        click.secho("error: ", file=file, err=file is None, nl=False, fg="red", bold=True)
        click.echo(self.message + named, file=file, err=file is None)
        for problem in self.problems:
            click.echo(f"  - {problem}", file=file, err=file is None)
        click.secho("try:   ", file=file, err=file is None, nl=False, fg="cyan")
        click.echo(self.remedy, file=file, err=file is None)


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """The names most like `name`, best first; blind to case."""
    folded = {k.casefold(): k for k in sorted(known)}
    close = difflib.get_close_matches(name.casefold(), list(folded), n=NEAREST_MAX, cutoff=0.5)
    return [folded[c] for c in close]


def unknown(what: str, name: str, known: Iterable[str], listing: str) -> Failure:
    """No `what` is called `name`; `listing` is the command that shows those there are."""
    names = sorted(known)
    close = nearest(name, names)
    if close:
        remedy = f"Did you mean {' or '.join(close)}? `{listing}` lists all {len(names)}."
    elif names:
        remedy = f"`{listing}` lists the {len(names)} there are."
    else:
        remedy = f"There is none yet; `{listing}` will list them."
    return Failure(ExitCode.REFUSED, f"unknown {what} {name!r}", remedy)


def floor_failure(error: Any, remedy: str) -> Failure:
    """A floor, map, layout or scenario that does not read (`coordinator.floor.FloorError`): every problem in one go."""
    count = len(error.problems)
    return Failure(
        ExitCode.INVALID,
        f"{error.source}: {count} problem{'' if count == 1 else 's'}",
        remedy,
        reason="INVALID_FLOOR",
        problems=[str(p) for p in error.problems],
    )


def config_failure(
    error: Any, where: str = "`zonelock config show` prints a valid configuration with every default"
) -> Failure:
    """A configuration that cannot be used (a part's ConfigError); `where` a valid one is to be seen."""
    count = len(error.problems)
    return Failure(
        ExitCode.INVALID,
        f"{error.source}: {count} problem{'' if count == 1 else 's'}",
        f"Mend the fields named above; {where}.",
        reason="INVALID_CONFIG",
        problems=list(error.problems),
    )

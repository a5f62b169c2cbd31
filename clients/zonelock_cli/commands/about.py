"""`zonelock version` and `zonelock errors`: what this is, and what its words mean. Needs no coordinator."""

from __future__ import annotations

import click

from zonelock_cli.exits import ExitCode
from zonelock_cli.failures import Failure, nearest
from zonelock_cli.options import output_option
from zonelock_cli.output import View

PROTOCOL = "zonelock.v1"


@click.command()
@output_option
def version(view: View) -> None:
    """Print the version of zonelock, of its protocol and of Python."""
    import platform
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        own = installed("zonelock")
    except PackageNotFoundError:
        own = "unknown (not installed as a package)"
    if view.json:
        view.document({"zonelock": own, "protocol": PROTOCOL, "python": platform.python_version()})
        return
    click.echo(f"zonelock {own}, protocol {PROTOCOL}, Python {platform.python_version()}")


@click.command()
@click.argument("code", required=False)
@output_option
def errors(code: str | None, view: View) -> None:
    """Explain CODE: a refusal, a rejection, a block cause, a zone state, a gRPC code or an exit code.

    Without CODE, list all of them. `zonelock errors 5` explains an exit code, `zonelock errors STOPPED` a rejection.
    """
    from rich.markup import escape

    from zonelock_cli import tables

    rows = tables.entries() if code is None else tables.explain(code)
    if not rows:
        close = nearest(str(code), {r.name for r in tables.entries()})
        hint = f"Did you mean {' or '.join(close)}? " if close else ""
        message = f"no refusal, rejection, state or exit code is called {code!r}"
        raise Failure(ExitCode.REFUSED, message, f"{hint}`zonelock errors` lists them all.")
    if view.json:
        view.document(
            {
                "entries": [
                    {
                        "kind": r.kind,
                        "name": r.name,
                        "meaning": r.meaning,
                        "remedy": r.remedy,
                        "grpc_code": r.grpc_code,
                        "retry_ms": r.retry_ms,
                    }
                    for r in rows
                ]
            }
        )
        return
    if code is None:
        view.table(
            ["KIND", "NAME", "MEANING", "WHAT TO TRY"],
            [[r.kind, r.name, escape(r.meaning), escape(r.remedy)] for r in rows],
        )
        return
    for row in rows:
        view.say(f"[bold]{row.name}[/bold]  {row.kind}" + (f", gRPC {row.grpc_code}" if row.grpc_code else ""))
        view.say(f"  {escape(row.meaning)}")
        view.say(f"  try: {escape(row.remedy)}")
        if row.retry_ms:
            view.say(f"  worth repeating after {row.retry_ms} ms")

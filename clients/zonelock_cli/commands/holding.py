"""`zonelock hold`: a command that runs only while its zones are granted.

Rules owned: the command starts after the grant and ends before the coordinator could think the zones overdue; the zones
are given back only when the command said that it ended well (exit code 0), because a program that failed half-way
cannot say where its machine stands.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Sequence

import click

from zonelock_cli.exits import ExitCode
from zonelock_cli.failures import Failure
from zonelock_cli.options import output_option, server_options
from zonelock_cli.output import View

GRACE_DEFAULT_MS = 500
GRACE_MAX_MS = 800
"""With what it takes to learn of a loss, the whole must stay below one second."""

META_COMMAND = "zonelock.hold.command"


class HoldCommand(click.Command):
    """Takes everything after the first `--` as the command, untouched: its own `--` and options stay its own."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            cut = args.index("--")
            ctx.meta[META_COMMAND] = tuple(args[cut + 1 :])
            args = args[:cut]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "-- COMMAND [ARG]..."]


@click.command(cls=HoldCommand)
@click.argument("zones", nargs=-1, required=True, metavar="ZONE...")
@click.option("--agent", metavar="ID", help="The agent id to hold as; one of its own for each hold when left out.")
@click.option("--kind", metavar="KIND", default="", help="The agent kind, one of the floor's.")
@click.option(
    "--expected-ms",
    type=click.IntRange(min=1),
    help="How long the zones are needed; extended while the command runs. Default: 10,000 or the shortest hold_max_ms.",
)
@click.option("--extend/--no-extend", default=True, show_default=True, help="Ask for more time while the command runs.")
@click.option("--priority", type=click.IntRange(0, 9), default=0, show_default=True, help="Higher goes first.")
@click.option("--no-queue", is_flag=True, help="Exit with 4 at once when the zones are not free.")
@click.option("--timeout-s", type=click.FloatRange(min=0, min_open=True), help="Wait in the queue at most this long.")
@click.option(
    "--grace-ms",
    type=click.IntRange(0, GRACE_MAX_MS),
    default=GRACE_DEFAULT_MS,
    show_default=True,
    help="Time between SIGTERM and SIGKILL for the command's process group when the grant is lost.",
)
@click.option(
    "--release-on-failure",
    is_flag=True,
    help="Give the zones back whatever the command's exit code: its failure does not leave anything inside.",
)
@server_options
@output_option
@click.pass_context
def hold(
    ctx: click.Context,
    zones: tuple[str, ...],
    agent: str | None,
    kind: str,
    expected_ms: int | None,
    extend: bool,
    priority: int,
    no_queue: bool,
    timeout_s: float | None,
    grace_ms: int,
    release_on_failure: bool,
    server: str,
    wait_s: float,
    view: View,
) -> None:
    """Hold ZONEs while COMMAND runs, and end the command within a second when the grant is lost.

    Exit 0 of the command gives the zones back. Any other end leaves them occupied (BLOCKED) until the same agent asks
    again or an operator clears them. Ends with the command's exit code, or 5 when the grant was lost.
    """
    command: Sequence[str] = ctx.meta.get(META_COMMAND, ())
    if not command:
        raise click.UsageError("no command: write `zonelock hold ZONE... -- COMMAND [ARG]...`")
    check_runnable(command[0])
    import asyncio

    from zonelock_cli.holder import Order, run

    order = Order(
        server=server,
        wait_s=wait_s,
        zones=zones,
        command=tuple(command),
        agent_id=agent or f"hold-{socket.gethostname()}-{os.getpid()}",
        kind=kind,
        expected_ms=expected_ms,
        extend=extend,
        priority=priority,
        no_queue=no_queue,
        timeout_s=timeout_s,
        grace_ms=grace_ms,
        release_on_failure=release_on_failure,
    )
    # The command has standard output to itself.
    code = asyncio.run(run(order, View(json=view.json, stream=sys.stderr)))
    ctx.exit(code)


def check_runnable(program: str) -> None:
    """Raises Failure before any zone is asked for when the program cannot be started."""
    if shutil.which(program) is not None:
        return
    if os.path.exists(program):
        raise Failure(
            ExitCode.NOT_RUNNABLE,
            f"{program!r} cannot be run",
            f"Make it executable (chmod +x {program}), or name a program.",
        )
    raise Failure(
        ExitCode.NO_COMMAND, f"there is no program {program!r}", "Check the spelling and $PATH; no zone was asked for."
    )

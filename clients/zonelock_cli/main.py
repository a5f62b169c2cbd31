"""The root of the command line: which commands there are, and where each is found when it is called.

Rule owned: a command's module is imported when that command runs and not before, so that `zonelock version` answers at
once and a broken optional part never breaks the others. Imports only click and the standard library at load.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import click

from zonelock_cli.exits import ExitCode

COMMANDS: dict[str, str] = {
    "demo": "running:demo",
    "serve": "running:serve",
    "sim": "running:sim",
    "cluster": "clusters:cluster",
    "status": "looking:status",
    "zones": "looking:zones",
    "agents": "looking:agents",
    "watch": "watching:watch",
    "explain": "looking:explain",
    "hold": "holding:hold",
    "stop": "safety:stop",
    "reset": "safety:reset",
    "clear": "safety:clear",
    "revoke": "safety:revoke",
    "close": "closing:close",
    "open": "closing:open_",
    "floor": "floors:floor",
    "check": "checking:check",
    "config": "configs:config",
    "edge": "edge:edge",
    "bench": "measuring:bench",
    "errors": "about:errors",
    "version": "about:version",
}
"""Command name to `module:attribute` below `zonelock_cli.commands`, in the order that help lists them."""


class LateGroup(click.Group):
    """A group that imports its commands when they are looked up."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, attribute = place.split(":")
        command = getattr(importlib.import_module(f"zonelock_cli.commands.{module}"), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"zonelock_cli.commands.{place} is not a command")
        return command


@click.group(
    cls=LateGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Every command has --help. `zonelock errors` explains refusals, rejections and exit codes.",
)
def cli() -> None:
    """Leased grid-zone semaphores for AGVs and robot arms that share a factory floor.

    First steps: `zonelock demo` runs a whole small factory; `zonelock status` looks at one.
    """


def main(args: Sequence[str] | None = None) -> None:
    """The `zonelock` entry point. Exits with one of `zonelock_cli.exits.ExitCode`, or as a held command did."""
    try:
        result = cli.main(args=args, prog_name="zonelock", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(int(ExitCode.INTERRUPTED))
    except BrokenPipeError:
        # The reader of our pipe has what it wanted (`zonelock watch | head`). Nothing may be flushed into it at exit.
        sys.stdout = None
        sys.exit(int(ExitCode.OK))
    sys.exit(result if isinstance(result, int) else int(ExitCode.OK))

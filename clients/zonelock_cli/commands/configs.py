"""`zonelock config`: what a coordinator would be told by a config file, defaults included.

Rule owned: what `config show` prints is itself a config file, so that one can start from it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zonelock_cli.failures import config_failure, floor_failure
from zonelock_cli.options import environment_report, output_option
from zonelock_cli.output import View

if TYPE_CHECKING:
    from coordinator.config import CoordinatorConfig

FLOOR_WHEN_UNSAID = "floor.yaml"


@click.group()
def config() -> None:
    """Show or check a coordinator's configuration."""


@config.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@output_option
def show(file: Path | None, view: View) -> None:
    """Print the effective configuration, FILE laid over the defaults; as a config file on a terminal.

    The ZONELOCK_* variables that are set are listed too; they concern the command line, never the coordinator.
    """
    from coordinator.config import CoordinatorConfig, make

    made = load_config(file) if file is not None else make({"floor": FLOOR_WHEN_UNSAID})
    if view.json:
        view.document({"config": effective(made), "environment": environment_report()})
        return
    import yaml

    fields = CoordinatorConfig.model_fields
    for name, value in effective(made).items():
        line = yaml.safe_dump({name: value}, default_flow_style=False).strip()
        click.echo(f"{line:<40}  # {fields[name].description}")
    for name, value in environment_report().items():
        click.echo(f"# environment: {name}={value}")


@config.command("check")
@click.argument("file", type=click.Path(path_type=Path))
@output_option
def check_config(file: Path, view: View) -> None:
    """Check a config file: every field, the times against each other, and the floor file that it names."""
    from coordinator.floor import Floor, FloorError

    made = load_config(file)
    try:
        floor = Floor.load(made.floor)
    except FloorError as error:
        raise floor_failure(error, f"Mend the floor, or name another one in {file} (field floor).") from error
    if view.json:
        view.document({"file": str(file), "valid": True, "config": effective(made), "floor_hash": floor.hash})
        return
    view.say(f"{file} is valid; its floor has {len(floor.zones)} zones. Effective values:")
    width = max(len(name) for name in effective(made))
    for name, value in effective(made).items():
        click.echo(f"  {name:<{width}}  {value}")
    view.say(f"try next: zonelock serve --config {file}")


def load_config(file: Path, overrides: dict[str, Any] | None = None) -> CoordinatorConfig:
    """A config file with `overrides` on top; a Failure that lists every problem."""
    from coordinator.config import ConfigError, load

    try:
        return load(file, overrides)
    except ConfigError as error:
        raise config_failure(error) from error


def effective(made: CoordinatorConfig) -> dict[str, Any]:
    """Every value as JSON would carry it, in the order of the configuration's fields."""
    values: dict[str, Any] = made.model_dump(mode="json")
    return values

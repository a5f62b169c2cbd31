"""`zonelock floor`: the map, as the coordinator has it and as files say it.

Rule owned: an import writes its file whole or not at all, and never over another one unless told to.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zonelock_cli.exits import ExitCode
from zonelock_cli.failures import Failure, floor_failure
from zonelock_cli.options import output_option, server_options
from zonelock_cli.output import View, progress

if TYPE_CHECKING:
    from coordinator.floor import Floor

FORMATS = ("map", "lif")


@click.group(invoke_without_command=True)
@click.pass_context
def floor(ctx: click.Context) -> None:
    """Show the coordinator's floor, or make a floor file from another format. Alone: `floor show`."""
    if ctx.invoked_subcommand is None:
        # Parsed afresh rather than invoked, so that defaults and environment variables count.
        with show.make_context("show", [], parent=ctx) as inner:
            show.invoke(inner)


@floor.command()
@click.option("--yaml", "as_yaml", is_flag=True, help="Print the floor file that the coordinator was started with.")
@server_options
@output_option
def show(as_yaml: bool, server: str, wait_s: float, view: View) -> None:
    """Show the floor that a coordinator serves: size, zones, areas, stop groups, agent kinds."""
    from rich.markup import escape

    from zonelock_cli.link import Link
    from zonelock_cli.picture import plain

    with Link(server, wait_s) as link:
        said = plain(link.floor())
    if as_yaml:
        click.echo(said["source_yaml"], nl=not said["source_yaml"].endswith("\n"))
        return
    groups: dict[str, int] = {}
    for zone in said["zones"]:
        groups[zone["stop_group"]] = groups.get(zone["stop_group"], 0) + 1
    if view.json:
        said["stop_groups"] = sorted(groups)
        view.document({"floor": said})
        return
    view.block(
        [
            ("site", f"{escape(said['site'])}, version {said['version']}"),
            ("hash", said["hash"]),
            ("grid", f"{said['width']} x {said['height']} cells of {said['cell_mm']} mm"),
            ("zones", str(len(said["zones"]))),
            ("groups", escape(", ".join(f"{name} ({count})" for name, count in sorted(groups.items())))),
            ("kinds", escape(", ".join(k["name"] for k in said["agent_kinds"])) or "none"),
        ]
    )
    view.table(
        ["ZONE", "CAPACITY", "GROUP", "HOLD MAX", "CELLS"],
        [
            [
                escape(z["name"]),
                str(z["capacity"]),
                escape(z["stop_group"]),
                f"{z['hold_max_ms']} ms",
                str(len(z["cells"])),
            ]
            for z in sorted(said["zones"], key=lambda z: str(z["name"]))
        ],
        right=["CAPACITY", "HOLD MAX", "CELLS"],
    )
    if said["areas"]:
        view.table(["AREA", "ZONES"], [[escape(a["name"]), escape(", ".join(a["zones"]))] for a in said["areas"]])


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """How to read a foreign format; None and False mean "as the importer thinks best"."""

    form: str | None
    aisles: bool
    largest_only: bool
    layout: str | None
    unit_mm: int | None
    two_way: bool
    site: str | None
    cell_mm: int | None

    def misplaced(self, form: str) -> list[str]:
        """The options that were given but mean nothing to this format."""
        of_maps = {"--aisles": self.aisles, "--largest-only": self.largest_only}
        of_lif = {"--layout": self.layout is not None, "--unit-mm": self.unit_mm is not None, "--two-way": self.two_way}
        return [name for name, given in (of_lif if form == "map" else of_maps).items() if given]

    def arguments(self, form: str) -> dict[str, Any]:
        common = {"site": self.site, "cell_mm": self.cell_mm}
        if form == "map":
            own: dict[str, Any] = {"aisles": self.aisles, "largest_only": self.largest_only}
        else:
            own = {"layout_id": self.layout, "unit_mm": self.unit_mm, "one_way": not self.two_way}
        return {name: value for name, value in {**common, **own}.items() if value is not None}


@floor.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="map: Moving AI; lif: VDMA LIF. Told from the file when left out.",
)
@click.option("--aisles", is_flag=True, help="Map: merge one-wide runs between junctions into zones.")
@click.option(
    "--largest-only", is_flag=True, help="Map: block open cells that the largest connected part cannot reach."
)
@click.option("--layout", metavar="ID", help="LIF: this layout rather than the first.")
@click.option("--unit-mm", type=click.IntRange(min=1), help="LIF: length of one unit of the file; 1000 when left out.")
@click.option("--two-way", is_flag=True, help="LIF: every edge may be driven both ways.")
@click.option("--site", metavar="NAME", help="The floor's site.")
@click.option("--cell-mm", type=click.IntRange(min=1), help="Side of a cell in millimetres.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="Write here; standard output when left out."
)
@click.option("--force", is_flag=True, help="Replace the file named by --out.")
@output_option
def import_(file: Path, out: Path | None, force: bool, view: View, **wishes: Any) -> None:
    """Make a floor file (YAML) from a Moving AI .map or a VDMA LIF layout; FILE may be - for standard input."""
    from coordinator.floor import FloorError

    if out is not None and out.exists() and not force:
        raise Failure(ExitCode.FAILURE, f"{out} exists", "Name another file with --out, or add --force to replace it.")
    try:
        form, made = convert(file, Wishes(**wishes))
        produced = made.to_yaml()
    except FloorError as error:
        raise floor_failure(
            error, "Mend the file, or give --format if it was taken for the wrong one; nothing was written."
        ) from error
    if out is None:
        click.echo(produced, nl=False)
        return
    write_whole(out, produced)
    if view.json:
        view.document({"out": str(out), "format": form, **outline(made)})
        return
    view.say(f"wrote {out}: {made.width} x {made.height} cells, {len(made.zones)} zones")
    view.say(f"try next: zonelock check {out}")


def convert(file: Path, wishes: Wishes) -> tuple[str, Floor]:
    """Reads and converts; raises FloorError, or UsageError for an option of the other format."""
    from coordinator.floor.importers import from_lif, from_moving_ai

    text = read_input(file)
    form = wishes.form or detect(file, text)
    misplaced = wishes.misplaced(form)
    if misplaced:
        raise click.UsageError(
            f"{', '.join(misplaced)} means nothing for {file}, which is read as {form}; leave it out"
        )
    importer: Callable[..., Floor] = from_moving_ai if form == "map" else from_lif
    with progress(f"importing {file}"):
        return form, importer(
            text, source="standard input" if str(file) == "-" else str(file), **wishes.arguments(form)
        )


@floor.command()
@click.argument("name", required=False)
def example(name: str | None) -> None:
    """Print the bundled floor NAME as YAML; without NAME, list the names."""
    from coordinator.floor.examples import bundled, names

    if name is None:
        click.echo("\n".join(names()))
        return
    try:
        path = bundled(name)
    except KeyError:
        raise Failure(
            ExitCode.REFUSED, f"no bundled floor is called {name!r}", f"There are: {', '.join(names())}."
        ) from None
    click.echo(path.read_text("utf-8"), nl=False)


def outline(made: Floor) -> dict[str, Any]:
    return {
        "site": made.site,
        "version": made.version,
        "hash": made.hash,
        "width": made.width,
        "height": made.height,
        "cell_mm": made.cell_mm,
        "zones": len(made.zones),
        "stop_groups": list(made.stop_groups),
        "agent_kinds": sorted(made.agent_kinds),
    }


def read_input(file: Path) -> str:
    """A file's text, or standard input's for `-`. Raises FloorError."""
    if str(file) == "-":
        return sys.stdin.read()
    from coordinator.floor.model import read_text

    return read_text(file)


def detect(file: Path, text: str) -> str:
    """What the text is, by its first words; the name's ending decides only where those do not."""
    begin = text.lstrip("\ufeff \t\r\n")[:200]
    if begin.startswith("{"):
        return "lif"
    if begin.startswith("type ") or file.suffix == ".map":
        return "map"
    if file.suffix == ".json":
        return "lif"
    raise Failure(
        ExitCode.INVALID,
        f"{file} is neither a Moving AI map (first line `type octile`) nor LIF (a JSON object)",
        "Give --format map or --format lif if it is one of them all the same.",
        reason="UNKNOWN_FORMAT",
    )


def write_whole(out: Path, text: str) -> None:
    """Writes beside the target and moves it there, so that a reader sees the old file or the new one whole."""
    try:
        handle, name = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            os.chmod(name, 0o644)
            os.replace(name, out)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise Failure(
            ExitCode.FAILURE, f"cannot write {out}: {error.strerror}", "Name a writable place with --out."
        ) from error

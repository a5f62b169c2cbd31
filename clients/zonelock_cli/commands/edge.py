"""`zonelock edge`: an edge node beside a machine: run one, watch its features live, plot what it sees.

Rule owned: `watch` and `plot` are observers like any other: they map the ring read-only, and nothing that happens to
them costs its writer anything (I10). The edge node is imported when a command runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zonelock_cli.exits import ExitCode
from zonelock_cli.failures import Failure, config_failure
from zonelock_cli.options import output_option
from zonelock_cli.output import View

if TYPE_CHECKING:
    from edge_node.config import EdgeConfig
    from edge_node.entries import Entry

ATTACH_WITHIN_S = 5.0
IDLE_S = 0.02
EXAMPLE = "docs/edge.md shows a whole configuration"
TABLE_CHANNELS = 24
"""Rows of the live table; --channel chooses others."""


@click.group()
def edge() -> None:
    """Run an edge node beside a machine, and look at what it sees."""


@edge.command()
@click.argument("config_file", metavar="CONFIG", type=click.Path(path_type=Path))
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="On stderr.",
)
@output_option
def run(config_file: Path, log_level: str, view: View) -> None:
    """Run the node of CONFIG until SIGTERM or Ctrl-C: writers, observers, sink and link to the coordinator.

    With -o json every finding is a line on standard output too. Ends by itself when every source has come to its end.
    The node never waits for whoever reads what it prints, and goes on when nobody does.
    """
    import asyncio
    import logging
    import sys

    from edge_node.alone import AlreadyRunning
    from edge_node.app import EdgeNode
    from edge_node.config import ConfigError
    from zonelock_cli.showing import Showing, ShowingHandler

    def show(entry: Entry) -> None:
        if view.json:
            out.show(entry.line())
        elif entry.kind in ("anomaly", "incident", "action", "snapshot", "recalibration"):
            out.show(told(entry))

    try:
        node = EdgeNode.load(config_file, show)
    except ConfigError as error:
        raise config_failure(error, EXAMPLE) from error
    if not view.json:
        names = ", ".join(source.name for source in node.config.sources)
        view.say(f"[bold]{node.config.node}[/bold] observes {_plain(names)}; findings go to {node.config.sink.path}")
        view.say(f"try next: zonelock edge watch {config_file}")
    sys.stdout.flush()
    logs = Showing(sys.stderr.fileno(), _missing)
    out = Showing(sys.stdout.fileno(), _gap if view.json else _missing)
    logging.basicConfig(
        level=log_level.upper(), handlers=[ShowingHandler(logs)], format="%(asctime)s %(levelname)-7s %(message)s"
    )
    try:
        asyncio.run(node.run())
    except AlreadyRunning as error:
        remedy = "Stop that one, or give this configuration a sink and a node of its own."
        raise Failure(ExitCode.FAILURE, str(error), remedy) from error
    finally:
        out.close()
        logs.close()


@edge.command("watch")
@click.argument("config_file", metavar="CONFIG", type=click.Path(path_type=Path))
@click.option("--source", metavar="NAME", help="Which source; the first of CONFIG when left out.")
@click.option("--channel", "chosen", multiple=True, metavar="NAME", help="Only this channel; may be repeated.")
@click.option("--every-s", type=click.FloatRange(min=0.05), default=0.5, show_default=True, help="How often.")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="End after this long.")
@output_option
def watch(
    config_file: Path, source: str | None, chosen: tuple[str, ...], every_s: float, seconds: float | None, view: View
) -> None:
    """Show a source's features live, as an observer of its own; with -o json one object a line.

    Needs the node to run. Ends with exit code 3 when its writer has ended.
    """
    import time

    from edge_node import entries
    from edge_node.build import plan_of
    from edge_node.dsp.features import Extractor

    config = load_config(config_file)
    name = source_name(config, source)
    with _looking(config, name) as look:
        extractor = Extractor(plan_of(config, look.channels, look.rate_hz))
        end = time.monotonic() + seconds if seconds else None
        due = 0.0
        with _table(view) as show:
            while end is None or time.monotonic() < end:
                newest = None
                for window in look.windows():
                    newest = window
                if newest is None:
                    if look.ended and not look.reader.follow():
                        raise _no_writer(name)
                    time.sleep(IDLE_S)
                    continue
                if time.monotonic() < due:
                    continue
                due = time.monotonic() + every_s
                batch = extractor.features(newest)
                names = [c.name for c in look.channels]
                data = dict(entries.of_features(batch, names, look.provenance(newest)).data)
                tally = look.reader.tally()
                data["ring"] = {
                    "produced": tally.produced,
                    "received": tally.received,
                    "lapped": tally.lapped,
                    "torn": tally.torn,
                    "skipped": tally.skipped,
                }
                show({"source": name, **data}, frozenset(chosen))


@edge.command("plot")
@click.argument("config_file", metavar="CONFIG", type=click.Path(path_type=Path))
@click.option("--source", metavar="NAME", help="Which source; the first of CONFIG when left out.")
@click.option("--channel", metavar="NAME", help="Which channel; the first when left out.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("edge.png"), show_default=True, help="The picture."
)
@output_option
def plot(config_file: Path, source: str | None, channel: str | None, out: Path, view: View) -> None:
    """Write one window's waveform, spectrum and envelope spectrum as a PNG, the bearing's fault lines marked.

    Needs the node to run, and matplotlib (`pip install zonelock[plot]`).
    """
    from edge_node.build import plan_of

    try:
        from edge_node.plotting import picture
    except ImportError as error:
        raise Failure(
            ExitCode.FAILURE, f"matplotlib is not installed ({error})", "Install it: pip install 'zonelock[plot]'."
        ) from error
    config = load_config(config_file)
    name = source_name(config, source)
    with _looking(config, name) as look:
        names = [c.name for c in look.channels]
        if channel is not None and channel not in names:
            raise Failure(ExitCode.INVALID, f"unknown channel {channel!r}", f"{name} has {', '.join(names[:20])}.")
        row = names.index(channel) if channel is not None else 0
        window = _next_window(config, look, name)
        plan = plan_of(config, look.channels, look.rate_hz)
        with _writing(out, "--out"):
            picture(out, window.data[row], look.channels[row], plan, f"{name} {names[row]}")
    if view.json:
        view.document({"file": str(out), "source": name, "channel": names[row], "first_index": window.first_index})
    else:
        view.say(f"wrote {out}: {name} {names[row]}, {window.samples} samples from {window.first_index} on")


@edge.command("snapshot")
@click.argument("config_file", metavar="CONFIG", type=click.Path(path_type=Path))
@click.option("--source", metavar="NAME", help="Which source; the first of CONFIG when left out.")
@click.option("--list", "listing", is_flag=True, help="List what the node has kept on site.")
@click.option("--get", "wanted", metavar="SNAPSHOT", help="Copy this one of those that --list names.")
@click.option("--out", type=click.Path(path_type=Path), help="The file; the snapshot's own name when left out.")
@output_option
def snapshot(
    config_file: Path, source: str | None, listing: bool, wanted: str | None, out: Path | None, view: View
) -> None:
    """Take a raw window of a source now, or list and fetch those that its anomalies left.

    A snapshot taken now needs the node to run; listing and fetching do not.
    """
    config = load_config(config_file)
    name = source_name(config, source)
    if listing or wanted is not None:
        _kept(config, name, wanted, out, view)
        return
    import time

    from edge_node.snapshots.encode import encode

    with _looking(config, name) as look:
        window = _next_window(config, look, name)
        now_ms = time.time_ns() // 1_000_000
        data = encode(window, look.channels, look.provenance(window), taken_unix_ms=now_ms)
        path = out or Path(f"{name}-{look.reader.epoch}-{window.first_index:016d}.snap")
    _write(path, data)
    if view.json:
        about = {"source": name, "size_bytes": len(data), "samples": window.samples, "channels": window.channels}
        view.document({"file": str(path), **about})
    else:
        view.say(f"wrote {path}: {window.channels} channels of {window.samples} samples in {len(data):,} bytes")
        view.say(f"try next: zonelock edge inspect {path}")


@edge.command("inspect")
@click.argument("snapshot_file", metavar="SNAPSHOT", type=click.Path(path_type=Path))
@click.option("--npy", type=click.Path(path_type=Path), help="Also write the samples, (channels, samples) float32.")
@output_option
def inspect(snapshot_file: Path, npy: Path | None, view: View) -> None:
    """Verify a snapshot by its hash and say what is in it."""
    import numpy as np

    from edge_node.snapshots.encode import SnapshotError, decode

    try:
        message, samples = decode(snapshot_file.read_bytes())
    except OSError as error:
        raise Failure(ExitCode.INVALID, f"{snapshot_file}: {error.strerror}", "Check the path.") from error
    except SnapshotError as error:
        raise Failure(
            ExitCode.INVALID, f"{snapshot_file}: {error}", "Fetch it again: zonelock edge snapshot CONFIG --list."
        ) from error
    if npy is not None:
        with _writing(npy, "--npy"), npy.open("wb") as file:
            np.save(file, samples)
    origin, found = message.provenance, message.anomaly
    anomaly = f"{found.channel}: {found.measure} {found.value:.3g}" if message.HasField("anomaly") else ""
    channels = [
        {"name": c.name, "quantity": c.quantity, "unit": c.unit, "scale": c.scale, "clipped": c.clipped}
        for c in message.channels
    ]
    about = {"source": origin.source, "first_index": origin.first_index, "samples": origin.samples}
    if view.json:
        document = {"file": str(snapshot_file), **about, "rate_hz": origin.rate_hz, "replayed": origin.replayed}
        view.document({**document, "anomaly": anomaly, "channels": channels, "verified": True})
    else:
        view.say(f"{snapshot_file}: whole; {origin.source}, {len(channels)} channels of {origin.samples} samples")
        view.say(_plain(f"at {origin.rate_hz:g} Hz from sample {origin.first_index} on" + (anomaly and f"; {anomaly}")))


@edge.command("recalibrated")
@click.argument("config_file", metavar="CONFIG", type=click.Path(path_type=Path))
@click.argument("group")
@click.argument("sensor")
@click.option("--by", required=True, metavar="NAME", help="Who did it: it stays on record.")
@output_option
def recalibrated(config_file: Path, group: str, sensor: str, by: str, view: View) -> None:
    """Tell the node that SENSOR of GROUP was recalibrated: closes its item, and its readings count again."""
    from edge_node.drift.watch import Recalibrated, leave_note

    config = load_config(config_file)
    groups = {g.name: g.sensors for g in config.groups}
    if group not in groups:
        names = ", ".join(sorted(groups)) or "none"
        raise Failure(ExitCode.INVALID, f"unknown group {group!r}", f"The configuration has {names}.")
    if sensor not in groups[group]:
        raise Failure(ExitCode.INVALID, f"unknown sensor {sensor!r}", f"{group} has {', '.join(groups[group])}.")
    try:
        leave_note(config.notes_folder, Recalibrated(group, sensor, by))
    except OSError as error:
        raise Failure(
            ExitCode.FAILURE, f"{config.notes_folder}: {error.strerror}", "Run it as whoever runs the node."
        ) from error
    if view.json:
        view.document({"group": group, "sensor": sensor, "by": by})
    else:
        view.say(f"noted: {_plain(sensor)} of {_plain(group)} was recalibrated by {_plain(by)}")


def _kept(config: EdgeConfig, name: str, wanted: str | None, out: Path | None, view: View) -> None:
    """Lists the kept snapshots of a source, or copies one."""
    from edge_node.keeping import spool_of

    if config.snapshots is None:
        raise Failure(ExitCode.INVALID, "snapshots: not in the configuration", f"Add it; {EXAMPLE}.")
    kept = spool_of(config.snapshots, name).kept()
    if wanted is None:
        rows = [{"name": k.name, "size_bytes": k.size_bytes, "uploaded": k.uploaded} for k in kept]
        if view.json:
            view.document({"source": name, "snapshots": rows})
        else:
            for row in rows:
                view.say(f"{row['size_bytes']:>12,}  {'uploaded' if row['uploaded'] else 'on site ':<8}  {row['name']}")
            view.say(f"{len(rows)} snapshots of {name}")
        return
    found = next((k for k in kept if k.name == wanted), None)
    if found is None:
        raise Failure(ExitCode.INVALID, f"no snapshot {wanted!r} of {name}", "List them with --list.")
    path = out or Path(found.name)
    _write(path, found.path.read_bytes())
    if view.json:
        view.document({"file": str(path), "source": name, "size_bytes": found.size_bytes})
    else:
        view.say(f"wrote {path}; try next: zonelock edge inspect {path}")


@contextmanager
def _writing(path: Path, option: str) -> Iterator[None]:
    """A file that cannot be written is a Failure that names the option for another."""
    try:
        yield
    except OSError as error:
        remedy = f"Choose another file with {option}."
        raise Failure(ExitCode.FAILURE, f"{path}: {error.strerror or error}", remedy) from error


def _write(path: Path, data: bytes) -> None:
    with _writing(path, "--out"):
        path.write_bytes(data)


def _next_window(config: EdgeConfig, look: Any, name: str) -> Any:
    """The next window that can be completed. A Failure when the writer writes none."""
    import time

    end = time.monotonic() + ATTACH_WITHIN_S + 2 * config.features.samples / look.rate_hz
    while True:
        window = next(look.windows(), None)
        if window is not None:
            return window
        if time.monotonic() > end or look.ended:
            raise _no_writer(name)
        time.sleep(IDLE_S)


def _gap(lost: int) -> str:
    """As the sink tells it."""
    from edge_node.entries import Entry, Kind

    return Entry(Kind.GAP, "output", {"lost": lost}).line()


def _missing(lost: int) -> str:
    return f"({lost} lines are missing here: nobody read them)"


def told(entry: Entry) -> str:
    """One entry as a line for people."""
    data: Any = entry.data
    match entry.kind:
        case "anomaly":
            held = f" (+{data['suppressed']} held back)" if data["suppressed"] else ""
            return (
                f"{data['severity']:<6} {entry.source} {data['channel']}: {data['measure']} {data['value']:.3g}, "
                f"usual {data['expected']:.3g}, confidence {data['confidence']:.2f}{held}"
            )
        case "action":
            return f"{data['action'].upper():<6} {entry.source}: {data['outcome']}: {data['detail']}"
        case "snapshot":
            return f"{'':<6} {entry.source}: kept {data['name']}, {data['size_bytes']:,} bytes"
        case "recalibration" if data["what"] == "opened":
            return f"{'':<6} {entry.source}: recalibrate {data['sensor']} of {data['group']}: {data['reason']}"
        case "recalibration":
            return f"{'':<6} {entry.source}: {data['sensor']} of {data['group']} was recalibrated by {data['by']}"
        case _:
            return f"{'':<6} {entry.source}: {data['what']}: {data['detail']}"


def load_config(path: Path) -> EdgeConfig:
    """Raises a Failure that lists every problem."""
    from edge_node.config import ConfigError, load

    try:
        return load(path)
    except ConfigError as error:
        raise config_failure(error, EXAMPLE) from error


def source_name(config: EdgeConfig, wanted: str | None) -> str:
    names = [source.name for source in config.sources]
    if wanted is not None and wanted not in names:
        raise Failure(ExitCode.INVALID, f"unknown source {wanted!r}", f"The configuration has {', '.join(names)}.")
    return wanted or names[0]


def _looking(config: EdgeConfig, name: str) -> Any:
    from contextlib import closing

    from edge_node.dsp.windows import hop_of
    from edge_node.looking import Look
    from edge_node.ring import RingError

    f = config.features
    try:
        look = Look(name, config.ring.folder, f.samples, hop_of(f.samples, f.overlap), within_s=ATTACH_WITHIN_S)
        return closing(look)
    except RingError as error:
        raise Failure(
            ExitCode.UNAVAILABLE, str(error), "Start the node first: `zonelock edge run CONFIG`.", reason="NO_RING"
        ) from error


def _no_writer(name: str) -> Failure:
    return Failure(
        ExitCode.UNAVAILABLE,
        f"{name}: its writer has ended, or writes nothing",
        "Look at what `zonelock edge run` says; start it again.",
        reason="NO_RING",
    )


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _table(view: View) -> Any:
    """A context in which `show(data, chosen)` draws: lines of JSON, or one table that is redrawn in place."""

    @contextmanager
    def lines() -> Any:
        def show(data: dict[str, Any], chosen: frozenset[str]) -> None:
            view.document(data)

        yield show

    @contextmanager
    def live() -> Any:
        from rich.live import Live

        with Live(console=view.console(), auto_refresh=False) as screen:
            yield lambda data, chosen: screen.update(_drawn(data, chosen), refresh=True)

    return lines() if view.json else live()


def _drawn(data: dict[str, Any], chosen: frozenset[str]) -> Any:
    from rich.table import Table

    ring = data["ring"]
    seen = ring["received"] / max(1, ring["produced"] - ring["skipped"])
    table = Table(title=f"{data['source']}  seen {seen:.1%}", title_justify="left", caption_justify="left")
    for column in ("channel", "rms", "peak-peak", "crest", "kurtosis", "mm/s", "envelope", "quality"):
        table.add_column(column, justify="left" if column in ("channel", "quality") else "right")
    rows = [n for n, name in enumerate(data["channels"]) if not chosen or name in chosen]
    for n in rows[:TABLE_CHANNELS]:
        name = data["channels"][n]
        scores = [score for score in data["envelope_score"][n] if score is not None]
        cells = [data[key][n] for key in ("rms", "peak_to_peak", "crest", "kurtosis", "velocity_rms_mm_s")]
        cells.append(max(scores, default=None))
        table.add_row(_plain(name), *("-" if c is None else f"{c:.3g}" for c in cells), data["bad"].get(name, "OK"))
    if len(rows) > TABLE_CHANNELS:
        table.caption = f"{len(rows) - TABLE_CHANNELS} channels more: choose with --channel"
    return table

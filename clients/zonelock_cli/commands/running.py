"""`demo`, `serve` and `sim`: what keeps running until its time is up or somebody interrupts it.

Rule owned: a machine that starts one of these learns from exactly one JSON line that it is ready (`serve`) or how it
went (`demo`, `sim`); everything for people goes around that line.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zonelock_cli.dialing import credentials
from zonelock_cli.exits import ExitCode
from zonelock_cli.failures import Failure, floor_failure
from zonelock_cli.options import DEFAULT_WAIT_S, output_option, parse_address, tls_options
from zonelock_cli.output import View

if TYPE_CHECKING:
    from zonelock_sim.options import Report, SimOptions

REPORT_KEYS = ("agents", "grants", "tasks_done", "collisions", "stops", "acquire_p50_ms", "acquire_p99_ms")
"""What `demo --json` ends with, in this order; `sim --json` adds the rest of the report behind them."""


def _address(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is not None and value != "off":
        parse_address(value, what=param.name or "address", port_min=0)
    return value


def _addresses(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    for address in value.split(",") if value is not None else ():
        parse_address(address, what=param.name or "address")
    return value


def _incidents(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> tuple[Any, ...]:
    from zonelock_sim.incidents import IncidentError, parse_incident

    try:
        return tuple(parse_incident(v) for v in values)
    except IncidentError as error:
        raise click.BadParameter(str(error)) from None


def sim_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What `demo` and `sim` have in common."""
    for option in (
        click.option(
            "--json", "as_json", is_flag=True, help="End with one JSON line and print nothing else on standard output."
        ),
        click.option("--gateway", is_flag=True, help="All agents on one fleet stream rather than a stream each."),
        click.option(
            "--incident",
            "incidents",
            multiple=True,
            metavar="KIND:AGENT[@ZONE][+DELAY]",
            callback=_incidents,
            help="Something that goes wrong, such as stall:AGV_03@Z_32+10s; "
            "kinds: stall, vanish, overstay, late. May be repeated.",
        ),
        click.option("--seed", type=int, default=1, show_default=True, help="The same seed draws the same orders."),
        click.option(
            "--seconds", type=click.FloatRange(min=0, min_open=True), help="End after this long; otherwise on Ctrl-C."
        ),
    ):
        command = option(command)
    return command


@click.command()
@click.option(
    "--agents",
    type=click.IntRange(0, 1_000),
    default=7,
    show_default=True,
    help="How many AGVs, beside the floor's arms.",
)
@click.option(
    "--listen",
    metavar="HOST:PORT",
    callback=_address,
    help="gRPC address of the coordinator; default 127.0.0.1:7600 if free.",
)
@click.option(
    "--web", metavar="HOST:PORT", callback=_address, help="Address of the floor map; default 127.0.0.1:7680 if free."
)
@sim_options
def demo(
    agents: int,
    listen: str | None,
    web: str | None,
    seconds: float | None,
    seed: int,
    incidents: tuple[Any, ...],
    gateway: bool,
    as_json: bool,
) -> None:
    """Run a small factory: a coordinator, AGVs and robot arms on the bundled machining floor, and a live map.

    Ends on Ctrl-C or after --seconds. Exits with 1 when two bodies shared a cell.
    """
    from zonelock_sim.options import demo_options

    changes: dict[str, Any] = {
        "agents": agents,
        "seconds": seconds,
        "seed": seed,
        "incidents": incidents,
        "gateway": gateway,
    }
    if listen is not None or web is not None:
        changes["fallback_ports"] = False
    changes |= {k: v for k, v in (("listen", listen), ("web", web)) if v is not None}
    _simulate(lambda: demo_options(**changes), as_json=as_json, keys=REPORT_KEYS, hints=True)


@click.command()
@click.option(
    "--floor",
    type=click.Path(path_type=Path),
    help="A floor YAML or a Moving AI .map; the bundled floor when left out.",
)
@click.option(
    "--scenario", type=click.Path(path_type=Path), help="A Moving AI .scen whose pairs become transport orders."
)
@click.option("--aisles", is_flag=True, help="Merge one-wide runs of a .map between junctions into zones.")
@click.option("--agents", type=click.IntRange(0, 1_000), default=6, show_default=True, help="How many AGVs.")
@click.option("--arms/--no-arms", default=True, show_default=True, help="Run the floor's robot arms too.")
@click.option(
    "--store",
    default="memory",
    show_default=True,
    help="memory, sqlite, sqlite:PATH, etcd (starts three members) or etcd:HOST:PORT,...",
)
@click.option(
    "--server",
    metavar="HOST:PORT,...",
    callback=_addresses,
    help="Use a coordinator that runs already, or several that stand by for each other, rather than start one.",
)
@click.option(
    "--listen", metavar="HOST:PORT", callback=_address, default="127.0.0.1:0", show_default=True, help="gRPC address."
)
@click.option(
    "--web",
    metavar="HOST:PORT",
    callback=_address,
    default="127.0.0.1:0",
    show_default=True,
    help="Floor map's address.",
)
@click.option("--speed-mm-s", type=click.IntRange(min=1), help="Drive at this speed rather than the agent kind's.")
@click.option(
    "--virtual",
    is_flag=True,
    help="All in one process on virtual time: no sockets, no waiting, the same every time. "
    "Without --seconds it ends with the scenario's last task.",
)
@tls_options
@click.option("--naive", is_flag=True, help="Vehicles lock the next cell and wait for it, to show what that comes to.")
@click.option(
    "--history",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Write what happens to files in this folder, to be judged by `python -m chaos.check`.",
)
@sim_options
def sim(
    floor: Path | None,
    scenario: Path | None,
    aisles: bool,
    agents: int,
    arms: bool,
    store: str,
    server: str | None,
    listen: str,
    web: str,
    speed_mm_s: int | None,
    virtual: bool,
    naive: bool,
    seconds: float | None,
    seed: int,
    incidents: tuple[Any, ...],
    gateway: bool,
    history: Path | None,
    as_json: bool,
) -> None:
    """Drive simulated agents over a floor through the real gRPC path, and count the bodies that met.

    Ends on Ctrl-C, after --seconds, or on virtual time with the last task. Exits with 1 when two bodies shared a cell,
    or when everybody stands still for good with tasks undone; not with --naive, which is there to show just that.
    """
    from zonelock_sim.options import SimOptions

    def options() -> SimOptions:
        return SimOptions(
            floor=floor,
            scenario=scenario,
            aisles=aisles,
            agents=agents,
            arms=arms,
            seconds=seconds,
            store=store,
            server=server,
            history=history,
            credentials=credentials() if server is not None else None,
            listen=listen,
            web=web,
            gateway=gateway,
            incidents=incidents,
            seed=seed,
            speed_mm_s=speed_mm_s,
            virtual=virtual,
            naive=naive,
        )

    if server is not None:
        _require_coordinator(server, as_json)
    _simulate(options, as_json=as_json, keys=None, hints=False)


def _require_coordinator(server: str, as_json: bool) -> None:
    """Says at once that nobody answers, before agents are made that would all try and wait. One of several will do."""
    from zonelock_cli.link import Link

    try:
        with Link(server, DEFAULT_WAIT_S) as link:
            link.floor()
    except Failure as failure:
        failure.as_json = as_json
        raise


def _simulate(options: Callable[[], SimOptions], *, as_json: bool, keys: tuple[str, ...] | None, hints: bool) -> None:
    import asyncio

    from zonelock_sim.incidents import IncidentError
    from zonelock_sim.options import SimError

    from coordinator.floor import FloorError
    from zonelock_cli.stage import Stage, perform

    view = View(json=as_json)
    stage = Stage(view=view, hints=hints)
    try:
        report = asyncio.run(perform(options(), stage))
    except FloorError as error:
        failure = floor_failure(error, "Mend the fields named above; nothing was started.")
        failure.as_json = as_json
        raise failure from error
    except (SimError, IncidentError) as error:
        raise _sim_failure(error, as_json) from error
    except Failure as failure:
        failure.as_json = as_json
        raise
    if as_json:
        said = report.to_dict()
        view.document({k: said[k] for k in keys} if keys else {**{k: said[k] for k in REPORT_KEYS}, **said})
    else:
        stage.conclude(report)
    if collided(report) or frozen(report):
        raise SystemExit(int(ExitCode.FAILURE))


def _sim_failure(error: Exception, as_json: bool) -> Failure:
    message, _, remedy = str(error).partition("; ")
    failure = Failure(
        ExitCode.FAILURE, message, remedy[:1].upper() + remedy[1:] if remedy else "Run with --help for the options."
    )
    failure.as_json = as_json
    return failure


def collided(report: Report) -> bool:
    return bool(report.collisions or report.over_capacity or report.off_floor)


def frozen(report: Report) -> bool:
    """A standstill for good that nobody asked to see: the naive way is run for it."""
    return bool(report.deadlocks) and not report.naive


@click.command()
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    help="A coordinator config file; options below override it.",
)
@click.option(
    "--floor", type=click.Path(path_type=Path), help="The floor YAML; the bundled example when nothing names one."
)
@click.option("--store", metavar="STORE", help="memory, sqlite:PATH or etcd:HOST:PORT,...")
@click.option("--name", metavar="NAME", help="This coordinator's name for people; its listen address when left out.")
@click.option(
    "--data-dir", type=click.Path(path_type=Path), help="Folder for what must survive a restart beside the store."
)
@click.option("--listen", metavar="HOST:PORT", callback=_address, help="gRPC address; port 0 takes a free one.")
@click.option("--web", metavar="HOST:PORT|off", callback=_address, help="Address of the floor map, or off.")
@click.option(
    "--assume-empty",
    is_flag=True,
    default=None,
    help="At the very first start take every zone as empty. For demos only.",
)
@click.option(
    "--store-wait-s",
    type=click.FloatRange(min=0),
    default=5.0,
    show_default=True,
    help="Wait this long for a first etcd member to answer at start.",
)
@click.option(
    "--history",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Append what happens to this file, for `python -m chaos.check`. For tests: it grows without bound.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="On stderr.",
)
@click.option(
    "--loop",
    type=click.Choice(["auto", "asyncio", "uvloop"]),
    default="auto",
    show_default=True,
    help="Event loop; auto takes uvloop when it is installed.",
)
@output_option
def serve(view: View, **given: Any) -> None:
    """Run a coordinator until SIGTERM or Ctrl-C.

    Says once where it listens; with -o json as one line {"event": "ready", "grpc": ..., "web": ...} on standard output.
    Times and invariants are set in the config file (`zonelock config show`).
    """
    from zonelock_cli.serving import choose_core, event_loop, serve_until_stopped, settle_grpc

    choose_core()
    settle_grpc()
    with event_loop(given["loop"]) as runner:
        runner.run(serve_until_stopped(view, given))

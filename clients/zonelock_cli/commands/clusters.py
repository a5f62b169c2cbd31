"""`zonelock cluster`: several coordinators on one etcd, started here for trying out, or looked at anywhere.

Rule owned: `up` ends everything that it started, however it ends, and says in one block (or one JSON line) where
everything listens.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zonelock_cli.exits import ExitCode
from zonelock_cli.failures import Failure, floor_failure
from zonelock_cli.options import output_option, server_options
from zonelock_cli.output import View, duration

if TYPE_CHECKING:
    from zonelock.v1 import cluster_service_pb2 as cpb
    from zonelock_sim.cluster import LocalCluster

MIB = 1 << 20
LEADER_WAIT_S = 1.0
"""A leader is asked because a standby named it; one that is frozen or out of reach from here is not waited for."""


@click.group()
def cluster() -> None:
    """Start coordinators and etcd members on this machine, or look at a cluster that runs."""


@cluster.command()
@click.option("--coordinators", type=click.IntRange(1, 9), default=3, show_default=True, help="How many coordinators.")
@click.option("--etcd", "members", type=click.IntRange(1, 9), default=3, show_default=True, help="How many members.")
@click.option(
    "--data",
    "data_dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep the ledger here, and start from it again; thrown away at the end when left out.",
)
@click.option(
    "--floor", type=click.Path(path_type=Path), help="The floor YAML; the bundled example when nothing names one."
)
@output_option
def up(view: View, coordinators: int, members: int, data_dir: Path | None, floor: Path | None) -> None:
    """Start three coordinators on three etcd members here, until Ctrl-C or SIGTERM.

    For trying out: everything on one machine survives the death of any one process and nothing else. The floor of a new
    ledger is taken as empty. Every process's log stays in the folder that is named.
    """
    from zonelock_sim.cluster import LocalCluster
    from zonelock_sim.options import SimError

    from coordinator.floor import Floor, FloorError

    if floor is not None:
        try:
            Floor.load(floor)
        except FloorError as error:
            raise floor_failure(error, "Mend the floor; nothing was started.") from error
    logs = data_dir / "logs" if data_dir is not None else Path(tempfile.mkdtemp(prefix="zonelock-cluster-logs-"))
    made = LocalCluster(
        floor,
        coordinators=coordinators,
        etcd_members=members,
        data_dir=data_dir,
        fixed_ports=True,
        log_level="info",
        logs=logs,
    )
    try:
        asyncio.run(_run(made, view, logs))
    except SimError as error:
        message, _, remedy = str(error).partition("; ")
        raise Failure(ExitCode.FAILURE, message, remedy or "Look at what it said above; is etcd installed?") from error
    except Exception as error:
        if type(error).__name__ != "LocalEtcdError":
            raise
        message, _, remedy = str(error).partition(": ")
        raise Failure(ExitCode.UNAVAILABLE, message, remedy or "Install etcd.", reason="STORE_UNAVAILABLE") from error


async def _run(made: LocalCluster, view: View, logs: Path) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    starting = asyncio.create_task(made.start())
    waiting = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            _announce(made, view, logs)
            await waiting
    finally:
        for task in (starting, waiting):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await starting
        await made.stop()


def _announce(made: LocalCluster, view: View, logs: Path) -> None:
    coordinators = [
        {"name": p.name, "grpc": p.listen, "web": p.web_url, "pid": made.pid(i)} for i, p in enumerate(made.places)
    ]
    pids = made.etcd.pids
    etcd = [{"endpoint": endpoint, "pid": pids[i]} for i, endpoint in enumerate(made.etcd.endpoints)]
    if view.json:
        told = {"event": "ready", "target": made.target, "coordinators": coordinators, "etcd": etcd, "logs": str(logs)}
        view.document(told)
        return
    rows = [(str(c["name"]), f"{c['grpc']:<17} pid {c['pid']:<8} map {c['web']}") for c in coordinators]
    rows += [(f"etcd {i}", f"{e['endpoint']:<17} pid {e['pid']}") for i, e in enumerate(etcd)]
    view.block([*rows, ("agents", f'connect("{made.target}", ...)'), ("logs", str(logs))])
    view.say(f"\ntry next: zonelock cluster status --server {made.target}")
    view.say(f"          zonelock sim --server {made.target} --agents 7      (agents at work)")
    view.say("          kill -9 PID of whichever leads, then look again      (Ctrl-C ends everything)")


@cluster.command()
@server_options
@output_option
def status(server: str, wait_s: float, view: View) -> None:
    """Show who leads, who stands by, and how etcd is. Any coordinator answers, leading or not.

    Exits 0 when one of them leads, 3 when none does.
    """
    from zonelock_cli.link import Link

    with Link(server, wait_s) as link:
        told = link.cluster()
    if told.leader_address and told.coordinators[0].address != told.leader_address:
        # A standby knows itself and the leader; the leader knows everybody who follows it.
        with contextlib.suppress(Failure), Link(told.leader_address, min(wait_s, LEADER_WAIT_S)) as link:
            told = _with_own(told, link.cluster())
    if view.json:
        view.document(_document(told))
    else:
        _show(told, view)
    if not told.leader_name:
        raise SystemExit(int(ExitCode.UNAVAILABLE))


def _with_own(own: cpb.GetClusterResponse, told: cpb.GetClusterResponse) -> cpb.GetClusterResponse:
    """What the leader told, and beside it what a standby says of itself, which the leader does not know."""
    for coordinator in told.coordinators:
        if coordinator.address == own.coordinators[0].address:
            coordinator.ready = own.coordinators[0].ready
            coordinator.floor_hash = own.coordinators[0].floor_hash
    told.alarms.extend(alarm for alarm in own.alarms if alarm not in told.alarms)
    return told


def _role(coordinator: cpb.CoordinatorView) -> str:
    from zonelock.v1 import cluster_service_pb2 as cpb

    return cpb.CoordinatorRole.Name(coordinator.role).removeprefix("COORDINATOR_ROLE_")


def _document(told: cpb.GetClusterResponse) -> dict[str, Any]:
    return {
        "leader": told.leader_name,
        "leader_address": told.leader_address,
        "epoch": told.epoch,
        "tick_age_ms": told.tick_age_ms,
        "lease_ms": told.lease_ms,
        "coordinators": [
            {"name": c.name, "address": c.address, "role": _role(c), "ready": c.ready, "floor_hash": c.floor_hash}
            for c in told.coordinators
        ],
        "store": told.store,
        "store_quota_bytes": told.store_quota_bytes,
        "store_members": [
            {
                "endpoint": m.endpoint,
                "reachable": m.reachable,
                "version": m.version,
                "outdated": m.outdated,
                "leads": m.leads,
                "db_bytes": m.db_bytes,
                "problem": m.problem,
            }
            for m in told.store_members
        ],
        "alarms": list(told.alarms),
    }


def _show(told: cpb.GetClusterResponse, view: View) -> None:
    from rich.markup import escape

    age = f", tick {duration(told.tick_age_ms)} ago" if told.tick_age_ms >= 0 else ""
    leads = f"{escape(told.leader_name)} at {told.leader_address or 'an unknown address'}, epoch {told.epoch}{age}"
    quota = f" of {told.store_quota_bytes // MIB:,} MiB" if told.store_quota_bytes else ""
    view.block(
        [
            ("leader", leads if told.leader_name else "[bold red]nobody leads[/bold red]"),
            ("lease", f"{duration(told.lease_ms)} left at the last commit" if told.lease_ms else "none"),
            ("store", escape(told.store)),
        ]
    )
    view.say()
    led = next((c.floor_hash for c in told.coordinators if c.address == told.leader_address), "")
    rows = [
        [
            escape(c.name),
            escape(c.address),
            _role(c).lower().replace("_", " "),
            "yes" if c.ready else "[red]no[/red]",
            c.floor_hash[:12]
            if c.floor_hash in ("", led) or not led
            else f"[red]{c.floor_hash[:12]}, not the leader's[/red]",
        ]
        for c in told.coordinators
    ]
    view.table(["coordinator", "address", "role", "ready", "floor"], rows)
    if told.store_members:
        view.say()
        view.table(["etcd", "version", "role", "size", "state"], [_member_row(m, quota) for m in told.store_members])
    if any(m.outdated for m in told.store_members):
        view.say("\n[yellow]etcd works, but is older than 3.5.28 / 3.6.9, the floor for production[/yellow]")
    for alarm in told.alarms:
        view.say(f"[red]alarm[/red] {escape(alarm)}")


def _member_row(member: cpb.StoreMemberView, quota: str) -> list[str]:
    from rich.markup import escape

    state = escape(member.problem) or ("answers" if member.reachable else "no answer")
    size = f"{member.db_bytes / MIB:,.1f} MiB{quota}" if member.reachable else ""
    role = "leads" if member.leads else "follows" if member.reachable else ""
    return [member.endpoint, member.version, role, size, state if not member.problem else f"[red]{state}[/red]"]

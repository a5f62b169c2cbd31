"""`zonelock serve`: a coordinator in this process, from its options to its last breath.

Rules owned here: everything that can be checked is checked before anything listens; "ready" is said exactly once, when
agents can dial; whatever ends the coordinator ends the command with a code and a remedy. Imports the coordinator only
when it runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zonelock_cli.commands.configs import load_config
from zonelock_cli.exits import ExitCode
from zonelock_cli.failures import Failure, config_failure, floor_failure
from zonelock_cli.output import View, progress

if TYPE_CHECKING:
    from coordinator.app import Coordinator, Watch
    from coordinator.config import CoordinatorConfig
    from coordinator.tls import TlsFiles

BUNDLED_FLOOR = "machining"
LEAD_WAIT_S = 5.0
"""How long "ready" waits until the coordinator leads, or stands by behind a leader; it says which."""

PROBE_S = 0.5
PROBE_EVERY_S = 0.2

ENDINGS: dict[str, tuple[ExitCode, str]] = {
    "WebListenError": (
        ExitCode.UNAVAILABLE,
        "End what listens there, or take another address with --web (off for none).",
    ),
    "ListenError": (ExitCode.UNAVAILABLE, "End what listens there, or take another address with --listen."),
    "LedgerCorrupt": (ExitCode.FAILURE, "Restore the store from a copy; the coordinator's log names the records."),
    "JournalCorrupt": (ExitCode.FAILURE, "Restore the store from a copy; the message names the entry."),
    "RecordConflict": (ExitCode.FAILURE, "Find out who else writes under this prefix before starting again."),
    "Halted": (ExitCode.FAILURE, "Find out who else writes to this ledger before starting again."),
    "FloorChanged": (ExitCode.FAILURE, "Start with the floor that the ledger was made with, or with a new store."),
    "InvariantViolation": (ExitCode.FAILURE, "Report it with the coordinator's log; the ledger is as it was."),
    "LoginRefused": (
        ExitCode.UNAVAILABLE,
        "Correct etcd_user or the password in etcd_password_file, then start again.",
    ),
    "LedgerElsewhere": (ExitCode.INVALID, "Correct etcd_prefix, or set etcd_shared: true in the config file."),
    "StoreError": (ExitCode.UNAVAILABLE, "Check --store: is the path writable, are the etcd members up?"),
}
"""Errors that end a coordinator, by the names of their classes: the parts that define them are not the command line's
to import.
"""


GRPC_EXPERIMENTS = "-event_engine_client,-event_engine_listener"
"""gRPC's event engine, switched off: with it every message that comes wakes a thread of a pool, which wakes the thread
that reports completions, which wakes the event loop. Without it the second does the first one's work.
"""


def settle_grpc() -> None:
    """Chooses how gRPC waits for its sockets, before anything of it is used; whoever set GRPC_EXPERIMENTS chose."""
    os.environ.setdefault("GRPC_EXPERIMENTS", GRPC_EXPERIMENTS)


def choose_core() -> None:
    """Takes the compiled core where there is one, before anything imports it. Raises Failure.

    Whoever set ZONELOCK_CORE chose.
    """
    from coordinator.compiled import CoreUnavailable, chosen, how_to_compile, prefer

    prefer()
    try:
        chosen()
    except CoreUnavailable as error:
        remedy = f"Run `{how_to_compile()}`, or start without ZONELOCK_CORE."
        raise Failure(ExitCode.USAGE, str(error), remedy) from error


def event_loop(choice: str) -> asyncio.Runner:
    """What runs the coordinator: Python's own loop, or uvloop (`pip install zonelock[uvloop]`). Raises Failure."""
    if choice == "asyncio" or (choice == "auto" and importlib.util.find_spec("uvloop") is None):
        return asyncio.Runner()
    try:
        factory = importlib.import_module("uvloop").new_event_loop
    except ImportError as error:
        remedy = "Install it with `pip install zonelock[uvloop]`, or start with --loop asyncio."
        raise Failure(ExitCode.USAGE, f"--loop uvloop: {error}", remedy) from error
    return asyncio.Runner(loop_factory=factory)


async def serve_until_stopped(view: View, given: dict[str, Any]) -> None:
    """Runs until SIGTERM or SIGINT. Raises Failure."""
    config = configured(given)
    await etcd_answers(config.store, config.etcd_tls(), float(given["store_wait_s"]))
    logging.basicConfig(
        level=given["log_level"].upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    from coordinator.app import serve
    from coordinator.floor import FloorError

    announcing: list[asyncio.Task[None]] = []
    try:
        watch = chronicle_in(given["history"]) if given.get("history") is not None else None
        await serve(config, lambda c: announcing.append(asyncio.create_task(announce(view, c))), watch)
    except FloorError as error:
        raise floor_failure(error, "Mend the floor; `zonelock check` prints all of this too.") from error
    except Exception as error:
        failure = ending(error)
        if failure is None:
            raise
        raise failure from error
    finally:
        for task in announcing:
            task.cancel()
        await asyncio.gather(*announcing, return_exceptions=True)


def chronicle_in(path: Path) -> Watch:
    """Records the run in this file. Raises Failure when it cannot be written."""
    from chaos.chronicle import coordinators_chronicle

    try:
        path.open("a", encoding="utf-8").close()
    except OSError as error:
        message = f"--history {path}: {error.strerror}"
        raise Failure(ExitCode.FAILURE, message, "Name a file that you may write.") from error
    return coordinators_chronicle(path)


def configured(given: dict[str, Any]) -> CoordinatorConfig:
    """The config file with the options on top; the bundled floor when neither names one."""
    from coordinator.config import ConfigError, make

    names = ("floor", "store", "name", "data_dir", "listen", "web", "assume_empty")
    values = {k: given[k] for k in names if given.get(k) is not None}
    if values.get("web") == "off":
        values["web"] = ""
    file: Path | None = given["config_file"]
    if file is not None:
        return load_config(file, values)
    if "floor" not in values:
        from coordinator.floor.examples import bundled

        values["floor"] = bundled(BUNDLED_FLOOR)
    try:
        return make(values)
    except ConfigError as error:
        raise config_failure(error) from error


async def announce(view: View, coordinator: Coordinator) -> None:
    """Says once that the coordinator serves, and whether it leads."""
    with contextlib.suppress(TimeoutError):
        # Anything else has ended the runtime, and with it `serve`, which reports it: then nothing is ready.
        await asyncio.wait_for(coordinator.ready(), LEAD_WAIT_S)
    runtime = coordinator.runtime
    if view.json:
        view.document(
            {
                "event": "ready",
                "grpc": coordinator.target,
                "web": coordinator.web_url,
                "leading": runtime.leading,
                "store": coordinator.config.store,
                "floor": str(coordinator.config.floor),
                "floor_hash": coordinator.floor.hash,
            }
        )
        return
    from rich.markup import escape

    role = (
        "leading"
        if runtime.leading
        else "[yellow]standing by: another coordinator leads, or the store has no quorum[/yellow]"
    )
    view.block(
        [
            ("gRPC", coordinator.target),
            ("floor map", coordinator.web_url or "off"),
            ("store", escape(coordinator.config.store)),
            ("floor", f"{escape(str(coordinator.config.floor))}, {len(coordinator.floor.zones)} zones"),
            ("role", role),
        ]
    )
    view.say(f"\ntry next: zonelock status --server {coordinator.target}      (Ctrl-C ends the coordinator)")


async def etcd_answers(store: str, tls: TlsFiles | None, wait_s: float) -> None:
    """For an etcd store: waits until one member accepts a connection (with `tls`: and both sides each other's
    certificates); Failure naming every member after `wait_s`.

    A coordinator that lost its etcd waits for it and keeps stopping what must stop. One that is being started with the
    wrong address should say so.
    """
    kind, _, rest = store.partition(":")
    if kind != "etcd":
        return
    members = [m.strip().removeprefix("http://").removeprefix("https://").rstrip("/") for m in rest.split(",")]
    give_up = time.monotonic() + wait_s
    with progress(f"waiting for etcd at {', '.join(members)}"):
        while True:
            silent = [answer for answer in await asyncio.gather(*(probe(m, tls) for m in members)) if answer]
            if len(silent) < len(members):
                return
            if time.monotonic() >= give_up:
                raise Failure(
                    ExitCode.UNAVAILABLE,
                    f"no etcd member answers within {wait_s:g} s",
                    "Start etcd, name others with --store etcd:HOST:PORT,..., or wait longer with --store-wait-s."
                    if tls is None
                    else "Mend what each member says above; etcd_ca, etcd_cert and etcd_key are in the config file.",
                    reason="STORE_UNAVAILABLE",
                    problems=silent,
                )
            await asyncio.sleep(PROBE_EVERY_S)


async def probe(member: str, tls: TlsFiles | None) -> str:
    """Why this member (its form is checked) does not take a connection; empty when it does."""
    if tls is not None:
        from coordinator.tls import diagnose

        return await diagnose(member, tls)
    host, _, port = member.rpartition(":")
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host.strip("[]"), int(port)), PROBE_S)
    except TimeoutError:
        return f"{member}: no answer within {PROBE_S:g} s"
    except OSError as error:
        return f"{member}: {(error.strerror or str(error)).lower()}"
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return ""


def ending(error: Exception) -> Failure | None:
    """What ended the coordinator, for people; None for what nobody foresaw."""
    for kind in type(error).__mro__:
        if kind.__name__ in ENDINGS and kind.__module__.startswith("coordinator."):
            code, remedy = ENDINGS[kind.__name__]
            return Failure(code, str(error) or kind.__name__, remedy, reason=_reason(kind.__name__))
    return None


def _reason(name: str) -> str:
    return "STORE_UNAVAILABLE" if name == "StoreError" else ""

"""The options that many commands share, defined once so that they are spelt, defaulted and documented alike.

Rule owned: where an address, an operator's name or an output form comes from (option, then environment, then default).
Imports only click and the standard library.
"""

from __future__ import annotations

import functools
import getpass
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from zonelock_cli.dialing import Identity, dial_as
from zonelock_cli.failures import Failure
from zonelock_cli.output import View

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_SERVER = "127.0.0.1:7600"
DEFAULT_WAIT_S = 5.0
PORT_MAX = 65_535


def parse_address(text: str, *, what: str, port_min: int = 1) -> tuple[str, int]:
    """`host:port` taken apart; raises click.BadParameter naming the value and the form."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or not port_min <= int(port) <= PORT_MAX:
        form = f"host:port with a port from {port_min} to {PORT_MAX}, such as {DEFAULT_SERVER}"
        raise click.BadParameter(f"{what} {text!r} is not {form}")
    return host, int(port)


def _server(_: click.Context, __: click.Parameter, value: str) -> str:
    servers = [part.strip() for part in value.split(",")]
    for server in servers:
        parse_address(server, what="server")
    return ",".join(dict.fromkeys(servers))


def _operator(_: click.Context, __: click.Parameter, value: str | None) -> str:
    if value:
        return value
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container's uid may have no name. An action without one is refused by the coordinator anyway (I5).
        raise click.BadParameter("this login has no name; say who acts with --operator or $ZONELOCK_OPERATOR") from None


def tls_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--tls-ca`, `--tls-cert`, `--tls-key`; the command itself need not know that they were given."""

    @functools.wraps(command)
    def wrapped(*args: Any, tls_ca: Path | None, tls_cert: Path | None, tls_key: Path | None, **kwargs: Any) -> Any:
        try:
            dial_as(Identity(tls_ca, tls_cert, tls_key))
        except Failure as failure:  # outside of `output_option`, and yet in the form that was asked for
            form = kwargs.get("output", "auto")
            failure.as_json = bool(
                form == "json" or kwargs.get("as_json") or (form == "auto" and not sys.stderr.isatty())
            )
            raise
        return command(*args, **kwargs)

    what = {
        "ca": "PEM of the authority that signed the coordinator's certificate; turns TLS on",
        "cert": "PEM certificate that the coordinator asks of its clients",
        "key": "PEM key of --tls-cert",
    }
    for part in reversed(what):
        variable = f"ZONELOCK_TLS_{part.upper()}"
        wrapped = click.option(
            f"--tls-{part}",
            metavar="FILE",
            envvar=variable,
            type=click.Path(path_type=Path),
            help=f"{what[part]} (${variable}).",
        )(wrapped)
    return wrapped


def server_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--server`, `--wait-s` and TLS: which coordinator, how long to wait for its answer, and how to reach it."""
    command = tls_options(command)
    command = click.option(
        "--wait-s",
        type=click.FloatRange(min=0, min_open=True),
        default=DEFAULT_WAIT_S,
        show_default=True,
        help="Seconds to wait for the coordinator's answer.",
    )(command)
    return click.option(
        "--server",
        metavar="HOST:PORT,...",
        envvar="ZONELOCK_SERVER",
        default=DEFAULT_SERVER,
        show_default=True,
        callback=_server,
        help="The coordinator to talk to, or several of one site: the first that answers ($ZONELOCK_SERVER).",
    )(command)


def operator_options(command: F) -> F:
    """Adds `--operator` and `--reason`: safety actions have a name and a reason on record."""
    command = click.option("--reason", required=True, metavar="TEXT", help="Why; kept in the audit.")(command)
    return click.option(
        "--operator",
        metavar="NAME",
        envvar="ZONELOCK_OPERATOR",
        callback=_operator,
        help="Who acts ($ZONELOCK_OPERATOR; otherwise the login name).",
    )(command)


def output_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `-o table|json` and hands the command a `view`; failures inside take the same form."""

    @click.option(
        "-o",
        "--output",
        type=click.Choice(["auto", "table", "json"]),
        envvar="ZONELOCK_OUTPUT",
        default="auto",
        show_default=True,
        help="Tables for people, JSON for machines; auto: tables on a terminal ($ZONELOCK_OUTPUT).",
    )
    @functools.wraps(command)
    def wrapped(*args: Any, output: str, **kwargs: Any) -> Any:
        view = View(json=output == "json" or (output == "auto" and not sys.stdout.isatty()))
        try:
            return command(*args, view=view, **kwargs)
        except Failure as failure:
            failure.as_json = output == "json" or (output == "auto" and not sys.stderr.isatty())
            raise

    return wrapped


def environment_report() -> dict[str, str]:
    """Which of zonelock's variables are set, for `config show`."""
    return {name: os.environ[name] for name in sorted(os.environ) if name.startswith("ZONELOCK_")}

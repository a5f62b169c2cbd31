"""`close` and `open`: zones that grant nothing new while somebody works there.

Rule owned: both carry a name and a reason. Closing never takes a grant away: holders carry on, and `revoke` or `stop`
are there for those who must not.
"""

from __future__ import annotations

import click

from zonelock_cli.options import operator_options, output_option, server_options
from zonelock_cli.output import View


@click.command()
@click.argument("zones", nargs=-1, required=True, metavar="ZONE|AREA...")
@operator_options
@server_options
@output_option
def close(zones: tuple[str, ...], operator: str, reason: str, server: str, wait_s: float, view: View) -> None:
    """Let zones grant nothing new until they are opened. Who holds them carries on and leaves; who waits is turned
    away.
    """
    from zonelock.v1 import safety_service_pb2

    from zonelock_cli.link import Link
    from zonelock_cli.picture import plain

    with Link(server, wait_s) as link:
        closures = link.close_zones(safety_service_pb2.CloseZonesRequest(operator=operator, reason=reason, zones=zones))
    if view.json:
        view.document({"closures": [plain(closure) for closure in closures]})
        return
    for closure in closures:
        view.say(f"{closure.zone} is closed by {closure.closed_by}: {closure.reason}")


@click.command("open")
@click.argument("zones", nargs=-1, required=True, metavar="ZONE|AREA...")
@operator_options
@server_options
@output_option
def open_(zones: tuple[str, ...], operator: str, reason: str, server: str, wait_s: float, view: View) -> None:
    """Let closed zones be granted again, once the work there is done."""
    from zonelock.v1 import safety_service_pb2

    from zonelock_cli.link import Link

    with Link(server, wait_s) as link:
        opened = link.open_zones(safety_service_pb2.OpenZonesRequest(operator=operator, reason=reason, zones=zones))
    if view.json:
        view.document({"opened": opened})
    else:
        view.say(f"opened {len(opened)}: {' '.join(opened)}" if opened else "none of them was closed")

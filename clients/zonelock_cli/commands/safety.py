"""`stop`, `reset`, `clear` and `revoke`: an operator's four safety actions.

Rule owned: each carries a name and a reason, and a reset names the stops that it ends (I5); there is no "reset
everything", nor a "revoke everything".
"""

from __future__ import annotations

import secrets

import click

from zonelock_cli.exits import ExitCode
from zonelock_cli.failures import Failure, unknown
from zonelock_cli.options import operator_options, output_option, server_options
from zonelock_cli.output import View

STOP_ID_BYTES = 6


@click.command()
@click.option("--zone", metavar="ZONE", help="Stop the stop group of this zone.")
@click.option("--group", metavar="GROUP", help="Stop this stop group.")
@click.option("--floor", is_flag=True, help="Stop the whole floor.")
@click.option("--stop-id", metavar="ID", help="An id of your own; a repeat with the same id is the same stop.")
@operator_options
@server_options
@output_option
def stop(
    zone: str | None,
    group: str | None,
    floor: bool,
    stop_id: str | None,
    operator: str,
    reason: str,
    server: str,
    wait_s: float,
    view: View,
) -> None:
    """Trip a latched stop of one zone's group, one stop group, or the whole floor.

    A software stop request, not a rated safety function: use the plant's own emergency stop when people are in danger.
    """
    if sum((zone is not None, group is not None, floor)) != 1:
        raise click.UsageError("a stop needs exactly one scope: --zone ZONE, --group GROUP or --floor")
    from zonelock.v1 import safety_service_pb2

    from zonelock_cli.commands.looking import show_stops
    from zonelock_cli.link import Link
    from zonelock_cli.picture import plain

    request = safety_service_pb2.TripStopRequest(
        # Made here and not by the coordinator, so that an answer that gets lost can be asked for again.
        operator=operator,
        reason=reason,
        stop_id=stop_id or f"op-{secrets.token_hex(STOP_ID_BYTES)}",
    )
    if zone is not None:
        request.zone = zone
    elif group is not None:
        request.stop_group = group
    else:
        request.floor = True
    with Link(server, wait_s) as link:
        try:
            tripped = plain(link.trip_stop(request))
        except Failure as failure:
            if failure.reason == "COMMIT_UNCERTAIN":
                failure.remedy = (
                    f"It is in force, and will be recorded as soon as the store commits. Ask again with --stop-id "
                    f"{request.stop_id} until that is confirmed; `zonelock cluster status` shows the store."
                )
            elif failure.exit_code == ExitCode.UNAVAILABLE:
                failure.remedy = (
                    f"The stop is NOT known to have left. Use the plant's own emergency stop where anybody may be in "
                    f"danger; ask another coordinator with --server HOST:PORT --stop-id {request.stop_id}."
                )
            raise
    if view.json:
        view.document({"stop": tripped})
    else:
        show_stops(view, [tripped])


@click.command()
@click.argument("stop_ids", nargs=-1, required=True, metavar="STOP_ID...")
@operator_options
@server_options
@output_option
def reset(stop_ids: tuple[str, ...], operator: str, reason: str, server: str, wait_s: float, view: View) -> None:
    """End the stops named by id, once the area is safe. Nothing moves by itself: agents ask again."""
    from zonelock.v1 import safety_service_pb2

    from zonelock_cli.link import Link
    from zonelock_cli.picture import plain

    request = safety_service_pb2.ResetStopRequest(operator=operator, reason=reason, stop_ids=stop_ids)
    with Link(server, wait_s) as link:
        try:
            ended = [plain(s) for s in link.reset_stops(request)]
        except Failure as failure:
            if failure.reason != "UNKNOWN_STOP":
                raise
            active = {s["stop_id"] for s in link.picture().active_stops()}
            wrong = next((i for i in stop_ids if i not in active), stop_ids[0])
            better = unknown("active stop", wrong, active, "zonelock status")
            better.reason = failure.reason
            raise better from failure
    if view.json:
        view.document({"stops": ended})
        return
    for stopped in ended:
        view.say(f"reset {stopped['stop_id']} by {stopped['reset_by']}: {stopped['reset_reason']}")


@click.command()
@click.argument("zones", nargs=-1, metavar="[ZONE|AREA]...")
@click.option("--all-unknown", is_flag=True, help="Every UNKNOWN zone: the floor was walked and found empty.")
@click.option(
    "--agent", metavar="AGENT", default="", help="Only what this agent left behind; without ZONE, everywhere."
)
@operator_options
@server_options
@output_option
def clear(
    zones: tuple[str, ...],
    all_unknown: bool,
    agent: str,
    operator: str,
    reason: str,
    server: str,
    wait_s: float,
    view: View,
) -> None:
    """Confirm that nobody stands in these zones any more. Look first: the coordinator believes you.

    Never takes a live grant away. Names zones or areas, or --all-unknown after a cold start, or --agent. Clears what it
    shows, and is refused if somebody else stands there by the time it arrives.
    """
    if not zones and not all_unknown and not agent:
        raise click.UsageError("say what is clear: ZONE names, --all-unknown, or --agent AGENT")
    if zones and all_unknown:
        raise click.UsageError("give ZONE names or --all-unknown, not both")
    from zonelock.v1 import safety_service_pb2
    from zonelock_client.operators import blocked_units

    from zonelock_cli.link import Link

    with Link(server, wait_s) as link:
        names = zones
        if agent and not zones and not all_unknown:
            picture = link.picture()
            names = tuple(sorted({z["name"] for z, o in picture.occupancies(agent) if o["state"] == "BLOCKED"}))
            if not names:
                if agent not in picture.known_agents():
                    raise unknown("agent", agent, picture.known_agents(), "zonelock agents")
                raise Failure(
                    ExitCode.REFUSED,
                    f"{agent} left nothing behind that could be cleared",
                    f"`zonelock explain {agent}` shows what it holds.",
                    reason="NOTHING_TO_CLEAR",
                )
        looked = link.list_zones(names)
        seen = list(blocked_units(looked.zones, agent)) if not all_unknown else []
        if not view.json:
            for unit in seen:
                view.say(f"{unit.zone}, slot {unit.slot}: {unit.agent_id} (token {unit.token}) is gone, as you say")
        request = safety_service_pb2.ClearZonesRequest(
            operator=operator, reason=reason, zones=names, all_unknown=all_unknown, agent_id=agent
        )
        request.seen.extend(seen)
        request.incarnation = looked.incarnation
        cleared = link.clear_zones(request)
    if view.json:
        units = [{"zone": u.zone, "slot": u.slot, "agent_id": u.agent_id, "token": u.token} for u in seen]
        view.document({"cleared": cleared, "seen": units})
    else:
        view.say(f"cleared {len(cleared)}: {' '.join(cleared)}" if cleared else "nothing was occupied or unknown")


@click.command()
@click.argument("agent", required=False, metavar="[AGENT]")
@click.option("--token", type=click.IntRange(1, 2**63 - 1), metavar="N", help="One grant, by its token.")
@operator_options
@server_options
@output_option
def revoke(
    agent: str | None, token: int | None, operator: str, reason: str, server: str, wait_s: float, view: View
) -> None:
    """Take live grants back: one by its token, or all of an agent's. The zones are not free yet.

    The holder is told to stand still and holds on until it confirms; when it never does, its deadline stops the area.
    """
    if (agent is None) == (token is None):
        raise click.UsageError("say what to take back: AGENT, or --token N for one grant")
    from zonelock.v1 import safety_service_pb2

    from zonelock_cli.link import Link

    request = safety_service_pb2.RevokeGrantsRequest(operator=operator, reason=reason)
    if token is not None:
        request.token = token
    else:
        request.agent_id = agent or ""
    with Link(server, wait_s) as link:
        try:
            tokens = link.revoke_grants(request)
        except Failure as failure:
            known = link.picture().known_agents() if failure.reason == "NOTHING_TO_REVOKE" and agent else ()
            if agent is None or not known or agent in known:
                raise
            better = unknown("agent", agent, known, "zonelock agents")
            better.reason = failure.reason
            raise better from failure
    if view.json:
        view.document({"tokens": tokens})
    else:
        view.say(f"revoked {' '.join(map(str, tokens))}: held until the holder confirms that it stands or has left")

"""`status`, `zones`, `agents` and `explain`: one picture of the floor, shown four ways.

Rule owned: each command shows one consistent picture (the snapshot that opens a watch), never two calls stitched
together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from zonelock_cli.exits import ExitCode
from zonelock_cli.failures import Failure, unknown
from zonelock_cli.options import output_option, server_options
from zonelock_cli.output import View, doing, duration, since, state

if TYPE_CHECKING:
    from zonelock_cli.link import Link
    from zonelock_cli.picture import Picture
    from zonelock_cli.story import Story

ZONE_STATE_CHOICES = ("FREE", "HELD", "BLOCKED", "STOPPED", "UNKNOWN", "CLOSED")


@click.command()
@server_options
@output_option
def status(server: str, wait_s: float, view: View) -> None:
    """Show the floor in a few lines: zones by state, agents, waits, stops and why.

    A standby passes the question on to the leader. Exits 0 when a coordinator that leads and commits answered, 3
    otherwise.
    """
    from zonelock_cli.link import Link
    from zonelock_cli.picture import LINK_STATES, ZONE_STATES, counts

    with Link(server, wait_s) as link:
        picture = link.picture()
    zone_counts = counts((z["state"] for z in picture.zones.values()), ZONE_STATES)
    agent_counts = counts((a["link"] for a in picture.agents.values()), LINK_STATES)
    if view.json:
        view.document(
            {
                "server": link.server,
                "epoch": picture.epoch,
                "floor_hash": picture.floor_hash,
                "zones": zone_counts,
                "agents": agent_counts,
                "waiting": len(picture.waits),
                "stops": picture.active_stops(),
                "totals": picture.totals,
            }
        )
    else:
        _show_status(view, link, picture, zone_counts, agent_counts)
    if not link.commits:
        raise Failure(
            ExitCode.UNAVAILABLE,
            f"the coordinator at {link.server} cannot commit: it shows what it knew last, and grants nothing",
            f"Stops still work. `zonelock cluster status --server {link.server}` shows the store.",
            reason="STORE_UNAVAILABLE",
        )


def _show_status(
    view: View, link: Link, picture: Picture, zone_counts: dict[str, int], agent_counts: dict[str, int]
) -> None:
    totals, stops = picture.totals, picture.active_stops()
    role = "leading" if link.commits else "[bold red]its store does not commit[/bold red]"
    rows = [
        ("coordinator", f"{link.server}, {role}, epoch {picture.epoch}"),
        ("floor", picture.floor_hash[:12] or "no hash"),
        ("zones", _tally(zone_counts)),
        ("agents", _tally(agent_counts)),
        ("waiting", str(len(picture.waits))),
        (
            "so far",
            f"{totals.get('grants', 0)} grants, {totals.get('releases', 0)} releases, {totals.get('stops', 0)} stops, "
            f"{totals.get('commits', 0)} commits",
        ),
        ("stops", f"[bold red]{len(stops)} active[/bold red]" if stops else "none active"),
    ]
    view.block(rows)
    show_stops(view, stops)
    if zone_counts["UNKNOWN"]:
        view.say(
            f"\n{zone_counts['UNKNOWN']} zones were never confirmed empty and cannot be granted. Walk the floor:\n"
            f"  zonelock clear --all-unknown --reason TEXT"
        )


def show_stops(view: View, stops: list[dict[str, Any]]) -> None:
    """One paragraph a stop: what, whose doing, what it waits for, the command that ends it."""
    from rich.markup import escape

    for stop in stops:
        scope = "the whole floor" if stop["floor"] else "group " + ", ".join(stop["stop_groups"])
        view.say(
            f"\n[bold red]STOP[/bold red] [bold]{escape(stop['stop_id'])}[/bold]  "
            f"{escape(scope)}{since(stop['age_ms'])}"
        )
        view.say(f"  why      {escape(stop['reason'])} ({stop['cause']}, by {escape(stop['tripped_by'])})")
        view.say(f"  acked    {escape(', '.join(stop['acknowledged_by'])) or 'nobody'}")
        if stop["unconfirmed"]:
            view.say(f"  missing  {escape(', '.join(stop['unconfirmed']))}: a reset waits for them")
        view.say(f"  ends by  zonelock reset {escape(stop['stop_id'])} --reason TEXT")


def _tally(numbers: dict[str, int]) -> str:
    return ", ".join(f"{count} {state(name)}" for name, count in numbers.items() if count) or "none"


@click.command()
@click.argument("names", nargs=-1, metavar="[ZONE]...")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice(ZONE_STATE_CHOICES, case_sensitive=False),
    help="Only zones shown in this state; may be repeated.",
)
@server_options
@output_option
def zones(names: tuple[str, ...], states: tuple[str, ...], server: str, wait_s: float, view: View) -> None:
    """List zones with their state, occupants, waiters and stops; all of them, or those named."""
    from rich.markup import escape

    from zonelock_cli.link import Link

    with Link(server, wait_s) as link:
        picture = link.picture()
    for name in names:
        if name not in picture.zones:
            raise unknown("zone", name, picture.zones, "zonelock zones")
    chosen = [picture.zones[n] for n in (names or sorted(picture.zones))]
    if states:
        chosen = [z for z in chosen if z["state"] in states]
    if view.json:
        view.document({"zones": chosen})
        return
    view.table(
        ["ZONE", "STATE", "USE", "GROUP", "OCCUPANTS", "WAITERS", "STOPS"],
        [
            [
                escape(z["name"]),
                state(z["state"]),
                f"{sum(o['state'] != 'FREE' for o in z['occupants'])}/{z['capacity']}",
                escape(z["stop_group"]),
                escape("; ".join(_occupant(o) for o in z["occupants"] if o["state"] not in ("FREE", "UNKNOWN"))),
                str(z["waiters"] or ""),
                escape(", ".join(z["stop_ids"])),
            ]
            for z in chosen
        ],
        right=["USE", "WAITERS"],
    )


def _occupant(occupant: dict[str, Any]) -> str:
    if occupant["state"] == "HELD":
        gone = ", link gone" if occupant["orphaned"] else ""
        return f"{occupant['agent_id']} (grant {occupant['token']}, {duration(occupant['remaining_ms'])} left{gone})"
    why = occupant["cause"] or occupant["state"]
    return f"{occupant['agent_id'] or 'somebody'} ({why}{since(occupant['since_ms'])})"


@click.command()
@click.argument("names", nargs=-1, metavar="[AGENT]...")
@server_options
@output_option
def agents(names: tuple[str, ...], server: str, wait_s: float, view: View) -> None:
    """List agents with their link, zones and what each is doing; all of them, or those named."""
    from rich.markup import escape

    from zonelock_cli.link import Link

    with Link(server, wait_s) as link:
        picture = link.picture()
    for name in names:
        if name not in picture.agents:
            raise unknown("agent", name, picture.agents, "zonelock agents")
    chosen = [picture.agents[n] for n in (names or sorted(picture.agents))]
    if view.json:
        view.document({"agents": chosen})
        return
    view.table(
        ["AGENT", "KIND", "LINK", "INSIDE", "HOLDS", "STOPS", "DOING"],
        [
            [
                escape(a["agent_id"]),
                escape(a["kind"]),
                state(a["link"]),
                escape(", ".join(a["inside_zones"])),
                escape(", ".join(a["held_zones"])),
                escape(", ".join(a["stop_ids"])),
                escape(doing(a)),
            ]
            for a in chosen
        ],
    )


@click.command()
@click.argument("name", metavar="NAME")
@server_options
@output_option
def explain(name: str, server: str, wait_s: float, view: View) -> None:
    """Say why an agent, a zone or a stop stands as it stands: for whom, since when, why, and what would resolve it."""

    from zonelock_cli.link import Link
    from zonelock_cli.story import tell

    with Link(server, wait_s) as link:
        picture = link.picture()
    if name in picture.known_agents():
        _explain_agent(tell(picture, name), view)
    elif name in picture.zones:
        _explain_zone(picture.zones[name], view)
    elif name in picture.stops:
        _explain_stop(picture.stops[name], view)
    else:
        known = [*picture.known_agents(), *picture.zones, *picture.stops]
        raise unknown("agent, zone or stop", name, known, "zonelock agents")


def _explain_zone(zone: dict[str, Any], view: View) -> None:
    free = f"nothing keeps {zone['name']}: it is given to whoever asks next"
    said = zone["explanation"] or (free if zone["state"] == "FREE" else f"this coordinator says only {zone['state']}")
    if view.json:
        view.document({"zone": zone["name"], "state": zone["state"], "explanation": said, "waiters": zone["waiters"]})
        return
    from rich.markup import escape

    view.say(f"[bold]{escape(zone['name'])}[/bold]  {state(zone['state'])}, {zone['waiters']} waiting")
    for clause in said.split("; "):
        view.say(f"  {escape(clause)}")


def _explain_stop(stop: dict[str, Any], view: View) -> None:
    said = stop["explanation"] or f"{stop['stop_id']} is over"
    if view.json:
        view.document({"stop": stop, "explanation": said})
        return
    from rich.markup import escape

    show_stops(view, [stop])
    view.say(f"  {escape(said)}")


def _explain_agent(story: Story, view: View) -> None:
    from rich.markup import escape

    agent = story.agent_id
    if view.json:
        view.document(story.document())
        return
    kind = f" ({escape(story.kind)})" if story.kind else ""
    view.say(f"[bold]{escape(agent)}[/bold]{kind}  {state(story.state)}, link {state(story.link)}")
    view.say(f"  {escape(story.clause)}")
    for hold in story.holds:
        gone = ", its link is gone" if hold["orphaned"] else ""
        view.say(
            f"  holds    {escape(hold['zone'])}{since(hold['since_ms'])}, grant {hold['token']}, "
            f"{duration(hold['remaining_ms'])} left{gone}"
        )
    for left in story.blocked:
        view.say(f"  blocks   {escape(left['zone'])}{since(left['since_ms'])}, {left['cause']}: {escape(left['why'])}")
    for wait in story.waits:
        view.say(
            f"  waits    for {escape(', '.join(wait['zones']))}{since(wait['waiting_ms'])}, "
            f"place {wait['position']}, priority {wait['priority']}"
        )
        for b in wait["blockers"]:
            who = f" by {escape(b['agent_id'])}" if b["agent_id"] else ""
            view.say(f"           {escape(b['zone'])} {b['kind']}{who}{since(b['since_ms'])}")
    for line in story.chain[1:]:
        view.say(f"  and then {escape(line)}")
    show_stops(view, list(story.stops))
    view.say("\nwhat would resolve it:")
    for line in story.resolve:
        view.say(f"  - {escape(line)}")

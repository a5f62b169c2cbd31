"""`zonelock watch`: what changes on the floor, as it changes.

Rule owned: a line is printed for what a person would call an event (a zone's state or occupants, a link, a wait, a
stop); mere movement and ageing counters are left out unless asked for.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import click

from zonelock_cli.failures import unknown
from zonelock_cli.options import output_option, server_options
from zonelock_cli.output import View, doing, duration, state

Event = tuple[str, str, dict[str, Any], str]
"""Kind, subject, the JSON payload, and the line for people."""

MOVING_FIELDS = frozenset({"has_position", "x_mm", "y_mm", "heading_mdeg"})
AGEING_FIELDS = frozenset({"since_ms", "remaining_ms", "age_ms", "waiting_ms"})
AGE = re.compile(r"-?\d[\d,.]* m?s\b")


@click.command()
@click.option("--zone", "zones", multiple=True, metavar="ZONE", help="Only this zone (and all stops); may be repeated.")
@click.option(
    "--agent", "agents", multiple=True, metavar="AGENT", help="Only this agent (and all stops); may be repeated."
)
@click.option("--positions", is_flag=True, help="Also print agents that merely moved.")
@click.option(
    "--seconds", type=click.FloatRange(min=0, min_open=True), help="End after this long; otherwise on Ctrl-C."
)
@server_options
@output_option
def watch(
    zones: tuple[str, ...],
    agents: tuple[str, ...],
    positions: bool,
    seconds: float | None,
    server: str,
    wait_s: float,
    view: View,
) -> None:
    """Print what changes: zones, agents, waits and stops, one line each; with -o json one object a line.

    Ends with exit code 3 when the coordinator goes away.
    """
    import threading

    from zonelock_cli.link import Link
    from zonelock_cli.picture import Picture

    wanted = frozenset(zones) | frozenset(agents)
    with Link(server, wait_s) as link:
        if wanted:
            _check_names(link.picture(), zones, agents)
        picture = Picture()
        end = None if seconds is None else threading.Timer(seconds, link.stop)
        if end is not None:
            end.daemon = True
            end.start()
        for response in link.changes(min_interval_ms=0):
            before = Picture(
                zones=dict(picture.zones), agents=dict(picture.agents), stops=dict(picture.stops), waits=picture.waits
            )
            picture.apply(response)
            if response.snapshot:
                _show_snapshot(view, picture)
            for kind, subject, payload, line in differences(before, picture, positions=positions):
                if not response.snapshot and (kind == "stop" or not wanted or subject in wanted):
                    _show(view, kind, payload, line)
        if end is not None:
            end.cancel()


def _check_names(picture: Any, zones: tuple[str, ...], agents: tuple[str, ...]) -> None:
    for name in zones:
        if name not in picture.zones:
            raise unknown("zone", name, picture.zones, "zonelock zones")
    for name in agents:
        if name not in picture.known_agents():
            raise unknown("agent", name, picture.known_agents(), "zonelock agents")


def _show_snapshot(view: View, picture: Any) -> None:
    if view.json:
        view.document(
            {
                "event": "snapshot",
                "epoch": picture.epoch,
                "floor_hash": picture.floor_hash,
                "zones": [picture.zones[n] for n in sorted(picture.zones)],
                "agents": [picture.agents[n] for n in sorted(picture.agents)],
                "stops": [picture.stops[n] for n in sorted(picture.stops)],
                "waits": picture.waits,
            }
        )
        return
    active = len(picture.active_stops())
    view.say(f"watching {len(picture.zones)} zones, {len(picture.agents)} agents, {active} active stops (Ctrl-C ends)")


def _show(view: View, kind: str, payload: dict[str, Any], line: str) -> None:
    if view.json:
        view.document({"event": kind, **payload})
    else:
        view.say(f"[dim]{time.strftime('%H:%M:%S')}[/dim]  {line}")


def differences(before: Any, after: Any, *, positions: bool) -> Iterator[Event]:
    """The events that lead from one picture to the next: stops first, then zones, agents and waits, each by name."""
    yield from _stops(before, after)
    for name, zone in sorted(after.zones.items()):
        old = before.zones.get(name)
        if old is None or _steady(old) != _steady(zone):
            yield "zone", name, {"zone": zone}, _zone_line(old, zone)
    for name, agent in sorted(after.agents.items()):
        old = before.agents.get(name)
        hidden = frozenset() if positions else MOVING_FIELDS
        if old is None or _steady(old, hidden) != _steady(agent, hidden):
            yield "agent", name, {"agent": agent}, _agent_line(old, agent)
    for name in sorted(set(before.agents) - set(after.agents)):
        yield "agent_removed", name, {"agent_id": name}, f"{_plain(name)} is no longer known"
    yield from _waits(before, after)


def _stops(before: Any, after: Any) -> Iterator[Event]:
    from rich.markup import escape

    for stop_id, stop in sorted(after.stops.items()):
        old = before.stops.get(stop_id)
        if old is not None and _steady(old) == _steady(stop):
            continue
        if not stop["active"]:
            line = (
                f"[green]reset[/green] {escape(stop_id)} by {escape(stop['reset_by'])}: {escape(stop['reset_reason'])}"
            )
        elif old is None:
            line = f"[bold red]STOP[/bold red] {escape(stop_id)}: {escape(stop['reason'])}"
        else:
            missing = ", ".join(stop["unconfirmed"]) or "nobody"
            line = f"[bold red]STOP[/bold red] {escape(stop_id)}: unconfirmed {escape(missing)}"
        yield "stop", stop_id, {"stop": stop}, line


def _waits(before: Any, after: Any) -> Iterator[Event]:
    was = {(w["agent_id"], w["request_id"]): w for w in before.waits}
    now = {(w["agent_id"], w["request_id"]): w for w in after.waits}
    for key in sorted(now.keys() - was.keys()):
        wait = now[key]
        who = ", ".join(sorted({b["agent_id"] or b["kind"] for b in wait["blockers"]})) or "its turn"
        line = f"{_plain(key[0])} waits for {_plain(', '.join(wait['zones']))}, behind {_plain(who)}"
        yield "wait", key[0], {"wait": wait}, line
    for key in sorted(was.keys() - now.keys()):
        wait = was[key]
        line = f"{_plain(key[0])} waits no more for {_plain(', '.join(wait['zones']))} ({duration(wait['waiting_ms'])})"
        yield "wait_ended", key[0], {"wait": wait}, line


def _steady(value: Any, hidden: frozenset[str] = frozenset()) -> Any:
    """A value without its ageing counters and `hidden` fields, for comparison."""
    if isinstance(value, dict):
        return {k: _steady(v, hidden) for k, v in value.items() if k not in AGEING_FIELDS and k not in hidden}
    if isinstance(value, str):
        # An explanation tells its age ("waits 1,200 ms for ..."), and growing older is no event.
        return AGE.sub("", value)
    if isinstance(value, list):
        return [_steady(v, hidden) for v in value]
    return value


def _zone_line(old: dict[str, Any] | None, zone: dict[str, Any]) -> str:
    now = state(zone["state"])
    change = now if old is None or old["state"] == zone["state"] else f"{state(old['state'])} -> {now}"
    who = [f"{o['agent_id']}" for o in zone["occupants"] if o["agent_id"] and o["state"] not in ("FREE", "UNKNOWN")]
    by = f"  {_plain(', '.join(who))}" if who else ""
    queue = f"  ({zone['waiters']} waiting)" if zone["waiters"] else ""
    return f"[bold]{_plain(zone['name'])}[/bold]  {change}{by}{queue}"


def _agent_line(old: dict[str, Any] | None, agent: dict[str, Any]) -> str:
    link = state(agent["link"]) if old is None or old["link"] != agent["link"] else ""
    return f"[bold]{_plain(agent['agent_id'])}[/bold]  {' '.join(p for p in (link, _plain(doing(agent))) if p)}"


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)

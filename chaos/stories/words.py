"""How the lines of a history read in a story: one short sentence each, heartbeats and bookkeeping left out.

Tokens appear by their counter; a stop of a deadline by that too. Seconds count from the begin of the scene.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from chaos.checkers.verdict import token_words
from chaos.history import Line
from chaos.stories.stage import BEGIN_MS
from coordinator.core.model import spoken

_TOKEN = re.compile(r"\b\d{13,}\b")


class Teller:
    """Tells lines; puts the time in front where it moved on since the last told line."""

    def __init__(self) -> None:
        self._said: dict[str, Callable[[Line], str]] = {
            "send": _sent,
            "commit": _committed,
            "deliver": _heard,
            "stop": lambda line: f"{line['agent']} hears stop {line['stop_id']}",
            "agent": _agent,
            "body": _body,
            "crash": lambda line: f"{line['coord']} crashes",
            "takeover": lambda line: f"{line['coord']} leads in epoch {line['epoch']}",
        }

    def tell(self, lines: Sequence[Line], verb: str) -> list[str]:
        """What is worth telling, in order."""
        told = []
        for line in lines:
            say = self._said.get(line.kind)
            sentence = say(line) if say is not None else ""
            if sentence:
                seconds = f"{(line.t - BEGIN_MS) / 1000:.3f}".rstrip("0").rstrip(".")
                told.append(f"{seconds:>6} s  {self.shorten(sentence)}")
        return told

    def shorten(self, text: str) -> str:
        """Long tokens as people say them."""
        return _TOKEN.sub(lambda found: token_words(int(found.group())), text)


def _names(line: Line, name: str = "zones") -> str:
    return ", ".join(line.get(name) or ())


def _sent(line: Line) -> str:
    agent, op = line["agent"], line["op"]
    if op in ("heartbeat", "hello"):
        return ""
    if op == "ask":
        urgent = f", priority {line['priority']}" if line.get("priority") else ""
        return f"{agent} asks for {_names(line)}, {spoken(line['expected_ms'])}{urgent}"
    if op == "telemetry":
        where = _names(line, "inside") or "no zone"
        return f"{agent} reports: inside {where}{', with the nonce' if line.get('nonce') else ''}"
    if op == "claim":
        return f"{agent} claims the way {_names(line)}" if line.get("zones") else f"{agent} says that it has arrived"
    if op == "stop_ack":
        return f"{agent} confirms that it stands: {_names(line, 'stop_ids')}"
    words = {"cancel": "withdraws its ask", "goodbye": "says goodbye", "prove_vacancy": "wants to prove that it left"}
    told = {"release": "gives back", "decline": "declines", "extend": "asks for more time for"}
    if op in words:
        return f"{agent} {words[op]}"
    if op == "abandon":
        return f"{agent} gives up token {line['token']} ({line.get('cause', '').lower()}), its zones stay occupied"
    more = f": {spoken(line['expected_ms'])}" if op == "extend" else ""
    return (
        f"{agent} {told.get(op, op)} token {line.get('token')}{' ' + _names(line) if line.get('zones') else ''}{more}"
    )


def _committed(line: Line) -> str:
    parts = [_unit(unit) for unit in line.get("units") or ()]
    parts += [_stop(stop) for stop in line.get("stops") or ()]
    if line["outcome"] != "ok":
        return f"commit {line['outcome']}{', applied' if line.get('applied') else ''}: {'; '.join(parts) or 'a tick'}"
    return f"ledger: {'; '.join(parts)}" if parts else ""


def _unit(unit: dict[str, Any]) -> str:
    slot = f"/{unit['slot']}" if unit["slot"] else ""
    if unit["state"] == "FREE":
        return f"{unit['zone']}{slot} free"
    cause = f" ({unit['cause'].lower()})" if unit.get("cause") and unit["state"] == "BLOCKED" else ""
    return f"{unit['zone']}{slot} {unit['state'].lower()} by {unit['agent']}, token {unit['token']}{cause}"


def _stop(stop: dict[str, Any]) -> str:
    by = f" by {stop['reset_by']}" if stop.get("reset_by") else ""
    return f"stop {stop['stop_id']} {'active' if stop['active'] else 'ended'}{by}"


def _heard(line: Line) -> str:
    agent, answer = line["agent"], line["answer"]
    zones = f": {_names(line)}" if line.get("zones") else ""
    match answer:
        case "granted" | "extended":
            what = f" {_names(line)}" if zones else ""
            said = f"hears {answer}{what}, token {line['token']}, {spoken(line['remaining_ms'])}"
        case "queued":
            said = f"hears queued, place {line['position']}: {'; '.join(line.get('blockers') or ())}"
        case "welcome":
            said = "is welcome"
            grants = [
                f"token {g['token']} ({', '.join(g['zones'])}), {spoken(g['remaining_ms'])}" for g in line["grants"]
            ]
            said += f" and carries on with {'; '.join(grants)}" if grants else ""
        case "rejected" | "failed":
            said = f"hears {line['reason']}{': ' + line['x_message'] if line.get('x_message') else zones}"
        case "claimed":
            whether = "can finish" if line.get("can_finish") else "cannot finish as things stand"
            said = f"hears that it {whether}; left: {_names(line) or 'nothing'}"
        case "yield_to":
            said = f"is asked to make way and go to {line['to_zone']}"
        case "stop_ended":
            said = f"hears that stop {line['stop_id']} has ended"
        case "warned":
            said = f"is warned: {spoken(line['remaining_ms'])} left of token {line['token']}"
        case _:
            token = f" token {line['token']}" if line.get("token") else ""
            said = f"hears {answer}{token}{zones}"
    return f"{agent} {said}"


def _resumed(grant: dict[str, Any]) -> str:
    return f"token {grant['token']} ({', '.join(grant['zones'])}), {spoken(grant['remaining_ms'])}"


def _agent(line: Line) -> str:
    agent, what = line["agent"], line["what"]
    match what:
        case "boot":
            return f"{agent} begins"
        case "down":
            return f"{agent} has nobody who speaks for it"
        case "link":
            return f"{agent}'s link is {line['link']}"
        case "lost":
            return f"{agent} has lost token {line['token']} ({line['reason']})"
        case "dead_man":
            return f"{agent}'s permit for token {line['token']} ends"
        case "latched":
            return f"{agent} latches {line['stop_id']}"
        case "unlatched":
            return f"{agent} unlatches {line['stop_id']}"
        case _:
            return ""


def _body(line: Line) -> str:
    agent, what = line["agent"], line["what"]
    by = " (put there)" if line.get("by") == "people" and what == "enter" else ""
    words = {"start": "moves", "stop": "stands", "removed": "is towed away"}
    if what in words:
        return f"{agent} {words[what]}"
    return f"{agent} {'enters' if what == 'enter' else 'leaves'} {line.get('zone')}{by}"

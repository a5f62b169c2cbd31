"""I9, routes: whoever claimed a route and was told that it can finish, still can after every later grant.

A promise stands until something else than a grant may have broken it: a claim by anybody, an ask beside what was
claimed, or that such an ask is given up, a stop, an occupant whose grant ended or whose link went, a new leader; or
another took the last zone of both their routes first, for which whoever comes second waits its turn, as for any hold.
While it stands, no grant closes a ring around its agent, and it is not told WOULD_DEADLOCK, unless it is to ask for
less at once: the zone named to it then lies on the way that it asked for. A ring counts only where every member stands
in the one zone that it holds, and waits for the next of its own route.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chaos.checkers.facts import Floor, Ledger, granted_in, is_applied, is_occupied
from chaos.checkers.verdict import Findings, Violation
from chaos.history import Line

DISTURBING = frozenset({"Hello", "ConnClosed", "SaidGoodbye", "ClearAsked", "RevokeAsked", "StopAsked"})
"""Events after which somebody may be unable to finish through no fault of a grant."""


def promised_routes(lines: Sequence[Line]) -> list[Violation]:
    """Every violation of this part of I9 in the history."""
    return _Promises(lines).run()


@dataclass(slots=True)
class Claim:
    """One agent's route. `left` is worked off by its grants; `promised` while it counts on arriving."""

    left: list[str] = field(default_factory=list)
    promised: bool = False
    disturbed: bool = False
    """Something happened between the claim and its answer."""


class _Promises:
    def __init__(self, lines: Sequence[Line]) -> None:
        self.findings = Findings("I9", lines)
        self.floor, self.ledger = Floor(), Ledger()
        self.claims: dict[str, Claim] = {}
        self.asks: dict[str, dict[str, frozenset[str]]] = {}
        """agent -> request -> zones, of what it waits for as far as it knows itself."""
        self.inside: dict[str, set[str]] = {}
        self.beside: set[tuple[str, str]] = set()
        """(agent, request) of asks beside what their agent had claimed."""
        self.astray: set[str] = set()
        """Agents that were granted a zone beside their claim: what they do next is their own choice."""

    def run(self) -> list[Violation]:
        for line in self.findings.lines:
            match line.kind:
                case "floor":
                    self.floor.take(line)
                case "commit" if is_applied(line):
                    self._commit(line)
                case "fault" if line["what"] == "restore":
                    self.ledger = Ledger()
                    self._disturb()
                case "takeover" | "crash":
                    self._disturb()
                case "event" if line["name"] in DISTURBING:
                    self._disturb()
                case "event" if line["name"] in ("Claimed", "Asked"):
                    self._event(line)
                case "event" if line["name"] == "Cancelled":
                    self._gives_up(line.get("agent") or "", (line.get("fields") or {}).get("request_id", ""))
                case "step" if line.get("stops"):
                    self._disturb()
                case "send":
                    self._send(line)
                case "deliver":
                    self._deliver(line)
                case "body":
                    self._body(line)
                case _:
                    pass
        return self.findings.found

    def _disturb(self, by: str = "") -> None:
        for agent, claim in self.claims.items():
            if agent != by:
                claim.promised, claim.disturbed = False, True

    # -- what agents say and hear ----------------------------------------------------------------------------------

    def _send(self, line: Line) -> None:
        agent, mine = line["agent"], self.asks.setdefault(line["agent"], {})
        if line["op"] == "claim":
            self._disturb()
            self.astray.discard(agent)
            self.claims[agent] = Claim(list(line.get("zones") or ()))
        elif line["op"] == "ask":
            zones = frozenset(line.get("zones") or ())
            mine[line.get("request_id", "")] = zones
            claim = self.claims.get(agent)
            if claim is None or not zones <= {*claim.left, *self._held(agent)}:
                self._disturb()  # it left its route, or has none: this ask is a route of one step
                self.beside.add((agent, line.get("request_id", "")))
            self._look_for_ring(line, agent)
        elif line["op"] == "cancel":
            mine.pop(line.get("request_id", ""), None)
            self._gives_up(agent, line.get("request_id", ""))
        elif line["op"] in ("goodbye", "hello"):
            mine.clear()

    def _gives_up(self, agent: str, request_id: str) -> None:
        """An ask beside every claim was reckoned to be a route of one step: without it its agent stays where it is."""
        if (agent, request_id) in self.beside:
            self._disturb(by=agent)

    def _event(self, line: Line) -> None:
        """A claim, or an ask beside every claim, arrives: it may have been under way for long."""
        agent = line.get("agent") or ""
        if line["name"] == "Claimed" or (agent, (line.get("fields") or {}).get("request_id", "")) in self.beside:
            self._disturb(by=agent)

    def _deliver(self, line: Line) -> None:
        agent, answer = line["agent"], line["answer"]
        claim = self.claims.get(agent)
        if answer == "claimed" and claim is not None:
            claim.promised = bool(line.get("can_finish")) and bool(claim.left) and not claim.disturbed
        elif answer == "rejected" and line.get("reason") == "WOULD_DEADLOCK" and claim is not None and claim.promised:
            asked = self.asks.get(agent, {}).get(line.get("request_id", ""), frozenset())
            onward = line.get("retreat_zone") in asked & {*claim.left}
            if asked and asked <= {*claim.left, *self._held(agent)} and not onward:
                self.findings.add(
                    line,
                    f"{agent} is told that waiting for {', '.join(sorted(asked))} cannot help, and was told that it "
                    f"can finish its route by {', '.join(claim.left)}",
                    agents=[agent],
                    zones=claim.left,
                )
        for grant in granted_in(line):
            self.asks.get(agent, {}).pop(grant.get("request_id") or line.get("request_id", ""), None)
        if answer in ("rejected", "failed", "cancelled"):
            self.asks.get(agent, {}).pop(line.get("request_id", ""), None)

    def _body(self, line: Line) -> None:
        inside, zone = self.inside.setdefault(line["agent"], set()), line.get("zone")
        if line["what"] == "removed":
            inside.clear()
        elif line["what"] == "enter" and zone is not None:
            inside.add(zone)
        elif line["what"] == "leave" and zone is not None:
            inside.discard(zone)

    # -- what is granted -------------------------------------------------------------------------------------------

    def _commit(self, line: Line) -> None:
        if line.get("stops"):
            self._disturb()
        gained: list[tuple[str, str]] = []
        for unit in line.get("units") or ():
            before = self.ledger.units.get((unit["zone"], unit["slot"]))
            if unit["state"] == "BLOCKED" and unit.get("cause") != "PARKED":
                self._disturb()
            if unit["state"] == "HELD" and not (is_occupied(before) and before and before["agent"] == unit["agent"]):
                gained.append((unit["agent"], unit["zone"]))
            if unit["state"] == "FREE" and is_occupied(before) and before and before["agent"] in self.astray:
                self._disturb()  # it was reckoned to move on from there, and it turned back
        self.ledger.apply(line)
        for agent, zone in gained:
            self._worked_off(agent, zone)
        for agent in sorted({agent for agent, _ in gained}):
            self._look_for_ring(line, agent)

    def _worked_off(self, agent: str, zone: str) -> None:
        claim = self.claims.get(agent)
        if claim is None or zone not in claim.left:
            self.astray.add(agent)
            return
        held = self._held(agent)
        while claim.left and claim.left[0] in held:
            claim.left.pop(0)
        if not claim.left:
            for other, theirs in self.claims.items():
                if other != agent and theirs.left[-1:] == [zone]:
                    theirs.promised = False

    # -- rings -----------------------------------------------------------------------------------------------------

    def _held(self, agent: str) -> set[str]:
        return {str(u["zone"]) for u in self.ledger.units.values() if is_occupied(u) and u["agent"] == agent}

    def _waits_for(self, agent: str) -> str | None:
        """The next zone of its route, when it stands in the one zone that it has and waits for that next one."""
        claim, inside = self.claims.get(agent), self.inside.get(agent, set())
        if claim is None or not claim.left or len(inside) != 1 or self._held(agent) != inside:
            return None
        wanted = {*claim.left, *inside}
        waits = any(claim.left[0] in zones and zones <= wanted for zones in self.asks.get(agent, {}).values())
        return claim.left[0] if waits else None

    def _look_for_ring(self, line: Line, agent: str) -> None:
        ring = [agent]
        while True:
            zone = self._waits_for(ring[-1])
            if zone is None or self.floor.capacity.get(zone, 1) != 1:
                return
            unit: Mapping[str, Any] | None = self.ledger.units.get((zone, 0))
            if unit is None or not is_occupied(unit):
                return
            holder = str(unit["agent"])
            if holder in ring:
                ring = ring[ring.index(holder) :]
                break
            ring.append(holder)
        told = [member for member in ring if self.claims[member].promised]
        if told and len(ring) > 1:
            self.findings.add(
                line,
                f"{', '.join(ring)} wait for each other in a ring, and {', '.join(told)} was told that it can finish",
                key=("ring", frozenset(ring), line.number // 1_000),
                agents=ring,
            )

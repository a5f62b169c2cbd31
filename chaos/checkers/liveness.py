"""I9: with faults healed every waiter that can be served is served in bounded time.

Judged in the liveness phase only. A want is an agent's set of zones, from its first ask until it is granted them;
being refused and asking again is one want, giving up is none. Every want ends within the phase's `bound_ms`. A zone
whose every slot is occupied by those who need no deadline (parked, declared) may be waited for without end, as may
one that no person has confirmed empty; two agents that wait for each other may not. What was promised to
claimed routes, `promised` judges in every phase.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chaos.checkers.facts import Floor, Ledger, granted_in, is_applied
from chaos.checkers.promised import promised_routes
from chaos.checkers.verdict import Findings, Violation
from chaos.history import Line

DEFAULT_BOUND_MS = 120_000
ASK_AGAIN_MS = 10_000
"""A refused agent that asks for the same zones within this still wants them."""

STAYS = ("PARKED", "DECLARED")


def liveness(lines: Sequence[Line]) -> list[Violation]:
    """Every violation of I9 in the history."""
    return [*_Liveness(lines).run(), *promised_routes(lines)]


@dataclass(slots=True)
class Want:
    """What an agent waits for. `refused_at` while no ask of it is open."""

    agent: str
    zones: tuple[str, ...]
    since: int
    line: Line
    requests: set[str]
    refused_at: int | None = None
    told: bool = False


class _Liveness:
    def __init__(self, lines: Sequence[Line]) -> None:
        self.findings = Findings("I9", lines)
        self.floor, self.ledger = Floor(), Ledger()
        self.wants: dict[tuple[str, tuple[str, ...]], Want] = {}
        self.began: int | None = None
        self.bound_ms = DEFAULT_BOUND_MS

    def run(self) -> list[Violation]:
        for line in self.findings.lines:
            match line.kind:
                case "floor":
                    self.floor.take(line)
                case "commit" if is_applied(line):
                    self.ledger.apply(line)
                case "fault" if line["what"] == "restore":
                    self.ledger = Ledger()
                case "phase":
                    self._phase(line)
                case "send":
                    self._send(line)
                case "deliver":
                    self._deliver(line)
                case "agent" if line["what"] in ("reboot", "down"):
                    self._forget(line["agent"])
                case "body" if line["what"] == "removed":
                    self._forget(line["agent"])
                case _:
                    pass
            if self.began is not None:
                self._overdue(line)
        return self.findings.found

    def _phase(self, line: Line) -> None:
        if line["name"] == "liveness":
            self.began, self.bound_ms = line.t, line.get("bound_ms", DEFAULT_BOUND_MS)
        elif line["name"] == "safety":
            self.began = None

    # -- wants ---------------------------------------------------------------------------------------------------

    def _send(self, line: Line) -> None:
        agent = line["agent"]
        if line["op"] == "ask":
            zones = tuple(sorted(line.get("zones") or ()))
            want = self.wants.get((agent, zones))
            if want is None or (want.refused_at is not None and line.t - want.refused_at > ASK_AGAIN_MS):
                want = self.wants[agent, zones] = Want(agent, zones, line.t, line, set())
            want.requests.add(line.get("request_id", ""))
            want.refused_at = None
        elif line["op"] == "cancel":
            for want in self._of_request(agent, line.get("request_id", "")):
                want.refused_at = line.t
        elif line["op"] == "goodbye":
            self._forget(agent)

    def _of_request(self, agent: str, request_id: str) -> list[Want]:
        return [w for w in self.wants.values() if w.agent == agent and request_id in w.requests]

    def _deliver(self, line: Line) -> None:
        agent = line["agent"]
        for grant in granted_in(line):
            request_id = grant.get("request_id") or line.get("request_id", "")
            for want in self._of_request(agent, request_id):
                del self.wants[want.agent, want.zones]
            self.wants.pop((agent, tuple(sorted(grant["zones"]))), None)
        if line["answer"] in ("rejected", "failed", "cancelled"):
            for want in self._of_request(agent, line.get("request_id", "")):
                want.refused_at = line.t
                want.requests.discard(line.get("request_id", ""))

    def _forget(self, agent: str) -> None:
        for key in [k for k in self.wants if k[0] == agent]:
            del self.wants[key]

    # -- the bound -----------------------------------------------------------------------------------------------

    def _overdue(self, line: Line) -> None:
        for key in list(self.wants):
            want = self.wants[key]
            if want.refused_at is not None:
                if line.t - want.refused_at > ASK_AGAIN_MS:
                    del self.wants[key]  # it went elsewhere
                continue
            waited = line.t - max(want.since, self.began or 0)
            if waited <= self.bound_ms or want.told or self._in_vain(want):
                continue
            want.told = True
            self.findings.add(
                line,
                f"{want.agent} has waited {waited} ms of the liveness phase for {', '.join(want.zones)} "
                f"(bound {self.bound_ms} ms): {self._why(want)}",
                key=key,
                agents=[want.agent],
                zones=want.zones,
            )

    def _in_vain(self, want: Want) -> bool:
        """Whether some zone is full of those who stay, or was never confirmed empty."""
        for zone in want.zones:
            states = []
            for slot in range(self.floor.capacity.get(zone, 1)):
                unit = self.ledger.units.get((zone, slot))
                stays = unit is not None and unit["state"] == "BLOCKED" and unit.get("cause") in STAYS
                own = unit is not None and unit["agent"] == want.agent
                states.append((stays and not own) or self.ledger.state((zone, slot)) == "UNKNOWN")
            if all(states):
                return True
        return False

    def _why(self, want: Want) -> str:
        """Who is inside, and what those wait for: a cycle shows itself."""
        told, seen, pending = [], {want.agent}, [want]
        while pending:
            current = pending.pop(0)
            for zone in current.zones:
                for (name, _), unit in sorted(self.ledger.units.items()):
                    if name != zone or unit["state"] not in ("HELD", "BLOCKED") or unit["agent"] == current.agent:
                        continue
                    told.append(f"{zone} is {unit['state'].lower()} by {unit['agent']}")
                    if unit["agent"] not in seen:
                        seen.add(unit["agent"])
                        pending.extend(w for w in self.wants.values() if w.agent == unit["agent"])
                        told.extend(
                            f"{w.agent} waits for {', '.join(w.zones)}"
                            for w in self.wants.values()
                            if w.agent == unit["agent"]
                        )
        covering = sorted(
            s["stop_id"] for s in self.ledger.active_stops() for z in want.zones if self.floor.covers(s, z)
        )
        told.extend(f"stop {stop_id} is active" for stop_id in dict.fromkeys(covering))
        return "; ".join(told) or "its zones are free"

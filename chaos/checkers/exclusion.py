"""I1: agents holding or possibly occupying a zone never exceed its capacity. Judged by where bodies are.

Two truths are counted together: bodies inside a zone, and agents that were told they may enter it and may still act
on that. An entitlement ends when its agent gives the grant back, `stop_ms` after it learns that the grant is over, or
when even a clock that is wrong by rho says that D has passed. While an old copy of the ledger is put back, with every
coordinator down, no link outlives `suspend_ms`; an agent acts on no grant after that until it is listed to it again. A
body that people or chance put somewhere is not the coordinator's doing; once the ledger knows that it stands there, it
counts.
"""

from __future__ import annotations

from collections.abc import Sequence

from chaos.checkers.facts import DEFAULT_STOP_MS, FOREVER, PPM, Floor, Frames, granted_in, is_occupied
from chaos.checkers.verdict import Findings, Violation, token_words
from chaos.history import Line


def exclusion(lines: Sequence[Line]) -> list[Violation]:
    """Every violation of I1 in the history."""
    return _Exclusion(lines).run()


class _Exclusion:
    def __init__(self, lines: Sequence[Line]) -> None:
        self.findings = Findings("I1", lines)
        self.floor, self.frames = Floor(), Frames()
        self.inside: dict[str, set[str]] = {}
        self.placed: set[tuple[str, str]] = set()
        """(agent, zone) where people or chance put a body, until the ledger knows of it."""
        self.may: dict[str, dict[tuple[str, int], int]] = {}
        """zone -> (agent, token) -> until when the agent may act on it."""
        self.winding_down: dict[tuple[str, int], int] = {}
        """(agent, token) that is over for its agent: until when it may still be coming to a stand."""
        self.moving: set[str] = set()
        self.returned: set[tuple[str, int, str]] = set()
        self.withdrawn: dict[tuple[str, int], dict[str, int]] = {}
        """(agent, token) -> what its release took from it; a release that is refused as STILL_INSIDE gives it back."""
        self.latched: dict[str, set[str]] = {}
        self.ended: set[str] = set()
        """Stops that were reset: agents hear of that on streams for stops too, which are not recorded."""
        self.stop_ms: dict[str, int] = {}

    def run(self) -> list[Violation]:
        for line in self.findings.lines:
            match line.kind:
                case "floor":
                    self.floor.take(line)
                case "commit" | "step":
                    self._slots_exist(line)
                case "deliver":
                    self._deliver(line)
                case "stop":
                    self.latched.setdefault(line["agent"], set()).add(line["stop_id"])
                    self._wind_down(line, line["agent"])
                case "send":
                    self._send(line)
                case "agent":
                    self._agent(line)
                case "body":
                    self._body(line)
                case "fault" if line["what"] == "restore":
                    self._suspended(line)
                case _:
                    pass
        return self.findings.found

    def _slots_exist(self, line: Line) -> None:
        self.ended.update(stop["stop_id"] for stop in line.get("stops") or () if not stop["active"])
        for unit in line.get("units") or ():
            if is_occupied(unit):
                self.placed.discard((unit["agent"], unit["zone"]))
            zone, capacity = unit["zone"], self.floor.capacity.get(unit["zone"])
            if capacity is not None and unit["slot"] >= capacity and unit["state"] != "FREE":
                self.findings.add(
                    line,
                    f"{zone} has capacity {capacity}, and its slot {unit['slot']} is {unit['state']} "
                    f"by {unit['agent']}",
                    zones=[zone],
                )

    # -- being told ----------------------------------------------------------------------------------------------

    def _deliver(self, line: Line) -> None:
        agent = line["agent"]
        if line["answer"] in ("granted", "welcome"):
            if line["answer"] == "granted" and self.latched.get(agent, set()) - self.ended:
                return  # declined unused
            if line["answer"] == "welcome":
                self._forget_unlisted(line, agent)
            for grant in granted_in(line):
                until = self.frames.latest_end(line, grant)
                if until > line.t:
                    self._entitle(line, agent, grant["token"], grant["zones"], until)
        elif line["answer"] == "extended" and (agent, line["token"]) not in self.winding_down:
            until = self.frames.latest_end(line, line.fields)
            for told in self.may.values():
                if (agent, line["token"]) in told:
                    told[agent, line["token"]] = max(told[agent, line["token"]], until)
        elif line["answer"] in ("expired", "revoked"):
            self._wind_down(line, agent, line.get("token"))
        elif line["answer"] == "released":
            taken = self.withdrawn.get((agent, line["token"]), {})
            for zone in line.get("zones") or list(taken):
                taken.pop(zone, None)
        elif line["answer"] == "rejected" and line.get("reason") == "STILL_INSIDE":
            for zone, until in self.withdrawn.pop((agent, line.get("token", 0)), {}).items():
                self.returned.discard((agent, line["token"], zone))
                self.may.setdefault(zone, {})[agent, line["token"]] = until
        elif line["answer"] == "stop_ended":
            self.latched.get(agent, set()).discard(line.get("stop_id", ""))

    def _forget_unlisted(self, line: Line, agent: str) -> None:
        """What a welcome does not list of a grant was given back, though nobody may have heard the answer."""
        listed = {(grant["token"], zone) for grant in granted_in(line) for zone in grant["zones"]}
        # What it lists was not given back after all: a client that begins anew uses it, another says so once more.
        self.returned -= {(agent, token, zone) for token, zone in listed}
        kept = {token for token, _ in listed}
        for token in sorted(kept):
            self.winding_down.pop((agent, token), None)
        for token in sorted({t for told in self.may.values() for a, t in told if a == agent and t not in kept}):
            self._wind_down(line, agent, token)  # a grant that is not listed is lost, and its holder knows
        for (who, token), zones in self.withdrawn.items():
            for zone in [z for z in zones if who == agent and (token, z) not in listed]:
                del zones[zone]

    def _entitle(self, line: Line, agent: str, token: int, zones: Sequence[str], until: int) -> None:
        for zone in zones:
            if (agent, token, zone) in self.returned:
                continue  # a late copy; the agent knows that it gave this back
            told = self.may.setdefault(zone, {})
            told[agent, token] = max(until, told.get((agent, token), 0)) if until != FOREVER else FOREVER
            self._count(line, zone, f"{agent} may enter {zone} (token {token_words(token)})")

    def _count(self, line: Line, zone: str, because: str) -> None:
        entitled = {
            agent
            for (agent, token), until in self.may.get(zone, {}).items()
            if until > line.t and ((agent, token) not in self.winding_down or agent in self.moving)
        }
        bodies = {a for a in self.inside.get(zone, set()) if (a, zone) not in self.placed}
        capacity = self.floor.capacity.get(zone, 1)
        if len(entitled | bodies) > capacity:
            inside = ", ".join(sorted(bodies)) or "nobody"
            others = ", ".join(sorted(entitled - bodies)) or "nobody"
            self.findings.add(
                line,
                f"{because}, which has capacity {capacity}: inside {inside}; may enter besides: {others}",
                key=(zone, tuple(sorted(entitled | bodies))),
                zones=[zone],
                agents=sorted(entitled | bodies),
            )

    # -- giving up -----------------------------------------------------------------------------------------------

    def _send(self, line: Line) -> None:
        self.frames.take(line)
        agent, token = line["agent"], line.get("token")
        if line["op"] in ("release", "decline") and token is not None:
            zones = line.get("zones") or [z for z, told in self.may.items() if (agent, token) in told]
            for zone in zones:
                self.returned.add((agent, token, zone))
                until = self.may.get(zone, {}).pop((agent, token), None)
                if until is not None:
                    self.withdrawn.setdefault((agent, token), {})[zone] = until
        elif line["op"] == "abandon" and token is not None:
            self._wind_down(line, agent, token)

    def _agent(self, line: Line) -> None:
        agent, what = line["agent"], line["what"]
        if line.get("stop_ms") is not None:
            self.stop_ms[agent] = line["stop_ms"]
        if what in ("lost", "dead_man"):
            self._wind_down(line, agent, line.get("token"))
        elif what in ("boot", "reboot", "down"):
            self._wind_down(line, agent)
            self.winding_down = {key: until for key, until in self.winding_down.items() if key[0] != agent}
            # A new process knows of no latch and of nothing given back, and uses what it is granted.
            self.latched.pop(agent, None)
            self.returned = {entry for entry in self.returned if entry[0] != agent}
        elif what == "latched":
            self.latched.setdefault(agent, set()).add(line.get("stop_id", ""))
            self._wind_down(line, agent)
        elif what == "unlatched":
            self.latched.get(agent, set()).discard(line.get("stop_id", ""))

    def _wind_down(self, line: Line, agent: str, token: int | None = None) -> None:
        """The agent knows that it must stand; it needs `stop_ms` to do so. Without a token: for all it was told."""
        until = line.t + self.stop_ms.get(agent, DEFAULT_STOP_MS)
        for told in self.may.values():
            for key in [k for k in told if k[0] == agent and token in (None, k[1])]:
                told[key] = min(told[key], until)
                self.winding_down[key] = until
        if agent not in self.moving:
            self._stands(agent)

    def _stands(self, agent: str) -> None:
        """What it had to give up it has given up: when it moves again, that is under something else."""
        for told in self.may.values():
            for key in [k for k in told if k[0] == agent and k in self.winding_down]:
                del told[key]

    def _suspended(self, line: Line) -> None:
        """No frame is acknowledged any more: whatever is not listed to its agent again ends with the agent's link."""
        off = -(-self.floor.suspend_ms * self.floor.rho_ppm // PPM)
        for told in self.may.values():
            for key in told:
                until = line.t + self.floor.suspend_ms + off + self.stop_ms.get(key[0], DEFAULT_STOP_MS)
                told[key] = min(told[key], until)

    # -- the floor -----------------------------------------------------------------------------------------------

    def _body(self, line: Line) -> None:
        agent, what, zone = line["agent"], line["what"], line.get("zone")
        if what in ("stop", "removed"):
            self.moving.discard(agent)
            self._stands(agent)
        elif what == "start":
            self.moving.add(agent)
        if what == "removed":
            for told in self.may.values():
                for key in [k for k in told if k[0] == agent]:
                    del told[key]
            for bodies in self.inside.values():
                bodies.discard(agent)
        elif what == "leave" and zone is not None:
            self.inside.get(zone, set()).discard(agent)
            self.placed.discard((agent, zone))
        elif what == "enter" and zone is not None:
            self._enters(line, agent, zone)

    def _enters(self, line: Line, agent: str, zone: str) -> None:
        self.inside.setdefault(zone, set()).add(agent)
        if line.get("by", "self") != "self":
            self.placed.add((agent, zone))
            return
        self.placed.discard((agent, zone))
        told = [until for (who, _), until in self.may.get(zone, {}).items() if who == agent]
        if not told or max(told) < line.t:
            why = "was never told that it may" if not told else f"had to stand since {max(told)} ms"
            self.findings.add(
                line, f"{agent} enters {zone} and {why}", key=("enters", agent, zone), zones=[zone], agents=[agent]
            )
        self._count(line, zone, f"{agent} enters {zone}")

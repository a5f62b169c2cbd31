"""I6: bounded overstay. A cut-off holder stands by its own deadline; a coordinator trips an overdue hold in time.

The holder: at `t_send(echoed frame) + remaining_ms` of the newest grant or extension that it heard, its body stands,
unless it gave the grant back before or is in none of its zones; it moves only under a grant whose time is not over.
(The SDK's D lies earlier by rho and by the stopping time; this is what D is for.) The coordinator: it trips
`deadline:<token>` not before the committed time has passed, nor within `reattach_ms` of a takeover, and, while it
commits without a gap, within 50 ms of the deadline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chaos.checkers.facts import FOREVER, PPM, Floor, Frames, Ledger, Unit, UnitId, granted_in, is_applied
from chaos.checkers.verdict import Findings, Violation, token_words
from chaos.history import Line

TRIP_MS = 50
"""From the deadline to the stop, for a coordinator whose fence is fresh."""

FRESH_MS = 250
"""A coordinator whose commits are never further apart has a fresh fence; it ticks every 100 ms."""

ENDINGS = frozenset({"latched", "lost", "dead_man", "boot", "reboot", "down"})
"""What an agent's own software says when a grant, or all of them, are over for it."""

SLACK_MS = 5
"""Rounding, and the coarseness of the clock that bodies are observed with."""


def overstay(lines: Sequence[Line]) -> list[Violation]:
    """Every violation of I6 in the history."""
    return _Overstay(lines).run()


@dataclass(slots=True)
class Hold:
    """A grant as the ledger has it. `earliest` and `latest` bound its deadline for any clock within rho."""

    agent: str
    units: set[UnitId]
    earliest: int
    latest: int


@dataclass(slots=True)
class Leader:
    """The coordinator whose commits succeed."""

    coord: str
    took_over: int
    committed: int
    fresh_since: int
    """Since when it has committed without a gap."""


class _Overstay:
    def __init__(self, lines: Sequence[Line]) -> None:
        self.findings = Findings("I6", lines)
        self.floor, self.frames, self.ledger = Floor(), Frames(), Ledger()
        self.until: dict[str, dict[int, int]] = {}
        """agent -> token -> by when it stands at the latest."""
        self.zones: dict[tuple[str, int], set[str]] = {}
        self.returned: set[tuple[str, int]] = set()
        self.over: dict[str, set[int]] = {}
        """agent -> tokens that it knows to be over; once it stands they bind it no longer."""
        self.moving: dict[str, int] = {}
        self.inside: dict[str, set[str]] = {}
        self.holds: dict[int, Hold] = {}
        self.leader: Leader | None = None
        self.tripped: set[int] = set()
        self.ever_tripped: set[int] = set()
        """Also before a reload, which puts a stop that had left back: that is the same trip."""
        self.of_residue: set[int] = set()
        """Tokens granted to whoever was left in the zone; declined, it is what it was before."""
        self.decided_at: dict[int, int] = {}
        """token -> when the newest step set its time."""

    def run(self) -> list[Violation]:
        for line in self.findings.lines:
            match line.kind:
                case "floor":
                    self.floor.take(line)
                case "deliver":
                    self._deliver(line)
                case "stop":
                    self._ends(line["agent"])
                case "agent" if line["what"] in ENDINGS:
                    if line["what"] in ("boot", "reboot"):  # a new process knows of nothing given back
                        self.returned = {entry for entry in self.returned if entry[0] != line["agent"]}
                    self._ends(line["agent"], line.get("token"))
                case "send":
                    self._send(line)
                case "body":
                    self._body(line)
                case "fault" if line["what"] == "restore":  # holds that the old copy does not know cannot be tripped
                    self.ledger = Ledger()
                    self.holds.clear()
                case "takeover" | "crash":
                    self._leadership(line)
                case "step":
                    self._step(line)
                case "commit":
                    self._commit(line)
                case _:
                    pass
            if self.moving:
                self._must_stand(line)
        return self.findings.found

    # -- the holder ----------------------------------------------------------------------------------------------

    def _deliver(self, line: Line) -> None:
        agent = line["agent"]
        mine = self.until.setdefault(agent, {})
        if line["answer"] in ("expired", "revoked", "rejected") and line.get("token"):
            self._ends(agent, line["token"])
        elif line["answer"] == "welcome":
            for token in sorted(set(mine) - {grant["token"] for grant in granted_in(line)}):
                self._ends(agent, token)
        for grant in granted_in(line):
            until = self.frames.latest_end(line, grant)
            if until > line.t and until != FOREVER and (agent, grant["token"]) not in self.returned:
                known = mine.get(grant["token"])
                mine[grant["token"]] = until if known is None else max(known, until)
                self.zones[agent, grant["token"]] = set(grant["zones"])
        if line["answer"] == "extended" and line["token"] in mine:
            until = self.frames.latest_end(line, line.fields)
            if until != FOREVER:
                mine[line["token"]] = max(mine[line["token"]], until)

    def _ends(self, agent: str, token: int | None = None) -> None:
        """A grant is over for its agent; without a token all that it has."""
        over = self.over.setdefault(agent, set())
        over.update(self.until.get(agent, {}) if token is None else [token])
        if agent not in self.moving:
            self._stands(agent)

    def _stands(self, agent: str) -> None:
        mine = self.until.get(agent, {})
        for token in self.over.pop(agent, set()):
            mine.pop(token, None)

    def _send(self, line: Line) -> None:
        self.frames.take(line)
        agent, token = line["agent"], line.get("token")
        if token is None or line["op"] not in ("release", "decline", "abandon"):
            return
        left = self.zones.get((agent, token), set())
        left -= set(line.get("zones") or left)
        if not left:
            self.returned.add((agent, token))
            if line["op"] == "abandon":  # said while it may still be coming to a stand
                self._ends(agent, token)
            else:
                self.until.get(agent, {}).pop(token, None)

    def _body(self, line: Line) -> None:
        zone = line.get("zone")
        if zone is not None and line["what"] in ("enter", "leave"):
            inside = self.inside.setdefault(line["agent"], set())
            inside.add(zone) if line["what"] == "enter" else inside.discard(zone)
        if line["what"] in ("stop", "removed"):
            self.moving.pop(line["agent"], None)
            self._stands(line["agent"])
        elif line["what"] == "start" and line.get("by", "self") == "self":
            self.moving[line["agent"]] = line.t

    def _must_stand(self, line: Line) -> None:
        for agent, since in self.moving.items():
            mine = self.until.get(agent, {})
            nothing_left = bool(mine) and max(mine.values()) + SLACK_MS < since
            for token, until in mine.items():
                crossed = since <= until and self._concerns(agent, token)
                if line.t > until + SLACK_MS and (crossed or nothing_left):
                    self.findings.add(
                        line,
                        f"{agent} moves (since {since} ms) at {line.t} ms; its grant with token {token_words(token)} "
                        f"was over at {until} ms by any clock, and it has not given it back",
                        key=("moves", agent, token),
                        agents=[agent],
                        tokens=[token],
                    )

    def _concerns(self, agent: str, token: int) -> bool:
        """Whether the body is in a zone of the grant, as far as anybody saw it."""
        inside = self.inside.get(agent)
        return inside is None or bool(inside & self.zones.get((agent, token), inside))

    # -- the coordinator -----------------------------------------------------------------------------------------

    def _leadership(self, line: Line) -> None:
        if line.kind == "takeover":
            self.leader = Leader(line["coord"], line.t, line.t, line.t)
            # Stops that the ledger keeps are tripped already; what they end may be said only now.
            active = [stop_id for stop_id, stop in self.ledger.stops.items() if stop["active"]]
            self.tripped = {int(s.partition(":")[2]) for s in active if s.startswith("deadline:")}
            self.holds.clear()
            for unit in self.ledger.units.values():
                if unit["state"] == "HELD":
                    self._hold(unit, *self._bounds(line.t, max(unit.get("remaining_ms", 0), self.floor.reattach_ms)))
        elif self.leader is not None and self.leader.coord == line["coord"]:
            self.leader = None

    def _hold(self, unit: Unit, earliest: int, latest: int) -> None:
        """Notes a hold; a later deadline of the same grant counts."""
        hold = self.holds.setdefault(unit["token"], Hold(unit["agent"], set(), earliest, latest))
        hold.units.add((unit["zone"], unit["slot"]))
        hold.earliest, hold.latest = max(hold.earliest, earliest), max(hold.latest, latest)

    def _drop(self, token: int, unit: UnitId) -> None:
        hold = self.holds.get(token)
        if hold is not None:
            hold.units.discard(unit)
            if not hold.units:
                del self.holds[token]

    def _bounds(self, start: int, lasts_ms: int) -> tuple[int, int]:
        """When `lasts_ms` on a coordinator's clock may be over."""
        off = -(-lasts_ms * self.floor.rho_ppm // PPM)
        return start + lasts_ms - off - SLACK_MS, start + lasts_ms + off + SLACK_MS

    def _step(self, line: Line) -> None:
        for stop in line.get("stops") or ():
            if stop["active"] and stop.get("cause") == "OVERDUE" and stop["stop_id"].startswith("deadline:"):
                self._trips(line, int(stop["stop_id"].partition(":")[2]))
        for unit in line.get("units") or ():
            if unit["state"] == "HELD":
                self.decided_at[unit["token"]] = line.t
                if unit.get("cause"):
                    self.of_residue.add(unit["token"])
            else:
                fell_back = unit["token"] in self.of_residue
                if (
                    unit.get("cause") == "OVERDUE"
                    and not fell_back
                    and unit["token"] in self.holds
                    and unit["token"] not in self.tripped
                ):
                    self.findings.add(
                        line,
                        f"{unit['zone']} is overdue (token {token_words(unit['token'])}) and no stop is tripped",
                        tokens=[unit["token"]],
                        agents=[unit["agent"]],
                    )
                self._drop(unit["token"], (unit["zone"], unit["slot"]))

    def _trips(self, line: Line, token: int) -> None:
        again = token in self.ever_tripped
        self.tripped.add(token)
        self.ever_tripped.add(token)
        hold = self.holds.get(token)
        if hold is None:
            return
        if line.t < hold.earliest and not again:
            self.findings.add(
                line,
                f"{line['coord']} trips the hold of {hold.agent} (token {token_words(token)}) at {line.t} ms, before "
                f"its time is over at {hold.earliest} ms",
                tokens=[token],
                agents=[hold.agent],
            )
        if hold.agent in self.moving and token in self.until.get(hold.agent, {}) and self._concerns(hold.agent, token):
            self.findings.add(
                line,
                f"{line['coord']} trips the hold of {hold.agent} (token {token_words(token)}) while its body moves",
                key=("trips moving", token),
                tokens=[token],
                agents=[hold.agent],
            )

    def _commit(self, line: Line) -> None:
        if line["outcome"] == "ok":
            leader = self.leader
            if leader is None or leader.coord != line["coord"]:
                leader = self.leader = Leader(line["coord"], line.t, line.t, line.t)
            if line.t - leader.committed > FRESH_MS:
                leader.fresh_since = line.t
            leader.committed = line.t
            self._overdue(line, leader)
            for unit in line.get("units") or ():
                self._starts(line, unit)
        if is_applied(line):
            self.ledger.apply(line)

    def _starts(self, line: Line, unit: Unit) -> None:
        where = (unit["zone"], unit["slot"])
        before = self.ledger.units.get(where)
        if before is not None and (before["token"] != unit["token"] or unit["state"] != "HELD"):
            self._drop(before["token"], where)
        if unit["state"] != "HELD":
            return
        earliest, latest = self._bounds(line.t, unit.get("remaining_ms", 0))
        if unit["token"] in self.holds:  # an extension counted from its own step
            earliest -= line.t - self.decided_at.get(unit["token"], line.t)
        self._hold(unit, earliest, latest)

    def _overdue(self, line: Line, leader: Leader) -> None:
        for token, hold in self.holds.items():
            if token in self.tripped or line.t <= hold.latest + TRIP_MS:
                continue
            if leader.fresh_since <= hold.latest - FRESH_MS and leader.took_over <= hold.latest:
                zones = sorted(zone for zone, _ in hold.units)
                self.findings.add(
                    line,
                    f"{hold.agent} holds {', '.join(zones)} (token {token_words(token)}) past its deadline at "
                    f"{hold.latest} ms, and {line['coord']}, which commits, has tripped nothing by {line.t} ms",
                    key=("not tripped", token),
                    tokens=[token],
                    agents=[hold.agent],
                )

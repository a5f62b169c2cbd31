"""I2: no silent vacancy. Whoever held or may have occupied a unit does so until its vacancy is proven.

A unit's durable record may pass from an occupant to anything else only on evidence: the occupant's release or decline
under that token, sent with its body outside; its proof of vacancy; a named operator's clearance; or because nobody
was ever told of the grant. A BLOCKED unit is granted again only to the very session that left it so. An UNKNOWN unit
needs a person (or a demonstration's `assume_empty`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chaos.checkers.facts import Ledger, Unit, UnitId, granted_in, is_applied, is_occupied
from chaos.checkers.verdict import Findings, Violation, token_words
from chaos.history import Line

EVERYWHERE = "*"


def vacancy(lines: Sequence[Line]) -> list[Violation]:
    """Every violation of I2 in the history."""
    return _Vacancy(lines).run()


@dataclass(slots=True)
class Challenge:
    """A nonce that a holder was given to prove that it left."""

    agent: str
    token: int
    number: int
    samples: int
    reports: int = 0


class _Vacancy:
    def __init__(self, lines: Sequence[Line]) -> None:
        self.findings = Findings("I2", lines)
        self.ledger = Ledger()
        self.restored = False
        """Somebody put an old ledger back: what it says proves nothing until a higher incarnation begins."""
        self.speaks = {line["agent"] for line in lines if line.kind == "send"}
        """Agents whose own operations are recorded: for them only what they sent counts, not what arrived."""
        self.inside: dict[tuple[str, str], str] = {}
        self.returned: dict[tuple[str, int], set[str]] = {}
        self.challenges: dict[int, Challenge] = {}
        self.liars: set[str] = set()
        """Agents that were made to say that they left although they did not: no coordinator can know better."""
        self.told: set[int] = set()
        self.fell_back: dict[int, str] = {}
        """Tokens whose unit was given up because nobody had been told of them."""
        self.cleared: dict[str, int] = {}
        """zone -> the newest line in which a named person cleared it."""
        self.confirmed_by: int = 0
        self.since: dict[UnitId, int] = {}
        """The line that made the unit what it is."""
        self.blocked: dict[tuple[str, int, int], int] = {}
        """(zone, slot, token) -> the line in which it was decided that the unit stays occupied without a grant."""
        self.decides = any(line.kind == "step" for line in lines)

    def run(self) -> list[Violation]:
        for line in self.findings.lines:
            match line.kind:
                case "send":
                    self._given_back(line, line["op"], line.get("token"), line.get("zones") or [])
                    self._reports(line, line.get("nonce"))
                case "event":
                    self._event(line)
                case "emit" | "deliver":
                    self._told(line)
                case "operator":
                    if line["action"] in ("clear", "confirm_empty", "move_away") and line.get("outcome") != "refused":
                        self._clears(line, line["operator"], line.get("reason", ""), line.get("zones"))
                case "body":
                    self._body(line)
                case "fault" if line["what"] == "restore":
                    self.restored, self.ledger = True, Ledger()
                case "fault" if line["what"] == "early_release":
                    self.liars.add(line.get("target", ""))
                case "step":
                    self._decided(line)
                case "commit" if is_applied(line):
                    self._commit(line)
                case _:
                    pass
        return self.findings.found

    # -- evidence ------------------------------------------------------------------------------------------------

    def _event(self, line: Line) -> None:
        fields = line.get("fields") or {}
        name, agent = line["name"], line.get("agent", "")
        if name in ("Released", "Declined") and agent not in self.speaks:
            op = {"Released": "release", "Declined": "decline"}[name]
            self._given_back(line, op, fields.get("token"), fields.get("zones") or [])
        elif name == "Reported" and agent not in self.speaks:
            self._reports(line, fields.get("nonce"))
        elif name == "ClearAsked":
            zones = None if fields.get("all_unknown") or agent else fields.get("zones")
            self._clears(line, fields.get("operator", ""), fields.get("reason", ""), zones)
        elif name == "Started" and fields.get("assume_empty"):
            self.confirmed_by = line.number

    def _given_back(self, line: Line, op: str, token: int | None, zones: Sequence[str]) -> None:
        if token is None or op not in ("release", "decline"):
            return
        agent = line["agent"]
        named = (
            list(zones) or sorted({u["zone"] for u in self.ledger.with_token(token) if is_occupied(u)}) or [EVERYWHERE]
        )
        for zone in named:
            inside = self.inside.get((agent, zone)) == "self" and op != "decline" and agent not in self.liars
            # A repeat says what was true when it was first said; what a ledger makes of it is judged by its writes.
            repeated = zone in self.returned.get((agent, token), ())
            if inside and not repeated and not self._is_over(agent, token, zone):
                self.findings.add(
                    line,
                    f"{agent} gives {zone} back (token {token_words(token)}) with its body still inside",
                    agents=[agent],
                    zones=[zone],
                )
        self.returned.setdefault((agent, token), set()).update(named if zones else [*named, EVERYWHERE])

    def _is_over(self, agent: str, token: int, zone: str) -> bool:
        """Whether the agent has nothing there under that token (any more): giving it back gives nothing."""
        mine = [u for (name, _), u in self.ledger.units.items() if name == zone and u["agent"] == agent]
        return not any(unit["token"] == token and is_occupied(unit) for unit in mine)

    def _clears(self, line: Line, operator: str, reason: str, zones: Sequence[str] | None) -> None:
        if not operator.strip() or not reason.strip():
            return  # no evidence; what it frees will be told as a violation
        if zones is None:
            self.cleared[EVERYWHERE] = line.number
        for zone in zones or ():
            self.cleared[zone] = line.number
        self.confirmed_by = line.number

    def _reports(self, line: Line, nonce: int | None) -> None:
        """A report with a nonce counts while the body is outside; one from inside spoils the proof."""
        challenge = self.challenges.get(nonce or 0)
        if challenge is None or challenge.agent != line["agent"]:
            return
        zones = {u["zone"] for u in self.ledger.with_token(challenge.token)}
        if any(self.inside.get((challenge.agent, zone)) for zone in zones):
            challenge.reports = 0
        else:
            challenge.reports += 1

    def _told(self, line: Line) -> None:
        if line["answer"] == "challenged" and line.get("nonce") is not None:
            made = Challenge(line["agent"], line["token"], line.number, max(1, line.get("samples", 1)))
            self.challenges.setdefault(line["nonce"], made)
        if line["answer"] == "rejected" and line.get("reason") == "STILL_INSIDE":
            self.returned.pop((line["agent"], line.get("token", 0)), None)
        if line["answer"] not in ("granted", "welcome"):
            return
        for grant in granted_in(line):
            self.told.add(grant["token"])
            fell_back = self.fell_back.get(grant["token"])
            if fell_back is not None and line.kind == "emit":
                self.findings.add(
                    line,
                    f"token {token_words(grant['token'])} is granted to {line['agent']} after {fell_back} was given on "
                    "as if nobody had been told of it",
                    tokens=[grant["token"]],
                )

    def _body(self, line: Line) -> None:
        agent, zone = line["agent"], line.get("zone")
        if line["what"] == "removed":
            for key in [k for k in self.inside if k[0] == agent]:
                del self.inside[key]
        elif line["what"] == "enter" and zone is not None:
            self.inside[agent, zone] = line.get("by", "self")
        elif line["what"] == "leave" and zone is not None:
            self.inside.pop((agent, zone), None)

    def _decided(self, line: Line) -> None:
        for unit in line.get("units") or ():
            if unit["state"] == "BLOCKED":
                self.blocked.setdefault((unit["zone"], unit["slot"], unit["token"]), line.number)

    # -- the ledger ----------------------------------------------------------------------------------------------

    def _commit(self, line: Line) -> None:
        incarnation = line.get("incarnation", self.ledger.incarnation)
        if incarnation > self.ledger.incarnation:
            self.restored = False
        if line.get("confirmed") and not self.ledger.confirmed and not self.confirmed_by and not self.restored:
            self.findings.add(line, "the floor counts as confirmed empty, and no named person confirmed it")
        if not self.restored and incarnation == self.ledger.incarnation:
            for unit in line.get("units") or ():
                before = self.ledger.units.get((unit["zone"], unit["slot"]))
                self._check(line, before, unit)
        self.ledger.apply(line)
        for unit in line.get("units") or ():
            self.since[unit["zone"], unit["slot"]] = line.number

    def _check(self, line: Line, before: Unit | None, after: Unit) -> None:
        where = (after["zone"], after["slot"])
        if before is None or not is_occupied(before):
            self._check_unoccupied(line, where, after)
            return
        if is_occupied(after) and after["agent"] == before["agent"]:
            self._check_same_agent(line, before, after)
            return
        if after["state"] == "UNKNOWN" or self._is_proven(before):
            return
        became = "FREE" if after["state"] == "FREE" else f"{after['state']} by {after['agent']}"
        self.findings.add(
            line,
            f"{where[0]}/{where[1]} was {before['state']} by {before['agent']} (token {token_words(before['token'])}) "
            f"and becomes {became} without proof that it is empty",
            agents=[before["agent"], after["agent"]],
            zones=[where[0]],
            tokens=[before["token"]],
        )

    def _is_proven(self, before: Unit) -> bool:
        zone, token, agent = before["zone"], before["token"], before["agent"]
        given = self.returned.get((agent, token), set())
        if zone in given or EVERYWHERE in given:
            return True
        blocked = self.blocked.get((zone, before["slot"], token))
        if blocked is None and (before["state"] == "BLOCKED" or not self.decides):
            blocked = self.since.get((zone, before["slot"]), 0)
        if blocked is not None and max(self.cleared.get(zone, 0), self.cleared.get(EVERYWHERE, 0)) > blocked:
            return True
        if blocked is not None and any(
            c.agent == agent and c.token == token and c.number > blocked and c.reports >= c.samples
            for c in self.challenges.values()
        ):
            return True
        if before["state"] == "HELD" and token not in self.told and not before.get("cause"):
            self.fell_back[token] = zone
            return True
        return False

    def _check_unoccupied(self, line: Line, where: UnitId, after: Unit) -> None:
        if self.ledger.state(where) != "UNKNOWN" or after["state"] not in ("FREE", "HELD"):
            return
        confirmed = line.get("confirmed") and self.confirmed_by
        cleared = self.cleared.get(where[0], 0) or self.cleared.get(EVERYWHERE, 0)
        if not confirmed and not cleared:
            self.findings.add(
                line,
                f"{where[0]}/{where[1]} was UNKNOWN and becomes {after['state']}; nobody confirmed that it is empty",
                zones=[where[0]],
            )

    def _check_same_agent(self, line: Line, before: Unit, after: Unit) -> None:
        old, new = before.get("session"), after.get("session")
        if before["state"] == "BLOCKED" and after["state"] == "HELD" and old and new and old != new:
            if self._is_proven(before):  # cleared, and granted again by the same commit
                return
            self.findings.add(
                line,
                f"{after['zone']}/{after['slot']} was left BLOCKED by one session of {before['agent']} and is granted "
                "to another session of that name without proof that it is empty",
                agents=[before["agent"]],
                zones=[after["zone"]],
            )

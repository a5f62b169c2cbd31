"""I3: tokens rise for ever, and whoever can refuse refuses a stale one.

In the ledger a unit's token never falls, belongs to one holder, and is a higher one for every new holder. Grants that
leave a coordinator carry, for each (zone, slot), a token above every earlier one, through failover and restored
backups. An operation with a token that its units have left behind changes nothing and is not answered as done; one
with the current token is not refused as stale; one with a foreign token or session gets nothing. A request id is one
request: its grant is for zones that were asked for under it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chaos.checkers.facts import (
    Ledger,
    Sessions,
    Unit,
    UnitId,
    granted_in,
    is_applied,
    is_occupied,
    records_emits,
    slots_of,
)
from chaos.checkers.verdict import Findings, Violation, token_words
from chaos.history import Line

DONE = {"Released": "released", "Declined": "released", "Abandoned": "abandoned", "ExtendAsked": "extended"}
"""Token-bearing operations, and the answers that say they were carried out."""


def fencing(lines: Sequence[Line]) -> list[Violation]:
    """Every violation of I3 in the history."""
    return _Fencing(lines).run()


class _Fencing:
    def __init__(self, lines: Sequence[Line]) -> None:
        self.findings = Findings("I3", lines)
        self.ledger = Ledger()
        self.decided: dict[str, Ledger] = {}
        """coordinator -> the state that it decides on: the ledger as loaded, and its own steps since."""
        self.units_of: dict[int, set[UnitId]] = {}
        self.owner: dict[int, tuple[str, str]] = {}
        """token -> its holder and the request it answers."""
        self.highest: dict[tuple[str, int | None], int] = {}
        self.first_told: set[int] = set()
        self.emits = records_emits(lines)
        self.stale: set[tuple[str, str, int, str]] = set()
        """(coordinator, agent, token, answer) of stale operations handled."""
        self.in_order: dict[tuple[str, str, int, str], int] = {}
        """The same of operations that were in order -> how many are not answered yet."""
        self.sessions = Sessions()
        self.current: set[tuple[str, str, int]] = set()
        self.fickle: set[str] = set()
        self.asked: dict[tuple[str, str, str, str], list[set[str]]] = {}
        """(coordinator, agent, session, request) -> the zones of each ask under that id."""

    def run(self) -> list[Violation]:
        for line in self.findings.lines:
            match line.kind:
                case "commit" if is_applied(line):
                    self._commit(line)
                case "fault" if line["what"] == "restore":
                    self.ledger = Ledger()
                case "fault" if line["what"] == "misuse" and line.get("detail", {}).get("how") == "change_ask":
                    # It asks for other zones under a request that a crash let everybody but the ledger forget.
                    self.fickle.add(line.get("target", ""))
                case "takeover":
                    self.asked = {key: zones for key, zones in self.asked.items() if key[0] != line["coord"]}
                    self.decided[line["coord"]] = self.ledger.copy()
                case "step":
                    self._step(line)
                case "event":
                    self._event(line)
                case "emit":
                    self._emit(line)
                    self._granted(line)
                case "deliver" if not self.emits:
                    self._granted(line)
                case _:
                    pass
        return self.findings.found

    # -- the ledger ----------------------------------------------------------------------------------------------

    def _commit(self, line: Line) -> None:
        counter = line.get("counter")
        if counter is not None and counter < self.ledger.counter:
            self.findings.add(
                line, f"the counter falls from {token_words(self.ledger.counter)} to {token_words(counter)}"
            )
        for unit in line.get("units") or ():
            before = self.ledger.units.get((unit["zone"], unit["slot"]))
            self._note(unit)
            if before is not None:
                self._check_rise(line, before, unit)
        self.ledger.apply(line)

    def _note(self, unit: Unit) -> None:
        if unit["token"]:
            self.units_of.setdefault(unit["token"], set()).add((unit["zone"], unit["slot"]))

    def _check_rise(self, line: Line, before: Unit, after: Unit) -> None:
        where, old, new = f"{after['zone']}/{after['slot']}", before["token"], after["token"]
        if new < old:
            what = f"its token falls from {token_words(old)} to {token_words(new)}"
        elif new == old and new and after["agent"] != before["agent"] and is_occupied(after):
            what = f"token {token_words(new)} passes from {before['agent']} to {after['agent']}"
        elif new == old and new and before["state"] in ("FREE", "BLOCKED") and after["state"] == "HELD":
            what = f"it is granted anew under token {token_words(new)}"
        else:
            return
        self.findings.add(line, f"{where}: {what}", zones=[after["zone"]], tokens=[old, new])

    def _step(self, line: Line) -> None:
        state = self.decided.setdefault(line["coord"], Ledger())
        for unit in line.get("units") or ():
            self._note(unit)
        state.apply(line)

    # -- grants --------------------------------------------------------------------------------------------------

    def _granted(self, line: Line) -> None:
        if line["answer"] not in ("granted", "welcome"):
            return
        for grant in granted_in(line):
            self._check_owner(line, grant)
            if line["answer"] == "granted" or grant["token"] not in self.first_told:  # else it answers no ask
                self._check_request(line, grant)
            if grant["token"] not in self.first_told and line.kind == "emit":  # arrivals may overtake one another
                self.first_told.add(grant["token"])
                self._check_order(line, grant)
        self._check_session(line)

    def _check_owner(self, line: Line, grant: Mapping[str, Any]) -> None:
        token, owner = grant["token"], (line["agent"], grant.get("request_id", ""))
        known = self.owner.setdefault(token, owner)
        if known[0] != owner[0] or (known[1] and owner[1] and known[1] != owner[1]):
            self.findings.add(
                line,
                f"token {token_words(token)} is given to {known[0]} (request {known[1]}) and to {owner[0]} "
                f"(request {owner[1]})",
                tokens=[token],
                agents=[known[0], owner[0]],
            )

    def _check_request(self, line: Line, grant: Mapping[str, Any]) -> None:
        if line["agent"] in self.fickle:
            return
        if line.kind != "emit":
            return
        asked = self.asked.get((line["coord"], line["agent"], self.sessions.of(line), grant.get("request_id", "")))
        if asked is not None and not any(zones & set(grant["zones"]) for zones in asked):
            wanted = sorted(set().union(*asked))
            self.findings.add(
                line,
                f"{line['agent']} asked for {', '.join(wanted)} under request {grant['request_id']} and is "
                f"granted {', '.join(grant['zones'])}",
                tokens=[grant["token"]],
                agents=[line["agent"]],
            )

    def _check_order(self, line: Line, grant: Mapping[str, Any]) -> None:
        token = grant["token"]
        for unit in slots_of(grant):
            highest = self.highest.get(unit, 0)
            if token <= highest:
                self.findings.add(
                    line,
                    f"{line['agent']} is granted {unit[0]} under token {token_words(token)} after token "
                    f"{token_words(highest)} was given out for it",
                    tokens=[token, highest],
                    zones=[unit[0]],
                )
            self.highest[unit] = max(highest, token)

    # -- refusing ------------------------------------------------------------------------------------------------

    def _event(self, line: Line) -> None:
        fields, agent = line.get("fields") or {}, line.get("agent", "")
        coord, token = line["coord"], fields.get("token")
        self.sessions.take(line)
        if line["name"] == "Asked":
            request = fields.get("request_id", "")
            asks = self.asked.setdefault((coord, agent, self.sessions.of(line), request), [])
            asks.append(set(fields.get("zones") or ()))
        answer = DONE.get(line["name"])
        if answer is None or not token:
            return
        holds = self._holding(coord, token)
        key = (coord, agent, token, answer)
        if any(unit["agent"] == agent for unit in holds):
            self.in_order[key] = self.in_order.get(key, 0) + 1
            self.current.add((coord, agent, token))
        elif (self.units_of.get(token) or self.owner.get(token)) and self._is_known(coord, token, fields):
            self.stale.add(key)
            self.current.discard((coord, agent, token))

    def _holding(self, coord: str, token: int) -> list[Unit]:
        state = self.decided.get(coord) or self.ledger
        found = (state.units.get(unit) for unit in sorted(self.units_of.get(token, ())))
        return [unit for unit in found if unit is not None and unit["token"] == token]

    def _is_known(self, coord: str, token: int, fields: Mapping[str, Any]) -> bool:
        """Whether the history tells what the units of an operation hold: of an old copy that was put back it does
        not, until they are written again.
        """
        state, named = self.decided.get(coord) or self.ledger, set(fields.get("zones") or ())
        return all(unit in state.units for unit in self.units_of.get(token, ()) if not named or unit[0] in named)

    def _emit(self, line: Line) -> None:
        coord, agent, token = line["coord"], line["agent"], line.get("token")
        if not token:
            return
        key = (coord, agent, token, line["answer"])
        if self.in_order.get(key):
            self.in_order[key] -= 1
        elif key in self.stale:
            newest = {f"{z}/{s}": self._newest(coord, (z, s)) for z, s in sorted(self.units_of.get(token, ()))}
            now = ", ".join(f"{where} is at {token_words(t)}" for where, t in newest.items())
            self.findings.add(
                line,
                f"{agent}'s operation under token {token_words(token)} is answered {line['answer']}, although that "
                f"token is stale or not its own ({now or 'it has no units'})",
                tokens=[token],
                agents=[agent],
            )
        holding = self._holding(coord, token) if (coord, agent, token) in self.current else []
        if holding and line["answer"] == "failed" and line.get("reason") == "STALE_TOKEN":
            self.findings.add(
                line,
                f"{agent} is refused token {token_words(token)} as stale, and it is the newest of "
                + ", ".join(f"{u['zone']}/{u['slot']}" for u in holding),
                tokens=[token],
                agents=[agent],
            )

    def _newest(self, coord: str, unit: UnitId) -> int:
        state = self.decided.get(coord) or self.ledger
        record = state.units.get(unit)
        return int(record["token"]) if record is not None else 0

    def _check_session(self, line: Line) -> None:
        session = self.sessions.of(line) if line.kind == "emit" else ""
        if not session:
            return
        for grant in granted_in(line):
            for unit in self._holding(line["coord"], grant["token"]):
                if unit.get("session") and unit["session"] != session:
                    self.findings.add(
                        line,
                        f"a new session of {line['agent']} is given the grant with token "
                        f"{token_words(grant['token'])} that another session holds",
                        tokens=[grant["token"]],
                        agents=[line["agent"]],
                    )

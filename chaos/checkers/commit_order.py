"""I4: commit before grant, stop before commit, and only a fenced commit counts.

No grant, extension, release, reset or end of a grant is said before its coordinator knows it durable: by a commit of
its own that was acknowledged, or by a load. A stop's sends leave before the commit that makes it durable. A commit
counts only in the newest epoch; none applies after a load that did not see it; none overwrites a foreign change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from chaos.checkers.facts import Ledger, Unit, granted_in, is_applied, records_emits, slots_of
from chaos.checkers.verdict import Findings, Violation, token_words
from chaos.history import Line


def commit_order(lines: Sequence[Line]) -> list[Violation]:
    """Every violation of I4 in the history."""
    return _CommitOrder(lines).run()


class _CommitOrder:
    def __init__(self, lines: Sequence[Line]) -> None:
        self.findings = Findings("I4", lines)
        self.ledger = Ledger()
        self.known: dict[str, Ledger] = {}
        """coordinator -> what it knows to be durable."""
        self.emits = records_emits(lines)
        self.ever_held: set[tuple[str, int]] = set()
        """(zone, token) that the ledger has held at some time."""
        self.incarnation = 0
        self.old_copy = False
        """An old copy was put back and is not found out: it may hold whatever was durable before."""
        self.epoch = 0
        self.newest_leader = ""
        self.upto: dict[tuple[str, int], int] = {}
        self.lost: dict[tuple[str, int], int] = {}
        """(coordinator, txn) whose outcome nobody knew -> its line."""
        self.late: dict[str, int] = {}
        """coordinator -> the revision of its newest lost transaction that applied afterwards."""
        self.loaded_at = 0
        self.foreign: dict[str, Line] = {}
        self.extending: dict[tuple[str, int], list[int]] = {}
        """(coordinator, token) -> steps that took an extension, not yet answered."""
        self.unsaid: dict[str, dict[str, set[str]]] = {}
        """coordinator -> stop -> agents that its step names and that no send has left for."""
        self.durable_stops: dict[tuple[str, str], int] = {}
        self.checks: dict[str, Callable[[Line, Ledger], None]] = {
            "granted": self._granted,
            "welcome": self._granted,
            "released": self._released,
            "abandoned": self._ended,
            "expired": self._ended,
            "extended": self._extended,
            "stop_ended": self._stop_ended,
            "stops_reported": self._stops_reported,
        }

    def run(self) -> list[Violation]:
        for line in self.findings.lines:
            match line.kind:
                case "takeover":
                    self._takeover(line)
                case "commit":
                    self._commit(line)
                case "step":
                    self._step(line)
                case "event" if line["name"] == "Hello":
                    # Who was out of reach when the stop was raised is told when it comes back.
                    for unsaid in self.unsaid.get(line["coord"], {}).values():
                        unsaid.discard(line.get("agent", ""))
                case "event" if line["name"] == "ExtendAsked" and line.get("seq"):
                    token = (line.get("fields") or {}).get("token", 0)
                    self.extending.setdefault((line["coord"], token), []).append(line["seq"])
                case "emit":
                    self._emit(line)
                case "deliver" if not self.emits and line["answer"] in ("granted", "welcome"):
                    self._arrives(line)
                case "fault":
                    self._fault(line)
                case _:
                    pass
        return self.findings.found

    # -- the store -----------------------------------------------------------------------------------------------

    def _takeover(self, line: Line) -> None:
        coord, epoch = line["coord"], line["epoch"]
        if epoch < self.epoch:
            self.findings.add(line, f"{coord} leads in epoch {epoch} after epoch {self.epoch} had begun")
        revision = line.get("revision")
        if revision is not None and self.late.get(coord, 0) > revision:
            self.findings.add(
                line,
                f"{coord} decides on the ledger as of revision {revision}, and a transaction that it had lost applied "
                f"at revision {self.late[coord]}: it read before the new fence stood",
                key=("late", coord, revision),
            )
        self.epoch, self.newest_leader = max(self.epoch, epoch), coord
        self.loaded_at = line.number
        self.known[coord] = self.ledger.copy()
        self.foreign.clear()
        self.unsaid.pop(coord, None)
        for key in [k for k in self.extending if k[0] == coord]:
            del self.extending[key]

    def _fault(self, line: Line) -> None:
        if line["what"] == "foreign_write":
            for key in line.get("keys") or ():
                self.foreign[key] = line
        elif line["what"] == "restore":  # the store's revisions, and with them the epochs, go back too
            self.ledger, self.epoch, self.old_copy = Ledger(), 0, True
            for known in (self.durable_stops, self.lost, self.late, self.foreign):
                known.clear()

    def _commit(self, line: Line) -> None:
        coord, epoch, outcome = line["coord"], line["epoch"], line["outcome"]
        if outcome == "lost" and line.get("txn") is not None:
            self.lost[coord, line["txn"]] = line.number
        if is_applied(line):
            self._check_fence(line)
            self._check_foreign(line)
            self.ledger.apply(line)
            self.ever_held |= {(u["zone"], u["token"]) for u in line.get("units") or () if u["state"] == "HELD"}
            if outcome == "late":
                self.late[coord] = max(self.late.get(coord, 0), line.get("revision", 0))
        if outcome != "refused" and line.get("incarnation", 0) > self.incarnation:
            self.incarnation, self.old_copy = line["incarnation"], False
        if outcome != "refused":  # a straggler from before a restoration is refused, and begins nothing
            self.epoch = max(self.epoch, epoch)
        if outcome == "ok":
            self.known.setdefault(coord, Ledger()).apply(line)
            if line.get("upto") is not None:
                run = (coord, line.get("run", 0))
                self.upto[run] = max(self.upto.get(run, 0), line["upto"])
        for stop in line.get("stops") or ():
            if stop["active"] and outcome != "refused":
                self.durable_stops.setdefault((coord, stop["stop_id"]), line.number)

    def _check_fence(self, line: Line) -> None:
        coord, epoch = line["coord"], line["epoch"]
        if epoch < self.epoch and (line.get("units") or line.get("stops") or line.get("counter")):
            self.findings.add(
                line,
                f"{coord} commits in epoch {epoch} while epoch {self.epoch} has begun ({self.newest_leader} leads)",
                key=("fence", coord, epoch),
            )
        sent = self.lost.get((coord, line.get("txn", -1)))
        if line["outcome"] == "late" and sent is not None and self.loaded_at > sent:
            self.findings.add(
                line,
                f"a transaction of {coord} that was sent before the ledger was loaded (line {self.loaded_at}) applies "
                "after it: what was loaded is not what is decided on",
                zones=[u["zone"] for u in line.get("units") or ()],
            )

    def _check_foreign(self, line: Line) -> None:
        keys = [f"unit/{u['zone']}/{u['slot']}" for u in line.get("units") or ()]
        keys += [f"stop/{s['stop_id']}" for s in line.get("stops") or ()]
        keys += ["meta/counter"] if line.get("counter") is not None else []
        for key in keys:
            if key in self.foreign:
                self.findings.add(line, f"{line['coord']} overwrites {key}, which someone else changed meanwhile")

    # -- what is decided -----------------------------------------------------------------------------------------

    def _step(self, line: Line) -> None:
        for stop in line.get("stops") or ():
            tripped_before = (line["coord"], stop["stop_id"]) in self.durable_stops
            if stop["active"] and line.get("stop_to") and not tripped_before:
                mine = self.unsaid.setdefault(line["coord"], {})
                mine.setdefault(stop["stop_id"], set()).update(line["stop_to"])

    # -- what leaves ---------------------------------------------------------------------------------------------

    def _emit(self, line: Line) -> None:
        coord, answer = line["coord"], line["answer"]
        if answer == "stop_raised":
            self._stop_leaves(line)
            return
        check = self.checks.get(answer)
        if check is None:
            return
        seq, run = line.get("seq"), (coord, line.get("run", 0))
        if seq is not None and self.upto.get(run, 0) < seq:
            self.findings.add(line, f"{answer} leaves for {line['agent']} before step {seq} was committed")
        check(line, self.known.setdefault(coord, Ledger()))

    def _arrives(self, line: Line) -> None:
        """What can be said where nobody noted how answers leave: the grant must have been durable by now."""
        for grant in granted_in(line):
            for zone in grant["zones"]:
                if (zone, grant["token"]) not in self.ever_held:
                    self.findings.add(
                        line,
                        f"{line['agent']} hears that it is granted {zone} (token {token_words(grant['token'])}), and "
                        "no commit has held it",
                        tokens=[grant["token"]],
                        zones=[zone],
                    )

    def _granted(self, line: Line, known: Ledger) -> None:
        for grant in granted_in(line):
            for zone, slot in slots_of(grant):
                units = [u for (z, s), u in known.units.items() if z == zone and slot in (None, s)]
                if not units and self.old_copy and (zone, grant["token"]) in self.ever_held:
                    continue
                if not any(u["token"] == grant["token"] and u["state"] == "HELD" for u in units):
                    self.findings.add(
                        line,
                        f"{line['agent']} is granted {zone} (token {token_words(grant['token'])}) before a commit that "
                        f"{line['coord']} knows of holds it",
                        tokens=[grant["token"]],
                        zones=[zone],
                    )

    def _still_held(self, line: Line, known: Ledger) -> list[Unit]:
        zones = line.get("zones") or ()
        return [u for u in known.with_token(line["token"]) if u["state"] == "HELD" and u["zone"] in zones]

    def _released(self, line: Line, known: Ledger) -> None:
        self._say_unless_durable(line, self._still_held(line, known), "released")

    def _ended(self, line: Line, known: Ledger) -> None:
        self._say_unless_durable(line, self._still_held(line, known), line["answer"])

    def _say_unless_durable(self, line: Line, held: Sequence[Unit], what: str) -> None:
        for unit in held:
            self.findings.add(
                line,
                f"{line['agent']} hears that {unit['zone']} (token {token_words(unit['token'])}) is {what}, and the "
                "ledger still holds it",
                tokens=[unit["token"]],
                zones=[unit["zone"]],
            )

    def _extended(self, line: Line, known: Ledger) -> None:
        token, coord = line["token"], line["coord"]
        waiting = self.extending.get((coord, token))
        if waiting and self.upto:
            seq = waiting.pop(0)
            if self.upto.get((coord, line.get("run", 0)), 0) < seq:
                self.findings.add(
                    line,
                    f"{line['agent']} hears that token {token_words(token)} is extended before the commit of it",
                    tokens=[token],
                )
                return
        units = [u for u in known.with_token(token) if u["state"] == "HELD"]
        if units and all(u.get("remaining_ms", 0) < line.get("expected_ms", 0) for u in units):
            self.findings.add(
                line,
                f"{line['agent']} hears that token {token_words(token)} is extended by {line.get('expected_ms')} ms, "
                f"and the ledger has {max(u.get('remaining_ms', 0) for u in units)} ms",
                tokens=[token],
            )

    def _stop_ended(self, line: Line, known: Ledger) -> None:
        stop = known.stops.get(line.get("stop_id", ""))
        if stop is not None and stop["active"]:
            self.findings.add(
                line,
                f"{line['agent']} hears that stop {stop['stop_id']} has ended, and the ledger has it active",
                stops=[stop["stop_id"]],
            )

    def _stops_reported(self, line: Line, known: Ledger) -> None:
        for stop_id in line.get("stop_ids") or ():
            if stop_id not in known.stops:
                self.findings.add(line, f"stop {stop_id} is reported as kept before a commit holds it", stops=[stop_id])

    def _stop_leaves(self, line: Line) -> None:
        coord, stop_id, agent = line["coord"], line.get("stop_id", ""), line["agent"]
        unsaid = self.unsaid.get(coord, {}).get(stop_id, set())
        if agent not in unsaid:
            return
        unsaid.discard(agent)
        durable = self.durable_stops.get((coord, stop_id))
        if durable is not None:
            self.findings.add(
                line,
                f"stop {stop_id} leaves for {agent} only after its commit (line {durable})",
                key=("late stop", stop_id),
                stops=[stop_id],
            )

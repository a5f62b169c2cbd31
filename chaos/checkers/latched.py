"""I5: an E-Stop stays until a named operator resets it by its id, and a reset restarts nothing.

A stop ends, in the ledger or at an agent, only after a reset that names it, by a named operator with a reason. While it
is active its coordinator lets no grant leave for a zone in its scope or for an agent that it told. An agent that a
stop reached stands within its `stop_ms`, does not move while it is latched, and after the reset moves only on a grant
that came later. A stop that left becomes durable, over crashes and ambiguous commits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from chaos.checkers.facts import DEFAULT_STOP_MS, Floor, Ledger, Sessions, Stop, granted_in, is_applied
from chaos.checkers.verdict import Findings, Violation
from chaos.history import Line

REACTION_MS = 50
"""What a receiver may take, beyond its stopping time, from hearing a stop to standing."""


def latched(lines: Sequence[Line]) -> list[Violation]:
    """Every violation of I5 in the history."""
    return _Latched(lines).run()


@dataclass(slots=True)
class Receiver:
    """One agent as the history shows it."""

    latches: set[str] = field(default_factory=set)
    latched_at: int = 0
    moving_since: int | None = None
    stand_by: int | None = None
    """When it must stand, because of a stop that reached it while it moved."""
    needs_grant: bool = False
    """It was latched, and no grant has reached it since the latch ended."""
    rebooted: bool = False
    """Its process began anew and knows of no latch: nobody will tell it that one has ended."""
    stop_ms: int = DEFAULT_STOP_MS


@dataclass(slots=True)
class Knowledge:
    """What one coordinator process knows of stops: its ledger as loaded, and its own steps since."""

    stops: dict[str, Stop] = field(default_factory=dict)
    told: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    """(agent, session) -> stops: another session of that name, in another machine perhaps, knows of none."""
    sessions: Sessions = field(default_factory=Sessions)


class _Latched:
    def __init__(self, lines: Sequence[Line]) -> None:
        self.findings = Findings("I5", lines)
        self.floor, self.ledger = Floor(), Ledger()
        self.coords: dict[str, Knowledge] = {}
        self.agents: dict[str, Receiver] = {}
        self.resets: dict[str, str] = {}
        """stop -> the named operator who asked for its reset with a reason."""
        self.ended: set[str] = set()
        """Stops whose end a coordinator has decided or the ledger holds."""
        self.left: dict[str, Line] = {}
        """Stops that left or were heard -> the first line that shows it."""
        self.stopped: dict[str, set[str]] = {}
        """Stops -> the agents that were in their scope when they were tripped, as a coordinator decided it."""
        self.crashed_with: set[str] = set()
        self.durable: set[str] = set()
        self.liveness_since: int | None = None

    def run(self) -> list[Violation]:
        lines = self.findings.lines
        for line in lines:
            if line.kind != "header":
                self._must_stand(line)
            match line.kind:
                case "floor":
                    self.floor.take(line)
                case "takeover" | "crash" | "step" | "event" | "emit":
                    self._coordinator(line)
                case "commit" if is_applied(line):
                    self._commit(line)
                case "operator" if line["action"] == "reset":
                    self._asks_reset(line["operator"], line.get("reason", ""), line.get("stop_ids") or ())
                case "stop" | "deliver" | "agent" | "send":
                    self._agent(line)
                case "body" if line.get("by", "self") == "self" or line["what"] in ("stop", "removed"):
                    self._body(line)
                case "body" if line["what"] == "enter":
                    self._is_placed(line)
                case "fault" if line["what"] == "restore":
                    self.ledger = Ledger()
                case "phase" if line["name"] == "liveness":
                    self.liveness_since = line.t
                case _:
                    pass
        if lines and self.liveness_since is not None:
            self._nothing_lost(lines[-1])
        return self.findings.found

    def _receiver(self, agent: str) -> Receiver:
        return self.agents.setdefault(agent, Receiver())

    # -- resets --------------------------------------------------------------------------------------------------

    def _asks_reset(self, operator: str, reason: str, stop_ids: Sequence[str]) -> None:
        if operator.strip() and reason.strip():
            self.resets.update(dict.fromkeys(stop_ids, operator))

    def _commit(self, line: Line) -> None:
        for stop in line.get("stops") or ():
            before = self.ledger.stops.get(stop["stop_id"])
            if stop["active"]:
                self.durable.add(stop["stop_id"])
                if before is not None and not before["active"]:
                    self.findings.add(line, f"stop {stop['stop_id']} had ended and is active again")
            elif stop.get("deleted"):
                if before is not None and before["active"]:
                    self.findings.add(
                        line, f"stop {stop['stop_id']} is forgotten while active", stops=[stop["stop_id"]]
                    )
            else:
                self.durable.add(stop["stop_id"])
                self._check_end(line, stop)
        self.ledger.apply(line)

    def _check_end(self, line: Line, stop: Stop) -> None:
        stop_id = stop["stop_id"]
        self.ended.add(stop_id)
        named = self.resets.get(stop_id)
        if named is None:
            what = "and no named operator asked for its reset with a reason"
        elif not stop.get("reset_by") or not stop.get("reset_reason"):
            what = "and its record does not say who reset it and why"
        else:
            return
        self.findings.add(line, f"stop {stop_id} ends, {what}", key=("end", stop_id), stops=[stop_id])

    # -- coordinators --------------------------------------------------------------------------------------------

    def _coordinator(self, line: Line) -> None:
        coord = line["coord"]
        for stop in (line.get("stops") or ()) if line.kind == "step" else ():
            self.stopped.setdefault(stop["stop_id"], set()).update(line.get("stop_to") or ())
        mine = self.coords.setdefault(coord, Knowledge())
        if line.kind == "crash":
            self.crashed_with |= {s for s in mine.stops if s not in self.durable}
            self.coords[coord] = Knowledge()
        elif line.kind == "takeover":
            # A reload forgets whom it told (they say hello again), but never a stop that left.
            mine.told = {}
            unknown = {s: stop for s, stop in mine.stops.items() if s not in self.ledger.stops}
            mine.stops = {s["stop_id"]: s for s in self.ledger.active_stops()} | unknown
        elif line.kind == "step":
            for stop in line.get("stops") or ():
                if stop["active"]:
                    mine.stops[stop["stop_id"]] = stop
                else:
                    self._decides_end(line, mine, stop)
        elif line.kind == "event":
            self._handles(line, mine)
        else:
            self._emits(line, mine)

    def _decides_end(self, line: Line, mine: Knowledge, stop: Stop) -> None:
        mine.stops.pop(stop["stop_id"], None)
        for told in mine.told.values():
            told.discard(stop["stop_id"])
        if not stop.get("deleted"):
            self._check_end(line, stop)

    def _handles(self, line: Line, mine: Knowledge) -> None:
        fields = line.get("fields") or {}
        mine.sessions.take(line)
        if line["name"] == "Hello":  # the newest session of a name ends the earlier ones, and what they were told
            newest = (line.get("agent", ""), fields.get("session", ""))
            mine.told = {key: told for key, told in mine.told.items() if key[0] != newest[0] or key == newest}
            if not fields.get("latched_stop_ids"):
                mine.told.pop(newest, None)  # a process that begins anew; what covers its place it is told again
        if line["name"] == "ResetAsked":
            self._asks_reset(fields.get("operator", ""), fields.get("reason", ""), fields.get("stop_ids") or ())
        elif line["name"] in ("Hello", "StopAcked"):
            named = fields.get("latched_stop_ids") or fields.get("stop_ids") or ()
            told = mine.told.setdefault((line.get("agent", ""), mine.sessions.of(line)), set())
            told.update(s for s in named if s not in self.ended)

    def _emits(self, line: Line, mine: Knowledge) -> None:
        agent, session = line["agent"], mine.sessions.of(line)
        if line["answer"] == "stop_raised" and line.get("stop_id"):
            mine.told.setdefault((agent, session), set()).add(line["stop_id"])
            self.left.setdefault(line["stop_id"], line)
            return
        if line["answer"] == "stop_ended" and line.get("stop_id") not in self.ended | set(self.resets):
            self.findings.add(
                line, f"{agent} is told that stop {line.get('stop_id')} has ended, and nobody reset it",
                stops=[line.get("stop_id", "")],
            )  # fmt: skip
        if line["answer"] not in ("granted", "welcome"):
            return
        for grant in granted_in(line):
            for zone in grant["zones"]:
                for stop in mine.stops.values():
                    if self.floor.covers(stop, zone):
                        self._granted_under(line, f"{zone}, which stop {stop['stop_id']} covers", zone, stop["stop_id"])
            for stop_id in sorted(mine.told.get((agent, session), set()) & set(mine.stops)):
                self._granted_under(line, f"{', '.join(grant['zones'])} while latched by {stop_id}", "", stop_id)

    def _granted_under(self, line: Line, what: str, zone: str, stop_id: str) -> None:
        agent = line["agent"]
        self.findings.add(
            line,
            f"{agent} is granted {what}",
            key=("granted", agent, zone, stop_id, line.get("token")),
            stops=[stop_id],
            agents=[agent],
            zones=[zone] if zone else [],
        )

    # -- receivers -----------------------------------------------------------------------------------------------

    def _agent(self, line: Line) -> None:
        agent = self._receiver(line["agent"])
        if line.kind == "stop":
            self.left.setdefault(line["stop_id"], line)
            self._latch(line, agent, line["stop_id"])
        elif line.kind == "deliver":
            if line["answer"] == "stop_ended":
                agent.latches.discard(line.get("stop_id", ""))
            self._forget_ended(agent)
            if line["answer"] in ("granted", "welcome") and any(True for _ in granted_in(line)) and not agent.latches:
                agent.needs_grant = False
        elif line.kind == "agent":
            if line.get("stop_ms") is not None:
                agent.stop_ms = line["stop_ms"]
            if line["what"] in ("boot", "reboot"):
                agent.rebooted = True
                # Who only waited for a zone of the scope latches itself while it remembers; it stands in none of it.
                agent.latches = {s for s in agent.latches if line["agent"] in self.stopped.get(s, {line["agent"]})}
            elif line["what"] == "latched":
                self._latch(line, agent, line.get("stop_id", ""))
            elif line["what"] == "unlatched":
                self._unlatch(line, agent)

    def _latch(self, line: Line, agent: Receiver, stop_id: str) -> None:
        if stop_id in agent.latches or stop_id in self.ended:
            return  # known already, or a copy of a stop that was reset meanwhile
        agent.latches.add(stop_id)
        agent.latched_at = line.t
        agent.needs_grant = True
        if agent.moving_since is not None and agent.stand_by is None:
            agent.stand_by = line.t + agent.stop_ms + REACTION_MS

    def _forget_ended(self, agent: Receiver) -> None:
        if agent.rebooted:
            agent.latches -= self.ended

    def _unlatch(self, line: Line, agent: Receiver) -> None:
        stop_id = line.get("stop_id", "")
        agent.latches.discard(stop_id)
        if stop_id not in self.ended and stop_id not in self.resets:
            self.findings.add(
                line,
                f"{line['agent']} takes stop {stop_id} as ended, and nobody reset it",
                stops=[stop_id],
                agents=[line["agent"]],
            )

    def _body(self, line: Line) -> None:
        name, agent = line["agent"], self._receiver(line["agent"])
        if line["what"] in ("stop", "removed"):
            agent.moving_since, agent.stand_by = None, None
            if line["what"] == "removed":  # switched off and taken away
                agent.latches.clear()
                agent.needs_grant = False
        elif line["what"] == "start":
            agent.moving_since = line.t
            self._forget_ended(agent)
            if agent.latches and line.t - agent.latched_at <= REACTION_MS:
                # The stop has arrived, and the program has had no turn to read it: it must stand as if it had moved.
                agent.stand_by = agent.latched_at + agent.stop_ms + REACTION_MS
            elif agent.latches:
                stop_ids = sorted(agent.latches)
                self.findings.add(
                    line, f"{name} moves while latched by {', '.join(stop_ids)}", stops=stop_ids, agents=[name]
                )
            elif agent.needs_grant:
                self.findings.add(
                    line,
                    f"{name} moves again after a reset without a grant that came later",
                    key=("restart", name, line.number),
                    agents=[name],
                )
            agent.needs_grant = False

    def _is_placed(self, line: Line) -> None:
        """People put it there, switched off: what it was latched by before its reboot stood somewhere else."""
        agent = self._receiver(line["agent"])
        if agent.rebooted and agent.moving_since is None:
            agent.latches.clear()
            agent.needs_grant = False

    def _must_stand(self, line: Line) -> None:
        for name, agent in self.agents.items():
            if agent.stand_by is not None and line.t > agent.stand_by:
                stop_ids = sorted(agent.latches)
                self.findings.add(
                    line,
                    f"{name} still moves at {line.t} ms; stop {', '.join(stop_ids)} reached it, and it had to stand by "
                    f"{agent.stand_by} ms",
                    key=("still moves", name, agent.stand_by),
                    stops=stop_ids,
                    agents=[name],
                )
                agent.stand_by = None

    # -- the end -------------------------------------------------------------------------------------------------

    def _nothing_lost(self, last: Line) -> None:
        for stop_id, line in self.left.items():
            excused = stop_id in self.crashed_with and not self.floor.stop_file
            if stop_id not in self.durable and not excused:
                self.findings.add(
                    last, f"stop {stop_id} left at {line.t} ms (line {line.number}) and was lost", stops=[stop_id]
                )

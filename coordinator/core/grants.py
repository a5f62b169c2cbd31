"""Live grants and their deadlines. Owns I4's core half and I6.

A grant is PENDING from the decision to the commit, LIVE from the commit (its deadline counts from there, never from the
ask), and then ended for good; a resumed or extended grant is the same grant. Its deadline only ever stops things.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from enum import StrEnum


class GrantPhase(StrEnum):
    PENDING = "PENDING"
    LIVE = "LIVE"


class Alarm(StrEnum):
    """What a grant's timer is for. WARN sorts after OVERDUE on purpose: at one instant the stop goes first."""

    OVERDUE = "A-OVERDUE"
    WARN = "B-WARN"


@dataclass(slots=True)
class Grant:
    """One live grant. `units` maps each zone still held to its slot; the commit of step `decided_in` starts it.

    `revoked`: told to stand still, held until its holder confirms. `said_left`: its release was received and lost
    with an uncertain commit; when its time ends the zones stay occupied, but there is nothing to stop.
    """

    token: int
    agent_id: str
    session: str
    request_id: str
    payload: str
    units: dict[str, int]
    expected_ms: int
    decided_in: int
    phase: GrantPhase = GrantPhase.PENDING
    granted_at_ms: int = 0
    deadline_ms: int = 0
    warn_at_ms: int = 0
    warned: bool = False
    revoked: bool = False
    said_left: bool = False
    extending_in: int = 0
    extension_ms: int = 0
    all_zones: tuple[str, ...] = field(default=())

    @property
    def zones(self) -> tuple[str, ...]:
        """Zones still held, in the order of the ask."""
        if len(self.units) == len(self.all_zones):
            return self.all_zones
        return tuple(z for z in self.all_zones if z in self.units)

    @property
    def slots(self) -> tuple[int, ...]:
        return tuple(self.units[z] for z in self.zones)


STALE_ALARMS = 4
"""Alarms kept per live grant (two are current) before those of ended grants are swept out."""

STALE_ALARMS_LEAST = 256


class Grants:
    """Live grants by token, and a heap of their alarms with lazy deletion, swept when ended grants fill it."""

    def __init__(self) -> None:
        self._by_token: dict[int, Grant] = {}
        self._uncommitted: list[int] = []
        self._alarms: list[tuple[int, Alarm, int]] = []

    def __len__(self) -> int:
        return len(self._by_token)

    def get(self, token: int) -> Grant | None:
        return self._by_token.get(token)

    def all(self) -> list[Grant]:
        return list(self._by_token.values())

    def add(self, grant: Grant) -> None:
        self._by_token[grant.token] = grant
        self._uncommitted.append(grant.token)

    def extend(self, grant: Grant, expected_ms: int, step: int) -> None:
        """Notes an extension; the new deadline counts from the commit of `step`, and nothing trips before it. A shorter
        one that comes before that commit takes nothing from it: its holder was told of both.
        """
        grant.extending_in, grant.extension_ms = step, max(grant.extension_ms, expected_ms)
        self._uncommitted.append(grant.token)

    def remove(self, token: int) -> None:
        self._by_token.pop(token, None)
        if len(self._alarms) > STALE_ALARMS_LEAST + STALE_ALARMS * len(self._by_token):
            self._alarms = [alarm for alarm in self._alarms if self._is_current(alarm)]
            heapq.heapify(self._alarms)

    def start(self, grant: Grant, now_ms: int, lasts_ms: int, warn_permille: int) -> None:
        """Sets (never shortens) the deadline, `lasts_ms` from now."""
        if grant.phase is GrantPhase.PENDING:
            grant.phase, grant.granted_at_ms = GrantPhase.LIVE, now_ms
        deadline = now_ms + lasts_ms
        if deadline <= grant.deadline_ms:
            return
        grant.deadline_ms, grant.warned = deadline, False
        grant.warn_at_ms = now_ms + lasts_ms * warn_permille // 1000
        heapq.heappush(self._alarms, (deadline, Alarm.OVERDUE, grant.token))
        heapq.heappush(self._alarms, (grant.warn_at_ms, Alarm.WARN, grant.token))

    def committed(self, upto: int) -> list[Grant]:
        """Takes out the grants whose grant or extension the store now holds, each once; the others stay for later."""
        ready: dict[int, Grant] = {}
        later: dict[int, None] = {}
        for token in self._uncommitted:
            grant = self._by_token.get(token)
            if grant is None or (grant.phase is GrantPhase.LIVE and not grant.extending_in):
                continue  # ended, or inherited with its time running
            decided_in = grant.decided_in if grant.phase is GrantPhase.PENDING else 0
            if max(decided_in, grant.extending_in) > upto:
                later[token] = None
            else:
                ready[token] = grant
        self._uncommitted = list(later)
        return list(ready.values())

    def next_alarm_ms(self) -> int | None:
        while self._alarms and not self._is_current(self._alarms[0]):
            heapq.heappop(self._alarms)
        return self._alarms[0][0] if self._alarms else None

    def due(self, now_ms: int) -> list[tuple[Alarm, Grant]]:
        """Takes out the alarms that are due, earliest first; OVERDUE alarms of grants being extended stay for later."""
        due: list[tuple[Alarm, Grant]] = []
        later: list[tuple[int, Alarm, int]] = []
        while self._alarms and self._alarms[0][0] <= now_ms:
            alarm = heapq.heappop(self._alarms)
            if not self._is_current(alarm):
                continue
            grant = self._by_token[alarm[2]]
            if grant.extending_in:
                later.append(alarm)
            else:
                due.append((alarm[1], grant))
        for alarm in later:
            heapq.heappush(self._alarms, alarm)
        return due

    def put_back(self, grant: Grant) -> None:
        """An overdue alarm that could not be acted on (no fresh fence) stays due."""
        heapq.heappush(self._alarms, (grant.deadline_ms, Alarm.OVERDUE, grant.token))

    def _is_current(self, alarm: tuple[int, Alarm, int]) -> bool:
        grant = self._by_token.get(alarm[2])
        if grant is None:
            return False
        if alarm[1] is Alarm.OVERDUE:
            return alarm[0] == grant.deadline_ms
        return not grant.warned and alarm[0] == grant.warn_at_ms

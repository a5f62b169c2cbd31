"""Machines on the floor as physics has them: where each one is, whatever anybody believes.

A body drives from the middle of one zone to the middle of the next and brakes over `stop_ms`. Its controller (a PLC,
which outlives the agent's process) moves only until the permit it was given runs out. Truth that the checks read comes
from here and nowhere else. Integers: micrometres and nanoseconds. Never imports zonelock.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import StrEnum

from chaos.sim.loop import NS_PER_MS, VirtualLoop

SEGMENT_UM = 2_000_000
"""From the middle of a zone to the middle of its neighbour; the border lies half way."""
HALF_LENGTH_UM = 400_000
SPEED_MM_S = 1_000


class Motion(StrEnum):
    STANDING = "standing"
    DRIVING = "driving"
    BRAKING = "braking"


class Body:
    """One machine. `on_news(what, zone, by)` hears: enter, leave, start, stop, removed."""

    def __init__(self, loop: VirtualLoop, agent_id: str, zone: str, stop_ms: int) -> None:
        self.loop, self.agent_id, self.stop_ms = loop, agent_id, stop_ms
        self.zone: str | None = zone
        self.target: str | None = None
        self.inside: frozenset[str] = frozenset({zone})
        self.motion = Motion.STANDING
        self.stuck = False
        self.locked = False
        """A person stands by and lets it not move."""
        self.hops = 0
        self.on_news: Callable[[Body, str, str | None, str], None] = lambda *_: None
        self._s_um = 0
        self._since_ns = 0
        self._permit_ns = 0
        self._plans = 0

    # -- what the controller may be told -------------------------------------------------------------------------

    def drive(self, target: str, permit_ns: int) -> None:
        """Go on towards `target`, no later than true time `permit_ns`. Repeating it only renews the permit."""
        if self.zone is None or self.stuck or self.locked or permit_ns <= self.loop.true_ns:
            return
        if self.motion is Motion.BRAKING:
            return
        if self.target != target:
            if self.target is not None and target == self.zone:
                self._turn_round()
            elif self.target is None:
                self.target, self._s_um = target, 0
            else:
                raise ValueError(
                    f"{self.agent_id} is between {self.zone} and {self.target}, not on its way to {target}"
                )
        self._permit_ns = permit_ns
        if self.motion is Motion.STANDING:
            self.motion, self._since_ns = Motion.DRIVING, self.loop.true_ns
            self.on_news(self, "start", None, "self")
        else:
            self._settle_position()
        self._plan()

    def brake(self) -> None:
        """Come to a stand within `stop_ms`."""
        if self.motion is not Motion.DRIVING:
            return
        self._settle_position()
        self.motion = Motion.BRAKING
        self._plan()

    @property
    def between(self) -> bool:
        """Whether it stands or moves off the middle of a zone."""
        return self.target is not None

    @property
    def moving(self) -> bool:
        return self.motion is not Motion.STANDING

    def progress_permille(self) -> int:
        """Of the way to the next middle."""
        self._settle_position()
        return self._s_um * 1_000 // SEGMENT_UM if self.target is not None else 1_000

    # -- what else happens to machines ---------------------------------------------------------------------------

    def jam(self) -> None:
        """A wheel blocks: it stands where it is."""
        self.stuck = True
        if self.moving:
            self._settle_position()
            self._stand("fault")

    def take_away(self) -> None:
        """People carry it off the floor. Only a standing machine can be carried."""
        self._plans += 1
        gone, self.inside = sorted(self.inside), frozenset()
        self.zone = self.target = None
        self._s_um = 0
        for zone in gone:
            self.on_news(self, "leave", zone, "people")
        self.on_news(self, "removed", None, "people")

    def place(self, zone: str) -> None:
        """People put it into a zone."""
        self.zone, self.target, self._s_um = zone, None, 0
        self.inside = frozenset({zone})
        self.on_news(self, "enter", zone, "people")

    # -- motion --------------------------------------------------------------------------------------------------

    def _turn_round(self) -> None:
        self._settle_position()
        self.zone, self.target = self.target, self.zone
        self._s_um = SEGMENT_UM - self._s_um

    def _travelled_um(self, elapsed_ns: int) -> int:
        if self.motion is Motion.DRIVING:
            return SPEED_MM_S * elapsed_ns // NS_PER_MS
        brake_ns = self.stop_ms * NS_PER_MS
        elapsed_ns = min(elapsed_ns, brake_ns)
        return SPEED_MM_S * (elapsed_ns - elapsed_ns * elapsed_ns // (2 * brake_ns)) // NS_PER_MS

    def _needed_ns(self, distance_um: int) -> int | None:
        """Time until that much more is travelled in the present motion; None when it never will be."""
        if self.motion is Motion.DRIVING:
            return -(-distance_um * NS_PER_MS // SPEED_MM_S)
        brake_ns = self.stop_ms * NS_PER_MS
        rest = 1 - 2 * distance_um * NS_PER_MS / (SPEED_MM_S * brake_ns)
        return None if rest < 0 else math.ceil(brake_ns * (1 - math.sqrt(rest)))

    def _settle_position(self) -> None:
        """Brings the position up to now. A braking body keeps its start, from which its curve is reckoned."""
        if self.motion is Motion.DRIVING:
            self._s_um = min(SEGMENT_UM, self._s_um + self._travelled_um(self.loop.true_ns - self._since_ns))
            self._since_ns = self.loop.true_ns

    def _plan(self) -> None:
        """Sets the one timer for whatever comes first: a border, the middle, a stand, the permit's end."""
        self._plans += 1
        times = []
        for milestone_um in (SEGMENT_UM // 2 - HALF_LENGTH_UM, SEGMENT_UM // 2 + HALF_LENGTH_UM, SEGMENT_UM):
            if milestone_um > self._s_um or (milestone_um == self._s_um and not self._passed(milestone_um)):
                needed = self._needed_ns(milestone_um - self._s_um)
                if needed is not None and not self._passed(milestone_um):
                    times.append(self._since_ns + needed)
        if self.motion is Motion.BRAKING:
            times.append(self._since_ns + self.stop_ms * NS_PER_MS)
        else:
            times.append(self._permit_ns)
        self.loop.call_at_true(max(self.loop.true_ns, min(times)), self._reach, self._plans)

    def _passed(self, milestone_um: int) -> bool:
        entered = self.target in self.inside
        if milestone_um < SEGMENT_UM // 2:
            return entered
        return self.zone not in self.inside if milestone_um < SEGMENT_UM else False

    def _reach(self, plan: int) -> None:
        if plan != self._plans or not self.moving or self.zone is None or self.target is None:
            return
        now_ns = self.loop.true_ns
        here_um = min(SEGMENT_UM, self._s_um + self._travelled_um(now_ns - self._since_ns))
        if here_um >= SEGMENT_UM // 2 - HALF_LENGTH_UM and self.target not in self.inside:
            self.inside |= {self.target}
            self.on_news(self, "enter", self.target, "self")
        if here_um >= SEGMENT_UM // 2 + HALF_LENGTH_UM and self.zone in self.inside:
            self.inside -= {self.zone}
            self.on_news(self, "leave", self.zone, "self")
        if here_um >= SEGMENT_UM:
            self.zone, self.target, self._s_um = self.target, None, 0
            self.hops += 1
            self._stand("self")
        elif self.motion is Motion.BRAKING and now_ns - self._since_ns >= self.stop_ms * NS_PER_MS:
            self._s_um = here_um
            self._stand("self")
        elif self.motion is Motion.DRIVING and now_ns >= self._permit_ns:
            self.brake()
        else:
            self._plan()

    def _stand(self, by: str) -> None:
        self._plans += 1
        self.motion = Motion.STANDING
        self.on_news(self, "stop", None, by)

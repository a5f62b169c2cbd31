"""Patient agents on a machine: each asks for a few zones of its claim at once and does what it is told, no more.

They never give an ask up: what nobody tells them to mend stays as it is for good.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field

from core.bench import Bench, only
from core.route_worlds import World

from coordinator.core import effects as fx
from coordinator.core import events as ev
from coordinator.core.model import BlockCause, FloorSpec, ZoneSpec
from coordinator.core.rejections import Rejection
from coordinator.core.routing import LOOK_MS

HOLD_MS = 3_600_000
REST_LOOKS = 6


@dataclass
class Patient:
    """One agent: where it stands, what it holds ahead, what is left of its way, and where it is bound in the end."""

    name: str
    zone: str
    way: list[str]
    goal: str
    reach: int
    tokens: dict[str, int] = field(default_factory=dict)
    waits: bool = False
    limit: int = 0
    """How much it was told to ask for at most; 0: nothing was said."""
    rests: int = 0


class PatientFleet(Bench):
    """Plays a world by asks of up to `reach` zones."""

    def __init__(self, world: World, rng: random.Random, *, reach: int) -> None:
        zones = tuple(ZoneSpec(z, capacity=c, hold_max_ms=HOLD_MS) for z, c in sorted(world.zones.items()))
        super().__init__(floor=FloorSpec("world", 1, "world-hash", zones, neighbours=tuple(sorted(world.ways))))
        self.world, self.rng = world, rng
        self.told: list[str] = []
        self.agents: dict[str, Patient] = {}
        for name, zone in sorted(world.standing.items()):
            self.abandon(name, self._place(name, zone), block=BlockCause.PARKED)
        for name, zone in sorted(world.at.items()):
            way = list(world.routes[name])
            token = self._place(name, zone)
            self.agents[name] = Patient(name, zone, way, [zone, *way][-1], rng.randint(1, reach), {zone: token})
        for agent in self.agents.values():
            self._claim(agent)

    def _place(self, name: str, zone: str) -> int:
        self.hello(name)
        return int(only(self.ask(name, zone, ms=HOLD_MS), fx.Granted).token)

    def _claim(self, agent: Patient) -> None:
        self.do(ev.Claimed(**self._who(agent.name), request_id="claim", zones=tuple(agent.way)))

    # -- what they hear

    def _deliver(self, send: fx.Send) -> None:
        super()._deliver(send)
        agent = self.agents.get(send.agent_id) if hasattr(self, "agents") else None
        if agent is None:
            return
        match send.answer:
            case fx.Granted() as granted:
                agent.waits, agent.limit = False, 0
                agent.tokens.update(dict.fromkeys(granted.zones, granted.token))
            case fx.Queued():
                agent.waits = True
            case fx.Rejected() as answer:
                agent.waits = False
                self._refused(agent, answer)
            case fx.Yield() as asked if not agent.way:
                agent.way = self._way(agent.zone, asked.to_zone, self._taken())
                if agent.zone == agent.goal and agent.way:
                    agent.goal = asked.to_zone  # it has been where it was bound, and does not go back there
                self.told.append(f"{agent.name} yields to {asked.to_zone}")
            case _:
                pass

    def _refused(self, agent: Patient, answer: fx.Rejected) -> None:
        if answer.reason is not Rejection.WOULD_DEADLOCK:
            self.fail(f"{agent.name} was refused: {answer}")
        self.told.append(answer.message)
        if answer.retreat_zone in agent.way and answer.retreat_zone in answer.zones:
            agent.limit = agent.way.index(answer.retreat_zone) + 1
        elif answer.retreat_zone:
            agent.way = self._way(agent.zone, answer.retreat_zone, self._taken())
            agent.rests = REST_LOOKS + self.rng.randint(0, REST_LOOKS)

    def _taken(self) -> set[str]:
        return {z for z in self.world.zones if not self.machine.units.free_slots(z)}

    def _way(self, start: str, goal: str, shut: set[str]) -> list[str]:
        came, edge = {start: ""}, deque([start])
        while edge:
            here = edge.popleft()
            for a, b in sorted(self.world.ways):
                if a == here and b not in came and b not in shut:
                    came[b] = here
                    edge.append(b)
        way: list[str] = []
        while goal and goal in came and goal != start:
            way.append(goal)
            goal = came[goal]
        return way[::-1]

    # -- what they do

    def play(self, looks: int) -> list[str]:
        """Who has not arrived after so many looks."""
        for _ in range(looks):
            names = sorted(self.agents)
            self.rng.shuffle(names)
            for name in names:
                self._turn(self.agents[name])
            if all(self._there(agent) for agent in self.agents.values()):
                return []
            self.wait(LOOK_MS)
        return sorted(name for name, agent in self.agents.items() if not self._there(agent))

    def _there(self, agent: Patient) -> bool:
        return not agent.way and agent.zone == agent.goal

    def _turn(self, agent: Patient) -> None:
        if agent.waits:
            return
        if not agent.way:
            self._rest(agent)
        elif self.machine.routes.remaining(agent.name) != tuple(z for z in agent.way if z not in agent.tokens):
            self._claim(agent)
        elif agent.way[0] in agent.tokens:
            self._drive(agent)
        else:
            count = min(agent.limit or agent.reach, len(agent.way))
            zones = [z for z in agent.way[:count] if z not in agent.tokens]
            self.ask(agent.name, *zones, ms=HOLD_MS)

    def _rest(self, agent: Patient) -> None:
        if self.machine.routes.remaining(agent.name):
            self._claim(agent)
        agent.rests -= 1
        if agent.zone != agent.goal and agent.rests <= 0:
            agent.way = self._way(agent.zone, agent.goal, set())
            self._claim(agent)

    def _drive(self, agent: Patient) -> None:
        left, agent.zone = agent.zone, agent.way.pop(0)
        self.inside[agent.name].add(agent.zone)
        if left in agent.tokens:
            self.release(agent.name, agent.tokens.pop(left), left)
        if not agent.way:
            self._claim(agent)

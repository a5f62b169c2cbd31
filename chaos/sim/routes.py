"""How an agent drives that declares its routes: claims its way, asks along it, waits as long as it was promised.

It keeps to its claim, makes way when it idles and is asked to, draws back when it is told that waiting cannot help, and
otherwise waits where it stands, parked, for as long as it takes. That patience is what shows a promise of I9 that does
not hold: an agent that gave up after some seconds would hide it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from zonelock_client.agent import Agent
from zonelock_client.errors import GrantRejected

from chaos.sim import floors

if TYPE_CHECKING:
    from chaos.sim.robots import Robot

AT_ONCE_S = 1.0
"""A wait that is over by then needs no parking."""
STUBBORN_S = 90.0
"""How long an agent waits that was told that it can finish."""
LOOK_S = 0.5
REST_S = (2.0, 6.0)
"""How long it rests where it has drawn back to."""


class RouteDriver:
    """The part of a robot that has declared its route."""

    def __init__(self, robot: Robot) -> None:
        self.robot = robot
        self._way: list[str] = []
        """What is left of the claimed way."""
        self._shut: frozenset[str] = frozenset()
        """Where it was refused: it does not draw back through whom it met there, if there is another way."""
        self._aside = ""
        self._rests = False
        self.idle = False
        """It has arrived, says so, and wants nothing."""

    def asked_to_yield(self, zone: str) -> None:
        self._aside = zone

    def forget(self) -> None:
        """Whatever was claimed is not what it will do."""
        self._way = []
        self.idle = False
        self.robot.ahead = frozenset()

    def refused(self, refusal: GrantRejected) -> None:
        """Its ask was rejected: where waiting cannot help it draws back, if it was told whereto."""
        self._shut = frozenset(refusal.zones) - self.robot.body.inside
        self.forget()
        self.robot.goal = refusal.retreat_zone if refusal.reason == "WOULD_DEADLOCK" else ""
        self._rests = bool(self.robot.goal)

    async def go_on(self, agent: Agent) -> None:
        """One zone further on its way, or a rest at its end."""
        robot, here = self.robot, self.robot.body.zone or ""
        if robot.goal in ("", here):
            await self._arrived(agent)
            return
        if not self._way:
            shape, shut = robot.world.plan.shape, self._shut
            self._way = floors.steps_towards(shape, here, robot.goal, shut)
            self._way = self._way or floors.steps_towards(shape, here, robot.goal)
            self._shut = frozenset()
            agent.claim(*self._way)
        await self._step(agent, self._way[0])

    async def _arrived(self, agent: Agent) -> None:
        robot = self.robot
        robot.tasks_done += bool(robot.goal)
        robot.goal = ""
        self.forget()
        agent.claim()
        seconds = robot.rng.uniform(*REST_S) if self._rests else robot.rng.uniform(0, robot.plan.idles_s)
        self._rests, self._aside = False, ""
        await robot._park(agent)
        self.idle = True
        while seconds > 0 and not (self._aside or robot.quiet or robot.needs_people or agent.core.refused):
            await asyncio.sleep(LOOK_S)
            seconds -= LOOK_S
        self.idle = False
        others = [z for z in sorted(robot.world.capacities) if z != robot.body.zone]
        robot.goal = self._aside or robot.rng.choice(others)

    async def _step(self, agent: Agent, target: str) -> None:
        robot = self.robot
        robot.ahead = frozenset(self._way[: robot.plan.reach])
        cover = robot._cover(agent)
        short = {g.token: g for g in cover.values() if g.remaining_ms() < robot._margin_ms}
        if short:  # no more time for what lies ahead, and for what it stands on new time or none
            robot.ahead = frozenset({target})
            await robot._give_back(agent, keep=frozenset())
            for grant in [g for g in agent.grants if g.token in short]:
                await robot._renew(grant)
        missing = (robot.body.inside | robot.ahead) - robot._cover(agent).keys()
        if missing:
            await self._acquire(agent, missing)
        await robot._drive(agent, target)
        self._way = self._way[1:]
        robot.ahead -= {target}
        robot._stalemates = 0
        await robot._give_back(agent)

    async def _acquire(self, agent: Agent, zones: frozenset[str]) -> None:
        """At once if it can be; else parked, and with patience."""
        robot = self.robot
        try:
            await robot._acquire(agent, zones, AT_ONCE_S)
            return
        except TimeoutError:
            if not agent.can_finish:
                raise
        await robot._give_back(agent, keep=frozenset())
        await robot._park(agent)
        needed = (robot.body.inside | robot.ahead) - robot._cover(agent).keys()
        ask = asyncio.get_running_loop().create_task(robot._acquire(agent, needed, STUBBORN_S))
        try:
            while not ask.done() and not robot.quiet:
                await asyncio.wait({ask}, timeout=LOOK_S)
            if not ask.done():
                raise TimeoutError
            await ask
        finally:
            ask.cancel()

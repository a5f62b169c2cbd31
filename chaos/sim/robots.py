"""Agents as their makers would write them: the real SDK in a simulated process, with a body that obeys its permits.

A robot wanders from goal to goal, a zone at a time: asks, drives while it may, gives back what it left, parks where it
waits, plans anew when it waits too long, stands still when told to, and tidies up after lost grants. It believes its
SDK and its own localisation and knows nothing of the truth. What it cannot mend it leaves to people.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Iterable
from typing import TYPE_CHECKING

from zonelock_client import connect
from zonelock_client.agent import Agent
from zonelock_client.dead_man import Halt
from zonelock_client.errors import (
    GrantLost,
    GrantRejected,
    LinkLost,
    Rejected,
    RequestError,
    StillInside,
    ZonelockError,
)
from zonelock_client.grant import Grant

from chaos.sim import floors
from chaos.sim.bodies import Body
from chaos.sim.loop import NS_PER_MS, Process
from chaos.sim.routes import RouteDriver

if TYPE_CHECKING:
    from chaos.sim.world import World

CONTROL_MS = 100
REPORT_MS = 500
HOP_MS = 2_000
SHORT_MS = 2_500
"""With less than this left a robot starts nothing new on a grant."""
STALEMATES_BEFORE_HELP = 4
TRAVEL_ERRORS = (GrantLost, GrantRejected, StillInside, Rejected, RequestError, TimeoutError)


class Robot:
    """One agent's host. `start`, `kill` and the switches below are the nemesis's; the rest is its own life."""

    def __init__(self, world: World, agent_id: str, body: Body) -> None:
        self.world, self.agent_id, self.body = world, agent_id, body
        self.rng: random.Random = world.chance(f"robot {agent_id}")
        self.plan = world.plan.robot(agent_id)
        self.secret = self.rng.randbytes(24)
        self.highest_token = 0
        self.process: Process | None = None
        self.agent: Agent | None = None
        self.needs_people = False
        self.late_release_ms = 0
        self.releases_early = False
        self.lost_pose_until_ns = 0
        self.quiet = False
        """At the end: finish what is under way and stand."""
        self.tasks_done = 0
        self.goal = ""
        self.ahead: frozenset[str] = frozenset()
        """Zones that it was granted ahead of itself and means to enter."""
        self.driver = RouteDriver(self)
        self._boots = 0
        self._stalemates = 0
        self._left_behind: set[str] = set()
        self._others: set[str] = set()
        """Zones it had left behind in which somebody else stands by now: nothing of its own can be left there."""

    # -- its host ------------------------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.alive

    def start(self) -> None:
        self._boots += 1
        world = self.world
        rng = world.chance(f"clock {self.agent_id} {self._boots}")
        process = Process(
            world.loop,
            self.agent_id,
            boot_ns=rng.randrange(1, 4_000_000) * NS_PER_MS,
            rate_ppm=world.rate_ppm(rng),
        )
        process.on_death.append(self._died)
        self.process = process
        world.note(
            "agent",
            self.agent_id,
            agent=self.agent_id,
            what="boot" if self._boots == 1 else "reboot",
            stop_ms=self.body.stop_ms,
        )
        self.body.brake()  # its controller begins by standing still
        process.launch(self._live, "life")

    def kill(self, *, lose_secret: bool) -> None:
        """The process ends; the body goes on until its permit runs out."""
        if self.process is None or not self.process.alive:
            return
        self.process.kill()
        if lose_secret:
            self.secret = self.rng.randbytes(24)
            self.needs_people = bool(self.body.inside)

    def calm_down(self) -> None:
        """Its faults are mended: from here on it only drives with time enough."""
        self.plan = self.plan.calm()
        self.releases_early = False

    def _died(self) -> None:
        self.agent = None
        self._left_behind.clear()
        self._others.clear()
        self.driver.forget()

    def localised(self) -> frozenset[str]:
        """Where it believes it is. After a reboot some localisations say the default pose for a while."""
        if self.world.loop.true_ns < self.lost_pose_until_ns:
            return frozenset({min(self.world.capacities)})
        return self.body.inside

    # -- its life ------------------------------------------------------------------------------------------------

    async def _live(self) -> None:
        while True:
            agent = None
            try:
                agent = await self._connect()
                self.agent = agent
                await self._work(agent)
            except (LinkLost, RequestError):
                pass
            finally:
                self.body.brake()
                self.agent = None
            if agent is not None:
                self.highest_token = agent.highest_token
                await agent.close(keep_grants=True, flush_s=0.2)
            await asyncio.sleep(self.rng.uniform(0.2, 1.5))

    async def _connect(self) -> Agent:
        def halt(_: Halt) -> None:
            self.body.brake()

        async def stand(_: object) -> None:
            await self._stand()

        # What it stands in after a lost pose is not what it believes: it declares nothing then.
        lost = self.world.loop.true_ns < self.lost_pose_until_ns
        agent = await connect(
            self.world.targets_for(self.agent_id),
            agent_id=self.agent_id,
            agent_kind="agv",
            session_secret=self.secret,
            stop_ms=self.body.stop_ms,
            floor_hash=self.world.floor.hash,
            standing_zones=() if lost else sorted(self.body.inside),
            highest_token=self.highest_token,
            auto_extend=self.plan.auto_extend,
            on_halt=halt,
            on_stop=stand,
            connect_timeout_s=8.0,
        )
        agent.on_yield(self.driver.asked_to_yield)
        return agent

    async def _work(self, agent: Agent) -> None:
        reports = asyncio.get_running_loop().create_task(self._report_for_ever(agent))
        try:
            while True:
                await agent.stop_cleared()
                try:
                    await self._do_next(agent)
                except TRAVEL_ERRORS as error:
                    await self._recover(agent, error)
                if agent.core.refused is not None:
                    return
        finally:
            reports.cancel()

    async def _report_for_ever(self, agent: Agent) -> None:
        while True:
            self._report(agent)
            await asyncio.sleep(REPORT_MS / 1_000)

    def _report(self, agent: Agent) -> None:
        agent.report(
            inside=sorted(self.localised()), progress_permille=self.body.progress_permille(), activity=self.goal
        )

    async def _do_next(self, agent: Agent) -> None:
        if self.world.loop.true_ns < self.lost_pose_until_ns or self.needs_people:
            await asyncio.sleep(0.5)
        elif self.releases_early and not self.body.between:
            await self._release_early(agent)
        elif self._left_behind - self.body.inside:
            await self._tidy(agent, min(self._left_behind - self.body.inside))
        elif self.body.zone is None:
            await self._enter_floor(agent)
        elif self.quiet and not self.body.between:
            await self._settle_down(agent)
        elif self.plan.routes and not self.body.between:
            await self.driver.go_on(agent)
        else:
            await self._hop(agent)

    async def _stand(self) -> None:
        """Returns once the machine is at rest."""
        self.body.brake()
        while self.body.moving:  # noqa: ASYNC110 - as a controller is polled
            await asyncio.sleep(0.02)

    async def _recover(self, agent: Agent, error: Exception) -> None:
        await self._stand()
        self.driver.forget()
        if self.plan.routes and isinstance(error, GrantRejected):
            self.driver.refused(error)
        if isinstance(error, GrantLost) and error.reason == "deadline" and self.plan.says_standing:
            await self._say_standing(agent, error)
        if self.plan.proves and isinstance(error, GrantLost):
            await self._prove_left(agent, error)
        self._note_left_behind(agent)
        if isinstance(error, TimeoutError):
            self._stalemates += 1
            self.goal = ""
            held = {z for g in agent.grants for z in g.zones}
            if self._stalemates >= STALEMATES_BEFORE_HELP and self.body.inside and not self.body.inside <= held:
                self.needs_people = self._cut_off(agent)
        await asyncio.sleep(self.rng.uniform(0.05, 0.6))

    def _cut_off(self, agent: Agent) -> bool:
        """Whether its own zone was refused to it for long: its session is not the one that occupies it."""
        return self._stalemates >= 2 * STALEMATES_BEFORE_HELP

    async def _say_standing(self, agent: Agent, error: GrantLost) -> None:
        lost = [g for t, g in sorted(agent._duties.grants.items()) if t == error.token]
        for grant in lost:
            with contextlib.suppress(*TRAVEL_ERRORS):
                async with asyncio.timeout(2.0):
                    await grant.standing()

    def _note_left_behind(self, agent: Agent) -> None:
        """Zones of lost grants that it is not in: they stay occupied by it until it asks for and releases them."""
        for _, grant in sorted(agent._duties.grants.items()):
            if grant.lost and grant.token not in agent.core.grants:
                self._left_behind.update(z for z in grant.zones if z not in self.body.inside)
        self._left_behind.update(z for z in agent.blocked_zones if z not in self.body.inside)
        self._others -= self.body.inside
        self._left_behind -= self.body.inside | self._others

    # -- moving --------------------------------------------------------------------------------------------------

    def _cover(self, agent: Agent) -> dict[str, Grant]:
        return {zone: grant for grant in agent.grants for zone in grant.zones}

    async def _acquire(self, agent: Agent, zones: Iterable[str], timeout_s: float) -> Grant:
        expected_ms = self.plan.expected_ms
        priority = 1 if self.rng.random() < 0.1 else 0
        return await agent.acquire(*sorted(zones), expected_ms=expected_ms, priority=priority, timeout_s=timeout_s)

    async def _hop(self, agent: Agent) -> None:
        """One zone further, or out of the way when that takes too long."""
        body = self.body
        target = body.target or self._next_zone()
        if body.between and self._stalemates % 2:
            target = body.zone or target  # it has waited in the border long enough: back
        needed = set(body.inside) | {target}
        cover = self._cover(agent)
        for grant in {g.token: g for z, g in sorted(cover.items()) if z in needed}.values():
            if grant.remaining_ms() < self._margin_ms:
                await self._renew(grant)
        missing = needed - self._cover(agent).keys()
        if missing and self.rng.random() < self.plan.blocks:
            await self._drive_in_block(agent, missing, target)
        else:
            if missing:
                await self._acquire(agent, missing, self._patience_s(agent))
            await self._drive(agent, target)
        self._stalemates = 0
        await self._give_back(agent)
        if body.zone == self.goal:
            self.tasks_done += 1
            self.goal = ""
        if self.rng.random() < self.plan.parks:
            await self._park(agent)
        await asyncio.sleep(self.rng.uniform(0, self.plan.dwell_s))

    async def _drive_in_block(self, agent: Agent, zones: Iterable[str], target: str) -> None:
        """The SDK's way of writing it. Sometimes the software gives up in the middle, wherever the machine is."""
        gives_up_s = self.rng.uniform(0.1, 2.5) if self.rng.random() < 0.3 else None
        timeout_s = self._patience_s(agent)
        async with agent.hold(*sorted(zones), expected_ms=self.plan.expected_ms, timeout_s=timeout_s):
            async with asyncio.timeout(gives_up_s):
                await self._drive(agent, target)
            await self._give_back(agent)

    @property
    def _margin_ms(self) -> int:
        return 100 if self.plan.reckless else SHORT_MS

    def _patience_s(self, agent: Agent) -> float:
        left_ms = min((g.remaining_ms() for g in agent.grants), default=60_000)
        return max(0.3, min(self.plan.patience_s, (left_ms - self._margin_ms) / 1_000))

    async def _renew(self, grant: Grant) -> None:
        """More time, or none at all: what cannot be extended is parked and asked for again."""
        try:
            await grant.extend(self.plan.expected_ms)
        except Rejected:
            if not self.body.moving:
                await grant.park()

    def _next_zone(self) -> str:
        shape, here = self.world.plan.shape, self.body.zone or ""
        if not self.goal or self.goal == here:
            self.goal = self.rng.choice([z for z in sorted(self.world.capacities) if z != here])
        way = floors.steps_towards(shape, here, self.goal)
        if self.rng.random() < 0.15:  # a detour
            return self.rng.choice(floors.neighbours(shape)[here])
        return way[0]

    async def _drive(self, agent: Agent, target: str) -> None:
        """Until it stands in the target's middle. Raises GrantLost when it may not go on."""
        body = self.body
        while body.zone != target or body.between:
            needed = set(body.inside) | {target}
            cover = self._cover(agent)
            lost = [z for z in sorted(needed) if z not in cover or not cover[z].may_move()]
            if lost:
                body.brake()
                await self._lost(agent, lost)
            grants = [cover[z] for z in sorted(needed)]
            if target not in body.inside and not cover[target].may_enter():
                body.brake()
            elif self.process is not None:
                body.drive(target, self.process.true_ns(min(g.held.deadline_ns for g in grants)))
            await asyncio.sleep(CONTROL_MS / 1_000)
        self._report(agent)

    async def _lost(self, agent: Agent, zones: list[str]) -> None:
        """Raises GrantLost when a grant is gone; returns when only the link is (it may move again later)."""
        for token, grant in sorted(agent._duties.grants.items()):
            if grant.lost and any(z in grant.zones for z in zones):
                raise GrantLost(str(grant.lost_reason), "on the way", token=token, zones=grant.zones)
        if any(z not in self._cover(agent) for z in zones):
            raise GrantLost("gone", "on the way", token=0, zones=tuple(zones))
        await asyncio.sleep(CONTROL_MS / 1_000)

    async def _give_back(self, agent: Agent, keep: frozenset[str] | None = None) -> None:
        """What it has left; not what it still means to enter (or what is named)."""
        if self.late_release_ms:
            late_ms, self.late_release_ms = self.late_release_ms, 0
            await asyncio.sleep(late_ms / 1_000)
        for grant in agent.grants:
            kept = self.body.inside | (self.ahead if keep is None else keep)
            left = [z for z in grant.zones if z not in kept]
            if left:
                await grant.cleared(*left)

    async def _release_early(self, agent: Agent) -> None:
        """A mistake in its software: it says that it left, standing there. Its own report must contradict it."""
        self.releases_early = False
        self._report(agent)
        for grant in agent.grants:
            if set(grant.zones) & self.body.inside:
                await grant.cleared()

    async def _prove_left(self, agent: Agent, error: GrantLost) -> None:
        """Wherever it may be: the proof itself tells."""
        if error.token:
            with contextlib.suppress(*TRAVEL_ERRORS):
                await agent.prove_vacancy(
                    error.token, zones=error.zones, contour=lambda: sorted(self.localised()), timeout_s=4.0
                )

    async def _park(self, agent: Agent) -> None:
        for grant in agent.grants:
            if set(grant.zones) & self.body.inside:
                await grant.park()

    async def _tidy(self, agent: Agent, zone: str) -> None:
        """Takes a zone that it left under a lost grant once more, and gives it back."""
        self._left_behind.discard(zone)
        if zone in self._cover(agent):
            return
        try:
            grant = await self._acquire(agent, [zone], self._patience_s(agent))
        except GrantRejected as refusal:
            there = self._others if refusal.reason == "WOULD_DEADLOCK" else self._left_behind
            there.add(zone)
            raise
        await grant.cleared()

    async def _enter_floor(self, agent: Agent) -> None:
        """People hold it ready at the edge; they put it down once it has a zone."""
        zone = self.rng.choice(sorted(self.world.capacities))
        grant = await self._acquire(agent, [zone], self.plan.patience_s)
        if grant.may_enter() and self.body.zone is None:
            self.body.place(zone)
            self._report(agent)

    async def _settle_down(self, agent: Agent) -> None:
        self.driver.forget()
        await self._give_back(agent)
        await self._park(agent)
        await asyncio.sleep(0.5)

    # -- what the nemesis has it do ------------------------------------------------------------------------------

    def trip_stop(self, zone: str) -> None:
        """Presses its stop button."""
        agent, process = self.agent, self.process
        if agent is None or process is None or not process.alive:
            return

        async def press() -> None:
            try:
                await agent.trip_stop("a person in the way", zone=zone)
            except ZonelockError:
                return

        process.launch(press, "stop button")

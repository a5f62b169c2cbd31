"""The stage of a run: bodies, agents, ground truth and the physics that moves them, without any process.

The rule owned here: bodies move in small steps whatever the event loop does; before each step every agent's dead-man
looks at its grants, and after each the ground truth looks at all bodies. Never imports the coordinator but its floor.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from typing import Any

from coordinator.floor import AgentKind, Floor
from zonelock_sim.agent import FloorAgent
from zonelock_sim.arm import ArmAgent
from zonelock_sim.bodies import Body, Cell, Drive
from zonelock_sim.incidents import Incident, check_incidents
from zonelock_sim.options import Report, SimError, SimOptions, latency
from zonelock_sim.tasks import ScenarioTasks, StationTasks, Tasks
from zonelock_sim.trouble import strike
from zonelock_sim.truth import GroundTruth, Shadow
from zonelock_sim.vehicle import Vehicle
from zonelock_sim.ways import Ways
from zonelock_sim.world import REAL_PACE, Links, Pace, World

MAX_STEPS_AT_ONCE = 500
FROZEN_S = 120.0
"""Nobody has moved for so long though there is work: it will not mend. Every patience of a vehicle is shorter."""

FRUITLESS_S = 1_800.0
"""Nobody has got anywhere that it was sent for so long, however much they moved: they only make way for each other."""

READY_S = 30.0
VEHICLE_KIND = "agv"


class Scene:
    def __init__(
        self,
        floor: Floor,
        options: SimOptions,
        links: Links,
        *,
        pairs: list[tuple[Cell, Cell]] | None = None,
        tell: Callable[[str, str], None] = lambda kind, message: None,
        pace: Pace = REAL_PACE,
    ) -> None:
        """Raises SimError or IncidentError for what this floor cannot do. Must be made inside a running event loop."""
        router = Ways(floor)
        bound_for = {i.agent_id: i.zone for i in options.incidents if i.zone in floor.zones}
        tasks: Tasks = (
            ScenarioTasks(pairs, router.connected)
            if pairs is not None
            else StationTasks(floor, options.seed, router, bound_for)
        )
        self.options = options
        self.world = World(floor, router, tasks, links, tell=tell, pace=pace)
        self.vehicles = self._make_vehicles(tasks)
        self.arms = [ArmAgent(arm, self.world) for _, arm in sorted(floor.arms.items())] if options.arms else []
        self.agents: dict[str, FloorAgent] = {agent.agent_id: agent for agent in (*self.vehicles, *self.arms)}
        for agent in (*self.vehicles, *self.arms):
            self.world.bodies[agent.agent_id] = agent.body
        check_incidents(options.incidents, list(self.agents), list(floor.zones))
        self.truth = GroundTruth(self.world.zone_at, {zone.name: zone.capacity for zone in floor.zones.values()})
        self.struck = 0
        self._told = 0
        self._shadows = {v.agent_id: Shadow(v.agent_id, v.body.touched()) for v in self.vehicles}
        self._moved_at = 0.0
        self.deadlocks = 0
        self.frozen_at_s: float | None = None

    def _make_vehicles(self, tasks: Tasks) -> list[Vehicle]:
        count, floor = self.options.agents, self.world.floor
        if count == 0:
            return []
        kind = vehicle_kind(floor)
        drive = Drive(
            speed_mm_s=self.options.speed_mm_s or kind.speed_mm_s,
            braking_mm_s2=kind.braking_mm_s2,
            length_mm=kind.length_mm,
            width_mm=kind.width_mm,
        )
        digits = max(2, len(str(count)))
        names = [f"AGV_{number:0{digits}}" for number in range(1, count + 1)]
        try:
            bodies = [Body(name, drive, floor.cell_mm, at) for name, at in zip(names, tasks.starts(names), strict=True)]
        except ValueError as error:
            raise SimError(str(error)) from None
        return [Vehicle(body.body_id, kind.name, self.world, body) for body in bodies]

    async def run(self, seconds: float | None, stop: asyncio.Event | None = None) -> None:
        """Everybody takes their ground; then they work for `seconds`, or until `stop` is set. Raises SimError.

        However it ends, the bodies are then lifted off the floor and the agents say goodbye.
        """
        crew = {name: asyncio.create_task(agent.run(), name=name) for name, agent in sorted(self.agents.items())}
        for name, life in crew.items():
            self.agents[name].life = life
        physics = asyncio.create_task(self._physics(), name="physics")
        background = [physics, *(asyncio.create_task(self._strike(incident)) for incident in self.options.incidents)]
        try:
            await self._all_ready(crew)
            self.world.restart_clock()
            self.world.gate.set()
            await self._watch([*crew.values(), physics], seconds, stop)
        finally:
            for task in (*crew.values(), *background):
                task.cancel()
            await asyncio.gather(*crew.values(), *background, return_exceptions=True)
            self.world.bodies.clear()
            self.truth.lifted()
            await asyncio.gather(*(agent.leave_floor() for agent in self.agents.values()), return_exceptions=True)

    # -- beginning and end

    async def _all_ready(self, crew: dict[str, asyncio.Task[None]]) -> None:
        ready = asyncio.ensure_future(self._each_ready())
        try:
            await asyncio.wait({ready, *crew.values()}, timeout=READY_S, return_when=asyncio.FIRST_COMPLETED)
            self._raise_failures(crew.values())
            if not ready.done():
                late = [name for name, agent in sorted(self.agents.items()) if not agent.ready.is_set()]
                raise SimError(
                    f"after {READY_S:g} s these agents have not taken the ground they stand on: {', '.join(late)}; "
                    "`zonelock explain AGENT` says what they wait for (a floor never confirmed empty? `zonelock clear`)"
                )
        finally:
            ready.cancel()

    async def _each_ready(self) -> None:
        for agent in self.agents.values():
            await agent.ready.wait()

    async def _watch(
        self, running: list[asyncio.Task[None]], seconds: float | None, stop: asyncio.Event | None
    ) -> None:
        """Agents run for ever: one that ends has failed, unless an incident has ended it."""
        stopping = asyncio.create_task((stop or asyncio.Event()).wait())
        going: set[asyncio.Task[Any]] = {*running, stopping}
        try:
            async with asyncio.timeout(seconds):
                while not stopping.done():
                    done, going = await asyncio.wait(going, return_when=asyncio.FIRST_COMPLETED)
                    self._raise_failures(done - {stopping})
        except TimeoutError:
            pass
        finally:
            stopping.cancel()
        self._raise_failures([])

    def _raise_failures(self, running: Iterable[asyncio.Task[Any]]) -> None:
        for task in running:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise SimError(f"{task.get_name()} failed: {error}") from error
        for name, failure in self.world.failures:
            raise SimError(f"{name} failed: {failure}") from failure

    # -- physics

    async def _physics(self) -> None:
        loop = asyncio.get_running_loop()
        last = loop.time()
        step_s = self.world.pace.step_s
        due = last + step_s
        while True:
            await asyncio.sleep(max(0.0, due - loop.time()))
            now = loop.time()
            self.world.tally.tick_late_ms.append((now - due) * 1_000)
            steps = min(MAX_STEPS_AT_ONCE, max(1, math.ceil((now - last) / step_s - 1e-6)))
            for _ in range(steps):
                self.step((now - last) / steps)
            last = now
            due = max(due + step_s, now)

    def step(self, dt: float) -> None:
        """One step of the physics and one look of the ground truth."""
        if self.world.pace.swept:
            if not self._step_swept(dt):
                return
        else:
            for vehicle in self.vehicles:
                vehicle.check_grants()
                if vehicle.body.step(dt):
                    vehicle.wake()
                    self._check_cover(vehicle)
            self.truth.observe(self.world.bodies.values(), self.world.now_s())
        for finding in self.truth.findings[self._told :]:
            self.world.tell("finding", str(finding))
        self._told = len(self.truth.findings)

    def _step_swept(self, dt: float) -> bool:
        """A long step: every body counts as being in all that it touched on the way. False when nothing can have moved.

        Nothing is missed so, and nothing is made up: what a body has left is given back only after the step in which it
        was left, and entered by another one in a later step.
        """
        changed = False
        for vehicle in self.vehicles:
            body, shadow = vehicle.body, self._shadows[vehicle.agent_id]
            if body.standing and shadow.settled and (body.halted or len(body.path) == 1):
                continue
            changed = True
            vehicle.check_grants()
            arrived = body.step(dt)
            shadow.move(body.touched())
            if arrived:
                vehicle.wake()
                self._check_cover(vehicle)
        if changed:
            self._moved_at = self.world.now_s()
        if changed or self.arms:
            present = self.world.bodies
            bodies = [self._shadows.get(name, body) for name, body in present.items()]
            self.truth.observe(bodies, self.world.now_s())
        return changed or bool(self.arms)

    def finished(self) -> bool:
        """Whether no task is left that anybody could do; or nobody has moved for so long that nobody will."""
        tasks, world = self.world.tasks, self.world
        if not world.gate.is_set() or not isinstance(tasks, ScenarioTasks):
            return False
        if not tasks.open and all(vehicle.idle for vehicle in self.vehicles):
            return True
        stopped = any(agent.link.active_stops for agent in self.vehicles[:1])
        for since, patience_s, what in (
            (self._moved_at, FROZEN_S, "moved"),
            (world.tally.arrived_at_s, FRUITLESS_S, "arrived where it was sent"),
        ):
            if world.now_s() - since >= patience_s and not stopped:
                self.deadlocks, self.frozen_at_s = 1, round(since, 1)
                world.tell(
                    "finding", f"nobody has {what} since {since:.1f} s, and {self._undone(tasks)} tasks are open"
                )
                return True
        return False

    def _undone(self, tasks: ScenarioTasks) -> int:
        return tasks.total - tasks.unreachable - self.world.tally.tasks_done

    def _check_cover(self, vehicle: Vehicle) -> None:
        """A vehicle where it neither holds nor occupies anything: a fault of the simulated vehicle, and counted."""
        outside = set(self.world.inside(vehicle.agent_id)) - vehicle.holdings.occupied
        if outside:
            self.world.tally.uncovered += 1
            self.world.tell("finding", f"{vehicle.agent_id} is in {', '.join(sorted(outside))} without a grant")

    async def _strike(self, incident: Incident) -> None:
        await self.world.gate.wait()
        await strike(incident, self.agents[incident.agent_id], self.world, self._has_struck)

    def _has_struck(self) -> None:
        self.struck += 1

    # -- what came of it

    def report(self) -> Report:
        tally, truth = self.world.tally, self.truth
        p50_ms, p99_ms = tally.acquire()
        return Report(
            agents=len(self.agents),
            arms=len(self.arms),
            seconds=round(self.world.now_s(), 1) if self.world.gate.is_set() else 0.0,
            grants=tally.grants,
            tasks_done=tally.tasks_done,
            collisions=truth.collisions,
            over_capacity=truth.over_capacity,
            off_floor=truth.off_floor,
            uncovered=tally.uncovered,
            stops=len(tally.stop_ids),
            acquire_p50_ms=p50_ms,
            acquire_p99_ms=p99_ms,
            uncontended=latency(tally.uncontended_ms),
            queued=latency(tally.queued_ms),
            rejected=dict(sorted(tally.rejected.items())),
            grants_lost=dict(sorted(tally.grants_lost.items())),
            tasks_total=self.world.tasks.total,
            tasks_unreachable=self.world.tasks.unreachable,
            deadlocks=self.deadlocks,
            frozen_at_s=self.frozen_at_s,
            travel_ratio=self._travel_ratio(),
            yielded=tally.yielded,
            virtual=self.options.virtual,
            naive=self.world.pace.naive,
            replans=tally.replans,
            retreats=tally.retreats,
            longest_wait_ms=tally.longest_wait_ms,
            distance_m=round(sum(vehicle.body.distance_mm for vehicle in self.vehicles) / 1_000, 1),
            incidents=self.struck,
            tick_late_p99_ms=latency(tally.tick_late_ms).p99_ms,
            gateway=self.options.gateway,
            seed=self.options.seed,
            findings=tuple(str(finding) for finding in truth.findings),
        )

    def _travel_ratio(self) -> float:
        """What was driven to the shortest ways of what was driven for; 0 when nobody set out."""
        under_way = [(v.body, v.bound_for) for v in self.vehicles if v.bound_for]
        left = sum(self.world.router.distance(body.path[0], goal) for body, goal in under_way)  # from where it is
        begun_mm = sum(body.offset_mm for body, _ in under_way)
        shortest_mm = (self.world.tally.shortest_cells - left) * self.world.floor.cell_mm + begun_mm
        driven_mm = sum(vehicle.body.distance_mm for vehicle in self.vehicles)
        return round(driven_mm / shortest_mm, 3) if shortest_mm > 0 else 0.0


def vehicle_kind(floor: Floor) -> AgentKind:
    """The kind `agv`, or else the first one by name that no arm is of. Raises SimError on a floor without one."""
    if VEHICLE_KIND in floor.agent_kinds:
        return floor.agent_kinds[VEHICLE_KIND]
    arms = {arm.kind for arm in floor.arms.values()}
    for name, kind in sorted(floor.agent_kinds.items()):
        if name not in arms:
            return kind
    raise SimError(f"floor {floor.site!r} names no kind of vehicle; add `{VEHICLE_KIND}` to its agent_kinds")

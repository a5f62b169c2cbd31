"""An AGV: drives routes cell by cell, over zones that were granted before it needs them.

Rules owned here. A cell becomes part of the body's permitted path only when a live grant covers its zone. Zones are
asked for while there is still room to stop, released once the whole contour has left, and the dead-man
(`check_grants`, called before every step of the physics) brakes the body when a grant that it moves on is no longer
good. What a vehicle does that cannot go on is up to `detours`.
"""

from __future__ import annotations

import asyncio
import contextlib
import math

from zonelock_client import GrantRejected

from zonelock_sim.agent import MAX_ASK_ZONES, STAND_POLL_S, FloorAgent
from zonelock_sim.bodies import Body, Cell
from zonelock_sim.detours import MAX_DETOUR_CELLS, Detours
from zonelock_sim.tasks import Visit
from zonelock_sim.world import World

MIN_AHEAD_CELLS = 2
MAX_AHEAD_CELLS = 6
ASK_EARLY_S = 0.8
"""An ask leaves this long before the vehicle would have to brake for want of its answer."""

MIN_BEAT_S = 0.01
IDLE_S = 1.0
SAFETY_TICKS_MS = 150
"""From a grant's end to the start of braking: one tick of physics, and what the event loop may be late."""


class Vehicle(FloorAgent):
    body: Body

    def __init__(self, agent_id: str, kind: str, world: World, body: Body) -> None:
        super().__init__(agent_id, kind, world)
        self.body = body
        self.plan: list[Cell] = []
        self._asking: asyncio.Task[bool] | None = None
        self.asked: tuple[str, ...] = ()
        self.waiting_since: float | None = None
        self.goal = body.end
        self.leaving_place = False
        self.idle = False
        self.detours = Detours(self)
        self.bound_for: Cell | None = None

    # -- called by the physics

    def check_grants(self) -> None:
        """The dead-man: before every motion command, each zone under or ahead of the body needs a good grant."""
        body = self.body
        if body.halted or (body.standing and len(body.path) == 1):
            return
        if self.stalled or self.hung or self.gone or not self.holdings.allows(self.world.zones_of(body.path)):
            body.halt()
            self.wake()

    def refused(self, refusal: GrantRejected) -> None:
        super().refused(refusal)
        self.detours.refused(refusal)

    def asked_aside(self, zone: str) -> None:
        self.detours.asked_aside(zone)

    def halt(self) -> None:
        self.body.halt()

    def stands(self) -> bool:
        return self.body.standing

    def position(self) -> dict[str, int]:
        x, y = self.body.position_mm
        return {"x_mm": round(x), "y_mm": round(y), "heading_mdeg": self.body.heading_mdeg}

    # -- life

    async def run(self) -> None:
        await self.open(self._stop_ms())
        while not await self.take_ground():
            await self.responsive()
        self.follow([])
        self.ready.set()
        await self.world.gate.wait()
        while True:
            task = self.world.tasks.next(self.agent_id, self.body.end)
            self.idle = task is None
            self.world.traffic.rests(self.agent_id, self.idle)
            if task is None:
                await self._idle()
                continue
            self.leaving_place = True
            for visit in task.visits:
                self.world.tally.shortest_cells += self.world.router.distance(self.body.end, visit.cell)
                self.bound_for = visit.cell
                await self.drive_to(visit)
                self.bound_for = None
                self.world.tally.arrived_at_s = self.world.now_s()
                await self._work(visit)
            self.world.tally.tasks_done += 1

    async def _idle(self) -> None:
        self.activity = "idle"
        self.note_losses()
        self._give_back_behind()
        if self.holdings.grants() and not self.holdings.leaving:
            await self.park()
        self.report()
        await self.pause(IDLE_S)
        await self.detours.make_way()

    async def _work(self, visit: Visit) -> None:
        """Stands at the place for its time; longer when a stop comes in between."""
        until = self.world.now_s() + visit.dwell_ms / 1_000
        self.activity = f"{visit.label}: at work"
        while (left := until - self.world.now_s()) > 0:
            await self._beat()
            if self.at_limit:
                await self.park()
            await self.pause(max(MIN_BEAT_S, min(left, 0.5)))

    async def drive_to(self, visit: Visit, patience_s: float = math.inf) -> None:
        """Returns on arrival; or, after `patience_s` and at standstill, without."""
        self.goal = visit.cell
        self.replan()
        until = self.world.now_s() + patience_s
        try:
            while not (self.body.standing and self.body.path == [visit.cell]):
                if self.world.now_s() > until and self.body.standing and not self.body.halted:
                    self._drop_ahead()
                    break
                self.activity = visit.label if self.waiting_since is None else f"{visit.label}: waits"
                await self._beat()
                if self.body.standing:
                    await self._settle()
                self._go_on()
                self._ask_ahead()
                await self.pause(self.world.pace.beat_s)
                await self.detours.look_around()
        finally:
            await self.stop_asking()
        self.follow([])

    async def _beat(self) -> None:
        """What every moment of a vehicle's life asks for, whatever it is doing."""
        await self.responsive()
        self.note_losses()
        await self._regain()
        self._give_back_behind()
        self.keep_time()
        self.world.traffic.follows(self.agent_id, [*self.body.path, *self.plan])
        self.report(moving=not self.body.standing)

    async def _regain(self) -> None:
        """Where a grant that the body moves on was lost: stand, wait for the reset, ask again for where it stands."""
        while not self._ground_is_good():
            self.body.halt()
            while not self.body.standing:
                await self.pause(STAND_POLL_S)
            await self.stop_asking()
            self._drop_ahead()
            if not self.stalled and await self.take_ground():
                self.replan()
            else:
                self._give_back_behind()
                self.report()
                await self.pause(self.world.pace.beat_s)
            await self.responsive()
            self.note_losses()
        if self.body.halted and not self.stalled:
            self.body.resume()

    def _ground_is_good(self) -> bool:
        """Every zone it moves in is granted; or it stands in one place, by its own choice, without a deadline."""
        zones = self.world.zones_of(self.body.path)
        if len(self.body.path) == 1 and self.body.standing and not self.body.halted:
            return all(zone in self.holdings.occupied for zone in zones) and not self._stopped_here()
        return not self.stalled and self.holdings.covers(zones) and self.holdings.allows(zones)

    def _stopped_here(self) -> bool:
        return bool(self.link.active_stops)

    # -- driving

    def replan(self) -> None:
        """The best route from where the permitted path ends, around who rests there if it can be."""
        router, traffic, end = self.world.router, self.world.traffic, self.body.end
        if self.world.pace.naive:
            self.follow(router.cells(end, self.goal)[1:])
            return
        traffic.follows(self.agent_id, ())
        resting = traffic.resting_zones(self.agent_id) - set(self.world.zones_of([self.goal, end]))
        longest = router.distance(end, self.goal) + MAX_DETOUR_CELLS
        against = traffic.against()
        route = router.cells(end, self.goal, resting, longest, against) or router.cells(end, self.goal, dearer=against)
        self.follow(route[1:])

    def follow(self, plan: list[Cell]) -> None:
        """Means to drive over these cells from where its permitted path ends, and says so."""
        self.plan = plan
        if not self.world.pace.naive:
            self.claim(self.world.entered([*self.body.path[1:], *plan]))

    def _go_on(self) -> None:
        """Lengthens the permitted path over everything that is granted."""
        if self.body.halted or self.stalled:
            return
        if self.leaving_place and len(self.body.path) > 1:
            self.leaving_place = False
            self.world.tasks.left(self.agent_id)
        while self.plan and len(self.body.path) <= MAX_AHEAD_CELLS + MAX_ASK_ZONES:
            zone = self.world.zone_at(self.plan[0])
            grant = self.holdings.grant_of(zone) if zone is not None else None
            if zone is None or grant is None or not grant.may_enter():
                return
            if self.world.floor.zones[zone].capacity > 1 and not self._take_lane(zone):
                return
            self.body.permit([self.plan.pop(0)])

    def _take_lane(self, zone: str) -> bool:
        """Inside a zone that several fit into, the way through it must be clear of the others before it enters."""
        run: list[Cell] = []
        for cell in self.plan:
            if self.world.zone_at(cell) != zone:
                break
            run.append(cell)
        return self.world.traffic.take_lane(self.agent_id, run)

    def _give_back_behind(self) -> None:
        """Releases what the contour has left and what it will not need soon."""
        self.tell_traffic()
        self.world.traffic.keep_lane(self.agent_id, self.body.path)
        ahead = self.plan[: self.reach_cells() + MAX_ASK_ZONES]
        needed = set(self.world.zones_of([*self.body.path, *ahead])) | set(self.asked)
        done = [z for z in self.holdings.occupied - needed if self.holdings.grant_of(z) is not None]
        if done:
            self.give_back(done)

    def _drop_ahead(self) -> None:
        """At standstill: no permitted cell but those under the contour."""
        self.body.curtail()
        self.plan = []
        self.world.traffic.keep_lane(self.agent_id, self.body.path)

    def reach_cells(self) -> int:
        """How many cells one ask covers: what braking and a slow answer need, and one more."""
        if self.world.pace.naive:
            return 1
        drive = self.body.drive
        reach = drive.stopping_mm(drive.speed_mm_s) + drive.speed_mm_s * ASK_EARLY_S
        return max(MIN_AHEAD_CELLS, min(MAX_AHEAD_CELLS, 1 + math.ceil(reach / self.body.cell_mm)))

    def _ask_ahead(self) -> None:
        if self._asking is not None:
            if not self._asking.done():
                return
            self._asking.result()
            self._asking, self.asked, self.waiting_since = None, (), None
        body = self.body
        early = body.drive.stopping_mm(body.drive.speed_mm_s) + body.drive.speed_mm_s * ASK_EARLY_S
        if body.halted or self.stalled or body.room_mm > early:
            return
        zones = self.next_zones(self.reach_cells())
        if zones:
            self.begin_asking(zones)

    def begin_asking(self, zones: tuple[str, ...]) -> None:
        self.asked = zones
        self._asking = asyncio.create_task(self.ask(zones), name=f"{self.agent_id} asks")
        self.waiting_since = self.world.now_s()
        self._asking.add_done_callback(self._asked_done)

    def _asked_done(self, asking: asyncio.Task[bool]) -> None:
        if asking is self._asking:  # not one that was given up, and whose end is only now being told
            self.waiting_since = None
            if not asking.cancelled() and asking.exception() is None and asking.result():
                self.detours.granted()
        self.wake()

    async def stop_asking(self) -> None:
        """Takes the open ask back. Should it have been granted meanwhile, what came is given back as not needed."""
        asking, self._asking, self.asked = self._asking, None, ()
        self.waiting_since = None
        if asking is not None:
            asking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asking

    def next_zones(self, reach: int) -> tuple[str, ...]:
        """The next zones of the plan that it has no grant for, and what it stands in without one: at most 32.

        Goes on to the end of a zone that several fit into, so that nobody stops inside one for want of the way out.
        """
        wanted = dict.fromkeys(sorted(self.holdings.residue))
        traffic, naive = self.world.traffic, self.world.pace.naive
        for count, cell in enumerate(self.plan, 1):
            zone = self.world.zone_at(cell)
            if zone is None or zone in self.holdings.leaving:
                break
            if count > 1 and not naive and traffic.is_full(zone, self.agent_id):
                break
            if self.holdings.grant_of(zone) is None:
                if count > 1 and self._drive_ms(count) > self.hold_ms([zone, *wanted]) - self._stop_ms():
                    break
                wanted[zone] = None
            if len(wanted) == MAX_ASK_ZONES or (count >= reach and self.world.floor.zones[zone].capacity == 1):
                break
        ahead = [zone for zone in wanted if zone not in self.holdings.residue]
        return tuple(wanted) if ahead or (self.plan and self.holdings.residue) else ()

    def _drive_ms(self, cells: int) -> int:
        """About how long it takes to the end of so many cells of the plan, from where it is."""
        drive, room_mm = self.body.drive, self.body.room_mm + cells * self.body.cell_mm
        return round(1_000 * room_mm / drive.speed_mm_s) + drive.stopping_ms

    # -- waiting

    async def _settle(self) -> None:
        """At standstill and at the hold limit: give back what is ahead and stand without a deadline for now."""
        if self.at_limit:
            await self.stop_asking()
            route = [*self.body.path, *self.plan]
            self._drop_ahead()
            self.plan = route[len(self.body.path) :]
            self.give_back(set(self.holdings.occupied) - set(self.world.zones_of(self.body.path)))
            await self.park()

    def _stop_ms(self) -> int:
        return self.body.drive.stopping_ms + SAFETY_TICKS_MS

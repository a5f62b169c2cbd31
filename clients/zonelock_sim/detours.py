"""Other ways for a vehicle that cannot go on: around what is held, back to where it was told to go, aside for others.

The policy. Who waits longer than PATIENCE_S looks for a way around what is held close by, and takes it when it is no
longer than the wait is worth; what is held far away will have moved on. Who is told that waiting cannot help
(WOULD_DEADLOCK) does so at once; when there is no such way, it draws back to the zone that the coordinator named, rests
there, and sets out anew. Who idles where others have to pass goes where it is asked to go. Where nobody tells a ring of
vehicles (they cross ground that was never claimed), the fleet's own picture does: the one with the highest id tries
first, each next one TURN_S later. Decides; the vehicle drives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zonelock_client import GrantRejected

from zonelock_sim.bodies import Cell
from zonelock_sim.tasks import Visit

if TYPE_CHECKING:
    from zonelock_sim.vehicle import Vehicle

PATIENCE_S = 1.2
TURN_S = 1.5
"""In a ring the vehicle with the highest id acts after PATIENCE_S, each next one this much later."""

RETREAT_PATIENCE_S = 8.0
SINGLE_STEP_PATIENCE_S = 2.5
RETREAT_WAIT_S = 6.0
MAX_DETOUR_CELLS = 60
DETOUR_CELLS_S = 3
"""A detour may be so much longer for each second waited."""

NEAR_CELLS = 8
"""What is held further away than this will have moved on."""

LOOK_AT_RIVALS_CELLS = 40
MAKE_WAY_S = 30.0
"""A vehicle that makes way gives up after this and stands where it is; whoever waits asks it again."""

WOULD_DEADLOCK = "WOULD_DEADLOCK"


class Detours:
    """What one vehicle does instead of waiting."""

    def __init__(self, vehicle: Vehicle) -> None:
        self.vehicle = vehicle
        self._acted_at = 0.0
        self._rests_until = 0.0
        self._refused: GrantRejected | None = None
        self._asked_aside: str | None = None

    # -- what it is told

    def refused(self, refusal: GrantRejected) -> None:
        """An ask was rejected."""
        if refusal.reason == WOULD_DEADLOCK:
            self._refused = refusal

    def granted(self) -> None:
        """An ask was granted: what was said of the ones before it is over."""
        self._refused = None

    def asked_aside(self, zone: str) -> None:
        """The coordinator asks whether the vehicle would go to that zone, off everybody's way."""
        self._asked_aside = zone
        self.vehicle.wake()

    # -- while it drives

    async def look_around(self) -> None:
        """After some patience, or at once when told that patience is no use."""
        vehicle, world = self.vehicle, self.vehicle.world
        if world.pace.naive:
            return
        now = world.now_s()
        if not vehicle.plan and vehicle.body.standing and vehicle.body.end != vehicle.goal:
            if now >= self._rests_until:
                vehicle.replan()
            return
        if vehicle.body.halted or not vehicle.body.standing or not vehicle.plan:
            return
        refused, self._refused = self._refused, None
        if refused is not None and now >= self._rests_until:  # once on its way back it goes on trying for a while
            await self._do_as_told(refused)
        elif vehicle.waiting_since is not None:
            await self._lose_patience(now - vehicle.waiting_since, now)

    async def _do_as_told(self, refusal: GrantRejected) -> None:
        if await self._go_around(MAX_DETOUR_CELLS):
            return
        cells = self._way_to(refusal.retreat_zone)
        if cells:
            await self._draw_back(cells)

    async def _lose_patience(self, waited: float, now: float) -> None:
        vehicle, traffic = self.vehicle, self.vehicle.world.traffic
        ring = traffic.ring(vehicle.agent_id)
        turn = ring[::-1].index(vehicle.agent_id) if ring else 0
        if waited < PATIENCE_S + turn * TURN_S or now - self._acted_at < TURN_S:
            return
        self._acted_at = now
        if await self._go_around(min(MAX_DETOUR_CELLS, round(waited * DETOUR_CELLS_S))):
            return
        rivals = ring or (traffic.stuck_ahead(vehicle.agent_id) if waited > RETREAT_PATIENCE_S else ())
        if rivals and (cells := self._way_off(rivals)):
            await self._draw_back(cells)
        elif waited > SINGLE_STEP_PATIENCE_S and not vehicle.holdings.residue:
            await self._ask_single_step()

    async def _go_around(self, longer: int) -> bool:
        """Another route around who is near and who rests, should there be one that is not much longer."""
        vehicle, world, traffic = self.vehicle, self.vehicle.world, self.vehicle.world.traffic
        end, own = vehicle.body.end, vehicle.agent_id
        near = {z for z in world.zones_of(vehicle.plan[:NEAR_CELLS]) if traffic.is_full(z, own)}
        if not near:
            return False
        full = near | traffic.full_zones_near(end, NEAR_CELLS, own) | traffic.resting_zones(own)
        traffic.follows(own, ())
        route = world.router.cells(
            end, vehicle.goal, full - set(world.zones_of([end])), len(vehicle.plan) + longer, traffic.against()
        )
        if not route or route[1:] == vehicle.plan:
            return False
        await vehicle.stop_asking()
        vehicle.follow(route[1:])
        world.tally.replans += 1
        return True

    async def _draw_back(self, cells: list[Cell]) -> None:
        """Goes there, rests for a while and then plans anew."""
        vehicle = self.vehicle
        await vehicle.stop_asking()
        vehicle.follow(cells)
        self._rests_until = vehicle.world.now_s() + RETREAT_WAIT_S
        vehicle.activity = "draws back"
        vehicle.world.tally.retreats += 1

    async def _ask_single_step(self) -> None:
        """Somebody holds a zone further ahead: take the next one alone, if that is free."""
        vehicle, traffic = self.vehicle, self.vehicle.world.traffic
        zones = vehicle.next_zones(1)
        if zones and zones != vehicle.asked and not any(traffic.is_full(z, vehicle.agent_id) for z in zones):
            await vehicle.stop_asking()
            vehicle.begin_asking(zones)

    # -- while it idles

    async def make_way(self) -> None:
        """When asked, drives off the ground that it idles on: others have to pass there."""
        vehicle, world = self.vehicle, self.vehicle.world
        asked, self._asked_aside = self._asked_aside, None
        if world.pace.naive:
            return
        cells = self._way_to(asked or "")
        if cells:
            world.tally.yielded += 1
            vehicle.leaving_place = True
            await vehicle.drive_to(Visit(cells[-1], 0, "makes way"), MAKE_WAY_S)

    # -- ways

    def _way_to(self, zone: str) -> list[Cell]:
        """The cells to drive over to the zone's first cell, around what is held; none when it cannot get there."""
        vehicle, world = self.vehicle, self.vehicle.world
        if zone not in world.floor.zones:
            return []
        end = vehicle.body.end
        full = world.traffic.full_zones(vehicle.agent_id) - set(world.zones_of([end]))
        return world.router.cells(end, world.floor.zones[zone].cells[0], full)[1:]

    def _way_off(self, rivals: tuple[str, ...]) -> list[Cell]:
        """To the nearest cell that none of the rivals means to drive over soon; none when it cannot get to any."""
        vehicle, traffic = self.vehicle, self.vehicle.world.traffic
        off = {
            cell
            for rival in rivals
            if rival != vehicle.agent_id
            for cell in traffic.route_of(rival)[:LOOK_AT_RIVALS_CELLS]
        }
        return traffic.refuge(vehicle.agent_id, vehicle.body.end, off)[1:]

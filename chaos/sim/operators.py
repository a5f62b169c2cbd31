"""A person on the floor with the SDK's `Operator`: looks, walks there, clears what is empty, resets what is confirmed.

Rule: clears only what they see with their own eyes (ground truth), and keeps a machine locked in place from the look
until the system has answered for certain. A machine that cannot help itself is switched off, carried off the floor, and
put back when it holds a zone.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from zonelock.v1 import floor_pb2
from zonelock_client.errors import RequestError
from zonelock_client.operators import Operator

from chaos.sim.loop import NS_PER_MS, Process

if TYPE_CHECKING:
    from chaos.sim.robots import Robot
    from chaos.sim.world import World

DESK = "desk"
ROUND_S = (0.8, 1.6)
PATIENCE_MS = 4_000
"""How long a blocked zone or an unconfirmed stop is left to its machine before a person goes there."""
WALK_S = 0.5
NAME = "mara"


class SimOperator:
    """One operator, making rounds for ever."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.rng = world.chance("operator")
        self.process = Process(world.loop, DESK, boot_ns=NS_PER_MS)
        self.calls: Operator | None = None
        self.resets = self.clears = self.rescues = 0
        self._seen_since: dict[tuple[str, str], int] = {}

    def start(self) -> None:
        self.process.launch(self._rounds, "rounds")

    def trip(self, *, zone: str = "", stop_group: str = "", floor: bool = False) -> None:
        """Presses an emergency stop."""

        async def press() -> None:
            if self.calls is not None:
                self._note("stop", zones=[zone] if zone else None)
                try:
                    await self.calls.trip_stop("drill", zone=zone, stop_group=stop_group, floor=floor)
                except RequestError:
                    return

        self.process.launch(press, "button")

    async def _rounds(self) -> None:
        self.calls = Operator(self.world.targets_for(DESK), operator=NAME)
        while True:
            await asyncio.sleep(self.rng.uniform(*ROUND_S))
            try:
                await self._round(self.calls)
            except RequestError:
                continue

    async def _round(self, calls: Operator) -> None:
        zones = {z.name: z for z in await calls.zones()}
        stops = await calls.stops()
        await self._rescue(calls)
        if any(s.cause == floor_pb2.STOP_CAUSE_LEDGER for s in stops) and not await self._walk_floor(calls, zones):
            return
        await self._confirm_empty(calls, zones)
        await self._clear_left_behind(calls, zones, stops)
        for stop in stops:
            if not stop.unconfirmed:
                await self._reset(calls, stop)

    # -- looking after zones -------------------------------------------------------------------------------------

    async def _confirm_empty(self, calls: Operator, zones: dict[str, floor_pb2.ZoneView]) -> None:
        unknown = [z for _, z in sorted(zones.items()) if z.state == floor_pb2.ZONE_STATE_UNKNOWN]
        bodies = self.world.truth.bodies.values()
        if unknown and not any(z.name in b.inside for z in unknown for b in bodies):
            self._note("confirm_empty", zones=[z.name for z in unknown])
            await calls.clear(reason="walked the floor", all_unknown=True)
            self.clears += 1

    async def _walk_floor(self, calls: Operator, zones: dict[str, floor_pb2.ZoneView]) -> bool:
        """After a ledger that was put back: whether it says of every zone what stands there. Mends what it does not."""
        right, unknown = True, False
        for name, zone in sorted(zones.items()):
            inside = self._inside(name)
            said = {o.agent_id for o in zone.occupants if o.agent_id}
            unknown = unknown or any(o.state == floor_pb2.SLOT_STATE_UNKNOWN for o in zone.occupants)
            right = right and inside == said
            for agent_id in sorted(inside - said):
                self.world.robot(agent_id).needs_people = True
            for agent_id in sorted(said - inside) if inside <= said else ():
                await self._clear(calls, agent_id, [name])
        if not right or any(b.moving or b.locked for b in self.world.truth.bodies.values()):
            return False
        if unknown:
            await self._confirm_the_rest(calls)
        return not unknown

    async def _confirm_the_rest(self, calls: Operator) -> None:
        """Everybody is where the ledger has them, and nobody moves before the answer."""
        bodies = list(self.world.truth.bodies.values())
        for body in bodies:
            body.locked = True
        try:
            self._note("confirm_empty")
            await calls.clear(reason="walked the floor", all_unknown=True)
            self.clears += 1
        finally:
            for body in bodies:
                body.locked = False

    async def _clear_left_behind(
        self, calls: Operator, zones: dict[str, floor_pb2.ZoneView], stops: list[floor_pb2.Stop]
    ) -> None:
        """Zones blocked for long by machines that are not there."""
        found: set[tuple[str, str]] = set()
        for name, zone in sorted(zones.items()):
            found.update(
                (name, o.agent_id) for o in zone.occupants if o.state == floor_pb2.SLOT_STATE_BLOCKED and o.agent_id
            )
        now_ms = self.world.loop.now_ms
        self._seen_since = {key: self._seen_since.get(key, now_ms) for key in sorted(found)}
        unconfirmed = {agent for stop in stops for agent in stop.unconfirmed}
        for name, agent_id in sorted(found):
            if now_ms - self._seen_since[name, agent_id] < PATIENCE_MS:
                continue
            body = self.world.truth.bodies[agent_id]
            if name not in body.inside:
                await self._clear(calls, agent_id, [name])
            elif agent_id in unconfirmed and not body.moving:
                self.world.robot(agent_id).needs_people = True

    async def _clear(self, calls: Operator, agent_id: str, zones: list[str]) -> None:
        body = self.world.truth.bodies[agent_id]
        if body.locked or body.moving:
            return
        body.locked = True
        await asyncio.sleep(WALK_S)
        try:
            while not body.inside & set(zones):
                self._note("clear", zones=zones, agent=agent_id)
                if await self._for_certain(calls, agent_id, zones):
                    self.clears += 1
                    return
                await asyncio.sleep(1.0)
        finally:
            body.locked = False

    async def _for_certain(self, calls: Operator, agent_id: str, zones: list[str]) -> bool:
        """Whether the system has given an answer that will not change by itself."""
        try:
            await calls.clear(zones, "nobody stands there", agent_id=agent_id)
        except RequestError as error:
            return error.reason in ("NOTHING_TO_CLEAR", "OCCUPANT_INSIDE")
        return True

    # -- looking after machines ----------------------------------------------------------------------------------

    async def _rescue(self, calls: Operator) -> None:
        for robot in self.world.robots:
            if robot.needs_people and not robot.body.moving and not robot.body.locked:
                await self._carry_off(calls, robot)

    async def _carry_off(self, calls: Operator, robot: Robot) -> None:
        """Off the floor with it; what the ledger has of it is cleared; it comes back by the usual way."""
        body = robot.body
        body.locked = True
        try:
            robot.kill(lose_secret=False)
            await asyncio.sleep(WALK_S)
            if body.inside:
                body.take_away()
                self._note("move_away", agent=robot.agent_id)
            self.rescues += 1
            blocked = await self._blocked_by(calls, robot.agent_id)
            if blocked:
                self._note("clear", zones=blocked, agent=robot.agent_id)
                await self._for_certain(calls, robot.agent_id, blocked)
        finally:
            body.locked = False
            robot.needs_people = False
            body.stuck = False
            self.world.loop.after_ms(1_000, self.world.restart_robot, robot)

    def _inside(self, zone: str) -> set[str]:
        return {agent for agent, body in self.world.truth.bodies.items() if zone in body.inside}

    async def _blocked_by(self, calls: Operator, agent_id: str) -> list[str]:
        try:
            return [
                z.name
                for z in await calls.zones()
                if any(o.agent_id == agent_id and o.state == floor_pb2.SLOT_STATE_BLOCKED for o in z.occupants)
                and self._inside(z.name) <= {o.agent_id for o in z.occupants}
            ]
        except RequestError:
            return []

    # -- stops ---------------------------------------------------------------------------------------------------

    async def _reset(self, calls: Operator, stop: floor_pb2.Stop) -> None:
        resetting = self.world.truth.resetting
        resetting[stop.stop_id] = resetting.get(stop.stop_id, 0) + 1
        self._note("reset", stop_ids=[stop.stop_id])
        try:
            await calls.reset([stop.stop_id], "the area is clear")
            self.resets += 1
        except RequestError as error:
            if error.reason in ("OCCUPANT_UNCONFIRMED", "UNKNOWN_STOP"):
                return
            raise

    def _note(self, action: str, **fields: object) -> None:
        said = {k: v for k, v in fields.items() if v is not None}
        self.world.note("operator", NAME, operator=NAME, action=action, **said)

"""A fixed robot arm: in every cycle it takes one of its zones, works in it, and gives it back.

The rule owned here: the tool is in the zone only on a grant that is good, and after a stop it is drawn out only on a
new one. Its foot stands off the grid; the tool, when extended, fills the whole zone.
"""

from __future__ import annotations

import asyncio

from coordinator.floor import Arm
from zonelock_sim.agent import FloorAgent
from zonelock_sim.bodies import Tool
from zonelock_sim.world import World

BEAT_S = 0.1
MIN_BEAT_S = 0.01
STOP_MS = 200
FIRST_CYCLE_SHARE = 0.25
MIN_PAUSE_S = 0.5


class ArmAgent(FloorAgent):
    body: Tool

    def __init__(self, arm: Arm, world: World) -> None:
        super().__init__(arm.name, arm.kind, world)
        self.arm = arm
        self.body = Tool(arm.name, ())
        self._turn = 0

    def check_grants(self) -> None:
        """A tool stands still by itself; the loop in `_work` halts its work."""

    def halt(self) -> None:
        """As for `check_grants`."""

    def stands(self) -> bool:
        return True

    def position(self) -> dict[str, int]:
        x, y = self.world.floor.cell_centre_mm(*self.arm.base)
        return {"x_mm": x, "y_mm": y}

    async def run(self) -> None:
        await self.open(self._stop_ms())
        self.ready.set()
        await self.world.gate.wait()
        await self._rest(self.arm.cycle_ms / 1_000 * FIRST_CYCLE_SHARE)
        while True:
            zone = self.arm.zones[self._turn % len(self.arm.zones)]
            self._turn += 1
            await self._work_in(zone)
            await self._rest(max(MIN_PAUSE_S, (self.arm.cycle_ms - self.arm.work_ms) / 1_000))

    async def _rest(self, seconds: float) -> None:
        self.activity = "at rest"
        until = self.world.now_s() + seconds
        while (left := until - self.world.now_s()) > 0:
            await self.responsive()
            self.report()
            await self.pause(max(MIN_BEAT_S, min(left, 1.0)))

    async def _work_in(self, zone: str) -> None:
        self.activity = f"waits for {zone}"
        self.report(force=True)
        while not self.holdings.covers([zone]):
            await self.responsive()
            self.note_losses()
            if self.link.active_stops:
                await self.take_ground()
            else:
                await self.ask([zone])
        self.body.cells = self.world.floor.zones[zone].cells
        self.body.extended = True
        self.activity = f"works in {zone}"
        await self._work(zone)
        self.body.extended = False
        self.activity = "at rest"
        self.give_back([zone])
        while self.holdings.occupied:
            await self.pause(BEAT_S)
            self.note_losses()

    async def _work(self, zone: str) -> None:
        """Until the work is done, on a good grant; a stop halts it where it is, and it goes on after the reset."""
        left_s = self.arm.work_ms / 1_000
        while left_s > 0 or not self.holdings.covers([zone]):
            began = self.world.now_s()
            await self.responsive()
            self.note_losses()
            if not self.stalled and not self.holdings.covers([zone]):
                await self.take_ground()
            elif not self.stalled and self.holdings.allows([zone]):
                self.keep_time()
                await self.pause(max(MIN_BEAT_S, min(left_s, BEAT_S)))
                left_s -= self.world.now_s() - began
            else:
                await asyncio.sleep(BEAT_S)
            self.report()

    def _stop_ms(self) -> int:
        return STOP_MS

"""A coordinator and a clock for tests of agents without any process: zones in memory, time that costs nothing.

`Ledger` grants by first come first served with reservation, ends grants by deadline, and trips and resets stops of
the whole floor: the part of the protocol's meaning that agents lean on, as small as can be. The real thing is tested
against elsewhere.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any

from zonelock.v1.floor_pb2 import Stop
from zonelock_client import GrantLost, GrantRejected, StillInside
from zonelock_sim.world import Introduction

from coordinator.floor import Floor

LATENCY_S = 0.004


class VirtualTimeSelector(selectors.DefaultSelector):
    """Instead of waiting, moves the clock on."""

    now_s = 1_000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if not events and timeout:
            self.now_s += timeout
        return events


def run_virtual(story: Coroutine[Any, Any, Any]) -> Any:
    """Runs the coroutine on an event loop whose sleeps take no time."""
    selector = VirtualTimeSelector()

    class Loop(asyncio.SelectorEventLoop):
        def time(self) -> float:
            return selector.now_s

    with asyncio.Runner(loop_factory=lambda: Loop(selector)) as runner:
        return runner.run(story)


class FakeGrant:
    def __init__(self, ledger: Ledger, agent_id: str, token: int, zones: tuple[str, ...], expected_ms: int) -> None:
        self.ledger, self.agent_id, self.token, self.zones = ledger, agent_id, token, zones
        self.lost = asyncio.Event()
        self.lost_reason: str | None = None
        self.left = set(zones)
        self._until = ledger.now_s() + expected_ms / 1_000
        self._timer = asyncio.get_running_loop().call_at(self._until, ledger.overdue, self)

    def may_move(self) -> bool:
        return not self.lost.is_set() and not self.ledger.stops

    def may_enter(self) -> bool:
        return self.may_move()

    def remaining_ms(self) -> int:
        return round((self._until - self.ledger.now_s()) * 1_000)

    def lose(self, reason: str) -> None:
        self._timer.cancel()
        self.lost_reason = reason
        self.lost.set()

    async def cleared(self, *zones: str) -> None:
        await asyncio.sleep(LATENCY_S)
        if self.lost.is_set():
            raise GrantLost(str(self.lost_reason), "lost")
        if set(zones or self.left) & set(self.ledger.inside.get(self.agent_id, ())):
            raise StillInside("STILL_INSIDE", "still inside")
        self.left -= set(zones or self.left)
        if not self.left:
            self._timer.cancel()
        self.ledger.free(self.agent_id, zones or self.zones)

    async def extend(self, expected_ms: int) -> int:
        await asyncio.sleep(LATENCY_S)
        if not self.lost.is_set() and self.left:
            self._timer.cancel()
            self._until = max(self._until, self.ledger.now_s() + expected_ms / 1_000)
            self._timer = asyncio.get_running_loop().call_at(self._until, self.ledger.overdue, self)
        return self.remaining_ms()

    async def standing(self) -> None:
        await asyncio.sleep(LATENCY_S)

    async def park(self) -> None:
        await asyncio.sleep(LATENCY_S)
        self.lose("parked")


@dataclass(eq=False)
class Waiting:
    agent_id: str
    zones: tuple[str, ...]
    expected_ms: int
    answer: asyncio.Future[FakeGrant] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Ledger:
    """Who occupies which zone. `occupied[zone]` maps agents to their live grant, or to None without one."""

    def __init__(self, floor: Floor) -> None:
        self.floor = floor
        self.occupied: dict[str, dict[str, FakeGrant | None]] = {zone: {} for zone in floor.zones}
        self.inside: dict[str, tuple[str, ...]] = {}
        self.queue: list[Waiting] = []
        self.claims: dict[str, tuple[str, ...]] = {}
        self.stops: list[str] = []
        self.over = asyncio.Event()
        self.over.set()
        self.on_stop: dict[str, Any] = {}
        self.told: list[asyncio.Future[None]] = []
        self.token = 0

    def now_s(self) -> float:
        return asyncio.get_running_loop().time()

    def free(self, agent_id: str, zones: Iterable[str]) -> None:
        for zone in zones:
            self.occupied[zone].pop(agent_id, None)
        self.serve()

    def fits(self, waiting: Waiting) -> bool:
        return all(
            len(self.occupied[zone].keys() - {waiting.agent_id}) < self.floor.zones[zone].capacity
            for zone in waiting.zones
        )

    def serve(self) -> None:
        """First come first served; the oldest reserves, except against those that it waits for."""
        oldest: Waiting | None = None
        for waiting in list(self.queue):
            kept = oldest is not None and set(oldest.zones) & set(waiting.zones)
            in_its_way = oldest is not None and any(waiting.agent_id in self.occupied[z] for z in oldest.zones)
            if waiting.answer.done():
                self.queue.remove(waiting)
            elif self.fits(waiting) and (not kept or in_its_way):
                self.queue.remove(waiting)
                self.token += 1
                grant = FakeGrant(self, waiting.agent_id, self.token, waiting.zones, waiting.expected_ms)
                for zone in waiting.zones:
                    self.occupied[zone][waiting.agent_id] = grant
                waiting.answer.set_result(grant)
            else:
                oldest = oldest or waiting

    def overdue(self, grant: FakeGrant) -> None:
        if not grant.lost.is_set():
            grant.lose("deadline")
            self.trip(f"deadline:{grant.token}")

    def trip(self, stop_id: str) -> None:
        self.stops.append(stop_id)
        self.over.clear()
        for grants in self.occupied.values():
            for agent_id, grant in grants.items():
                if grant is not None and not grant.lost.is_set():
                    grant.lose("stopped")
                grants[agent_id] = None
        for waiting in self.queue:
            if not waiting.answer.done():
                waiting.answer.set_exception(GrantRejected("STOPPED", "stopped"))
        for stopped in self.on_stop.values():
            self.told.append(asyncio.ensure_future(stopped(Stop(stop_id=stop_id, reason="planted"))))

    def reset(self) -> None:
        self.stops.clear()
        self.over.set()


class FakeLink:
    def __init__(self, ledger: Ledger, agent_id: str) -> None:
        self.ledger, self.agent_id = ledger, agent_id

    @property
    def active_stops(self) -> tuple[Stop, ...]:
        return tuple(Stop(stop_id=stop_id) for stop_id in self.ledger.stops)

    def claim(self, *zones: str) -> None:
        self.ledger.claims[self.agent_id] = zones

    async def acquire(self, *zones: str, expected_ms: int, on_queued: Any = None) -> Any:
        await asyncio.sleep(LATENCY_S)
        if self.ledger.stops:
            raise GrantRejected("STOPPED", "stopped")
        held = [z for z in zones if self.ledger.occupied[z].get(self.agent_id) is not None]
        if any(not grant.lost.is_set() for z in held if (grant := self.ledger.occupied[z][self.agent_id]) is not None):
            raise GrantRejected("ALREADY_HELD", f"{held}")
        waiting = Waiting(self.agent_id, zones, expected_ms)
        self.ledger.queue.append(waiting)
        self.ledger.serve()
        if on_queued is not None and not waiting.answer.done():
            on_queued(1, ())
        try:
            return await waiting.answer
        except asyncio.CancelledError:
            if waiting.answer.done() and not waiting.answer.cancelled() and waiting.answer.exception() is None:
                grant = waiting.answer.result()
                grant.lose("cancelled")
                self.ledger.free(self.agent_id, grant.zones)
            raise
        finally:
            if waiting in self.ledger.queue:
                self.ledger.queue.remove(waiting)
                self.ledger.serve()

    def report(self, **telemetry: Any) -> None:
        self.ledger.inside[self.agent_id] = tuple(telemetry["inside"])

    async def stop_cleared(self) -> None:
        await self.ledger.over.wait()

    async def goodbye(self) -> None: ...

    async def close(self) -> None: ...


class FakeLinks:
    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.aborted: list[str] = []

    async def connect(self, introduction: Introduction) -> Any:
        self.ledger.on_stop[introduction.agent_id] = introduction.stopped
        for zone in introduction.standing_zones:
            self.ledger.occupied[zone][introduction.agent_id] = None
        return FakeLink(self.ledger, introduction.agent_id)

    async def abort(self, link: Any) -> None:
        self.aborted.append(link.agent_id)

    async def cleared(self, agent_id: str) -> None:
        await asyncio.Event().wait()

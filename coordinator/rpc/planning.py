"""PlanRoute: ways from zone to zone around what is held now. Reads the machine, commits nothing, promises nothing.

The picture of who is where is taken on the event loop; the search runs in a thread, so that grants do not wait for it.
"""

from __future__ import annotations

import asyncio

from zonelock.v1 import zone_service_pb2 as zpb

from coordinator.core.machine import Machine
from coordinator.core.model import UnitRecord, UnitState
from coordinator.core.rejections import Refusal
from coordinator.floor import Floor
from coordinator.floor.alternatives import MAX_ALTERNATIVES, Planner
from coordinator.rpc import requests
from coordinator.rpc.errors import RequestRefused, bad_field

MAX_PLANNING = 8
"""How many plans may be under way at once; more are refused."""


class Planning:
    """Answers PlanRoute on one floor."""

    def __init__(self, floor: Floor) -> None:
        self._floor, self._planner = floor, Planner(floor)
        self._under_way = 0

    async def answer(self, machine: Machine, request: zpb.PlanRouteRequest, now_ms: int) -> zpb.PlanRouteResponse:
        start = self._zone("from_zone", request.from_zone)
        goal = self._zone("to_zone", request.to_zone)
        agent_id = requests.optional_identifier("agent_id", request.agent_id)
        speed_mm_s = self._speed_mm_s(request.agent_kind)
        most = requests.integer("alternatives", request.alternatives, 0, MAX_ALTERNATIVES) or MAX_ALTERNATIVES
        if self._under_way >= MAX_PLANNING:
            raise RequestRefused(Refusal.QUEUE_FULL, f"{self._under_way} routes are being planned already.")
        busy_ms = busy(machine, agent_id, now_ms)
        self._under_way += 1
        try:
            ways = await asyncio.to_thread(self._planner.ways, start, goal, speed_mm_s, busy_ms, most)
        finally:
            self._under_way -= 1
        return zpb.PlanRouteResponse(
            routes=[
                zpb.PlannedRoute(
                    zones=way.zones,
                    travel_ms=way.travel_ms,
                    wait_ms=way.wait_ms,
                    full_zones=[zone for zone in way.zones if zone in busy_ms],
                )
                for way in ways
            ]
        )

    def _zone(self, field: str, value: str) -> str:
        zone = requests.name(field, value)
        if zone not in self._floor.zones:
            raise RequestRefused(
                Refusal.UNKNOWN_ZONE,
                f"{field} {zone!r} is not on floor {self._floor.site!r}.",
                (("field", field), ("value", zone)),
            )
        return zone

    def _speed_mm_s(self, kind: str) -> int:
        kinds = self._floor.agent_kinds
        if not kind:
            return min((each.speed_mm_s for each in kinds.values() if each.speed_mm_s > 0), default=1_000)
        requests.identifier("agent_kind", kind)
        if kind not in kinds:
            raise RequestRefused(
                Refusal.UNKNOWN_AGENT_KIND,
                f"agent_kind {kind!r} is not one of {', '.join(sorted(kinds))}.",
                (("field", "agent_kind"), ("value", kind)),
            )
        if kinds[kind].speed_mm_s < 1:
            raise bad_field("agent_kind", kind, "a kind that drives")
        return kinds[kind].speed_mm_s


def busy(machine: Machine, agent_id: str, now_ms: int) -> dict[str, int | None]:
    """Each zone that is full, stopped or closed, but for the agent's own, with the time until it is expected to be
    free.

    None where nobody can say: a unit that is blocked, unknown, stopped or closed comes free by hand.
    """
    found: dict[str, int | None] = {}
    for name in machine.units.zone_names:
        units = machine.units.of(name)
        if machine.stops.covering(name) or name in machine.closures:
            found[name] = None
        elif all(unit.state is not UnitState.FREE and unit.agent_id != agent_id for unit in units):
            left = [_left_ms(machine, unit, now_ms) for unit in units]
            known = [ms for ms in left if ms is not None]
            found[name] = min(known) if known else None
    return found


def _left_ms(machine: Machine, unit: UnitRecord, now_ms: int) -> int | None:
    grant = machine.grants.get(unit.token) if unit.state is UnitState.HELD else None
    if grant is None:
        return None
    return max(0, grant.deadline_ms - now_ms) if grant.deadline_ms else grant.expected_ms

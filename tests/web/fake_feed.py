"""A scripted floor for the map: AGVs that drive by grants of a toy allocator, with incidents on demand.

Deterministic in its steps: `FakeFloor.step(ms)` moves virtual time, `FakeFeed` plays it against the real clock. It is
here to show the page every state it can be in, not to be a coordinator.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from web import fake_floor
from zonelock.v1 import floor_pb2, zone_service_pb2

TICK_MS = 100
HOLD_MS = 12_000
ZONE_AT = {cell: name for name, (cells, _, _) in fake_floor.ZONES.items() for cell in cells}
TOKEN_BASE = 1 << 40
DWELL_CELL = (17, 3)


@dataclass
class Vehicle:
    agent_id: str
    route: list[fake_floor.Cell]
    at: int
    offset: float = 0.0
    dwell_ms: int = 0
    stalled: bool = False
    link: str = "LINK_STATE_CONNECTED"
    holds: dict[str, int] = field(default_factory=dict)
    """zone → token, in the order of driving."""
    waits: str = ""
    waiting_ms: int = 0

    def cell(self, ahead: int = 0) -> fake_floor.Cell:
        return self.route[(self.at + ahead) % len(self.route)]

    def place_mm(self) -> tuple[int, int, int]:
        (x0, y0), (x1, y1) = self.cell(), self.cell(1)
        x, y = x0 + (x1 - x0) * self.offset + 0.5, y0 + (y1 - y0) * self.offset + 0.5
        heading = round(math.degrees(math.atan2(y1 - y0, x1 - x0)) * 1_000) % 360_000
        return round(x * fake_floor.CELL_MM), round(y * fake_floor.CELL_MM), heading


@dataclass
class Slot:
    agent_id: str
    token: int
    state: str = "SLOT_STATE_HELD"
    cause: str = "BLOCK_CAUSE_UNSPECIFIED"
    since_ms: int = 0
    deadline_ms: int = 0


class FakeFloor:
    """Vehicles, slots, one arm, stops. Every change goes through `step` or one of the incidents."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.token = TOKEN_BASE
        self.totals = zone_service_pb2.Totals()
        self.slots: dict[str, list[Slot]] = {name: [] for name in fake_floor.ZONES}
        self.unknown = {"dock_a"}
        self.stops: dict[str, floor_pb2.Stop] = {}
        self.stop_since: dict[str, int] = {}
        self.vehicles = [
            Vehicle(f"AGV_{n:02d}", fake_floor.ROUTES[route], at)
            for n, route, at in (
                (1, "loader", 0),
                (2, "loader", 12),
                (3, "loader", 31),
                (4, "left", 14),
                (5, "left", 32),
                (6, "middle", 4),
                (7, "middle", 14),
            )
        ]
        for vehicle in self.vehicles:
            self._grant(vehicle, ZONE_AT[vehicle.cell()])
        self.slots["park_2"].append(Slot("AGV_09", TOKEN_BASE + 900, "SLOT_STATE_BLOCKED", "BLOCK_CAUSE_PARKED"))
        self.arm_busy = False

    # -- the toy allocator

    def _grant(self, vehicle: Vehicle, zone: str) -> None:
        self.token += 1
        self.totals.grants += 1
        self.totals.commits += 1
        vehicle.holds[zone] = self.token
        self.slots[zone].append(
            Slot(vehicle.agent_id, self.token, since_ms=self.now_ms, deadline_ms=self.now_ms + HOLD_MS)
        )

    def _release(self, vehicle: Vehicle, zone: str) -> None:
        del vehicle.holds[zone]
        self.totals.releases += 1
        self.slots[zone] = [slot for slot in self.slots[zone] if slot.agent_id != vehicle.agent_id]

    def _stopped(self, zone: str) -> list[str]:
        return sorted(stop_id for stop_id, stop in self.stops.items() if zone in stop.zones)

    def _free(self, zone: str) -> bool:
        return len(self.slots[zone]) < fake_floor.ZONES[zone][1] and not self._stopped(zone)

    def step(self, ms: int) -> None:
        self.now_ms += ms
        for vehicle in self.vehicles:
            self._drive(vehicle, ms)
        self._work_arm()

    def _drive(self, vehicle: Vehicle, ms: int) -> None:
        if vehicle.stalled or any(self._stopped(zone) for zone in vehicle.holds):
            vehicle.waits = ""
            return
        if vehicle.dwell_ms > 0:
            vehicle.dwell_ms -= ms
            return
        following = next(
            (z for z in (ZONE_AT[vehicle.cell(1)], ZONE_AT[vehicle.cell(2)]) if z not in vehicle.holds),
            ZONE_AT[vehicle.cell(2)],
        )
        if following not in vehicle.holds:
            if self._free(following):
                self._grant(vehicle, following)
                vehicle.waits, vehicle.waiting_ms = "", 0
            else:
                vehicle.waits = following
                vehicle.waiting_ms += ms
        if ZONE_AT[vehicle.cell(1)] not in vehicle.holds:
            return
        vehicle.offset += ms * 1.4 / fake_floor.CELL_MM
        if vehicle.offset >= 1:
            vehicle.offset -= 1
            vehicle.at = (vehicle.at + 1) % len(vehicle.route)
            for zone in [z for z in vehicle.holds if z != ZONE_AT[vehicle.cell()] and z != ZONE_AT[vehicle.cell(1)]]:
                if zone != following:
                    self._release(vehicle, zone)
            if vehicle.cell() == DWELL_CELL:
                vehicle.dwell_ms = 4_000
                vehicle.offset = 0.0

    def _work_arm(self) -> None:
        """The arm takes Z_32 for five seconds whenever it finds it free on its beat."""
        mine = [slot for slot in self.slots["Z_32"] if slot.agent_id == fake_floor.ARM]
        if mine and self.now_ms - mine[0].since_ms > 5_000 and not self._stopped("Z_32"):
            self.slots["Z_32"].remove(mine[0])
            self.totals.releases += 1
        elif not mine and self.now_ms % 14_000 < TICK_MS and self._free("Z_32"):
            self.token += 1
            self.totals.grants += 1
            self.slots["Z_32"].append(
                Slot(fake_floor.ARM, self.token, since_ms=self.now_ms, deadline_ms=self.now_ms + 9_000)
            )

    # -- incidents

    def overstay(self, agent_id: str) -> str:
        """The vehicle stalls where it is past its deadline: its zone is BLOCKED and its stop group stops."""
        vehicle = next(v for v in self.vehicles if v.agent_id == agent_id)
        vehicle.stalled = True
        zone = ZONE_AT[vehicle.cell()]
        group = fake_floor.ZONES[zone][2]
        stop_id = f"deadline:{vehicle.holds[zone]}"
        scope = sorted(name for name, (_, _, g) in fake_floor.ZONES.items() if g == group)
        inside = sorted({slot.agent_id for name in scope for slot in self.slots[name]})
        for name in scope:
            for slot in self.slots[name]:
                slot.state = "SLOT_STATE_BLOCKED"
                slot.cause = "BLOCK_CAUSE_OVERDUE" if slot.agent_id == agent_id else "BLOCK_CAUSE_STOPPED"
        self.stops[stop_id] = floor_pb2.Stop(
            stop_id=stop_id,
            cause=floor_pb2.STOP_CAUSE_OVERDUE,
            stop_groups=[group],
            zones=scope,
            tripped_by="coordinator",
            reason=f"{agent_id} overdue in {zone}: {HOLD_MS} ms passed without a release",
            active=True,
            acknowledged_by=[name for name in inside if name != agent_id],
            unconfirmed=[agent_id],
        )
        self.stop_since[stop_id] = self.now_ms
        self.totals.stops += 1
        return stop_id

    def reset(self, stop_id: str) -> floor_pb2.Stop:
        stop = self.stops.pop(stop_id)
        stop.active = False
        stop.reset_by, stop.reset_reason = "maria", "aisle walked, pallet removed"
        for name in stop.zones:
            for slot in self.slots[name]:
                slot.state, slot.cause, slot.deadline_ms = (
                    "SLOT_STATE_HELD",
                    "BLOCK_CAUSE_UNSPECIFIED",
                    self.now_ms + HOLD_MS,
                )
        for vehicle in self.vehicles:
            vehicle.stalled = False
        return stop

    # -- what a watcher sees

    def zone_view(self, name: str) -> floor_pb2.ZoneView:
        _, capacity, group = fake_floor.ZONES[name]
        slots = self.slots[name]
        stop_ids = self._stopped(name)
        state = "FREE"
        if stop_ids:
            state = "STOPPED"
        elif any(slot.state == "SLOT_STATE_BLOCKED" for slot in slots):
            state = "BLOCKED"
        elif slots:
            state = "HELD"
        elif name in self.unknown:
            state = "UNKNOWN"
        view = floor_pb2.ZoneView(
            name=name,
            state=floor_pb2.ZoneState.Value(f"ZONE_STATE_{state}"),
            capacity=capacity,
            stop_group=group,
            stop_ids=stop_ids,
            waiters=sum(v.waits == name for v in self.vehicles),
        )
        for number, slot in enumerate(slots):
            held = slot.state == "SLOT_STATE_HELD"
            view.occupants.add(
                slot=number,
                state=floor_pb2.SlotState.Value(slot.state),
                agent_id=slot.agent_id,
                token=slot.token,
                cause=floor_pb2.BlockCause.Value(slot.cause),
                remaining_ms=slot.deadline_ms - self.now_ms if held else 0,
                since_ms=self.now_ms - slot.since_ms,
            )
        return view

    def agent_views(self) -> list[floor_pb2.AgentView]:
        views = []
        for vehicle in self.vehicles:
            x, y, heading = vehicle.place_mm()
            held = [
                z
                for z in vehicle.holds
                if any(s.agent_id == vehicle.agent_id and s.state.endswith("HELD") for s in self.slots[z])
            ]
            stops = sorted({stop for zone in vehicle.holds for stop in self._stopped(zone)})
            views.append(
                floor_pb2.AgentView(
                    agent_id=vehicle.agent_id,
                    kind="agv",
                    link=floor_pb2.LinkState.Value(vehicle.link),
                    has_position=True,
                    x_mm=x,
                    y_mm=y,
                    heading_mdeg=heading,
                    inside_zones=[ZONE_AT[vehicle.cell()]],
                    held_zones=held,
                    stop_ids=stops,
                    explanation=self._explain(vehicle, stops),
                    activity="stopped"
                    if stops
                    else "waiting"
                    if vehicle.waits
                    else "loading"
                    if vehicle.dwell_ms > 0
                    else "driving",
                )
            )
        busy = [name for name in ("Z_32",) if any(s.agent_id == fake_floor.ARM for s in self.slots[name])]
        views.append(
            floor_pb2.AgentView(
                agent_id=fake_floor.ARM,
                kind="arm",
                link=floor_pb2.LINK_STATE_CONNECTED,
                held_zones=busy,
                activity="loading" if busy else "idle",
                explanation=f"{fake_floor.ARM} holds Z_32." if busy else f"{fake_floor.ARM} asks for nothing.",
            )
        )
        views.append(
            floor_pb2.AgentView(
                agent_id="Arm_15",
                kind="arm",
                link=floor_pb2.LINK_STATE_SILENT,
                explanation="Arm_15 was not heard for 1.9 s.",
            )
        )
        views.append(
            floor_pb2.AgentView(
                agent_id="AGV_09",
                kind="agv",
                link=floor_pb2.LINK_STATE_GONE,
                has_position=True,
                x_mm=6_500,
                y_mm=12_500,
                heading_mdeg=270_000,
                inside_zones=["park_2"],
                activity="parked",
                explanation="AGV_09 is parked in park_2; its stream is gone. park_2 stays occupied.",
            )
        )
        return views

    def _explain(self, vehicle: Vehicle, stops: list[str]) -> str:
        if stops:
            return f"{vehicle.agent_id} stands still because of {', '.join(stops)}; an operator must reset it."
        if vehicle.waits:
            why = "; ".join(blocker.detail for blocker in self._blockers(vehicle)) or "it is next"
            return f"{vehicle.agent_id} waits for {vehicle.waits}: {why}"
        return f"{vehicle.agent_id} holds {', '.join(vehicle.holds)} and drives."

    def _blockers(self, vehicle: Vehicle) -> list[floor_pb2.Blocker]:
        zone = vehicle.waits
        found = [self._occupied(zone, slot) for slot in self.slots[zone]]
        found.extend(
            floor_pb2.Blocker(
                zone=zone,
                kind=floor_pb2.BLOCKER_KIND_STOPPED,
                since_ms=self.now_ms - self.stop_since[stop_id],
                detail=f"{zone} is stopped by {stop_id}; zonelock reset ends it",
            )
            for stop_id in self._stopped(zone)
        )
        return found

    def _occupied(self, zone: str, slot: Slot) -> floor_pb2.Blocker:
        held = slot.state.endswith("HELD")
        left_s = max(0, slot.deadline_ms - self.now_ms) / 1_000
        return floor_pb2.Blocker(
            zone=zone,
            kind=floor_pb2.BLOCKER_KIND_HELD if held else floor_pb2.BLOCKER_KIND_BLOCKED,
            agent_id=slot.agent_id,
            since_ms=self.now_ms - slot.since_ms,
            detail=f"{zone} is held by {slot.agent_id} until it leaves, {left_s:.0f} s at most"
            if held
            else f"{zone} is blocked by {slot.agent_id}; an operator must clear it",
        )

    def wait_views(self) -> list[floor_pb2.WaitView]:
        return [
            floor_pb2.WaitView(
                agent_id=v.agent_id,
                request_id=f"r{v.at}",
                zones=[v.waits],
                waiting_ms=v.waiting_ms,
                position=1,
                blockers=self._blockers(v),
            )
            for v in self.vehicles
            if v.waits
        ]

    def message(self, *, snapshot: bool) -> zone_service_pb2.WatchFloorResponse:
        for stop_id, stop in self.stops.items():
            stop.age_ms = self.now_ms - self.stop_since[stop_id]
        agents = self.agent_views()
        totals = zone_service_pb2.Totals()
        totals.CopyFrom(self.totals)
        totals.live_grants = sum(slot.state.endswith("HELD") for slots in self.slots.values() for slot in slots)
        totals.connected_agents = sum(agent.link == floor_pb2.LINK_STATE_CONNECTED for agent in agents)
        waits = self.wait_views()
        totals.waiting = len(waits)
        return zone_service_pb2.WatchFloorResponse(
            snapshot=snapshot,
            epoch=1_207,
            floor_hash="5eed" * 16,
            zones=[self.zone_view(name) for name in fake_floor.ZONES],
            agents=agents,
            stops=[*self.stops.values()],
            waits=waits,
            waits_changed=True,
            totals=totals,
        )


class FakeFeed:
    """Plays a FakeFloor in real time; every subscriber sees the same floor. `ended` is how a test announces a reset."""

    def __init__(self, floor: FakeFloor, *, playing: bool = True) -> None:
        self.floor = floor
        self.playing = playing
        self.ended: list[floor_pb2.Stop] = []
        self.subscribers = 0

    async def subscribe(self, min_interval_ms: int = 0) -> AsyncIterator[zone_service_pb2.WatchFloorResponse]:
        self.subscribers += 1
        told = len(self.ended)
        try:
            yield self.floor.message(snapshot=True)
            while True:
                await asyncio.sleep(TICK_MS / 1_000)
                if self.playing:
                    self.floor.step(TICK_MS)
                update = self.floor.message(snapshot=False)
                update.stops.extend(self.ended[told:])
                told = len(self.ended)
                yield update
        finally:
            self.subscribers -= 1

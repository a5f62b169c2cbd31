"""What all agents of one run share: the floor, the clock, the fleet's traffic picture, and the tally of the run.

The rule owned here: agents do not set off before every one of them has taken the ground it stands on; until then
somebody could be granted a cell that a vehicle stands in without having said so. Never imports the coordinator but
its floor.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from itertools import groupby
from typing import Protocol

from zonelock.v1.floor_pb2 import Blocker, Stop

from coordinator.floor import Floor
from zonelock_sim.bodies import Body, Cell, Tool
from zonelock_sim.holdings import Grant
from zonelock_sim.options import latency
from zonelock_sim.tasks import Tasks
from zonelock_sim.traffic import Traffic
from zonelock_sim.ways import Ways

Queued = Callable[[int, tuple[Blocker, ...]], None]


class Link(Protocol):
    """What the sim uses of `zonelock_client.Agent`."""

    @property
    def active_stops(self) -> tuple[Stop, ...]: ...
    async def acquire(self, *zones: str, expected_ms: int, on_queued: Queued | None = None) -> Grant: ...
    def claim(self, *zones: str) -> None: ...
    def report(
        self,
        *,
        x_mm: int | None = None,
        y_mm: int | None = None,
        heading_mdeg: int = 0,
        inside: Iterable[str] | None = None,
        progress_permille: int = 0,
        activity: str = "",
    ) -> None: ...
    async def stop_cleared(self) -> None: ...
    async def goodbye(self) -> None: ...
    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Introduction:
    """How an agent presents itself to the coordinator, and what it does when told to stand.

    `halt` is called from the SDK's dead-man thread and returns at once; `stopped` returns when the machine stands;
    `asked_aside` is told the zone to yield to.
    """

    agent_id: str
    kind: str
    stop_ms: int
    standing_zones: tuple[str, ...]
    halt: Callable[[], None]
    stopped: Callable[[Stop], Awaitable[None]]
    asked_aside: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Pace:
    """How finely time is cut, and how vehicles drive.

    step_s: between two steps of the physics. beat_s: how often a vehicle looks around when nothing happens to it.
    report_s: how often a moving vehicle says where it is, beside when it gives something back.
    swept: ground truth sees each body over its whole way since the step before, as steps of this length ask for.
    naive: vehicles lock the next cell and wait for it, and do nothing else.
    """

    step_s: float = 0.02
    beat_s: float = 0.1
    report_s: float = 0.2
    swept: bool = False
    naive: bool = False


REAL_PACE = Pace()
VIRTUAL_PACE = Pace(step_s=0.1, beat_s=0.5, report_s=1.0, swept=True)

MAX_SAMPLES = 20_000
"""Latencies are over the newest of each kind: an endless run keeps no endless lists."""


class Links(Protocol):
    """How agents of this run reach the coordinator."""

    async def connect(self, introduction: Introduction) -> Link:
        """Raises what the SDK raises: LinkLost when nobody answers, RequestError when the coordinator refuses."""

    async def abort(self, link: Link) -> None:
        """The link is gone at once, without a goodbye, as when a computer dies."""

    async def cleared(self, agent_id: str) -> None:
        """Returns when an operator has cleared everything that a vanished agent left occupied."""


@dataclass(slots=True)
class Tally:
    """Counts of one run. Latencies are from ask to granted, in milliseconds."""

    grants: int = 0
    tasks_done: int = 0
    shortest_cells: int = 0
    arrived_at_s: float = 0.0
    yielded: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    grants_lost: dict[str, int] = field(default_factory=dict)
    stop_ids: set[str] = field(default_factory=set)
    replans: int = 0
    retreats: int = 0
    uncovered: int = 0
    longest_wait_ms: int = 0
    uncontended_ms: deque[float] = field(default_factory=lambda: deque(maxlen=MAX_SAMPLES))
    queued_ms: deque[float] = field(default_factory=lambda: deque(maxlen=MAX_SAMPLES))
    tick_late_ms: deque[float] = field(default_factory=lambda: deque(maxlen=MAX_SAMPLES))

    def granted(self, waited_ms: float, *, queued: bool) -> None:
        self.grants += 1
        (self.queued_ms if queued else self.uncontended_ms).append(waited_ms)
        self.longest_wait_ms = max(self.longest_wait_ms, round(waited_ms))

    def was_rejected(self, reason: str) -> None:
        self.rejected[reason] = self.rejected.get(reason, 0) + 1

    def lost(self, reason: str) -> None:
        self.grants_lost[reason] = self.grants_lost.get(reason, 0) + 1

    def acquire(self) -> tuple[float, float]:
        """p50 and p99 over every granted ask."""
        whole = latency([*self.uncontended_ms, *self.queued_ms])
        return whole.p50_ms, whole.p99_ms


class World:
    def __init__(
        self,
        floor: Floor,
        router: Ways,
        tasks: Tasks,
        links: Links,
        *,
        tell: Callable[[str, str], None] = lambda kind, message: None,
        pace: Pace = REAL_PACE,
    ) -> None:
        self.floor = floor
        self._zones = {cell: zone.name for zone in floor.zones.values() for cell in zone.cells}
        self.tasks = tasks
        self.links = links
        self.tell = tell
        self.pace = pace
        self.router = router
        self.traffic = Traffic(floor)
        self.tally = Tally()
        self.bodies: dict[str, Body | Tool] = {}
        self.gate = asyncio.Event()
        self.failures: list[tuple[str, BaseException]] = []
        self._clock = asyncio.get_running_loop().time
        self._started_at = self._clock()

    def failed(self, agent_id: str, error: BaseException) -> None:
        """An agent's software failed in a way that nobody foresaw: the run must not end well."""
        self.failures.append((agent_id, error))
        self.tell("finding", f"{agent_id} failed: {error!r}")

    def stop_seen(self, stop: Stop) -> None:
        """An agent was told of a stop. Told once per stop, however many agents it reaches."""
        if stop.stop_id not in self.tally.stop_ids:
            self.tally.stop_ids.add(stop.stop_id)
            self.tell("stop", f"stop {stop.stop_id}: {stop.reason}")

    def now_s(self) -> float:
        """Seconds of this run, on its event loop's clock."""
        return self._clock() - self._started_at

    def restart_clock(self) -> None:
        """The run begins now: everybody is in place."""
        self._started_at = self._clock()

    def zone_at(self, cell: Cell) -> str | None:
        return self._zones.get(cell)

    def zones_of(self, cells: Iterable[Cell]) -> list[str]:
        """The zones of the cells, in order, each once. Closed cells have none."""
        found: dict[str, None] = {}
        for cell in cells:
            zone = self._zones.get(cell)
            if zone is not None:
                found[zone] = None
        return list(found)

    def entered(self, cells: Iterable[Cell]) -> list[str]:
        """The zones of the cells in the order they are entered; one that is entered twice stands twice."""
        zones = (self._zones.get(cell) for cell in cells)
        return [zone for zone, _ in groupby(zones) if zone is not None]

    def inside(self, agent_id: str) -> list[str]:
        """Every zone that the agent's body touches now; empty when it has none on the floor."""
        body = self.bodies.get(agent_id)
        return self.zones_of(body.touched()) if body is not None else []

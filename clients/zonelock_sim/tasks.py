"""Where vehicles are sent: pairs of a Moving AI scenario, or stations of the floor drawn by a seed.

The rule owned here: no two vehicles have the same target at once, and a target stays taken until the vehicle that was
sent there has left it. Without that, one would wait at a station's mouth for the other that it locks in. Never
imports the SDK.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from coordinator.floor import Floor
from zonelock_sim.bodies import Cell
from zonelock_sim.options import SimError
from zonelock_sim.ways import Ways

SCENARIO_DWELL_MS = 500
PARKING_DWELL_MS = 2_000
NEARBY = 4
UPSTREAM_CELLS = 12
"""A vehicle bound for a zone starts so far before it: it is there within seconds, and drives in."""

OPEN_CELL_TARGETS = 400
"""On a floor without stations this many open cells, drawn by the seed, serve as stations."""


@dataclass(frozen=True, slots=True)
class Visit:
    """Drive to `cell` and work there for `dwell_ms`."""

    cell: Cell
    dwell_ms: int
    label: str


@dataclass(frozen=True, slots=True)
class Task:
    """Done when the last visit is."""

    name: str
    visits: tuple[Visit, ...]


class Tasks(Protocol):
    """Gives each vehicle where it starts and what it does next."""

    @property
    def total(self) -> int:
        """How many tasks there are; 0 when there is no end of them."""

    @property
    def unreachable(self) -> int:
        """How many of them no vehicle of this run can do."""

    def starts(self, agent_ids: Sequence[str]) -> list[Cell]:
        """A cell of its own for each vehicle. Raises SimError when the floor has too few."""

    def next(self, agent_id: str, at: Cell) -> Task | None:
        """The next task for a vehicle that stands `at` a cell, or None when there is none for now."""

    def left(self, agent_id: str) -> None:
        """The vehicle has left the place of its task before."""


class ScenarioTasks:
    """Each pair of a scenario is a transport order: fetch at its start, bring to its goal.

    Vehicles start where the first orders do; a pair whose start is taken already is kept for later.
    """

    def __init__(
        self, pairs: Sequence[tuple[Cell, Cell]], connected: Callable[[Cell, Cell, Cell], bool] = lambda *_: True
    ) -> None:
        """`connected` says whether each of the cells can be reached from each other one."""
        self._pairs = list(pairs)
        self._connected = connected
        self.total, self.unreachable = len(self._pairs), 0
        self._waiting: deque[tuple[int, Cell, Cell]] = deque((n, *pair) for n, pair in enumerate(self._pairs, 1))
        self._taken: dict[str, tuple[Cell, ...]] = {}
        self._first: dict[Cell, tuple[int, Cell, Cell]] = {}

    def starts(self, agent_ids: Sequence[str]) -> list[Cell]:
        count = len(agent_ids)
        chosen: dict[Cell, tuple[int, Cell, Cell]] = {}
        for entry in list(self._waiting):
            if len(chosen) == count:
                break
            if entry[1] not in chosen:
                chosen[entry[1]] = entry
                self._waiting.remove(entry)
        if len(chosen) < count:
            raise SimError(f"agents {count}: the scenario has only {len(chosen)} different starts; use fewer agents")
        self._first = dict(chosen)
        self._set_aside(list(chosen))
        return list(chosen)

    @property
    def open(self) -> int:
        """Tasks that were not given to anybody yet and that somebody can do."""
        return len(self._waiting)

    def _set_aside(self, starts: list[Cell]) -> None:
        """Leaves out what no vehicle can do: each stays in the part of the floor where it started."""
        parts: list[Cell] = []
        for cell in starts:
            if not any(self._connected(cell, part, part) for part in parts):
                parts.append(cell)
        doable = [entry for entry in self._waiting if any(self._connected(p, *entry[1:]) for p in parts)]
        hopeless = [cell for cell, entry in self._first.items() if not self._connected(cell, *entry[1:])]
        self.unreachable = len(self._waiting) - len(doable) + len(hopeless)
        self._waiting = deque(doable)
        for cell in hopeless:
            del self._first[cell]

    def next(self, agent_id: str, at: Cell) -> Task | None:
        busy = {cell for other, cells in self._taken.items() if other != agent_id for cell in cells}
        first = agent_id not in self._taken
        entry = self._first.pop(at) if first and at in self._first else self._free_entry(at, busy)
        if entry is None:
            self._taken[agent_id] = ()  # it makes way when others need the place where it idles
            return None
        number, start, goal = entry
        self._taken[agent_id] = (*self._taken.get(agent_id, ())[-1:], start, goal)
        return Task(
            f"order {number}",
            (
                Visit(start, SCENARIO_DWELL_MS, f"order {number}: fetch at {start}"),
                Visit(goal, SCENARIO_DWELL_MS, f"order {number}: bring to {goal}"),
            ),
        )

    def left(self, agent_id: str) -> None:
        self._taken[agent_id] = self._taken.get(agent_id, ())[-2:]

    def _free_entry(self, at: Cell, busy: set[Cell]) -> tuple[int, Cell, Cell] | None:
        for entry in self._waiting:
            if entry[1] not in busy and entry[2] not in busy and self._connected(at, *entry[1:]):
                self._waiting.remove(entry)
                return entry
        return None


class StationTasks:
    """Sends vehicles from station to station for ever, by chance of `seed`; to a parking place when all are taken.

    Vehicles start at stations and do their first task there. The next station is one of the NEARBY nearest by road.
    `bound_for` names zones that some vehicles shall come to soon, for an incident there: such a vehicle starts near and
    is sent there whenever it can be.
    """

    def __init__(self, floor: Floor, seed: int, router: Ways, bound_for: Mapping[str, str] | None = None) -> None:
        self._random = random.Random(seed)
        self._router = router
        self._stations = [Visit(s.cell, s.dwell_ms, f"to {s.name}") for _, s in sorted(floor.stations.items())]
        self._parking = [Visit(cell, PARKING_DWELL_MS, f"parks at {n}") for n, cell in sorted(floor.parking.items())]
        self._floor = floor
        self._near = bool(self._stations)
        if not self._stations:
            cells = sorted(cell for zone in floor.zones.values() for cell in zone.cells)
            drawn = self._random.sample(cells, min(OPEN_CELL_TARGETS, len(cells)))
            self._stations = [Visit(cell, SCENARIO_DWELL_MS, f"to {cell}") for cell in drawn]
        self._bound = {agent: frozenset(floor.zones[zone].cells) for agent, zone in (bound_for or {}).items()}
        self._taken: dict[str, tuple[Cell, ...]] = {}
        self._count = 0
        self.total, self.unreachable = 0, 0

    def starts(self, agent_ids: Sequence[str]) -> list[Cell]:
        count = len(agent_ids)
        targets = {self._target_of(agent) for agent in agent_ids}
        stations = [visit.cell for visit in self._stations if visit.cell not in targets]
        self._random.shuffle(stations)
        places = list(dict.fromkeys([*stations, *(visit.cell for visit in self._parking)]))
        if len(places) < count:
            raise SimError(
                f"agents {count}: the floor has {len(places)} stations and parking places to start from; "
                "use fewer agents"
            )
        chosen: dict[str, Cell] = {}
        for agent in sorted(agent_ids):
            target = self._target_of(agent)
            upstream = self._upstream(target, [*places, *chosen.values()]) if target is not None else None
            chosen[agent] = upstream if upstream is not None else places.pop(0)
        return [chosen[agent] for agent in agent_ids]

    def _target_of(self, agent_id: str) -> Cell | None:
        """The first station in the zone that the vehicle is bound for."""
        cells = self._bound.get(agent_id, frozenset())
        return next((visit.cell for visit in self._stations if visit.cell in cells), None)

    def _upstream(self, target: Cell, taken: Collection[Cell]) -> Cell | None:
        """The nearest cell at least UPSTREAM_CELLS of road before `target`, in a zone where nobody else starts."""
        zones = {self._floor.zone_at(*cell) for cell in taken}
        distance = {target: 0}
        frontier = deque([target])
        while frontier:
            cell = frontier.popleft()
            if distance[cell] >= UPSTREAM_CELLS and self._floor.zone_at(*cell) not in zones:
                return cell
            for beside in sorted(self._floor.grid.beside(cell)):
                if beside not in distance and cell in self._floor.moves(*beside):
                    distance[beside] = distance[cell] + 1
                    frontier.append(beside)
        return None

    def next(self, agent_id: str, at: Cell) -> Task | None:
        first = agent_id not in self._taken
        busy = {cell for cells in self._taken.values() for cell in cells}
        free = [visit for visit in self._stations if visit.cell not in busy]
        free = free or [visit for visit in self._parking if visit.cell not in busy]
        here = [visit for visit in free if first and visit.cell == at]
        bound = [visit for visit in free if visit.cell in self._bound.get(agent_id, frozenset())]
        candidates = here or bound or self._nearest(at, [visit for visit in free if visit.cell != at])
        if not candidates:
            return None
        visit = self._random.choice(candidates)
        self._count += 1
        self._taken[agent_id] = (*self._taken.get(agent_id, (at,))[-1:], visit.cell)
        return Task(f"order {self._count}", (visit,))

    def left(self, agent_id: str) -> None:
        self._taken[agent_id] = self._taken.get(agent_id, ())[-1:]

    def _nearest(self, at: Cell, visits: list[Visit]) -> list[Visit]:
        if not self._near:
            return visits
        return sorted(visits, key=lambda visit: (self._router.distance(at, visit.cell), visit.cell))[:NEARBY]

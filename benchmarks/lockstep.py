"""Vehicles on a grid in lock-step, a zone per cell, granted by a `RouteBook` alone: no store, no sockets, no clock.

What it is for: to show which policy of the vehicles (when to plan again, when to draw back, when to yield) brings every
task home together with the safe-step rule, and what becomes of them without either (`naive`). `docs/routes.md` states
the policy; `Vehicle.turn` is it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from coordinator.core.routes import RouteBook, Safe, Unsafe, Why

Cell = tuple[int, int]

PATIENCE_TURNS = 6
"""A vehicle that was told to wait this often in a row looks for another route."""

REST_TURNS = 8
"""How long a vehicle that drew back waits before it sets out again."""

ASK_AGAIN_TURNS = 20
DETOUR_CELLS = 80
FROZEN_TURNS = 400
"""Nobody moved for so long: it is over."""


class Grid:
    """Open cells with their neighbours, and shortest ways between them."""

    def __init__(self, rows: Sequence[str]) -> None:
        self.cells = sorted((x, y) for y, row in enumerate(rows) for x, mark in enumerate(row) if mark == ".")
        opened = set(self.cells)
        self.beside = {
            (x, y): [c for c in ((x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)) if c in opened] for x, y in self.cells
        }
        self.name = {cell: f"C_{cell[0]}_{cell[1]}" for cell in self.cells}
        self.cell = {name: cell for cell, name in self.name.items()}

    def book(self) -> RouteBook:
        pairs = ((self.name[a], self.name[b]) for a in self.cells for b in self.beside[a])
        return RouteBook(((name, 1) for name in self.cell), pairs)

    def way(self, start: Cell, goal: Cell, shunned: set[Cell]) -> list[Cell] | None:
        """The cells after `start` up to `goal` on a shortest way off the shunned cells; None when there is none."""
        if start == goal:
            return []
        came = {start: start}
        edge = deque([start])
        while edge:
            here = edge.popleft()
            for cell in self.beside[here]:
                if cell in came or cell in shunned:
                    continue
                came[cell] = here
                if cell == goal:
                    back = [cell]
                    while came[back[-1]] != start:
                        back.append(came[back[-1]])
                    return back[::-1]
                edge.append(cell)
        return None


@dataclass(slots=True)
class Outcome:
    """What a run came to. `decisions_us` are the times of the single decisions, `looks_us` those of the looks for an
    order for everybody, one a turn: a coordinator has them every half second, apart from any decision.
    """

    tasks: int = 0
    done: int = 0
    turns: int = 0
    travel_cells: int = 0
    shortest_cells: int = 0
    replans: int = 0
    retreats: int = 0
    yielded: int = 0
    deadlocks_told: int = 0
    frozen: bool = False
    frozen_after_tasks: int = 0
    decisions_us: list[float] = field(default_factory=list)
    looks_us: list[float] = field(default_factory=list)


class Vehicle:
    """One AGV and its policy."""

    def __init__(self, name: str, cell: Cell) -> None:
        self.name, self.cell = name, cell
        self.goals: deque[Cell] = deque()
        self.plan: list[Cell] = []
        self.waited = 0
        self.rests = 0
        self.drawn_back = False
        self.blocked_by: tuple[str, ...] = ()
        self.asked_at = 0
        self.told_to_wait = False


class Site:
    """All vehicles, their tasks and the book."""

    def __init__(self, grid: Grid, tasks: Sequence[tuple[Cell, Cell]], agents: int, *, naive: bool = False) -> None:
        self.grid, self.naive = grid, naive
        self.book = grid.book()
        self.open_tasks = deque(tasks)
        self.outcome = Outcome(tasks=len(tasks))
        self.at: dict[Cell, Vehicle] = {}
        self.vehicles: list[Vehicle] = []
        self.changed_at: dict[str, int] = {}
        self._start(agents)

    def _start(self, agents: int) -> None:
        later: list[tuple[Cell, Cell]] = []
        while self.open_tasks and len(self.vehicles) < agents:
            start, goal = self.open_tasks.popleft()
            if start in self.at:
                later.append((start, goal))
                continue
            vehicle = Vehicle(f"AGV_{len(self.vehicles) + 1:03d}", start)
            vehicle.goals = deque([start, goal])
            self.at[start] = vehicle
            self.vehicles.append(vehicle)
            self.book.occupy(self.grid.name[start], vehicle.name)
            self._count_shortest(vehicle)
        self.open_tasks.extendleft(reversed(later))

    def run(self, max_turns: int = 100_000) -> Outcome:
        still = 0
        while self.outcome.turns < max_turns and still < FROZEN_TURNS:
            moved = self.turn()
            if not self.open_tasks and not any(v.goals for v in self.vehicles):
                return self.outcome
            still = 0 if moved else still + 1
        self.outcome.frozen, self.outcome.frozen_after_tasks = True, self.outcome.done
        return self.outcome

    def turn(self) -> bool:
        """One turn of everybody; whether anybody moved."""
        self.outcome.turns += 1
        leaving: list[tuple[Vehicle, Cell]] = []
        for vehicle in self.vehicles:
            before = vehicle.cell
            if self._act(vehicle):
                leaving.append((vehicle, before))
        for vehicle, cell in leaving:
            del self.at[cell]
            self.book.vacate(self.grid.name[cell], vehicle.name)
        if not self.naive:
            self._ask_to_yield()
        return bool(leaving)

    # -- one vehicle

    def _act(self, vehicle: Vehicle) -> bool:
        """One turn of a vehicle; whether it moves."""
        self._reach(vehicle)
        if vehicle.rests:
            vehicle.rests -= 1
            return False
        if not vehicle.plan and (not vehicle.goals or not self._set_out(vehicle, set())):
            return False
        target = vehicle.plan[0]
        if self.naive:
            if target in self.at:
                return False
        elif not self._worth_asking(vehicle, target) or not self._granted(vehicle, target):
            self._lose_patience(vehicle)
            return False
        self.book.occupy(self.grid.name[target], vehicle.name)
        self.at[target] = vehicle
        vehicle.cell = target
        vehicle.plan.pop(0)
        vehicle.waited = 0
        self.outcome.travel_cells += 1
        self.changed_at[vehicle.name] = self.outcome.turns
        return True

    def _worth_asking(self, vehicle: Vehicle, target: Cell) -> bool:
        """As a coordinator serves its queue: again when somebody moved who was in the way, and now and then."""
        if not vehicle.told_to_wait or self.outcome.turns - vehicle.asked_at >= ASK_AGAIN_TURNS:
            return True
        if not vehicle.blocked_by:
            return target not in self.at
        return any(self.changed_at.get(name, 0) >= vehicle.asked_at for name in vehicle.blocked_by)

    def _lose_patience(self, vehicle: Vehicle) -> None:
        vehicle.waited += 1
        if vehicle.waited % PATIENCE_TURNS == 0 and not vehicle.drawn_back:
            self._go_around(vehicle)

    def _reach(self, vehicle: Vehicle) -> None:
        """What follows from where it stands: the next goal, the next task."""
        if vehicle.drawn_back and not vehicle.plan:
            vehicle.drawn_back, vehicle.rests = False, REST_TURNS
            return
        if vehicle.goals and vehicle.cell == vehicle.goals[0]:
            vehicle.goals.popleft()
            vehicle.plan = []
            if not vehicle.goals:
                self.outcome.done += 1
        if not vehicle.goals:
            self._next_task(vehicle)

    def _next_task(self, vehicle: Vehicle) -> None:
        taken = {goal for other in self.vehicles if other is not vehicle for goal in other.goals}
        for place, (start, goal) in enumerate(self.open_tasks):
            if start not in taken and goal not in taken:
                del self.open_tasks[place]
                vehicle.goals = deque([start, goal])
                vehicle.plan = []
                vehicle.drawn_back = False
                self._count_shortest(vehicle)
                return

    def _count_shortest(self, vehicle: Vehicle) -> None:
        """What the task takes on an empty floor, from where the vehicle stands."""
        here = vehicle.cell
        for goal in vehicle.goals:
            self.outcome.shortest_cells += len(self.grid.way(here, goal, set()) or ())
            here = goal

    def _set_out(self, vehicle: Vehicle, shunned: set[Cell]) -> bool:
        way = self.grid.way(vehicle.cell, vehicle.goals[0], shunned)
        if not way:
            return False
        vehicle.plan = way
        self._declare(vehicle)
        return True

    def _declare(self, vehicle: Vehicle) -> None:
        self.book.declare(vehicle.name, [self.grid.name[cell] for cell in vehicle.plan])
        self.changed_at[vehicle.name] = self.outcome.turns
        vehicle.blocked_by, vehicle.waited, vehicle.told_to_wait = (), 0, False

    def _granted(self, vehicle: Vehicle, target: Cell) -> bool:
        began = time.thread_time()
        verdict = self.book.decide(vehicle.name, [self.grid.name[target]])
        self.outcome.decisions_us.append((time.thread_time() - began) * 1e6)
        if isinstance(verdict, Safe):
            vehicle.blocked_by, vehicle.told_to_wait = (), False
            return True
        vehicle.blocked_by, vehicle.asked_at, vehicle.told_to_wait = verdict.waits_for, self.outcome.turns, True
        if verdict.why is Why.WOULD_DEADLOCK:
            self.outcome.deadlocks_told += 1
            if not self._go_around(vehicle):
                self._draw_back(vehicle, verdict)
        return False

    def _go_around(self, vehicle: Vehicle) -> bool:
        """Another route off every cell that is taken, should one exist that is not much longer and can be driven."""
        if not vehicle.goals:
            return False
        held = {cell for cell in self.at if cell != vehicle.cell}
        old = vehicle.plan
        way = self.grid.way(vehicle.cell, vehicle.goals[0], held)
        if not way or way == old or len(way) > len(old) + DETOUR_CELLS:
            return False
        vehicle.plan, vehicle.drawn_back = way, False
        self._declare(vehicle)
        self.outcome.replans += 1
        return True

    def _draw_back(self, vehicle: Vehicle, verdict: Unsafe) -> None:
        if not verdict.retreat:
            return
        held = {cell for cell in self.at if cell != vehicle.cell}
        way = self.grid.way(vehicle.cell, self.grid.cell[verdict.retreat], held)
        if way:
            self._divert(vehicle, way)
            self.outcome.retreats += 1

    def _divert(self, vehicle: Vehicle, way: list[Cell]) -> None:
        vehicle.plan, vehicle.drawn_back, vehicle.rests = way, True, 0
        self._declare(vehicle)

    def _ask_to_yield(self) -> None:
        idle = [v.name for v in self.vehicles if not v.goals and not v.plan]
        by_name = {v.name: v for v in self.vehicles}
        began = time.thread_time()
        asked = self.book.yield_requests(idle)
        self.outcome.looks_us.append((time.thread_time() - began) * 1e6)
        for name, zone in asked:
            vehicle = by_name[name]
            way = self.grid.way(vehicle.cell, self.grid.cell[zone], {c for c in self.at if c != vehicle.cell})
            if way:
                self._divert(vehicle, way)
                self.outcome.yielded += 1


def read_map(text: str) -> Grid:
    rows = text.splitlines()
    return Grid(rows[rows.index("map") + 1 :])


def read_tasks(text: str) -> list[tuple[Cell, Cell]]:
    tasks = []
    for line in text.splitlines()[1:]:
        fields = line.split("\t") if "\t" in line else line.split()
        tasks.append(((int(fields[4]), int(fields[5])), (int(fields[6]), int(fields[7]))))
    return tasks


def collisions(vehicles: Iterable[Vehicle]) -> int:
    cells = [v.cell for v in vehicles]
    return len(cells) - len(set(cells))

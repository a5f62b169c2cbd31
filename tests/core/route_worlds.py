"""Small floors searched to the end: what `routes` decides is held against every way that things could go."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from coordinator.core.routes import RouteBook, Safe


@dataclass
class World:
    """Agents on a small graph. Each stands in one zone and moves along its route one zone at a time."""

    zones: dict[str, int]
    ways: set[tuple[str, str]]
    at: dict[str, str]
    routes: dict[str, tuple[str, ...]]
    standing: dict[str, str] = field(default_factory=dict)

    def book(self) -> RouteBook:
        book = RouteBook(self.zones.items(), sorted(self.ways))
        for agent, zone in sorted({**self.at, **self.standing}.items()):
            book.occupy(zone, agent)
        for agent, route in sorted(self.routes.items()):
            book.declare(agent, route)
        return book

    def story(self) -> str:
        lines = [f"zones {self.zones}", f"ways {sorted(self.ways)}"]
        lines += [f"{a} at {z}, then {' '.join(self.routes.get(a, ()))}" for a, z in sorted(self.at.items())]
        return "\n".join([*lines, *(f"{a} stands in {z}" for a, z in sorted(self.standing.items()))])


Positions = tuple[tuple[str, int], ...]
"""Each agent's zone and how much of its route it has behind it, in the order of names."""


class Explorer:
    """Every state that the agents of a world can reach, each moving along its route; the arrived may go anywhere free.

    Going anywhere is what yielding allows at most: an arrived agent goes only where no unfinished one is bound.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.names = sorted(world.at)
        self.beside: dict[str, list[str]] = {zone: [] for zone in world.zones}
        for start, goal in sorted(world.ways):
            self.beside[start].append(goal)

    def all_can_arrive(self, start: Positions, among: frozenset[str]) -> bool:
        """Whether some schedule brings all of `among` to the ends of their routes, not all at once perhaps."""
        goal = {agent: len(self.world.routes[agent]) for agent in self.names}
        first = (start, frozenset(a for a, (_, done) in zip(self.names, start, strict=True) if done == goal[a]))
        seen, edge = {first}, deque([first])
        while edge:
            positions, arrived = edge.popleft()
            if among <= arrived:
                return True
            for after in self.moves(positions):
                here = arrived | {a for a, (_, done) in zip(self.names, after, strict=True) if done == goal[a]}
                if (after, here) not in seen:
                    seen.add((after, here))
                    edge.append((after, here))
        return False

    def moves(self, positions: Positions) -> Iterator[Positions]:
        count = dict.fromkeys(self.world.zones, 0)
        for zone in [*(zone for zone, _ in positions), *self.world.standing.values()]:
            count[zone] += 1
        for place, (agent, (zone, done)) in enumerate(zip(self.names, positions, strict=True)):
            route = self.world.routes[agent]
            if done < len(route):
                steps = [(route[done], done + 1)]
            else:
                steps = [(beside, done) for beside in self.beside[zone]]
            for there, then in steps:
                if count[there] < self.world.zones[there]:
                    yield (*positions[:place], (there, then), *positions[place + 1 :])


def random_world(rng: random.Random) -> World:
    """A few zones in a connected graph, mostly of capacity 1, and two to four agents with routes along its ways."""
    names = [f"z{n}" for n in range(rng.randint(4, 8))]
    zones = {name: 2 if rng.random() < 0.2 else 1 for name in names}
    ways: set[tuple[str, str]] = set()
    for n in range(1, len(names)):
        other = names[n - 1] if rng.random() < 0.6 else names[rng.randrange(n)]
        ways |= {(names[n], other), (other, names[n])}
    for _ in range(rng.randint(0, 2)):
        a, b = rng.sample(names, 2)
        ways |= {(a, b), (b, a)}
    starts = rng.sample(names, rng.randint(2, min(4, len(names) - 1)))
    agents = [f"A{n}" for n in range(1, len(starts) + 1)]
    standing = {}
    if len(agents) > 2 and rng.random() < 0.2:
        standing = {agents.pop(): starts.pop()}
    at = dict(zip(agents, starts, strict=True))
    routes = {agent: _walk(rng, ways, zone) for agent, zone in at.items()}
    ends: set[str] = set()
    for agent, route in routes.items():
        while route and route[-1] in ends:  # who comes second to a common end waits for the first to be sent elsewhere
            route = route[:-1]
        routes[agent] = route
        ends.add(route[-1] if route else at[agent])
    return World(zones, ways, at, routes, standing)


def _walk(rng: random.Random, ways: set[tuple[str, str]], start: str) -> tuple[str, ...]:
    route: list[str] = []
    here, seen = start, {start}
    for _ in range(rng.randint(1, 6)):
        onward = sorted(there for a, there in ways if a == here and there not in seen)
        if not onward:
            break
        here = rng.choice(onward)
        seen.add(here)
        route.append(here)
    return tuple(route)


@dataclass
class Tally:
    """How many steps were truly safe, and how many of these were granted."""

    safe: int = 0
    granted: int = 0
    steps: int = 0
    yields: int = 0
    promised: int = 0
    possible: int = 0


class Game:
    """A world played by granted steps alone."""

    def __init__(self, world: World, rng: random.Random, tally: Tally) -> None:
        self.world, self.rng, self.tally = world, rng, tally
        self.book, self.explorer = world.book(), Explorer(world)
        self.where = dict(world.at)
        self.done = dict.fromkeys(world.at, 0)
        self.promised = self._promised()

    def play(self) -> str:
        """An account of the first thing that went wrong, or nothing."""
        self.tally.possible += self.explorer.all_can_arrive(self.now(), frozenset(self.world.at))
        self.tally.promised += self.promised == frozenset(self.world.at)
        if not self.explorer.all_can_arrive(self.now(), self.promised):
            return self.story("at the start they cannot all arrive")
        for _ in range(60):
            moving = [a for a in sorted(self.where) if self.done[a] < len(self.world.routes[a])]
            self.rng.shuffle(moving)
            wrong = self._step(moving)
            if wrong is None:
                if set(moving) & self.promised:
                    return self.story("nobody moves any more")
                return ""
            if wrong:
                return self.story(wrong)
        return self.story("it never ends")

    def now(self, moved: str = "") -> Positions:
        """Where all are; `moved` one step further on."""
        return tuple(
            (self.world.routes[a][self.done[a]], self.done[a] + 1) if a == moved else (self.where[a], self.done[a])
            for a in self.explorer.names
        )

    def story(self, what: str) -> str:
        return f"{what}: {sorted(self.promised)} are promised; done {self.done}, at {self.where}\n{self.world.story()}"

    def _promised(self) -> frozenset[str]:
        arrived = {a for a in self.where if self.done[a] == len(self.world.routes[a])}
        return frozenset(a for a in self.where if a in arrived or self.book.can_finish(a))

    def _step(self, moving: list[str]) -> str | None:
        """One granted step, or one yield: an account when it was wrong, None when nobody can do anything."""
        before = self.explorer.all_can_arrive(self.now(), self.promised)
        for agent in moving:
            zone = self.world.routes[agent][self.done[agent]]
            verdict = self.book.decide(agent, [zone])
            count = [*self.where.values(), *self.world.standing.values()].count(zone)
            if count >= self.world.zones[zone]:
                if isinstance(verdict, Safe):
                    return f"{agent} was granted {zone}, which is full"
                continue
            if before and agent in self.promised:
                self.tally.safe += self.explorer.all_can_arrive(self.now(agent), self.promised)
                self.tally.granted += isinstance(verdict, Safe)
            if isinstance(verdict, Safe):
                self._go(agent, zone)
                self.done[agent] += 1
                self.tally.steps += 1
                return self._still(f"{agent} was granted {zone}")
        return self._yield()

    def _yield(self) -> str | None:
        idle = [a for a in self.where if self.done[a] == len(self.world.routes[a])]
        for agent, refuge in self.book.yield_requests(idle):
            way = self._free_way(self.where[agent], refuge)
            if way is None:
                return f"{agent} was asked to yield to {refuge}, where it cannot go"
            self.book.declare(agent, way)
            for zone in way:
                if not isinstance(self.book.decide(agent, [zone]), Safe):
                    return f"{agent} was asked to yield to {refuge} and refused {zone} on the way"
                self._go(agent, zone)
            self.tally.yields += 1
            return self._still(f"{agent} yielded to {refuge}")
        return None

    def _still(self, what: str) -> str:
        if not self.explorer.all_can_arrive(self.now(), self.promised):
            return f"{what}, and then they cannot all arrive"
        self.promised |= self._promised()
        return "" if self.explorer.all_can_arrive(self.now(), self.promised) else f"{what}; promised too much"

    def _go(self, agent: str, zone: str) -> None:
        self.book.occupy(zone, agent)
        self.book.vacate(self.where[agent], agent)
        self.where[agent] = zone

    def _free_way(self, start: str, goal: str) -> list[str] | None:
        taken = [*self.where.values(), *self.world.standing.values()]
        came, edge = {start: ""}, deque([start])
        while edge:
            here = edge.popleft()
            if here == goal:
                way = []
                while here != start:
                    way.append(here)
                    here = came[here]
                return way[::-1]
            for there in self.explorer.beside[here]:
                if there not in came and taken.count(there) < self.world.zones[there]:
                    came[there] = here
                    edge.append(there)
        return None

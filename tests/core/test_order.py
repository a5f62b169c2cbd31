"""The order that the route book goes by, whatever agents did: it can be driven, leg by leg, by all who are in it."""

from __future__ import annotations

import random

import pytest
from core.route_worlds import World, random_world

from coordinator.core.routes import RouteBook, Safe


class Play:
    """Agents that step, claim other ways, arrive, claim nothing, and come and go, all at random."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self.world, self.rng, self.book = world, rng, world.book()
        self.where = dict(world.at)
        self.left = {agent: list(world.routes[agent]) for agent in world.at}
        self.beside: dict[str, list[str]] = {zone: [] for zone in world.zones}
        for a, b in sorted(world.ways):
            self.beside[a].append(b)

    def do(self) -> str:
        agent = self.rng.choice(sorted(self.where))
        what = self.rng.choice(["step"] * 6 + ["claim", "claim", "nothing", "look", "finish"])
        if what == "step":
            return self._step(agent)
        if what == "claim":
            way = self._wander(self.where[agent])
            self.left[agent] = way
            self.book.declare(agent, way)
            return f"{agent} claims {way}"
        if what == "nothing":
            self.left[agent] = []
            self.book.declare(agent, [])
            return f"{agent} claims nothing"
        if what == "look":
            self.book.yield_requests(sorted(self.where))
            return "a look"
        return f"{agent} can finish: {self.book.can_finish(agent)}"

    def _step(self, agent: str) -> str:
        if not self.left[agent]:
            return ""
        zone = self.left[agent][0]
        verdict = self.book.decide(agent, [zone])
        if isinstance(verdict, Safe) and self.book.has_room(zone, agent):
            self.book.occupy(zone, agent)
            self.book.vacate(self.where[agent], agent)
            self.where[agent] = self.left[agent].pop(0)
            return f"{agent} drives into {zone}"
        return f"{agent} waits for {zone}"

    def _wander(self, zone: str) -> list[str]:
        way = []
        for _ in range(self.rng.randint(1, 5)):
            onward = [there for there in self.beside[zone] if there not in way]
            if not onward:
                break
            zone = self.rng.choice(onward)
            way.append(zone)
        return way


def undrivable(book: RouteBook) -> str:
    """The first leg of the known order that could not be driven, or whoever it promises and does not bring home."""
    tables, known = book._tables, book._known
    free, holds, arrived = list(tables.free), {}, 0
    for who, traveller in enumerate(tables.travellers):
        holds[who] = dict(traveller.held)
    for leg in known.legs:
        traveller, mine = tables.travellers[leg.who], holds[leg.who]
        through = leg.through & (traveller.need | leg.out)
        for zone in range(len(free)):
            if through >> zone & 1 and zone not in mine and free[zone] < 1:
                return f"{traveller.name} cannot pass {book._names[zone]} in {leg}"
        if leg.via >= 0:
            ends = {leg.via} if traveller.need >> leg.via & 1 else set(mine)
        else:
            ends = {leg.refuge} if leg.refuge >= 0 else set(traveller.keeps)
            arrived |= 1 << leg.who
        for zone in mine:
            free[zone] += mine[zone]
        holds[leg.who] = dict.fromkeys(ends, 1)
        for zone in ends:
            free[zone] -= 1
    missing = book._finishing & tables.travelling & ~arrived
    return f"travellers {missing:b} are promised and in no leg" if missing else ""


@pytest.mark.parametrize("hundred", range(5))
def test_the_known_order_can_be_driven_after_whatever_happened(hundred: int) -> None:
    for seed in range(hundred * 100, hundred * 100 + 100):
        rng = random.Random(seed)
        world = random_world(rng)
        play, story = Play(world, rng), [world.story()]
        for _ in range(60):
            story.append(play.do())
            wrong = "" if play.book._stale else undrivable(play.book)
            assert not wrong, f"seed {seed}: {wrong}\n" + "\n".join(story[:1] + story[-12:])

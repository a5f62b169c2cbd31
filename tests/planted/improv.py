"""Scenes without a script: random actions of agents, people, network and store over the real core.

Agents behave: they enter only what they hold, and release only what they left. People look before they clear, and
switch off what they tow away. Everything else is allowed to happen in any order.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from chaos.stories.crew import Gateway, live_grants
from chaos.stories.floors import row_floor
from chaos.stories.scene import Scene

FLOOR = "A@west B@west?holder C@east X*2@east"
ZONES = ("A", "B", "C", "X")
AGENTS = ("V1", "V2", "V3")


class Improv:
    """One improvised scene; `act` does one thing, or nothing when it makes no sense now."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.scene = Scene(row_floor(FLOOR, hold_max_ms=20_000))
        self.said: list[str] = []
        self.stops = 0
        self.processes = 0
        for agent in AGENTS:
            self.scene.hello(agent)
        self.actions: list[tuple[int, Callable[[str], None]]] = [
            (6, self.ask), (6, self.drive), (6, self.give_back), (2, self.extend), (2, self.give_up), (1, self.prove),
            (2, self.claim),
            (8, self.wait), (2, self.link), (1, self.kill), (2, self.stop), (4, self.reset), (4, self.clear),
            (1, self.crash), (2, self.hold_commits), (1, self.lose),
        ]  # fmt: skip

    def act(self) -> None:
        weights = [weight for weight, _ in self.actions]
        _, action = self.rng.choices(self.actions, weights)[0]
        agent = self.rng.choice(AGENTS)
        self.said.append(f"{action.__name__} {agent}")
        if self.scene.machine is None:
            self.scene.restart()
        elif action in (self.wait, self.link, self.stop, self.crash, self.hold_commits, self.lose) or self.alive(agent):
            action(agent)

    def alive(self, agent: str) -> bool:
        gateway = self.scene.gateways[agent]
        if gateway.core is not None:
            return True
        if not gateway.cut and self.rng.random() < 0.3:
            self.processes += 1
            self.scene.hello(agent, request_prefix=f"{agent.lower()}.{self.processes}")
        return False

    def gateway(self, agent: str) -> Gateway:
        return self.scene.gateways[agent]

    # -- agents ----------------------------------------------------------------------------------------------------

    def ask(self, agent: str) -> None:
        zones = self.rng.sample(ZONES, self.rng.choice((1, 1, 2)))
        self.scene.ask(agent, *zones, ms=self.rng.choice((1_000, 5_000, 20_000)), no_wait=self.rng.random() < 0.2)

    def claim(self, agent: str) -> None:
        """A way along the row from where it stands, and its first step; or none: it has arrived."""
        if self.gateway(agent).link is None:
            return
        inside = sorted(self.scene.vehicle(agent).inside)
        start = ZONES.index(inside[0]) if inside else 0
        goal = self.rng.randrange(len(ZONES))
        way = ZONES[start + 1 : goal + 1] if goal > start else tuple(reversed(ZONES[goal:start]))
        self.scene.claim(agent, *way)
        if way and not self.scene.has(agent, way[0]):
            self.scene.ask(agent, way[0], ms=20_000)

    def drive(self, agent: str) -> None:
        vehicle = self.scene.vehicle(agent)
        zones = sorted({z for held in live_grants(vehicle) for z in held.zones})
        if zones and not vehicle.core.latched:
            self.scene.drive(agent, self.rng.choice(zones))
            if self.rng.random() < 0.3:
                self.scene.go(agent)

    def give_back(self, agent: str) -> None:
        vehicle = self.scene.vehicle(agent)
        if not live_grants(vehicle) or vehicle.core.latched:
            return
        self.scene.drive_off(agent)
        self.scene.report(agent)
        self.scene.release(agent)

    def extend(self, agent: str) -> None:
        if live_grants(self.scene.vehicle(agent)):
            self.scene.extend(agent, self.rng.choice((1_000, 6_000)))

    def give_up(self, agent: str) -> None:
        if live_grants(self.scene.vehicle(agent)):
            self.scene.stand(agent)
            self.scene.give_up(agent, self.rng.choice(("abandon", "park", "standing")))

    def prove(self, agent: str) -> None:
        vehicle = self.scene.vehicle(agent)
        token = vehicle.core.highest_token
        if token and self.gateway(agent).link is not None and self.scene.committing:
            self.scene.prove(agent, token)

    # -- world and people --------------------------------------------------------------------------------------------

    def wait(self, agent: str) -> None:
        self.scene.wait(self.rng.choice((50, 300, 1_000, 3_000)))

    def link(self, agent: str) -> None:
        gateway = self.gateway(agent)
        if gateway.core is None:
            return
        if gateway.cut:
            self.scene.heal(agent)
        elif gateway.offline:
            self.scene.come_back(agent)
        elif self.rng.random() < 0.5:
            self.scene.cut(agent)
        else:
            self.scene.drop(agent)

    def kill(self, agent: str) -> None:
        self.scene.kill(agent)

    def stop(self, agent: str) -> None:
        self.stops += 1
        scope = self.rng.choice(({"floor": True}, {"zone": "A"}, {"stop_group": "east"}))
        self.scene.stop(f"s-{self.stops}", **scope)

    def reset(self, agent: str) -> None:
        machine = self.scene.machine
        active = [s.stop_id for s in machine.stops.active()] if machine is not None else []
        if active:
            self.scene.reset(self.rng.choice(active))

    def clear(self, agent: str) -> None:
        """A person walks to a zone, has whoever is in it or may come taken away, and clears it."""
        zone = self.rng.choice(ZONES)
        machine = self.scene.machine
        for unit in machine.units.of(zone) if machine is not None else ():
            owner = unit.agent_id
            if owner and unit.state.value == "BLOCKED" and self.rng.random() < 0.7:
                self.scene.stand(owner)
                self.scene.kill(owner)
                self.scene.tow(owner)
                self.scene.clear(zone, agent_id=owner)

    def crash(self, agent: str) -> None:
        self.scene.committing = True
        self.scene.crash()

    def hold_commits(self, agent: str) -> None:
        if self.scene.committing:
            self.scene.hold_commits()
        else:
            self.scene.let_commit()

    def lose(self, agent: str) -> None:
        self.scene.lose(applied=self.rng.random() < 0.5)


def improvise(seed: int, actions: int = 60) -> Improv:
    """A scene of so many actions; it breaks off when an invariant is broken."""
    improv = Improv(seed)
    for _ in range(actions):
        if improv.scene.broken:
            break
        improv.act()
    return improv

"""Whether everyone gets on once all is healed, and whether what is left at the end explains itself.

Two stages. First every robot must have moved on by several zones, with no stop active. Then the robots stand still, and
the ledger must say exactly what is on the floor: no waiter, no leftover, every occupant a body in its zone, every agent
explained in words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from coordinator.core import views
from coordinator.core.machine import Machine
from coordinator.core.model import UnitState

if TYPE_CHECKING:
    from chaos.sim.world import World

LOOK_MS = 500
HOPS = 3
"""Zones that every robot must get on by, unless it has arrived and wants nothing."""


class Liveness:
    """Looks twice a second."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.done = False
        self._hops: dict[str, int] = {}
        self._quiet = False

    def begin(self) -> None:
        self._hops = {r.agent_id: r.body.hops for r in self.world.robots}
        self._look()

    def _look(self) -> None:
        if self.done:
            return
        if not self.what_is_missing():
            if self._quiet:
                self.done = True
                return
            self._quiet = True
            for robot in self.world.robots:
                robot.quiet = True
        self.world.loop.after_ms(LOOK_MS, self._look)

    def what_is_missing(self) -> str:
        """In words; empty when nothing is."""
        runtime = self.world.leader().runtime
        if runtime is None or not runtime.leading:
            return "nobody leads"
        machine = runtime.machine
        active = [s.stop_id for s in machine.stops.active()]
        if active:
            details = "; ".join(f"{s} (unconfirmed: {self._unconfirmed(machine, s)})" for s in active)
            return f"active stops: {details}"
        missing = self._not_at_rest(machine) if self._quiet else self._not_moved()
        return "; ".join(missing + ([] if not missing else [self._explained(machine)]))

    def _unconfirmed(self, machine: Machine, stop_id: str) -> str:
        stop = machine.stops.get(stop_id)
        return ", ".join(machine.unconfirmed(stop)) if stop is not None else "?"

    def _not_moved(self) -> list[str]:
        return [
            f"{r.agent_id} moved on by {r.body.hops - self._hops[r.agent_id]} zones"
            for r in self.world.robots
            if r.body.hops - self._hops[r.agent_id] < HOPS and not r.driver.idle
        ]

    def _not_at_rest(self, machine: Machine) -> list[str]:
        found = [f"{w.agent_id} waits for {', '.join(w.zones)}" for w in machine.queue.in_order()]
        for unit in machine.units:
            if unit.state is UnitState.UNKNOWN:
                found.append(f"{unit.key} is unknown")
            elif unit.state is not UnitState.FREE:
                body = self.world.truth.bodies.get(unit.agent_id)
                if body is None or unit.zone not in body.inside:
                    found.append(f"{unit.key} is {unit.state} by {unit.agent_id}, which is not there")
                elif unit.state is UnitState.HELD:
                    found.append(f"{unit.agent_id} still holds {unit.key}")
        for robot in self.world.robots:
            if robot.body.moving or robot.body.between:
                found.append(f"{robot.agent_id} is under way")
            elif robot.body.zone is None:
                found.append(f"{robot.agent_id} is off the floor")
            said = views.explain(machine, robot.agent_id, machine.now_ms)
            if "not known here" in said or "is idle" in said:
                found.append(f"{robot.agent_id} is not explained: {said}")
        return found

    def _explained(self, machine: Machine) -> str:
        return " | ".join(
            f"{views.explain(machine, r.agent_id, machine.now_ms)} [body in {','.join(sorted(r.body.inside)) or '-'}]"
            for r in self.world.robots
        )

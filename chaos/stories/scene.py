"""The verbs of a scene: what agents, people and the world do, each carried out until everything has come to rest.

Raises Mishap where a verb makes no sense (a release by one who holds nothing): a scene never guesses.
"""

from __future__ import annotations

from typing import Any

from zonelock.v1 import zone_service_pb2 as pb
from zonelock_client.session_core import HeldGrant
from zonelock_client.session_core.agent import Pending

from chaos.stories.crew import Gateway, Vehicle, live_grants
from chaos.stories.stage import Mishap, Stage

CAUSES = {
    "abandon": pb.ABANDON_CAUSE_ABANDONED,
    "park": pb.ABANDON_CAUSE_PARKED,
    "standing": pb.ABANDON_CAUSE_STANDING,
}


class Scene(Stage):
    """A stage with verbs. Agents are named; each has a gateway of its own unless `via` names another."""

    # -- coming and going ------------------------------------------------------------------------------------------

    def hello(self, agent: str, *, via: str = "", **spec: Any) -> Vehicle:
        """An agent begins (or begins anew, in a new process, with the same or another secret)."""
        name = via or agent
        inside: set[str] = set()
        for old in self.gateways.values():
            before = old.agents.get(agent)
            if before is not None:
                old.stand(self, before)  # a machine whose control starts stands
                inside = before.inside
                del old.agents[agent]
        gateway = self.gateways.get(name)
        if gateway is None or gateway.core is None or not gateway.agents:
            gateway = self.gateways[name] = Gateway(name, self.now_ms)
        vehicle = gateway.add(self, agent, **spec)
        vehicle.inside = inside
        self.settle()
        return vehicle

    def vehicle(self, agent: str) -> Vehicle:
        return self.gateway_of(agent).agents[agent]

    def holding(self, agent: str, zone: str = "") -> HeldGrant:
        """The newest live grant of the agent (that has the zone)."""
        grants = [h for h in live_grants(self.vehicle(agent)) if not zone or zone in h.zones]
        if not grants:
            raise Mishap(f"{agent} holds no live grant{f' of {zone}' if zone else ''}")
        return grants[-1]

    # -- asking and giving back ------------------------------------------------------------------------------------

    def ask(self, agent: str, *zones: str, ms: int = 10_000, priority: int = 0, no_wait: bool = False) -> str:
        request_id = self.vehicle(agent).core.ask(zones, ms, priority=priority, no_wait=no_wait)
        self.settle()
        return request_id

    def ask_again(self, agent: str, request_id: str, *zones: str, ms: int = 10_000) -> None:
        """Repeats a request id as a client may that lost the answer (or its memory)."""
        vehicle = self.vehicle(agent)
        vehicle.core.asks.pop(request_id, None)
        wanted, counter = request_id, vehicle.core._requests
        vehicle.core._requests = int(wanted.rpartition("-")[2]) - 1
        vehicle.core.ask(zones, ms)
        vehicle.core._requests = counter
        self.settle()

    def claim(self, agent: str, *zones: str) -> None:
        """Declares the rest of the agent's route; no zones: it has arrived."""
        self._say(agent, pb.Operation(agent_id=agent, claim=pb.Claim(zones=zones)))

    def _say(self, agent: str, operation: pb.Operation) -> None:
        """An operation that the session core has no record of."""
        if self.gateway_of(agent).link is None:
            raise Mishap(f"{agent} has no stream")
        self.vehicle(agent).core.queue(Pending(operation))
        self.settle()

    def cancel(self, agent: str) -> None:
        for request_id in sorted(self.vehicle(agent).core.asks):
            self.vehicle(agent).core.cancel(request_id)
        self.settle()

    def release(self, agent: str, *zones: str, held: HeldGrant | None = None) -> None:
        core = self.vehicle(agent).core
        core.release(held or self.holding(agent, zones[0] if zones else ""), zones)
        self.settle()

    def give_up(self, agent: str, how: str = "abandon") -> None:
        self.vehicle(agent).core.abandon(self.holding(agent), CAUSES[how])
        self.settle()

    def extend(self, agent: str, ms: int) -> None:
        self.report(agent)
        self.vehicle(agent).core.extend(self.holding(agent), ms)
        self.settle()

    def prove(self, agent: str, token: int, *, inside: set[str] | None = None) -> None:
        """Asks to prove that the zones of an ended grant are empty, and reports as often as it is told to."""
        self._say(agent, pb.Operation(agent_id=agent, prove_vacancy=pb.ProveVacancy(token=token)))
        challenge = next((c for c in reversed(self.challenges) if c.token == token), None)
        for _ in range(challenge.samples if challenge is not None else 0):
            self.report(agent, inside=inside, nonce=challenge.nonce if challenge is not None else 0)
            self.wait(challenge.spacing_ms if challenge is not None else 0)

    def has(self, agent: str, zone: str) -> bool:
        """Whether the agent has a live grant of the zone."""
        return any(zone in held.zones for held in live_grants(self.vehicle(agent)))

    def report(self, agent: str, *, inside: set[str] | None = None, nonce: int = 0) -> None:
        gateway = self.gateway_of(agent)
        gateway.report(self, gateway.agents[agent], inside=inside, nonce=nonce)
        self.settle()

    def acknowledge(self, agent: str) -> None:
        """Somebody confirms that a machine stands which did not confirm it by itself."""
        core = self.vehicle(agent).core
        core.acknowledge_stops(tuple(sorted(core.latched)))
        self.settle()

    # -- moving ----------------------------------------------------------------------------------------------------

    def go(self, agent: str) -> None:
        gateway = self.gateway_of(agent)
        gateway.go(self, gateway.agents[agent])

    def stand(self, agent: str) -> None:
        gateway = self.gateway_of(agent)
        gateway.stand(self, gateway.agents[agent])

    def enter(self, agent: str, zone: str, *, by: str | None = None) -> None:
        gateway = self.gateway_of(agent)
        gateway.enter(self, gateway.agents[agent], zone, by=by)

    def leave(self, agent: str, zone: str) -> None:
        gateway = self.gateway_of(agent)
        gateway.leave(self, gateway.agents[agent], zone)

    def drive(self, agent: str, to: str) -> None:
        """Into a zone, out of those that it is in, and to a standstill."""
        before = sorted(self.vehicle(agent).inside - {to})
        self.go(agent)
        self.enter(agent, to)
        for zone in before:
            self.leave(agent, zone)
        self.stand(agent)

    def drive_off(self, agent: str) -> None:
        """Out of every zone: off the floor."""
        self.go(agent)
        for zone in sorted(self.vehicle(agent).inside):
            self.leave(agent, zone)
        self.stand(agent)

    def tow(self, agent: str) -> None:
        """People take the machine away."""
        self.vehicle(agent).inside.clear()
        self.history.add(self.now_ms, "floor", "body", agent=agent, what="removed", by="people")

    # -- the network and the coordinator ---------------------------------------------------------------------------

    def cut(self, name: str) -> None:
        """Nothing passes between this gateway and the coordinator; neither side is told."""
        self.gateways[name].cut = True
        self.history.add(self.now_ms, "nemesis", "fault", what="cut", target=name)

    def delay_next_answer(self, name: str, ms: int) -> None:
        """What the coordinator says next reaches this gateway only after `ms`; what it says itself arrives at once."""
        self.gateways[name].deaf_until = self.now_ms + ms

    def heal(self, name: str) -> None:
        self.gateways[name].cut = False
        self.history.add(self.now_ms, "nemesis", "fault", what="heal", target=name)
        self.settle()

    def drop(self, name: str) -> None:
        """The stream breaks, both sides notice, and the gateway stays away until `come_back`."""
        gateway = self.gateways[name]
        gateway.offline = True
        self.close_stream(gateway)
        self.settle()

    def come_back(self, name: str) -> None:
        self.gateways[name].offline = False
        self.settle()

    def kill(self, name: str) -> None:
        self.gateways[name].kill(self)
        self.settle()

    def restart(self) -> None:
        """A coordinator process begins and takes the ledger over; its store commits."""
        self.committing = True
        self.history.add(self.now_ms, "c1", "restart", coord="c1")
        self.take_over()
        self.settle()

    def hold_commits(self) -> None:
        """The store takes its time: what is decided from here on is not durable yet."""
        self.committing = False

    def let_commit(self) -> None:
        self.committing = True
        if self.machine is not None:
            self.commit()
        self.settle()

    def lose(self, *, applied: bool) -> None:
        self.committing = True
        self.lose_commit(applied=applied)
        self.settle()

"""One run: everything of a plan put together, driven through the safety phase and the liveness phase, and judged.

The safety phase lets faults strike and asks only that no promise is broken. Then all faults are healed, and within the
plan's bound every robot must get on, every stop be reset, every leftover be tidied; at the end the machines stand still
and whatever the ledger still says must be explained by what is on the floor.
"""

from __future__ import annotations

import gc
import logging
import random
from dataclasses import dataclass, field
from typing import Any

from chaos.history import History, Line
from chaos.recording import floor_fields
from chaos.sim import floors, seams
from chaos.sim.bodies import Body
from chaos.sim.coordinators import SimCoordinator, machine_maker
from chaos.sim.etcd import SimEtcd
from chaos.sim.etcd_client import EtcdPath, client_maker
from chaos.sim.liveness import Liveness
from chaos.sim.loop import NS_PER_MS, VirtualLoop, current_process
from chaos.sim.misuse import Misuse
from chaos.sim.nemesis import Nemesis
from chaos.sim.network import Network
from chaos.sim.operators import SimOperator
from chaos.sim.plan import RHO_PPM, Plan
from chaos.sim.robots import Robot
from chaos.sim.transport import Transport
from chaos.sim.truth import Truth
from chaos.sim.wire import WireRecord
from coordinator.core.model import Timing

MAX_VIOLATIONS = 5
LEADER = b"zonelock/leader"
SILENCED = ("zonelock", "coordinator", "asyncio")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to. `violations` is empty when every promise was kept."""

    plan: Plan
    violations: tuple[str, ...]
    digest: str
    history: History
    simulated_ms: int
    counts: dict[str, int] = field(default_factory=dict)


class _OpenHistory(History):
    """A history that hears nothing more once the run is over: coroutines that are being closed have last words."""

    def __init__(self, world: World) -> None:
        self._world = world
        super().__init__(origin="sim", seed=world.plan.seed, validate=False)

    def add(self, t: int, src: str, kind: str, **fields: Any) -> Line:
        if self._world.over:
            return Line(t, src, kind, fields)
        return super().add(t, src, kind, **fields)


class World:
    """Everything of one run."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.loop = VirtualLoop()
        self.over = False
        self.history = _OpenHistory(self)
        self.violations: list[str] = []
        self.faults = self.events = self.commits = self.uncertain = self.takeovers = 0
        self.floor = floors.floor_of(plan.shape)
        self.capacities = floors.capacities(plan.shape)
        self.timing = Timing(rho_ppm=RHO_PPM)
        self.network = Network(self.loop, self.chance, plan.delay_us)
        self.transport = Transport(self.loop, self.network)
        self.etcd = SimEtcd(self.loop)
        self.truth = Truth(self.capacities, self.violate)
        self.etcd.on_change.append(self.truth.on_change)
        wire = WireRecord(self.history, self.loop, self.truth)
        self.transport.on_response, self.transport.on_request = wire.on_response, wire.on_request
        self.coordinators = [
            SimCoordinator(self, f"c{i + 1}", self._path(f"c{i + 1}")) for i in range(plan.coordinators)
        ]
        self.robots = [Robot(self, name, self._body(name, zone)) for name, zone, _ in plan.robots]
        self.operator = SimOperator(self)
        self.misuse = Misuse(self)
        self.transport.on_write = self.misuse.on_write
        self.nemesis = Nemesis(self)
        self.liveness = Liveness(self)

    # -- what its parts ask ----------------------------------------------------------------------------------------

    def chance(self, concern: str) -> random.Random:
        """A stream of chance of its own for each concern, so that leaving one out changes no other."""
        return random.Random(f"{self.plan.seed} {concern}")

    def rate_ppm(self, rng: random.Random) -> int:
        """A clock's rate error, within rho; the extremes are likelier than chance would have them."""
        return rng.choice((0, RHO_PPM, -RHO_PPM, rng.randint(-RHO_PPM, RHO_PPM)))

    def targets_for(self, who: str) -> str:
        """Every coordinator, beginning anywhere."""
        names = [c.name for c in self.coordinators]
        self.chance(f"targets {who}").shuffle(names)
        return ",".join(f"{name}:7600" for name in names)

    def coordinator(self, name: str) -> SimCoordinator:
        return next(c for c in self.coordinators if c.name == name)

    def robot(self, agent_id: str) -> Robot:
        return next(r for r in self.robots if r.agent_id == agent_id)

    def leader(self) -> SimCoordinator:
        """Who commits; else who has a ledger; else who runs."""
        return max(
            self.coordinators,
            key=lambda c: (
                c.runtime is not None and c.runtime.leading,
                c.runtime is not None and c.runtime.epoch,
                c.running,
            ),
        )

    def newest_epoch(self) -> int:
        """The fence as it stands."""
        leader = self.etcd.read(LEADER)
        return leader.mod_revision if leader is not None else 0

    def restart_robot(self, robot: Robot) -> None:
        if not robot.running:
            robot.start()

    def violate(self, what: str) -> None:
        if len(self.violations) < MAX_VIOLATIONS and not self.over:
            self.violations.append(f"[{self.loop.now_ms} ms] {what}")

    def note(self, kind: str, src: str, **fields: Any) -> None:
        self.history.add(self.loop.now_ms, src, kind, **fields)

    # -- building --------------------------------------------------------------------------------------------------

    def _path(self, name: str) -> EtcdPath:
        path = EtcdPath(self.loop, self.etcd, self.chance(f"etcd {name}"))
        path.on_uncertain = self._note_uncertain
        return path

    def _note_uncertain(self, how: str) -> None:
        self.uncertain += 1

    def _body(self, agent_id: str, zone: str) -> Body:
        body = Body(self.loop, agent_id, zone, self.plan.robot(agent_id).stop_ms)
        body.on_news = self._on_body
        self.truth.bodies[agent_id] = body
        return body

    def _on_body(self, body: Body, what: str, zone: str | None, by: str) -> None:
        self.note("body", "floor", agent=body.agent_id, what=what, zone=zone, by=by)
        self.truth.on_body(body, what, zone)
        if what == "start":
            agent = self.robot(body.agent_id).agent
            if agent is not None and agent.core.latched:
                self.violate(f"I5: {body.agent_id} starts to move while latched by {sorted(agent.core.latched)}")

    # -- running ---------------------------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """The whole run. Puts everything back as it was, whatever happens."""
        levels = [(logging.getLogger(name), logging.getLogger(name).level) for name in SILENCED]
        for logger, _ in levels:
            logger.setLevel(logging.CRITICAL + 1)
        collecting = gc.isenabled()
        gc.disable()
        client = client_maker(lambda: self.coordinator(current_process().name).path)
        try:
            with seams.installed(
                self.chance("product"), self.plan.weak_ids, self.transport.channel, client, machine_maker(self)
            ):
                self._play()
        finally:
            self.over = True
            self.loop.dispose()
            for logger, level in levels:
                logger.setLevel(level)
            if collecting:
                gc.enable()
        return self._outcome()

    def _play(self) -> None:
        plan = self.plan
        self.note("floor", "world", **floor_fields(self.floor.spec(), self.timing, lease_ms=plan.lease_ms))
        self.note("phase", "world", name="safety")
        for robot in self.robots:
            assert_zone = robot.body.zone
            self.note("body", "floor", agent=robot.agent_id, what="enter", zone=assert_zone, by="people")
        for coordinator in self.coordinators:
            coordinator.start()
        for robot in self.robots:
            self.loop.after_ms(self.chance(f"boot {robot.agent_id}").randint(0, 1_500), robot.start)
        self.operator.start()
        self.nemesis.schedule()
        self.loop.run_world(self._failed, plan.safety_ms * NS_PER_MS)
        if self._failed():
            return
        self.nemesis.heal()
        self.note("phase", "world", name="liveness", bound_ms=plan.liveness_ms)
        self.liveness.begin()
        limit_ns = (plan.safety_ms + plan.liveness_ms) * NS_PER_MS
        self.loop.run_world(lambda: self._failed() or self.liveness.done, limit_ns)
        if not self._failed() and not self.liveness.done:
            self.violate(f"I9: not everyone got on in {plan.liveness_ms} ms: {self.liveness.what_is_missing()}")
        self.note("phase", "world", name="end")

    def _failed(self) -> bool:
        if self.loop.failures:
            message, error = self.loop.failures[0]
            self.loop.failures.clear()
            self.violate(f"an exception nobody handled: {message}: {error!r}")
        return bool(self.violations)

    def _outcome(self) -> Outcome:
        counts = {
            "events": self.events,
            "commits": self.commits,
            "uncertain_commits": self.uncertain,
            "crashes": sum(c.crashes for c in self.coordinators),
            "takeovers": self.takeovers,
            "faults": self.faults,
            "misuses": self.misuse.made,
            "hops": sum(r.body.hops for r in self.robots),
            "tasks": sum(r.tasks_done for r in self.robots),
            "stops": len(self.truth.stops),
            "resets": self.operator.resets,
            "rescues": self.operator.rescues,
            "handles": self.loop.handles_run,
            "lines": len(self.history),
        }
        return Outcome(
            plan=self.plan,
            violations=tuple(self.violations),
            digest=self.history.digest,
            history=self.history,
            simulated_ms=self.loop.now_ms,
            counts=counts,
        )


def run(plan: Plan) -> Outcome:
    """One run of a plan."""
    return World(plan).run()

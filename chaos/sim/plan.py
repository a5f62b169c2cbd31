"""What a seed means: floor, machines, times, and every fault with its moment. All choices are made here, in advance.

A plan is data, so that a failing one can be cut down: without a fault, an agent or the last seconds it is still a plan,
and everything left in it happens as before, because each thing draws from a stream of chance of its own. Never imports
the product.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from enum import StrEnum

from chaos.sim.floors import SHAPES, capacities

RHO_PPM = 10_000
CALM_DELAY_US = (200, 2_000)
CALM_EXPECTED_MS = 8_000


class FaultKind(StrEnum):
    CRASH = "crash"
    POWER = "power"
    PAUSE = "pause"
    COMMIT = "commit"
    STOP_COMMIT = "stop_commit"
    ETCD_CUT = "etcd_cut"
    ETCD_SLOW = "etcd_slow"
    CUT = "cut"
    CUT_UP = "cut_up"
    CUT_DOWN = "cut_down"
    SLOW = "slow"
    LOSSY = "lossy"
    RADIO = "radio"
    REBOOT = "reboot"
    AGENT_PAUSE = "agent_pause"
    STUCK = "stuck"
    LATE_RELEASE = "late_release"
    CLONE = "clone"
    MISUSE = "misuse"
    OPERATOR_STOP = "operator_stop"
    AGENT_STOP = "agent_stop"
    EARLY_RELEASE = "early_release"
    FOREIGN_WRITE = "foreign_write"
    RESTORE = "restore"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong. What `target`, `value` and `how` mean depends on the kind, see `nemesis`."""

    at_ms: int
    kind: FaultKind
    target: str = ""
    lasts_ms: int = 0
    value: int = 0
    how: str = ""


@dataclass(frozen=True, slots=True)
class RobotPlan:
    """How one agent behaves."""

    stop_ms: int = 300
    expected_ms: int = 8_000
    patience_s: float = 4.0
    dwell_s: float = 0.5
    parks: float = 0.5
    auto_extend: bool = False
    says_standing: bool = True
    reckless: bool = False
    """Starts on whatever time is left, and lets its deadline stop it."""
    proves: bool = False
    """Tries to prove that it left zones of lost grants, where the floor lets holders do so."""
    blocks: float = 0.0
    """How often it drives inside `async with agent.hold(...)`, which its software sometimes leaves by an exception."""

    routes: bool = False
    """Claims its routes, keeps to them and waits as long as it was promised to arrive (see `routes`)."""
    reach: int = 1
    """Zones that it asks for at once, when it has claimed them."""
    idles_s: float = 0.0
    """How long it may stand at the end of its route before it thinks of another one."""

    def calm(self) -> RobotPlan:
        """The same robot with sound software and time enough."""
        return replace(self, reckless=False, blocks=0.0, expected_ms=max(self.expected_ms, CALM_EXPECTED_MS))


@dataclass(frozen=True, slots=True)
class Plan:
    """One run."""

    seed: int
    shape: str
    coordinators: int
    robots: tuple[tuple[str, str, RobotPlan], ...]
    """Agent id, the zone it begins in, its manners."""
    safety_ms: int
    liveness_ms: int
    lease_ms: int
    delay_us: tuple[int, int] = CALM_DELAY_US
    """One way between any two hosts, when nothing is wrong."""
    weak_ids: bool = False
    """Every agent makes up the same request ids, as images of one disk may."""
    faults: tuple[Fault, ...] = field(default=())

    def robot(self, agent_id: str) -> RobotPlan:
        return next(plan for name, _, plan in self.robots if name == agent_id)

    def without_fault(self, index: int) -> Plan:
        return replace(self, faults=self.faults[:index] + self.faults[index + 1 :])

    def without_robot(self, agent_id: str) -> Plan:
        robots = tuple(r for r in self.robots if r[0] != agent_id)
        return replace(self, robots=robots, faults=tuple(f for f in self.faults if f.target != agent_id))


# Kinds and how often they come, by weight.
_WEIGHTS = {
    FaultKind.CRASH: 110,
    FaultKind.POWER: 25,
    FaultKind.PAUSE: 60,
    FaultKind.COMMIT: 190,
    FaultKind.ETCD_CUT: 50,
    FaultKind.ETCD_SLOW: 30,
    FaultKind.CUT: 60,
    FaultKind.CUT_UP: 40,
    FaultKind.CUT_DOWN: 40,
    FaultKind.SLOW: 30,
    FaultKind.LOSSY: 30,
    FaultKind.RADIO: 60,
    FaultKind.REBOOT: 60,
    FaultKind.AGENT_PAUSE: 50,
    FaultKind.STUCK: 50,
    FaultKind.LATE_RELEASE: 30,
    FaultKind.CLONE: 20,
    FaultKind.MISUSE: 60,
    FaultKind.OPERATOR_STOP: 40,
    FaultKind.AGENT_STOP: 25,
    FaultKind.EARLY_RELEASE: 25,
    FaultKind.FOREIGN_WRITE: 8,
    FaultKind.RESTORE: 8,
}
_ANOMALIES = ("lost_answer", "lost_request", "late", "refused")
_MISTAKES = ("ask_anyway", "change_ask", "foreign_release", "repeat_ask", "repeat_release")


def plan_of(seed: int) -> Plan:
    """The plan of a seed."""
    rng = random.Random(f"plan {seed}")
    traffic = rng.random() < TRAFFIC
    shape = rng.choice(NARROW if traffic else SHAPES)
    zones = sorted(capacities(shape))
    count = rng.randint(2, 3) if shape in ("aisle", "street") else rng.randint(2, 5)
    starts = rng.sample(zones, count)
    manners = _claims_routes if traffic else _manners
    robots = tuple((f"agv{i + 1}", start, manners(rng)) for i, start in enumerate(starts))
    coordinators = rng.choice((1, 2, 2, 3))
    safety_ms = rng.randint(10_000, 32_000)
    hosts = tuple(f"c{i + 1}" for i in range(coordinators))
    calm = rng.random() < (0.3 if traffic else 0.05)
    faults = () if calm else _faults(rng, safety_ms, hosts, tuple(r[0] for r in robots), zones)
    return Plan(
        seed=seed,
        shape=shape,
        coordinators=coordinators,
        robots=robots,
        safety_ms=safety_ms,
        liveness_ms=150_000,
        lease_ms=2_000,
        delay_us=rng.choice((CALM_DELAY_US, CALM_DELAY_US, (5_000, 40_000), (50_000, 400_000))),
        weak_ids=rng.random() < 0.2,
        faults=faults,
    )


TRAFFIC = 0.25
"""The share of seeds in which every agent declares its routes, on floors where they meet."""
NARROW = ("aisle", "aisle", "ring", "rooms", "street")


def _claims_routes(rng: random.Random) -> RobotPlan:
    return replace(
        _manners(rng),
        expected_ms=rng.choice((6_000, 8_000, 15_000)),
        reckless=False,
        blocks=0.0,
        routes=True,
        reach=rng.choice((1, 2, 3)),
        idles_s=rng.choice((0.0, 1.0, 10.0, 600.0)),
    )


def _manners(rng: random.Random) -> RobotPlan:
    return RobotPlan(
        stop_ms=rng.choice((100, 300, 600)),
        expected_ms=rng.choice((2_400, 4_000, 6_000, 8_000, 15_000)),
        patience_s=rng.uniform(2.0, 6.0),
        dwell_s=rng.uniform(0.0, 1.5),
        parks=rng.choice((0.0, 0.3, 1.0)),
        auto_extend=rng.random() < 0.5,
        says_standing=rng.random() < 0.5,
        reckless=rng.random() < 0.4,
        proves=rng.random() < 0.5,
        blocks=rng.choice((0.0, 0.0, 0.5)),
        routes=rng.random() < 0.1,
        reach=rng.choice((1, 2)),
        idles_s=rng.choice((0.0, 3.0)),
    )


def _faults(
    rng: random.Random, safety_ms: int, hosts: tuple[str, ...], agents: tuple[str, ...], zones: list[str]
) -> tuple[Fault, ...]:
    # Some seeds are about one or two kinds of trouble only: what a mixture hides, repetition shows.
    kinds = [kind for kind, weight in _WEIGHTS.items() if weight]
    if rng.random() < 0.4:
        kinds = rng.sample(kinds, rng.randint(1, 3))
    weights = [_WEIGHTS[kind] for kind in kinds]
    count = rng.randint(1, 2 + safety_ms // 2_000)
    found = [
        _fault(rng, kind, rng.randint(2_000, safety_ms), hosts, agents, zones)
        for kind in rng.choices(kinds, weights, k=count)
    ]
    found += [_stop_in_trouble(rng, fault.at_ms) for fault in found if fault.kind in _STOPS and rng.random() < 0.9]
    return tuple(sorted(found, key=lambda f: (f.at_ms, f.kind, f.target)))


_STOPS = frozenset({FaultKind.OPERATOR_STOP, FaultKind.AGENT_STOP})


def _stop_in_trouble(rng: random.Random, at_ms: int) -> Fault:
    """A stop leaves before it is durable; what becomes of its commit is where that order is tried."""
    how = rng.choice(("lost_request", "lost_request", "lost_answer", "late"))
    return Fault(at_ms, FaultKind.STOP_COMMIT, "leader", 0, value=rng.choice((600, 1_500, 4_000)), how=how)


def _fault(
    rng: random.Random, kind: FaultKind, at_ms: int, hosts: tuple[str, ...], agents: tuple[str, ...], zones: list[str]
) -> Fault:
    host, agent, other = rng.choice(hosts), rng.choice(agents), rng.choice(hosts)
    lasts_ms = int(rng.choice((rng.uniform(50, 800), rng.uniform(500, 4_000), rng.uniform(3_000, 12_000))))
    if kind in _PEOPLE_AND_CHANCE:
        return _mishap(rng, kind, at_ms, agent, zones)
    match kind:
        case FaultKind.CRASH | FaultKind.POWER:
            target = rng.choice((host, "leader", "leader", "leader"))
            return Fault(at_ms, kind, target, int(rng.uniform(100, 6_000)), value=rng.randint(0, 40))
        case FaultKind.PAUSE:
            return Fault(at_ms, kind, rng.choice((host, "leader", "leader")), lasts_ms)
        case FaultKind.COMMIT:
            how = rng.choice(_ANOMALIES)
            # Just when its sender gives up and reads the ledger anew, or long after.
            late_ms = rng.choice((rng.randint(594, 608), rng.randint(594, 608), 650, 1_500, 4_000))
            return Fault(at_ms, kind, "leader", 0, value=late_ms, how=how)
        case FaultKind.ETCD_CUT | FaultKind.ETCD_SLOW:
            return Fault(at_ms, kind, rng.choice((host, "leader")), lasts_ms, value=rng.choice((50, 300, 900)))
        case FaultKind.RADIO | FaultKind.AGENT_PAUSE:
            return Fault(at_ms, kind, agent, lasts_ms)
        case _:
            return Fault(at_ms, kind, agent, lasts_ms, value=rng.choice((20, 100, 300)), how=other)


_PEOPLE_AND_CHANCE = frozenset(
    {
        FaultKind.REBOOT,
        FaultKind.CLONE,
        FaultKind.MISUSE,
        FaultKind.OPERATOR_STOP,
        FaultKind.AGENT_STOP,
        FaultKind.STUCK,
        FaultKind.LATE_RELEASE,
        FaultKind.EARLY_RELEASE,
        FaultKind.FOREIGN_WRITE,
        FaultKind.RESTORE,
    }
)


def _mishap(rng: random.Random, kind: FaultKind, at_ms: int, agent: str, zones: list[str]) -> Fault:
    match kind:
        case FaultKind.REBOOT:
            how = rng.choice(("keeps", "keeps", "forgets"))
            return Fault(at_ms, kind, agent, int(rng.uniform(200, 5_000)), value=rng.choice((0, 0, 3_000)), how=how)
        case FaultKind.CLONE:
            return Fault(at_ms, kind, agent, int(rng.uniform(1_000, 8_000)), how=rng.choice(zones))
        case FaultKind.MISUSE:
            return Fault(at_ms, kind, agent, int(rng.uniform(3_000, 20_000)), how=rng.choice(_MISTAKES))
        case FaultKind.OPERATOR_STOP | FaultKind.FOREIGN_WRITE:
            wide = () if kind is FaultKind.FOREIGN_WRITE else ("floor", "west", "east")
            return Fault(at_ms, kind, rng.choice((*wide, rng.choice(zones))))
        case FaultKind.AGENT_STOP:
            return Fault(at_ms, kind, agent, how=rng.choice(zones))
        case FaultKind.STUCK:
            return Fault(at_ms, kind, agent, int(rng.uniform(1_000, 15_000)))
        case FaultKind.RESTORE:
            return Fault(
                max(at_ms, 8_000), kind, "etcd", int(rng.uniform(300, 3_000)), value=rng.choice((3_000, 6_000))
            )
        case _:
            return Fault(at_ms, kind, agent, 0, value=rng.choice((500, 3_000, 9_000)))  # how late, where it matters

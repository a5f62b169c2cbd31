"""What a simulated run is asked to do, what it says while it goes, and what it reports at its end.

These are the values that `zonelock demo` and `zonelock sim` exchange with `run.run_sim`. The rule owned here: a run
is fully described by its options, its seed included, and each wrong option is refused by name, value and remedy
before any process starts. Never imports the SDK.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from zonelock_sim.incidents import Incident, IncidentKind

if TYPE_CHECKING:
    import grpc

MAX_AGENTS = 1_000
DEFAULT_AGENTS = 6
DEMO_AGENTS = 7
DEMO_LISTEN = "127.0.0.1:7600"
DEMO_WEB = "127.0.0.1:7680"
STORES = "memory, sqlite, sqlite:PATH, etcd, or etcd:HOST:PORT,..."


class SimError(Exception):
    """The run cannot start or go on; the message says what to try."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimOptions:
    """One simulated run.

    floor: a floor YAML or a Moving AI `.map`; None for the server's, or else the bundled machining floor.
    scenario: a Moving AI `.scen` whose pairs become transport orders; None: orders between stations, drawn by `seed`.
    agents: how many AGVs. Arms come from the floor and can be left out with `arms=False`.
    seconds: how long they drive; None until cancelled.
    store: for the coordinator that the run starts (`memory`, `sqlite`, `sqlite:PATH`, `etcd`, `etcd:HOST:PORT,...`);
        `sqlite` alone keeps its file and `etcd` alone its three members in a folder that goes with the run.
    server: `HOST:PORT[,...]` of coordinators that run already; then nothing is started and `store` is not used.
    credentials: TLS towards `server`; None for plain connections.
    gateway: all agents on one fleet stream, rather than a stream each.
    speed_mm_s: drive at this speed rather than the agent kind's.
    virtual: all in one process on virtual time, with the store in memory; without `seconds` it ends with the last task.
    history: the folder that this run writes its history to (`agents.jsonl`, and `coordinator.jsonl` of a coordinator
        that it starts), for `python -m chaos.check --merge`; not on virtual time.
    naive: vehicles lock the next cell and wait for it; they neither plan around, nor draw back, nor make way.
    """

    floor: Path | None = None
    scenario: Path | None = None
    aisles: bool = False
    agents: int = DEFAULT_AGENTS
    arms: bool = True
    seconds: float | None = None
    store: str = "memory"
    server: str | None = None
    history: Path | None = None
    credentials: grpc.ChannelCredentials | None = field(default=None, repr=False, compare=False)
    listen: str = "127.0.0.1:0"
    web: str = "127.0.0.1:0"
    fallback_ports: bool = False
    gateway: bool = False
    incidents: tuple[Incident, ...] = ()
    seed: int = 1
    speed_mm_s: int | None = None
    virtual: bool = False
    naive: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.agents <= MAX_AGENTS:
            raise SimError(f"agents {self.agents} is out of range; give 0 to {MAX_AGENTS}")
        if self.seconds is not None and self.seconds <= 0:
            raise SimError(f"seconds {self.seconds:g} must be above 0; leave it out to run until interrupted")
        if self.speed_mm_s is not None and self.speed_mm_s < 1:
            raise SimError(f"speed_mm_s {self.speed_mm_s} must be at least 1")
        if self.virtual and (self.server is not None or self.store != "memory"):
            given = f"server {self.server!r}" if self.server is not None else f"store {self.store!r}"
            raise SimError(
                f"{given} has no place in a virtual run, whose coordinator and store are its own; leave it out"
            )
        if self.virtual and self.seconds is None and self.scenario is None:
            raise SimError(
                "seconds is missing: a virtual run without a scenario never ends; "
                "add --seconds N for N virtual seconds, or a --scenario, whose last task ends it"
            )
        for incident in self.incidents if self.virtual else ():
            if incident.kind is not IncidentKind.LATE:
                raise SimError(
                    f"incident {incident}: a virtual run has no operator who would reset the stop that it leads to; "
                    "leave out --virtual, or try `late`"
                )
        if self.store not in ("memory", "sqlite", "etcd") and not self.store.startswith(("sqlite:", "etcd:")):
            raise SimError(f"store {self.store!r} is none of {STORES}")


def demo_options(**changes: object) -> SimOptions:
    """The demo: the bundled machining floor, seven AGVs and its arms, the embedded store, until interrupted.

    `changes` are SimOptions fields. The default ports are taken when they are free, and others when they are not.
    """
    options = SimOptions(agents=DEMO_AGENTS, listen=DEMO_LISTEN, web=DEMO_WEB, fallback_ports=True)
    return replace(options, **changes)  # type: ignore[arg-type]  # the caller's keywords are SimOptions fields


@dataclass(frozen=True, slots=True)
class Progress:
    """One thing worth telling while a run goes.

    kind: "starting", "ready", "running" (once a second), "incident", "stop", "finding", "stopping".
    target and web_url are empty until "ready"; report is the count so far, from "running" on.
    """

    kind: str
    message: str
    elapsed_s: float = 0.0
    target: str = ""
    web_url: str = ""
    report: Report | None = None


Tell = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from ask to granted at the agent. `count` 0: nothing was measured and the others are 0."""

    count: int = 0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    max_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of a run.

    acquire_p50_ms and acquire_p99_ms are over every ask that was granted, time in the queue included: what an agent
    feels. `uncontended` is the same over asks that were granted without being queued, which is the coordinator's own
    share. collisions, over_capacity and off_floor come from bodies, not from what agents or the coordinator believe.
    """

    agents: int = 0
    arms: int = 0
    seconds: float = 0.0
    grants: int = 0
    tasks_done: int = 0
    collisions: int = 0
    over_capacity: int = 0
    off_floor: int = 0
    uncovered: int = 0
    stops: int = 0
    acquire_p50_ms: float = 0.0
    acquire_p99_ms: float = 0.0
    uncontended: Latency = field(default_factory=Latency)
    queued: Latency = field(default_factory=Latency)
    rejected: dict[str, int] = field(default_factory=dict)
    grants_lost: dict[str, int] = field(default_factory=dict)
    tasks_total: int = 0
    tasks_unreachable: int = 0
    deadlocks: int = 0
    frozen_at_s: float | None = None
    travel_ratio: float = 0.0
    virtual: bool = False
    naive: bool = False
    wall_seconds: float = 0.0
    yielded: int = 0
    replans: int = 0
    retreats: int = 0
    longest_wait_ms: int = 0
    distance_m: float = 0.0
    incidents: int = 0
    tick_late_p99_ms: float = 0.0
    store: str = ""
    gateway: bool = False
    seed: int = 0
    findings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        return asdict(self)

    def to_json(self) -> str:
        """One line, keys in the order above."""
        return json.dumps(asdict(self))


def latency(samples_ms: Collection[float]) -> Latency:
    """Nearest-rank percentiles."""
    if not samples_ms:
        return Latency()
    ordered = sorted(samples_ms)

    def rank(permille: int) -> float:
        return round(ordered[min(len(ordered) - 1, -(-len(ordered) * permille // 1_000) - 1)], 2)

    return Latency(len(ordered), rank(500), rank(990), round(ordered[-1], 2))

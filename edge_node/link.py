"""The coordinator's link: an edge node is an agent of its cell, and what its policy lets an anomaly do is done here.

Rules owned: a stop or a closure once decided is tried until a coordinator has confirmed it, and a repeat is the same
one (its id names the samples that it was found in). The same action on the same place is not repeated within
`rearm_s`: a person who has just reset a stop must be able to work. Without a coordinator findings go on to the sink;
nothing here holds the observers up.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import grpc
from zonelock_client import Agent, ArgumentError, Operator, RequestError, ZonelockError, connect

from edge_node.config import CoordinatorConfig
from edge_node.entries import Entry, Kind, incident
from edge_node.findings import Anomaly, Provenance
from edge_node.policy import ACTS, Action, permitted

log = logging.getLogger(__name__)

RETRY_FIRST_S, RETRY_MOST_S = 0.2, 5.0
CONNECT_TIMEOUT_S = 5.0
PENDING_MAX = 64
"""Actions that wait for a coordinator; a source adds one per action each `rearm_s`, all to the same effect."""

REASON_CHARS = 200
"""What the coordinator takes as a reason, or as an agent's activity."""

REPORT_S = 5.0
"""How often the session is asked whether it still lives."""

HOPELESS = frozenset({grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.PERMISSION_DENIED})
"""Answers that trying again will not change: the configuration names what the floor does not have."""


@dataclass(frozen=True, slots=True)
class Deed:
    """One action that was decided. `stop_id` names the samples, so that a repeat is the same stop."""

    action: Action
    source: str
    stop_id: str
    reason: str


@dataclass(slots=True)
class Link:
    """Decides by the policy and carries out. `say` hears of every action, done or refused."""

    config: CoordinatorConfig
    node: str
    say: Callable[[Entry], None]
    _open: dict[Deed, None] = field(default_factory=dict)
    """Decided, and neither done nor refused; outlives a failure of `run`, which takes them up again."""
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _done_at: dict[tuple[Action, str], float] = field(default_factory=dict)
    _agent: Agent | None = None
    _activity: str = "watching"
    connected: bool = False

    def take(self, anomaly: Anomaly) -> Action:
        """Judges one anomaly; returns at once. Says what it decided, if that is more than to log it."""
        wanted = self.config.action(anomaly.severity)
        action = permitted(wanted, anomaly, self.config.confidence_min)
        source = anomaly.provenance.source
        reason = words(anomaly)
        if action is Action.LOG:
            return action
        self._show(reason)
        if action not in ACTS:
            why = "" if action is wanted else f"; {wanted} was wanted, but {why_not(anomaly)}"
            log.warning("%s%s", reason, why)
            return action
        key, now = (action, source), time.monotonic()
        if now - self._done_at.get(key, -float("inf")) < self.config.rearm_s:
            return action
        self._done_at[key] = now
        p = anomaly.provenance
        deed = Deed(action, source, stop_id(self.node, p), reason)
        if len(self._open) >= PENDING_MAX:
            self._tell(deed, "dropped", f"{PENDING_MAX} actions wait for a coordinator already")
            return action
        self._open[deed] = None
        self._news.set()
        return action

    def give_up(self) -> None:
        """When the node ends: says what no coordinator has confirmed, so that a person can do it."""
        for deed in tuple(self._open):
            self._tell(deed, "given_up", f"the node ended before a coordinator confirmed it; {by_hand(self, deed)}")
        self._open.clear()

    async def run(self) -> None:
        """Keeps the session and carries out what was decided, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_session())
            tasks.create_task(self._act())

    async def _keep_session(self) -> None:
        retry_s = RETRY_FIRST_S
        while True:
            try:
                async with connect(
                    self.config.target,
                    agent_id=self.node,
                    agent_kind=self.config.agent_kind,
                    connect_timeout_s=CONNECT_TIMEOUT_S,
                ) as agent:
                    self._agent, self.connected, retry_s = agent, True, RETRY_FIRST_S
                    log.info("connected to %s as %s", self.config.target, self.node)
                    await self._check_zones()
                    while True:
                        # Raises once the session is over for good (another one in its name, say).
                        agent.report(activity=self._activity)
                        await asyncio.sleep(REPORT_S)
            except ZonelockError as error:
                log.warning("no session with %s: %s; tries again", self.config.target, error)
            finally:
                self._agent, self.connected = None, False
            await asyncio.sleep(retry_s)
            retry_s = min(2 * retry_s, RETRY_MOST_S)

    def _show(self, activity: str) -> None:
        """Lets people see it beside the agent's name."""
        self._activity = activity[:REASON_CHARS]
        if self._agent is not None:
            with contextlib.suppress(ZonelockError):
                self._agent.report(activity=self._activity)

    async def _act(self) -> None:
        """Each deed in a task of its own: a closure that cannot be made must not hold up a stop."""
        async with Operator(self.config.target, operator=self.node) as operator, asyncio.TaskGroup() as tasks:
            begun: set[Deed] = set()
            while True:
                self._news.clear()
                begun &= self._open.keys()
                for deed in [deed for deed in self._open if deed not in begun]:
                    begun.add(deed)
                    tasks.create_task(self._carry_out(operator, deed))
                await self._news.wait()

    async def _check_zones(self) -> None:
        """Says early what a stop or a closure would fail at."""
        if not self.config.zones:
            return
        try:
            async with Operator(self.config.target, operator=self.node) as operator:
                await operator.zones(*self.config.zones)
        except RequestError as error:
            if error.code in HOPELESS:
                log.error("coordinator.zones: %s", error)
                self.say(incident("node", "zones_wrong", str(error)))

    async def _carry_out(self, operator: Operator, deed: Deed) -> None:
        """Until it is done or refused."""
        await self._insist(operator, deed)
        self._open.pop(deed, None)

    async def _insist(self, operator: Operator, deed: Deed) -> None:
        retry_s, said = RETRY_FIRST_S, ""
        while True:
            try:
                if deed.action is Action.STOP:
                    zone = self.config.zones[0]
                    await operator.trip_stop(deed.reason, zone=zone, stop_id=deed.stop_id, agent_id=self.node)
                    self._tell(deed, "done", f"stop {deed.stop_id} over {zone}'s stop group")
                else:
                    await operator.close_zones(self.config.zones, deed.reason, agent_id=self.node)
                    self._tell(deed, "done", f"closed {', '.join(self.config.zones)}")
                return
            except ZonelockError as error:
                if isinstance(error, ArgumentError) or (isinstance(error, RequestError) and error.code in HOPELESS):
                    self._tell(deed, "refused", str(error))
                    return
                if str(error) != said:
                    said = str(error)
                    self._tell(deed, "waiting", said)
            await asyncio.sleep(retry_s)
            retry_s = min(2 * retry_s, RETRY_MOST_S)

    def _tell(self, deed: Deed, outcome: str, detail: str) -> None:
        log.warning("%s (%s): %s: %s", deed.action, deed.reason, outcome, detail)
        self.say(
            Entry(
                Kind.ACTION,
                deed.source,
                {
                    "action": deed.action,
                    "outcome": outcome,
                    "stop_id": deed.stop_id if deed.action is Action.STOP else "",
                    "reason": deed.reason,
                    "detail": detail,
                },
            )
        )


def stop_id(node: str, p: Provenance) -> str:
    """The same samples make the same stop. Readable at its front, and within what the coordinator takes as an id."""
    whole = f"{node}\n{p.source}\n{p.writer_epoch}\n{p.first_index}"
    return f"edge:{node[:24]}:{p.source[:16]}:{hashlib.sha256(whole.encode()).hexdigest()[:16]}"


def by_hand(link: Link, deed: Deed) -> str:
    if deed.action is Action.STOP:
        return f"by hand: zonelock stop --zone {link.config.zones[0]} --reason TEXT"
    return f"by hand: zonelock close {' '.join(link.config.zones)} --reason TEXT"


def words(anomaly: Anomaly) -> str:
    p = anomaly.provenance
    said = (
        f"{anomaly.severity.name} {p.source} {anomaly.channel}: {anomaly.measure} {anomaly.value:.3g}, "
        f"usual {anomaly.expected:.3g} ({p.rule.partition(' ')[0]}, confidence {anomaly.confidence:.2f})"
    )
    return said[:REASON_CHARS]


def why_not(anomaly: Anomaly) -> str:
    if anomaly.provenance.replayed:
        return "its samples are not a live machine's"
    return f"its confidence is {anomaly.confidence:.2f}"

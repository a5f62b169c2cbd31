"""The crew of a scene: gateways with the SDK's real session core, the machines that they speak for, and their links.

Rule: what is decided about a grant, a latch or a deadline is the SDK's decision; a machine moves only when the scene
says so and stands by itself when its permit ends. A permit is the deadline D that the gateway last passed on: the
machine's own controller obeys it, gateway or not.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import FieldDescriptor
from zonelock.v1 import zone_service_pb2 as pb
from zonelock_client.session_core import AgentCore, AgentSpec, HeldGrant, LinkState, SessionCore
from zonelock_client.session_core.values import (
    NS_PER_MS,
    AskEnded,
    GrantGone,
    LinkMoved,
    Notice,
    StopLatched,
    StopLifted,
    Welcomed,
)

if TYPE_CHECKING:
    from chaos.stories.stage import Stage

_FIELDS = frozenset(
    ("request_id", "token", "zones", "expected_ms", "stop_ids", "priority", "no_wait", "nonce", "standing_zones")
)


def operation_fields(operation: pb.Operation) -> dict[str, Any]:
    """An operation as the fields of a `send` line."""
    kind = operation.WhichOneof("kind") or "hello"
    body = getattr(operation, kind)
    found: dict[str, Any] = {"agent": operation.agent_id, "op": kind}
    for descriptor, value in body.ListFields():
        if descriptor.name in _FIELDS:
            many = descriptor.label == FieldDescriptor.LABEL_REPEATED if hasattr(descriptor, "label") else False
            found[descriptor.name] = list(value) if many or not isinstance(value, (str, int, bool)) else value
    if kind == "telemetry" and operation.telemetry.inside_known:
        found["inside"] = list(operation.telemetry.inside_zones)
    if kind == "abandon":
        found["cause"] = pb.AbandonCause.Name(operation.abandon.cause).removeprefix("ABANDON_CAUSE_")
    return found


@dataclass(eq=False, slots=True)
class Link:
    """One stream. While it is `cut` both sides go on writing and nothing arrives."""

    conn: int
    gateway: Gateway
    up: deque[pb.SessionRequest] = field(default_factory=deque)
    down: deque[pb.SessionResponse] = field(default_factory=deque)


@dataclass(slots=True)
class Vehicle:
    """A machine on the floor. `permits` are the deadlines that its controller was last given, by token."""

    agent_id: str
    core: AgentCore
    inside: set[str] = field(default_factory=set)
    moving: bool = False
    permits: dict[int, int] = field(default_factory=dict)
    deaf: bool = False
    """It stands by itself when told to, but nobody confirms it."""


class Gateway:
    """One process with the SDK in it, speaking for one machine or for many."""

    def __init__(self, name: str, now_ms: int) -> None:
        self.name = name
        self.core: SessionCore | None = SessionCore(now_ms * NS_PER_MS)
        self.agents: dict[str, Vehicle] = {}
        self.link: Link | None = None
        self.cut = False
        self.deaf_until = 0
        """Answers are on their way until then."""
        self.offline = False
        """The scene keeps it from opening streams."""

    # -- life ------------------------------------------------------------------------------------------------------

    def add(self, stage: Stage, agent_id: str, **spec: Any) -> Vehicle:
        core = self._alive()
        made = AgentSpec(
            vehicle_watchdog=True,
            agent_id=agent_id,
            agent_kind=spec.pop("agent_kind", "agv"),
            session_secret=spec.pop("secret", f"secret-of-{agent_id:>16}").encode()[:64],
            request_prefix=spec.pop("request_prefix", agent_id.lower()),
            **spec,
        )
        vehicle = Vehicle(agent_id, core.add_agent(made, stage.now_ms * NS_PER_MS))
        self.agents[agent_id] = vehicle
        stage.history.add(stage.now_ms, agent_id, "agent", agent=agent_id, what="boot", stop_ms=made.stop_ms)
        if self.link is None and not self.cut and not self.offline and stage.machine is not None:
            stage.open_stream(self)
        return vehicle

    def _alive(self) -> SessionCore:
        if self.core is None:
            raise ValueError(f"{self.name} was killed")
        return self.core

    def kill(self, stage: Stage) -> None:
        """The process ends. Its machines keep their permits, and nobody speaks for them."""
        for agent_id in sorted(self.agents):
            stage.history.add(stage.now_ms, agent_id, "agent", agent=agent_id, what="down")
        link, self.link, self.core = self.link, None, None
        if link is not None and not self.cut:
            stage.forget_stream(link)

    def stream_opened(self, stage: Stage, link: Link) -> None:
        self.link = link
        self._alive().stream_opened(stage.now_ms * NS_PER_MS)

    def stream_lost(self, stage: Stage) -> None:
        self.link = None
        if self.core is not None:
            self.core.stream_closed(stage.now_ms * NS_PER_MS)
            self._notice(stage)

    # -- time and traffic ------------------------------------------------------------------------------------------

    def due_ms(self) -> list[int]:
        at_ns = self.core.next_wakeup_ns() if self.core is not None else None
        times = [-(-at_ns // NS_PER_MS)] if at_ns is not None else []
        times.append(self.deaf_until)
        for vehicle in self.agents.values():
            if vehicle.moving:
                times.extend(vehicle.permits.values())
        return times

    def advance(self, stage: Stage) -> None:
        """The dead-man, then the SDK's own reckoning."""
        for vehicle in self.agents.values():
            over = [token for token, until in vehicle.permits.items() if until <= stage.now_ms]
            if vehicle.moving and over:
                stage.history.add(
                    stage.now_ms, vehicle.agent_id, "agent", agent=vehicle.agent_id, what="dead_man", token=min(over)
                )
                self._stands(stage, vehicle)
        if self.core is None:
            return
        self.core.advance(stage.now_ms * NS_PER_MS)
        self._notice(stage)
        if self.core.restart_because and self.link is not None:
            self.stream_lost(stage)

    def pump(self, stage: Stage) -> bool:
        """Moves what can move now; whether anything did."""
        if self.core is None:
            return False
        may_open = not (self.cut or self.offline) and stage.machine is not None
        if self.link is None and self.agents and may_open:
            stage.open_stream(self)
            return True
        link, moved = self.link, False
        if link is None:
            return False
        while (frame := self.core.next_frame(stage.now_ms * NS_PER_MS)) is not None:
            stage.sent(link, frame)
            link.up.append(frame)
            moved = True
        while link.up and not self.cut:
            stage.take_frame(link, link.up.popleft())
            moved = True
        while link.down and not self.cut and self.link is link and stage.now_ms >= self.deaf_until:
            self._receive(stage, link, link.down.popleft())
            moved = True
        return moved

    def _receive(self, stage: Stage, link: Link, response: pb.SessionResponse) -> None:
        for answer in response.answers:
            _record_answer(stage, link, answer)
        self._alive().receive(response, stage.now_ms * NS_PER_MS)
        self._notice(stage)

    def _notice(self, stage: Stage) -> None:
        for notice in self._alive().take_notices():
            vehicle = self.agents.get(notice.agent_id)
            if vehicle is not None:
                self._act(stage, vehicle, notice)
        for vehicle in self.agents.values():
            for token, held in vehicle.core.grants.items():
                if held.lost_reason is None and not held.returning:
                    vehicle.permits[token] = held.deadline_ns // NS_PER_MS
            known = vehicle.core.grants
            vehicle.permits = {t: d for t, d in vehicle.permits.items() if t in known and not known[t].returning}

    def _act(self, stage: Stage, vehicle: Vehicle, notice: Notice) -> None:
        agent = vehicle.agent_id
        match notice:
            case LinkMoved():
                stage.history.add(stage.now_ms, agent, "agent", agent=agent, what="link", link=notice.state.value)
                if notice.state is LinkState.LOST:
                    self._stands(stage, vehicle)
            case GrantGone():
                lost = notice.grant
                stage.history.add(
                    stage.now_ms,
                    agent,
                    "agent",
                    agent=agent,
                    what="lost",
                    token=lost.token,
                    reason=str(lost.lost_reason),
                )
                self._stands(stage, vehicle)
            case AskEnded(ending=ending) if hasattr(ending, "token"):
                stage.history.add(
                    stage.now_ms, agent, "agent", agent=agent, what="lost", token=ending.token, reason="late"
                )
            case StopLatched():
                stop_id = notice.stop.stop_id
                stage.history.add(stage.now_ms, agent, "agent", agent=agent, what="latched", stop_id=stop_id)
                self._stands(stage, vehicle)
                if not vehicle.deaf:
                    vehicle.core.acknowledge_stops((stop_id,))
            case StopLifted():
                stop_id = notice.stop.stop_id
                stage.history.add(stage.now_ms, agent, "agent", agent=agent, what="unlatched", stop_id=stop_id)
            case Welcomed(resumed=resumed):
                for held in resumed:
                    vehicle.permits[held.token] = held.deadline_ns // NS_PER_MS
            case _:
                pass

    def _stands(self, stage: Stage, vehicle: Vehicle) -> None:
        if vehicle.moving:
            vehicle.moving = False
            stage.history.add(stage.now_ms, "floor", "body", agent=vehicle.agent_id, what="stop")

    # -- what the scene makes a machine do -------------------------------------------------------------------------

    def go(self, stage: Stage, vehicle: Vehicle) -> None:
        if not vehicle.moving:
            vehicle.moving = True
            stage.history.add(stage.now_ms, "floor", "body", agent=vehicle.agent_id, what="start")

    def stand(self, stage: Stage, vehicle: Vehicle) -> None:
        self._stands(stage, vehicle)

    def enter(self, stage: Stage, vehicle: Vehicle, zone: str, *, by: str | None = None) -> None:
        vehicle.inside.add(zone)
        stage.history.add(stage.now_ms, "floor", "body", agent=vehicle.agent_id, what="enter", zone=zone, by=by)

    def leave(self, stage: Stage, vehicle: Vehicle, zone: str) -> None:
        vehicle.inside.discard(zone)
        stage.history.add(stage.now_ms, "floor", "body", agent=vehicle.agent_id, what="leave", zone=zone)

    def report(self, stage: Stage, vehicle: Vehicle, *, inside: set[str] | None = None, nonce: int = 0) -> None:
        said = vehicle.inside if inside is None else inside
        telemetry = pb.Telemetry(inside_zones=sorted(said), inside_known=True, nonce=nonce)
        vehicle.core.report(telemetry, stage.now_ms * NS_PER_MS)


def live_grants(vehicle: Vehicle) -> list[HeldGrant]:
    """Grants that the machine may act on, oldest first."""
    return [h for _, h in sorted(vehicle.core.grants.items()) if h.lost_reason is None and not h.returning]


def _record_answer(stage: Stage, link: Link, answer: pb.Answer) -> None:
    kind = answer.WhichOneof("kind") or ""
    body = getattr(answer, kind)
    fields: dict[str, Any] = {"agent": answer.agent_id, "answer": kind, "conn": link.conn}
    if answer.request_id:
        fields["request_id"] = answer.request_id
    if kind == "stop_raised":
        stage.history.add(
            stage.now_ms, answer.agent_id, "stop", agent=answer.agent_id, stop_id=body.stop.stop_id, conn=link.conn
        )
        return
    if kind == "stop_ended":
        fields["stop_id"] = body.stop.stop_id
    elif kind == "welcome":
        fields["grants"] = [_grant_fields(g) for g in body.grants]
    elif kind == "granted":
        fields |= _grant_fields(body)
    elif kind == "rejected":
        reason = pb.RejectReason.Name(body.reason).removeprefix("REJECT_REASON_")
        fields |= {"reason": reason, "zones": list(body.zones)}
        if body.retreat_zone:
            fields["retreat_zone"] = body.retreat_zone
        if reason == "WOULD_DEADLOCK":
            fields["x_message"] = body.message
    elif kind == "failed":
        fields["reason"] = body.reason
    elif kind == "queued":
        fields |= {"position": body.position, "blockers": [b.detail for b in body.blockers]}
    else:
        for name in ("token", "expected_ms", "remaining_ms", "echo_frame", "nonce", "samples", "can_finish", "to_zone"):
            if hasattr(body, name):
                fields[name] = getattr(body, name)
        if hasattr(body, "zones"):
            fields["zones"] = list(body.zones)
    stage.history.add(stage.now_ms, answer.agent_id, "deliver", **fields)


def _grant_fields(granted: pb.Granted) -> dict[str, Any]:
    return {
        "token": granted.token,
        "zones": list(granted.zones),
        "slots": list(granted.slots),
        "expected_ms": granted.expected_ms,
        "remaining_ms": granted.remaining_ms,
        "request_id": granted.request_id,
        "echo_frame": granted.echo_frame,
    }

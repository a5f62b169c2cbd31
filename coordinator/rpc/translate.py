"""From the core's answers to `zonelock.v1` messages: field by field, no decisions.

What only the wire knows (frame echoes, the fence) is handed in by the session. The other direction, from messages to
validated events, is `requests`; what watchers see is `picture`. Enum tables are built at import, so that a member
without a counterpart in the protocol fails at start and not in the middle of an emergency.
"""

from __future__ import annotations

from dataclasses import dataclass

from zonelock.v1 import floor_pb2 as fpb
from zonelock.v1 import zone_service_pb2 as zpb

from coordinator.core import effects as fx
from coordinator.core.model import ClosureRecord, StopCause, StopRecord, Timing
from coordinator.core.rejections import Rejection
from coordinator.floor import Floor
from coordinator.rpc.errors import Problem, problem

REJECT_REASONS = {r: zpb.RejectReason.Value(f"REJECT_REASON_{r.value}") for r in Rejection}
STOP_CAUSES = {c: fpb.StopCause.Value(f"STOP_CAUSE_{c.value}") for c in StopCause}
BLOCKER_KINDS = {
    kind: fpb.BlockerKind.Value(f"BLOCKER_KIND_{kind}")
    for kind in ("HELD", "BLOCKED", "UNKNOWN", "RESERVED", "STOPPED", "UNSAFE")
}


def floor_message(floor: Floor) -> fpb.Floor:
    """The whole map, geometry included."""
    return fpb.Floor(
        site=floor.site,
        version=floor.version,
        hash=floor.hash,
        width=floor.width,
        height=floor.height,
        cell_mm=floor.cell_mm,
        zones=[
            fpb.ZoneSpec(
                name=zone.name,
                capacity=zone.capacity,
                stop_group=zone.stop_group,
                hold_max_ms=zone.hold_max_ms,
                cells=[fpb.Cell(x=x, y=y) for x, y in zone.cells],
                vacancy=zone.vacancy,
            )
            for _, zone in sorted(floor.zones.items())
        ],
        areas=[fpb.AreaSpec(name=name, zones=sorted(zones)) for name, zones in sorted(floor.areas.items())],
        agent_kinds=[
            fpb.AgentKind(
                name=kind.name,
                speed_mm_s=kind.speed_mm_s,
                braking_mm_s2=kind.braking_mm_s2,
                length_mm=kind.length_mm,
                width_mm=kind.width_mm,
            )
            for _, kind in sorted(floor.agent_kinds.items())
        ],
        source_yaml=floor.to_yaml(),
    )


def closure_message(closure: ClosureRecord) -> fpb.Closure:
    return fpb.Closure(zone=closure.zone, closed_by=closure.closed_by, reason=closure.reason, agent_id=closure.agent_id)


def stop_message(stop: StopRecord) -> fpb.Stop:
    """A stop as its record says it; who acknowledged it is known to `picture` only."""
    return fpb.Stop(
        stop_id=stop.stop_id,
        cause=STOP_CAUSES[stop.cause],
        floor=stop.floor,
        stop_groups=stop.stop_groups,
        zones=stop.zones,
        tripped_by=stop.tripped_by,
        reason=stop.reason,
        active=stop.active,
        reset_by=stop.reset_by,
        reset_reason=stop.reset_reason,
        token=stop.token,
    )


def stop_record(stop: fpb.Stop) -> StopRecord:
    """The record that `stop_message` told of, as another coordinator sends it. Raises ValueError for what is none."""
    causes = {number: cause for cause, number in STOP_CAUSES.items()}
    if not stop.stop_id or stop.cause not in causes:
        raise ValueError(f"stop_id {stop.stop_id!r} with cause {stop.cause}: not a stop")
    return StopRecord(
        stop_id=stop.stop_id,
        cause=causes[stop.cause],
        floor=stop.floor,
        stop_groups=tuple(stop.stop_groups),
        zones=tuple(stop.zones),
        tripped_by=stop.tripped_by,
        reason=stop.reason,
        active=stop.active,
        reset_by=stop.reset_by,
        reset_reason=stop.reset_reason,
        token=stop.token,
    )


class _Raised:
    """The stop that was encoded last: a stop goes to a thousand streams in one moment."""

    stop: StopRecord | None = None
    encoded = b""


def _encoded_raised(agent_id: str, stop: StopRecord) -> bytes:
    """Fields that are encoded apart make one message when they are put together (protobuf.dev, "Encoding")."""
    if _Raised.stop is not stop:
        raised = zpb.Answer(stop_raised=zpb.StopRaised(stop=stop_message(stop)))
        _Raised.stop, _Raised.encoded = stop, raised.SerializeToString()
    return zpb.Answer(agent_id=agent_id).SerializeToString() + _Raised.encoded


def blocker_message(blocker: fx.Blocker) -> fpb.Blocker:
    return fpb.Blocker(
        zone=blocker.zone,
        kind=BLOCKER_KINDS[blocker.kind],
        agent_id=blocker.agent_id,
        since_ms=blocker.since_ms,
        detail=blocker.detail,
    )


def granted_message(granted: fx.Granted, echo_frame: int) -> zpb.Granted:
    return zpb.Granted(
        token=granted.token,
        zones=granted.zones,
        slots=granted.slots,
        expected_ms=granted.expected_ms,
        remaining_ms=granted.remaining_ms,
        echo_frame=echo_frame,
        request_id=granted.request_id,
    )


def rejected_message(rejected: fx.Rejected) -> zpb.Rejected:
    return zpb.Rejected(
        reason=REJECT_REASONS[rejected.reason],
        message=rejected.message,
        zones=rejected.zones,
        stop_ids=rejected.stop_ids,
        token=rejected.token,
        retreat_zone=rejected.retreat_zone,
    )


def released_message(released: fx.Released) -> zpb.Released:
    return zpb.Released(token=released.token, zones=released.zones)


def extended_message(extended: fx.Extended, echo_frame: int) -> zpb.Extended:
    return zpb.Extended(
        token=extended.token,
        expected_ms=extended.expected_ms,
        remaining_ms=extended.remaining_ms,
        echo_frame=echo_frame,
    )


def problem_of_failed(failed: fx.Failed) -> Problem:
    return problem(failed.refusal, failed.message, failed.metadata)


def failed_message(trouble: Problem) -> zpb.Failed:
    """The same code, reason, message and metadata that a status would carry."""
    return zpb.Failed(
        code=trouble.code,
        reason=trouble.reason,
        message=trouble.message,
        metadata=dict(trouble.metadata),
        retry_ms=trouble.retry_ms,
    )


@dataclass(frozen=True, slots=True)
class Greeting:
    """What every Welcome says alike: the floor and the times both sides go by."""

    site: str
    floor_hash: str
    floor_version: int
    timing: Timing

    def message(self, welcome: fx.Welcome, echo_frame: int) -> zpb.Welcome:
        return zpb.Welcome(
            site=self.site,
            floor_hash=self.floor_hash,
            floor_version=self.floor_version,
            incarnation=welcome.incarnation,
            heartbeat_ms=self.timing.heartbeat_ms,
            suspend_ms=self.timing.suspend_ms,
            lost_ms=self.timing.lost_ms,
            rho_ppm=self.timing.rho_ppm,
            grants=[granted_message(grant, echo_frame) for grant in welcome.grants],
            blocked_zones=welcome.blocked_zones,
            active_stops=[stop_message(stop) for stop in welcome.active_stops],
        )


def encoded_answer(send: fx.Send, echo_frame: int, greeting: Greeting) -> bytes:
    """One answer of a stream as an encoded `Answer`. Raises TypeError for answers that only unary calls get."""
    if type(send.answer) is fx.StopRaised and not send.request_id:
        return _encoded_raised(send.agent_id, send.answer.stop)
    return answer_message(send, echo_frame, greeting).SerializeToString()


def answer_message(send: fx.Send, echo_frame: int, greeting: Greeting) -> zpb.Answer:
    """One answer of a stream. Raises TypeError for answers that only unary calls get."""
    message = zpb.Answer(agent_id=send.agent_id, request_id=send.request_id)
    answer = send.answer
    match answer:
        case fx.Granted():
            message.granted.CopyFrom(granted_message(answer, echo_frame))
        case fx.Released():
            message.released.CopyFrom(released_message(answer))
        case fx.Queued():
            message.queued.position = answer.position
            message.queued.blockers.extend(blocker_message(b) for b in answer.blockers)
        case fx.Extended():
            message.extended.CopyFrom(extended_message(answer, echo_frame))
        case fx.Rejected():
            message.rejected.CopyFrom(rejected_message(answer))
        case fx.Failed():
            message.failed.CopyFrom(failed_message(problem_of_failed(answer)))
        case fx.Welcome():
            message.welcome.CopyFrom(greeting.message(answer, echo_frame))
        case fx.StopRaised():
            message.stop_raised.stop.CopyFrom(stop_message(answer.stop))
        case fx.StopEnded():
            message.stop_ended.stop.CopyFrom(stop_message(answer.stop))
        case _:
            _fill_notice(message, answer)
    return message


def _fill_notice(message: zpb.Answer, answer: fx.Answer) -> None:
    match answer:
        case fx.Cancelled():
            message.cancelled.SetInParent()
        case fx.Claimed():
            message.claimed.CopyFrom(zpb.Claimed(zones=answer.zones, can_finish=answer.can_finish))
        case fx.Yield():
            message.yield_to.CopyFrom(zpb.YieldTo(to_zone=answer.to_zone))
        case fx.Abandoned():
            message.abandoned.CopyFrom(zpb.Abandoned(token=answer.token, zones=answer.zones))
        case fx.Warned():
            message.warned.CopyFrom(zpb.Warned(token=answer.token, remaining_ms=answer.remaining_ms))
        case fx.Expired():
            message.expired.CopyFrom(zpb.Expired(token=answer.token, zones=answer.zones, stop_id=answer.stop_id))
        case fx.Revoked():
            message.revoked.CopyFrom(zpb.Revoked(token=answer.token, zones=answer.zones, message=answer.message))
        case fx.Challenged():
            challenged = zpb.Challenged(token=answer.token, nonce=answer.nonce)
            challenged.samples, challenged.spacing_ms = answer.samples, answer.spacing_ms
            message.challenged.CopyFrom(challenged)
        case _:
            raise TypeError(f"{type(answer).__name__} answers a unary call and cannot go out on a stream")

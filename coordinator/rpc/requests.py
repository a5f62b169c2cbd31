"""From `zonelock.v1` messages to the core's events: everything a client sends is bounded, typed and well formed after
this.

Only form is checked here (sizes, characters, ranges that hold for every floor); what it means is the core's. A refusal
names the field, its value and what would be right. Session secrets are hashed here and go no further. Times come from
the caller.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import NamedTuple

from zonelock.v1 import safety_service_pb2 as spb
from zonelock.v1 import zone_service_pb2 as zpb

from coordinator.core import events as ev
from coordinator.core.model import BlockCause, SeenUnit
from coordinator.core.rejections import Refusal
from coordinator.core.routing import MAX_CLAIM_ZONES
from coordinator.floor import Floor
from coordinator.rpc.errors import RequestRefused, bad_field, bad_size
from coordinator.rpc.limits import (
    MAX_CLEARED_NAMES,
    MAX_COORDINATE_MM,
    MAX_HASH_CHARS,
    MAX_HEADING_MDEG,
    MAX_ID_CHARS,
    MAX_INT,
    MAX_NAME_CHARS,
    MAX_NAMES,
    MAX_PERMILLE,
    MAX_SECRET_BYTES,
    MAX_TEXT_CHARS,
    MIN_SECRET_BYTES,
)

_ID = re.compile(rf"[A-Za-z0-9_.:-]{{1,{MAX_ID_CHARS}}}")
_ID_FORM = f"1 to {MAX_ID_CHARS} characters of A-Z a-z 0-9 _ . : -"

BLOCKS = {
    zpb.ABANDON_CAUSE_ABANDONED: BlockCause.ABANDONED,
    zpb.ABANDON_CAUSE_PARKED: BlockCause.PARKED,
    zpb.ABANDON_CAUSE_STANDING: BlockCause.STOPPED,
}


# -- fields ------------------------------------------------------------------------------------------------------


def identifier(field: str, value: str) -> str:
    """An id chosen by a client: of agents, requests, stops, kinds."""
    if _ID.fullmatch(value) is None:
        raise bad_field(field, value, _ID_FORM)
    return value


def optional_identifier(field: str, value: str) -> str:
    return identifier(field, value) if value else ""


def name(field: str, value: str) -> str:
    """The name of something on the floor. Whether the floor has it is the core's business."""
    if not 1 <= len(value) <= MAX_NAME_CHARS:
        raise bad_field(field, value, f"a name of 1 to {MAX_NAME_CHARS} characters")
    return value


def names(
    field: str, values: Sequence[str], most: int = MAX_NAMES, refusal: Refusal = Refusal.BAD_FIELD
) -> tuple[str, ...]:
    _check_count(field, len(values), most, refusal)
    found = tuple(values)
    for value in found:
        if not 1 <= len(value) <= MAX_NAME_CHARS:
            name(f"{field}[{found.index(value)}]", value)
    return found


def text(field: str, value: str, most: int = MAX_TEXT_CHARS) -> str:
    """Free text for people: short, one line, nothing a terminal or a log would act on."""
    if len(value) > most:
        raise bad_size(field, f"{len(value)} characters long", f"at most {most}")
    if any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in value):
        raise bad_field(field, value, "text without control characters")
    return value.strip()


def required_text(field: str, value: str, refusal: Refusal) -> str:
    stripped = text(field, value)
    if not stripped:
        raise bad_field(field, value, f"1 to {MAX_TEXT_CHARS} characters", refusal)
    return stripped


def integer(field: str, value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        raise bad_field(field, value, f"{low} to {high}")
    return value


def token(field: str, value: int) -> int:
    return integer(field, value, 1, MAX_INT)


def session_hash(secret: bytes) -> str:
    """SHA-256 of the session secret, hex: the only form in which it is kept, compared and stored."""
    if not MIN_SECRET_BYTES <= len(secret) <= MAX_SECRET_BYTES:
        # the secret itself never appears in a message
        raise bad_size(
            "session_secret", f"{len(secret)} bytes long", f"{MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} random bytes"
        )
    return hashlib.sha256(secret).hexdigest()


def seen_units(units: Sequence[spb.SeenUnit]) -> tuple[SeenUnit, ...]:
    """What an operator saw before a clearance."""
    _check_count("seen", len(units), MAX_CLEARED_NAMES)
    return tuple(
        SeenUnit(
            name(f"seen[{i}].zone", unit.zone),
            integer(f"seen[{i}].slot", unit.slot, 0, MAX_INT),
            identifier(f"seen[{i}].agent_id", unit.agent_id),
            token(f"seen[{i}].token", unit.token),
        )
        for i, unit in enumerate(units)
    )


def _check_count(field: str, count: int, most: int, refusal: Refusal = Refusal.BAD_FIELD) -> None:
    if count > most:
        raise bad_size(field, f"a list of {count}", f"at most {most}", refusal)


def ask_payload(zones: Sequence[str], expected_ms: int, priority: int, no_wait: bool) -> str:
    """A hash over all that an ask says, its request id excluded: the same id may only ever say the same again."""
    said: list[bytes] = []
    for zone in zones:
        encoded = zone.encode()
        said += (len(encoded).to_bytes(4, "big"), encoded)
    said.append(b"|%d|%d|%d" % (expected_ms, priority, no_wait))
    return hashlib.sha256(b"".join(said)).hexdigest()


# -- operations --------------------------------------------------------------------------------------------------


class Origin(NamedTuple):
    """Where an operation came from and when: what every event of it shares."""

    conn: int
    now_ms: int
    agent_id: str
    cause: str


def hello(origin: Origin, said: zpb.Hello) -> ev.Hello:
    if len(said.floor_hash) > MAX_HASH_CHARS:
        raise bad_field("hello.floor_hash", said.floor_hash, "the hash that GetFloor returned, or nothing")
    _check_count("hello.held_tokens", len(said.held_tokens), MAX_NAMES)
    _check_count("hello.latched_stop_ids", len(said.latched_stop_ids), MAX_NAMES)
    return ev.Hello(
        now_ms=origin.now_ms,
        cause=origin.cause,
        conn=origin.conn,
        agent_id=origin.agent_id,
        session=session_hash(said.session_secret),
        kind=optional_identifier("hello.agent_kind", said.agent_kind),
        floor_hash=said.floor_hash,
        highest_token=integer("hello.highest_token", said.highest_token, 0, MAX_INT),
        highest_revision=integer("hello.highest_revision", said.highest_revision, 0, MAX_INT),
        highest_epoch=integer("hello.highest_epoch", said.highest_epoch, 0, MAX_INT),
        vehicle_watchdog=said.vehicle_watchdog,
        latched_stop_ids=tuple(identifier("hello.latched_stop_ids", s) for s in said.latched_stop_ids),
        held_tokens=tuple(token("hello.held_tokens", t) for t in said.held_tokens),
        standing_zones=names("hello.standing_zones", said.standing_zones),
    )


def detached_hello(origin: Origin, secret: bytes) -> ev.Hello:
    """The session of one unary call."""
    return ev.Hello(
        now_ms=origin.now_ms,
        cause=origin.cause,
        conn=origin.conn,
        agent_id=origin.agent_id,
        session=session_hash(secret),
        detached=True,
    )


def asked(origin: Origin, ask: zpb.Ask) -> ev.Asked:
    # The core refuses a list that is a little too long, with the same reason; this keeps absurd ones out of it.
    zones = names("ask.zones", ask.zones, MAX_NAMES, Refusal.TOO_MANY_ZONES)
    expected_ms, priority, no_wait = ask.expected_ms, ask.priority, ask.no_wait
    return ev.Asked(
        now_ms=origin.now_ms,
        cause=origin.cause,
        conn=origin.conn,
        agent_id=origin.agent_id,
        request_id=identifier("ask.request_id", ask.request_id),
        zones=zones,
        expected_ms=expected_ms,
        payload=ask_payload(zones, expected_ms, priority, no_wait),
        priority=priority,
        no_wait=no_wait,
    )


def claimed(origin: Origin, claim: zpb.Claim) -> ev.Claimed:
    return ev.Claimed(
        now_ms=origin.now_ms,
        cause=origin.cause,
        conn=origin.conn,
        agent_id=origin.agent_id,
        zones=names("claim.zones", claim.zones, MAX_CLAIM_ZONES),
    )


def cancelled(origin: Origin, cancel: zpb.Cancel) -> ev.Cancelled:
    return ev.Cancelled(
        now_ms=origin.now_ms,
        cause=origin.cause,
        conn=origin.conn,
        agent_id=origin.agent_id,
        request_id=identifier("cancel.request_id", cancel.request_id),
    )


def released(origin: Origin, release: zpb.Release) -> ev.Released:
    return ev.Released(
        now_ms=origin.now_ms,
        cause=origin.cause,
        conn=origin.conn,
        agent_id=origin.agent_id,
        token=token("release.token", release.token),
        zones=names("release.zones", release.zones),
    )


def abandoned(origin: Origin, abandon: zpb.Abandon) -> ev.Abandoned:
    block = BLOCKS.get(abandon.cause)
    if block is None:
        raise bad_field("abandon.cause", abandon.cause, "ABANDON_CAUSE_ABANDONED, _PARKED or _STANDING")
    return ev.Abandoned(
        now_ms=origin.now_ms,
        cause=origin.cause,
        conn=origin.conn,
        agent_id=origin.agent_id,
        token=token("abandon.token", abandon.token),
        block=block,
        zones=names("abandon.zones", abandon.zones),
    )


def declined(origin: Origin, decline: zpb.Decline) -> ev.Declined:
    return ev.Declined(
        now_ms=origin.now_ms,
        cause=origin.cause,
        conn=origin.conn,
        agent_id=origin.agent_id,
        token=token("decline.token", decline.token),
    )


def extend_asked(origin: Origin, extend: zpb.Extend) -> ev.ExtendAsked:
    return ev.ExtendAsked(
        now_ms=origin.now_ms,
        cause=origin.cause,
        conn=origin.conn,
        agent_id=origin.agent_id,
        request_id=identifier("extend.request_id", extend.request_id),
        token=token("extend.token", extend.token),
        expected_ms=extend.expected_ms,
    )


def reported(origin: Origin, telemetry: zpb.Telemetry, floor: Floor) -> ev.Reported:
    """Telemetry. An agent that does not say which zones it touches is at least in the zone of its position."""
    position: tuple[int, int] | None = None
    if telemetry.has_position:
        position = (
            integer("telemetry.x_mm", telemetry.x_mm, -MAX_COORDINATE_MM, MAX_COORDINATE_MM),
            integer("telemetry.y_mm", telemetry.y_mm, -MAX_COORDINATE_MM, MAX_COORDINATE_MM),
        )
    return ev.Reported(
        now_ms=origin.now_ms,
        cause=origin.cause,
        conn=origin.conn,
        agent_id=origin.agent_id,
        position=position,
        heading_mdeg=integer("telemetry.heading_mdeg", telemetry.heading_mdeg, -MAX_HEADING_MDEG, MAX_HEADING_MDEG),
        inside=_inside(telemetry, position, floor),
        progress_permille=integer("telemetry.progress_permille", telemetry.progress_permille, 0, MAX_PERMILLE),
        activity=text("telemetry.activity", telemetry.activity),
        # A proof of vacancy needs the whole contour: a point outside says nothing about the rest.
        nonce=integer("telemetry.nonce", telemetry.nonce, 0, MAX_INT) if telemetry.inside_known else 0,
    )


def _inside(telemetry: zpb.Telemetry, position: tuple[int, int] | None, floor: Floor) -> tuple[str, ...] | None:
    said = names("telemetry.inside_zones", telemetry.inside_zones)
    if telemetry.inside_known:
        return said
    if position is not None:
        zone = floor.zone_at_mm(*position)
        return said if zone is None or zone in said else (*said, zone)
    return said or None


def stop_acked(origin: Origin, ack: zpb.StopAck) -> ev.StopAcked:
    _check_count("stop_ack.stop_ids", len(ack.stop_ids), MAX_NAMES)
    if not ack.stop_ids:
        raise bad_field("stop_ack.stop_ids", [], "the id of every stop that the agent stands still for")
    return ev.StopAcked(
        now_ms=origin.now_ms,
        cause=origin.cause,
        conn=origin.conn,
        agent_id=origin.agent_id,
        stop_ids=tuple(identifier("stop_ack.stop_ids", s) for s in ack.stop_ids),
    )


def proof_asked(origin: Origin, prove: zpb.ProveVacancy) -> ev.ProofAsked:
    return ev.ProofAsked(
        now_ms=origin.now_ms,
        cause=origin.cause,
        conn=origin.conn,
        agent_id=origin.agent_id,
        token=token("prove_vacancy.token", prove.token),
    )


def goodbye(origin: Origin) -> ev.SaidGoodbye:
    return ev.SaidGoodbye(now_ms=origin.now_ms, cause=origin.cause, conn=origin.conn, agent_id=origin.agent_id)


_OPERATIONS: dict[str, Callable[[Origin, zpb.Operation, Floor], ev.Event]] = {
    "hello": lambda o, op, _: hello(o, op.hello),
    "ask": lambda o, op, _: asked(o, op.ask),
    "claim": lambda o, op, _: claimed(o, op.claim),
    "cancel": lambda o, op, _: cancelled(o, op.cancel),
    "release": lambda o, op, _: released(o, op.release),
    "abandon": lambda o, op, _: abandoned(o, op.abandon),
    "decline": lambda o, op, _: declined(o, op.decline),
    "extend": lambda o, op, _: extend_asked(o, op.extend),
    "telemetry": lambda o, op, floor: reported(o, op.telemetry, floor),
    "stop_ack": lambda o, op, _: stop_acked(o, op.stop_ack),
    "prove_vacancy": lambda o, op, _: proof_asked(o, op.prove_vacancy),
    "goodbye": lambda o, op, _: goodbye(o),
}


def event_of(operation: zpb.Operation, conn: int, now_ms: int, cause: str, floor: Floor) -> ev.Event:
    """One operation of a stream as an event. Raises RequestRefused; the stream survives that."""
    kind = operation.WhichOneof("kind")
    if kind is None:
        raise RequestRefused(
            Refusal.BAD_FIELD,
            f"kind is not set; give each operation exactly one of {', '.join(_OPERATIONS)}.",
            (("field", "kind"), ("value", "")),
        )
    origin = Origin(conn, now_ms, identifier("agent_id", operation.agent_id), cause)
    return _OPERATIONS[kind](origin, operation, floor)


def request_id_of(operation: zpb.Operation) -> str:
    """The request id of an operation that was refused, so that its Failed finds the request; clipped, never checked."""
    match operation.WhichOneof("kind"):
        case "ask":
            said = operation.ask.request_id
        case "cancel":
            said = operation.cancel.request_id
        case "extend":
            said = operation.extend.request_id
        case _:
            return ""
    return said[:MAX_ID_CHARS]

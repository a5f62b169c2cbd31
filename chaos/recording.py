"""Turns values of the core into history lines, for whoever runs the real core: the simulator, stories, live runs.

Rule: what is recorded is what the product said, field by field; nothing is judged or left out here. Knows the core
and the history format, and neither the runtime nor a checker.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

from chaos.history import History
from coordinator.core import effects as fx
from coordinator.core import events as ev
from coordinator.core.model import CounterRecord, FloorSpec, Record, StopRecord, Timing, UnitRecord

ANSWER_NAMES: dict[type, str] = {
    fx.Welcome: "welcome",
    fx.Granted: "granted",
    fx.Queued: "queued",
    fx.Rejected: "rejected",
    fx.Failed: "failed",
    fx.Cancelled: "cancelled",
    fx.Released: "released",
    fx.Abandoned: "abandoned",
    fx.Extended: "extended",
    fx.Warned: "warned",
    fx.Expired: "expired",
    fx.Revoked: "revoked",
    fx.StopRaised: "stop_raised",
    fx.StopEnded: "stop_ended",
    fx.Challenged: "challenged",
    fx.Claimed: "claimed",
    fx.Yield: "yield_to",
    fx.GrantsRevoked: "grants_revoked",
    fx.StopsReported: "stops_reported",
    fx.ZonesCleared: "zones_cleared",
    fx.ZonesClosed: "zones_closed",
    fx.ZonesOpened: "zones_opened",
}


def floor_fields(floor: FloorSpec, timing: Timing, *, lease_ms: int | None = None) -> dict[str, Any]:
    """The fields of a `floor` line."""
    zones = [
        {"name": z.name, "capacity": z.capacity, "group": z.stop_group, "hold_max_ms": z.hold_max_ms}
        for z in floor.zones
    ]
    return {
        "site": floor.site,
        "zones": zones,
        "rho_ppm": timing.rho_ppm,
        "reattach_ms": timing.reattach_ms,
        "suspend_ms": timing.suspend_ms,
        "lost_ms": timing.lost_ms,
        "lease_ms": lease_ms,
    }


def unit_fields(unit: UnitRecord) -> dict[str, Any]:
    """One element of `units`."""
    found = {
        "zone": unit.zone,
        "slot": unit.slot,
        "state": unit.state.value,
        "agent": unit.agent_id,
        "token": unit.token,
    }
    more = {
        "cause": unit.cause.value,
        "session": unit.session,
        "request_id": unit.request_id,
        "expected_ms": unit.expected_ms,
        "remaining_ms": unit.remaining_ms,
        "incarnation": unit.incarnation,
    }
    return found | {k: v for k, v in more.items() if v}


def stop_fields(stop: StopRecord) -> dict[str, Any]:
    """One element of `stops`."""
    found: dict[str, Any] = {"stop_id": stop.stop_id, "active": stop.active, "cause": stop.cause.value}
    more = {
        "floor": stop.floor,
        "groups": list(stop.stop_groups),
        "zones": list(stop.zones),
        "tripped_by": stop.tripped_by,
        "reset_by": stop.reset_by,
        "reset_reason": stop.reset_reason,
        "token": stop.token,
    }
    return found | {k: v for k, v in more.items() if v}


def record_fields(records: Mapping[str, Record | None] | Iterable[tuple[str, Record | None]]) -> dict[str, Any]:
    """What writes mean: the `units`, `stops`, `counter`, `incarnation` and `confirmed` fields of a step or commit.

    Takes keys with their records, None for a deletion. Records of other kinds (floor, audit) take part in no check.
    """
    units, stops = [], []
    found: dict[str, Any] = {}
    pairs = records.items() if isinstance(records, Mapping) else records
    for key, record in pairs:
        match record:
            case UnitRecord():
                units.append(unit_fields(record))
            case StopRecord():
                stops.append(stop_fields(record))
            case CounterRecord():
                found |= {"counter": record.token, "incarnation": record.incarnation, "confirmed": record.confirmed}
            case None if key.startswith("stop/"):
                stops.append({"stop_id": key.removeprefix("stop/"), "active": False, "deleted": True})
            case _:
                pass
    if units:
        found["units"] = units
    if stops:
        found["stops"] = stops
    return found


def step_fields(step: fx.Step) -> dict[str, Any]:
    """The fields of a `step` line but `coord` and `run`."""
    found = record_fields((w.key, w.record) for w in step.writes)
    found.pop("confirmed", None)
    found.pop("incarnation", None)
    if step.stops:
        found["stop_to"] = sorted({s.agent_id for s in step.stops})
    return {"seq": step.seq} | found


def answer_fields(answer: fx.Answer, request_id: str = "") -> dict[str, Any]:
    """`answer` and what it carries, for an `emit` or `deliver` line. Unknown kinds raise KeyError: extend the table."""
    found: dict[str, Any] = {"answer": ANSWER_NAMES[type(answer)]}
    if request_id:
        found["request_id"] = request_id
    match answer:
        case fx.Granted():
            found |= _granted_fields(answer)
        case fx.Welcome():
            found["grants"] = [_granted_fields(g) for g in answer.grants]
            found["blocked_zones"] = list(answer.blocked_zones)
            found["stop_ids"] = [s.stop_id for s in answer.active_stops]
            found["incarnation"] = answer.incarnation
        case fx.Queued():
            found["position"] = answer.position
            found["blockers"] = [b.detail for b in answer.blockers]
        case fx.Rejected():
            found |= {"reason": answer.reason.value, "zones": list(answer.zones), "stop_ids": list(answer.stop_ids)}
            if answer.token:
                found["token"] = answer.token
            if answer.retreat_zone:
                found["retreat_zone"] = answer.retreat_zone
        case fx.Failed():
            found["reason"] = answer.refusal.value
            token = dict(answer.metadata).get("token", "")
            found |= {"token": int(token)} if token.isdecimal() else {}
        case fx.StopRaised() | fx.StopEnded():
            found["stop_id"] = answer.stop.stop_id
        case fx.StopsReported():
            found["stop_ids"] = [s.stop_id for s in answer.stops]
        case _:
            found |= _plain_fields(answer)
    return found


_SAID = (
    "token",
    "tokens",
    "zones",
    "expected_ms",
    "remaining_ms",
    "stop_id",
    "nonce",
    "samples",
    "can_finish",
    "to_zone",
)


def _plain_fields(answer: fx.Answer) -> dict[str, Any]:
    """The answer's own fields of these names."""
    return {name: _plain(getattr(answer, name)) for name in _SAID if hasattr(answer, name)}


def _granted_fields(granted: fx.Granted) -> dict[str, Any]:
    return {
        "token": granted.token,
        "zones": list(granted.zones),
        "slots": list(granted.slots),
        "expected_ms": granted.expected_ms,
        "remaining_ms": granted.remaining_ms,
        "request_id": granted.request_id,
    }


def event_fields(event: ev.Event) -> dict[str, Any]:
    """`name`, `agent` and `fields` of an `event` line. Secrets never reach an event; their hashes stay."""
    values = {
        f.name: _plain(getattr(event, f.name))
        for f in dataclasses.fields(event)
        if f.name not in ("now_ms", "cause", "recorded_at")
    }
    agent = values.pop("agent_id", "")
    found: dict[str, Any] = {
        "name": type(event).__name__,
        "fields": {k: v for k, v in values.items() if v not in _VOID},
    }
    if agent:
        found["agent"] = agent
    return found


_VOID: tuple[Any, ...] = ("", 0, None, [], False)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (tuple, list, set, frozenset)):
        items = [_plain(v) for v in value]
        return sorted(items) if isinstance(value, (set, frozenset)) else items
    return value


class CoordinatorRecord:
    """Writes the lines of one coordinator. `run` counts its loads of the ledger: (coord, run, seq) is unique."""

    def __init__(self, history: History, coord: str) -> None:
        self.history, self.coord, self.run = history, coord, 0

    def took_over(self, t: int, epoch: int, *, revision: int | None = None, counter: int | None = None) -> None:
        """The ledger was loaded under this epoch."""
        self.run += 1
        self._add(t, "takeover", epoch=epoch, revision=revision, counter=counter)

    def handled(self, t: int, event: ev.Event, step: fx.Step, *, stream: int | None = None) -> None:
        """One event and what followed from it; a step without writes or stops leaves no line of its own. `stream` as
        for `emitted`.
        """
        said = event_fields(event)
        if stream is not None and "conn" in said["fields"]:
            said["fields"]["conn"] = stream
        self._add(t, "event", seq=step.seq, **said)
        if step.writes or step.stops:
            self._add(t, "step", **step_fields(step))

    def committed(
        self,
        t: int,
        records: Mapping[str, Record | None],
        *,
        epoch: int,
        outcome: str = "ok",
        revision: int | None = None,
        upto: int | None = None,
        txn: int | None = None,
        applied: bool | None = None,
    ) -> None:
        """A transaction's outcome, see the `commit` kind."""
        self._add(
            t, "commit", epoch=epoch, outcome=outcome, revision=revision, upto=upto, txn=txn, applied=applied,
            **record_fields(records),
        )  # fmt: skip

    def emitted(
        self,
        t: int,
        send: fx.Send,
        *,
        stop: bool = False,
        echo_frame: int | None = None,
        stream: int | None = None,
    ) -> None:
        """An answer was handed to the agent's stream: `stream` is its number where each has one of its own in the whole
        history, otherwise the coordinator's own count is written.
        """
        fields = answer_fields(send.answer, send.request_id)
        conn = send.conn if stream is None else stream
        self._add(t, "emit", agent=send.agent_id, conn=conn, stop=stop or None, echo_frame=echo_frame, **fields)

    def crashed(self, t: int, why: str = "") -> None:
        self.history.add(t, self.coord, "crash", coord=self.coord, why=why or None)

    def restarted(self, t: int) -> None:
        self.history.add(t, self.coord, "restart", coord=self.coord)

    def _add(self, t: int, kind: str, **fields: Any) -> None:
        self.history.add(t, self.coord, kind, coord=self.coord, run=self.run, **fields)

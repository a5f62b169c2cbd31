"""Writes down what passes between agents and coordinators, as it leaves the one and reaches the other."""

from __future__ import annotations

from typing import Any

from zonelock.v1 import zone_service_pb2 as pb

from chaos.history import History
from chaos.sim.loop import Process, VirtualLoop
from chaos.sim.truth import Truth


class WireRecord:
    """The transport's two ears."""

    def __init__(self, history: History, loop: VirtualLoop, truth: Truth) -> None:
        self._history, self._loop, self._truth = history, loop, truth

    def on_request(self, process: Process, conn: int, message: Any) -> None:
        if not isinstance(message, pb.SessionRequest):
            return
        said = False
        for operation in message.operations:
            kind = operation.WhichOneof("kind")
            if kind is None:
                continue
            body = getattr(operation, kind)
            if kind == "telemetry" and not body.nonce:
                continue
            said = True
            fields: dict[str, Any] = {"agent": operation.agent_id, "op": kind, "conn": conn, "frame": message.frame}
            for name in ("request_id", "token", "expected_ms"):
                value = getattr(body, name, 0)
                if value:
                    fields[name] = value
            if kind in ("ask", "claim", "release", "abandon"):
                fields["zones"] = list(body.zones)
            if kind == "telemetry":
                fields |= {"nonce": body.nonce, "inside": list(body.inside_zones)}
            if kind == "stop_ack":
                fields["stop_ids"] = list(body.stop_ids)
            if kind == "abandon":
                fields["cause"] = pb.AbandonCause.Name(body.cause).removeprefix("ABANDON_CAUSE_")
            self._history.add(self._loop.now_ms, process.name, "send", **fields)
        if not said:  # deadlines are reckoned from any frame's send time
            agent = process.name.partition("-")[0]
            self._history.add(
                self._loop.now_ms, process.name, "send", agent=agent, op="heartbeat", conn=conn, frame=message.frame
            )

    def on_response(self, process: Process, conn: int, message: Any) -> None:
        if not isinstance(message, pb.SessionResponse):
            return
        self._truth.on_answer(process.name, message)
        for answer in message.answers:
            kind = answer.WhichOneof("kind")
            if kind is None:
                continue
            body = getattr(answer, kind)
            if kind == "stop_raised":
                stop_id = body.stop.stop_id
                self._history.add(
                    self._loop.now_ms, process.name, "stop", agent=answer.agent_id, conn=conn, stop_id=stop_id
                )
                continue
            fields: dict[str, Any] = {"agent": answer.agent_id, "answer": kind, "conn": conn}
            if answer.request_id:
                fields["request_id"] = answer.request_id
            fields.update(_said(kind, body))
            self._history.add(self._loop.now_ms, process.name, "deliver", **fields)


_PLAIN: dict[str, tuple[str, ...]] = {
    "failed": ("reason",),
    "released": ("token", "zones"),
    "abandoned": ("token", "zones"),
    "revoked": ("token", "zones"),
    "extended": ("token", "expected_ms", "remaining_ms", "echo_frame"),
    "challenged": ("token", "nonce", "samples"),
    "warned": ("token", "remaining_ms"),
    "expired": ("token", "zones", "stop_id"),
    "granted": ("token", "zones", "slots", "expected_ms", "remaining_ms", "echo_frame", "request_id"),
}
"""Fields that go into the history as they are."""


def _said(kind: str, body: Any) -> dict[str, Any]:
    if kind in _PLAIN:
        return _plain(kind, body)
    match kind:
        case "welcome":
            return {
                "grants": [_plain("granted", g) for g in body.grants],
                "blocked_zones": list(body.blocked_zones),
                "stop_ids": [s.stop_id for s in body.active_stops],
                "incarnation": body.incarnation,
            }
        case "queued":
            return {"position": body.position, "blockers": [b.detail for b in body.blockers]}
        case "rejected":
            reason = pb.RejectReason.Name(body.reason).removeprefix("REJECT_REASON_")
            said = {"reason": reason, "zones": list(body.zones), "stop_ids": list(body.stop_ids), "token": body.token}
            return said | ({"retreat_zone": body.retreat_zone} if body.retreat_zone else {})
        case "claimed":
            return {"zones": list(body.zones), "can_finish": body.can_finish}
        case "yield_to":
            return {"to_zone": body.to_zone}
        case "stop_ended":
            return {"stop_id": body.stop.stop_id}
    return {}


def _plain(kind: str, body: Any) -> dict[str, Any]:
    found = {}
    for name in _PLAIN[kind]:
        value = getattr(body, name)
        found[name] = value if isinstance(value, int | str) else list(value)
    return found

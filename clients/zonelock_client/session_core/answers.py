"""What the coordinator's answers mean to an agent.

Rules: a grant is used only with a deadline D of its own that lies ahead, else it is declined; a lost grant is never
found again, whatever is said about it later; an answer to nothing that was asked is ignored, or declined if it
grants. Imports no I/O.
"""

from __future__ import annotations

from collections.abc import Callable

import grpc
from zonelock.v1 import floor_pb2
from zonelock.v1 import zone_service_pb2 as pb

from zonelock_client.session_core import proofs, routes, stop_news
from zonelock_client.session_core.agent import AgentCore, ExtendRecord, Pending
from zonelock_client.session_core.outbox import Entry, EntryKind
from zonelock_client.session_core.values import (
    NS_PER_MS,
    AskEnded,
    AskGranted,
    AskQueued,
    DeadlineMoved,
    Done,
    ExtendEnded,
    Failure,
    HeldGrant,
    HelloRefused,
    Late,
    LostReason,
    Outcome,
    Rejection,
    Settled,
    StopLatched,
    StopLifted,
    Welcomed,
    reject_reason,
)

UNAVAILABLE: int = grpc.StatusCode.UNAVAILABLE.value[0]
RETRY_MS = 200
"""Pause before an operation is sent again that failed with UNAVAILABLE and named no pause of its own."""

_GIVES_BACK = (EntryKind.RELEASE, EntryKind.ABANDON, EntryKind.DECLINE)
_ALREADY_BACK = frozenset({"ALREADY_RELEASED"})
_NOT_OURS = frozenset({"STALE_TOKEN", "NOT_HOLDER"})
_USED_BEFORE = "PAYLOAD_MISMATCH"


def take_answer(agent: AgentCore, answer: pb.Answer, now_ns: int) -> None:
    """Applies one answer. Kinds that this version does not know are ignored."""
    kind = answer.WhichOneof("kind")
    take = _TAKE.get(kind) if kind else None
    if take is not None:
        take(agent, answer, now_ns)


def refuse_agent(agent: AgentCore, failure: Failure) -> None:
    """The coordinator will not have the agent: everything it had is over for this client."""
    agent.refused = failure
    for held in list(agent.grants.values()):
        agent.lose(held, LostReason.REFUSED, failure.message)
    for request_id, record in sorted(agent.asks.items()):
        if not record.cancelling:
            agent.notify(AskEnded(agent.spec.agent_id, request_id, failure))
    agent.asks.clear()
    agent.notify(HelloRefused(agent.spec.agent_id, failure))


# -- sessions ------------------------------------------------------------------------------------------------------


def _welcome(agent: AgentCore, answer: pb.Answer, now_ns: int) -> None:
    welcome = answer.welcome
    agent.welcomed = True
    agent.ever_welcomed = True
    agent.blocked_zones = tuple(welcome.blocked_zones)
    resumed = [held for g in welcome.grants if (held := _resume(agent, g, now_ns)) is not None]
    listed = {g.token for g in welcome.grants}
    for token, held in sorted(agent.grants.items()):
        if token not in listed:
            agent.lose(held, LostReason.NOT_RESUMED, "the coordinator no longer lists the grant after a reconnection")
            agent.forget(token)
    agent.occupied = set(welcome.blocked_zones)
    # Every active stop of the floor; those that concern this agent are raised by answers of their own.
    active = {stop.stop_id for stop in welcome.active_stops}
    agent.unheard = {stop_id for stop_id in agent.latched if stop_id not in active and stop_id not in agent.halted}
    agent.requeue(now_ns)
    agent.announce_link(now_ns)
    agent.notify(Welcomed(agent.spec.agent_id, tuple(resumed)))
    stop_news.recall(agent, stop_news.at_stake(agent), frozenset(active), latch)


def _resume(agent: AgentCore, granted: pb.Granted, now_ns: int) -> HeldGrant | None:
    """A grant listed by a welcome; returns it when this process did not know it."""
    agent.highest_token = max(agent.highest_token, granted.token)
    held = agent.grants.get(granted.token)
    if held is not None:
        held.zones = tuple(granted.zones)
        deadline_ns = agent.deadline_ns(granted)
        # A resumption never extends: what the agent planned by its old deadline stays true, an extension is asked for.
        if held.lost_reason is None and deadline_ns is not None and deadline_ns < held.deadline_ns:
            held.deadline_ns = deadline_ns
            agent.notify(DeadlineMoved(agent.spec.agent_id, held))
        return None
    if granted.token in agent.ended:
        return None
    if granted.request_id in agent.asks:
        _take_grant(agent, granted, now_ns)
        return None
    # Of an earlier process: the agent may well be inside, so this grant is never declined, only found lost.
    deadline_ns = agent.deadline_ns(granted)
    held = _held(agent, granted, deadline_ns or now_ns)
    if held.deadline_ns <= now_ns:
        held.lose(LostReason.DEADLINE, "the deadline passed before the session was resumed")
    agent.grants[granted.token] = held
    return held


# -- asks ----------------------------------------------------------------------------------------------------------


def _granted(agent: AgentCore, answer: pb.Answer, now_ns: int) -> None:
    granted = answer.granted
    agent.highest_token = max(agent.highest_token, granted.token)
    if granted.token in agent.grants or granted.token in agent.ended:
        return
    if not granted.request_id:
        granted.request_id = answer.request_id
    _take_grant(agent, granted, now_ns)


def _take_grant(agent: AgentCore, granted: pb.Granted, now_ns: int) -> None:
    """Uses a new grant, or declines it: nobody waits, a stop is latched, or its time is over or unknown."""
    record = agent.asks.pop(granted.request_id, None)
    if record is None or record.cancelling:
        agent.decline(granted.token)
        return
    zones = tuple(granted.zones)
    # A leader that knows of an active stop grants nothing in its scope.
    stop_news.recall(agent, zones, frozenset(), latch)
    if agent.latched:
        agent.decline(granted.token)
        stop_ids = tuple(sorted(agent.latched))
        rejection = Rejection("STOPPED", f"latched by {', '.join(stop_ids)}", zones, stop_ids)
        agent.notify(AskEnded(agent.spec.agent_id, granted.request_id, rejection))
        return
    deadline_ns = agent.deadline_ns(granted)
    if deadline_ns is None or deadline_ns <= now_ns:
        agent.decline(granted.token)
        if deadline_ns is None:
            why = f"it echoes frame {granted.echo_frame}, whose send time is not known"
        else:
            why = f"it came {(now_ns - deadline_ns) // NS_PER_MS} ms after its own deadline"
        late = Late(granted.token, zones, f"the grant for {', '.join(zones)} cannot be used: {why}; it was declined")
        agent.notify(AskEnded(agent.spec.agent_id, granted.request_id, late))
        return
    held = _held(agent, granted, deadline_ns)
    agent.grants[granted.token] = held
    routes.granted(agent, zones)
    agent.notify(AskGranted(agent.spec.agent_id, granted.request_id, held))


def _held(agent: AgentCore, granted: pb.Granted, deadline_ns: int) -> HeldGrant:
    return HeldGrant(
        token=granted.token,
        zones=tuple(granted.zones),
        expected_ms=granted.expected_ms,
        deadline_ns=deadline_ns,
        warn_ns=agent.warn_ns(granted, deadline_ns),
        request_id=granted.request_id,
        progress_mark=agent.telemetry.progress_permille if agent.telemetry else 0,
    )


def _queued(agent: AgentCore, answer: pb.Answer, now_ns: int) -> None:
    """Told to who asked; an ask that nobody here waits for is cancelled: it would keep zones from others."""
    record = agent.asks.get(answer.request_id)
    if record is None:
        agent.withdraw(answer.request_id)
    elif not record.cancelling:
        queued = answer.queued
        agent.notify(AskQueued(agent.spec.agent_id, answer.request_id, queued.position, tuple(queued.blockers)))


def _cancelled(agent: AgentCore, answer: pb.Answer, now_ns: int) -> None:
    if not answer.request_id:
        goodbye = _sent_goodbye(agent)
        if goodbye is not None:
            _settle(agent, goodbye, Done())
        return
    record = agent.asks.pop(answer.request_id, None)
    if record is not None and not record.cancelling:
        ended = Rejection("WAIT_ENDED", "the coordinator cancelled the ask; ask again")
        agent.notify(AskEnded(agent.spec.agent_id, answer.request_id, ended))


def _rejected(agent: AgentCore, answer: pb.Answer, now_ns: int) -> None:
    rejected = answer.rejected
    rejection = Rejection(
        reject_reason(rejected.reason),
        rejected.message,
        tuple(rejected.zones),
        tuple(rejected.stop_ids),
        rejected.retreat_zone,
    )
    record = agent.asks.pop(answer.request_id, None)
    if record is not None:
        if not record.cancelling:
            agent.notify(AskEnded(agent.spec.agent_id, answer.request_id, rejection))
        return
    extension = agent.extensions.pop(answer.request_id, None)
    if extension is not None:
        if rejection.reason == "REVOKED":
            # The revocation itself came while the link was down.
            agent.lose(extension.grant, LostReason.REVOKED, rejection.message)
        _extension_ended(agent, answer.request_id, extension, rejection)
        return
    if rejected.token:
        entry = agent.outbox.find(rejected.token, _GIVES_BACK)
    else:
        entry = _sent_goodbye(agent)
    if entry is not None:
        _entry_rejected(agent, entry, rejection)
    else:
        proofs.rejected(agent, rejected.token, rejection)


def _sent_goodbye(agent: AgentCore) -> Entry | None:
    return next((e for e in agent.outbox if e.kind is EntryKind.GOODBYE and e.frame), None)


# -- giving back ---------------------------------------------------------------------------------------------------


def _entry_rejected(agent: AgentCore, entry: Entry, rejection: Rejection) -> None:
    if rejection.reason in _ALREADY_BACK:
        _given_back(agent, entry.token, entry.zones)
        _settle(agent, entry, Done())
        return
    held = agent.grants.get(entry.token)
    if rejection.reason == "STILL_INSIDE":
        if held is not None:
            held.returning = False
            agent.notify(DeadlineMoved(agent.spec.agent_id, held))
    elif entry.kind is not EntryKind.GOODBYE:
        if held is not None:
            agent.lose(held, LostReason.EXPIRED, rejection.message)
        agent.forget(entry.token)
    _settle(agent, entry, rejection)


def _released(agent: AgentCore, answer: pb.Answer, now_ns: int) -> None:
    _answered(agent, answer.released.token, tuple(answer.released.zones), (EntryKind.RELEASE, EntryKind.DECLINE))
    if agent.proof is not None and agent.proof.token == answer.released.token:
        agent.occupied.difference_update(answer.released.zones)
    proofs.released(agent, answer.released.token)


def _challenged(agent: AgentCore, answer: pb.Answer, now_ns: int) -> None:
    proofs.challenged(agent, answer.challenged)


def _claimed(agent: AgentCore, answer: pb.Answer, now_ns: int) -> None:
    routes.claimed(agent, answer.claimed)


def _yield_to(agent: AgentCore, answer: pb.Answer, now_ns: int) -> None:
    routes.asked_to_yield(agent, answer.yield_to)


def _abandoned(agent: AgentCore, answer: pb.Answer, now_ns: int) -> None:
    _answered(agent, answer.abandoned.token, tuple(answer.abandoned.zones), (EntryKind.ABANDON,))


def _answered(agent: AgentCore, token: int, zones: tuple[str, ...], kinds: tuple[EntryKind, ...]) -> None:
    entry = agent.outbox.find(token, kinds, frozenset(zones))
    if entry is None:
        return
    _given_back(agent, token, zones or entry.zones)
    if entry.kind is EntryKind.ABANDON:
        agent.occupied.update(zones or entry.zones)
    elif entry.kind is EntryKind.RELEASE:  # what is declined was never entered, or is occupied as before
        agent.occupied.difference_update(zones or entry.zones)
    _settle(agent, entry, Done())


def _given_back(agent: AgentCore, token: int, zones: tuple[str, ...]) -> None:
    held = agent.grants.get(token)
    if held is None:
        return
    held.zones = tuple(z for z in held.zones if z not in zones)
    if not held.zones:
        agent.forget(token)


def _settle(agent: AgentCore, entry: Entry, outcome: Outcome) -> None:
    agent.outbox.remove(entry)
    agent.notify(Settled(agent.spec.agent_id, entry.entry_id, outcome))


# -- time ----------------------------------------------------------------------------------------------------------


def _extended(agent: AgentCore, answer: pb.Answer, now_ns: int) -> None:
    extended = answer.extended
    record = agent.extensions.pop(answer.request_id, None)
    held = record.grant if record is not None else agent.grants.get(extended.token)
    if held is None:
        return
    deadline_ns = agent.deadline_ns(extended)
    outcome: Outcome = Done()
    if held.lost_reason is not None:
        outcome = Rejection("GRANT_ENDED", held.lost_message, held.zones)
    elif deadline_ns is None:
        outcome = Rejection("LATE", f"the extension echoes frame {extended.echo_frame}, whose send time is not known")
    else:
        # Never shortens: the coordinator's deadline only moves away, so the older statement stays true.
        held.deadline_ns = max(held.deadline_ns, deadline_ns)
        held.warn_ns = max(held.warn_ns, agent.warn_ns(extended, held.deadline_ns))
        held.warned = False
        held.expected_ms = extended.expected_ms or held.expected_ms
        agent.notify(DeadlineMoved(agent.spec.agent_id, held))
    if record is not None:
        held.progress_mark = max(held.progress_mark, record.progress_permille)
        _extension_ended(agent, answer.request_id, record, outcome)


def _extension_ended(agent: AgentCore, request_id: str, record: ExtendRecord, outcome: Outcome) -> None:
    held = record.grant
    if held.extending == request_id:
        held.extending = ""
        # Stale telemetry can become fresh; a hold limit stays one.
        if isinstance(outcome, Rejection | Failure) and outcome.reason != "STALE_TELEMETRY":
            held.extension_refused = True
    agent.notify(ExtendEnded(agent.spec.agent_id, request_id, outcome))


def _warned(agent: AgentCore, answer: pb.Answer, now_ns: int) -> None:
    held = agent.grants.get(answer.warned.token)
    if held is not None:
        agent.warn(held)


def _expired(agent: AgentCore, answer: pb.Answer, now_ns: int) -> None:
    expired = answer.expired
    held = agent.grants.get(expired.token)
    if held is not None:
        message = f"the coordinator's deadline for {', '.join(expired.zones)} passed"
        agent.lose(held, LostReason.EXPIRED, message)
        agent.forget(expired.token)


def _revoked(agent: AgentCore, answer: pb.Answer, now_ns: int) -> None:
    held = agent.grants.get(answer.revoked.token)
    if held is not None:
        # Not forgotten: the holder still says what became of the zones (released, or standing in them).
        agent.lose(held, LostReason.REVOKED, answer.revoked.message)


# -- stops ---------------------------------------------------------------------------------------------------------


def _stop_raised(agent: AgentCore, answer: pb.Answer, now_ns: int) -> None:
    agent.from_feed.discard(answer.stop_raised.stop.stop_id)
    latch(agent, answer.stop_raised.stop)


def latch(agent: AgentCore, stop: floor_pb2.Stop) -> None:
    """The agent stands until the stop ends; one that it is latched by is acknowledged (again) once it stands."""
    if stop.stop_id in agent.latched:
        if stop.stop_id in agent.halted:
            agent.acknowledge_stops((stop.stop_id,))
        return
    agent.latched[stop.stop_id] = stop
    for token, held in sorted(agent.grants.items()):
        # The coordinator ends all grants of whom it stops, wherever they are.
        agent.lose(held, LostReason.STOPPED, f"stop {stop.stop_id} by {stop.tripped_by}: {stop.reason}")
        agent.forget(token)
    agent.notify(StopLatched(agent.spec.agent_id, stop))


def _stop_ended(agent: AgentCore, answer: pb.Answer, now_ns: int) -> None:
    stop = answer.stop_ended.stop
    stop_news.ended(agent.stream, stop.stop_id)
    agent.from_feed.discard(stop.stop_id)
    if agent.latched.pop(stop.stop_id, None) is not None:
        agent.halted.discard(stop.stop_id)
        agent.unheard.discard(stop.stop_id)
        agent.notify(StopLifted(agent.spec.agent_id, stop))


# -- failures ------------------------------------------------------------------------------------------------------


def _failed(agent: AgentCore, answer: pb.Answer, now_ns: int) -> None:
    failed = answer.failed
    failure = Failure(
        failed.code, failed.reason, failed.message, tuple(sorted(failed.metadata.items())), failed.retry_ms
    )
    if failure.code == UNAVAILABLE and not agent.welcomed:
        agent.stream.restart_because = f"{failure.reason}: {failure.message}"
        return
    if not agent.welcomed or failure.reason == "UNKNOWN_AGENT":
        # Unknown though welcomed: another client took the session over with the same secret.
        refuse_agent(agent, failure)
        return
    if answer.request_id:
        _request_failed(agent, answer.request_id, failure, now_ns)
        return
    token = int(t) if (t := failed.metadata.get("token", "")).isdecimal() else 0
    entry = agent.outbox.find(token, _GIVES_BACK) if token else agent.outbox.oldest_sent()
    if entry is None:
        _proof_failed(agent, token, failure, now_ns)
        return
    if failure.code == UNAVAILABLE:
        agent.retry(Pending(entry.operation, entry), _retry_at_ns(failure, now_ns))
        return
    held = agent.grants.get(entry.token)
    if entry.resent and failure.reason == "STALE_TOKEN":
        # Carried out on the earlier stream, and the zones are granted anew since.
        _given_back(agent, entry.token, entry.zones)
        _settle(agent, entry, Done())
        return
    if held is not None and failure.reason in _NOT_OURS:
        agent.lose(held, LostReason.REVOKED, failure.message)
        agent.forget(entry.token)
    elif held is not None:
        held.returning = False
        agent.notify(DeadlineMoved(agent.spec.agent_id, held))
    _settle(agent, entry, failure)


def _request_failed(agent: AgentCore, request_id: str, failure: Failure, now_ns: int) -> None:
    record = agent.asks.get(request_id)
    extension = agent.extensions.get(request_id)
    waiting = record if record is not None and not record.cancelling else extension
    if waiting is not None and failure.code == UNAVAILABLE:
        agent.retry(Pending(waiting.operation), _retry_at_ns(failure, now_ns))
    elif record is not None:
        del agent.asks[request_id]
        if failure.reason == _USED_BEFORE and all(held.request_id != request_id for held in agent.grants.values()):
            agent.withdraw(request_id)  # it may stand for a place in the queue there, for which nobody here waits
        if not record.cancelling:
            agent.notify(AskEnded(agent.spec.agent_id, request_id, failure))
    elif extension is not None:
        del agent.extensions[request_id]
        _extension_ended(agent, request_id, extension, failure)


def _proof_failed(agent: AgentCore, token: int, failure: Failure, now_ns: int) -> None:
    proof = agent.proof
    if proof is None or token not in {0, proof.token}:
        return
    if failure.code == UNAVAILABLE:
        proof.nonce, proof.ask_again_ns = 0, _retry_at_ns(failure, now_ns)
    else:
        # STALE_TOKEN: the zones are granted anew since, so nothing of this token is blocked any more.
        done = proof.challenged and failure.reason == "STALE_TOKEN"
        proofs.end(agent, proof, Done() if done else failure)


def _retry_at_ns(failure: Failure, now_ns: int) -> int:
    return now_ns + (failure.retry_ms or RETRY_MS) * NS_PER_MS


_TAKE: dict[str, Callable[[AgentCore, pb.Answer, int], None]] = {
    "welcome": _welcome,
    "granted": _granted,
    "queued": _queued,
    "rejected": _rejected,
    "cancelled": _cancelled,
    "released": _released,
    "abandoned": _abandoned,
    "extended": _extended,
    "warned": _warned,
    "expired": _expired,
    "revoked": _revoked,
    "challenged": _challenged,
    "claimed": _claimed,
    "yield_to": _yield_to,
    "stop_raised": _stop_raised,
    "stop_ended": _stop_ended,
    "failed": _failed,
}

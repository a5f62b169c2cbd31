"""Asks: checked, answered at once or queued, and served when their zones come free.

Owns the order of answers (I9's bounded wait) and idempotence: a repeat of a request id gets the current state of what
it asked for, never a stored answer, and the same id with other contents is refused.
"""

from __future__ import annotations

from collections.abc import Iterable

from coordinator.core import effects as fx
from coordinator.core import events as ev
from coordinator.core.claims import Obstacle, Waiter
from coordinator.core.grants import Grant, GrantPhase
from coordinator.core.model import MAX_PRIORITY, MAX_ZONES_PER_ASK, BlockCause, UnitRecord, UnitState, spoken
from coordinator.core.rejections import Refusal, Rejection
from coordinator.core.routing import Routing
from coordinator.core.sessions import RequestMemo, RequestState, Session
from coordinator.core.state import Refused, State
from coordinator.core.zones import InvariantViolation, Move


class Asking(Routing):
    """The layer that decides asks."""

    def _on_asked(self, event: ev.Asked) -> None:
        session = self._speaker(event)
        self._check_ask(event)
        memo = session.requests.get(event.request_id)
        if memo is not None:
            self._answer_repeat(event, session, memo)
            return
        stops = self._stops_against(session, event.zones)
        if stops:
            session.awaited_stops.update(stops)
            message = f"{', '.join(event.zones)}: stopped by {', '.join(stops)}; ask again after the reset"
            self._answer(event, fx.Rejected(Rejection.STOPPED, message, zones=event.zones, stop_ids=tuple(stops)))
            return
        held = [z for z in event.zones if self._holds_live(event.agent_id, z)]
        if held:
            message = f"{event.agent_id} already holds {', '.join(held)}; extend that grant instead"
            self._answer(event, fx.Rejected(Rejection.ALREADY_HELD, message, zones=tuple(held)))
            return
        closed = self._closed_to(event.agent_id, session.session, event.zones)
        if closed:
            message = self._closed_message(closed)
            self._answer(event, fx.Rejected(Rejection.CLOSED, message, zones=tuple(closed)))
            return
        self._decide(event, session)

    def _closed_to(self, agent_id: str, session: str, zones: tuple[str, ...]) -> list[str]:
        """Zones that are closed to this asker: all but those where it was left standing, which it must get out of."""
        if not self.closures:
            return []
        return [z for z in zones if z in self.closures and self.units.residue(z, agent_id, session) is None]

    def _closed_message(self, closed: list[str]) -> str:
        said = "; ".join(f"{z} is closed by {self.closures[z].closed_by} ({self.closures[z].reason})" for z in closed)
        return f"{said}: go another way, or ask again once it is open"

    def _reject_closed(self, waiter: Waiter) -> None:
        closed = self._closed_to(waiter.agent_id, waiter.session, waiter.zones)
        rejected = fx.Rejected(Rejection.CLOSED, self._closed_message(closed), zones=tuple(closed))
        self._drop_waiter(waiter)
        self._send(waiter.conn, waiter.agent_id, waiter.request_id, rejected)

    def _stops_against(self, session: Session, zones: tuple[str, ...]) -> list[str]:
        """Active stops over the zones, over where the agent may stand, or latched by it: it may not move at all."""
        if not self.stops.active():
            return []
        places = (*zones, *(u.zone for u in self.units.of_agent(session.agent_id)))
        covering = {s.stop_id for z in places for s in self.stops.covering(z)}
        latched = {
            s.stop_id
            for s in self.stops.active()
            if s.stop_id in session.told_stops or s.stop_id in session.acked_stops
        }
        return sorted(covering | latched)

    def _check_ask(self, event: ev.Asked) -> None:
        if not event.zones:
            raise Refused(Refusal.EMPTY_ASK, f"zones: empty; name 1 to {MAX_ZONES_PER_ASK} zones")
        if len(event.zones) > MAX_ZONES_PER_ASK:
            raise Refused(
                Refusal.TOO_MANY_ZONES,
                f"zones: {len(event.zones)} of them; at most {MAX_ZONES_PER_ASK} in one ask",
                zones=len(event.zones),
            )
        for zone in event.zones:
            self._check_zone(zone)
        if len(event.zones) > 1 and len(set(event.zones)) != len(event.zones):
            twice = sorted({z for z in event.zones if event.zones.count(z) > 1})
            raise Refused(Refusal.DUPLICATE_ZONE, f"zones: {', '.join(twice)} named more than once", zone=twice[0])
        self._check_duration(event.expected_ms, event.zones)
        if not 0 <= event.priority <= MAX_PRIORITY:
            raise Refused(
                Refusal.BAD_PRIORITY, f"priority {event.priority} is not 0 to {MAX_PRIORITY}", priority=event.priority
            )

    def _check_duration(self, expected_ms: int, zones: Iterable[str]) -> None:
        limit, zone = min([(self.units.spec[z].hold_max_ms, z) for z in zones])
        if not 1 <= expected_ms <= limit:
            raise Refused(
                Refusal.BAD_DURATION,
                f"expected_ms {expected_ms} is not 1 to {limit}, the hold_max_ms of {zone}",
                expected_ms=expected_ms,
                hold_max_ms=limit,
            )

    def _holds_live(self, agent_id: str, zone: str) -> bool:
        return agent_id in [u.agent_id for u in self.units.of(zone) if u.state is UnitState.HELD]

    def _answer_repeat(self, event: ev.Asked, session: Session, memo: RequestMemo) -> None:
        """A repeat gets the current state, never a stored answer."""
        if memo.payload != event.payload:
            raise Refused(
                Refusal.PAYLOAD_MISMATCH,
                f"request_id {event.request_id!r} of {event.agent_id} was used before with other contents",
                request_id=event.request_id,
            )
        waiter = self.queue.get(event.agent_id, event.request_id)
        if waiter is not None:
            waiter.conn = event.conn
            self._answer(event, self._queued(waiter))
            return
        grant = self.grants.get(memo.token) if memo.state is RequestState.GRANTED else None
        if grant is not None:
            self._answer(event, self._granted(grant))
        elif memo.state is RequestState.RELEASED:
            message = f"request_id {event.request_id!r}: its zones were given back; ask under a fresh id"
            self._answer(event, fx.Rejected(Rejection.ALREADY_RELEASED, message, token=memo.token))
        else:
            message = f"request_id {event.request_id!r}: its grant has ended; ask under a fresh id"
            self._answer(event, fx.Rejected(Rejection.GRANT_ENDED, message, token=memo.token))

    def _reject(self, event: ev.AgentEvent, answer: fx.Answer) -> None:
        self._send(event.conn, event.agent_id, event.request_id, answer)

    def _decide(self, event: ev.Asked, session: Session) -> None:
        waiter = Waiter(
            agent_id=event.agent_id,
            session=session.session,
            request_id=event.request_id,
            payload=event.payload,
            zones=event.zones,
            expected_ms=event.expected_ms,
            priority=event.priority,
            conn=event.conn,
            arrival=self.queue.next_arrival(),
            since_ms=event.now_ms,
        )
        obstacles = self._obstacles(waiter)
        if not obstacles:
            self._grant(waiter, session)
            return
        ring = self._ring(waiter, obstacles)
        if ring is not None and self._should_hear(waiter, ring):
            self._answer(event, self._would_deadlock(waiter, ring))
        elif event.no_wait:
            blockers = "; ".join(b.detail for b in self._blockers(obstacles))
            self._answer(event, fx.Rejected(Rejection.BUSY, f"not free: {blockers}", zones=event.zones))
        else:
            self._enqueue(waiter, obstacles, session)

    def _enqueue(self, waiter: Waiter, obstacles: list[Obstacle], session: Session) -> None:
        if len(self.queue) >= self.timing.queue_max:
            raise Refused(Refusal.QUEUE_FULL, f"{len(self.queue)} asks are waiting already", waiting=len(self.queue))
        self.queue.add(waiter)
        self.routes.wait(waiter.agent_id, waiter.zones)
        self._verdicts.note(waiter)
        self._remember(session, waiter.request_id, RequestMemo(waiter.payload, RequestState.WAITING))
        self._note_kept_waiting(waiter, obstacles)
        self._recheck_kept_waiting()  # a new wait may free others from a reservation that they stand in the way of
        self._waits_changed(waiter)
        self._send(waiter.conn, waiter.agent_id, waiter.request_id, self._queued(waiter))

    def _queued(self, waiter: Waiter) -> fx.Queued:
        return fx.Queued(self.queue.position(waiter), tuple(self._blockers(self.queue.obstacles(waiter))))

    def _remember(self, session: Session, request_id: str, memo: RequestMemo) -> None:
        session.requests[request_id] = memo
        session.requests.move_to_end(request_id)
        while len(session.requests) > self.timing.remembered_requests_max:
            for oldest, known in session.requests.items():
                if known.state is not RequestState.WAITING:
                    del session.requests[oldest]
                    break
            else:
                break

    def _grant(self, waiter: Waiter, session: Session) -> None:
        token = self._next_token()
        chosen = [self._unit_for(waiter, zone) for zone in waiter.zones]
        for unit in chosen:
            held = UnitRecord(
                zone=unit.zone,
                slot=unit.slot,
                state=UnitState.HELD,
                agent_id=waiter.agent_id,
                session=waiter.session,
                token=token,
                request_id=waiter.request_id,
                payload=waiter.payload,
                expected_ms=waiter.expected_ms,
                remaining_ms=self.timing.coordinator_ms(waiter.expected_ms),
                cause=unit.cause if unit.state is UnitState.BLOCKED else BlockCause.NONE,
                incarnation=self.counter.incarnation,
            )
            self._move(unit, Move.GRANT, held)
        grant = Grant(
            token=token,
            agent_id=waiter.agent_id,
            session=waiter.session,
            request_id=waiter.request_id,
            payload=waiter.payload,
            units={u.zone: u.slot for u in chosen},
            expected_ms=waiter.expected_ms,
            decided_in=self.seq,
            all_zones=waiter.zones,
        )
        self.grants.add(grant)
        self.totals.grants += 1
        self._remember(session, waiter.request_id, RequestMemo(waiter.payload, RequestState.GRANTED, token))
        self._send(waiter.conn, waiter.agent_id, waiter.request_id, self._granted(grant))

    def _unit_for(self, waiter: Waiter, zone: str) -> UnitRecord:
        unit = self.units.takes(zone, waiter.agent_id, waiter.session)
        if unit is None:
            raise InvariantViolation(f"I1: {zone} has no unit for {waiter.agent_id}, to whom it was to be granted")
        return unit

    def _granted(self, grant: Grant) -> fx.Granted:
        remaining_ms = self._remaining_ms(grant)
        return fx.Granted(grant.token, grant.zones, grant.slots, grant.expected_ms, remaining_ms, grant.request_id)

    def _remaining_ms(self, grant: Grant) -> int:
        """What its holder may count on from now: all of it until its commit."""
        if grant.phase is not GrantPhase.LIVE:
            return grant.expected_ms
        return self.timing.holder_ms(max(0, grant.deadline_ms - self.now_ms))

    # -- waiting -------------------------------------------------------------------------------------------------

    def _serve_waiters(self) -> None:
        """Grants every waiter that can now be served, in order. Ends: each round grants someone or stops."""
        for waiter, ring in self._look_again():
            self._drop_waiter(waiter)
            self._send(waiter.conn, waiter.agent_id, waiter.request_id, self._would_deadlock(waiter, ring))
        if not len(self.queue):
            self._dirty.clear()  # nobody waits for what came free
        waits_for: dict[tuple[int, int], set[str]] = {}
        while self._dirty:
            dirty, self._dirty = self._dirty, set()
            for waiter in self.queue.waiting_for(dirty):
                if waiter.silent:
                    continue
                if self._closed_to(waiter.agent_id, waiter.session, waiter.zones):
                    # It was left standing in a closed zone and has been cleared out of it meanwhile.
                    self._reject_closed(waiter)
                    continue
                seen = waits_for.setdefault(waiter.order, set(waiter.unsafe.waits_for if waiter.unsafe else ()))
                obstacles = self._obstacles(waiter)
                self._verdicts.note(waiter)
                self._note_kept_waiting(waiter, obstacles)
                if not obstacles:
                    self._serve(waiter)
                elif waiter.unsafe is not None and not seen.issuperset(waiter.unsafe.waits_for):
                    seen.update(waiter.unsafe.waits_for)
                    self._recheck_kept_waiting()  # whoever this one waits for may be in a reserver's way by that

    def _serve(self, waiter: Waiter) -> None:
        session = self.sessions.get(waiter.agent_id)
        if session is None:
            raise InvariantViolation(f"waiter {waiter.agent_id}/{waiter.request_id} outlived its session")
        self._forget_waiter(waiter)
        self._grant(waiter, session)

    def _note_kept_waiting(self, waiter: Waiter, obstacles: list[Obstacle]) -> None:
        if obstacles and all(o.reserver is not None for o in obstacles):
            self._kept_waiting[waiter.order] = waiter
        else:
            self._kept_waiting.pop(waiter.order, None)

    def _forget_waiter(self, waiter: Waiter) -> None:
        self.queue.remove(waiter)
        self._verdicts.drop(waiter)
        self.routes.wait_over(waiter.agent_id, waiter.zones)
        self._kept_waiting.pop(waiter.order, None)
        self._dirty.update(waiter.zones)  # what it reserved is open to others again
        self._recheck_kept_waiting()
        self._waits_changed(waiter)

    def _waits_changed(self, waiter: Waiter) -> None:
        self._changes.waits = True
        self._changes.zones.update(waiter.zones)
        self._changes.agents.add(waiter.agent_id)

    def _drop_waiter(self, waiter: Waiter) -> None:
        self._forget_waiter(waiter)
        session = self.sessions.get(waiter.agent_id)
        if session is not None:
            session.requests.pop(waiter.request_id, None)

    def _on_cancelled(self, event: ev.Cancelled) -> None:
        """Cancelling what was granted meanwhile answers with the grant; the agent then declines or uses it."""
        session = self._speaker(event)
        waiter = self.queue.get(event.agent_id, event.request_id)
        if waiter is not None:
            self._drop_waiter(waiter)
            self._answer(event, fx.Cancelled())
            return
        memo = session.requests.get(event.request_id)
        grant = self.grants.get(memo.token) if memo is not None else None
        self._answer(event, fx.Cancelled() if grant is None else self._granted(grant))

    def _blockers(self, obstacles: list[Obstacle]) -> list[fx.Blocker]:
        return [blocker_of(self, o, self.now_ms) for o in obstacles]


def blocker_of(state: State, obstacle: Obstacle, now_ms: int) -> fx.Blocker:
    """One obstacle in words that end in what would resolve it."""
    zone, unit = obstacle.zone, obstacle.unit
    if unit is None and obstacle.unsafe is not None:
        others = ", ".join(obstacle.unsafe.waits_for) or "others"
        detail = f"{zone} is free, but taking it now would lock somebody in: {others} must move first"
        return fx.Blocker(zone, "UNSAFE", next(iter(obstacle.unsafe.waits_for), ""), 0, detail)
    if unit is None:
        reserver = obstacle.reserver
        if reserver is None:
            raise InvariantViolation(f"an obstacle at {zone} without a cause")
        waiting, wanted = now_ms - reserver.since_ms, ", ".join(reserver.zones)
        detail = f"{zone} is kept for {reserver.agent_id}, which has waited {spoken(waiting)} for {wanted}"
        return fx.Blocker(zone, "RESERVED", reserver.agent_id, waiting, detail)
    since = state.taken_for_ms(unit, now_ms)
    if unit.state is UnitState.UNKNOWN:
        detail = f"{zone} was never confirmed empty: zonelock clear {zone} --reason ..."
        return fx.Blocker(zone, "UNKNOWN", "", since, detail)
    if unit.state is UnitState.BLOCKED:
        detail = (
            f"{zone} is occupied by {unit.agent_id} without a live grant ({unit.cause.value.lower()}) "
            f"for {spoken(since)}: it asks again, or zonelock clear {zone} --reason ..."
        )
        return fx.Blocker(zone, "BLOCKED", unit.agent_id, since, detail)
    detail = f"{zone} is held by {unit.agent_id} for {spoken(since)}; it releases, or its deadline stops the area"
    return fx.Blocker(zone, "HELD", unit.agent_id, since, detail)

"""What operators and time do: stops on request, resets, clearances, deadlines. Owns I5 (latched) and I6.

A reset ends the latch and nothing else: no grant comes back, and agents ask again. It is refused while an occupant in
scope is neither confirmed standing nor cleared.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from coordinator.core import effects as fx
from coordinator.core import events as ev
from coordinator.core.estop import deadline_stop_id
from coordinator.core.grants import Alarm, Grant
from coordinator.core.model import (
    BlockCause,
    FloorSpec,
    Ledger,
    SeenUnit,
    StopCause,
    StopRecord,
    Timing,
    UnitRecord,
    UnitState,
    spoken,
)
from coordinator.core.presence import Presence
from coordinator.core.rejections import Refusal
from coordinator.core.state import Refused
from coordinator.core.zones import Move, given_back

FORGET_SESSION_MS = 60_000
"""A session without stream, calls or occupancy is forgotten after this long."""

SELF_CONFIRMED = (BlockCause.PARKED, BlockCause.DECLARED)
"""Occupants that said themselves that they stand there."""


class Safety(Presence):
    """The layer of operators and time."""

    def __init__(self, floor: FloorSpec, ledger: Ledger, timing: Timing, now_ms: int) -> None:
        super().__init__(floor, ledger, timing, now_ms)
        self._named_late: dict[str, set[str]] = {}

    # -- tripping ------------------------------------------------------------------------------------------------

    def _on_stop_asked(self, event: ev.StopAsked) -> None:
        self._check_operator(event)
        known = self.stops.get(event.stop_id)
        if known is not None and not known.active:
            raise Refused(
                Refusal.BAD_FIELD,
                f"stop_id {event.stop_id!r} was used by a stop that has been reset; leave it empty for a fresh one",
                stop_id=event.stop_id,
            )
        zones, groups = self._scope(event)
        stop = StopRecord(
            stop_id=event.stop_id,
            cause=StopCause.AGENT if event.agent_id else StopCause.OPERATOR,
            floor=event.floor,
            stop_groups=groups,
            zones=zones,
            tripped_by=event.agent_id or event.operator,
            reason=event.reason,
        )
        tripped = self._latch(stop, event.recorded_at) if known is None else self._widen(known, stop, event.recorded_at)
        self._send(event.conn, "", "", fx.StopsReported((tripped,)))

    def _scope(self, event: ev.StopAsked) -> tuple[tuple[str, ...], tuple[str, ...]]:
        if sum((bool(event.zone), bool(event.stop_group), event.floor)) != 1:
            raise Refused(Refusal.BAD_SCOPE, "scope: give exactly one of zone, stop_group and floor")
        if event.zone:
            self._check_zone(event.zone)
            return (event.zone,), (self.stops.group_of(event.zone),)
        if event.stop_group:
            if event.stop_group not in self.stops.groups:
                raise Refused(
                    Refusal.UNKNOWN_STOP_GROUP,
                    f"stop_group {event.stop_group!r} is not one of {', '.join(sorted(self.stops.groups))}",
                    stop_group=event.stop_group,
                )
            return (), (event.stop_group,)
        return (), ()

    # -- revoking --------------------------------------------------------------------------------------------------

    def _on_revoke_asked(self, event: ev.RevokeAsked) -> None:
        """Two phases: the holder is told to stand still, and holds on until it confirms or its deadline passes."""
        self._check_operator(event)
        if bool(event.token) == bool(event.agent_id):
            raise Refused(Refusal.BAD_FIELD, "token, agent_id: give exactly one of them", field="token")
        grants = [
            g for g in self.grants.all() if g.token == event.token or (event.agent_id and g.agent_id == event.agent_id)
        ]
        if not grants:
            what = f"token {event.token}" if event.token else f"agent_id {event.agent_id!r}"
            raise Refused(Refusal.NOTHING_TO_REVOKE, f"{what} has no live grant", field="token")
        for grant in grants:
            self._revoke(grant, event)
        tokens = tuple(g.token for g in grants)
        subjects = (*(str(t) for t in tokens), *sorted({z for g in grants for z in g.zones}))
        self._audit("revocation", event.operator, event.reason, subjects, event.recorded_at)
        self._send(event.conn, "", "", fx.GrantsRevoked(tokens))

    def _revoke(self, grant: Grant, event: ev.RevokeAsked) -> None:
        grant.revoked = True
        for unit in self.units.with_token(grant.token):
            if unit.state is UnitState.HELD:
                self._move(unit, Move.EXTEND, replace(unit, revoked=True))
        message = f"{event.operator} takes the grant back ({event.reason}): stand still and confirm"
        self._tell(grant.agent_id, fx.Revoked(grant.token, grant.zones, message), grant.request_id)

    # -- resetting and clearing ----------------------------------------------------------------------------------

    def _check_operator(self, event: ev.OperatorEvent) -> None:
        if not event.operator.strip():
            raise Refused(Refusal.OPERATOR_REQUIRED, "operator: empty; name who acts", field="operator")
        if not event.reason.strip():
            raise Refused(Refusal.REASON_REQUIRED, "reason: empty; say why", field="reason")

    def _on_reset_asked(self, event: ev.ResetAsked) -> None:
        self._check_operator(event)
        if not event.stop_ids:
            raise Refused(Refusal.BAD_FIELD, "stop_ids: empty; name each stop that the reset ends", field="stop_ids")
        stops = [self._known_stop(stop_id) for stop_id in dict.fromkeys(event.stop_ids)]
        for stop in stops:
            missing = self.unconfirmed(stop) if stop.active else []
            if missing:
                raise Refused(
                    Refusal.OCCUPANT_UNCONFIRMED,
                    f"stop_id {stop.stop_id!r}: {', '.join(missing)} neither confirmed standing nor cleared",
                    stop_id=stop.stop_id,
                    agents=", ".join(missing),
                )
        answered = tuple(self._reset(stop, event) if stop.active else stop for stop in stops)
        self._send(event.conn, "", "", fx.StopsReported(answered))

    def _known_stop(self, stop_id: str) -> StopRecord:
        stop = self.stops.get(stop_id)
        if stop is None:
            active = ", ".join(s.stop_id for s in self.stops.active()) or "none"
            raise Refused(
                Refusal.UNKNOWN_STOP, f"stop_ids: {stop_id!r} is not a stop; active: {active}", stop_id=stop_id
            )
        return stop

    def unconfirmed(self, stop: StopRecord) -> list[str]:
        """Agents that may be in the stop's scope and have not confirmed that they stand still."""
        return [
            agent_id
            for agent_id in self.units.agents()
            if any(
                self.stops.covers(stop, unit.zone) and not self._stands_confirmed(unit, stop)
                for unit in self.units.of_agent(agent_id)
            )
        ]

    def _stands_confirmed(self, unit: UnitRecord, stop: StopRecord) -> bool:
        if unit.state is UnitState.BLOCKED and unit.cause in SELF_CONFIRMED:
            return True
        session = self.sessions.get(unit.agent_id)
        return (
            session is not None
            and session.session == unit.session
            and session.stream is not None
            and stop.stop_id in session.acked_stops
        )

    def _reset(self, stop: StopRecord, event: ev.ResetAsked) -> StopRecord:
        stop = replace(stop, active=False, reset_by=event.operator, reset_reason=event.reason)
        self.stops.put(stop)
        self._write(stop)
        self._audit("reset", event.operator, event.reason, (stop.stop_id,), event.recorded_at)
        self._changes.stops.add(stop.stop_id)
        self._changes.zones.update(self.stops.zones_in(stop))
        for agent_id in sorted(self.sessions):
            session = self.sessions[agent_id]
            latched = stop.stop_id in session.acked_stops or stop.stop_id in session.told_stops
            session.acked_stops.discard(stop.stop_id)
            if latched or stop.stop_id in session.awaited_stops:
                session.told_stops.pop(stop.stop_id, None)
                session.awaited_stops.discard(stop.stop_id)
                self._tell(agent_id, fx.StopEnded(stop))
                self._changes.agents.add(agent_id)
        for dropped in self.stops.drop_oldest_ended(self.timing.ended_stops_max):
            self._writes.append(fx.Write(dropped.key, None))
        return stop

    def _on_clear_asked(self, event: ev.ClearAsked) -> None:
        self._check_operator(event)
        if event.incarnation not in (0, self.counter.incarnation):
            raise Refused(
                Refusal.OCCUPANT_CHANGED,
                f"incarnation {event.incarnation}: the ledger is in incarnation {self.counter.incarnation} by now; it "
                "was found to be a copy, and its zones are UNKNOWN again",
                field="incarnation",
                found=self.counter.incarnation,
            )
        targets = self._clear_targets(event)
        confirm = event.all_unknown and self.units.unknown_count > 0
        if not targets and not confirm:
            raise Refused(Refusal.NOTHING_TO_CLEAR, "zones: nothing there is blocked or unknown", field="zones")
        cleared = {u.zone for u in targets}
        for unit in targets:
            after = replace(given_back(unit), incarnation=self.counter.incarnation)
            self._move(unit, Move.CLEAR, after)
        if confirm:
            self.counter = replace(self.counter, confirmed=True)
            self._write(self.counter)
            changed = {u.zone for u in self._confirm_empty()}
            self._dirty.update(changed)
            self._changes.zones.update(changed)
            cleared |= changed
        subjects = sorted(u.key for u in targets) + (["all-unknown"] if confirm else [])
        self._audit("clearance", event.operator, event.reason, subjects, event.recorded_at)
        self._send(event.conn, "", "", fx.ZonesCleared(tuple(sorted(cleared))))

    def _clear_targets(self, event: ev.ClearAsked) -> list[UnitRecord]:
        targets: list[UnitRecord] = []
        for zone in self._named_zones(event):
            for unit in self.units.of(zone):
                if event.agent_id and unit.agent_id != event.agent_id:
                    continue
                if unit.state is UnitState.HELD and not event.agent_id:
                    raise Refused(
                        Refusal.STILL_GRANTED,
                        f"zones: {zone} is held by {unit.agent_id} under a live grant",
                        zone=zone,
                        agent=unit.agent_id,
                    )
                if unit.state is UnitState.BLOCKED or (unit.state is UnitState.UNKNOWN and not event.agent_id):
                    self._check_seen(unit, event.seen)
                    self._check_outside(unit)
                    targets.append(unit)
        return targets

    def _check_seen(self, unit: UnitRecord, seen: tuple[SeenUnit, ...]) -> None:
        """A clearance may arrive late, after the machine that was towed away came back and parked there: it holds for
        the occupancy that its operator saw, and for no other.
        """
        if unit.state is not UnitState.BLOCKED:
            return
        named = next((s for s in seen if (s.zone, s.slot) == (unit.zone, unit.slot)), None)
        if named is not None and (named.agent_id, named.token) == (unit.agent_id, unit.token):
            return
        before = f"{named.agent_id} (token {named.token})" if named is not None else "nobody"
        found = f"{unit.agent_id} (token {unit.token})"
        raise Refused(
            Refusal.OCCUPANT_CHANGED,
            f"seen: {before} in {unit.zone}, slot {unit.slot}; now it is {found}",
            zone=unit.zone,
            slot=unit.slot,
            seen=before,
            found=found,
        )

    def _named_zones(self, event: ev.ClearAsked) -> Iterable[str]:
        if event.agent_id and not event.zones:
            return sorted({u.zone for u in self.units.of_agent(event.agent_id)})
        return self._named(event.zones)

    def _named(self, zones_or_areas: Iterable[str]) -> Iterable[str]:
        """Each zone once, areas taken apart; refused when one is neither."""
        names: dict[str, None] = {}
        for name in zones_or_areas:
            if name not in self.areas:
                self._check_zone(name)
            names.update(dict.fromkeys(self.areas.get(name, (name,))))
        return names

    def _check_outside(self, unit: UnitRecord) -> None:
        until_ms = self._may_move_until_ms.get(unit.token, 0)
        if unit.state is UnitState.BLOCKED and self.now_ms < until_ms:
            left = spoken(until_ms - self.now_ms)
            raise Refused(
                Refusal.HOLDER_MAY_MOVE,
                f"zones: {unit.agent_id} has not confirmed that it stands and may drive into {unit.zone} for {left}",
                zone=unit.zone,
                agent=unit.agent_id,
            )
        session = self.sessions.get(unit.agent_id)
        if session is None or session.stream is None or session.reported_at_ms is None:
            return
        fresh = self.now_ms - session.reported_at_ms <= self.timing.telemetry_fresh_ms
        if fresh and session.inside is not None and unit.zone in session.inside:
            raise Refused(
                Refusal.OCCUPANT_INSIDE,
                f"zones: {unit.agent_id} reports right now that it is inside {unit.zone}",
                zone=unit.zone,
                agent=unit.agent_id,
            )

    # -- time ----------------------------------------------------------------------------------------------------

    def _on_ticked(self, event: ev.Ticked) -> None:
        for alarm, grant in self.grants.due(event.now_ms):
            self._wind_down()
            if self.grants.get(grant.token) is None:
                continue  # ended by a stop that an earlier alarm of this very tick tripped
            if alarm is Alarm.WARN:
                grant.warned = True
                left = self.timing.holder_ms(max(0, grant.deadline_ms - event.now_ms))
                self._tell(grant.agent_id, fx.Warned(grant.token, left), grant.request_id)
            elif grant.said_left:
                self._end_grant(grant, BlockCause.ABANDONED)
            elif event.fence_fresh:
                self._overdue(grant, event)
            else:
                self.grants.put_back(grant)
        self._notice_silence(event.now_ms)
        self._notice_unacknowledged(event.now_ms)

    def _overdue(self, grant: Grant, event: ev.Ticked) -> None:
        zones = grant.zones
        held_ms = event.now_ms - grant.granted_at_ms
        stop = StopRecord(
            stop_id=deadline_stop_id(grant.token),
            cause=StopCause.OVERDUE,
            floor=False,
            stop_groups=tuple(sorted({self.stops.group_of(z) for z in zones})),
            zones=zones,
            tripped_by="coordinator",
            reason=f"{grant.agent_id} has held {', '.join(zones)} for {spoken(held_ms)} and not confirmed that it left",
        )
        self._latch(stop, event.recorded_at, overdue=grant)

    def late_to_acknowledge(self, stop: StopRecord, now_ms: int) -> list[str]:
        """Connected agents that were told of an active stop and have not confirmed standing within `estop_ack_ms`."""
        late = []
        for agent_id, session in sorted(self.sessions.items()):
            told = session.told_stops.get(stop.stop_id)
            waiting = told is not None and stop.stop_id not in session.acked_stops and session.stream is not None
            if waiting and told is not None and now_ms - told > self.timing.estop_ack_ms:
                late.append(agent_id)
        return late

    def _notice_unacknowledged(self, now_ms: int) -> None:
        for stop in self.stops.active():
            late = set(self.late_to_acknowledge(stop, now_ms)) - self._named_late.get(stop.stop_id, set())
            if late:
                self._named_late.setdefault(stop.stop_id, set()).update(late)
                self._changes.stops.add(stop.stop_id)
                names = ", ".join(sorted(late))
                self._alarms.append(
                    f"{names} did not acknowledge stop {stop.stop_id} within {self.timing.estop_ack_ms} ms: look there"
                )

    def _notice_silence(self, now_ms: int) -> None:
        limit = 2 * self.timing.heartbeat_ms
        for number in sorted(self.conns):
            conn = self.conns[number]
            if not conn.detached and not conn.silent and now_ms - conn.heard_at_ms > limit:
                self._set_silent(conn, silent=True)
        for agent_id in sorted(self.sessions):
            session = self.sessions[agent_id]
            gone = session.gone_since_ms
            if session.stream is not None or session.calls or gone is None or self.units.of_agent(agent_id):
                continue
            if now_ms - gone > FORGET_SESSION_MS:
                del self.sessions[agent_id]
                self._changes.agents.add(agent_id)

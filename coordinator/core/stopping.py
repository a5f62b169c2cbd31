"""What a stop does, whoever trips it: it latches, tells agents ahead of everything else, and ends grants.

A stop ends every live grant of every agent that holds, occupies or is about to hold anything in its scope, and its
units stay occupied (I2). A grant that nobody has been told of yet was never used and falls back to what its units
were.

Latching and telling come first (`_latch`), ending second (`_wind_down`): of a large stop the second takes longer than
the first, and receivers need not wait for it. Between the two nothing else is decided. Whatever event comes next, the
machine winds down before it looks at it, so no grant, deadline or release ever meets a floor half stopped.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from coordinator.core import effects as fx
from coordinator.core import events as ev
from coordinator.core.grants import Grant, GrantPhase
from coordinator.core.holding import Holding
from coordinator.core.model import (
    BlockCause,
    CounterRecord,
    FloorSpec,
    Ledger,
    Mark,
    StopCause,
    StopRecord,
    Timing,
    UnitState,
)
from coordinator.core.rejections import Rejection
from coordinator.core.sessions import RequestState, Session
from coordinator.core.zones import Move, ended, never_used


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What a stop that has latched leaves to do: the grants of the agents that it affects end, waiters are refused."""

    stop: StopRecord
    scope: list[str]
    affected: list[str]
    overdue: Grant | None


class Stopping(Holding):
    """The layer that trips stops."""

    def __init__(self, floor: FloorSpec, ledger: Ledger, timing: Timing, now_ms: int) -> None:
        super().__init__(floor, ledger, timing, now_ms)
        self._aftermaths: list[Aftermath] = []

    @property
    def winding_down(self) -> list[StopRecord]:
        """Stops that have latched and have yet to end grants: the very next thing that the machine does."""
        return [aftermath.stop for aftermath in self._aftermaths]

    def _trip(self, stop: StopRecord, recorded_at: str) -> StopRecord:
        """Both halves of a stop in one."""
        stop = self._latch(stop, recorded_at)
        self._wind_down()
        return stop

    def _latch(self, stop: StopRecord, recorded_at: str, overdue: Grant | None = None) -> StopRecord:
        """The half of a stop that must not wait: from here on nothing is granted in its scope, and everybody whom it
        affects is told. Its record is written before the units that it blocks.
        """
        self._wind_down()
        stop = replace(stop, token=self.counter.token, seq=self.stops.next_seq(), active=True)
        self.stops.put(stop)
        self._tripped_at_ms[stop.stop_id] = self.now_ms
        self._write(stop)
        self._audit("stop", stop.tripped_by, stop.reason, (stop.stop_id, *stop.zones, *stop.stop_groups), recorded_at)
        self.totals.stops += 1
        self._changes.stops.add(stop.stop_id)
        scope = self.stops.zones_in(stop)
        self._changes.zones.update(scope)
        affected = self.affected(stop)
        if overdue is not None:
            affected.add(overdue.agent_id)
        aftermath = Aftermath(stop, scope, sorted(affected), overdue)
        raised = fx.StopRaised(stop)
        for agent_id in aftermath.affected:
            self._tell_stop(agent_id, raised)
        self._aftermaths.append(aftermath)
        return stop

    def affected(self, stop: StopRecord) -> set[str]:
        """Agents that hold or occupy anything in the stop's scope."""
        units = (unit for zone in self.stops.zones_in(stop) for unit in self.units.of(zone))
        return {unit.agent_id for unit in units if unit.state in (UnitState.HELD, UnitState.BLOCKED)}

    def _tell_stop(self, agent_id: str, raised: fx.StopRaised) -> None:
        session = self.sessions.get(agent_id)
        if session is not None and session.stream is not None:
            session.told_stops.setdefault(raised.stop.stop_id, self.now_ms)
            self._stop_sends.append(fx.Send(session.stream, agent_id, "", raised))

    def _wind_down(self) -> None:
        """The other half of every stop that has latched, in their order."""
        while self._aftermaths:
            self._end_grants_under(self._aftermaths[0])
            del self._aftermaths[0]

    def _end_grants_under(self, aftermath: Aftermath) -> None:
        stop, overdue = aftermath.stop, aftermath.overdue
        before, now_ms = self._may_move_until_ms, self.now_ms
        self._may_move_until_ms = {token: until for token, until in before.items() if until > now_ms}
        if overdue is not None:
            self._end_grant(overdue, BlockCause.OVERDUE)
            self._tell(overdue.agent_id, fx.Expired(overdue.token, overdue.all_zones, stop.stop_id))
        for agent_id in aftermath.affected:
            self._end_grants_of(agent_id)
        waiters = {w.order: w for w in self.queue.waiting_for(aftermath.scope)}
        waiters |= {w.order: w for agent_id in aftermath.affected for w in self.queue.of_agent(agent_id)}
        for _, waiter in sorted(waiters.items()):
            message = f"{', '.join(waiter.zones)}: stopped by {stop.stop_id}; ask again after the reset"
            rejected = fx.Rejected(Rejection.STOPPED, message, zones=waiter.zones, stop_ids=(stop.stop_id,))
            self._drop_waiter(waiter)
            session = self.sessions.get(waiter.agent_id)
            if session is not None:
                session.awaited_stops.add(stop.stop_id)
            self._send(waiter.conn, waiter.agent_id, waiter.request_id, rejected)

    def _stop_agent(self, agent_id: str, stop: StopRecord) -> None:
        """An active stop reaches one more agent."""
        self._end_grants_of(agent_id)
        self._tell_stop(agent_id, fx.StopRaised(stop))

    def _end_grants_of(self, agent_id: str) -> None:
        for token in sorted({u.token for u in self.units.of_agent(agent_id) if u.state is UnitState.HELD}):
            grant = self.grants.get(token)
            if grant is not None:
                self._end_grant(grant, BlockCause.STOPPED)

    def _end_grant(self, grant: Grant, cause: BlockCause) -> None:
        """Ends a grant with its holder possibly inside; one that nobody has been told of yet was never used."""
        told = grant.phase is GrantPhase.LIVE
        left_ms = max(0, grant.deadline_ms - self.now_ms) if told and cause is BlockCause.STOPPED else 0
        if left_ms:
            self._may_move_until_ms[grant.token] = grant.deadline_ms
        for unit in self.units.with_token(grant.token):
            if unit.state is UnitState.HELD:
                after = ended(unit, cause, left_ms) if told else never_used(unit)
                self._move(unit, Move.END if told else Move.DECLINE, after)
        self._shrink(grant.token, grant.zones, RequestState.ENDED)

    def _on_stop_recovered(self, event: ev.StopRecovered) -> None:
        known = self.stops.get(event.stop.stop_id)
        if known is None:
            self._latch(event.stop, event.recorded_at)
        elif known.active:
            self._widen(known, event.stop, event.recorded_at)

    def _on_wind_down(self, event: ev.WindDown) -> None:
        """The machine has wound down before it came here, as before every event."""

    def _widen(self, known: StopRecord, asked: StopRecord, recorded_at: str) -> StopRecord:
        """An active stop that was adopted from an agent knows only where that agent stood. When its whole scope comes
        to light, the stop covers it from then on; a scope never shrinks. Who tripped it, and why, comes to light too.
        """
        groups = tuple(sorted({*known.stop_groups, *asked.stop_groups}))
        zones = tuple(sorted({*known.zones, *asked.zones}))
        wider = replace(known, floor=known.floor or asked.floor, stop_groups=groups, zones=zones)
        same = (wider.floor, set(groups), set(zones)) == (known.floor, set(known.stop_groups), set(known.zones))
        if same and (not _adopted(known) or _adopted(asked)):
            return known
        return self._latch(
            replace(wider, cause=asked.cause, tripped_by=asked.tripped_by, reason=asked.reason), recorded_at
        )

    def behind(self, seen: Mark) -> str:
        """What shows that this ledger is not the one that was seen, or no longer: empty when nothing does.

        What was seen under this very fence says nothing: only this coordinator commits under it. A mark of an earlier
        incarnation says nothing new: that ledger has been distrusted.
        """
        if seen.token > self.counter.token:
            return f"saw token {seen.token}, above {self.counter.token}, the newest of this ledger"
        if seen.incarnation != self.counter.incarnation or not seen.epoch:
            return ""
        if seen.epoch > self.epoch:
            return f"saw a leader with fence {seen.epoch}, above {self.epoch}, the newest of this ledger"
        if seen.epoch < self.epoch and seen.revision > self.loaded_revision:
            return f"saw revision {seen.revision}, above {self.loaded_revision}, at which this ledger was taken over"
        return ""

    def _check_ledger(self, seen: Mark, witness: str, recorded_at: str) -> None:
        """A ledger behind what someone saw was replaced, or restored from an old copy (I3)."""
        why = self.behind(seen)
        if why:
            self._distrust_ledger(seen, f"{witness} {why}", recorded_at)

    def _pass_over(self, seen: Mark) -> None:
        """A new ledger, of a floor that its operator declares empty: nothing to distrust, but its tokens go on above
        those of the one before it.
        """
        if self.behind(seen):
            self.counter = replace(self.counter, incarnation=seen.incarnation + 1)

    def _distrust_ledger(self, seen: Mark, why: str, recorded_at: str) -> None:
        """Tokens go on above everything seen, every unit that looks free is UNKNOWN, and the floor stops until people
        have looked.
        """
        incarnation = max(self.counter.incarnation, seen.incarnation) + 1
        reason = f"{why}: it was replaced or restored from an old copy. Walk the floor, clear what is empty, then reset"
        self.counter = CounterRecord(incarnation, self.counter.counter, confirmed=False)
        self._write(self.counter)  # first: with it alone, every record of the old incarnation is void and UNKNOWN
        carried = self._distrust_units(incarnation)
        for unit in carried:
            self._write(unit)
        self._changes.zones.update(self.units.zone_names)
        stop = StopRecord(f"ledger:{incarnation}", StopCause.LEDGER, True, (), (), "coordinator", reason)
        self._trip(stop, recorded_at)
        self._alarms.append(reason)

    def _adopt(self, stop_id: str, session: Session) -> None:
        """An agent is latched by a stop that the ledger never heard of: it left before a crash, or was tripped after
        the copy that is the ledger now was made. It is a stop all the same. Until the floor is confirmed it covers all
        of it: nobody knows its scope, and whom it stopped may have begun anew and forgotten it, as the ledger has.
        """
        zones = tuple(u.zone for u in self.units.of_agent(session.agent_id))
        stop = StopRecord(
            stop_id=stop_id,
            cause=StopCause.AGENT,
            floor=not self.counter.confirmed,
            stop_groups=tuple(sorted({self.stops.group_of(z) for z in zones})),
            zones=zones,
            tripped_by=session.agent_id,
            reason=_adopting(session.agent_id),
        )
        self._trip(stop, "")
        self._confirm_standing(session, stop_id)
        session.told_stops.setdefault(stop_id, self.now_ms)

    def _confirm_standing(self, session: Session, stop_id: str) -> None:
        """The agent stands because of this stop: nothing of what it was granted can move it any more."""
        session.acked_stops.add(stop_id)
        self._changes.stops.add(stop_id)
        for unit in self.units.of_agent(session.agent_id):
            if unit.session == session.session:
                self._may_move_until_ms.pop(unit.token, None)

    def _on_stop_acked(self, event: ev.StopAcked) -> None:
        session = self._speaker(event)
        for stop_id in event.stop_ids:
            stop = self.stops.get(stop_id)
            if stop is None:
                self._adopt(stop_id, session)
                continue
            if not stop.active:
                self._answer(event, fx.StopEnded(stop))
                continue
            if stop_id not in session.told_stops:
                self._stop_agent(event.agent_id, stop)  # it heard of it elsewhere, and has given up its grants
            self._confirm_standing(session, stop_id)
        self._changes.agents.add(event.agent_id)


def _adopting(agent_id: str) -> str:
    return f"{agent_id} came back latched by a stop that the ledger does not know"


def _adopted(stop: StopRecord) -> bool:
    """Known from an agent's latch only: who tripped it, and why, is not."""
    return stop.cause is StopCause.AGENT and stop.reason == _adopting(stop.tripped_by)

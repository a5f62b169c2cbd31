"""Mistakes in the core: deadlines, stops, and who is served when."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from chaos.mutations.patching import Mutation, Patch, mutation
from coordinator.core import effects as fx
from coordinator.core import events as ev
from coordinator.core.asking import Asking
from coordinator.core.claims import Queue, Waiter
from coordinator.core.grants import Alarm, Grant, Grants
from coordinator.core.machine import Machine
from coordinator.core.model import BlockCause, UnitRecord, UnitState
from coordinator.core.presence import Presence
from coordinator.core.safety import Safety
from coordinator.core.sessions import Session
from coordinator.core.stopping import Stopping

SAFETY: list[Mutation] = []

# -- time ----------------------------------------------------------------------------------------------------------


@mutation(
    SAFETY,
    "deadline_from_ask",
    "a queued ask's time runs while it waits: the deadline counts from the ask, not from the commit",
    "I6",
    "I9",
)
def _deadline_from_ask(patch: Patch) -> None:
    since: dict[int, int] = {}

    def remember(original: Any) -> Any:
        def grant(self: Asking, waiter: Waiter, session: Session) -> None:
            original(self, waiter, session)
            since[self.counter.token] = waiter.since_ms

        return grant

    def make(original: Any) -> Any:
        def start(self: Grants, grant: Grant, now_ms: int, lasts_ms: int, warn_permille: int) -> None:
            asked = since.pop(grant.token, now_ms)
            original(self, grant, now_ms, max(1, lasts_ms - (now_ms - asked)), warn_permille)

        return start

    patch.wrap(Asking, "_grant", remember)
    patch.wrap(Grants, "start", make)


@mutation(SAFETY, "trip_inherited_at_once", "a new leader trips every hold that it finds", "I6")
def _trip_inherited_at_once(patch: Patch) -> None:
    def make(original: Any) -> Any:
        def inherit_grant(self: Presence, token: int, units: list[UnitRecord]) -> None:
            original(self, token, units)
            grant = self.grants.get(token)
            if grant is not None:
                grant.deadline_ms = 0
                self.grants.start(grant, self.now_ms, 1, self.timing.warn_permille)

        return inherit_grant

    patch.wrap(Presence, "_inherit_grant", make)


@mutation(SAFETY, "trip_late", "an overdue hold is noticed half a second late", "I6")
def _trip_late(patch: Patch) -> None:
    late_ms = 500

    def make(original: Any) -> Any:
        def due(self: Grants, now_ms: int) -> list[tuple[Alarm, Grant]]:
            found: list[tuple[Alarm, Grant]] = original(self, now_ms)
            early = [g for alarm, g in found if alarm is Alarm.OVERDUE and now_ms < g.deadline_ms + late_ms]
            for grant in early:
                self.put_back(grant)
            return [(alarm, g) for alarm, g in found if alarm is not Alarm.OVERDUE or g not in early]

        return due

    patch.wrap(Grants, "due", make)


@mutation(SAFETY, "overdue_without_stop", "an overdue hold blocks its zones and stops nobody", "I6")
def _overdue_without_stop(patch: Patch) -> None:
    def overdue(self: Safety, grant: Grant, event: ev.Ticked) -> None:
        self._end_grant(grant, BlockCause.OVERDUE)

    patch.wrap(Safety, "_overdue", lambda _: overdue)


# -- stops ---------------------------------------------------------------------------------------------------------


@mutation(SAFETY, "reset_without_naming", "a reset ends every active stop, whichever it names", "I5")
def _reset_without_naming(patch: Patch) -> None:
    def make(original: Any) -> Any:
        def on_reset_asked(self: Safety, event: ev.ResetAsked) -> None:
            named = dict.fromkeys((*event.stop_ids, *(s.stop_id for s in self.stops.active())))
            original(self, replace(event, stop_ids=tuple(named)))

        return on_reset_asked

    patch.wrap(Safety, "_on_reset_asked", make)


@mutation(SAFETY, "reset_restarts_grants", "a reset gives back the grants that its stop ended", "I3", "I4", "I5")
def _reset_restarts_grants(patch: Patch) -> None:
    def make(original: Any) -> Any:
        def reset(self: Safety, stop: Any, event: ev.ResetAsked) -> Any:
            done = original(self, stop, event)
            for zone in self.stops.zones_in(stop):
                for unit in self.units.of(zone):
                    if unit.state is not UnitState.BLOCKED or unit.cause is not BlockCause.STOPPED:
                        continue
                    self.units._store(replace(unit, state=UnitState.HELD, cause=BlockCause.NONE))
                    grant = Grant(
                        unit.token, unit.agent_id, unit.session, unit.request_id, unit.payload, {zone: unit.slot},
                        unit.expected_ms, self.seq, all_zones=(zone,),
                    )  # fmt: skip
                    self._write(self.units.of(zone)[unit.slot])
                    self.grants.add(grant)
                    self._tell(unit.agent_id, self._granted(grant), unit.request_id)
            return done

        return reset

    patch.wrap(Safety, "_reset", make)


@mutation(
    SAFETY, "act_on_replayed_alarm", "a stop that was reset is tripped again when an old copy of it arrives", "I5"
)
def _act_on_replayed_alarm(patch: Patch) -> None:
    def recovered(self: Stopping, event: ev.StopRecovered) -> None:
        known = self.stops.get(event.stop.stop_id)
        if known is None or not known.active:
            self._trip(event.stop, event.recorded_at)

    def make(original: Any) -> Any:
        def adopt_latches(self: Presence, event: ev.Hello, session: Session) -> None:
            for stop_id in event.latched_stop_ids:
                stop = self.stops.get(stop_id)
                if stop is not None and not stop.active:
                    self._trip(replace(stop, reset_by="", reset_reason=""), event.recorded_at)
            original(self, event, session)

        return adopt_latches

    patch.wrap(Stopping, "_on_stop_recovered", lambda _: recovered)
    patch.wrap(Presence, "_adopt_latches", make)


@mutation(
    SAFETY, "queued_grant_to_stopped_zone", "a grant that waited for its commit leaves although a stop ended it", "I5"
)
def _queued_grant_to_stopped_zone(patch: Patch) -> None:
    def as_of_now(self: Machine, send: fx.Send) -> fx.Send | None:
        return send

    patch.wrap(Machine, "as_of_now", lambda _: as_of_now)


@mutation(SAFETY, "stop_never_winds_down", "a stop latches and is told, and the grants under it never end", "I5")
def _stop_never_winds_down(patch: Patch) -> None:
    patch.wrap(Stopping, "_end_grants_under", lambda _: lambda self, aftermath: None)


@mutation(SAFETY, "grant_while_latched", "an agent that a stop reached is granted what the stop does not cover", "I5")
def _grant_while_latched(patch: Patch) -> None:
    def stops_against(self: Asking, session: Session, zones: tuple[str, ...]) -> list[str]:
        return sorted({s.stop_id for z in zones for s in self.stops.covering(z)})

    patch.wrap(Asking, "_stops_against", lambda _: stops_against)


# -- waiting -------------------------------------------------------------------------------------------------------


@mutation(
    SAFETY,
    "reservation_binds_predecessors",
    "what is kept for the oldest waiter is kept even from those who stand in its way",
    "I9",
)
def _reservation_binds_predecessors(patch: Patch) -> None:
    def exempt(self: Queue, agent_id: str, reserver: Waiter, zones: tuple[str, ...]) -> bool:
        return False

    patch.wrap(Queue, "_exempt", lambda _: exempt)


@mutation(SAFETY, "forgets_waiters", "a zone that comes free is offered to nobody who waited for it", "I9")
def _forgets_waiters(patch: Patch) -> None:
    def serve_waiters(self: Asking) -> None:
        self._dirty.clear()

    patch.wrap(Asking, "_serve_waiters", lambda _: serve_waiters)

"""Mistakes in the core: who gets a zone, when it is empty, what a token and a request id mean."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from chaos.mutations.patching import Mutation, Patch, mutation
from coordinator.core import effects as fx
from coordinator.core import events as ev
from coordinator.core.asking import Asking
from coordinator.core.claims import Waiter
from coordinator.core.estop import deadline_stop_id
from coordinator.core.grants import Grant
from coordinator.core.holding import Holding
from coordinator.core.machine import Machine
from coordinator.core.model import Mark, UnitRecord, UnitState
from coordinator.core.presence import Presence
from coordinator.core.rejections import Refusal
from coordinator.core.safety import Safety
from coordinator.core.sessions import RequestMemo, RequestState, Session
from coordinator.core.state import Refused
from coordinator.core.stopping import Stopping
from coordinator.core.zones import Move, given_back

CORE: list[Mutation] = []

# -- occupancy -----------------------------------------------------------------------------------------------------


@mutation(CORE, "free_on_expiry", "a deadline that passes frees the zones, as a lease would", "I1", "I2", "I6")
def _free_on_expiry(patch: Patch) -> None:
    def overdue(self: Safety, grant: Grant, event: ev.Ticked) -> None:
        for unit in self.units.with_token(grant.token):
            if unit.state is UnitState.HELD:
                self._move(unit, Move.RELEASE, given_back(unit))
        zones = grant.zones
        self._shrink(grant.token, zones, RequestState.ENDED)
        self._tell(grant.agent_id, fx.Expired(grant.token, zones, deadline_stop_id(grant.token)))

    patch.wrap(Safety, "_overdue", lambda _: overdue)


@mutation(CORE, "reclaim_at_takeover", "a new leader frees the grants that it finds", "I1", "I2")
def _reclaim_at_takeover(patch: Patch) -> None:
    def inherit_grant(self: Presence, token: int, units: list[UnitRecord]) -> None:
        for unit in units:
            self._move(unit, Move.RELEASE, given_back(unit))

    patch.wrap(Presence, "_inherit_grant", lambda _: inherit_grant)


@mutation(
    CORE,
    "old_position_as_proof",
    "the position that the coordinator last heard, however old, proves a blocked zone empty",
    "I1",
    "I2",
    needs=("coordinator.core.holding:Holding._on_proof_asked",),
)
def _old_position_as_proof(patch: Patch) -> None:
    def make(original: Any) -> Any:
        def proof_asked(self: Holding, event: ev.ProofAsked) -> None:
            session, units = self._holding(event, event.token, ())
            blocked = [u for u in units if u.state is UnitState.BLOCKED]
            if session.inside is None or any(u.zone in session.inside for u in blocked):
                original(self, event)
                return
            for unit in blocked:
                self._move(unit, Move.CLEAR, given_back(unit))
            self._answer(event, fx.Released(event.token, tuple(u.zone for u in blocked)))

        return proof_asked

    patch.wrap(Holding, "_on_proof_asked", make)


@mutation(
    CORE,
    "widen_capacity_by_orphan",
    "an orphan that comes back returns a permit to the semaphore that it never gave up",
    "I1",
)
def _widen_capacity_by_orphan(patch: Patch) -> None:
    def make(original: Any) -> Any:
        def on_hello(self: Presence, event: ev.Hello) -> None:
            session = self.sessions.get(event.agent_id)
            orphaned = session is not None and session.stream is None
            original(self, event)
            for unit in self.units.of_agent(event.agent_id) if orphaned else ():
                slots = self.units._table[unit.zone]
                if unit.state is UnitState.HELD and unit.session == event.session:
                    slots.append(UnitRecord(unit.zone, len(slots), UnitState.FREE, incarnation=unit.incarnation))
                    self._dirty.add(unit.zone)

        return on_hello

    patch.wrap(Presence, "_on_hello", make)


@mutation(CORE, "ignore_still_inside", "a release is believed although the latest position contradicts it", "I1", "I2")
def _ignore_still_inside(patch: Patch) -> None:
    def make(original: Any) -> Any:
        def on_released(self: Holding, event: ev.Released) -> None:
            session = self.sessions.get(event.agent_id)
            if session is not None:
                session.inside = None
            original(self, event)

        return on_released

    patch.wrap(Holding, "_on_released", make)


# -- tokens and requests -------------------------------------------------------------------------------------------


@mutation(CORE, "per_zone_tokens", "a token is stale as soon as any slot of its zone has a newer one", "I3", "I9")
def _per_zone_tokens(patch: Patch) -> None:
    def make(original: Any) -> Any:
        def holding(self: Holding, event: ev.AgentEvent, token: int, zones: tuple[str, ...]) -> Any:
            session, units = original(self, event, token, zones)
            newest = max((u.token for unit in units for u in self.units.of(unit.zone)), default=token)
            if newest > token:
                raise Refused(Refusal.STALE_TOKEN, f"token {token} is below {newest} in its zone", token=token)
            return session, units

        return holding

    patch.wrap(Holding, "_holding", make)


@mutation(CORE, "stale_token_frees", "a release under an old token frees whoever holds the unit now", "I1", "I2", "I3")
def _stale_token_frees(patch: Patch) -> None:
    held: dict[int, tuple[tuple[str, int], ...]] = {}

    def remember(original: Any) -> Any:
        def grant(self: Asking, waiter: Waiter, session: Session) -> None:
            original(self, waiter, session)
            made = self.grants.get(self.counter.token)
            if made is not None:
                held[made.token] = tuple(made.units.items())

        return grant

    def make(original: Any) -> Any:
        def on_released(self: Holding, event: ev.Released) -> None:
            if event.token not in held or self.units.with_token(event.token):
                original(self, event)
                return
            zones = []
            for zone, slot in held[event.token]:
                unit = self.units.of(zone)[slot]
                if unit.state is UnitState.HELD:
                    self._move(unit, Move.RELEASE, given_back(unit))
                    self._shrink(unit.token, [zone], RequestState.RELEASED)
                    zones.append(zone)
            self._answer(event, fx.Released(event.token, tuple(zones)))

        return on_released

    patch.wrap(Asking, "_grant", remember)
    patch.wrap(Holding, "_on_released", make)


@mutation(CORE, "resume_without_secret", "whoever says an agent's name gets its session and its grants", "I2", "I3")
def _resume_without_secret(patch: Patch) -> None:
    def make(original: Any) -> Any:
        def on_hello(self: Presence, event: ev.Hello) -> None:
            units = self.units.of_agent(event.agent_id)
            session = self.sessions.get(event.agent_id)
            known = session.session if session is not None else units[0].session if units else event.session
            original(self, replace(event, session=known))

        return on_hello

    patch.wrap(Presence, "_on_hello", make)


@mutation(
    CORE,
    "dedup_by_request_id_alone",
    "a request id seen before gets that request's answer, whoever asked it and for what",
    "I1",
    "I3",
)
def _dedup_by_request_id_alone(patch: Patch) -> None:
    def make(original: Any) -> Any:
        def on_asked(self: Asking, event: ev.Asked) -> None:
            mine = self.sessions.get(event.agent_id)
            for _, session in sorted(self.sessions.items()):
                memo = session.requests.get(event.request_id)
                if memo is not None and memo.state is not RequestState.WAITING and mine is not None:
                    mine.requests.setdefault(event.request_id, memo)
                    event = replace(event, payload=memo.payload)
                    break
            original(self, event)

        return on_asked

    patch.wrap(Asking, "_on_asked", make)


@mutation(
    CORE, "stored_answer", "a repeated ask gets the answer that was given then, not the state of now", "I1", "I4", "I5"
)
def _stored_answer(patch: Patch) -> None:
    stored: dict[tuple[str, str, str], fx.Granted] = {}
    repeated: list[fx.Granted] = []

    def remember(original: Any) -> Any:
        def granted(self: Asking, grant: Grant) -> fx.Granted:
            made: fx.Granted = original(self, grant)
            stored.setdefault((grant.agent_id, grant.session, grant.request_id), made)
            return made

        return granted

    def make(original: Any) -> Any:
        def answer_repeat(self: Asking, event: ev.Asked, session: Session, memo: RequestMemo) -> None:
            answer = stored.get((event.agent_id, session.session, event.request_id))
            if answer is None:
                original(self, event, session, memo)
                return
            repeated.append(answer)
            self._answer(event, answer)

        return answer_repeat

    def keep(original: Any) -> Any:
        def as_of_now(self: Machine, send: fx.Send) -> fx.Send | None:
            if any(send.answer is answer for answer in repeated):
                return send
            kept: fx.Send | None = original(self, send)
            return kept

        return as_of_now

    patch.wrap(Asking, "_granted", remember)
    patch.wrap(Asking, "_answer_repeat", make)
    patch.wrap(Machine, "as_of_now", keep)


@mutation(
    CORE,
    "ignore_restored_ledger",
    "a token above the ledger's newest is taken as it comes; nobody asks where it is from",
    "I1",
    "I2",
    "I3",
    needs=("coordinator.core.stopping:Stopping._distrust_ledger",),
)
def _ignore_restored_ledger(patch: Patch) -> None:
    def distrust(self: Stopping, seen: Mark, why: str, recorded_at: str) -> None:
        pass

    patch.wrap(Stopping, "_distrust_ledger", lambda _: distrust)

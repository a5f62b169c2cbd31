"""What a holder does with its grant: gives zones back, gives the grant up, declines it, extends it.

Owns the token rule (I3): an operation names the token of its grant and is refused when that is not the newest of the
unit. Only a release by a holder that is outside, or a grant that was never used, makes a unit free (I2).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from coordinator.core import effects as fx
from coordinator.core import events as ev
from coordinator.core.asking import Asking
from coordinator.core.grants import GrantPhase
from coordinator.core.model import UnitRecord, UnitState, Vacancy
from coordinator.core.rejections import Refusal, Rejection
from coordinator.core.sessions import Challenge, RequestState, Session
from coordinator.core.state import Refused
from coordinator.core.zones import Move, ended, given_back, never_used


class Holding(Asking):
    """The layer of live grants."""

    def _holding(self, event: ev.AgentEvent, token: int, zones: tuple[str, ...]) -> tuple[Session, list[UnitRecord]]:
        """The units that a token-bearing operation is about; raises Refused for stale, foreign or wrong ones."""
        session = self._speaker(event)
        units = self.units.with_token(token)
        if not units:
            newest = f"; newest of the ledger is {self.counter.token}"
            raise Refused(
                Refusal.STALE_TOKEN,
                f"token {token} is not the newest of any unit: never given out, or granted anew since{newest}",
                token=token,
            )
        for unit in units:
            if unit.session != session.session or unit.agent_id != session.agent_id:
                raise Refused(
                    Refusal.NOT_HOLDER, f"token {token} does not belong to {event.agent_id}'s session", token=token
                )
        if zones:
            names = {u.zone for u in units}
            wrong = [z for z in zones if z not in names and not self._granted_anew(z, token)]
            if wrong:
                raise Refused(
                    Refusal.ZONE_NOT_IN_GRANT,
                    f"zones: {', '.join(wrong)} not in the grant with token {token} (has {', '.join(sorted(names))})",
                    token=token,
                    zone=wrong[0],
                )
            units = [u for u in units if u.zone in zones]
        return session, units

    def _granted_anew(self, zone: str, token: int) -> bool:
        """Since that token's time, so nothing of it is left there. A release that was carried out just before a
        failover is said again, and finds some of its zones in this state.
        """
        return zone in self.units and any(unit.token > token for unit in self.units.of(zone))

    def _on_released(self, event: ev.Released) -> None:
        session, units = self._holding(event, event.token, event.zones)
        held = [u for u in units if u.state is UnitState.HELD]
        blocked = tuple([u.zone for u in units if u.state is UnitState.BLOCKED])
        if blocked and (event.zones or not held):
            session.reported_gone.add(event.token)
            message = (
                f"the grant ended before {', '.join(blocked)} was given back; an operator clears it, "
                "or the agent asks for it again and releases that grant"
            )
            self._answer(event, fx.Rejected(Rejection.GRANT_ENDED, message, zones=blocked, token=event.token))
            return
        inside = tuple([u.zone for u in held if u.zone in session.inside]) if session.inside else ()
        if inside:
            message = f"the latest position of {event.agent_id} is inside {', '.join(inside)}"
            self._answer(event, fx.Rejected(Rejection.STILL_INSIDE, message, zones=inside, token=event.token))
            return
        for unit in held:
            self._move(unit, Move.RELEASE, given_back(unit))
        self._shrink(event.token, [u.zone for u in held], RequestState.RELEASED)
        self.totals.releases += bool(held)
        given = [u.zone for u in units if u.state is not UnitState.BLOCKED]
        if len(event.zones) > len(units):
            named = {u.zone for u in units}
            given = sorted([*given, *(z for z in event.zones if z not in named)])
        self._answer(event, fx.Released(event.token, tuple(given)))

    # -- proving vacancy -------------------------------------------------------------------------------------------

    def _on_proof_asked(self, event: ev.ProofAsked) -> None:
        """A holder that overstayed, was stopped or abandoned may prove that it left, where the zone's policy allows
        it.
        """
        session, units = self._holding(event, event.token, ())
        blocked = [u for u in units if u.state is UnitState.BLOCKED]
        strict = tuple(u.zone for u in blocked if self.units.spec[u.zone].vacancy is not Vacancy.HOLDER)
        if not blocked or strict:
            names = ", ".join(strict)
            message = f"only an operator clears {names} (its vacancy policy); zonelock clear {names} --reason ..."
            if not blocked:
                message = f"no zone of token {event.token} is blocked; there is nothing to prove"
            self._answer(event, fx.Rejected(Rejection.GRANT_ENDED, message, zones=strict, token=event.token))
            return
        session.challenge = Challenge(event.token, self._next_token())
        self._answer(
            event,
            fx.Challenged(
                event.token, session.challenge.nonce, self.timing.proof_samples, self.timing.proof_spacing_ms
            ),
        )

    def _count_proof(self, session: Session, event: ev.Reported) -> None:
        """Counts a report that carries the nonce; enough of them in a row, each wholly outside, free the zones (I2)."""
        challenge = session.challenge
        if challenge is None or event.nonce != challenge.nonce or event.inside is None:
            return
        blocked = [u for u in self.units.with_token(challenge.token) if u.state is UnitState.BLOCKED]
        inside = tuple(u.zone for u in blocked if u.zone in event.inside)
        if inside or not blocked:
            session.challenge = None
            self._tell(session.agent_id, _proof_over(challenge.token, inside))
            return
        if challenge.samples and event.now_ms - challenge.counted_at_ms < self.timing.proof_spacing_ms:
            return
        challenge.samples += 1
        challenge.counted_at_ms = event.now_ms
        if challenge.samples < self.timing.proof_samples:
            return
        session.challenge = None
        for unit in blocked:
            self._move(unit, Move.CLEAR, given_back(unit))
        zones = tuple(u.zone for u in blocked)
        self._audit("vacancy proven", session.agent_id, f"token {challenge.token}", zones, "")
        self._tell(session.agent_id, fx.Released(challenge.token, zones))

    def _on_abandoned(self, event: ev.Abandoned) -> None:
        _, units = self._holding(event, event.token, event.zones)
        held = [u for u in units if u.state is UnitState.HELD]
        for unit in held:
            self._move(unit, Move.END, ended(unit, event.block))
        self._shrink(event.token, [u.zone for u in held], RequestState.ENDED)
        self._answer(event, fx.Abandoned(event.token, tuple(u.zone for u in units if u.state is not UnitState.FREE)))

    def _on_declined(self, event: ev.Declined) -> None:
        _, units = self._holding(event, event.token, ())
        held = [u for u in units if u.state is UnitState.HELD]
        for unit in held:
            self._move(unit, Move.DECLINE, never_used(unit))
        self._shrink(event.token, [u.zone for u in held], RequestState.ENDED)
        self._answer(event, fx.Released(event.token, tuple(u.zone for u in units)))

    def _shrink(self, token: int, zones: Iterable[str], state: RequestState) -> None:
        """Takes zones out of a live grant; an empty one ends."""
        grant = self.grants.get(token)
        if grant is None:
            return
        for zone in zones:
            grant.units.pop(zone, None)
        if grant.units:
            return
        self.grants.remove(token)
        session = self.sessions.get(grant.agent_id)
        memo = session.requests.get(grant.request_id) if session is not None else None
        if memo is not None and memo.token == token:
            memo.state = state

    # -- extending -----------------------------------------------------------------------------------------------

    def _on_extend(self, event: ev.ExtendAsked) -> None:
        session, units = self._holding(event, event.token, ())
        grant = self.grants.get(event.token)
        if grant is None:
            message = f"the grant with token {event.token} has ended; stop, and ask again"
            self._answer(event, fx.Rejected(Rejection.GRANT_ENDED, message, token=event.token))
            return
        self._check_duration(event.expected_ms, grant.zones)
        if grant.revoked:
            message = f"the grant with token {event.token} is being taken back; stand still and confirm"
            self._answer(event, fx.Rejected(Rejection.REVOKED, message, zones=grant.zones, token=event.token))
            return
        reported = session.reported_at_ms
        if reported is None or event.now_ms - reported > self.timing.telemetry_fresh_ms:
            age = "none" if reported is None else f"{event.now_ms - reported} ms old"
            message = f"telemetry is {age}; report a position within {self.timing.telemetry_fresh_ms} ms of extending"
            self._answer(event, fx.Rejected(Rejection.STALE_TELEMETRY, message, token=event.token))
            return
        elapsed = event.now_ms - grant.granted_at_ms if grant.phase is GrantPhase.LIVE else 0
        limit, zone = min((self.units.spec[z].hold_max_ms, z) for z in grant.zones)
        if elapsed + event.expected_ms > limit:
            message = (
                f"{elapsed} ms held and {event.expected_ms} ms more pass hold_max_ms {limit} of {zone}; release it"
            )
            self._answer(event, fx.Rejected(Rejection.HOLD_LIMIT, message, zones=(zone,), token=event.token))
            return
        held = [u for u in units if u.state is UnitState.HELD]
        longest = max(event.expected_ms, grant.extension_ms)  # of those that the next commit holds
        remaining = max(self.timing.coordinator_ms(longest), grant.deadline_ms - event.now_ms)
        for unit in held:
            self._move(unit, Move.EXTEND, replace(unit, remaining_ms=remaining, elapsed_ms=elapsed))
        self.grants.extend(grant, event.expected_ms, self.seq)
        # Counts from the commit, as the frame it will echo does; a later deadline stands, and the holder keeps its own.
        self._answer(event, fx.Extended(event.token, event.expected_ms, event.expected_ms))

    def _on_committed(self, event: ev.Committed) -> None:
        """Deadlines count from here: the store now holds the grants and extensions up to this step."""
        for grant in self.grants.committed(event.upto):
            expected = grant.extension_ms if grant.extending_in else grant.expected_ms
            grant.extending_in, grant.extension_ms = 0, 0
            self.grants.start(grant, event.now_ms, self.timing.coordinator_ms(expected), self.timing.warn_permille)
            self._changes.zones.update(grant.zones)


def _proof_over(token: int, inside: tuple[str, ...]) -> fx.Rejected:
    """Why a proof of vacancy that was under way counts no further reports; another one needs another nonce."""
    if inside:
        message = f"a report is inside {', '.join(inside)}: the proof is over; leave, then ask to prove it again"
        return fx.Rejected(Rejection.STILL_INSIDE, message, zones=inside, token=token)
    message = f"no zone of token {token} is blocked any more: somebody cleared them; there is nothing left to prove"
    return fx.Rejected(Rejection.GRANT_ENDED, message, token=token)

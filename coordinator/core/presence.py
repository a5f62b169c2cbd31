"""Who is there: sessions, streams, telemetry, and taking over a ledger that others wrote.

A stream that closes drops its waiters (they ask again) and says nothing about grants or occupancy. An agent that
comes back with its session secret carries on with its tokens. Nothing inherited at take-over trips within
`reattach_ms`.
"""

from __future__ import annotations

from dataclasses import replace

from coordinator.core import effects as fx
from coordinator.core import events as ev
from coordinator.core.estop import deadline_stop_id
from coordinator.core.grants import Grant
from coordinator.core.model import BlockCause, FloorRecord, FloorSpec, Ledger, Timing, UnitRecord, UnitState
from coordinator.core.rejections import Refusal, Rejection
from coordinator.core.sessions import Conn, RequestMemo, RequestState, Session
from coordinator.core.state import Refused
from coordinator.core.stopping import Stopping
from coordinator.core.zones import Move, ended


class FloorChanged(Exception):
    """The ledger has occupied units or active stops that belong to another floor than the one given."""


class Presence(Stopping):
    """The layer of sessions and take-over."""

    def __init__(self, floor: FloorSpec, ledger: Ledger, timing: Timing, now_ms: int) -> None:
        super().__init__(floor, ledger, timing, now_ms)
        self._new_ledger = ledger.counter is None
        self._known_floor = ledger.floor
        self._check_floor(ledger)

    # -- taking over ---------------------------------------------------------------------------------------------

    def _check_floor(self, ledger: Ledger) -> None:
        known = ledger.floor
        if known is None or known.hash == self.floor.hash:
            return
        if known.site != self.floor.site:
            raise FloorChanged(f"the ledger belongs to site {known.site!r}, the floor given to {self.floor.site!r}")
        valid = [u for u in ledger.units if u.incarnation == self.counter.incarnation]
        left = sorted({u.zone for u in valid if u.state in (UnitState.HELD, UnitState.BLOCKED)})
        active = sorted(s.stop_id for s in ledger.stops if s.active)
        if left or active:
            raise FloorChanged(
                f"the ledger was written for floor version {known.version} (hash {known.hash[:12]}), not for version "
                f"{self.floor.version} (hash {self.floor.hash[:12]}), and is not idle: occupied {left or 'none'}, "
                f"active stops {active or 'none'}. Start with the old floor, empty and reset it, then change floors."
            )

    def _on_started(self, event: ev.Started) -> None:
        if self._new_ledger:
            self.counter = replace(self.counter, confirmed=event.assume_empty)
            if event.assume_empty:
                self._pass_over(event.seen)
                self._confirm_empty()
                self._audit("clearance", "assume-empty", "started with --assume-empty", ("*",), event.recorded_at)
            self._write(self.counter)
        floor = FloorRecord(self.floor.site, self.floor.version, self.floor.hash)
        if floor != self._known_floor:
            self._write(floor)
        self._inherit()
        self._check_ledger(event.seen, "this coordinator", event.recorded_at)
        self._changes.zones.update(self.units.zone_names)

    def _inherit(self) -> None:
        """Rebuilds grants from HELD units; those that a stop had ended before its own writes were all made end now."""
        affected = {stop.stop_id: self.affected(stop) for stop in self.stops.active()}
        held: dict[int, list[UnitRecord]] = {}
        for unit in self.units:
            if unit.state is UnitState.BLOCKED and unit.remaining_ms:
                self._may_move_until_ms[unit.token] = self.now_ms + unit.remaining_ms
            if unit.state is UnitState.HELD:
                held.setdefault(unit.token, []).append(unit)
        for token in sorted(held):
            units = held[token]
            cause = self._ended_by_stop(token, units[0].agent_id, affected)
            if cause is not None:
                left_ms = units[0].remaining_ms if cause is BlockCause.STOPPED else 0
                if left_ms:
                    self._may_move_until_ms[token] = self.now_ms + left_ms
                for unit in units:
                    self._move(unit, Move.END, ended(unit, cause, left_ms))
            else:
                self._inherit_grant(token, units)

    def _ended_by_stop(self, token: int, holder: str, affected: dict[str, set[str]]) -> BlockCause | None:
        """A stop ends every grant of whom it affects, wherever that is; none was granted to them since."""
        for stop in self.stops.active():
            if stop.stop_id == deadline_stop_id(token):
                return BlockCause.OVERDUE
            if token <= stop.token and holder in affected[stop.stop_id]:
                return BlockCause.STOPPED
        return None

    def _inherit_grant(self, token: int, units: list[UnitRecord]) -> None:
        first = units[0]
        grant = Grant(
            token=token,
            agent_id=first.agent_id,
            session=first.session,
            request_id=first.request_id,
            payload=first.payload,
            units={u.zone: u.slot for u in units},
            expected_ms=first.expected_ms,
            decided_in=0,
            all_zones=tuple(u.zone for u in units),
            revoked=first.revoked,
        )
        self.grants.add(grant)
        lasts_ms = max(first.remaining_ms, self.timing.reattach_ms)
        self.grants.start(grant, self.now_ms, lasts_ms, self.timing.warn_permille)
        grant.granted_at_ms = self.now_ms - first.elapsed_ms

    def _on_releases_recalled(self, event: ev.ReleasesRecalled) -> None:
        """Releases that an uncertain commit may have lost. Their agents say it again; until then nothing is freed, but
        nothing trips either.
        """
        for token in event.tokens:
            grant = self.grants.get(token)
            if grant is not None:
                grant.said_left = True

    # -- sessions ------------------------------------------------------------------------------------------------

    def _on_hello(self, event: ev.Hello) -> None:
        session = self.sessions.get(event.agent_id)
        self._check_hello(event, session)
        self._check_ledger(event.seen, event.agent_id, event.recorded_at)
        standing = self._check_standing(event)
        if session is None or session.session != event.session:
            session = self._open_session(event)
        conn = self.conns.setdefault(event.conn, Conn(event.conn, event.now_ms, detached=event.detached))
        conn.agents.add(event.agent_id)
        if event.detached:
            session.calls.add(event.conn)
            self._declare(event, standing)
            return
        self._leave_old_stream(session, event.conn)
        session.stream, session.gone_since_ms = event.conn, None
        session.kind = event.kind or session.kind
        session.vehicle_watchdog = event.vehicle_watchdog
        self._declare(event, standing)
        self._adopt_latches(event, session)
        self._changes.agents.add(event.agent_id)
        self._send(event.conn, event.agent_id, "", self._welcome(session))
        for unit in self.units.of_agent(event.agent_id):
            grant = self.grants.get(unit.token)
            if grant is not None and grant.revoked and unit.zone == grant.zones[0]:
                message = "an operator takes the grant back: stand still and confirm"
                self._send(event.conn, event.agent_id, "", fx.Revoked(grant.token, grant.zones, message))
        self._tell_standing_stops(event, session)

    def _tell_standing_stops(self, event: ev.Hello, session: Session) -> None:
        """Stops that cover where a returning agent may stand and that it does not know of yet."""
        zones = [u.zone for u in self.units.of_agent(event.agent_id)]
        for stop in self.stops.active():
            if stop.stop_id in event.latched_stop_ids or any(self.stops.covers(stop, z) for z in zones):
                session.told_stops.setdefault(stop.stop_id, self.now_ms)
                if stop.stop_id not in event.latched_stop_ids:
                    self._stop_sends.append(fx.Send(event.conn, event.agent_id, "", fx.StopRaised(stop)))

    def _check_hello(self, event: ev.Hello, session: Session | None) -> None:
        agent = event.agent_id
        if session is not None and session.session != event.session and (session.stream is not None or session.calls):
            raise Refused(
                Refusal.DUPLICATE_AGENT, f"agent_id {agent!r}: another session of this agent is connected", agent=agent
            )
        self._check_gateway(event)
        if event.floor_hash and event.floor_hash != self.floor.hash:
            raise Refused(
                Refusal.FLOOR_MISMATCH,
                f"floor_hash {event.floor_hash[:12]!r} of {agent} is not this coordinator's {self.floor.hash[:12]!r}",
                agent=agent,
                floor_hash=self.floor.hash,
            )
        if event.kind and self.floor.agent_kinds and event.kind not in self.floor.agent_kinds:
            raise Refused(
                Refusal.UNKNOWN_AGENT_KIND,
                f"agent_kind {event.kind!r} is not one of {', '.join(sorted(self.floor.agent_kinds))}",
                agent=agent,
            )

    def _check_gateway(self, event: ev.Hello) -> None:
        """A gateway that freezes, or loses the vehicle's radio, halts nobody: its vehicles must halt by themselves."""
        conn = self.conns.get(event.conn)
        others = sorted(conn.agents - {event.agent_id}) if conn is not None else []
        without = [a for a in others if a in self.sessions and not self.sessions[a].vehicle_watchdog]
        if others and not event.vehicle_watchdog:
            without.append(event.agent_id)
        if without:
            raise Refused(
                Refusal.NEEDS_WATCHDOG,
                f"vehicle_watchdog: this stream speaks for {', '.join(others)} and {event.agent_id}, of which "
                f"{', '.join(without)} did not say that the vehicle halts by itself",
                agent=event.agent_id,
                field="hello.vehicle_watchdog",
            )

    def _check_standing(self, event: ev.Hello) -> list[UnitRecord]:
        """The units that a declaration of standing would take; raises Refused when a zone is filled by others."""
        taken: list[UnitRecord] = []
        for zone in dict.fromkeys(event.standing_zones):
            self._check_zone(zone)
            units = self.units.of(zone)
            if any(u.agent_id == event.agent_id and u.state in (UnitState.HELD, UnitState.BLOCKED) for u in units):
                continue
            usable = [u for u in units if u.state in (UnitState.UNKNOWN, UnitState.FREE)]
            if not usable:
                others = ", ".join(sorted(u.agent_id for u in units))
                raise Refused(
                    Refusal.STANDING_CONFLICT,
                    f"standing_zones: {event.agent_id} says it stands in {zone}, which the ledger says {others} fill",
                    zone=zone,
                )
            taken.append(usable[0])
        return taken

    def _open_session(self, event: ev.Hello) -> Session:
        session = Session(event.agent_id, event.session, kind=event.kind, gone_since_ms=event.now_ms)
        for waiter in self.queue.of_agent(event.agent_id):
            self._drop_waiter(waiter)
        # Only after a restart or a new client: rebuilds what repeats may refer to.
        for unit in self.units.last_of_agent(event.agent_id):
            if unit.request_id and unit.session == event.session:
                grant = self.grants.get(unit.token)
                state = (
                    RequestState.GRANTED
                    if grant is not None
                    else RequestState.RELEASED
                    if unit.state is UnitState.FREE
                    else RequestState.ENDED
                )
                session.requests[unit.request_id] = RequestMemo(unit.payload, state, unit.token)
        self.sessions[event.agent_id] = session
        return session

    def _leave_old_stream(self, session: Session, conn: int) -> None:
        """The same session on a new stream: the old one is half-open or replaced; its waiters ask again."""
        if session.stream is None or session.stream == conn:
            return
        for waiter in self.queue.of_agent(session.agent_id):
            self._drop_waiter(waiter)
        old = self.conns.get(session.stream)
        if old is not None:
            old.agents.discard(session.agent_id)

    def _declare(self, event: ev.Hello, standing: list[UnitRecord]) -> None:
        for unit in standing:
            declared = replace(
                unit,
                state=UnitState.BLOCKED,
                cause=BlockCause.DECLARED,
                agent_id=event.agent_id,
                session=event.session,
                token=self._next_token(),
                request_id="",
                payload="",
                expected_ms=0,
                remaining_ms=0,
                elapsed_ms=0,
                incarnation=self.counter.incarnation,
            )
            self._move(unit, Move.DECLARE, declared)

    def _adopt_latches(self, event: ev.Hello, session: Session) -> None:
        for stop_id in event.latched_stop_ids:
            stop = self.stops.get(stop_id)
            if stop is None:
                self._adopt(stop_id, session)
            elif stop.active:
                self._stop_agent(event.agent_id, stop)  # it gave all its grants up; a lost commit may have kept them
                self._confirm_standing(session, stop_id)
            else:
                self._send(event.conn, event.agent_id, "", fx.StopEnded(stop))

    def _welcome(self, session: Session) -> fx.Welcome:
        units = self.units.of_agent(session.agent_id)
        tokens = sorted({u.token for u in units if u.state is UnitState.HELD and u.session == session.session})
        grants = [g for g in (self.grants.get(t) for t in tokens) if g is not None]
        blocked = tuple(u.zone for u in units if u.state is UnitState.BLOCKED)
        return fx.Welcome(
            self.counter.incarnation, tuple(self._granted(g) for g in grants), blocked, tuple(self.stops.active())
        )

    def _on_heard(self, event: ev.Heard) -> None:
        self._note_heard(event)

    def _note_heard(self, event: ev.Heard | ev.AgentEvent) -> None:
        """A link over which anything comes is not silent."""
        conn = self.conns.get(event.conn)
        if conn is None:
            return
        conn.heard_at_ms = event.now_ms
        if conn.silent:
            self._set_silent(conn, silent=False)

    def _set_silent(self, conn: Conn, *, silent: bool) -> None:
        conn.silent = silent
        for agent_id in sorted(conn.agents):
            self._changes.agents.add(agent_id)
            for waiter in self.queue.of_agent(agent_id):
                if waiter.conn == conn.conn:
                    waiter.silent = silent
                    self._dirty.update(waiter.zones)

    def _on_closed(self, event: ev.ConnClosed) -> None:
        conn = self.conns.pop(event.conn, None)
        if conn is None:
            return
        for agent_id in sorted(conn.agents):
            session = self.sessions.get(agent_id)
            if session is None:
                continue
            session.calls.discard(event.conn)
            if session.stream == event.conn:
                session.stream, session.gone_since_ms = None, event.now_ms
                self._changes.zones.update(u.zone for u in self.units.of_agent(agent_id))
            for waiter in self.queue.of_agent(agent_id):
                if waiter.conn == event.conn:
                    self._drop_waiter(waiter)
            self._changes.agents.add(agent_id)

    def _on_reported(self, event: ev.Reported) -> None:
        session = self._speaker(event)
        session.position = event.position if event.position is not None else session.position
        session.heading_mdeg = event.heading_mdeg
        if event.inside is not None:
            session.inside = event.inside
        session.reported_at_ms = event.now_ms
        session.progress_permille = event.progress_permille
        session.activity = event.activity
        self._count_proof(session, event)
        self._changes.agents.add(event.agent_id)

    def _on_goodbye(self, event: ev.SaidGoodbye) -> None:
        session = self._speaker(event)
        units = self.units.of_agent(event.agent_id)
        if units:
            zones = tuple(u.zone for u in units)
            message = (
                f"{event.agent_id} still occupies {', '.join(zones)}; release them or park before leaving for good"
            )
            self._answer(event, fx.Rejected(Rejection.STILL_HOLDING, message, zones=zones))
            return
        for waiter in self.queue.of_agent(event.agent_id):
            self._drop_waiter(waiter)
        self._answer(event, fx.Cancelled())
        for conn in (session.stream, *session.calls):
            if conn is not None and conn in self.conns:
                self.conns[conn].agents.discard(event.agent_id)
        del self.sessions[event.agent_id]
        self._changes.agents.add(event.agent_id)

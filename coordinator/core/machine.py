"""The machine: one state, one event at a time, one step of effects. The sole mutator of the core (I1 to I5).

Every handler first checks everything that could refuse the event and only then changes state, so that a refusal
leaves nothing half-done. Writes of one step are ordered so that every prefix of them is safe to have alone: a stop's
record comes before the units that it blocks. The shell may therefore split a step that is larger than one
transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from coordinator.core import effects as fx
from coordinator.core import events as ev
from coordinator.core.closing import Closing
from coordinator.core.model import FloorSpec, Ledger, Timing
from coordinator.core.presence import FloorChanged
from coordinator.core.state import Changes, Refused, Totals
from coordinator.core.zones import InvariantViolation


class Machine(Closing):
    """The coordinator's whole decision state, built from a ledger and driven by `handle`."""

    def __init__(self, floor: FloorSpec, ledger: Ledger, timing: Timing, now_ms: int) -> None:
        """Takes over a ledger at `now_ms`. Inherited deadlines count anew from now (they only ever stop things).

        Raises FloorChanged when someone stands on, or a stop covers, a floor other than the one given.
        """
        super().__init__(floor, ledger, timing, now_ms)
        self._handlers: dict[type[ev.Event], Callable[[Any], None]] = {
            ev.Started: self._on_started,
            ev.Hello: self._on_hello,
            ev.Heard: self._on_heard,
            ev.ConnClosed: self._on_closed,
            ev.Asked: self._on_asked,
            ev.Claimed: self._on_claimed,
            ev.Cancelled: self._on_cancelled,
            ev.Released: self._on_released,
            ev.Abandoned: self._on_abandoned,
            ev.Declined: self._on_declined,
            ev.ExtendAsked: self._on_extend,
            ev.Reported: self._on_reported,
            ev.ProofAsked: self._on_proof_asked,
            ev.StopAcked: self._on_stop_acked,
            ev.SaidGoodbye: self._on_goodbye,
            ev.StopAsked: self._on_stop_asked,
            ev.StopRecovered: self._on_stop_recovered,
            ev.WindDown: self._on_wind_down,
            ev.ReleasesRecalled: self._on_releases_recalled,
            ev.RevokeAsked: self._on_revoke_asked,
            ev.ResetAsked: self._on_reset_asked,
            ev.ClearAsked: self._on_clear_asked,
            ev.CloseAsked: self._on_close_asked,
            ev.OpenAsked: self._on_open_asked,
            ev.Ticked: self._on_ticked,
            ev.Committed: self._on_committed,
        }

    # -- the one door --------------------------------------------------------------------------------------------

    def handle(self, event: ev.Event, *, stops_first: bool = False) -> fx.Step:
        """Applies one event. Raises InvariantViolation (a bug) with the recent steps; the caller then reloads.

        With `stops_first` a stop that the event trips latches and is told in this step, and ends grants in the next
        one, of whatever event that is: what the stop covers is not gone through while its receivers wait. The caller
        sends WindDown when the stops have left, if nothing else has come by then.
        """
        if event.now_ms < self.now_ms:
            raise InvariantViolation(f"time ran backwards: {event.now_ms} after {self.now_ms}")
        self.now_ms = event.now_ms
        self.seq += 1
        self.recent.append((self.seq, event))
        try:
            self._wind_down()
            try:
                if isinstance(event, ev.AgentEvent):
                    self._note_heard(event)
                self._handlers[type(event)](event)
            except Refused as refused:
                self._refuse(event, refused.answer)
            if not stops_first:
                self._wind_down()
            if not self._aftermaths:
                self._serve_waiters()
        except InvariantViolation as violation:
            violation.add_note("recent events:\n" + "\n".join(f"{seq} {recent!r}" for seq, recent in self.recent))
            raise
        step = fx.Step(self.seq, tuple(self._writes), tuple(self._sends), tuple(self._stop_sends), tuple(self._alarms))
        self._writes, self._sends, self._stop_sends, self._alarms = [], [], [], []
        return step

    def _refuse(self, event: ev.Event, answer: fx.Failed) -> None:
        conn = getattr(event, "conn", None)
        if conn is not None:
            self._send(conn, getattr(event, "agent_id", ""), getattr(event, "request_id", ""), answer)

    def as_of_now(self, send: fx.Send) -> fx.Send | None:
        """A send brought up to the moment it leaves, or None when it is no longer true.

        A grant that waited for its commit may have been ended by a stop meanwhile; and `remaining_ms` must count from
        the moment whose newest frame the answer echoes, or a holder would reckon its deadline too late.
        """
        answer = send.answer
        if isinstance(answer, fx.Granted):
            grant = self.grants.get(answer.token)
            if grant is None:
                return None
            if self._remaining_ms(grant) == answer.remaining_ms and len(grant.units) == len(answer.zones):
                return send
            return fx.Send(send.conn, send.agent_id, send.request_id, self._granted(grant))
        if isinstance(answer, fx.Welcome) and answer.grants:
            known = [self.grants.get(g.token) for g in answer.grants]
            live = tuple(self._granted(g) for g in known if g is not None)
            return replace(send, answer=replace(answer, grants=live))
        return send

    def next_deadline_ms(self) -> int | None:
        """When a tick is due at the latest."""
        return self.grants.next_alarm_ms()

    def take_changes(self) -> Changes:
        """What changed since the last call; for one consumer."""
        changes, self._changes = self._changes, Changes()
        return changes


__all__ = ["Changes", "FloorChanged", "InvariantViolation", "Machine", "Totals"]

"""When a standby may take over before the leader's lease ends: the rule alone, without I/O.

The rule: the standby's own stream to the leader has *closed* (silence says nothing), the leader's tick has not moved
for STALE_MS, and the leader has had its minimum tenure, which doubles while leaders follow each other quickly. The
take-over itself compares the fence and the tick that were seen here, so a mistaken belief changes nothing. A leader
that is frozen or cut off keeps its streams open: it falls by its lease, or once its tick has stood still for as long as
that lease was granted for and CONFIRM_MS more in which etcd answers, for etcd may let a lease live seconds longer (one
election of its own begins every lease anew, and a second on top; a revocation that failed is tried again 3 s later).
A leader that ends in good order names one standby, which takes over as soon as the leader has ended their stream; the
others leave it the first try for a moment, so that agents who were sent there arrive once. Never imports a store.
"""

from __future__ import annotations

from coordinator.store.port import LeaderSeen

STALE_MS = 200
"""Two of the leader's ticks."""
DOUBTED_MS = 300
"""After this long without a tick agents may wait here for the take-over, whatever ends the leader."""
CONFIRM_MS = 600
"""While etcd answers nobody, nobody ticks: once it answers again, the leader has the time of one lost call to do so."""
MIN_TENURE_MS = 1_000
MAX_TENURE_MS = 16_000


class Succession:
    """What one standby has seen. Times are the caller's, in milliseconds."""

    def __init__(self) -> None:
        self.leader: LeaderSeen | None = None
        self.tick_revision = 0
        self.tick_seen_ms = 0
        self._since_ms = 0
        self._answered_ms = 0
        self._tenure_ms = MIN_TENURE_MS

    def saw_leader(self, leader: LeaderSeen | None, now_ms: int) -> bool:
        """Notes who leads; whether that is news. A leader that rewrites its key stays the same."""
        before, self.leader = self.leader, leader
        if leader is not None and before is not None and before.epoch != leader.epoch:
            self.tick_seen_ms, self._answered_ms = now_ms, 0  # to rewrite its key is a sign of life
        if leader is None or (before is not None and before.identity == leader.identity):
            return leader != before
        if before is not None or self._since_ms:
            reigned_ms = now_ms - self._since_ms
            hasty = reigned_ms < 2 * self._tenure_ms
            self._tenure_ms = min(2 * self._tenure_ms, MAX_TENURE_MS) if hasty else MIN_TENURE_MS
        self._since_ms = self.tick_seen_ms = now_ms
        self._answered_ms = 0
        return True

    def saw_tick(self, revision: int, now_ms: int) -> None:
        """Notes the tick's mod_revision; one that is not above the last changes nothing."""
        if revision > self.tick_revision:
            self.tick_revision, self.tick_seen_ms = revision, now_ms
            self._answered_ms = 0

    def saw_answer(self, now_ms: int, *, answered: bool = True) -> None:
        """Notes that etcd answered a read through its quorum, or did not."""
        silent_ms = self.silent_ms
        if not answered:
            self._answered_ms = 0
        elif silent_ms is not None and now_ms >= silent_ms:
            self._answered_ms = self._answered_ms or now_ms

    @property
    def silent_ms(self) -> int | None:
        """When the tick will have stood still for a whole lease; None where nobody said how long that is."""
        lease_ms = self.leader.lease_ms if self.leader is not None else 0
        return self.tick_seen_ms + lease_ms if lease_ms > 0 else None

    @property
    def ask_ms(self) -> int | None:
        """From when on etcd is to be asked whether it answers at all; None while there is no need, or it did."""
        return None if self._answered_ms else self.silent_ms

    def due_ms(self, *, closed: bool, handed_over: bool = False, yields_until_ms: int = 0) -> int | None:
        """From when on the lead may be tried for; None while only the end of the leader's lease would end its lead."""
        if self.leader is None or handed_over:
            return yields_until_ms
        if closed:
            still_ms = self.tick_seen_ms + STALE_MS
        elif self._answered_ms:
            still_ms = self._answered_ms + CONFIRM_MS
        else:
            return None
        return max(still_ms, self._since_ms + self._tenure_ms, yields_until_ms)

    def is_heir(self, now_ms: int, *, closed: bool, yields_until_ms: int = 0) -> bool:
        """The leader seems to be gone, or there is none; and no other standby was named to follow it."""
        if now_ms < yields_until_ms:
            return False
        return self.leader is None or closed or now_ms - self.tick_seen_ms >= DOUBTED_MS

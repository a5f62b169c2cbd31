"""Which waiting asks were found unsafe, what each of these verdicts stands on, and whose turn it is to be looked at.

Owns that no verdict outlives its reasons (I9): it falls when a unit of a zone that it stands on is given back, or when
an agent that it names goes elsewhere than it meant to. Every verdict is looked at again in its turn besides, since a
search of bounded effort may have missed a way. Also remembers who was told of a ring, so that it is told once. Knows
waiters by their order, and no floor.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from coordinator.core.claims import Waiter
from coordinator.core.routes import Unsafe

RING_TOLD_MS = 5_000
"""How long whoever was told of a ring has to draw back or to plan anew before that ring is told again."""

Order = tuple[int, int]


class Verdicts:
    """The waiters whose step is unsafe, indexed by what may change that."""

    def __init__(self) -> None:
        self._noted: dict[Order, tuple[Waiter, Unsafe]] = {}
        self._by_zone: dict[str, set[Order]] = {}
        self._by_agent: dict[str, set[Order]] = {}
        self._fallen: set[Order] = set()
        self._told: dict[str, tuple[int, bool]] = {}
        self._last_look: Order = (0, 0)

    def stands(self, waiter: Waiter) -> bool:
        """Whether the waiter's verdict needs no second look yet."""
        return waiter.order in self._noted and waiter.order not in self._fallen

    def note(self, waiter: Waiter) -> None:
        """Takes down the verdict that the waiter has now, if it has one."""
        verdict = waiter.unsafe
        self.drop(waiter)
        if verdict is None:
            return
        self._noted[waiter.order] = (waiter, verdict)
        for zone in verdict.frees:
            self._by_zone.setdefault(zone, set()).add(waiter.order)
        for agent_id in {waiter.agent_id, *verdict.waits_for}:
            self._by_agent.setdefault(agent_id, set()).add(waiter.order)

    def drop(self, waiter: Waiter) -> None:
        """Forgets what was taken down of the waiter."""
        self._fallen.discard(waiter.order)
        _, verdict = self._noted.pop(waiter.order, (waiter, None))
        if verdict is not None:
            _without(self._by_zone, verdict.frees, waiter.order)
            _without(self._by_agent, {waiter.agent_id, *verdict.waits_for}, waiter.order)

    # -- what makes a verdict fall

    def freed(self, zone: str) -> list[Waiter]:
        """A unit of the zone was given back: the waiters whose verdict fell by that, in order."""
        return self._fall(self._by_zone.get(zone, ()))

    def turned(self, agent_id: str) -> list[Waiter]:
        """The agent means to go elsewhere than before, has arrived, or cannot be counted on any more: likewise."""
        self._told.pop(agent_id, None)
        return self._fall(self._by_agent.get(agent_id, ()))

    def reconsider(self, waiter: Waiter) -> None:
        """There is news that the waiter's verdict does not know of."""
        self._fall([waiter.order] if waiter.order in self._noted else [])

    def _fall(self, orders: Collection[Order]) -> list[Waiter]:
        if not orders:
            return []  # as nearly always
        fallen = sorted(order for order in orders if order not in self._fallen)
        self._fallen.update(fallen)
        return [self._noted[order][0] for order in fallen]

    def looked_at(self, waiters: Sequence[Waiter], most: int) -> list[Waiter]:
        """The next `most` of these waiters (in order) whose turn it is; the verdicts that they have fall."""
        later = [w for w in waiters if w.order > self._last_look]
        chosen = [*later, *waiters[: len(waiters) - len(later)]][:most]
        if chosen:
            self._last_look = chosen[-1].order
        self._fallen.update(w.order for w in chosen if w.order in self._noted)
        return chosen

    # -- rings

    def to_be_told(self, agent_id: str, ring: Unsafe, now_ms: int) -> bool:
        """Whether the agent should hear of its ring: not twice in a row, nor while another of it can draw back."""
        for link in ring.cycle:
            told_ms, can_draw_back = self._told.get(link.agent, (0, False))
            recent = link.agent in self._told and now_ms - told_ms < RING_TOLD_MS
            if recent and (link.agent == agent_id or can_draw_back):
                return False
        return True

    def told(self, agent_id: str, ring: Unsafe, now_ms: int) -> None:
        """The agent hears of its ring now."""
        self._told = {a: t for a, t in self._told.items() if now_ms - t[0] < RING_TOLD_MS}
        self._told[agent_id] = (now_ms, bool(ring.retreat))


def _without(index: dict[str, set[Order]], keys: Iterable[str], order: Order) -> None:
    for key in keys:
        index[key].discard(order)
        if not index[key]:
            del index[key]

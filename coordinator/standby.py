"""What a coordinator knows and does while it does not lead: who leads, which stops are in force, whom to ask to wait.

Rules owned: a stop that is asked of a standby leaves here at once and is kept until the leader has it in the ledger;
what the leader tells of stops is passed on to whoever watches here, resets included, so that no standby goes on telling
of a stop that is over. Agents wait here, for a bounded time, only while the leader seems to be gone. Never imports rpc.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from coordinator.core import events as ev
from coordinator.core.estop import Stops
from coordinator.core.model import FloorSpec, Mark, StopCause, StopRecord
from coordinator.core.rejections import Refusal
from coordinator.safeguards import Safeguards
from coordinator.store.port import LeaderSeen, Store

PARK_MS = 3_000
"""A session waits this long at a standby that expects to lead: a leader lease, and what a take-over needs."""
LOOK_S = 0.5
"""How often a waiting session looks whether the leader is back after all."""
YIELD_MS = 250
"""How long agents are sent to the successor that a leader named, and the other standbys leave it the first try."""
ENDED_REMEMBERED = 1_024


class NotLeading(Exception):
    """This coordinator has no ledger to decide on. Names the leader where one is known."""

    def __init__(self, message: str, leader: LeaderSeen | None = None) -> None:
        super().__init__(message)
        self.refusal = Refusal.NOT_LEADER
        self.message = message
        self.metadata = (("leader", leader.address),) if leader is not None and leader.address else ()


@dataclass(frozen=True, slots=True)
class Successor:
    """Whom a leader that ends has named: the address of a standby, `ours` if it is this one's own."""

    address: str
    ours: bool
    until_ms: int


class StoreDown(Exception):
    """This coordinator leads, and its store does not commit."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.refusal = Refusal.STORE_UNAVAILABLE
        self.message = message


class Standby:
    """One coordinator's. Told by the runtime when it leads and when it does not."""

    def __init__(self, floor: FloorSpec, store: Store, safeguards: Safeguards, now_ms: Callable[[], int]) -> None:
        self._scopes, self.floor_hash = Stops(floor, ()), floor.hash
        self._store, self._safeguards, self._now_ms = store, safeguards, now_ms
        self._heard: dict[str, StopRecord] = {}
        self._ended: dict[str, None] = {}
        self._news = asyncio.Event()
        self.arriving = False
        """The lead was taken, and the ledger is being read."""
        self.hears_leader = False
        """The leader's own process answers on the line to it. Its key alone outlives it by up to a lease."""
        self.other_floor = ""
        """The leader that was started with another floor than this coordinator, which could not take over from it."""
        self.on_change: list[Callable[[], None]] = []
        self.choose_successor: Callable[[], str] = lambda: ""
        """Of a leader: the address of the standby that had better follow it; nothing where there is none."""
        self._successor: Successor | None = None
        store.on_standing.append(self.changed)
        store.on_progress.append(self._saw_ledger)

    @property
    def leader(self) -> LeaderSeen | None:
        return self._store.leader

    @property
    def follows(self) -> bool:
        """Behind a leader whose own process answers, and which this coordinator could take over from."""
        awaits = self.arriving or self._store.heir
        return not awaits and self.leader is not None and self.hears_leader and not self.other_floor

    @property
    def successor(self) -> Successor | None:
        """Whom the last leader named, for the moment in which that one is to take over."""
        named = self._successor
        return named if named is not None and self._now_ms() < named.until_ms else None

    def name_successor(self, address: str, *, ours: bool = False) -> None:
        """The leader ends, and names who is to follow; with no address, nobody is expected any more."""
        self._successor = Successor(address, ours, self._now_ms() + YIELD_MS) if address else None

    @property
    def not_following_because(self) -> str:
        """Why `follows` does not hold, for people; empty when it does."""
        leader = self.leader
        if self.follows:
            return ""
        if leader is None:
            return f"nobody leads{f': {self._store.trouble}' if self._store.trouble else ''}"
        if self.other_floor:
            return (
                f"{leader.name} leads with another floor than {self.floor_hash[:12]}, with which this coordinator was "
                "started: it could not take over. Start every coordinator with the same floor file"
            )
        return f"{leader.name} leads by its key in the store, and its process does not answer"

    def refusal(self, message: str) -> NotLeading | StoreDown:
        """What a caller is told, who had better ask the leader; or why nobody can lead."""
        leader = self.leader
        if (named := self.successor) is not None and not named.ours:
            return NotLeading(message, LeaderSeen("", named.address, "", 0))
        if leader is None and self._store.trouble:
            return StoreDown(f"{message}, and nobody can lead: {self._store.trouble}")
        return NotLeading(message, leader)

    def _saw_ledger(self, fence: int, revision: int, token: int) -> None:
        """How far the leader's ledger is: whoever leads next, it will know when an old copy was put in its place."""
        self._safeguards.saw(Mark(fence, revision, token))

    def compare_floor(self, leader: str, floor_hash: str) -> None:
        """What the leader says of its floor; nothing where it is too old to say."""
        before, self.other_floor = self.other_floor, leader if floor_hash not in ("", self.floor_hash) else ""
        if self.other_floor and before != self.other_floor:
            self._safeguards.alarm(
                f"{leader} leads with floor {floor_hash[:12]}, and this coordinator was started with "
                f"{self.floor_hash[:12]}: it could not take over, and stops asked of it may cover the wrong zones. "
                "Start every coordinator with the same floor file"
            )

    # -- waiting for the lead ------------------------------------------------------------------------------------

    def changed(self) -> None:
        """Who leads, or whether anybody does, may have changed."""
        self._news.set()
        self._news = asyncio.Event()
        for notice in list(self.on_change):
            notice()

    async def turn(self, leads: Callable[[], bool]) -> None:
        """Waits for this coordinator to lead while that is to be expected. Returns at once where it is not."""
        give_up_ms = self._now_ms() + PARK_MS
        while not leads() and (self.arriving or self._store.heir) and self._now_ms() < give_up_ms:
            news = self._news
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await news.wait()

    # -- stops ---------------------------------------------------------------------------------------------------

    def zones_in(self, stop: StopRecord) -> list[str]:
        return self._scopes.zones_in(stop)

    def known_stops(self) -> list[StopRecord]:
        """Active ones: told by the leader, or left here and not recorded yet."""
        own = {stop.stop_id: stop for stop in self._safeguards.stops_in_flight()}
        return list({**self._heard, **own}.values())

    def heard(self, stop_id: str) -> StopRecord | None:
        """The stop as the leader told of it, while it is in force."""
        return self._heard.get(stop_id)

    def unrecorded(self) -> list[StopRecord]:
        """Stops that the leader has not said to be in the ledger."""
        return self._safeguards.stops_in_flight()

    def stop(self, event: ev.StopAsked) -> tuple[Refusal, str]:
        """A standby has no ledger, but whoever watches stops here hears of this one at once. Returns what to answer."""
        scope = self._scopes.scope_of(event.zone, event.stop_group, floor=event.floor)
        if scope is None:
            return Refusal.BAD_SCOPE, "scope: give exactly one known zone, stop_group, or the floor"
        zones, groups = scope
        cause = StopCause.AGENT if event.agent_id else StopCause.OPERATOR
        by = event.agent_id or event.operator
        self._safeguards.hold(StopRecord(event.stop_id, cause, event.floor, groups, zones, by, event.reason))
        self.changed()
        message = "this coordinator stands by: the stop went to those who watch here and is not recorded yet"
        return Refusal.COMMIT_UNCERTAIN, message

    def hear(self, stops: Iterable[StopRecord], *, whole: bool) -> None:
        """The leader tells of stops; with `whole` they are all that are in force."""
        told = {stop.stop_id: stop for stop in stops}
        if whole:
            for stop_id in sorted(self._heard.keys() - told.keys()):
                # Reset behind our back, or it left the last leader and never reached the ledger: the ledger knows.
                self._safeguards.keep(self._heard.pop(stop_id))
        for stop_id, stop in sorted(told.items()):
            if not stop.active:
                self._end(stop)
            elif stop_id not in self._ended and self._heard.get(stop_id) != stop:
                self._heard[stop_id] = stop
                self._safeguards.pass_on(stop)

    def recorded(self, stops: Iterable[StopRecord]) -> None:
        """The leader has these in its ledger, in force or over."""
        told = list(stops)
        self._safeguards.recorded(stop.stop_id for stop in told)
        self.hear(told, whole=False)

    def _end(self, stop: StopRecord) -> None:
        if stop.stop_id in self._ended:
            return
        self._heard.pop(stop.stop_id, None)
        self._ended[stop.stop_id] = None
        if len(self._ended) > ENDED_REMEMBERED:
            del self._ended[next(iter(self._ended))]
        self._safeguards.ended(stop)

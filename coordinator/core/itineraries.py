"""Who occupies what and is bound for where, in numbers: the mirror of the floor that `routes` decides on.

Owns what an agent's words and units mean for its way: what it still needs, what it will keep, and whether it can be
counted on to move at all. Decides nothing.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from coordinator.core.ground import Ground
from coordinator.core.schedule import Tables, Traveller

MAX_STEP = 8
"""Zones by which a route may have become shorter to be taken for the same route."""

Bearings = tuple[tuple[int, ...], int, tuple[int, ...], int, bool, bool]


@dataclass(slots=True)
class Intent:
    """What an agent said about its way. `claim` is what is left of its declaration; None when it made none.

    `asks` are the zones of each ask that waits; `ends` where it means to stay; `visits`: it came from off the floor on
    an ask and goes back there.
    """

    claim: tuple[int, ...] | None = None
    ends: tuple[int, ...] = ()
    asks: list[tuple[int, ...]] = field(default_factory=list)
    visits: bool = False


class Itineraries:
    """Occupation and intents of every agent on one floor."""

    def __init__(self, zones: Iterable[tuple[str, int]], neighbours: Iterable[tuple[str, str]] = ()) -> None:
        """`zones` are names with their capacities; `neighbours` pairs (from, to) that a vehicle may drive."""
        capacities = sorted(zones)
        self._names = [name for name, _ in capacities]
        self._number = {name: n for n, name in enumerate(self._names)}
        self._tables = Tables(
            bit=[1 << n for n in range(len(self._names))],
            free=[capacity for _, capacity in capacities],
            users=[0] * len(self._names),
            holders=[0] * len(self._names),
            travellers=[],
            ground=Ground(len(self._names), ((self._number[a], self._number[b]) for a, b in neighbours)),
            roomy=sum(1 << n for n, (_, capacity) in enumerate(capacities) if capacity > 1),
        )
        self._who: dict[str, int] = {}
        self._intents: list[Intent] = []
        self._spare: list[int] = []

    def remaining(self, agent: str) -> tuple[str, ...]:
        """The zones that the agent declared and has not entered yet."""
        who = self._who.get(agent)
        claim = self._intents[who].claim if who is not None else None
        return tuple(self._names[place] for place in claim or ())

    def declared(self, agent: str) -> bool:
        """Whether the agent declared a route and was not seen to leave it."""
        who = self._who.get(agent)
        return who is not None and self._intents[who].claim is not None

    def has_room(self, zone: str, agent: str) -> bool:
        """Whether the zone has a free unit, or one of the agent's own."""
        place, who = self._number[zone], self._who.get(agent)
        own = who is not None and place in self._tables.travellers[who].held
        return own or self._tables.free[place] > 0

    def room(self, zone: str) -> int:
        """How many units of the zone are free, as the mirror has it."""
        return self._tables.free[self._number[zone]]

    def claimants(self) -> list[str]:
        """Every agent with a declaration, by name."""
        return sorted(name for name, who in self._who.items() if self._intents[who].claim is not None)

    # -- numbers for names

    def _enrol(self, agent: str) -> int:
        who = self._who.get(agent)
        if who is not None:
            return who
        travellers = self._tables.travellers
        if self._spare:
            who = heapq.heappop(self._spare)
            travellers[who], self._intents[who] = Traveller(agent), Intent()
        else:
            who = len(travellers)
            travellers.append(Traveller(agent))
            self._intents.append(Intent())
        self._who[agent] = who
        return who

    def _discharge(self, who: int) -> None:
        """Gives the number of an agent that has nothing to do with the floor to the next one."""
        traveller, intent = self._tables.travellers[who], self._intents[who]
        if traveller.held or intent.claim or intent.asks:
            return
        if traveller.route or traveller.keeps or traveller.need or traveller.travels:
            self._assign(who, (), (), travels=False)
        del self._who[traveller.name]
        traveller.name = ""
        heapq.heappush(self._spare, who)

    # -- units

    def _take(self, who: int, place: int) -> None:
        tables = self._tables
        traveller = tables.travellers[who]
        traveller.held[place] = traveller.held.get(place, 0) + 1
        traveller.holds |= tables.bit[place]
        tables.holders[place] |= 1 << who
        self._count(place, -1)

    def _give(self, who: int, place: int) -> None:
        tables = self._tables
        traveller = tables.travellers[who]
        units = traveller.held.pop(place)
        if units > 1:
            traveller.held[place] = units - 1
        else:
            traveller.holds &= ~tables.bit[place]
            tables.holders[place] &= ~(1 << who)
        self._count(place, 1)

    def _count(self, place: int, units: int) -> None:
        tables = self._tables
        tables.free[place] += units
        if tables.free[place] > 0:
            tables.full &= ~tables.bit[place]
        else:
            tables.full |= tables.bit[place]

    # -- what it adds up to

    def _plot(self, who: int) -> None:
        """Works out what the traveller still needs, what it keeps in the end, and whether it is on the move."""
        traveller, intent = self._tables.travellers[who], self._intents[who]
        held, traveller.yields = traveller.held, intent.claim is not None
        if intent.claim is not None:
            ahead = intent.claim
            ends = ahead[-1:] or intent.ends
        else:
            asks = intent.asks
            ahead = tuple(dict.fromkeys(place for ask in asks for place in ask if place not in held)) if asks else ()
            ends = ahead or intent.ends
        if ahead:
            self._assign(who, ahead, ends if held or intent.claim else (), travels=bool(held or intent.claim))
        elif intent.visits:
            if traveller.route or traveller.keeps:
                self._assign(who, (), (), travels=bool(held))
            else:
                self._need(who, travels=bool(held))
        else:
            keeps = tuple(place for place in ends if place in held) or tuple(held)
            self._assign(who, (), keeps, travels=any(place not in keeps for place in held))

    def _assign(self, who: int, ahead: tuple[int, ...], keeps: tuple[int, ...], *, travels: bool) -> None:
        traveller, bit = self._tables.travellers[who], self._tables.bit
        gone = len(traveller.route) - len(ahead)
        if 0 <= gone <= MAX_STEP and traveller.route[gone:] == ahead:  # the usual case: it went on by a few zones
            way = traveller.way
            for place in traveller.route[:gone]:
                if place not in ahead:
                    way &= ~bit[place]
        else:
            way = 0
            for place in ahead:
                way |= bit[place]
        stays = 0
        for place in keeps:
            stays |= bit[place]
        traveller.route, traveller.way, traveller.keeps, traveller.stays = ahead, way, keeps, stays
        self._need(who, travels=travels)

    def _need(self, who: int, *, travels: bool) -> None:
        """Brings what is derived of the traveller's way up to date: what it needs, and who needs and travels at all."""
        tables = self._tables
        traveller, mine = tables.travellers[who], 1 << who
        need = traveller.way & ~traveller.holds
        changed = need ^ traveller.need
        while changed:
            low = changed & -changed
            tables.users[low.bit_length() - 1] ^= mine
            changed ^= low
        traveller.need, traveller.travels = need, travels
        if travels:
            tables.travelling |= mine
        else:
            tables.travelling &= ~mine

    def _bearings(self, who: int) -> Bearings:
        """Where the traveller is bound, to be put back by `_restore` after a step that was only tried."""
        traveller = self._tables.travellers[who]
        return (
            traveller.route,
            traveller.way,
            traveller.keeps,
            traveller.stays,
            traveller.yields,
            traveller.travels,
        )

    def _restore(self, who: int, bearings: Bearings) -> None:
        traveller = self._tables.travellers[who]
        traveller.route, traveller.way, traveller.keeps, traveller.stays, traveller.yields, travels = bearings
        self._need(who, travels=travels)


def after(claim: Sequence[int] | None, held: Iterable[int], wanted: Sequence[int]) -> tuple[int, ...] | None:
    """What is left of a claim once `wanted` is entered, or None when these are not its next zones."""
    if claim is None:
        return None
    missing, have = set(wanted), set(held)
    for count, place in enumerate(claim, 1):
        if place in missing:
            missing.discard(place)
            have.add(place)
        elif place not in have:
            return None
        if not missing:
            return tuple(claim[count:])
    return None if missing else tuple(claim)

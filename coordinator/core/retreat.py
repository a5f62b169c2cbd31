"""Ways out for those who cannot arrive: who waits on whom, the ring that an agent is part of, and where to draw back.

Pure functions over a finished search for a schedule (`schedule.Schedule`): what is said here is about the floor as it
is when everybody who can arrive has arrived. Decides nothing. Everything is chosen by distance, then by number.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from coordinator.core.schedule import MAX_WAY_OUT, Schedule, Tables, members


def waits_on(found: Schedule, who: int) -> tuple[int, list[int]]:
    """The zone that keeps a traveller from going on, and who is in it or has to pass it first.

    For one that has arrived and would yield, the first full zone on its way out. (-1, []) when nothing is in its way.
    """
    if who not in found.waits:
        found.waits[who] = _waits_on(found, who)
    return found.waits[who]


def _waits_on(found: Schedule, who: int) -> tuple[int, list[int]]:
    tables = found.tables
    zone = found.stuck_at(who) if found.unfinished >> who & 1 else _shut_in_by(found, who)
    if zone >= 0:
        return zone, [other for other in found.holders(zone) if other != who]
    if found.unfinished >> who & 1:
        for zone in tables.travellers[who].keeps:
            others = tables.users[zone] & found.unfinished & ~(1 << who)
            if others and not found.holds(who) & tables.bit[zone]:
                return zone, members(others)
    return -1, []


def _shut_in_by(found: Schedule, who: int) -> int:
    tables = found.tables
    if not tables.travellers[who].yields:
        return -1
    ways = tables.ground.ways_to(tables.bit, members(found.holds(who)), 0, ~found.still_needed(), MAX_WAY_OUT)
    return next((zone for zone in next(ways, ()) if found.full & tables.bit[zone]), -1)


def ring_through(found: Schedule, who: int) -> list[tuple[int, int]]:
    """The shortest ring of travellers that wait on each other and start with `who`, each with the zone it waits for."""
    came: dict[int, tuple[int, int]] = {}
    edge = deque([who])
    while edge:
        current = edge.popleft()
        zone, others = waits_on(found, current)
        for other in others:
            if other == who:
                return _ring(came, current, zone, who)
            if other not in came:
                came[other] = (current, zone)
                edge.append(other)
    return []


def _ring(came: dict[int, tuple[int, int]], last: int, zone: int, who: int) -> list[tuple[int, int]]:
    ring = [(last, zone)]
    while ring[-1][0] != who:
        ring.append(came[ring[-1][0]])
    return ring[::-1]


def involved(found: Schedule, start: Iterable[int]) -> tuple[set[int], set[int], bool]:
    """Everybody whom `start` waits on, directly or through others; the zones that these are kept from going on by; and
    whether one of them has nowhere to go.

    As long as none of these zones is given back and none of these travellers means to go elsewhere, all of them wait.
    """
    seen = set(start)
    pending = sorted(seen)
    zones: set[int] = set()
    standing = False
    while pending:
        zone, others = waits_on(found, pending.pop())
        standing = standing or not others
        if zone >= 0:
            zones.add(zone)
        for other in others:
            if other not in seen:
                seen.add(other)
                pending.append(other)
    return seen, zones, standing


def refuges(tables: Tables, who: int, rivals: int) -> Iterator[tuple[int, ...]]:
    """Ways (zones in order) to free zones that no other traveller needs, nearest first.

    Behind those comes the nearest to a zone that at least the `rivals` (a mask of travellers) do not need.
    """
    needed = needed_by_rivals = 0
    for other, traveller in enumerate(tables.travellers):
        if other != who:
            needed |= traveller.need
            needed_by_rivals |= traveller.need if rivals >> other & 1 else 0
    held, full = tables.travellers[who].held, tables.full
    yield from tables.ground.ways_to(tables.bit, held, full, ~needed)
    second = next(tables.ground.ways_to(tables.bit, held, full, ~needed_by_rivals), None)
    if second is not None:
        yield second

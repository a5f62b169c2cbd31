"""Finding an order in which travellers can finish their routes: the reduction under the safe-step rule.

A *schedule* is a list of legs. In each leg one traveller drives on alone, everybody else standing still: to the end of
its route, or to a zone on the way that nobody else still needs, or (once arrived, asked to yield) from its last zone to
one that nobody needs. Every schedule found is one that could be driven, so a "yes" is proof. A "no" says only that none
was found: whether one exists is NP-complete (Araki, Sugiyama, Kasami, Okui: Complexity of the deadlock avoidance
problem, 1977), and this search takes a bounded number of passes over the travellers.

A traveller that has arrived keeps its last zone. Who still needs that zone must go first, or the arrived one must have
a way out to yield by; only if neither works does somebody arrive at the cost of locking another out.

Zones and travellers are numbers here, sets of them are Python integers used as bit masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from coordinator.core.ground import Ground

MAX_TURNS = 40
"""How often a search lets travellers make room before it takes what it has found."""


@dataclass(slots=True)
class Traveller:
    """One agent on the floor. `route` is what it still has to enter, in order; `keeps` what it holds once it is done.

    `need` are the zones of the route that it does not hold, as a mask. `travels`: it will give back all it holds but
    what it keeps. `yields`: once arrived it would go elsewhere if asked.
    """

    name: str
    held: dict[int, int] = field(default_factory=dict)
    route: tuple[int, ...] = ()
    keeps: tuple[int, ...] = ()
    need: int = 0
    travels: bool = False
    yields: bool = False


@dataclass(slots=True)
class Tables:
    """The floor as numbers. `users[zone]` are the travellers that need the zone, `full` the zones without a free unit,
    `roomy` those that several fit into, all as masks.
    """

    bit: Sequence[int]
    free: list[int]
    users: list[int]
    travellers: list[Traveller]
    ground: Ground
    full: int = 0
    roomy: int = 0


@dataclass(frozen=True, slots=True)
class Leg:
    """`who` drives on through zones of `through` (a mask). `via` is the zone of its route where it stops over, or -1
    when it drives to the end; `refuge` the zone that it yields to from there by the zones `out`, or -1.
    """

    who: int
    through: int
    via: int = -1
    refuge: int = -1
    out: int = 0


def find(tables: Tables, first: int, known: Sequence[Leg], target: int) -> Schedule:
    """Lets as many as it can finish: `first` (-1: nobody) before all, then by the legs `known` from before, then others.

    Stops early once `target` (a mask) has finished.
    """
    found = Schedule(tables, known)
    found.replay(first, known)
    for _ in range(MAX_TURNS):
        if not found.unfinished & target or not found.make_room():
            break
        found.settle()
    return found


class Schedule:
    """Who finishes (a mask) by which legs, and the floor as it is when everybody has gone as far as the legs say."""

    def __init__(self, tables: Tables, known: Sequence[Leg]) -> None:
        self.tables = tables
        self.full = tables.full
        self.legs: list[Leg] = []
        self.unfinished = sum(1 << who for who, each in enumerate(tables.travellers) if each.travels)
        self.finished = 0
        self.behind: dict[int, list[int]] = {}  # full zone -> who cannot go on for want of it
        self.after: dict[int, list[int]] = {}  # traveller -> who may not finish before it
        self._ready: list[int] = []
        self._taken: dict[int, int] = {}
        self._stands: dict[int, tuple[int, ...]] = {}
        self._over: dict[int, tuple[int, int]] = {}  # traveller stopped over -> place of its route, what it needs then
        self._refuges = {leg.who: leg for leg in known if leg.refuge >= 0}

    # -- who is where

    def need(self, who: int) -> int:
        return self._over[who][1] if who in self._over else self.tables.travellers[who].need

    def held(self, who: int) -> tuple[int, ...]:
        return self._stands[who] if who in self._stands else tuple(self.tables.travellers[who].held)

    def free(self, zone: int) -> int:
        return self.tables.free[zone] - self._taken.get(zone, 0)

    def needed(self, zone: int, who: int) -> bool:
        """Whether anybody but `who` still has to pass the zone."""
        others = self.tables.users[zone] & self.unfinished & ~(1 << who)
        return bool(others) and any(self.need(other) & self.tables.bit[zone] for other in members(others))

    def stuck_at(self, who: int) -> int:
        """The first zone of an unfinished traveller's route that keeps it from going on; -1 when there is none."""
        blocked = self.need(who) & self.full
        if blocked:
            for zone in self.tables.travellers[who].route:
                if blocked & self.tables.bit[zone]:
                    return zone
        return -1

    def holders(self, zone: int) -> list[int]:
        """Who holds the zone in the end."""
        return [who for who in range(len(self.tables.travellers)) if zone in self.held(who)]

    def _take(self, zone: int, units: int) -> None:
        self._taken[zone] = self._taken.get(zone, 0) + units
        if self.free(zone) > 0:
            self.full &= ~self.tables.bit[zone]
        else:
            self.full |= self.tables.bit[zone]

    def _drive(self, leg: Leg, keeps: tuple[int, ...]) -> None:
        """Takes the traveller's new place and gives back what it leaves; wakes who waited for that."""
        who = leg.who
        before = dict.fromkeys(self._stands[who], 1) if who in self._stands else self.tables.travellers[who].held
        for zone in keeps:
            if zone not in before:
                self._take(zone, 1)
        for zone, units in before.items():
            left = units - (zone in keeps)
            if left:
                self._take(zone, -left)
                if zone in self.behind and self.free(zone) > 0:
                    self._ready.extend(reversed(self.behind.pop(zone)))
        self._stands[who] = keeps
        self.legs.append(leg)

    # -- going on

    def replay(self, first: int, known: Sequence[Leg]) -> None:
        """Goes by the known legs as far as they lead; whoever is kept from his goes on when what keeps him is gone."""
        seen = 0
        if first >= 0:
            seen = 1 << first
            self._ready.append(first)
            self.settle()
        for leg in known:
            bit = 1 << leg.who
            if leg.via >= 0 and self.unfinished & bit and not self._over.get(leg.who) and self._stop_as_before(leg):
                continue
            if not seen & bit or leg.who in self._over:
                seen |= bit
                self._ready.append(leg.who)
                self.settle()
        self._ready.extend(reversed(members(self.unfinished & ~seen)))
        self.settle()

    def settle(self) -> None:
        """Finishes everybody who can finish without being in anybody's way afterwards."""
        travellers, ready = self.tables.travellers, self._ready
        while ready:
            who = ready.pop()
            if not self.unfinished >> who & 1:
                if who in self._refuges:
                    self._yield_as_before(who)
                continue
            blocked = self.need(who) & self.full
            if blocked:
                self.behind.setdefault((blocked & -blocked).bit_length() - 1, []).append(who)
                continue
            first = self._first_needing(who, travellers[who].keeps)
            if first < 0:
                self._finish(Leg(who, self.need(who)), travellers[who].keeps)
            elif not (who in self._refuges and self._yield_as_before(who)):
                self.after.setdefault(first, []).append(who)

    def _finish(self, leg: Leg, keeps: tuple[int, ...]) -> None:
        self._drive(leg, keeps)
        self.unfinished &= ~(1 << leg.who)
        self.finished |= 1 << leg.who
        self._over.pop(leg.who, None)
        if leg.who in self.after:
            self._ready.extend(reversed(self.after.pop(leg.who)))

    def _first_needing(self, who: int, keeps: Sequence[int]) -> int:
        """An unfinished traveller that could not pass a zone any more once `who` stays in it; -1 when there is none."""
        for zone in keeps:
            others = self.tables.users[zone] & self.unfinished & ~(1 << who)
            if not others or self.free(zone) > (0 if zone in self.held(who) else 1):
                continue
            for other in members(others):
                if self.need(other) & self.tables.bit[zone]:
                    return other
        return -1

    def _stop_as_before(self, leg: Leg) -> bool:
        who, via, route = leg.who, leg.via, self.tables.travellers[leg.who].route
        if via not in route[:-1] or self.free(via) < 1 or self.needed(via, who):
            return False
        upto = route.index(via)
        through = self._mask(route[: upto + 1]) & self.need(who)
        if through & self.full:
            return False
        self._stop_over(who, upto, through)
        return True

    def _yield_as_before(self, who: int) -> bool:
        leg = self._refuges[who]
        if not self.unfinished >> who & 1 and not any(self.needed(zone, who) for zone in self.held(who)):
            return False
        if (leg.out | self.need(who)) & self.full or self.needed(leg.refuge, who):
            return False
        self._go_to_refuge(who, leg.refuge, leg.out)
        return True

    def _go_to_refuge(self, who: int, refuge: int, out: int) -> None:
        self._refuges.pop(who, None)
        leg = Leg(who, self.need(who) | out, refuge=refuge, out=out)
        if self.unfinished >> who & 1:
            self._finish(leg, (refuge,))
        else:
            self._drive(leg, (refuge,))

    # -- making room

    def make_room(self) -> bool:
        """Somebody in the way does what it would not do by itself. Whether anybody did."""
        return self._yield() or self._step_aside() or self._give_way()

    def _step_aside(self) -> bool:
        """Everybody in the way drives on to a zone of its own route that no other needs."""
        once = twice = 0
        unfinished = members(self.unfinished)
        for who in unfinished:
            need = self.need(who)
            twice |= once & need
            once |= need
        aside = False
        for who in unfinished:
            if not any(zone in self.behind for zone in self.held(who)):
                continue
            upto = self._quiet_place(who, ~twice)
            if upto is not None:
                through = self._mask(self.tables.travellers[who].route[: upto + 1]) & self.need(who)
                self._stop_over(who, upto, through)
                self._ready.append(who)
                aside = True
        return aside

    def _quiet_place(self, who: int, alone: int) -> int | None:
        """The furthest place of the route that can be reached now and that no other unfinished traveller passes."""
        tables, full, need = self.tables, self.full, self.need(who)
        serves = ((need & alone) | tables.roomy) & need & ~full
        if not serves:
            return None
        route, bit, blocked = tables.travellers[who].route, tables.bit, need & full
        found = None
        for place in range(self._over[who][0] + 1 if who in self._over else 0, len(route) - 1):
            mask = bit[route[place]]
            if blocked & mask:
                break
            if serves & mask and (not tables.roomy & mask or self.free(route[place]) > 1):
                found = place
        return found

    def _stop_over(self, who: int, upto: int, through: int) -> None:
        route = self.tables.travellers[who].route
        self._drive(Leg(who, through, via=route[upto]), (route[upto],))
        self._over[who] = (upto, self._mask(route[upto + 1 :]) & ~self.tables.bit[route[upto]])

    def _yield(self) -> bool:
        """Those whose last zone is needed drive on to one that is not; so do those who stand in the way."""
        arriving = sorted(who for some in self.after.values() for who in some)
        yielded = False
        for who in arriving:
            traveller = self.tables.travellers[who]
            if traveller.yields and not self.need(who) & self.full and self._way_out(who, traveller.keeps):
                yielded = True
        if yielded:
            return True
        for who, traveller in enumerate(self.tables.travellers):
            if traveller.yields and not traveller.travels and any(zone in self.behind for zone in self.held(who)):
                yielded = self._way_out(who, self.held(who)) or yielded
        return yielded

    def _way_out(self, who: int, start: tuple[int, ...]) -> bool:
        ground, bit, full = self.tables.ground, self.tables.bit, self.full
        users, others = self.tables.users, self.unfinished & ~(1 << who)
        ways = ground.ways_to(start, lambda zone: not full & bit[zone], lambda zone: not users[zone] & others)
        way = next(ways, None)
        if way is None:
            return False
        self._go_to_refuge(who, way[-1], self._mask(way))
        return True

    def _give_way(self) -> bool:
        """Finishes the one whose last zone keeps the fewest from going on."""
        waiting = sorted(w for some in self.after.values() for w in some if not self.need(w) & self.full)
        if not waiting:
            return False
        users, travellers = self.tables.users, self.tables.travellers
        _, who = min(
            (sum((users[zone] & self.unfinished).bit_count() for zone in travellers[w].keeps), w) for w in waiting
        )
        self._finish(Leg(who, self.need(who)), travellers[who].keeps)
        return True

    def _mask(self, zones: Sequence[int]) -> int:
        mask = 0
        for zone in zones:
            mask |= self.tables.bit[zone]
        return mask


def members(mask: int) -> list[int]:
    """The numbers in a mask, ascending."""
    found = []
    while mask:
        found.append((mask & -mask).bit_length() - 1)
        mask &= mask - 1
    return found

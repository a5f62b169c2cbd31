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
from typing import NamedTuple

from coordinator.core.ground import Ground

ASIDE_EFFORT = 3
"""What a round of stepping aside costs, counted in searches for a way out."""

MAX_WAY_OUT = 150
"""How many zones a search for a way out looks at."""


@dataclass(slots=True)
class Traveller:
    """One agent on the floor. `route` is what it still has to enter, in order; `keeps` what it holds once it is done.

    `held` counts its units, `holds` are the same zones as a mask, `stays` those that it keeps, `way` those of
    the route, `need` those of these that it does not hold.
    `travels`: it will give back all that it holds but what it keeps. `yields`: once arrived it goes elsewhere if asked.
    """

    name: str
    held: dict[int, int] = field(default_factory=dict)
    holds: int = 0
    route: tuple[int, ...] = ()
    keeps: tuple[int, ...] = ()
    stays: int = 0
    way: int = 0
    need: int = 0
    travels: bool = False
    yields: bool = False


@dataclass(slots=True)
class Tables:
    """The floor as numbers. `users[zone]` are the travellers that need the zone, `holders[zone]` those in it; `full`
    are the zones without a free unit, `roomy` those that several fit into, `travelling` who travels. All are masks.
    """

    bit: Sequence[int]
    free: list[int]
    users: list[int]
    holders: list[int]
    travellers: list[Traveller]
    ground: Ground
    full: int = 0
    roomy: int = 0
    travelling: int = 0


class Leg(NamedTuple):
    """`who` drives on through zones of `through` (a mask). `via` is the zone of its route where it stops over, or -1
    when it drives to the end; `rest` is what it needs from there. `refuge` is the zone that it yields to from the end
    by the zones `out`, or -1; `pushed`: it stands in the way of one that yields.
    """

    who: int
    through: int
    via: int = -1
    rest: int = 0
    refuge: int = -1
    out: int = 0
    pushed: bool = False


@dataclass(slots=True)
class Known:
    """What earlier searches found: the legs by which all could finish, and each traveller's last refuge (the zone that
    it is reached from, its own number, and the way there as a mask).
    """

    legs: list[Leg] = field(default_factory=list)
    refuges: dict[int, tuple[int, int, int]] = field(default_factory=dict)


def find(tables: Tables, first: int, known: Known, target: int, effort: int, drivable: int = 0) -> Schedule:
    """Lets as many as it can finish: `first` (-1: nobody) before all, then by what is known from before, then others
    of `target` (a mask; everybody when it is empty).

    Makes room only for the target, with at most `effort` searches, and stops once all of it have finished. So many of
    the known legs that can be driven as they are, as the caller knows, come before even the first.
    """
    found = Schedule(tables, known, target, effort)
    found.skip(known.legs[:drivable])
    found.replay(first, known.legs[drivable:], target or -1)
    found.make_room_for(target)
    return found


def find_all(tables: Tables, known: Known, promised: int, hoped: int, effort: int) -> Schedule:
    """Lets everybody finish who can, the `promised` (a mask) first of all; makes room for these and the `hoped`."""
    found = Schedule(tables, known, -1, effort)
    found.replay(-1, known.legs, -1)
    if promised & found.unfinished:
        found.make_room_for(promised)
    if hoped & found.unfinished:
        found.make_room_for(promised | hoped, heed=-1)
    return found


class Schedule:
    """Who finishes (a mask) by which legs, and the floor as it is when everybody has gone as far as the legs say."""

    def __init__(self, tables: Tables, known: Known, target: int, effort: int) -> None:
        self.tables = tables
        self.full = tables.full
        self.legs: list[Leg] = []
        self.unfinished = tables.travelling
        self.finished = 0
        self.effort = effort
        self.behind: dict[int, list[int]] = {}  # full zone -> who cannot go on for want of it
        self.after: dict[int, list[int]] = {}  # traveller -> who may not finish before it
        self._travellers = tables.travellers[:]  # whose numbers these are: later they may be somebody else's
        self._need = [each.need for each in tables.travellers]
        self._holds = [each.holds for each in tables.travellers]
        self._target = self._heeded = target
        self._refuges = known.refuges
        self._ready: list[int] = []
        self._room: dict[int, int] = {}  # free units of zones that several fit into, where they changed
        self._over: dict[int, int] = {}  # who has stopped over, and where
        self._newcomers: dict[int, list[int]] | None = None
        self._still_needed: int | None = None
        self.waits: dict[int, tuple[int, list[int]]] = {}  # kept by `retreat`, which asks about the same ones often
        self._watched = 0  # the keys of `behind` as a mask

    def follow(self, who: int) -> bool:
        """Takes over, after a search, that the traveller went on, and who finishes by that. False when it cannot."""
        if who >= len(self._travellers) or self._travellers[who] is not self.tables.travellers[who]:
            return False  # it came since
        if self.finished >> who & 1:
            return True
        traveller, roomy = self.tables.travellers[who], self.tables.roomy
        left, came = self._holds[who] & ~traveller.holds, traveller.holds & ~self._holds[who]
        if not self.unfinished >> who & 1 or not traveller.travels or (left | came) & roomy:
            return False
        self.full = (self.full & ~left) | came
        self._holds[who], self._need[who] = traveller.holds, traveller.need
        self._newcomers = self._still_needed = None
        affected = 1 << who
        for zone in members(left | came):
            affected |= self.tables.users[zone]
        for other in [w for w in self.waits if affected >> w & 1 or not self.unfinished >> w & 1]:
            del self.waits[other]
        self._wake(left)
        if self._ready:
            finished = self.finished
            self.settle()
            if self.finished != finished:
                self.waits.clear()
        return True

    # -- who is where

    def need(self, who: int) -> int:
        return self._need[who]

    def holds(self, who: int) -> int:
        return self._holds[who]

    def needed(self, zone: int, who: int) -> bool:
        """Whether anybody but `who` that is to finish still has to pass the zone."""
        return self._first_needing(who, zone) >= 0

    def stuck_at(self, who: int) -> int:
        """The first zone of an unfinished traveller's route that keeps it from going on; -1 when there is none."""
        blocked = self._need[who] & self.full
        if blocked:
            for zone in self.tables.travellers[who].route:
                if blocked & self.tables.bit[zone]:
                    return zone
        return -1

    def holders(self, zone: int) -> list[int]:
        """Who holds the zone in the end. Only for a search that is over."""
        travellers = self.tables.travellers
        if self._newcomers is None:
            self._newcomers = {}
            for who in sorted({leg.who for leg in self.legs}):
                for place in members(self._holds[who] & ~travellers[who].holds):
                    self._newcomers.setdefault(place, []).append(who)
        bit, came = self.tables.bit[zone], self._newcomers.get(zone, [])
        stayed = [who for who in members(self.tables.holders[zone]) if self._holds[who] & bit]
        return sorted([*stayed, *came]) if came else stayed

    def still_needed(self) -> int:
        """The zones on the way of anybody unfinished, as a mask. Only for a search that is over."""
        if self._still_needed is None:
            self._still_needed = 0
            for who in members(self.unfinished):
                self._still_needed |= self._need[who]
        return self._still_needed

    def free(self, zone: int) -> int:
        return self._room.get(zone, self.tables.free[zone])

    def _drive(self, leg: Leg, keeps: int) -> None:
        """Takes the traveller's new place and gives back what it leaves; wakes who waited for that."""
        self._wake(self._put(leg, keeps))

    def _wake(self, left: int) -> None:
        woken = left & self._watched & ~self.full
        if woken:
            self._watched &= ~woken
            for zone in members(woken):
                self._ready.extend(reversed(self.behind.pop(zone)))

    def _put(self, leg: Leg, keeps: int) -> int:
        """Takes the traveller's new place and gives back what it leaves, which is returned."""
        before = self._holds[leg.who]
        left, taken = before & ~keeps, keeps & ~before
        roomy = (left | taken) & self.tables.roomy
        if roomy:
            for zone in members(roomy):
                units = self.tables.travellers[leg.who].held.get(zone, 1) if leg.who not in self._over else 1
                self._room[zone] = self.free(zone) + (units if left & self.tables.bit[zone] else -1)
                if self._room[zone] < 1:
                    self.full |= self.tables.bit[zone]
                else:
                    self.full &= ~self.tables.bit[zone]
            self.full = (self.full & ~(left & ~roomy)) | (taken & ~roomy)
        else:
            self.full = (self.full & ~left) | taken
        self._holds[leg.who] = keeps
        self.legs.append(leg)
        return left

    # -- going on

    def skip(self, legs: Sequence[Leg]) -> None:
        """Puts everybody where these legs, which can be driven one after the other, lead to."""
        bit, travellers = self.tables.bit, self.tables.travellers
        for leg in legs:
            who = leg.who
            if leg.via >= 0:
                if self._need[who] & bit[leg.via]:  # else it is there already
                    self._put(leg, bit[leg.via])
                    self._over[who], self._need[who] = leg.via, leg.rest
                continue
            self._put(leg, bit[leg.refuge] if leg.refuge >= 0 else travellers[who].stays)
            self._over.pop(who, None)
            self._need[who] = 0
            self.finished |= self.unfinished & 1 << who
            self.unfinished &= ~(1 << who)

    def replay(self, first: int, known: Sequence[Leg], others: int) -> None:
        """Goes by the known legs as far as they lead, then tries those of the `others` (a mask) that have none; whoever
        is kept from going on does so when what keeps it is gone.
        """
        seen = 0
        if first >= 0:
            seen = 1 << first
            self._ready.append(first)
            self.settle()
        travellers, users, target = self.tables.travellers, self.tables.users, self._target
        for leg in known:
            who = leg.who
            bit = 1 << who
            if leg.via >= 0:
                if self._stop_as_before(leg):
                    continue
            elif leg.refuge < 0 and self.unfinished & bit and not self._need[who] & self.full:
                rivals = 0
                for zone in travellers[who].keeps:
                    rivals |= users[zone]
                rivals &= self.unfinished & target & ~bit
                if not rivals:  # what `settle` would do, without the detour: most legs of most schedules end here
                    seen |= bit
                    self._finish(Leg(who, self._need[who]), travellers[who].stays)
                    if self._ready:
                        self.settle()
                    continue
            if not seen & bit or who in self._over:
                seen |= bit
                self._ready.append(who)
                self.settle()
        self._ready.extend(reversed(members(self.unfinished & others & ~seen)))
        self.settle()

    def settle(self) -> None:
        """Finishes everybody who can finish without being in anybody's way afterwards."""
        ready, needs, travellers = self._ready, self._need, self.tables.travellers
        while ready:
            who = ready.pop()
            if not self.unfinished >> who & 1:
                if who in self._refuges:
                    self._yield_as_before(who)
                continue
            blocked = needs[who] & self.full
            if blocked:
                blocked &= -blocked
                self._watched |= blocked
                self.behind.setdefault(blocked.bit_length() - 1, []).append(who)
                continue
            first = -1
            for zone in travellers[who].keeps:
                first = self._first_needing(who, zone)
                if first >= 0:
                    break
            if first < 0:
                self._finish(Leg(who, needs[who]), travellers[who].stays)
            elif not (who in self._refuges and self._yield_as_before(who)):
                self.after.setdefault(first, []).append(who)

    def _finish(self, leg: Leg, keeps: int) -> None:
        who = leg.who
        self._drive(leg, keeps)
        self.unfinished &= ~(1 << who)
        self.finished |= 1 << who
        self._over.pop(who, None)
        self._need[who] = 0
        if who in self.after:
            self._ready.extend(reversed(self.after.pop(who)))

    def _first_needing(self, who: int, zone: int) -> int:
        """Somebody who is to finish and could not pass the zone any more once `who` stays in it; -1: nobody."""
        others = self.tables.users[zone] & self.unfinished & self._target & ~(1 << who)
        if not others:
            return -1
        bit = self.tables.bit[zone]
        if bit & self.tables.roomy and self.free(zone) > (0 if self._holds[who] & bit else 1):
            return -1
        while others:
            other = (others & -others).bit_length() - 1
            if self._need[other] & bit:
                return other
            others &= others - 1
        return -1

    def _stop_as_before(self, leg: Leg) -> bool:
        who = leg.who
        through = leg.through & self._need[who]
        if not self.unfinished >> who & 1 or who in self._over or not self._need[who] & self.tables.bit[leg.via]:
            return False
        if through & self.full or self.needed(leg.via, who):
            return False
        if not any(self.needed(zone, who) for zone in self.tables.travellers[who].held):
            return False  # nobody is in need of its place any more
        self._stop_over(Leg(who, through, leg.via, leg.rest))
        return True

    def _stop_over(self, leg: Leg) -> None:
        self._drive(leg, self.tables.bit[leg.via])
        self._over[leg.who] = leg.via
        self._need[leg.who] = leg.rest

    def _yield_as_before(self, who: int) -> bool:
        start, refuge, out = self._refuges[who]
        traveller = self.tables.travellers[who]
        if not traveller.yields or start not in traveller.keeps or (out | self._need[who]) & self.full:
            return False
        if not self.unfinished >> who & 1 and not (
            self._holds[who] & self.tables.bit[start] and self.needed(start, who)
        ):
            return False
        if self.needed(refuge, who):
            return False
        self._go_to_refuge(who, refuge, out)
        return True

    def _go_to_refuge(self, who: int, refuge: int, out: int) -> None:
        leg = Leg(who, self._need[who] | out, refuge=refuge, out=out)
        if self.unfinished >> who & 1:
            self._finish(leg, self.tables.bit[refuge])
        else:
            self._drive(leg, self.tables.bit[refuge])

    # -- making room

    def make_room_for(self, target: int, heed: int = 0) -> None:
        """Lets as many of the `target` finish as the effort allows, in nobody's way of these or of `heed` (masks)."""
        self._heeded = target | heed
        if target != self._target:
            self._target = target
            for who in sorted(self.after, reverse=True):  # who was after somebody that no longer counts need not be
                self._ready.extend(reversed(self.after.pop(who)))
            self.settle()
        while self.unfinished & target and self.effort > 0 and self.make_room():
            self.settle()

    def make_room(self) -> bool:
        """Somebody in the way does what it would not do by itself. Whether anybody did."""
        return self._yield() or self._step_aside() or self._give_way()

    def _needs(self) -> tuple[int, int]:
        """The zones that one of those who are heeded still needs, and those that several need.

        Not those where one more may stay and all of them still find room.
        """
        once = twice = 0
        for who in members(self.unfinished & self._heeded):
            need = self._need[who]
            twice |= once & need
            once |= need
        for zone in members(once & self.tables.roomy & ~self.full):
            bit = self.tables.bit[zone]
            needing = sum(bool(self._need[who] & bit) for who in members(self.unfinished))
            if self.free(zone) > needing:
                once, twice = once & ~bit, twice & ~bit
        return once, twice

    def _step_aside(self) -> bool:
        """Everybody in the way drives on to a zone of its own route that no other needs."""
        self.effort -= ASIDE_EFFORT
        once, twice = self._needs()
        wanted = 0
        for who in members(self.unfinished & self._target):
            wanted |= self._need[who]
        off_others = [(~zones | self.tables.roomy) & ~self.full for zones in (once, twice)]
        aside = False
        for who in members(self.unfinished):
            quiet = off_others[self._heeded >> who & 1]
            if self._holds[who] & wanted and self._need[who] & quiet:
                leg = self._quiet_place(who, quiet)
                if leg is not None:
                    self._stop_over(leg)
                    self._ready.append(who)
                    aside = True
        return aside

    def _quiet_place(self, who: int, quiet: int) -> Leg | None:
        """The way to the furthest place of the route that can be reached now and is `quiet`: no other is to pass it."""
        tables, need = self.tables, self._need[who]
        route, bit, blocked = tables.travellers[who].route, tables.bit, need & self.full
        start = route.index(self._over[who]) + 1 if who in self._over else 0
        found, through, passed = -1, 0, 0
        for place in range(start, len(route) - 1):
            mask = bit[route[place]]
            if blocked & mask:
                break
            passed |= mask
            if quiet & mask & need and (not tables.roomy & mask or self.free(route[place]) > 1):
                found, through = place, passed
        if found < 0:
            return None
        via = route[found]
        if len(set(route)) == len(route):
            return Leg(who, through & need, via, need & ~through)
        return Leg(who, through & need, via, self._mask(route[found + 1 :]) & ~bit[via])

    def _yield(self) -> bool:
        """Those whose last zone is needed drive on to one that is not; so do those who stand in the way."""
        once, twice = self._needs()
        yielded = False
        for who in sorted(who for some in self.after.values() for who in some):
            traveller = self.tables.travellers[who]
            if traveller.yields and not self._need[who] & self.full and self.unfinished >> who & 1:
                shunned = twice | (once & ~self._need[who])
                yielded = self._way_out(who, traveller.keeps[0], shunned) or yielded
        if yielded:
            return True
        for who, traveller in enumerate(self.tables.travellers):
            if traveller.yields and not traveller.travels and self._holds[who] & self._watched and traveller.keeps:
                yielded = self._way_out(who, traveller.keeps[0], once) or yielded
        return yielded

    def _way_out(self, who: int, start: int, shunned: int) -> bool:
        if self.effort <= 0:
            return False
        self.effort -= 1
        ways = self.tables.ground.ways_to(self.tables.bit, (start,), self.full, ~(shunned | self.full), MAX_WAY_OUT)
        way = next(ways, None)
        if way is None:
            return self._push(who, start, shunned)
        self._refuges[who] = (start, way[-1], self._mask(way))
        self._go_to_refuge(who, way[-1], self._mask(way))
        return True

    def _push(self, who: int, start: int, shunned: int) -> bool:
        """Goes to a refuge past others that have arrived, which move off that way first."""
        standing = [
            other
            for other, each in enumerate(self.tables.travellers)
            if each.yields and not each.travels and each.keeps and other != who
        ]
        movable = 0
        for other in standing:
            movable |= self._holds[other]
        shut = self.full & ~movable
        ways = self.tables.ground.ways_to(self.tables.bit, (start,), shut, ~(shunned | self.full), MAX_WAY_OUT)
        way = next(ways, ())
        path = self._mask(way) | self._need[who]
        for zone in reversed(way):
            for other in standing:
                if not self._holds[other] & self.tables.bit[zone] or self.effort <= 0:
                    continue
                self.effort -= 1
                off = self.full | shunned | path
                out = next(self.tables.ground.ways_to(self.tables.bit, (zone,), self.full, ~off, MAX_WAY_OUT), ())
                if out:
                    self._drive(
                        Leg(other, self._mask(out), refuge=out[-1], out=self._mask(out), pushed=True),
                        self.tables.bit[out[-1]],
                    )
        if not way or path & self.full:
            return False
        self._go_to_refuge(who, way[-1], self._mask(way))
        return True

    def _give_way(self) -> bool:
        """Finishes the one whose last zone keeps the fewest from going on."""
        unfinished, users, travellers = self.unfinished, self.tables.users, self.tables.travellers
        waiting = sorted(w for some in self.after.values() for w in some if unfinished >> w & 1)
        able = [who for who in waiting if not self._need[who] & self.full]
        if not able:
            return False
        _, who = min(
            (sum((users[z] & unfinished & self._target).bit_count() for z in travellers[w].keeps), w) for w in able
        )
        self._finish(Leg(who, self._need[who]), travellers[who].stays)
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

"""Whether a step leaves everybody able to arrive. Owns the safe-step half of I9.

The rules in words. An agent *declares* the zones that it still has to enter, in order. A step (taking the next zones)
is safe when every declared agent that could finish its route before can still finish it after, each driving along its
own route. A finished agent keeps its last zone. Who occupies a zone without a route never gives it back, as far as this
book reckons. Such an agent may keep others from finishing, and that must not forbid everything: what could not finish
before need not be able to after.

An ask that no declaration covers is a route of one step. Two readings of that, both needed so that fleets with and
without routes can share a floor. An agent that occupied nothing when it asked came from off the floor (an arm, a person
at a gate) and goes back there: a *visit*, which gives back all that it takes. And an agent that declared nothing is
promised nothing: it is refused a step that would lock others in, but others are not held up for what it may want next.
Who ends where the asker ends waits its turn, as for any hold.

The book mirrors the machine's units. It is told of every occupation, and it decides; it changes nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

from coordinator.core.itineraries import Itineraries, after
from coordinator.core.order import after_step, rerouted
from coordinator.core.retreat import involved, refuges, ring_through
from coordinator.core.schedule import Known, Leg, Schedule, find, find_all, members

MAX_YIELDS = 8
"""How many idle agents are asked to yield at once."""

MAX_RETREATS_TRIED = 2
STEP_EFFORT = 3
ORDER_EFFORT = 8
"""How hard (in searches for a way out) one step, and now and then an order for everybody, may be worked on."""


class Why(StrEnum):
    """WAIT: others go first. WOULD_DEADLOCK: waiting cannot help, others wait for this agent too."""

    WAIT = "WAIT"
    WOULD_DEADLOCK = "WOULD_DEADLOCK"


@dataclass(frozen=True, slots=True)
class Link:
    """One agent of a cycle: what it holds is wanted by the one before it, what it wants is held by the one after.

    Where the wait ends with one that has arrived instead, that one wants nothing, and of the first nobody wants any.
    """

    agent: str
    holds: str
    wants: str

    def story(self) -> str:
        holds = [f"holds {self.holds}"] if self.holds else []
        return f"{self.agent} {' and '.join([*holds, f'needs {self.wants}' if self.wants else 'has arrived'])}"


@dataclass(frozen=True, slots=True)
class Safe:
    """The step may be granted."""


@dataclass(frozen=True, slots=True)
class Unsafe:
    """The step must not be granted now. `waits_for` names those who must go first, sorted.

    The verdict stands until one of those claims anew, arrives or stops being counted on, or a unit of a zone of `frees`
    (sorted) is given back. Rarely it falls earlier, for want of which it is to be looked at again now and then.
    `cycle` starts with the asker and is empty for WAIT; `retreat` is a zone to draw back to, or empty.
    """

    why: Why
    waits_for: tuple[str, ...] = ()
    frees: tuple[str, ...] = ()
    cycle: tuple[Link, ...] = ()
    retreat: str = ""

    def story(self) -> str:
        """The cycle in words."""
        return "; ".join(link.story() for link in self.cycle)


@dataclass(slots=True)
class _Trial:
    """A step found safe: the schedule to go by and the claim that is left once it is taken."""

    who: int
    pending: set[int]
    claim: tuple[int, ...] | None
    ends: tuple[int, ...]
    legs: list[Leg]
    finishing: int
    watched: int


class RouteBook(Itineraries):
    """Occupation and routes of every agent on one floor, and the order by which all can arrive."""

    def __init__(self, zones: Iterable[tuple[str, int]], neighbours: Iterable[tuple[str, str]] = ()) -> None:
        """`zones` are names with their capacities; `neighbours` pairs (from, to) that a vehicle may drive."""
        super().__init__(zones, neighbours)
        self._known = Known()
        self._finishing = 0
        self._watched = 0
        self._stale = False  # whether the known order may not be good any more
        self._hope = False  # whether somebody may arrive by now who is not in it
        self._hopeful = 0  # whose way changed since room was made for those who cannot arrive without
        self._able = 0
        self._trial: _Trial | None = None
        self._picture: Schedule | None = None  # the floor when all who can have arrived, until something changes

    # -- what the machine tells

    def occupy(self, zone: str, agent: str, *, visit: bool = False) -> None:
        """The agent (empty: somebody unknown) takes a unit of the zone; `visit`: by a grant, maybe from outside."""
        if not agent:
            self._count(self._number[zone], -1)
            self._trial, self._picture, self._stale = None, None, True
            return
        who, place = self._enrol(agent), self._number[zone]
        intent, trial = self._intents[who], self._trial
        if not self._tables.travellers[who].held:
            intent.visits = visit and intent.claim is None
        self._take(who, place)
        if trial is not None and trial.who == who and place in trial.pending:
            trial.pending.discard(place)
            if trial.pending:
                return
            intent.claim, intent.ends, self._stale = trial.claim, trial.ends, False
            if trial.finishing != self._finishing:
                self._picture = None
            self._known.legs, self._finishing, self._watched = trial.legs, trial.finishing, trial.watched
        else:
            self._enter(who, place)
            self._stale, self._picture = True, None
        self._trial = None
        self._plot(who)
        self._follow(who)

    def vacate(self, zone: str, agent: str) -> None:
        """The agent gives a unit of the zone back. KeyError when it has none."""
        if not agent:
            self._count(self._number[zone], 1)
            self._trial, self._picture, self._stale = None, None, True
            return
        who, place = self._who[agent], self._number[zone]
        traveller = self._tables.travellers[who]
        self._give(who, place)
        self._trial = None
        if place in traveller.keeps or place in traveller.route:
            self._stale = True
        self._hope = self._hope or bool(self._watched & self._tables.bit[place])
        if not traveller.held:
            self._intents[who].visits = False
        travelled = traveller.travels
        self._plot(who)
        self._follow(who)
        if self._watched and travelled and not traveller.travels:
            self._hope = True  # it has arrived and would yield now to those who need its place
            for place_kept in traveller.keeps:
                self._hopeful |= self._tables.users[place_kept]
        self._leave(who)

    def stands(self, agent: str) -> None:
        """The agent's grant ended where it stands: it visits no longer."""
        who = self._who.get(agent)
        if who is not None and self._intents[who].visits:
            self._intents[who].visits = False
            self._changed(who)

    def declare(self, agent: str, route: Sequence[str]) -> None:
        """What the agent still has to enter, in order, in place of what it declared before. KeyError: unknown zone."""
        places = tuple(self._number[zone] for zone in route)
        who = self._enrol(agent)
        held, start = self._tables.travellers[who].held, 0
        while start < len(places) and places[start] in held and places[start] not in places[start + 1 :]:
            start += 1
        intent, stale, hopeful = self._intents[who], self._stale, self._hopeful
        arrived = not self._tables.travellers[who].travels
        bearings = self._bearings(who) if intent.claim is not None else None
        intent.claim, intent.ends, intent.visits = places[start:], places[-1:], False
        if arrived or self._finishing >> who & 1:
            self._plot(who)
            if self._bearings(who) == bearings:
                return  # it said so before: the order that is known, with the refuge it would yield to, is still good
        self._known.refuges.pop(who, None)
        self._changed(who)
        legs = None if stale else rerouted(self._tables, self._known, who)
        travels = self._tables.travellers[who].travels
        if legs is None or not (travels or arrived):
            self._known.legs = [leg for leg in self._known.legs if leg.who != who]
            return
        self._known.legs, self._stale, self._hope, self._hopeful = legs, False, True, hopeful
        self._finishing = self._finishing | 1 << who if travels else self._finishing & ~(1 << who)

    def forget(self, agent: str) -> None:
        """Drops what the agent declared; what it occupies and waits for stays."""
        who = self._who.get(agent)
        if who is not None and (self._intents[who].claim is not None or self._intents[who].visits):
            intent = self._intents[who]
            intent.claim, intent.ends, intent.visits = None, (), False
            self._changed(who)

    def wait(self, agent: str, zones: Sequence[str]) -> None:
        """The agent waits for these zones."""
        who = self._enrol(agent)
        intent = self._intents[who]
        intent.asks.append(tuple(self._number[zone] for zone in zones))
        if intent.claim is None and self._tables.travellers[who].held:
            intent.visits = False
            self._changed(who)

    def wait_over(self, agent: str, zones: Sequence[str]) -> None:
        """It waits for them no more: served, cancelled or dropped. Being served leaves the step just decided good."""
        who = self._who.get(agent)
        if who is None:
            return
        intent, places = self._intents[who], tuple(self._number[zone] for zone in zones)
        if places in intent.asks:
            intent.asks.remove(places)
        if intent.claim is None and self._tables.travellers[who].held:
            trial = self._trial
            self._changed(who)
            self._trial = trial if trial is not None and trial.who == who else None
        else:
            self._leave(who)

    # -- what the machine asks

    def decide(self, agent: str, zones: Sequence[str]) -> Safe | Unsafe:
        """Whether the agent may take these zones now. Changes nothing; the grant is told by `occupy` for each zone."""
        self._trial = None
        self._refresh()
        who = self._enrol(agent)
        held, room = self._tables.travellers[who].held, self._tables.free
        wanted = [place for place in [self._number[zone] for zone in zones] if place not in held]
        rest = after(self._intents[who].claim, held, wanted)
        free = min([room[place] for place in wanted], default=1) > 0
        if not wanted:
            verdict: Safe | Unsafe = Safe()
        elif rest is not None and not any(leg.who == who for leg in self._known.legs):
            verdict = self._unable(who, wanted, rest, free)
        else:
            verdict = self._step(who, wanted, rest) if free else Unsafe(Why.WAIT)
            if isinstance(verdict, Unsafe) and rest is None and held:
                verdict = self._in_a_ring(who, wanted) or verdict
        self._leave(who)
        return verdict

    def can_finish(self, agent: str) -> bool:
        """Whether an order is known in which the agent's route can be driven to its end."""
        who = self._who.get(agent)
        self._stale = self._stale or (self._hope and who is not None and not self._finishing >> who & 1)
        self._refresh()
        return who is not None and bool(self._finishing >> who & 1)

    def part_of_the_way(self, agent: str, zones: Sequence[str]) -> str:
        """How far along its route a declared agent may go now that asks for all of `zones`, not all of which it can
        have: the furthest such zone that lies before a full one; empty when it may not go on at all.
        """
        who, wanted = self._enrol(agent), {self._number[zone] for zone in zones}
        held, ahead = self._tables.travellers[who].held, []
        for place in self._intents[who].claim or ():
            if place in held:
                continue
            if place not in wanted or self._tables.free[place] < 1:
                break
            ahead.append(self._names[place])
        for count in sorted({len(ahead), (len(ahead) + 1) // 2, min(1, len(ahead))} - {0}, reverse=True):
            if isinstance(self.decide(agent, ahead[:count]), Safe):
                self._trial = None
                return ahead[count - 1]
        return ""

    def newly_able(self) -> list[str]:
        """Agents for whom an order was found, since the last call, by which they arrive, and who could not before."""
        able, self._able = self._able, 0
        return sorted(self._tables.travellers[who].name for who in members(able & self._finishing))

    def goes_first(self, agent: str, other: str) -> bool:
        """Whether `agent` moves before `other` in the order by which all can arrive; True when `other` is in none."""
        self._refresh()
        mine, theirs = self._who.get(agent, -1), self._who.get(other, -1)
        return next((leg.who == mine for leg in self._known.legs if leg.who in (mine, theirs)), True)

    def claimed_before(self, agent: str, other: str) -> bool:
        """Whether both declared routes and `agent` can arrive, moving before `other` does, which may be unable to."""
        if not (self.declared(agent) and self.declared(other)):
            return False
        return self.goes_first(agent, other) and bool(self._finishing >> self._who[agent] & 1)

    def yield_requests(self, idle: Collection[str]) -> list[tuple[str, str]]:
        """Which idle agents stand in the way of a route, each with a zone to go to that is on nobody's.

        `idle` are the agents that would go if asked: connected, not at work, without a route to drive. At most
        MAX_YIELDS, in the order of their names, and no zone twice.
        """
        if self._watched or self._hope:
            self._stale, self._hopeful = True, -1
        self._refresh()
        asked: list[tuple[str, str]] = []
        tables, legs = self._tables, self._known.legs
        later = [0]
        for leg in reversed(legs):
            later.append(later[-1] | leg.through)
        before: list[int] = []
        for leg, after_it in zip(legs, later[-2::-1], strict=True):
            traveller, bit = tables.travellers[leg.who], tables.bit[leg.refuge]
            passing = sum(bool(way & bit) for way in before)
            before.append(leg.through & traveller.need)
            if leg.refuge < 0 or traveller.travels or traveller.name not in idle or leg.out & tables.full:
                continue
            if tables.free[leg.refuge] <= passing:
                continue  # somebody passes there first, and needs the room
            in_the_way = any(tables.users[place] & ~(1 << leg.who) for place in traveller.held)
            if in_the_way or leg.pushed or traveller.holds & tables.full & after_it:
                asked.append((traveller.name, self._names[leg.refuge]))
        return sorted(asked)[:MAX_YIELDS]

    def make_room(self, zone: str, idle: Collection[str], wanted: Collection[str]) -> tuple[str, str] | None:
        """Who of the `idle` in a zone is to yield to one that comes from off the floor and is on no schedule: the
        agent, and the nearest free zone that it can go to, nobody needs and is not `wanted` either. None when nobody
        there can go.
        """
        there = members(self._tables.holders[self._number[zone]])
        names = {self._tables.travellers[who].name: who for who in there}
        for name in sorted(names.keys() & set(idle)):
            for way in refuges(self._tables, names[name], 0):
                if self._names[way[-1]] not in wanted and not self._tables.users[way[-1]]:
                    return name, self._names[way[-1]]
        return None

    # -- deciding

    def _changed(self, who: int) -> None:
        self._trial, self._picture, self._stale = None, None, True
        self._hopeful |= 1 << who
        self._plot(who)

    def _follow(self, who: int) -> None:
        if self._picture is not None and not self._picture.follow(who):
            self._picture = None

    def _leave(self, who: int) -> None:
        traveller = self._tables.travellers[who]
        if not traveller.held and self._finishing >> who & 1 and not traveller.route:
            self._finishing &= ~(1 << who)
            self._known.legs = [leg for leg in self._known.legs if leg.who != who]
        self._discharge(who)

    def _enter(self, who: int, place: int) -> None:
        """Shortens the claim by what was entered without having been decided here."""
        intent, held = self._intents[who], self._tables.travellers[who].held
        claim = intent.claim
        if claim and place in claim:
            while claim and claim[0] in held and (claim[0] == place or claim[0] not in claim[1:]):
                claim = claim[1:]
            intent.claim = claim

    def _find(self, target: int, first: int = -1, effort: int = STEP_EFFORT, drivable: int = 0) -> Schedule:
        return find(self._tables, first, self._known, target, effort, drivable)

    def _refresh(self) -> None:
        """Looks for an order anew after something changed that the known one does not cover."""
        if self._stale:
            # what was promised goes before what is hoped for by others
            effort = STEP_EFFORT if self._hopeful >= 0 else ORDER_EFFORT
            found = find_all(self._tables, self._known, self._promised(), self._hopeful, effort)
            if found.finished != self._finishing:
                self._picture = None
                self._able |= found.finished & ~self._finishing
            self._known.legs, self._finishing, self._stale, self._hopeful = found.legs, found.finished, False, 0
            self._hope = False
            self._watched = self._watch(found)

    def _watch(self, found: Schedule) -> int:
        """The zones whose coming free may let somebody arrive who could not."""
        mask = 0
        for who in members(found.unfinished):
            blocked = found.need(who) & found.full
            mask |= blocked & -blocked
        return mask

    def _promised(self) -> int:
        """Those among the finishing who declared their route."""
        travellers, intents = self._tables.travellers, self._intents
        declared = (w for w in members(self._finishing) if intents[w].claim is not None and travellers[w].travels)
        return sum(1 << who for who in declared)

    def _step(self, who: int, wanted: list[int], rest: tuple[int, ...] | None) -> Safe | Unsafe:
        """Plays the step, looks for an order from there, and takes the step back."""
        intent, traveller = self._intents[who], self._tables.travellers[who]
        claim, ends, asks, visits = intent.claim, intent.ends, intent.asks, intent.visits
        if claim is None and not asks and not traveller.held and self._on_nobodys_way(who, wanted):
            known = self._known.legs
            self._trial = _Trial(who, set(wanted), None, tuple(wanted), known, self._finishing, self._watched)
            return Safe()
        bearings = self._bearings(who)
        if rest is None:
            intent.claim, intent.ends, intent.asks, intent.visits = None, tuple(wanted), [], not traveller.held
        else:
            intent.claim = rest
        for place in wanted:
            self._take(who, place)
        self._plot(who)
        try:
            return self._judge(who, wanted)
        finally:
            for place in wanted:
                self._give(who, place)
            intent.claim, intent.ends, intent.asks, intent.visits = claim, ends, asks, visits
            self._restore(who, bearings)

    def _on_nobodys_way(self, who: int, wanted: list[int]) -> bool:
        """No known leg is the asker's own or needs any of these zones: a visit there changes nothing for anybody."""
        if not self._known.legs:
            return True
        mask = 0
        for place in wanted:
            mask |= self._tables.bit[place]
        return not any(leg.who == who or leg.through & mask for leg in self._known.legs)

    def _judge(self, who: int, wanted: list[int]) -> Safe | Unsafe:
        """Decides over a floor on which the step was taken."""
        intent = self._intents[who]
        could = bool(self._finishing >> who & 1)
        trial = _Trial(who, set(wanted), intent.claim, intent.ends, self._known.legs, self._finishing, self._watched)
        legs, drivable = after_step(self._tables, self._known, who, wanted)
        if legs is not None:
            trial.legs = legs
            if any(leg.who == who and leg.via < 0 for leg in legs):
                trial.finishing |= 1 << who
            self._trial = trial
            return Safe()
        promised = self._promised()
        found = self._find(promised | 1 << who if could else promised, who, drivable=drivable)
        locked_out = promised & ~found.finished
        if locked_out and intent.claim is not None:
            locked_out &= ~self._same_end(trial)
        if locked_out or (could and not found.finished >> who & 1):
            ahead, zones, _ = involved(found, members(locked_out | 1 << who))
            return self._wait(ahead, zones | set(wanted))
        trial.legs, trial.finishing, trial.watched = found.legs, found.finished, self._watch(found)
        self._trial = trial
        return Safe()

    def _same_end(self, trial: _Trial) -> int:
        """Those who mean to stay where the asker stays: whoever comes second waits its turn, as for any hold."""
        ends = set(trial.ends)
        return sum(1 << who for who, intent in enumerate(self._intents) if who != trial.who and ends & set(intent.ends))

    # -- rings

    def _unable(self, who: int, wanted: list[int], rest: tuple[int, ...], free: bool) -> Safe | Unsafe:
        """A declared agent that cannot arrive as things are. It waits; or it is in a ring, where waiting cannot help;
        or only somebody without a way of its own is ahead, and it may drive up to that one if that harms nobody.
        """
        if self._picture is None:
            self._picture = self._find(0, effort=0, drivable=self._to_the_end())
        picture = self._picture
        if not picture.unfinished >> who & 1:
            return self._step(who, wanted, rest) if free else Unsafe(Why.WAIT)
        ring = ring_through(picture, who)
        if ring:
            return self._deadlock(who, ring, *involved(picture, [who])[:2])
        ahead, zones, standing = involved(picture, [who])
        if free and standing:
            verdict = self._step(who, wanted, rest)
            if isinstance(verdict, Safe):
                return verdict
        return self._wait(ahead, zones | set(wanted))

    def _to_the_end(self) -> int:
        """How many of the known legs, from the first, are of travellers that arrive by them."""
        legs, finishing = self._known.legs, self._finishing
        return next((n for n, leg in enumerate(legs) if leg.via >= 0 and not finishing >> leg.who & 1), len(legs))

    def _wait(self, ahead: set[int], zones: set[int]) -> Unsafe:
        return Unsafe(Why.WAIT, self._names_of(ahead), self._zones_of(zones))

    def _in_a_ring(self, who: int, wanted: list[int]) -> Unsafe | None:
        """Whether an undeclared asker waits for somebody that waits for it."""
        intent = self._intents[who]
        claim, asks, visits = intent.claim, intent.asks, intent.visits
        intent.claim, intent.asks, intent.visits = None, [*asks, tuple(wanted)], False
        self._plot(who)
        try:
            found = self._find(0, who)
            ring = ring_through(found, who) if found.unfinished >> who & 1 else []
            ahead, zones, _ = involved(found, [who] if ring else [])
        finally:
            intent.claim, intent.asks, intent.visits = claim, asks, visits
            self._plot(who)
        return self._deadlock(who, ring, ahead, zones) if ring else None

    def _deadlock(self, who: int, ring: list[tuple[int, int]], ahead: set[int], zones: set[int]) -> Unsafe:
        links = tuple(
            Link(self._tables.travellers[other].name, self._names[holds], self._names[wants])
            for (other, wants), (_, holds) in zip(ring, [ring[-1], *ring[:-1]], strict=True)
        )
        frees = self._zones_of(zones)
        return Unsafe(Why.WOULD_DEADLOCK, self._names_of(ahead), frees, links, self._retreat(who, ring))

    def _names_of(self, travellers: Iterable[int]) -> tuple[str, ...]:
        return tuple(sorted(self._tables.travellers[who].name for who in travellers))

    def _zones_of(self, places: Iterable[int]) -> tuple[str, ...]:
        return tuple(sorted(self._names[place] for place in places))

    def _retreat(self, who: int, ring: list[tuple[int, int]]) -> str:
        """The nearest zone from where the asker harms nobody and to where it can go now; empty when there is none."""
        intent = self._intents[who]
        claim, ends, visits = intent.claim, intent.ends, intent.visits
        rivals = sum(1 << other for other, _ in ring[1:])
        promised = self._promised() & ~(1 << who)
        passed = 0
        for leg in self._known.legs:
            passed |= leg.through if leg.who != who else 0
        ways = list(islice(refuges(self._tables, who, rivals), MAX_RETREATS_TRIED))
        if ways and not self._tables.bit[ways[0][-1]] & passed:
            return self._names[ways[0][-1]]  # it goes there at once, and all the others as they would have
        try:
            for way in ways:
                intent.claim, intent.ends, intent.visits = way, way[-1:], False
                self._plot(who)
                found = self._find(promised | 1 << who, who)
                if found.finished >> who & 1 and not promised & ~found.finished:
                    return self._names[way[-1]]
        finally:
            intent.claim, intent.ends, intent.visits = claim, ends, visits
            self._plot(who)
        return ""

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
from coordinator.core.retreat import involved, refuges, ring_through
from coordinator.core.schedule import Known, Leg, Schedule, find, members

MAX_YIELDS = 8
"""How many idle agents are asked to yield at once."""

MAX_RETREATS_TRIED = 2


class Why(StrEnum):
    """WAIT: others go first. WOULD_DEADLOCK: waiting cannot help, others wait for this agent too."""

    WAIT = "WAIT"
    WOULD_DEADLOCK = "WOULD_DEADLOCK"


@dataclass(frozen=True, slots=True)
class Link:
    """One agent of a cycle: what it holds is wanted by the one before it, what it wants is held by the one after."""

    agent: str
    holds: str
    wants: str


@dataclass(frozen=True, slots=True)
class Safe:
    """The step may be granted."""


@dataclass(frozen=True, slots=True)
class Unsafe:
    """The step must not be granted now. `waits_for` names those whose next move may change that, sorted.

    `cycle` starts with the asker and is empty for WAIT; `retreat` is a zone to draw back to, or empty.
    """

    why: Why
    waits_for: tuple[str, ...] = ()
    cycle: tuple[Link, ...] = ()
    retreat: str = ""

    def story(self) -> str:
        """The cycle in words."""
        parts = [f"{link.agent} holds {link.holds} and needs {link.wants}" for link in self.cycle]
        return "; ".join(parts)


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
        self._stale = False
        self._trial: _Trial | None = None

    # -- what the machine tells

    def occupy(self, zone: str, agent: str, *, visit: bool = False) -> None:
        """The agent takes a unit of the zone; `visit`: by a grant, so that it may be from off the floor."""
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
            self._known.legs, self._finishing, self._watched = trial.legs, trial.finishing, trial.watched
        else:
            self._enter(who, place)
            self._stale = True
        self._trial = None
        self._plot(who)

    def vacate(self, zone: str, agent: str) -> None:
        """The agent gives a unit of the zone back. KeyError when it has none."""
        who, place = self._who[agent], self._number[zone]
        traveller = self._tables.travellers[who]
        self._give(who, place)
        self._trial = None
        if self._watched & self._tables.bit[place] or place in traveller.keeps or place in traveller.route:
            self._stale = True
        if not traveller.held:
            self._intents[who].visits = False
        self._plot(who)
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
        intent = self._intents[who]
        intent.claim, intent.ends, intent.visits = places[start:], places[-1:], False
        self._known.refuges.pop(who, None)
        self._known.legs = [leg for leg in self._known.legs if leg.who != who]
        self._changed(who)

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
        held = self._tables.travellers[who].held
        wanted = [place for place in (self._number[zone] for zone in zones) if place not in held]
        rest = after(self._intents[who].claim, held, wanted)
        verdict: Safe | Unsafe = Safe()
        if any(self._tables.free[place] < 1 for place in wanted):
            verdict = Unsafe(Why.WAIT)
        elif wanted:
            verdict = self._step(who, wanted, rest)
        if isinstance(verdict, Unsafe) and held and not (rest is not None and self._finishing >> who & 1):
            verdict = self._in_a_ring(who, wanted, rest) or verdict
        self._leave(who)
        return verdict

    def can_finish(self, agent: str) -> bool:
        """Whether an order is known in which the agent's route can be driven to its end."""
        self._refresh()
        who = self._who.get(agent)
        return who is not None and bool(self._finishing >> who & 1)

    def goes_first(self, agent: str, other: str) -> bool:
        """Whether `agent` moves before `other` in the order by which all can arrive; True when `other` is in none."""
        self._refresh()
        mine, theirs = self._who.get(agent, -1), self._who.get(other, -1)
        return next((leg.who == mine for leg in self._known.legs if leg.who in (mine, theirs)), True)

    def yield_requests(self, idle: Collection[str]) -> list[tuple[str, str]]:
        """Which idle agents stand in the way of a route, each with a zone to go to that is on nobody's.

        `idle` are the agents that would go if asked: connected, not at work, without a route to drive. At most
        MAX_YIELDS, in the order of their names, and no zone twice.
        """
        self._refresh()
        asked = []
        for leg in self._known.legs:
            traveller = self._tables.travellers[leg.who]
            needed = any(self._tables.users[place] & ~(1 << leg.who) for place in traveller.held)
            if leg.refuge >= 0 and needed and not traveller.travels and traveller.name in idle:
                asked.append((traveller.name, self._names[leg.refuge]))
        return sorted(asked)[:MAX_YIELDS]

    # -- deciding

    def _changed(self, who: int) -> None:
        self._trial, self._stale = None, True
        self._plot(who)

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

    def _find(self, target: int, first: int = -1) -> Schedule:
        return find(self._tables, first, self._known, target)

    def _refresh(self) -> None:
        """Looks for an order anew after something changed that the known one does not cover."""
        if self._stale:
            found = self._find(-1)
            self._known.legs, self._finishing, self._stale = found.legs, found.finished, False
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
            self._plot(who)

    def _judge(self, who: int, wanted: list[int]) -> Safe | Unsafe:
        """Decides over a floor on which the step was taken."""
        intent = self._intents[who]
        declared, could = intent.claim is not None, bool(self._finishing >> who & 1)
        trial = _Trial(who, set(wanted), intent.claim, intent.ends, self._known.legs, self._finishing, self._watched)
        if (could or not declared) and self._order_holds(trial, wanted):
            self._trial = trial
            return Safe()
        promised = self._promised()
        found = self._find(promised | 1 << who, who)
        locked_out = promised & ~found.finished
        if locked_out:
            locked_out &= ~self._same_end(trial)
        arrives = not declared or bool(found.finished >> who & 1)
        if not locked_out and (arrives or (not could and self._only_standing_ahead(found, who))):
            trial.legs, trial.finishing, trial.watched = found.legs, found.finished, self._watch(found)
            self._trial = trial
            return Safe()
        return self._wait(found, locked_out or 1 << who)

    def _order_holds(self, trial: _Trial, wanted: list[int]) -> bool:
        """Whether the known order covers the step: the asker can go first, or nobody before it needs what it takes."""
        tables, who = self._tables, trial.who
        traveller = tables.travellers[who]
        free_ahead = trial.claim is not None and not traveller.need & tables.full
        if free_ahead and all(self._harmless(who, place) for place in traveller.keeps):
            trial.legs = [Leg(who, traveller.need), *(leg for leg in self._known.legs if leg.who != who)]
            return True
        mask = sum(tables.bit[place] for place in wanted)
        passing = 0
        for leg in self._known.legs:
            if leg.who == who:
                return leg.via < 0
            if leg.through & mask:
                passing += 1
                if any(passing > tables.free[place] for place in wanted if leg.through & tables.bit[place]):
                    return False
        return True

    def _harmless(self, who: int, place: int) -> bool:
        """Whether the traveller may stay in its last zone for good without locking anybody out."""
        others = (self._tables.users[place] & ~(1 << who)).bit_count()
        spare = self._tables.free[place] - (place not in self._tables.travellers[who].held)
        return others <= spare

    def _same_end(self, trial: _Trial) -> int:
        """Those who mean to stay where the asker stays: whoever comes second waits its turn, as for any hold."""
        ends = set(trial.ends)
        return sum(1 << who for who, intent in enumerate(self._intents) if who != trial.who and ends & set(intent.ends))

    def _only_standing_ahead(self, found: Schedule, who: int) -> bool:
        """What keeps the asker from arriving is somebody without a way of its own; moving up to it harms nobody."""
        return involved(found, [who])[1] and not ring_through(found, who)

    def _wait(self, found: Schedule, start: int) -> Unsafe:
        names = (self._tables.travellers[other].name for other in involved(found, members(start))[0])
        return Unsafe(Why.WAIT, tuple(sorted(names)))

    # -- rings

    def _in_a_ring(self, who: int, wanted: list[int], rest: tuple[int, ...] | None) -> Unsafe | None:
        """Whether the asker waits for somebody that waits for it; then the ring, and where it might draw back to."""
        intent = self._intents[who]
        claim, asks, visits = intent.claim, intent.asks, intent.visits
        if rest is None:
            intent.claim, intent.asks, intent.visits = None, [*asks, tuple(wanted)], False
        self._plot(who)
        try:
            found = self._find(0, who)
            ring = ring_through(found, who) if found.unfinished >> who & 1 else []
            known = sorted(self._tables.travellers[other].name for other in involved(found, [who])[0]) if ring else []
        finally:
            intent.claim, intent.asks, intent.visits = claim, asks, visits
            self._plot(who)
        if not ring:
            return None
        links = tuple(
            Link(self._tables.travellers[other].name, self._names[holds], self._names[wants])
            for (other, wants), (_, holds) in zip(ring, [ring[-1], *ring[:-1]], strict=True)
        )
        return Unsafe(Why.WOULD_DEADLOCK, tuple(known), links, self._retreat(who, ring))

    def _retreat(self, who: int, ring: list[tuple[int, int]]) -> str:
        """The nearest zone from where the asker harms nobody and to where it can go now; empty when there is none."""
        intent = self._intents[who]
        claim, ends, visits = intent.claim, intent.ends, intent.visits
        rivals = sum(1 << other for other, _ in ring[1:])
        promised = self._promised() & ~(1 << who)
        ways = list(islice(refuges(self._tables, who, rivals), MAX_RETREATS_TRIED))
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

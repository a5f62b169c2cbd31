"""Whether a known schedule survives a step, without searching for a new one: the fast path of the safe-step rule.

A step puts one more obstacle into the schedule: what the asker took stays taken until the asker's own leg. So the
schedule holds when no leg before that one needs it, or when the asker's leg can be moved up to before the first that
does. Pure functions; "no" means only that it takes a search to know.
"""

from __future__ import annotations

from collections.abc import Sequence

from coordinator.core.schedule import Known, Leg, Tables


def after_step(tables: Tables, known: Known, who: int, wanted: Sequence[int]) -> tuple[list[Leg] | None, int]:
    """The legs by which everybody finishes still, on a floor where `who` has just taken `wanted`; None: not known.

    With them, how many of the known legs can be driven as they are in any case. `who` is a traveller that the known
    legs bring to its end, or one without any leg.
    """
    traveller, travellers = tables.travellers[who], tables.travellers
    if traveller.yields and not traveller.need & tables.full and _lets_pass(tables, known, who):
        return [Leg(who, traveller.need), *(leg for leg in known.legs if leg.who != who)], 0
    mask = sum(tables.bit[place] for place in wanted)
    passing = 0
    for place, leg in enumerate(known.legs):
        if leg.who == who:
            # It will not stop over in a zone that it has been given together with one beyond.
            stands = (
                leg.via < 0
                or traveller.need & tables.bit[leg.via]
                or (mask & tables.bit[leg.via] and not mask & leg.rest)
            )
            return known.legs if stands else None, place
        if leg.through & mask:
            through = leg.through & (travellers[leg.who].need | leg.out)  # the rest it has behind it by now
            passing += bool(through & mask)
            if any(passing > tables.free[zone] for zone in wanted if through & tables.bit[zone]):
                return _moved_up(tables, known, who, place), place
    return known.legs, len(known.legs)


def _lets_pass(tables: Tables, known: Known, who: int) -> bool:
    """Whether the traveller may stay in its last zone for good without locking anybody out."""
    traveller = tables.travellers[who]
    if any(leg.refuge >= 0 and leg.out & traveller.stays for leg in known.legs):
        return False  # somebody would make way over it
    for zone in traveller.keeps:
        others = (tables.users[zone] & ~(1 << who)).bit_count()
        if others > tables.free[zone] - (zone not in traveller.held):
            return False
    return True


def _moved_up(tables: Tables, known: Known, who: int, place: int) -> list[Leg] | None:
    """The legs with the asker's next one put before `place`, should it be drivable there and in nobody's way after."""
    own = next((leg for leg in known.legs[place:] if leg.who == who), None)
    traveller, bit = tables.travellers[who], tables.bit
    if own is None or not traveller.yields:
        return None
    full = _full_before(tables, known.legs[:place])
    later = 0
    for leg in known.legs[place:]:
        if leg.who != who:
            later |= leg.through
    end = Leg(who, traveller.need)
    stays = traveller.stays
    if own.refuge >= 0 and later & stays:
        end = Leg(who, traveller.need | own.out, refuge=own.refuge, out=own.out)
        stays = bit[own.refuge]
    if not end.through & full and not stays & (later | tables.roomy):
        return [*known.legs[:place], end, *(leg for leg in known.legs[place:] if leg.who != who)]
    if own.via >= 0 and traveller.need & bit[own.via] and not own.through & traveller.need & full:
        if bit[own.via] & (later | tables.roomy):
            return None
        return [*known.legs[:place], own, *(leg for leg in known.legs[place:] if leg is not own)]
    return None


def rerouted(tables: Tables, known: Known, who: int) -> list[Leg] | None:
    """The known legs with one by which `who`, which goes elsewhere than before, gets there; None: not known.

    It goes when it would have gone before, or last.
    """
    traveller, legs = tables.travellers[who], known.legs
    own = [place for place, leg in enumerate(legs) if leg.who == who]
    if len(own) > 1 or not traveller.yields:
        return None
    place = own[0] if own else len(legs)
    rest = legs[place + 1 :]
    if not traveller.travels:
        known_to_stay = not own or (legs[place].via < 0 and legs[place].refuge < 0)
        return [*legs[:place], *rest] if known_to_stay and traveller.holds == traveller.stays else None
    later = tables.roomy
    for leg in rest:
        later |= leg.through
    if traveller.stays & later or traveller.need & _full_before(tables, legs[:place]):
        return None
    return [*legs[:place], Leg(who, traveller.need), *rest]


def _full_before(tables: Tables, legs: Sequence[Leg]) -> int:
    """The zones without a free unit when these legs have been driven; zones that several fit into never come free."""
    full, roomy = tables.full, tables.roomy
    holds: dict[int, int] = {}
    for leg in legs:
        traveller = tables.travellers[leg.who]
        if leg.via >= 0:
            keeps = tables.bit[leg.via]
        elif leg.refuge >= 0:
            keeps = tables.bit[leg.refuge]
        else:
            keeps = traveller.stays
        full = (full & ~(holds.get(leg.who, traveller.holds) & ~roomy)) | keeps
        holds[leg.who] = keeps
    return full

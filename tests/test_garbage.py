"""Cycles are found by the clock: the young soon, the old when they have become many; and never by allocations."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from coordinator.garbage import OLD_BEFORE_COUNT, YOUNG_BEFORE_OLD, GarbageRounds


class Knot:
    """Refers to itself: only the collector frees it."""

    def __init__(self) -> None:
        self.itself = self


class Plain:
    """Goes as soon as nobody refers to it."""


def is_set_aside(thing: object) -> bool:
    """Other threads of this process make objects too, so only one's own tell anything."""
    return not any(each is thing for each in gc.get_objects())


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.enable()


def rounds_to_the_next_count(rounds: GarbageRounds) -> None:
    for _ in range(YOUNG_BEFORE_OLD * OLD_BEFORE_COUNT):
        rounds.look()


def test_a_cycle_that_dies_young_is_found_in_the_next_round() -> None:
    gc.disable()
    rounds = GarbageRounds()
    knot = weakref.ref(Knot())
    assert knot() is not None
    rounds.look()
    assert knot() is None


def test_what_has_lived_for_long_is_looked_at_no_more_but_goes_when_nobody_refers_to_it() -> None:
    gc.disable()
    rounds = GarbageRounds()
    old, plain = Knot(), Plain()
    assert not is_set_aside(old)
    for _ in range(YOUNG_BEFORE_OLD):
        rounds.look()
    assert is_set_aside(old)
    knot, left = weakref.ref(old), weakref.ref(plain)
    del old, plain
    assert left() is None
    rounds.look()
    assert knot() is not None


def test_a_full_collection_comes_when_enough_has_gathered_and_not_before() -> None:
    gc.disable()
    rounds = GarbageRounds(growth_least=0)
    rounds.collect_all()
    kept = gc.get_freeze_count()
    knots = [Knot() for _ in range(1_000)]
    first = weakref.ref(knots[0])
    for _ in range(YOUNG_BEFORE_OLD):
        rounds.look()
    knots.clear()
    rounds_to_the_next_count(rounds)
    assert first() is not None, "a thousand are few beside what there is"
    knots += [Knot() for _ in range(kept)]
    for _ in range(YOUNG_BEFORE_OLD):
        rounds.look()
    knots.clear()
    rounds_to_the_next_count(rounds)
    assert first() is None


def test_the_first_ledger_is_set_aside_unseen_and_uncounted_and_is_no_growth(monkeypatch: pytest.MonkeyPatch) -> None:
    gc.disable()
    rounds = GarbageRounds(growth_least=0)
    rounds.collect_all()
    records = [Knot() for _ in range(gc.get_freeze_count())]
    first = weakref.ref(records[0])
    with monkeypatch.context() as agents_wait:  # a count takes 13 ms
        agents_wait.delattr(gc, "get_freeze_count")
        rounds.loaded()
    assert is_set_aside(records[0])
    records.clear()
    rounds_to_the_next_count(rounds)
    assert first() is not None
    again = [Knot() for _ in range(gc.get_freeze_count())]
    rounds.loaded()
    again.clear()
    rounds_to_the_next_count(rounds)
    assert first() is None


async def test_the_collector_is_given_back_as_it_was() -> None:
    rounds = GarbageRounds()
    rounds.start()
    assert not gc.isenabled()
    assert gc.get_freeze_count() > 0
    knot = weakref.ref(Knot())
    while knot() is not None:  # noqa: ASYNC110 - the rounds are what is awaited
        await asyncio.sleep(0.01)
    await rounds.stop()
    await rounds.stop()
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0

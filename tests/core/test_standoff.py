"""Whoever was promised to arrive does, however many zones it asks for at once: patient agents on random floors (I9)."""

from __future__ import annotations

import random

import pytest
from core.patient_fleet import PatientFleet
from core.route_worlds import Explorer, random_world

LOOKS = 300
REACH = 4
FOUND = {
    126: "two that could pass in a bay asked past it, and neither was told to go into it alone",
    336: "two zones were granted at once, past the bay in which the known order let the agent stop over",
    542: "one asked past another that had arrived and was not to yield before it had come nearer",
    632: "the oldest waiter could not arrive, and its reservation kept those from arriving who went first",
    991: "one that could not draw back was told of its ring again and again, and the other one, which could, never",
}


def stuck_in(seed: int) -> list[str]:
    """Agents that were promised to arrive on a floor on which all can, and did not; in words with the floor."""
    rng = random.Random(seed)
    world = random_world(rng)
    fleet = PatientFleet(world, rng, reach=REACH)
    promised = {name for name in fleet.agents if fleet.machine.routes.can_finish(name)}
    names = sorted(world.at)
    start = tuple((world.at[name], 0) for name in names)
    if not Explorer(world).all_can_arrive(start, frozenset(names)):
        return []
    left = promised.intersection(fleet.play(LOOKS))
    said = [f"{a} {z}" for a, z in ((w.agent_id, w.zones) for w in fleet.machine.queue.in_order())]
    return [f"seed {seed}: {name} of\n{world.story()}\nwaiting: {said}\ntold: {fleet.told}" for name in sorted(left)]


@pytest.mark.parametrize("seed", sorted(FOUND), ids=str)
def test_a_floor_on_which_somebody_waited_for_ever_is_none_any_more(seed: int) -> None:
    assert not stuck_in(seed), FOUND[seed]


def test_whoever_was_promised_to_arrive_does_so_on_random_floors() -> None:
    assert [story for seed in range(1_000, 1_100) for story in stuck_in(seed)] == []

"""Laws of the checkers: what the real core does is accepted, and taking the evidence out of it is noticed."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted.improv import improvise

from chaos.checkers import CHECKERS, check
from chaos.history import Line
from chaos.stories.floors import row_floor
from chaos.stories.scene import Scene

SEEDS = 30
MANY_SEEDS = 3_000


def accepted(seed: int) -> None:
    improv = improvise(seed)
    found = improv.scene.verdict()
    assert not found, f"seed {seed}: " + "\n\n".join(found) + "\n\n" + "\n".join(improv.said)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_whatever_happens_to_the_real_core_its_history_is_legal(seed: int) -> None:
    accepted(seed)


@pytest.mark.slow
def test_thousands_of_improvised_scenes_are_legal() -> None:
    for seed in range(SEEDS, MANY_SEEDS):
        accepted(seed)


# -- evidence taken out --------------------------------------------------------------------------------------------


def turns(seed: int) -> list[Line]:
    """Agents take turns in two zones: each asks, drives in, out again, releases. A stop and its reset in between."""
    rng = random.Random(seed)
    s = Scene(row_floor("A B"))
    agents = ("V1", "V2")
    for agent in agents:
        s.hello(agent)
    s.stop("s-1", floor=True)
    s.reset("s-1")
    for _ in range(rng.randint(2, 6)):
        agent, zone = rng.choice(agents), rng.choice(("A", "B"))
        s.ask(agent, zone, ms=20_000)
        s.drive(agent, zone)
        s.wait(rng.choice((0, 150, 700)))
        s.drive_off(agent)
        s.release(agent)
    assert s.verdict() == []
    return s.history.lines


def without(lines: list[Line], drop: Callable[[Line], bool]) -> list[Line]:
    kept = [line for line in lines if not drop(line)]
    return [Line(line.t, line.src, line.kind, line.fields, number) for number, line in enumerate(kept, 1)]


some_turns = st.integers(0, 10_000).map(turns)


@settings(max_examples=25, deadline=None)
@given(some_turns, st.randoms(use_true_random=False))
def test_a_release_taken_out_makes_a_silent_vacancy(lines: list[Line], rng: random.Random) -> None:
    releases = [line for line in lines if line.kind == "send" and line["op"] == "release"]
    gone = rng.choice(releases)
    assert CHECKERS["I2"](without(lines, lambda line: line is gone))


@settings(max_examples=25, deadline=None)
@given(some_turns, st.randoms(use_true_random=False))
def test_a_commit_taken_out_makes_a_grant_before_its_commit(lines: list[Line], rng: random.Random) -> None:
    commits = [
        line
        for line in lines
        if line.kind == "commit" and any(unit["state"] == "HELD" for unit in line.get("units") or ())
    ]
    gone = rng.choice(commits)
    assert CHECKERS["I4"](without(lines, lambda line: line is gone))


@settings(max_examples=25, deadline=None)
@given(some_turns)
def test_a_reset_taken_out_makes_a_stop_that_ends_by_itself(lines: list[Line]) -> None:
    def is_reset(line: Line) -> bool:
        asked = line.kind == "event" and line["name"] == "ResetAsked"
        return asked or (line.kind == "operator" and line["action"] == "reset")

    assert CHECKERS["I5"](without(lines, is_reset))


@settings(max_examples=25, deadline=None)
@given(some_turns, st.randoms(use_true_random=False))
def test_a_grant_that_no_agent_heard_makes_a_body_where_it_may_not_be(lines: list[Line], rng: random.Random) -> None:
    heard = [line for line in lines if line.kind == "deliver" and line["answer"] == "granted"]
    gone = rng.choice(heard)
    assert CHECKERS["I1"](without(lines, lambda line: line is gone))


@settings(max_examples=10, deadline=None)
@given(some_turns)
def test_every_prefix_of_a_legal_history_is_legal(lines: list[Line]) -> None:
    for end in range(0, len(lines), max(1, len(lines) // 12)):
        assert check(lines[:end]) == []

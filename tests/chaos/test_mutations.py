"""Every planted bug is caught by a short history, and the same history is clean without it."""

from __future__ import annotations

import re

import pytest
from core.bench import Bench, Broken
from planted.scenes import SCENES
from planted.shell_scenes import SHELL_SCENES

from chaos.mutations import MUTATIONS, Mutation, Unavailable, planted, unavailable
from chaos.mutations.patching import Patch
from coordinator.core.safety import Safety

NAMED_IN_THE_PLAN = 25
ALL = sorted({*SCENES, *SHELL_SCENES})


async def play(name: str) -> list[str]:
    return await SHELL_SCENES[name]() if name in SHELL_SCENES else SCENES[name]()


@pytest.mark.parametrize("name", ALL)
async def test_the_scene_of_a_planted_bug_is_clean_without_it(name: str) -> None:
    assert await play(name) == []


@pytest.mark.parametrize("name", ALL)
async def test_a_planted_bug_is_caught_by_an_invariant_that_it_names(name: str) -> None:
    reason = unavailable(name)
    if reason:
        pytest.skip(reason)
    with planted(name):
        found = await play(name)
    named = {invariant for violation in found for invariant in re.findall(r"^I\d", violation)}
    assert named & set(MUTATIONS[name].caught_by), "\n\n".join(found) or "nothing was found"


def test_the_real_code_is_back_after_a_planted_bug() -> None:
    before = vars(Safety)["_overdue"]
    try:
        with planted("free_on_expiry"):
            assert vars(Safety)["_overdue"] is not before
            raise RuntimeError("the scene broke off")
    except RuntimeError:
        pass
    assert vars(Safety)["_overdue"] is before


def test_the_cores_invariants_see_a_reservation_that_binds_whom_its_reserver_waits_for() -> None:
    def meet() -> None:
        bench = Bench()
        bench.hello("v1")
        bench.hello("v2")
        bench.ask("v1", "A")
        bench.ask("v2", "A", "B")
        bench.ask("v1", "B")

    meet()
    with planted("reservation_binds_predecessors"), pytest.raises(Broken, match="whose way it stands in"):
        meet()


def test_every_mutation_has_a_scene_or_a_reason_for_having_none() -> None:
    without = [name for name in sorted(MUTATIONS) if name not in ALL and not MUTATIONS[name].needs]
    assert without == []
    assert len(MUTATIONS) >= NAMED_IN_THE_PLAN


def test_every_mutation_says_in_one_line_what_it_breaks() -> None:
    for mutation in MUTATIONS.values():
        assert mutation.caught_by
        assert 20 < len(mutation.description) < 120
        assert "\n" not in mutation.description


def test_a_mutation_whose_code_is_missing_is_refused_with_the_reason() -> None:
    missing = Mutation("m", "nothing", ("I1",), lambda patch: None, needs=("coordinator.core.nowhere:Thing",))
    assert missing.unavailable() == "needs coordinator.core.nowhere:Thing, which does not exist here"
    with pytest.raises(Unavailable, match="_no_such_method"), Patch() as patch:
        patch.wrap(Safety, "_no_such_method", lambda original: original)
    with pytest.raises(KeyError), planted("no_such_mutation"):
        pass

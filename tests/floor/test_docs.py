"""The page on the floor says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from floor.builders import GOOD, spoiled

from coordinator.floor import Floor, FloorError
from coordinator.floor.document import AgentKindEntry, ArmEntry, FloorDocument, StationEntry, ZoneEntry, ZonePerCell


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs" / "floor.md").read_text()


def test_the_example_on_the_page_is_the_floor_that_the_tests_use(page: str) -> None:
    found = re.search(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert found
    assert Floor.parse(found[1]) == Floor.parse(GOOD)


def test_every_key_of_the_format_is_on_the_page(page: str) -> None:
    for model in (FloorDocument, ZoneEntry, ZonePerCell, AgentKindEntry, StationEntry, ArmEntry):
        missing = [key for key in model.model_fields if not re.search(rf"[`.*]{key}\b", page)]
        assert not missing, f"{model.__name__} in docs/floor.md lacks {missing}"


def test_the_errors_on_the_page_are_what_check_prints(page: str) -> None:
    example = re.search(r"```yaml\n(.*?)```", page, re.DOTALL)
    shown = re.search(r"\$ zonelock check bad.yaml\n(.*?)```", page, re.DOTALL)
    assert example
    assert shown
    text = example[1]
    capacity, overlap = ("capacity: 2", "capacity: 0"), ("[1, 3, 5, 1]", "[1, 3, 5, 1], [5, 2]")
    area = ("Z_02]", "Z_22]")
    for old, new in (capacity, overlap, area):
        assert old in text
        text = text.replace(old, new)
    with pytest.raises(FloorError) as caught:
        Floor.parse(text, "bad.yaml")
    told = [line.removeprefix("  - ") for line in shown[1].splitlines() if line.startswith("  - ")]
    assert told == [str(problem) for problem in caught.value.problems]


def test_the_builders_refuse_a_change_that_changes_nothing() -> None:
    with pytest.raises(ValueError, match="not in the floor"):
        spoiled(("nothing of the kind", ""))

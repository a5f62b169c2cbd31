"""Whatever a file holds, reading it gives a floor or a FloorError, and nothing else."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import yaml
from floor.builders import GOOD
from floor.test_lif import RING, SQUARE, lif
from floor.test_moving_ai import MAP
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.floor import Floor, FloorError
from coordinator.floor.importers import from_lif, from_moving_ai, read_scenario

ATOMS = st.none() | st.booleans() | st.integers(-9, 10**9) | st.floats()
SCALARS = ATOMS | st.text(max_size=5) | st.sampled_from("a:.")
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SCALARS, inner, max_size=3))


@st.composite
def cut_and_pasted(draw: st.DrawFn, text: str) -> str:
    """`text` with up to three pieces cut out, doubled or overwritten."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 30)))
        piece = draw(st.sampled_from(["", text[start:end] * 2]) | st.text(max_size=4))
        text = text[:start] + piece + text[end:]
    return text


def _replaced(draw: st.DrawFn, value: Any) -> Any:
    """One node of a tree, chosen on the way down, replaced by anything."""
    if isinstance(value, dict) and value and draw(st.booleans()):
        key = draw(st.sampled_from(sorted(value)))
        return {**value, key: _replaced(draw, value[key])}
    if isinstance(value, list) and value and draw(st.booleans()):
        index = draw(st.integers(0, len(value) - 1))
        return [*value[:index], _replaced(draw, value[index]), *value[index + 1 :]]
    return draw(VALUES)


@st.composite
def with_one_part_replaced(draw: st.DrawFn, document: Any) -> Any:
    return _replaced(draw, document)


@given(cut_and_pasted(GOOD))
def test_a_mangled_floor_file_is_a_floor_or_a_floor_error(text: str) -> None:
    with contextlib.suppress(FloorError):
        Floor.parse(text)


@settings(max_examples=300)
@given(with_one_part_replaced(yaml.safe_load(GOOD)))
def test_a_floor_with_anything_anywhere_is_a_floor_or_a_floor_error(document: Any) -> None:
    with contextlib.suppress(FloorError):
        Floor.parse(yaml.safe_dump(document))


@given(cut_and_pasted(MAP), st.booleans(), st.booleans())
def test_a_mangled_map_is_a_floor_or_a_floor_error(text: str, aisles: bool, largest_only: bool) -> None:
    with contextlib.suppress(FloorError):
        from_moving_ai(text, aisles=aisles, largest_only=largest_only)


@given(cut_and_pasted("version 1\n0\tx.map\t9\t5\t1\t1\t5\t4\t7\n2 x.map 9 5 2 2 4 2 2.41\n"))
def test_a_mangled_scenario_is_tasks_or_a_floor_error(text: str) -> None:
    with contextlib.suppress(FloorError):
        read_scenario(text)


@settings(max_examples=300)
@given(with_one_part_replaced(lif(SQUARE, RING, [{"stationId": "s", "interactionNodeIds": ["a"]}])))
def test_a_layout_with_anything_anywhere_is_a_floor_or_a_floor_error(document: Any) -> None:
    with contextlib.suppress(FloorError):
        from_lif(json.dumps(document, default=str, skipkeys=True))

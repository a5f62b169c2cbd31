"""A small good floor, and how to spoil it."""

from __future__ import annotations

import pytest

from coordinator.floor import Floor, FloorError, Problem

GOOD = """\
format: zonelock.floor/1
site: demo
version: 3
cell_mm: 1000
grid: |
  #######
  #>>.>v#
  #^#.#v#
  #^<<<<#
  #######
defaults: {hold_max_ms: 20000}
zones:
  Z_01: {cells: [[1, 1, 3, 1]]}
  Z_02: {cells: [[4, 1, 2, 1], [5, 2]], capacity: 2, stop_group: east}
  Z_03: {cells: [[1, 2], [1, 3, 5, 1], [3, 2]], hold_max_ms: 30000}
areas:
  north: [Z_01, Z_02]
agent_kinds:
  agv: {speed_mm_s: 1000, braking_mm_s2: 1000, length_mm: 900, width_mm: 700}
  arm: {speed_mm_s: 500, braking_mm_s2: 2000, length_mm: 1500, width_mm: 200}
stations:
  press: {cell: [3, 2], dwell_ms: 1500}
parking:
  bay: [1, 3]
arms:
  Arm_14: {base: [2, 2], zones: [Z_03]}
machines:
  Press: [[4, 2]]
"""


def spoiled(*changes: tuple[str, str]) -> str:
    """GOOD with each (old, new) put in; the old text must be there."""
    text = GOOD
    for old, new in changes:
        if old not in text:
            raise ValueError(f"{old!r} is not in the floor")
        text = text.replace(old, new, 1)
    return text


def problems_of(text: str) -> tuple[Problem, ...]:
    """What reading `text` reports; fails the test when it reads."""
    with pytest.raises(FloorError) as caught:
        Floor.parse(text, "floor.yaml")
    return caught.value.problems


def only_problem_of(text: str) -> Problem:
    problems = problems_of(text)
    assert len(problems) == 1, "\n".join(map(str, problems))
    return problems[0]

"""Who is on call hears of an etcd that fills up: in time, once, and again when it happens again."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from coordinator.store.etcd import EtcdStore
from coordinator.store.etcd_client import EndpointStatus
from coordinator.upkeep import Upkeep

QUOTA = 1_000


@pytest.fixture
async def upkeep() -> AsyncIterator[tuple[Upkeep, list[str]]]:
    told: list[str] = []
    store = EtcdStore("127.0.0.1:1")
    yield Upkeep(store, QUOTA, leads=lambda: True, alarm=told.append), told
    await store.close()


def member(db_bytes: int, *alarms: str) -> EndpointStatus:
    return EndpointStatus("m:1", reachable=True, db_bytes=db_bytes, alarms=alarms)


async def test_a_member_that_fills_up_is_told_once_until_it_has_space_again(upkeep: tuple[Upkeep, list[str]]) -> None:
    look, told = upkeep
    for size in (790, 800, 900, 750, 990):
        look.judge([member(size)])
    assert len(told) == 1
    assert "m:1 has used 80 %" in told[0] and "etcdctl defrag" in told[0]
    look.judge([member(100)])
    look.judge([member(850)])
    assert len(told) == 2


async def test_an_etcd_alarm_is_passed_on_with_its_remedy_and_again_when_it_comes_back(
    upkeep: tuple[Upkeep, list[str]],
) -> None:
    look, told = upkeep
    for alarms in (("NOSPACE",), ("NOSPACE",), (), ("NOSPACE",)):
        look.judge([member(10, *alarms)])
    assert len(told) == 2
    assert "alarm disarm" in told[0]


async def test_a_member_that_does_not_answer_says_nothing_of_its_size(upkeep: tuple[Upkeep, list[str]]) -> None:
    look, told = upkeep
    look.judge([EndpointStatus("m:1", reachable=False, problem="no answer")])
    assert told == []

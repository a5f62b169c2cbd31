"""A stream with several agents is a gateway: it may hold only for vehicles that halt by themselves."""

from __future__ import annotations

from typing import Any

from core.bench import Bench, only

from coordinator.core import effects as fx
from coordinator.core import events as ev
from coordinator.core.rejections import Refusal


def hello(bench: Bench, agent: str, conn: int, **more: Any) -> list[fx.Answer]:
    return bench.do(ev.Hello(now_ms=bench.now_ms, conn=conn, agent_id=agent, session=f"secret-{agent}", **more))


def test_an_agent_with_a_stream_of_its_own_needs_no_word_on_its_watchdog() -> None:
    bench = Bench()
    only(hello(bench, "a", 1), fx.Welcome)
    only(hello(bench, "a", 1), fx.Welcome)
    only(hello(bench, "b", 2), fx.Welcome)


def test_a_gateway_whose_vehicles_all_have_watchdogs_is_welcome() -> None:
    bench = Bench()
    for agent in ("a", "b", "c"):
        only(hello(bench, agent, 1, vehicle_watchdog=True), fx.Welcome)


def test_a_gateways_vehicle_without_a_watchdog_is_refused_and_changes_nothing() -> None:
    bench = Bench()
    only(hello(bench, "a", 1, vehicle_watchdog=True), fx.Welcome)
    refused = only(hello(bench, "b", 1), fx.Failed)
    assert refused.refusal is Refusal.NEEDS_WATCHDOG
    assert "b did not say" in refused.message
    assert "b" not in bench.machine.sessions


def test_the_first_agent_of_a_stream_must_have_said_it_when_a_second_one_comes() -> None:
    bench = Bench()
    only(hello(bench, "a", 1), fx.Welcome)
    assert "a did not say" in only(hello(bench, "b", 1, vehicle_watchdog=True), fx.Failed).message
    only(hello(bench, "a", 1, vehicle_watchdog=True), fx.Welcome)
    only(hello(bench, "b", 1, vehicle_watchdog=True), fx.Welcome)

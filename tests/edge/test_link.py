"""What an anomaly does at a real coordinator, by policy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from edge.findings import anomaly
from zonelock.v1 import floor_pb2
from zonelock_client import Operator
from zonelock_client.testing import TestServer

from edge_node.config import CoordinatorConfig
from edge_node.entries import Entry, Kind
from edge_node.findings import Severity
from edge_node.link import PENDING_MAX, REASON_CHARS, Link, stop_id, words
from edge_node.policy import Action

PATIENCE_S = 20.0


class Site:
    """A coordinator, and a link to it that is watched."""

    def __init__(self, operator: Operator, target: str, **policy: Any) -> None:
        self.operator, self.said = operator, list[Entry]()
        config = CoordinatorConfig.model_validate({"target": target, "zones": ["Z_31"], **policy})
        self.link = Link(config, "edge-press", self.said.append)

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():  # noqa: ASYNC110  # the link tells by a list
                await asyncio.sleep(0.01)

    def outcomes(self) -> list[tuple[str, str]]:
        return [(e.data["action"], e.data["outcome"]) for e in self.said if e.kind is Kind.ACTION]

    async def zone(self) -> floor_pb2.ZoneView:
        [zone] = await self.operator.zones("Z_31")
        return zone


@asynccontextmanager
async def site(**policy: Any) -> AsyncIterator[Site]:
    async with TestServer() as server, Operator(server.target, operator="mara") as operator:
        found = Site(operator, server.target, **policy)
        running = asyncio.create_task(found.link.run())
        try:
            await found.until(lambda: found.link.connected)
            yield found
        finally:
            running.cancel()
            await asyncio.wait([running])


async def test_an_alarm_trips_a_stop_that_names_its_samples_and_its_node() -> None:
    async with site(alarm="stop") as found:
        assert found.link.take(anomaly()) is Action.STOP
        await found.until(lambda: ("stop", "done") in found.outcomes())
        [stop] = await found.operator.stops()
        assert stop.stop_id == stop_id("edge-press", anomaly().provenance)
        assert stop.stop_id.startswith("edge:edge-press:spindle:")
        assert (stop.cause, stop.tripped_by) == (floor_pb2.STOP_CAUSE_AGENT, "edge-press")
        assert "envelope_outer 14.5, usual 1.75" in stop.reason
        assert (await found.zone()).state == floor_pb2.ZONE_STATE_STOPPED


async def test_an_alarm_closes_the_machines_zones_until_somebody_opens_them() -> None:
    async with site(alarm="close") as found:
        found.link.take(anomaly())
        await found.until(lambda: ("close", "done") in found.outcomes())
        zone = await found.zone()
        assert zone.state == floor_pb2.ZONE_STATE_CLOSED
        assert (zone.closure.closed_by, zone.closure.agent_id) == ("edge-press", "edge-press")
        assert await found.operator.open_zones(["Z_31"], "bearing changed") == ["Z_31"]
        assert (await found.zone()).state == floor_pb2.ZONE_STATE_FREE


async def test_a_warning_is_shown_beside_the_nodes_name_and_changes_nothing() -> None:
    async with site() as found:
        assert found.link.take(anomaly()) is Action.WARN
        async with asyncio.timeout(PATIENCE_S):
            async for picture in found.operator.watch():
                mine = [a for a in picture.agents if a.agent_id == "edge-press"]
                if mine and "envelope_outer" in mine[0].activity:
                    break
        assert (await found.zone()).state == floor_pb2.ZONE_STATE_FREE
        assert found.outcomes() == []


async def test_replayed_and_doubtful_samples_never_act() -> None:
    async with site(alarm="stop") as found:
        assert found.link.take(anomaly(replayed=True)) is Action.WARN
        assert found.link.take(anomaly(confidence=0.2)) is Action.WARN
        assert found.link.take(anomaly()) is Action.STOP
        await found.until(found.outcomes)
        assert len(await found.operator.stops()) == 1


async def test_a_fault_that_persists_is_stopped_once_so_that_people_can_work_after_the_reset() -> None:
    async with site(alarm="stop") as found:
        for first_index in (1_000, 2_000, 3_000):
            found.link.take(anomaly(first_index=first_index))
        await found.until(found.outcomes)
        [stop] = await found.operator.stops()
        await found.operator.reset([stop.stop_id], "looked")
        found.link.take(anomaly(first_index=4_000))
        await asyncio.sleep(0)
        assert not found.link._open
        assert await found.operator.stops() == []


async def test_a_stop_waits_for_its_coordinator_and_is_carried_out_when_it_comes(free_port: int) -> None:
    async with Operator(f"127.0.0.1:{free_port}", operator="mara") as operator:
        found = Site(operator, f"127.0.0.1:{free_port}", alarm="stop")
        running = asyncio.create_task(found.link.run())
        found.link.take(anomaly())
        await found.until(lambda: ("stop", "waiting") in found.outcomes())
        async with TestServer(port=free_port):
            await found.until(lambda: ("stop", "done") in found.outcomes())
            assert len(await operator.stops()) == 1
            running.cancel()
            await asyncio.wait([running])


async def test_a_zone_that_the_floor_lacks_is_told_when_the_session_opens_and_nothing_waits_for_it() -> None:
    async with site(zones=["nowhere"], alarm="stop") as found:
        await found.until(lambda: any(e.kind is Kind.INCIDENT for e in found.said))
        assert "nowhere" in next(e for e in found.said if e.kind is Kind.INCIDENT).data["detail"]
        found.link.take(anomaly())
        await found.until(found.outcomes)
        assert found.outcomes() == [("stop", "refused")]


async def test_a_closure_that_waits_does_not_hold_up_a_stop(free_port: int) -> None:
    async with Operator(f"127.0.0.1:{free_port}", operator="mara") as operator:
        found = Site(operator, f"127.0.0.1:{free_port}", warn="close", alarm="stop")
        running = asyncio.create_task(found.link.run())
        found.link.take(anomaly(severity=Severity.WARN))
        found.link.take(anomaly())
        await found.until(lambda: {("close", "waiting"), ("stop", "waiting")} <= set(found.outcomes()))
        running.cancel()
        await asyncio.wait([running])


async def test_a_stop_outlives_a_failure_of_the_link(free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[Entry] = []
    target = f"127.0.0.1:{free_port}"
    config = CoordinatorConfig.model_validate({"target": target, "zones": ["Z_31"], "alarm": "stop"})
    link = Link(config, "edge-press", said.append)

    async def broken(self: Operator, *args: Any, **more: Any) -> None:
        raise RuntimeError("a mistake in the link")

    with monkeypatch.context() as patch:
        patch.setattr(Operator, "trip_stop", broken)
        link.take(anomaly())
        with pytest.raises(ExceptionGroup):
            await asyncio.wait_for(link.run(), PATIENCE_S)
    running = asyncio.create_task(link.run())
    async with TestServer(listen=target) as server, Operator(server.target, operator="mara") as operator:
        async with asyncio.timeout(PATIENCE_S):
            while not any(e.data["outcome"] == "done" for e in said):  # noqa: ASYNC110  # the link tells by a list
                await asyncio.sleep(0.01)
        assert len(await operator.stops()) == 1
        running.cancel()
        await asyncio.wait([running])


async def test_what_no_coordinator_confirmed_is_told_when_the_node_ends(free_port: int) -> None:
    said: list[Entry] = []
    target = f"127.0.0.1:{free_port}"
    config = CoordinatorConfig.model_validate({"target": target, "zones": ["Z_31"], "alarm": "stop"})
    link = Link(config, "edge-press", said.append)
    for n in range(PENDING_MAX):
        link.take(anomaly(measure=f"band {n}"))
        link._done_at.clear()
    assert said == []
    link.take(anomaly())
    assert [e.data["outcome"] for e in said] == ["dropped"]
    link.give_up()
    assert [e.data["outcome"] for e in said[1:]] == ["given_up"] * PENDING_MAX
    assert "zonelock stop --zone Z_31" in said[-1].data["detail"]
    link.give_up()
    assert len(said) == 1 + PENDING_MAX


def test_ids_and_reasons_stay_within_what_a_coordinator_takes() -> None:
    long = replace(anomaly().provenance, source="s" * 64, writer_epoch=2**63 - 1, first_index=2**62)
    one, other = stop_id("n" * 64, long), stop_id("n" * 64, replace(long, first_index=5))
    assert len(one) <= 64 and one != other
    assert len(words(anomaly(channel="c" * 300))) == REASON_CHARS

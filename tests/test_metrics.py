"""What a running coordinator exports: counted where it happens, bounded, and described in docs/operations.md."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from certificates import DAY, NOW, Authority
from prometheus_client.parser import text_string_to_metric_families
from zonelock_client import Agent, GrantLost, GrantRejected, RequestError, connect
from zonelock_client.testing import TestServer

from coordinator.core.model import StopCause, ZoneState
from coordinator.core.rejections import Refusal, Rejection
from coordinator.metrics import TABLE
from coordinator.observe import STOPS_KEPT, Observation, Spread, Surroundings

LABEL_VALUES = {
    "state": {s.value for s in ZoneState},
    "cause": {c.value for c in StopCause},
    "reason": {r.value for r in Refusal} | {r.value for r in Rejection},
    "how": {"released", "abandoned", "expired", "revoked"},
    "link": {"connected", "gone"},
    "direction": {"in", "out"},
    "use": {"etcd", "grpc"},
    "core": {"compiled", "python"},
}


@pytest.fixture
async def server() -> AsyncIterator[TestServer]:
    async with TestServer(web="127.0.0.1:0") as server:
        yield server


async def text_of(server: TestServer) -> str:
    async with aiohttp.ClientSession() as session, session.get(f"{server.coordinator.web_url}metrics") as response:
        assert response.status == 200
        assert response.content_type == "text/plain"
        return await response.text()


async def values_of(server: TestServer) -> dict[str, float]:
    """Every sample as `name{label="value"}`, prefix left out."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(await text_of(server)):
        for sample in family.samples:
            labels = ",".join(f'{k}="{v}"' for k, v in sorted(sample.labels.items()))
            found[sample.name.removeprefix("zonelock_") + (f"{{{labels}}}" if labels else "")] = sample.value
    return found


async def until(server: TestServer, name: str, value: float) -> dict[str, float]:
    while (found := await values_of(server)).get(name) != value:  # noqa: ASYNC110  # scraping is polling
        await asyncio.sleep(0.02)
    return found


async def test_the_documented_table_is_what_a_process_exports(server: TestServer, repository: Path) -> None:
    rows = re.findall(
        r"^\| `zonelock_(\w+)` \| (\w+) \| (?:`(\w+)`)? *\| (.+) \|$",
        (repository / "docs/operations.md").read_text("utf-8"),
        re.MULTILINE,
    )
    assert [tuple(row) for row in rows] == [(row.name, row.kind, row.label, row.meaning) for row in TABLE]
    exported = {}
    for family in text_string_to_metric_families(await text_of(server)):
        if family.name.startswith("zonelock_"):
            labels = {label for sample in family.samples for label in sample.labels} - {"le"}
            name = family.name.removeprefix("zonelock_") + ("_total" if family.type == "counter" else "")
            exported[name] = (family.type, "".join(labels))
    assert exported == {row.name: (row.kind, row.label) for row in TABLE}


def test_names_follow_the_conventions() -> None:
    for row in TABLE:
        assert (row.kind == "counter") == row.name.endswith("_total"), row.name
        assert not re.search(r"_(ms|milliseconds|kb|minutes|percent)(_|$)", row.name), row.name
        if row.kind == "histogram" and row.name != "commit_writes":
            assert row.name.endswith("_seconds"), row.name


async def test_labels_come_from_the_code_and_never_from_the_floor(server: TestServer) -> None:
    async with connect(server.target, agent_id="AGV_07") as agent:
        await pass_through(agent, "Z_31")
        await server.stop_floor()
        text = await text_of(server)
    assert "AGV_07" not in text and "Z_31" not in text and "crossing" not in text
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            for label, value in sample.labels.items():
                assert label in ("le", "version") or value in LABEL_VALUES[label], sample


async def test_grants_waits_and_refusals_are_counted(server: TestServer) -> None:
    async with (
        connect(server.target, agent_id="AGV_07") as first,
        connect(server.target, agent_id="AGV_08") as second,
    ):
        async with first.hold("Z_31", expected_ms=8_000) as grant:
            with pytest.raises(GrantRejected):
                async with second.hold("Z_31", expected_ms=8_000, no_wait=True):
                    pass
            waiting = asyncio.create_task(pass_through(second, "Z_31"))
            found = await until(server, "queue_length", 1)
            assert found["grants_live"] == 1
            await grant.cleared()
            await waiting
        with pytest.raises(RequestError):
            async with first.hold("Z_99", expected_ms=8_000):
                pass
        found = await until(server, 'grants_ended_total{how="released"}', 2)
        assert found["grants_total"] == 2
        assert found['rejections_total{reason="BUSY"}'] == 1
        assert found['refusals_total{reason="UNKNOWN_ZONE"}'] == 1
        assert found["wait_seconds_count"] == 1 and found["wait_seconds_sum"] > 0
        assert found["decision_seconds_count"] >= 3
        assert found["commit_writes_sum"] >= found["commit_seconds_count"] >= 3
        assert found['sessions{link="connected"}'] == 2
        assert found["is_leader"] == 1 and found["takeovers_total"] == 1 and 0 <= found["tick_age_seconds"] < 60


async def pass_through(agent: Agent, zone: str) -> None:
    async with agent.hold(zone, expected_ms=8_000) as grant:
        await grant.cleared()


async def test_a_stop_is_counted_once_with_its_cause_and_the_zones_show_it(server: TestServer) -> None:
    async with connect(server.target, agent_id="AGV_07") as agent:
        with pytest.raises(GrantLost):
            await hold_until_stopped(agent, server)
        found = await until(server, "stop_emission_seconds_count", 1)
        assert found['stops_raised_total{cause="OPERATOR"}'] == 1
        assert found["stops_active"] == 1
        await server.coordinator.observation.survey(nothing)
        await until(server, 'zones{state="STOPPED"}', 5)
        await reset_when_all_stand(server)
        found = await until(server, "stops_active", 0)
        assert found['stops_raised_total{cause="OPERATOR"}'] == 1
        await server.coordinator.observation.survey(nothing)
        found = await until(server, 'zones{state="FREE"}', 4)
        assert found['zones{state="BLOCKED"}'] == 1


async def hold_until_stopped(agent: Agent, server: TestServer) -> None:
    async with agent.hold("Z_31", expected_ms=8_000), asyncio.TaskGroup() as group:
        group.create_task(server.stop_floor())
        await asyncio.Event().wait()


async def reset_when_all_stand(server: TestServer) -> None:
    while True:
        try:
            await server.reset()
        except RequestError as early:
            if early.reason != "OCCUPANT_UNCONFIRMED":
                raise
        else:
            return


async def nothing() -> Surroundings:
    return Surroundings()


async def test_the_end_of_a_certificate_is_known_beforehand(tmp_path: Path) -> None:
    ends = NOW + 3 * DAY
    pair = Authority(tmp_path).issue("coordinator", ends=ends)
    async with TestServer(web="127.0.0.1:0", tls_cert=pair.cert, tls_key=pair.key) as server:
        name = 'certificate_expiry_timestamp_seconds{use="grpc"}'
        found = await until(server, name, int(ends.timestamp()))
        assert found[name.replace("grpc", "etcd")] == float("inf")


async def test_zones_are_counted_when_the_lead_begins(server: TestServer) -> None:
    await until(server, 'zones{state="FREE"}', 5)


def test_a_histogram_counts_up_to_and_including_each_bound() -> None:
    spread = Spread((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 9.0):
        spread.add(value)
    assert spread.counts == [2, 2, 1] and spread.total == 14.0


def test_what_is_remembered_of_stops_is_bounded() -> None:
    from coordinator.core.model import StopRecord

    observation = Observation()
    for number in range(STOPS_KEPT + 10):
        stop = StopRecord(f"s{number}", StopCause.AGENT, True, (), (), "AGV_07", "test")
        observation._count_stop(stop)
        observation._count_stop(stop)
    assert observation.stops_raised["AGENT"] == STOPS_KEPT + 10
    assert len(observation._counted_stops) == STOPS_KEPT


async def test_many_scrapers_cost_no_more_than_one(server: TestServer) -> None:
    texts = {await text_of(server)} | set(await asyncio.gather(*(text_of(server) for _ in range(20))))
    assert len(texts) <= 3, "twenty at once share what was made for the first"


async def test_the_measuring_stops_with_the_coordinator() -> None:
    import gc

    before = len(gc.callbacks)
    async with TestServer():
        assert len(gc.callbacks) == before + 1
    assert len(gc.callbacks) == before

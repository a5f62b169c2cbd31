"""The stores under test: a bench for each kind, and the three etcd members that they share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from etcd_cluster import fresh_prefix, local_etcd
from store.bench import Bench

from coordinator.store.local_etcd import LocalEtcd


@pytest.fixture(scope="session")
def shared_cluster() -> Iterator[LocalEtcd]:
    with local_etcd(3) as cluster:
        yield cluster


@pytest_asyncio.fixture
async def cluster(shared_cluster: LocalEtcd) -> AsyncIterator[LocalEtcd]:
    """The shared three members; what a test killed or paused is put right behind it."""
    yield shared_cluster
    for index in range(len(shared_cluster.endpoints)):
        if index not in shared_cluster.pids:
            shared_cluster.start_member(index)
        shared_cluster.resume(index)
    await shared_cluster.healthy()


@pytest.fixture(params=["sqlite", "memory", "etcd"])
def empty_bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    match request.param:
        case "etcd":
            cluster: LocalEtcd = request.getfixturevalue("shared_cluster")
            return Bench("etcd", fresh_prefix(), cluster.endpoints)
        case "memory":
            return Bench("memory", ":memory:")
        case _:
            return Bench("sqlite", str(tmp_path / "ledger.db"))


@pytest_asyncio.fixture
async def bench(empty_bench: Bench) -> AsyncIterator[Bench]:
    """Each kind of store in turn."""
    yield empty_bench
    await empty_bench.close()


@pytest_asyncio.fixture
async def etcd_bench(cluster: LocalEtcd) -> AsyncIterator[Bench]:
    """Stores over the shared cluster, whose members the test may hurt."""
    bench = Bench("etcd", fresh_prefix(), cluster.endpoints)
    yield bench
    await bench.close()

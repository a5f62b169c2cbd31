"""A ledger that is put back from an old copy under a running floor: found out before anything is granted from it.

Real processes and real stores. The copy is made before somebody is granted a zone and put back after; whoever is
served from it would be given that zone again, under that very token. Once only the agents remember (the coordinator's
own folder is lost too), and once only the coordinator does.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from end_to_end.test_crash import FLOOR
from zonelock.v1 import floor_pb2
from zonelock_client import Agent, GrantRejected, Operator, connect
from zonelock_sim.processes import ServeProcess

from coordinator.store.local_etcd import LocalEtcd


class Ledger:
    """A store that can be copied and put back while nobody uses it."""

    def __init__(self, folder: Path, etcd: LocalEtcd | None) -> None:
        self.folder, self.etcd = folder, etcd
        self.files = folder / "ledger"
        self.copy = folder / "copy"

    @property
    def store(self) -> str:
        if self.etcd is None:
            return f"sqlite:{self.files / 'ledger.db'}"
        return f"etcd:{','.join(self.etcd.endpoints)}"

    async def save(self) -> None:
        await self._exchange(self.files, self.copy)

    async def put_back(self) -> None:
        await self._exchange(self.copy, self.files)

    async def _exchange(self, source: Path, target: Path) -> None:
        if self.etcd is not None:
            self.etcd.kill(0)
        await asyncio.to_thread(shutil.rmtree, target, ignore_errors=True)
        await asyncio.to_thread(shutil.copytree, source, target)
        if self.etcd is not None:
            await self.etcd.restart(0)


@asynccontextmanager
async def ledger(kind: str, folder: Path) -> AsyncIterator[Ledger]:
    if kind == "sqlite":
        (folder / "ledger").mkdir()
        yield Ledger(folder, None)
        return
    async with LocalEtcd(1, folder / "ledger") as etcd:
        yield Ledger(folder, etcd)


class Site:
    """One coordinator process on one ledger, started and ended as told."""

    def __init__(self, ledger: Ledger, folder: Path, port: int) -> None:
        self.target, self.own = f"127.0.0.1:{port}", folder / "own"
        (folder / "floor.yaml").write_text(FLOOR, encoding="utf-8")
        (folder / "coordinator.yaml").write_text(f"data_dir: {self.own}\n", encoding="utf-8")
        self._arguments = ["--config", str(folder / "coordinator.yaml"), "--floor", str(folder / "floor.yaml")]
        self._arguments += ["--store", ledger.store, "--listen", self.target, "--web", "off"]
        self._arguments += ["--assume-empty", "-o", "json", "--log-level", "warning"]
        self._process = ServeProcess(self._arguments)

    async def start(self) -> None:
        self._process = ServeProcess(self._arguments)
        await self._process.start()

    async def stop(self) -> None:
        await self._process.stop()

    async def stops(self) -> list[floor_pb2.Stop]:
        async with Operator(self.target, operator="test") as operator:
            return list(await operator.stops())


async def told_of(agent: Agent, token: int) -> None:
    """Until an acknowledgement has said that this token was given out; a heartbeat or two."""
    while True:
        if agent.highest_token >= token:
            return
        await asyncio.sleep(0.01)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["sqlite", "etcd"])
async def test_the_first_agent_back_is_not_served_from_an_old_copy_although_it_was_granted_nothing_since(
    kind: str, tmp_path: Path, free_port: int, etcd_binary: Path
) -> None:
    async with ledger(kind, tmp_path) as kept:
        site = Site(kept, tmp_path, free_port)
        await site.start()
        witness = await connect(site.target, agent_id="WITNESS")
        await site.stop()
        await kept.save()
        await site.start()
        holder = await connect(site.target, agent_id="HOLDER")
        grant = await holder.acquire("A", expected_ms=50_000)
        await told_of(witness, grant.token)
        await holder.close(keep_grants=True)
        await site.stop()
        await kept.put_back()
        await asyncio.to_thread(shutil.rmtree, site.own)
        await site.start()
        with pytest.raises(GrantRejected) as refused:
            await witness.acquire("A", expected_ms=10_000, no_wait=True)
        assert refused.value.reason == "STOPPED"
        (stop,) = await site.stops()
        assert (stop.cause, stop.floor) == (floor_pb2.STOP_CAUSE_LEDGER, True)
        assert stop.reason.startswith("WITNESS saw ")
        await witness.close(flush_s=0.2)
        await site.stop()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["sqlite", "etcd"])
async def test_a_coordinator_finds_an_old_copy_out_before_it_serves_anybody(
    kind: str, tmp_path: Path, free_port: int, etcd_binary: Path
) -> None:
    async with ledger(kind, tmp_path) as kept:
        site = Site(kept, tmp_path, free_port)
        await site.start()
        await site.stop()
        await kept.save()
        await site.start()
        holder = await connect(site.target, agent_id="HOLDER")
        grant = await holder.acquire("A", expected_ms=50_000)
        await holder.close(keep_grants=True)
        await site.stop()
        await site.start()
        assert await site.stops() == []  # the ledger that went on is trusted
        await site.stop()
        await kept.put_back()
        await site.start()
        (stop,) = await site.stops()
        assert (stop.cause, stop.floor) == (floor_pb2.STOP_CAUSE_LEDGER, True)
        assert stop.reason.startswith("this coordinator saw ")
        newcomer = await connect(site.target, agent_id="NEWCOMER")
        with pytest.raises(GrantRejected):
            await newcomer.acquire("A", expected_ms=10_000, no_wait=True)
        assert newcomer.highest_token > grant.token
        await newcomer.close(flush_s=0.2)
        await site.stop()

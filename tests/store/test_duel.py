"""Coordinators that fight over one ledger while leaders are deposed and members freeze: every count is given once.

Each store counts on from what it loaded. A fence that failed to hold would let two of them acknowledge the same number,
or lose an acknowledged one.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass, field

from store.bench import Bench

from coordinator.store.etcd import EtcdStore
from coordinator.store.etcd_client import EtcdClient
from coordinator.store.etcd_txn import delete
from coordinator.store.etcdpb import rpc_pb2
from coordinator.store.local_etcd import LocalEtcd
from coordinator.store.port import CommitUncertain, Fenced, StoreUnavailable

RIVALS = 3
DUEL_S = 4.0
PATIENCE_S = 60.0
ENOUGH_COUNTS = 50
ENOUGH_DEPOSED = 4


@dataclass
class Story:
    seed: int
    lines: list[str] = field(default_factory=list)
    acknowledged: list[int] = field(default_factory=list)
    deposed: int = 0

    def __str__(self) -> str:
        return "\n".join([f"seed {self.seed}", *self.lines[-60:]])


async def rival(name: str, store: EtcdStore, story: Story) -> None:
    while True:
        with suppress(Fenced, StoreUnavailable):
            epoch = await store.lead()
            while True:
                epoch = await count(name, epoch, store, story)


async def count(name: str, epoch: int, store: EtcdStore, story: Story) -> int:
    """Counts from a load to the first doubt, then refences."""
    number = int((await store.load()).records.get("n", b"0"))
    story.lines.append(f"{name} leads with {epoch} from {number}")
    try:
        while True:
            await store.commit({"n": str(number + 1).encode(), f"by/{number + 1}": name.encode()})
            number += 1
            story.acknowledged.append(number)
    except CommitUncertain as doubt:
        story.lines.append(f"{name} doubts {number + 1}: {doubt}")
        return await store.refence()
    except Fenced as fenced:
        story.lines.append(f"{name} is fenced before {number + 1}: {fenced}")
        story.deposed += 1
        raise


async def sabotage(bench: Bench, cluster: LocalEtcd, chance: random.Random) -> None:
    """Deletes the leader key, as an expiring lease would; freezes members for less than an election takes, or more."""
    client = EtcdClient(bench.endpoints)
    deposing = rpc_pb2.TxnRequest(success=[delete(f"{bench.place}leader".encode())])
    try:
        while True:
            await asyncio.sleep(chance.uniform(0.02, 0.2))
            with suppress(StoreUnavailable):
                await client.txn(deposing, repeatable=True)
            if chance.random() < 0.1:
                member = chance.randrange(len(cluster.endpoints))
                cluster.pause(member)
                await asyncio.sleep(chance.choice([0.1, 0.8, 1.5]))
                cluster.resume(member)
    finally:
        await client.close()


async def test_rivals_for_one_ledger_never_acknowledge_the_same_count_and_never_lose_one(
    etcd_bench: Bench, cluster: LocalEtcd
) -> None:
    story = Story(seed=random.randrange(2**32))
    tasks = [
        asyncio.create_task(rival(name, etcd_bench.open_etcd(name), story))
        for name in (f"rival-{i}" for i in range(RIVALS))
    ]
    tasks.append(asyncio.create_task(sabotage(etcd_bench, cluster, random.Random(story.seed))))
    give_up = asyncio.get_running_loop().time() + PATIENCE_S
    done: set[asyncio.Task[None]] = set()
    while not done and asyncio.get_running_loop().time() < give_up:
        done, _ = await asyncio.wait(tasks, timeout=DUEL_S, return_when=asyncio.FIRST_COMPLETED)
        if len(story.acknowledged) >= ENOUGH_COUNTS and story.deposed >= ENOUGH_DEPOSED:
            break
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert not done, f"{done}\n{story}"
    for index in cluster.pids:
        cluster.resume(index)
    await cluster.healthy()
    await etcd_bench.close()

    judge = etcd_bench.open_etcd("judge")
    await asyncio.wait_for(judge.lead(), 20)
    records = (await judge.load()).records
    last = int(records["n"])
    assert len(set(story.acknowledged)) == len(story.acknowledged), story
    assert max(story.acknowledged) <= last, story
    assert {f"by/{number}" for number in range(1, last + 1)} == set(records) - {"n"}, story
    assert story.deposed >= ENOUGH_DEPOSED, story
    assert len(story.acknowledged) >= ENOUGH_COUNTS, story

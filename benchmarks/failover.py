"""How long agents get no grant when the leader is killed, ended, frozen or cut off; beside an etcd election.

Three coordinators, three etcd members, agents under load. The gap is the agents' own: from the last grant before to the
first after. Every round also checks what must hold: nobody is let in twice, tokens rise, no grant is lost, no stop;
and the checkers of `chaos.check` read the history that the coordinators wrote.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from zonelock_client import Operator
from zonelock_sim.cluster import LocalCluster

from benchmarks.report import Effort, Report, percentile
from chaos.check import judge
from chaos.live.crew import Crew, change_of_leader, settled, way_to_etcd, write_floor
from chaos.live.relay import Relay
from coordinator.store import etcd_txn
from coordinator.store.etcd_client import EtcdClient
from coordinator.store.etcdpb import rpc_pb2
from coordinator.store.port import StoreUnavailable

AGENTS = 16
TENURE_S = 2.2
"""How long a leader has led before it falls: longer than the minimum tenure, with its standbys settled."""
PATIENCE_S = 20.0
LEASE_S = 2
KEY = b"benchmark/election"
SIGNALS: Mapping[str, signal.Signals] = {
    "sigkill": signal.SIGKILL,
    "sigterm": signal.SIGTERM,
    "sigstop": signal.SIGSTOP,
}
CUT = "cut_off"
ELECTION = "etcd_election"
MODES = (*SIGNALS, CUT)


async def run(effort: Effort) -> Report:
    rounds = 1 if effort.smoke else effort.rounds
    gaps = {mode: await measure(mode, rounds) for mode in MODES}
    gaps[ELECTION] = await elections(rounds)
    return report(rounds, gaps)


def report(rounds: int, gaps: Mapping[str, Sequence[float]]) -> Report:
    """`gaps` in seconds by mode."""
    figures: dict[str, float] = {}
    for mode, found in gaps.items():
        figures[f"{mode}_gap_p50_ms"] = 1000 * statistics.median(found)
        figures[f"{mode}_gap_p99_ms"] = 1000 * percentile(found, 0.99)
    peer = figures[f"{ELECTION}_gap_p50_ms"]
    ratios = {
        f"{mode}_gap_to_{ELECTION}_p50": figures[f"{mode}_gap_p50_ms"] / peer for mode in gaps if mode != ELECTION
    }
    return Report(rounds, figures, ratios)


async def measure(mode: str, rounds: int) -> list[float]:
    """The gap of each round, in seconds. Raises AssertionError when a promise was broken in one."""
    with tempfile.TemporaryDirectory(prefix="zonelock-failover-") as folder:
        cluster = LocalCluster(write_floor(Path(folder)), history=Path(folder))
        await cluster.start_etcd()
        try:
            if mode != CUT:
                gaps = await _rounds(cluster, mode, rounds, {})
            else:
                async with way_to_etcd(cluster) as relays:
                    try:
                        gaps = await _rounds(cluster, mode, rounds, relays)
                    finally:
                        await cluster.stop()
        finally:
            await cluster.stop()
        verdict = await asyncio.to_thread(judge, mode, (), [f"{folder}/{place.name}.jsonl" for place in cluster.places])
        if verdict.problem or verdict.violations:
            raise AssertionError(f"{mode}: {verdict.problem or verdict.violations[0]}")
        return gaps


async def _rounds(cluster: LocalCluster, mode: str, rounds: int, relays: Mapping[int, list[Relay]]) -> list[float]:
    await cluster.start()
    crew = Crew(cluster.target)
    try:
        await crew.start(AGENTS)
        gaps = []
        for _ in range(rounds):
            gaps.append(await _one(cluster, crew, mode, relays))
            async with Operator(cluster.target, operator="benchmark") as operator:
                stops = await operator.stops(include_ended=True)
                if stops:
                    raise AssertionError(f"{mode}: a failover alone caused {[s.stop_id for s in stops]}")
        return gaps
    finally:
        await crew.stop()


async def _one(cluster: LocalCluster, crew: Crew, mode: str, relays: Mapping[int, list[Relay]]) -> float:
    """One leader falls and comes back as a standby; the gap that the agents saw."""
    leader = await asyncio.wait_for(settled(cluster), PATIENCE_S)
    await asyncio.sleep(TENURE_S)
    fell = time.monotonic()
    if mode == CUT:
        for relay in relays[leader]:
            relay.hold()
    else:
        os.kill(cluster.pid(leader), SIGNALS[mode])
    await asyncio.wait_for(change_of_leader(cluster, leader), PATIENCE_S)
    await asyncio.wait_for(crew.granted(100), PATIENCE_S)
    if mode == CUT:
        for relay in relays[leader]:
            relay.let_through()
    elif mode == "sigstop":
        os.kill(cluster.pid(leader), signal.SIGCONT)
    else:
        await cluster.stop_coordinator(leader)
        await cluster.start_coordinator(leader)
    times = [at for at in crew.granted_at if at > fell - 1.0]
    return max(after - before for before, after in itertools.pairwise(times))


# -- the peer: leadership as people build it on etcd, with a lease of two seconds ------------------------------------


async def elections(rounds: int) -> list[float]:
    """From the death of a leader that kept its lease alive to the next leader's key, in seconds."""
    from coordinator.store.local_etcd import LocalEtcd

    async with LocalEtcd(3) as etcd:
        gaps = []
        for _ in range(rounds):
            first, second = Candidate(etcd.endpoints), Candidate(etcd.endpoints)
            try:
                await first.campaign()
                keeping = asyncio.create_task(first.keep())
                following = asyncio.create_task(second.campaign())
                await asyncio.sleep(TENURE_S)
                keeping.cancel()
                died = time.monotonic()
                await following
                gaps.append(time.monotonic() - died)
            finally:
                await first.close()
                await second.close()
        return gaps


class Candidate:
    """One that leads while it holds a key on a lease, and waits for the key to go while another does."""

    def __init__(self, endpoints: Sequence[str]) -> None:
        self._client = EtcdClient(endpoints)
        self._lease = 0
        self._gone = asyncio.Event()

    async def campaign(self) -> None:
        while True:
            self._lease, _ = await self._client.grant_lease(LEASE_S)
            self._gone.clear()
            put = etcd_txn.put(KEY, b"leader", self._lease)
            request = rpc_pb2.TxnRequest(compare=[etcd_txn.unchanged(KEY, 0)], success=[put])
            reply = await self._client.txn(request, repeatable=False)
            if reply.succeeded:
                return
            watch = self._client.watch([KEY], reply.header.revision + 1, PATIENCE_S, self._notice)
            watching = asyncio.create_task(watch)
            await self._gone.wait()
            watching.cancel()

    async def keep(self) -> None:
        while True:
            await self._client.keep_alive(self._lease)
            await asyncio.sleep(LEASE_S / 3)

    async def close(self) -> None:
        with suppress(StoreUnavailable):  # the first one's lease has run out by then
            await self._client.revoke_lease(self._lease)
        await self._client.close()

    def _notice(self, key: bytes, value: bytes | None, revision: int) -> None:
        if value is None:
            self._gone.set()

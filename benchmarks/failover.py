"""How long agents get no grant when the leader is killed, ended, frozen or cut off; beside an etcd election.

Three coordinators, three etcd members, agents under load. The gap is the agents' own: the longest time without a grant
from the fall until a hundred grants after the next leader's first. Nobody may be let in twice, no grant may be lost and
tokens rise, or the benchmark ends; stops that a failover alone caused are counted, and so is every violation that the
checkers of `chaos.check` find in the history that the coordinators wrote, over all rounds.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
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
PARTS = (*MODES, ELECTION)
GRANTS_AFTER = 100
"""A round is over when so many grants were given under the next leader."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of all rounds of one mode: gaps in seconds, lines of history, what the checkers found in them, and stops."""

    gaps: Sequence[float]
    lines: int = 0
    violations: int = 0
    stops: int = 0


async def run(effort: Effort) -> Report:
    rounds, wanted = 1 if effort.smoke else effort.rounds, effort.only or PARTS
    outcomes = {mode: await measure(mode, rounds) for mode in MODES if mode in wanted}
    election = await elections(rounds) if ELECTION in wanted else ()
    return report(rounds, outcomes, election)


def report(rounds: int, outcomes: Mapping[str, Outcome], election: Sequence[float]) -> Report:
    """`election`: the peer's gaps in seconds."""
    figures: dict[str, float] = {}
    gaps = {**{mode: outcome.gaps for mode, outcome in outcomes.items()}, **({ELECTION: election} if election else {})}
    for mode, found in gaps.items():
        figures[f"{mode}_gap_least_ms"] = 1000 * min(found)
        figures[f"{mode}_gap_p50_ms"] = 1000 * statistics.median(found)
        figures[f"{mode}_gap_p90_ms"] = 1000 * percentile(found, 0.9)
        figures[f"{mode}_gap_p99_ms"] = 1000 * percentile(found, 0.99)
        figures[f"{mode}_gap_most_ms"] = 1000 * max(found)
    for mode, outcome in outcomes.items():
        figures[f"{mode}_rounds"] = len(outcome.gaps)
        figures[f"{mode}_history_lines_judged"] = outcome.lines
        figures[f"{mode}_violations"] = outcome.violations
        figures[f"{mode}_stops"] = outcome.stops
    if outcomes:
        figures["violations"] = sum(outcome.violations for outcome in outcomes.values())
        figures["stops"] = sum(outcome.stops for outcome in outcomes.values())
    peer = figures.get(f"{ELECTION}_gap_p50_ms")
    ratios = {} if peer is None else {f"{m}_gap_to_{ELECTION}_p50": figures[f"{m}_gap_p50_ms"] / peer for m in outcomes}
    return Report(rounds, figures, ratios)


async def measure(mode: str, rounds: int) -> Outcome:
    """What became of each round. Raises AssertionError when the agents' own books show a broken promise."""
    with tempfile.TemporaryDirectory(prefix="zonelock-failover-") as folder:
        cluster = LocalCluster(write_floor(Path(folder)), history=Path(folder))
        await cluster.start_etcd()
        try:
            if mode != CUT:
                gaps, stops = await _rounds(cluster, mode, rounds, {})
            else:
                async with way_to_etcd(cluster) as relays:
                    try:
                        gaps, stops = await _rounds(cluster, mode, rounds, relays)
                    finally:
                        await cluster.stop()
        finally:
            await cluster.stop()
        verdict = await asyncio.to_thread(judge, mode, (), [f"{folder}/{place.name}.jsonl" for place in cluster.places])
        if verdict.problem or not verdict.lines:
            raise AssertionError(
                f"{mode}: the coordinators' history cannot be judged: {verdict.problem or 'it is empty'}"
            )
        for violation in verdict.violations:
            print(f"{mode}: {violation}", file=sys.stderr)
        return Outcome(gaps, verdict.lines, len(verdict.violations), stops)


async def _rounds(
    cluster: LocalCluster, mode: str, rounds: int, relays: Mapping[int, list[Relay]]
) -> tuple[list[float], int]:
    """Each round's gap, and how many stops there were in the end though nobody asked for one."""
    await cluster.start()
    crew = Crew(cluster.target)
    try:
        await crew.start(AGENTS)
        gaps = [await _one(cluster, crew, mode, relays) for _ in range(rounds)]
        async with Operator(cluster.target, operator="benchmark") as operator:
            stops = await operator.stops(include_ended=True)
        for stop in stops:
            print(f"{mode}: a failover alone caused {stop.stop_id}", file=sys.stderr)
        return gaps, len(stops)
    finally:
        await crew.stop()


async def _one(cluster: LocalCluster, crew: Crew, mode: str, relays: Mapping[int, list[Relay]]) -> float:
    """One leader falls and comes back as a standby; the gap that the agents saw."""
    leader = await asyncio.wait_for(settled(cluster), PATIENCE_S)
    with uncollected():
        await asyncio.sleep(TENURE_S)
        fell = time.monotonic()
        if mode == CUT:
            for relay in relays[leader]:
                relay.hold()
        else:
            os.kill(cluster.pid(leader), SIGNALS[mode])
        await asyncio.wait_for(change_of_leader(cluster, leader), PATIENCE_S)
        await asyncio.wait_for(crew.granted(GRANTS_AFTER), PATIENCE_S)
    # Here, not when the fallen one is back: a process that starts takes a core of this machine for a second.
    times = [at for at in crew.granted_at if at > fell - 1.0]
    if mode == CUT:
        for relay in relays[leader]:
            relay.let_through()
    elif mode == "sigstop":
        os.kill(cluster.pid(leader), signal.SIGCONT)
    else:
        await cluster.stop_coordinator(leader)
        await cluster.start_coordinator(leader)
    return max(after - before for before, after in itertools.pairwise(times) if after > fell)


@contextmanager
def uncollected() -> Iterator[None]:
    """All agents share this process, whose garbage collector would stop them all at once for 60 ms: no fleet's does."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


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

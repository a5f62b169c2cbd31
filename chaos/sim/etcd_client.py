"""What stands between a simulated coordinator and the simulated etcd: delays, lost answers, cuts, late arrivals.

Keeps the contract of `coordinator.store.etcd_client.EtcdClient`: StoreUnavailable only when nothing was executed (or
repeating does no harm), CommitUncertain when nobody can know. A transaction whose sender has given up may still arrive
later; only the fence keeps it from being applied.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

from chaos.sim.etcd import EtcdRefused, SimEtcd
from chaos.sim.loop import NS_PER_MS, VirtualLoop
from coordinator.store.etcd_client import DEADLINE_S, EndpointStatus, KeyRange, Refused, WatchNotice
from coordinator.store.etcd_login import EtcdAccess
from coordinator.store.etcdpb import kv_pb2, rpc_pb2
from coordinator.store.port import CommitUncertain, StoreUnavailable

_T = TypeVar("_T")

ENDPOINT = "etcd.sim:2379"
STOP_KEY = b"/stop/"
LATE_AFTER_HEAL_MS = (0, 400)
"""A request that stalled in a cut connection arrives this long after the cut heals, unless it never does."""


class Anomaly(StrEnum):
    """What happens to one commit."""

    LOST_ANSWER = "lost_answer"
    """Applied; nobody hears of it."""
    LOST_REQUEST = "lost_request"
    """Not applied; nobody can know that."""
    LATE = "late"
    """Arrives long after its sender has given up."""
    REFUSED = "refused"
    """Provably not applied."""


@dataclass(slots=True)
class Fate:
    """What becomes of one write, whatever its sender knows."""

    anomaly: Anomaly | None = None
    applied: bool = False
    given_up: bool = False


@dataclass(slots=True)
class EtcdPath:
    """One coordinator's way to etcd, and what is wrong with it."""

    loop: VirtualLoop
    etcd: SimEtcd
    rng: random.Random
    cut: bool = False
    slow_ms: int = 0
    anomalies: deque[tuple[Anomaly, int]] = field(default_factory=deque)
    """Of the next writes."""
    stop_anomalies: deque[tuple[Anomaly, int]] = field(default_factory=deque)
    """Of the next writes that make a stop durable."""
    on_uncertain: Callable[[str], None] | None = None
    epoch: Callable[[], int] = lambda: 0
    """The fence under which its coordinator writes at present, whatever the transaction compares."""
    on_write: Callable[[rpc_pb2.TxnRequest, int, str, bool, int], None] = lambda *_: None
    """(transaction, epoch, outcome, applied, revision), when it is applied, or will not be known to have been."""
    fate: Fate = field(default_factory=Fate)
    """Of the newest write."""
    _stalled: list[Callable[[], object]] = field(default_factory=list)

    def leg_ns(self) -> int:
        """One way, in nanoseconds."""
        return self.rng.randrange(300_000, 1_500_000) + self.rng.randrange(self.slow_ms + 1) * NS_PER_MS

    def stall(self, apply: Callable[[], object]) -> None:
        self._stalled.append(apply)

    def heal(self) -> None:
        self.cut = False
        for apply in self._stalled:
            self.loop.after_ms(self.rng.randint(*LATE_AFTER_HEAL_MS), apply)
        self._stalled.clear()

    def uncertain(self, how: str) -> None:
        if self.on_uncertain is not None:
            self.on_uncertain(how)


def _makes_a_stop_durable(request: rpc_pb2.TxnRequest) -> bool:
    return any(STOP_KEY in op.request_put.key for op in request.success)


class SimEtcdClient:
    """Stands in for `EtcdClient`; made by the store inside its coordinator's process."""

    def __init__(self, path: EtcdPath, *, deadline_s: float = DEADLINE_S) -> None:
        self.endpoints = (ENDPOINT,)
        self._path, self._deadline_s = path, deadline_s

    async def txn(self, request: rpc_pb2.TxnRequest, *, repeatable: bool) -> rpc_pb2.TxnResponse:
        copy = rpc_pb2.TxnRequest.FromString(request.SerializeToString())
        path = self._path
        if repeatable:
            return await self._call(lambda: path.etcd.txn(copy), repeatable=True)
        epoch = path.epoch()
        if path.stop_anomalies and _makes_a_stop_durable(copy):
            path.anomalies.appendleft(path.stop_anomalies.popleft())
        fate = path.fate = Fate(path.anomalies[0][0] if path.anomalies else None)

        def apply() -> rpc_pb2.TxnResponse:
            response = path.etcd.txn(copy)
            fate.applied = response.succeeded
            lost = fate.anomaly is Anomaly.LOST_ANSWER
            outcome = "late" if fate.given_up else "lost" if lost else "ok"
            path.on_write(copy, epoch, outcome if fate.applied else "refused", fate.applied, response.header.revision)
            return response

        try:
            return await self._call(apply, repeatable=False)
        except CommitUncertain:
            fate.given_up = True
            if not fate.applied:
                path.on_write(copy, epoch, "lost", False, 0)
            raise
        except StoreUnavailable:
            path.on_write(copy, epoch, "refused", False, 0)
            raise

    async def read_key(self, key: bytes) -> tuple[kv_pb2.KeyValue | None, int]:
        return await self._call(lambda: (self._path.etcd.read(key), self._path.etcd.revision), repeatable=True)

    async def compact(self, revision: int) -> None:
        """History is not kept."""

    async def grant_lease(self, ttl_s: int) -> tuple[int, int]:
        return await self._call(lambda: (self._path.etcd.grant_lease(ttl_s), ttl_s), repeatable=True)

    async def keep_alive(self, lease: int) -> int:
        return await self._call(lambda: self._path.etcd.keep_alive(lease), repeatable=True)

    async def revoke_lease(self, lease: int) -> None:
        await self._call(lambda: self._path.etcd.revoke(lease), repeatable=True)

    async def watch(
        self, keys: Sequence[bytes | KeyRange], from_revision: int, timeout_s: float, notice: WatchNotice
    ) -> None:
        """What was written since the revision first, as the newest of each key; told in the watcher's own process."""
        path, arrived, news = self._path, deque[tuple[bytes, bytes | None, int]](), asyncio.Event()

        def look(key: bytes, value: bytes | None, revision: int) -> None:
            if any(key == k if isinstance(k, bytes) else k[0] <= key < k[1] for k in keys) and not path.cut:
                arrived.append((key, value, revision))
                news.set()

        for key in keys:
            if not isinstance(key, bytes):
                for changed in path.etcd.between(*key):
                    if path.etcd.kvs[changed].mod_revision >= from_revision:
                        look(changed, path.etcd.kvs[changed].value, path.etcd.kvs[changed].mod_revision)
                continue
            stored = path.etcd.kvs.get(key)
            if stored is None or stored.mod_revision >= from_revision:
                look(key, stored.value if stored else None, stored.mod_revision if stored else path.etcd.revision)
        path.etcd.on_change.append(look)
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    await news.wait()
                    news.clear()
                    while arrived:
                        notice(*arrived.popleft())
        except TimeoutError:
            return
        finally:
            path.etcd.on_change.remove(look)

    async def check_login(self) -> None:
        """Nobody asks who we are."""

    async def statuses(self) -> list[EndpointStatus]:
        return [EndpointStatus(ENDPOINT, reachable=True, version="3.6.9", member_id=1, leader_id=1)]

    def prefer(self, endpoint: str) -> None:
        """There is one."""

    async def close(self) -> None:
        """Nothing is open."""

    # -- inside --------------------------------------------------------------------------------------------------

    async def _call(self, apply: Callable[[], _T], *, repeatable: bool) -> _T:
        path = self._path
        anomaly, delay_ms = (None, 0) if repeatable or not path.anomalies else path.anomalies.popleft()
        if anomaly is Anomaly.REFUSED:
            await asyncio.sleep(0.001)
            raise Refused("etcd refused: simulated: no leader")
        if path.cut:
            await self._into_the_cut(apply, repeatable=repeatable)
        if anomaly is Anomaly.LATE:
            path.loop.after_ms(delay_ms, _quiet(apply))
            await self._give_up("late", repeatable=False)
        if anomaly is Anomaly.LOST_REQUEST:
            await self._give_up("lost request", repeatable=False)
        return await self._round_trip(apply, lose_answer=anomaly is Anomaly.LOST_ANSWER, repeatable=repeatable)

    async def _round_trip(self, apply: Callable[[], _T], *, lose_answer: bool, repeatable: bool) -> _T:
        path, loop = self._path, asyncio.get_running_loop()
        answer: asyncio.Future[_T] = loop.create_future()

        def arrive() -> None:
            if path.cut:  # cut while under way: it sits in a socket's buffer
                path.stall(_quiet(apply))
                return
            try:
                result = apply()
            except EtcdRefused as refused:
                back(None, refused)
                return
            if not lose_answer:
                path.loop.call_at_true(path.loop.true_ns + path.leg_ns(), back, result, None)

        def back(result: _T | None, refused: EtcdRefused | None) -> None:
            if path.cut or answer.done():
                return
            if refused is not None:
                answer.set_exception(Refused(f"etcd refused: {refused}"))
            else:
                answer.set_result(result)  # type: ignore[arg-type]

        path.loop.call_at_true(path.loop.true_ns + path.leg_ns(), arrive)
        await asyncio.wait({answer}, timeout=self._deadline_s)
        if not answer.done():
            answer.cancel()
            raise self._unknown("lost answer" if lose_answer else "no answer in time", repeatable=repeatable)
        return answer.result()

    async def _into_the_cut(self, apply: Callable[[], object], *, repeatable: bool) -> None:
        """A connection that is known to be gone refuses; one that is not swallows the request."""
        if self._path.rng.random() < 0.5:
            await asyncio.sleep(self._deadline_s)
            raise StoreUnavailable("no etcd member could be used: simulated: no connection")
        if self._path.rng.random() < 0.5:
            self._path.stall(_quiet(apply))
        await self._give_up("cut", repeatable=repeatable)

    async def _give_up(self, how: str, *, repeatable: bool) -> None:
        await asyncio.sleep(self._deadline_s)
        raise self._unknown(how, repeatable=repeatable)

    def _unknown(self, how: str, *, repeatable: bool) -> StoreUnavailable | CommitUncertain:
        if repeatable:
            return StoreUnavailable(f"no etcd member could be used: simulated: {how}")
        self._path.uncertain(how)
        return CommitUncertain(f"etcd may or may not have committed: simulated: {how}")


def _quiet(apply: Callable[[], object]) -> Callable[[], None]:
    """A request nobody waits for any more."""

    def run() -> None:
        try:
            apply()
        except EtcdRefused:
            return

    return run


def client_maker(path_of: Callable[[], EtcdPath]) -> Callable[..., SimEtcdClient]:
    """Takes the place of the class `EtcdClient` for the stores of every simulated coordinator."""

    def make(
        endpoints: str | Sequence[str], *, deadline_s: float = DEADLINE_S, access: EtcdAccess | None = None
    ) -> SimEtcdClient:
        return SimEtcdClient(path_of(), deadline_s=deadline_s)

    return make

"""Scenes for bugs around the core: the real runtime on a scripted store, the real etcd store on a tiny etcd.

Both record a history as they go; each scene returns what the checkers have against it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import pytest
from runtime.scripted import Recorder, ScriptedStore

import coordinator.runtime as runtime_module
from chaos.checkers import check
from chaos.history import History
from chaos.recording import CoordinatorRecord, floor_fields, record_fields
from chaos.sim.truth import LEDGER, Truth
from coordinator.core import effects as fx
from coordinator.core import events as ev
from coordinator.core.machine import Machine
from coordinator.core.model import CounterRecord, FloorSpec, StopRecord, Timing, UnitRecord, UnitState, ZoneSpec
from coordinator.core.rejections import Refusal
from coordinator.runtime import Runtime
from coordinator.store import codec
from coordinator.store.etcd import EtcdStore
from coordinator.store.etcd_client import KeyRange, WatchNotice
from coordinator.store.etcd_journal import FOLD_ENTRIES
from coordinator.store.etcdpb import kv_pb2, rpc_pb2
from coordinator.store.port import CommitUncertain, Fenced, Loaded, RecordConflict

FLOOR = FloorSpec("shell", 1, "h", tuple(ZoneSpec(f"Z{i}", stop_group="g") for i in range(4)))
Play = Callable[[], Awaitable[list[str]]]


# -- a recorded runtime --------------------------------------------------------------------------------------------


class RecordedStore(ScriptedStore):
    """Writes what becomes of every commit."""

    def __init__(self, record: CoordinatorRecord, clock: Callable[[], int]) -> None:
        super().__init__()
        self.record, self.clock, self.epoch = record, clock, 0

    async def load(self) -> Loaded:
        loaded = await super().load()
        self.epoch = loaded.epoch
        self.record.took_over(self.clock(), loaded.epoch, revision=loaded.revision)
        return loaded

    async def commit(self, writes: Mapping[str, bytes | None]) -> int:
        applied, outcome = not (writes and self.fail_next), "lost"
        try:
            revision = await super().commit(writes)
            outcome = "ok"
            return revision
        except Exception:
            applied = applied and bool(writes)
            raise
        finally:
            self.record.committed(
                self.clock(), decoded(writes), epoch=self.epoch, outcome=outcome,
                applied=applied if outcome == "lost" else None,
            )  # fmt: skip


def decoded(writes: Mapping[str, bytes | None]) -> dict[str, Any]:
    """Encoded writes as records again."""
    ledger = codec.decode_ledger(Loaded({k: v for k, v in writes.items() if v is not None}, 0, 1))
    counter = [ledger.counter] if ledger.counter is not None else []
    records: list[UnitRecord | StopRecord | CounterRecord] = [*ledger.units, *ledger.stops, *counter]
    found: dict[str, Any] = {record.key: record for record in records}
    return found | {key: None for key, value in writes.items() if value is None}


class Outlet(Recorder):
    """Records what leaves for one agent; the agent hears it at once."""

    def __init__(self, record: CoordinatorRecord, clock: Callable[[], int]) -> None:
        super().__init__()
        self.record, self.clock = record, clock
        self.ended = asyncio.Event()

    def deliver(self, sends: Sequence[fx.Send], *, stop: bool) -> None:
        for send in sends:
            if send.agent_id:
                self.record.emitted(self.clock(), send, stop=stop)
            if isinstance(send.answer, fx.StopRaised):
                stop_id = send.answer.stop.stop_id
                self.record.history.add(self.clock(), send.agent_id, "stop", agent=send.agent_id, stop_id=stop_id)
        super().deliver(sends, stop=stop)

    def fail(self, refusal: Refusal, message: str, metadata: tuple[tuple[str, str], ...] = ()) -> None:
        super().fail(refusal, message, metadata)
        self.ended.set()


class Plant:
    """One runtime with its history. Make it only inside `planted`, so that bugs are in."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.history = History(origin="hand")
        self.history.add(0, "plant", "floor", **floor_fields(FLOOR, Timing()))
        self.record = CoordinatorRecord(self.history, "c1")
        self.began = runtime_module.boottime_ms()
        plant = self

        class RecordedMachine(Machine):
            def handle(self, event: ev.Event, *, stops_first: bool = False) -> fx.Step:
                step = super().handle(event, stops_first=stops_first)
                plant.record.handled(plant.clock(), event, step)
                return step

        patch.setattr(runtime_module, "Machine", RecordedMachine)
        self.store = RecordedStore(self.record, self.clock)
        self.runtime = Runtime(FLOOR, self.store, Timing(), assume_empty=True)
        self.task = asyncio.create_task(self.runtime.run())

    def clock(self) -> int:
        return runtime_module.boottime_ms() - self.began

    async def leading(self) -> None:
        reached = asyncio.Event()
        self.runtime.on_leading.append(lambda leads: reached.set() if leads else None)
        if not self.runtime.leading:
            await reached.wait()

    async def hello(self, agent: str) -> tuple[Outlet, int]:
        out = Outlet(self.record, self.clock)
        conn = self.runtime.attach(out)
        now_ms = self.runtime.now_ms()
        self.runtime.submit(ev.Hello(now_ms=now_ms, conn=conn, agent_id=agent, session=f"secret-{agent}"))
        await out.until(fx.Welcome)
        return out, conn

    def ask(self, conn: int, agent: str, zone: str) -> None:
        self.runtime.submit(
            ev.Asked(
                now_ms=self.runtime.now_ms(), conn=conn, agent_id=agent, request_id=f"r-{zone}", zones=(zone,),
                expected_ms=10_000, payload=zone,
            )
        )  # fmt: skip

    def stop(self) -> None:
        self.runtime.submit(
            ev.StopAsked(
                now_ms=self.runtime.now_ms(), conn=0, operator="ann", reason="test", stop_id="s-1", stop_group="g"
            )
        )

    async def verdict(self) -> list[str]:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.store.close()
        return [str(violation) for violation in check(self.history)]


async def grant_and_stop() -> list[str]:
    """A grant, and a stop while its holder is inside."""
    with pytest.MonkeyPatch.context() as patch:
        plant = Plant(patch)
        await plant.leading()
        out, conn = await plant.hello("V1")
        plant.ask(conn, "V1", "Z1")
        await out.until(fx.Granted)
        plant.stop()
        while not out.stops and not out.answers(fx.StopRaised):
            out.news.clear()
            await out.news.wait()
        return await plant.verdict()


async def stop_in_a_lost_commit() -> list[str]:
    """A stop leaves, its commit is lost, and the agent comes back and asks for another zone in scope."""
    with pytest.MonkeyPatch.context() as patch:
        plant = Plant(patch)
        await plant.leading()
        out, conn = await plant.hello("V1")
        plant.ask(conn, "V1", "Z1")
        await out.until(fx.Granted)
        plant.store.fail_next = CommitUncertain("nobody knows")
        plant.stop()
        await out.ended.wait()
        await plant.leading()
        again, conn = await plant.hello("V2")
        plant.ask(conn, "V2", "Z2")
        while not (again.answers(fx.Granted) or again.answers(fx.Rejected)):
            again.news.clear()
            await again.news.wait()
        return await plant.verdict()


# -- the etcd store on a tiny etcd ---------------------------------------------------------------------------------


Notice = Callable[[bytes, bytes | None, int], None]


class TinyEtcd:
    """Compares, puts, deletes, ranges, watches; and one transaction that is delayed on its way."""

    endpoints = ("tiny:2379",)

    def __init__(self) -> None:
        self.kvs: dict[bytes, kv_pb2.KeyValue] = {}
        self.revision = 1
        self.on_change: list[Notice] = []
        self.watched = asyncio.Event()
        """Somebody watches a range."""
        self.delay_next = False
        self.delayed: rpc_pb2.TxnRequest | None = None
        self.after_read: Callable[[], None] | None = None

    async def txn(self, request: rpc_pb2.TxnRequest, *, repeatable: bool) -> rpc_pb2.TxnResponse:
        if self.delay_next and not repeatable:
            self.delay_next, self.delayed = False, request
            raise CommitUncertain("no answer")
        response = self.apply(request)
        if self.after_read is not None and any(r.HasField("response_range") for r in response.responses):
            hook, self.after_read = self.after_read, None
            hook()
        return response

    def apply(self, request: rpc_pb2.TxnRequest) -> rpc_pb2.TxnResponse:
        def revision(key: bytes) -> int:
            return self.kvs[key].mod_revision if key in self.kvs else 0

        succeeded = all(revision(c.key) == c.mod_revision for c in request.compare)
        response = rpc_pb2.TxnResponse(succeeded=succeeded)
        self.revision += 1
        for operation in request.success if succeeded else request.failure:
            if operation.HasField("request_put"):
                put = operation.request_put
                self.put(put.key, put.value, put.lease)
                response.responses.add().response_put.SetInParent()
            elif operation.HasField("request_delete_range"):
                gone = operation.request_delete_range
                for kv in self.between(gone.key, gone.range_end):
                    self.delete(kv.key)
                response.responses.add().response_delete_range.SetInParent()
            else:
                asked = operation.request_range
                response.responses.add().response_range.kvs.extend(self.between(asked.key, asked.range_end))
        response.header.revision = self.revision
        return response

    def between(self, first: bytes, end: bytes) -> list[kv_pb2.KeyValue]:
        return [kv for k, kv in sorted(self.kvs.items()) if k == first or (end and first <= k < end)]

    def put(self, key: bytes, value: bytes, lease: int = 0) -> None:
        self.kvs[key] = kv_pb2.KeyValue(key=key, value=value, mod_revision=self.revision, lease=lease)
        for notice in self.on_change:
            notice(key, value, self.revision)

    def delete(self, key: bytes) -> None:
        del self.kvs[key]
        for notice in self.on_change:
            notice(key, None, self.revision)

    async def watch(
        self, keys: Sequence[bytes | KeyRange], from_revision: int, timeout_s: float, notice: WatchNotice
    ) -> None:
        """Only of ranges, and of what is written from here on."""
        ranges = [key for key in keys if not isinstance(key, bytes)]

        def look(key: bytes, value: bytes | None, revision: int) -> None:
            if any(first <= key < end for first, end in ranges):
                notice(key, value, revision)

        self.on_change.append(look)
        self.watched.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.on_change.remove(look)

    async def read_key(self, key: bytes) -> tuple[kv_pb2.KeyValue | None, int]:
        return self.kvs.get(key), self.revision

    async def grant_lease(self, ttl_s: int) -> tuple[int, int]:
        return 1, ttl_s

    async def keep_alive(self, lease: int) -> int:
        return 2

    async def revoke_lease(self, lease: int) -> None:
        pass

    async def check_login(self) -> None:
        pass

    async def statuses(self) -> list[Any]:
        return []

    async def close(self) -> None:
        pass


class Duel:
    """Coordinators' stores over one tiny etcd, with the history of their transactions."""

    def __init__(self) -> None:
        self.etcd = TinyEtcd()
        self.history = History(origin="hand")
        self.history.add(0, "duel", "floor", **floor_fields(FLOOR, Timing()))
        self.records: dict[str, CoordinatorRecord] = {}
        self.epochs: dict[str, int] = {}

    async def leads(self, name: str) -> EtcdStore:
        store = EtcdStore("127.0.0.1:1", name=name)
        store._client = store._lookout._client = self.etcd  # type: ignore[assignment]
        self.records[name] = CoordinatorRecord(self.history, name)
        self.epochs[name] = await store.lead()
        await self.loads(name, store)
        return store

    async def loads(self, name: str, store: EtcdStore) -> None:
        loaded = await store.load()
        self.epochs[name] = loaded.epoch
        self.records[name].took_over(0, loaded.epoch, revision=loaded.revision)

    async def commits(self, name: str, store: EtcdStore, unit: UnitRecord) -> None:
        outcome, revision = "refused", None
        try:
            revision = await store.commit({unit.key: codec.encode(unit)})
            outcome = "ok"
        except CommitUncertain:
            outcome = "lost"
        except (Fenced, RecordConflict):
            pass
        self.records[name].committed(
            0, {unit.key: unit}, epoch=self.epochs[name], outcome=outcome, revision=revision, txn=1
        )

    def arrives_late(self, name: str, unit: UnitRecord) -> None:
        """The delayed transaction reaches etcd."""
        request, epoch = self.etcd.delayed, self.epochs[name]
        assert request is not None
        response = self.etcd.apply(request)
        if response.succeeded:
            self.history.add(
                0, "etcd", "commit", coord=name, epoch=epoch, outcome="late", txn=1,
                revision=response.header.revision, **record_fields({unit.key: unit}),
            )  # fmt: skip

    def verdict(self) -> list[str]:
        return [str(violation) for violation in check(self.history, only=["I3", "I4"])]


def held(zone: str, agent: str, token: int) -> UnitRecord:
    return UnitRecord(zone, 0, UnitState.HELD, agent, f"s-{agent}", token, remaining_ms=1_000)


async def leader_deposed() -> list[str]:
    """A leader's key expires while it is frozen; another leads, and before that commits the first wakes up and does."""
    duel = Duel()
    first = await duel.leads("c1")
    await duel.commits("c1", first, held("Z1", "V1", 1))
    del duel.etcd.kvs[b"zonelock/leader"]
    second = await duel.leads("c2")
    await duel.commits("c1", first, held("Z3", "V3", 3))
    await duel.commits("c2", second, held("Z2", "V2", 2))
    return duel.verdict()


async def foreign_writer() -> list[str]:
    """Somebody changes a record by hand; its coordinator would rewrite it."""
    duel = Duel()
    store = await duel.leads("c1")
    await duel.etcd.watched.wait()
    await duel.commits("c1", store, held("Z1", "V1", 1))
    duel.etcd.revision += 1
    duel.etcd.put(LEDGER + b"unit/Z1/0", codec.encode(held("Z1", "V9", 9)))
    duel.history.add(0, "nemesis", "fault", what="foreign_write", keys=["unit/Z1/0"])
    await duel.commits("c1", store, held("Z1", "V1", 10))
    return duel.verdict()


async def delayed_transaction() -> list[str]:
    """A commit is lost on its way, and arrives while the coordinator starts over."""
    duel = Duel()
    store = await duel.leads("c1")
    unit = held("Z1", "V1", 1)
    duel.etcd.delay_next = True
    await duel.commits("c1", store, unit)
    duel.epochs["c1"] = await store.refence()
    duel.etcd.after_read = lambda: duel.arrives_late("c1", unit)
    await duel.loads("c1", store)
    return duel.verdict()


async def journal_folded() -> list[str]:
    """So many commits that the first entries of the journal are folded and deleted; no later one names Z2."""
    duel, broken = Duel(), list[str]()
    duel.etcd.on_change.append(Truth({zone.name: 1 for zone in FLOOR.zones}, broken.append).on_change)
    store = await duel.leads("c1")
    await duel.commits("c1", store, held("Z2", "V2", 1))
    oldest = min(duel.etcd.kvs, key=lambda key: (not key.startswith(LEDGER), key))
    for token in range(2, 2 * FOLD_ENTRIES):
        await duel.commits("c1", store, held("Z1", "V1", token))
    return broken + duel.verdict() + ([f"nothing was folded: {oldest!r}"] if oldest in duel.etcd.kvs else [])


SHELL_SCENES: dict[str, Play] = {
    "ack_before_commit": grant_and_stop,
    "stop_after_commit": grant_and_stop,
    "drop_stop_on_ambiguous_commit": stop_in_a_lost_commit,
    "no_leader_compare": leader_deposed,
    "no_record_compare": foreign_writer,
    "delete_unfolded_entries": journal_folded,
    "reload_before_new_epoch": delayed_transaction,
}

"""What a commit puts into the journal comes back whole, whenever it is folded and whoever loads it."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store.bench import Bench

from coordinator.store import etcd_journal
from coordinator.store.etcd import EtcdStore
from coordinator.store.etcd_client import Compacted, EtcdClient, WatchNotice
from coordinator.store.etcd_journal import FOLD_BYTES, FOLD_ENTRIES, FOLD_MS, Journal, JournalCorrupt, decoded, encoded
from coordinator.store.etcd_txn import delete, put
from coordinator.store.etcdpb import kv_pb2, rpc_pb2
from coordinator.store.port import (
    MAX_COMMIT_BYTES,
    MAX_OPERATIONS,
    Fenced,
    RecordConflict,
    StoreError,
    StoreUnavailable,
)
from coordinator.store.sentinel import OWN_REMEMBERED, Sentinel

LEDGER = b"p/ledger/"
PATIENCE_S = 20.0

keys = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("%\n "), min_size=1, max_size=8).filter(
    lambda key: not key.startswith("~")
)
writes = st.dictionaries(keys, st.none() | st.binary(max_size=40), max_size=6)


@given(writes)
def test_an_entry_says_what_was_written(said: dict[str, bytes | None]) -> None:
    assert decoded("~journal/1", encoded(said)) == said


@pytest.mark.parametrize("key", ["~journal/1", "~"])
def test_a_record_that_could_be_taken_for_an_entry_is_refused(key: str) -> None:
    with pytest.raises(StoreError, match="record key"):
        encoded({key: b"v"})


@pytest.mark.parametrize(
    "entry",
    [b"x", b"3 k", b"3 k\nab", b"3 k\nabcd\n", b"-1 k\nv\n", b"3 \nabc\n", b"k\n", b"1 a\nv\n9 b\nv\n"],
)
def test_an_entry_that_nobody_wrote_is_named(entry: bytes) -> None:
    with pytest.raises(JournalCorrupt, match=r"~journal/7: .*Nothing was changed"):
        decoded("~journal/7", entry)


@dataclass
class Cell:
    """As much of etcd as a journal needs: revisions, and transactions whose compares hold."""

    kvs: dict[bytes, kv_pb2.KeyValue] = field(default_factory=dict)
    revision: int = 0

    def load(self) -> tuple[Journal, dict[str, bytes]]:
        journal = Journal(LEDGER)
        return journal, journal.read([kv for _, kv in sorted(self.kvs.items())], 0)

    def apply(self, request: rpc_pb2.TxnRequest) -> int:
        for compare in request.compare:
            known = self.kvs.get(compare.key)
            assert (known.mod_revision if known is not None else 0) == compare.mod_revision, compare.key
        self.revision += 1
        for operation in request.success:
            said, gone = operation.request_put, operation.request_delete_range
            if said.key:
                self.kvs[said.key] = kv_pb2.KeyValue(key=said.key, value=said.value, mod_revision=self.revision)
            for key in [k for k in self.kvs if k == gone.key or (gone.range_end and gone.key <= k < gone.range_end)]:
                del self.kvs[key]
        return self.revision

    def commit(self, journal: Journal, said: Mapping[str, bytes | None], now_ms: int = 0) -> None:
        request = rpc_pb2.TxnRequest()
        journal.add_commit(request, said)
        journal.committed(request, said, now_ms, self.apply(request))

    def fold(self, journal: Journal) -> int:
        """Folds a slice; how many records it had."""
        request, step = rpc_pb2.TxnRequest(), journal.next_slice()
        journal.add_slice(request, step)
        journal.folded(step, self.apply(request))
        return len(step.writes)


@given(st.lists(writes | st.sampled_from(["fold", "load"]), max_size=40))
def test_whenever_it_is_folded_and_loaded_the_newest_of_each_record_holds(steps: list[object]) -> None:
    cell, model = Cell(), dict[str, bytes]()
    journal, _ = cell.load()
    for step in steps:
        if step == "load":
            journal, records = cell.load()
            assert records == model
        elif step == "fold":
            if len(journal):
                cell.fold(journal)
        elif isinstance(step, dict) and step:
            cell.commit(journal, step)
            for key, value in step.items():
                model.pop(key, None)
                if value is not None:
                    model[key] = value
    assert cell.load()[1] == model
    while len(journal):
        cell.fold(journal)
    assert cell.load()[1] == model
    assert {kv.key for kv in cell.kvs.values()} == {LEDGER + key.encode() for key in model}


def test_folding_begins_by_number_by_size_and_by_age() -> None:
    cell = Cell()
    journal, _ = cell.load()
    assert not journal.due(10**9)
    for i in range(FOLD_ENTRIES):
        assert not journal.due(0), i
        cell.commit(journal, {"k": b"v"})
    assert journal.due(0)
    journal, _ = Cell().load()
    cell = Cell()
    cell.commit(journal, {"k": b"v"}, now_ms=5)
    assert not journal.due(5 + FOLD_MS - 1)
    assert journal.due(5 + FOLD_MS)
    cell.commit(journal, {"k": b"v" * FOLD_BYTES}, now_ms=5)
    assert journal.due(5)


def test_a_record_that_is_written_again_is_folded_once_and_a_slice_fits_in_a_transaction() -> None:
    cell = Cell()
    journal, _ = cell.load()
    for _ in range(3):
        cell.commit(journal, {f"k{i}": b"v" for i in range(MAX_OPERATIONS)})
    cell.commit(journal, {"other": b"v"})
    sizes = []
    while len(journal):
        sizes.append(cell.fold(journal))
    assert sum(sizes) == MAX_OPERATIONS + 1
    assert max(sizes) <= MAX_OPERATIONS


def test_a_slice_is_no_larger_than_a_commit_may_be() -> None:
    cell = Cell()
    journal, _ = cell.load()
    for key in ("a", "b", "c"):
        cell.commit(journal, {key: b"v" * (MAX_COMMIT_BYTES * 2 // 5)})
    sizes = []
    while len(journal):
        sizes.append(cell.fold(journal))
    assert sizes == [2, 1, 0]


def test_a_gap_between_entries_is_named() -> None:
    cell = Cell()
    journal, _ = cell.load()
    for _ in range(3):
        cell.commit(journal, {"k": b"v"})
    del cell.kvs[LEDGER + b"~journal/%016d" % 2]
    with pytest.raises(JournalCorrupt, match=r"~journal/0+3: where ~journal/0+2 should follow"):
        cell.load()


def test_a_record_that_somebody_wrote_beside_the_journal_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    cell = Cell()
    journal, _ = cell.load()
    cell.commit(journal, {"k": b"ours", "quiet": b"v"})
    cell.revision += 1
    cell.kvs[LEDGER + b"k"] = kv_pb2.KeyValue(key=LEDGER + b"k", value=b"theirs", mod_revision=cell.revision)
    with caplog.at_level(logging.ERROR):
        assert cell.load()[1]["k"] == b"ours"
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("k was written by another program")


# -- on real etcd ----------------------------------------------------------------------------------------------------


async def leading(bench: Bench, name: str) -> EtcdStore:
    store = bench.open_etcd(name)
    await store.lead()
    await store.load()
    return store


async def own_keys(bench: Bench) -> dict[str, bytes]:
    """Every key under the ledger, the journal's with it."""
    client = EtcdClient(bench.endpoints)
    ledger = f"{bench.place}ledger/".encode()
    page = rpc_pb2.RangeRequest(key=ledger, range_end=ledger + b"\xff")
    reply = await client.txn(rpc_pb2.TxnRequest(success=[rpc_pb2.RequestOp(request_range=page)]), repeatable=True)
    await client.close()
    return {kv.key[len(ledger) :].decode(): kv.value for kv in reply.responses[0].response_range.kvs}


async def write_beside(bench: Bench, key: str, value: bytes | None) -> None:
    """What a person with a shell can do; None deletes."""
    client, path = EtcdClient(bench.endpoints), f"{bench.place}ledger/{key}".encode()
    foreign = delete(path) if value is None else put(path, value)
    await client.txn(rpc_pb2.TxnRequest(success=[foreign]), repeatable=False)
    await client.close()


async def tick_until_folded(bench: Bench, store: EtcdStore) -> dict[str, bytes]:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = await own_keys(bench)
            if not any(key.startswith("~") for key in found):
                return found
            await store.commit({})
            await asyncio.sleep(0.02)


async def test_an_idle_leader_folds_what_it_journalled(etcd_bench: Bench) -> None:
    store = await leading(etcd_bench, "one")
    await store.commit({"a": b"1", "b": b"1"})
    await store.commit({"a": b"2", "b": None})
    assert set(await own_keys(etcd_bench)) == {"~journal/0000000000000001", "~journal/0000000000000002"}
    assert await tick_until_folded(etcd_bench, store) == {"a": b"2"}
    await store.commit({"c": b"3"})
    assert dict((await store.load()).records) == {"a": b"2", "c": b"3"}


async def test_whoever_takes_over_in_the_middle_of_folding_reads_the_same(
    etcd_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leaders follow each other at every step of folding: before a slice, between two, before the entries go."""
    monkeypatch.setattr(etcd_journal, "FOLD_ENTRIES", 3)
    monkeypatch.setattr(etcd_journal, "MAX_OPERATIONS", 4)
    model: dict[str, bytes] = {}
    chance = random.Random(4)
    for turn in range(12):
        store = await leading(etcd_bench, f"leader {turn}")
        assert dict((await store.load()).records) == model
        for _ in range(turn):
            said = {f"k{chance.randrange(9)}": chance.choice([None, b"%d" % chance.randrange(99)]) for _ in range(3)}
            await store.commit(said)
            for key, value in said.items():
                model.pop(key, None)
                if value is not None:
                    model[key] = value
        await store.resign()


@pytest.mark.parametrize(("key", "value"), [("a", b"foreign"), ("c", b"foreign"), ("a", None)])
async def test_a_busy_leader_hears_of_a_foreign_write_to_any_record(
    etcd_bench: Bench, key: str, value: bytes | None
) -> None:
    store = await leading(etcd_bench, "one")
    await store.commit({"a": b"1", "b": b"1"})
    await tick_until_folded(etcd_bench, store)
    await write_beside(etcd_bench, key, value)

    async def go_on() -> None:
        while True:
            await store.commit({"b": b"2"})

    with pytest.raises(RecordConflict, match=f"another program wrote {key} under"):
        await asyncio.wait_for(go_on(), PATIENCE_S)


async def test_a_slice_that_was_not_applied_keeps_no_commit_from_being_made(
    etcd_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(etcd_journal, "FOLD_ENTRIES", 1)
    store = await leading(etcd_bench, "one")
    txn, refused = store._client.txn, 0

    async def refusing(request: rpc_pb2.TxnRequest, *, repeatable: bool) -> rpc_pb2.TxnResponse:
        nonlocal refused
        names = [operation.request_put.key for operation in request.success]
        if refused < 3 and not any(b"~journal/" in name or name.endswith(b"tick") for name in names):
            refused += 1
            raise StoreUnavailable("too many requests")
        return await txn(request, repeatable=repeatable)

    monkeypatch.setattr(store._client, "txn", refusing)
    for i in range(6):
        await store.commit({"a": b"%d" % i})
    assert refused == 3
    assert await tick_until_folded(etcd_bench, store) == {"a": b"5"}


class ToldWatch:
    """An etcd client whose one watch tells what the test says."""

    def __init__(self) -> None:
        self.began: list[int] = []
        self.endings: list[Exception] = []
        self.notice: WatchNotice = lambda *_: None

    async def watch(self, keys: object, from_revision: int, timeout_s: float, notice: WatchNotice) -> None:
        self.began.append(from_revision)
        self.notice = notice
        if self.endings:
            raise self.endings.pop()
        await asyncio.Event().wait()


async def watched(told: ToldWatch, began: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while len(told.began) < began:  # noqa: ASYNC110 - appended by the watch
            await asyncio.sleep(0.01)


async def test_writes_of_our_own_accuse_nobody_however_late_they_are_told() -> None:
    told = ToldWatch()
    sentinel = Sentinel(told, b"l/", b"l/~", 10)  # type: ignore[arg-type]
    await watched(told, 1)
    assert told.began == [11]
    told.notice(b"l/a", b"v", 11)  # before its transaction's answer
    sentinel.own(11)
    for revision in range(12, 12 + 2 * OWN_REMEMBERED):
        sentinel.own(revision)
    told.notice(b"l/a", b"v", 12)  # forgotten by now, and told by a watch that stood still
    sentinel.look_again()
    await watched(told, 2)
    assert told.began[1] > 12
    assert sentinel.foreign() == []
    told.notice(b"l/b", b"v", 12 + 2 * OWN_REMEMBERED)
    told.notice(b"l/c", b"v", 12 + 2 * OWN_REMEMBERED)
    assert sentinel.foreign() == ["b", "c"]
    sentinel.stop()


async def test_a_watch_begins_anew_where_it_ended_and_later_only_where_history_is_gone() -> None:
    told = ToldWatch()
    told.endings = [Compacted("gone"), StoreUnavailable("permission denied")]
    sentinel = Sentinel(told, b"l/", b"l/~", 10)  # type: ignore[arg-type]
    sentinel.revision = 500
    await watched(told, 3)
    assert told.began == [11, 11, 501]
    sentinel.stop()


async def test_a_deposed_leader_takes_its_successors_folding_for_no_foreign_write(etcd_bench: Bench) -> None:
    first = await leading(etcd_bench, "first")
    await first.commit({"a": b"1"})
    second = await asyncio.wait_for(leading(etcd_bench, "second"), PATIENCE_S)  # the first hangs: its lease runs out
    await second.commit({"b": b"2"})
    assert await tick_until_folded(etcd_bench, second) == {"a": b"1", "b": b"2"}
    with pytest.raises(Fenced, match="second leads now"):
        await first.commit({"a": b"3"})


async def test_a_foreign_write_that_no_watch_told_of_is_not_overwritten(
    etcd_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sentinel, "foreign", lambda self: [])
    store = await leading(etcd_bench, "one")
    await store.commit({"a": b"1", "b": b"1"})
    await tick_until_folded(etcd_bench, store)
    await write_beside(etcd_bench, "a", b"foreign")
    await store.commit({"a": b"2"})
    with pytest.raises(RecordConflict, match=r"another program wrote a under"):
        await tick_until_folded(etcd_bench, store)
    assert (await own_keys(etcd_bench))["a"] == b"foreign"


async def test_a_foreign_entry_in_the_journal_is_a_conflict(etcd_bench: Bench) -> None:
    store = await leading(etcd_bench, "one")
    await store.commit({"a": b"1"})
    await write_beside(etcd_bench, "~journal/0000000000000002", b"")
    with pytest.raises(RecordConflict, match=r"another program wrote ~journal/0+2 under"):
        await store.commit({"a": b"2"})

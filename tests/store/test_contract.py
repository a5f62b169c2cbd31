"""What every store owes the runtime, checked over a SQLite file, `:memory:` and a real three-member etcd."""

from __future__ import annotations

import asyncio

import pytest
from store.bench import Bench

from coordinator.store.port import (
    MAX_COMMIT_BYTES,
    MAX_OPERATIONS,
    CommitTooLarge,
    Fenced,
    StoreError,
    StoreUnavailable,
)


async def test_a_new_ledger_is_empty(bench: Bench) -> None:
    store = bench.open()
    epoch = await store.lead()
    loaded = await store.load()
    assert epoch > 0
    assert loaded.epoch == epoch
    assert dict(loaded.records) == {}


async def test_what_was_committed_is_loaded(bench: Bench) -> None:
    store = bench.open()
    await store.lead()
    await store.load()
    await store.commit({"unit/Z_1/0": b"a", "unit/Tür 2/0": "ü".encode(), "stop/x": b""})
    await store.commit({"unit/Z_1/0": b"b"})
    await store.refence()
    assert dict((await store.load()).records) == {"unit/Z_1/0": b"b", "unit/Tür 2/0": "ü".encode(), "stop/x": b""}


async def test_none_deletes_and_a_deleted_record_can_come_back(bench: Bench) -> None:
    store = bench.open()
    await store.lead()
    await store.load()
    await store.commit({"audit/1": b"a", "audit/2": b"b"})
    await store.commit({"audit/1": None, "audit/9": None})
    await store.commit({"audit/1": b"c"})
    await store.commit({"audit/2": None})
    assert dict((await store.load()).records) == {"audit/1": b"c"}


async def test_revisions_rise_with_commits_and_do_not_fall_with_loads(bench: Bench) -> None:
    store = bench.open()
    await store.lead()
    seen = [(await store.load()).revision]
    for i in range(5):
        seen.append(await store.commit({"k": str(i).encode()}))
        assert seen[-1] > seen[-2]
    assert (await store.load()).revision >= seen[-1]


async def test_a_tick_writes_no_record(bench: Bench) -> None:
    store = bench.open()
    await store.lead()
    before = await store.load()
    assert await store.commit({}) >= before.revision
    assert dict((await store.load()).records) == {}


async def test_a_tick_needs_no_load_and_a_write_does(bench: Bench) -> None:
    store = bench.open()
    await store.lead()
    await store.commit({})
    with pytest.raises(StoreError, match="commit before load"):
        await store.commit({"k": b"v"})


async def test_the_largest_commit_passes_and_one_more_is_refused(bench: Bench) -> None:
    store = bench.open()
    await store.lead()
    await store.load()
    full = {f"unit/Z_{i}/0": b"x" * 300 for i in range(MAX_OPERATIONS)}
    await store.commit(full)
    await store.commit(full)
    with pytest.raises(CommitTooLarge, match=f"{MAX_OPERATIONS + 1} writes"):
        await store.commit({**full, "one/more": b""})
    assert dict((await store.load()).records) == full


async def test_a_commit_of_the_largest_size_passes_and_a_byte_more_is_refused(bench: Bench) -> None:
    store = bench.open()
    await store.lead()
    await store.load()
    await store.commit({"k": b"x" * (MAX_COMMIT_BYTES - 1)})
    with pytest.raises(CommitTooLarge, match="split"):
        await store.commit({"k": b"x" * MAX_COMMIT_BYTES})
    assert len((await store.load()).records["k"]) == MAX_COMMIT_BYTES - 1


async def test_a_ledger_of_many_pages_is_loaded_whole(bench: Bench) -> None:
    store = bench.open()
    await store.lead()
    await store.load()
    expected: dict[str, bytes] = {}
    for page in range(40):
        batch: dict[str, bytes] = {f"unit/Z_{page}_{i}/0": b"%d" % i for i in range(MAX_OPERATIONS)}
        expected |= batch
        await store.commit(batch)
    assert dict((await store.load()).records) == expected


async def test_refencing_raises_the_fence_and_keeps_the_records(bench: Bench) -> None:
    store = bench.open()
    first = await store.lead()
    await store.load()
    await store.commit({"k": b"v"})
    second = await store.refence()
    assert second > first
    loaded = await store.load()
    assert loaded.epoch == second
    assert dict(loaded.records) == {"k": b"v"}
    await store.commit({"k": b"w"})


async def test_a_write_after_refencing_needs_a_load(bench: Bench) -> None:
    store = bench.open()
    await store.lead()
    await store.load()
    await store.refence()
    with pytest.raises(StoreError, match="commit before load"):
        await store.commit({"k": b"v"})


async def test_a_cancelled_write_must_be_cleared_up_by_refencing(bench: Bench) -> None:
    store = bench.open()
    await store.lead()
    await store.load()
    writing = asyncio.create_task(store.commit({"k": b"v"}))
    await asyncio.sleep(0)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    with pytest.raises(StoreError, match="refence"):
        await store.commit({"k": b"w"})
    await store.refence()
    await store.load()
    await store.commit({"k": b"w"})
    assert (await store.load()).records["k"] == b"w"


async def test_only_a_leader_loads_and_commits(bench: Bench) -> None:
    store = bench.open()
    with pytest.raises(Fenced, match="call lead first"):
        await store.load()
    with pytest.raises(Fenced, match="call lead first"):
        await store.commit({})


async def test_closing_twice_is_closing_once_and_a_closed_store_says_so(bench: Bench) -> None:
    store = bench.open()
    await store.lead()
    await store.close()
    await store.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.commit({})
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.lead()


async def test_closing_before_leading_is_allowed(bench: Bench) -> None:
    await bench.open().close()


async def test_the_next_leader_finds_everything_and_has_a_higher_fence(bench: Bench) -> None:
    if bench.kind == "memory":
        pytest.skip("a memory ledger ends with its store")
    first = bench.open("one")
    old = await first.lead()
    await first.load()
    await first.commit({"k": b"v"})
    await first.close()
    second = bench.open("two")
    assert await second.lead() > old
    assert dict((await second.load()).records) == {"k": b"v"}


async def test_two_ledgers_do_not_meet(bench: Bench) -> None:
    other_place = {"etcd": bench.place + "other/", "sqlite": bench.place + "-other", "memory": ":memory:"}[bench.kind]
    other = Bench(bench.kind, other_place, bench.endpoints)
    here, there = bench.open(), other.open()
    try:
        await here.lead()
        await there.lead()
        await here.load()
        await there.load()
        await here.commit({"k": b"here"})
        assert dict((await there.load()).records) == {}
    finally:
        await other.close()

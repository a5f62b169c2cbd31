"""The clustered store against other coordinators, foreign writers, dead and frozen members. All on real etcd."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from etcd_cluster import fresh_prefix, make_space
from store.bench import Bench

from coordinator.runtime import boottime_ms
from coordinator.store import etcd_journal
from coordinator.store.etcd import TICK_AT_MOST_MS, EtcdStore
from coordinator.store.etcd_client import EtcdClient
from coordinator.store.etcd_txn import get_page, put, unchanged
from coordinator.store.etcdpb import rpc_pb2
from coordinator.store.local_etcd import LocalEtcd
from coordinator.store.lookout import Vacancy
from coordinator.store.port import CommitUncertain, Fenced, LeaderSeen, StoreUnavailable
from coordinator.store.succession import MIN_TENURE_MS, STALE_MS, Succession

PATIENCE_S = 20.0
TICK_S = 0.1


async def leading(bench: Bench, name: str = "one") -> EtcdStore:
    store = bench.open_etcd(name)
    await store.lead()
    await store.load()
    return store


@asynccontextmanager
async def ticking(store: EtcdStore) -> AsyncIterator[None]:
    """What a runtime does when nothing happens."""

    async def tick() -> None:
        while True:
            with suppress(StoreUnavailable, Fenced):
                await store.commit({})
            await asyncio.sleep(TICK_S)

    task = asyncio.create_task(tick())
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def committed(store: EtcdStore, writes: dict[str, bytes | None]) -> None:
    """What a runtime does with one commit, whatever happens to the members: until it is known to be in the ledger.

    Fenced is no failure here: an etcd leader that was frozen can revoke leases when it thaws (etcd #15247).
    """
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await store.commit(writes)
                return
            except StoreUnavailable:
                await asyncio.sleep(TICK_S)
            except (CommitUncertain, Fenced) as doubt:
                with suppress(StoreUnavailable, Fenced):
                    await (store.refence() if isinstance(doubt, CommitUncertain) else store.lead())
                    await store.load()


async def whole_ledger(store: EtcdStore) -> dict[str, bytes]:
    """What the ledger holds in the end, though the lead may go at any moment (see `committed`)."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return dict((await store.load()).records)
            except Fenced:
                await store.lead()


def index_in_use(store: EtcdStore) -> int:
    """The member that the store's next call goes to."""
    return store._client._current


async def test_a_second_leader_fences_the_first_and_nothing_of_the_first_is_applied(etcd_bench: Bench) -> None:
    first = await leading(etcd_bench, "first")
    await first.commit({"k": b"first"})
    # The first now hangs: no commit, so no renewal, and its lease runs out.
    second = await asyncio.wait_for(leading(etcd_bench, "second"), PATIENCE_S)
    with pytest.raises(Fenced, match=r"second leads now \(fence \d+, ours was \d+\)"):
        await first.commit({"k": b"late", "other": b"late"})
    with pytest.raises(Fenced):
        await first.commit({})
    assert dict((await second.load()).records) == {"k": b"first"}
    await second.commit({"k": b"second"})


async def test_a_standby_waits_while_the_leader_ticks_and_leads_as_soon_as_it_resigns(etcd_bench: Bench) -> None:
    first = await leading(etcd_bench, "first")
    standby = etcd_bench.open_etcd("standby")
    async with ticking(first):
        waiting = asyncio.create_task(standby.lead())
        # Longer than the lease: only renewals keep it.
        done, _ = await asyncio.wait([waiting], timeout=first.lease_ms / 1000 + 2)
        assert not done
        assert (await standby.status()).leader == "first"
        assert 1_000 < first.lease_ms <= 2_000
    fence = (await first.load()).epoch
    await first.close()
    assert await asyncio.wait_for(waiting, PATIENCE_S) > fence
    status = await standby.status()
    assert status.leader == "standby"
    assert len(status.endpoints) == 3


async def test_a_coordinator_that_lost_the_lead_can_stand_by_and_lead_again(etcd_bench: Bench) -> None:
    first = await leading(etcd_bench, "first")
    second = await asyncio.wait_for(leading(etcd_bench, "second"), PATIENCE_S)
    with pytest.raises(Fenced):
        await first.commit({})
    again = asyncio.create_task(first.lead())
    await second.commit({"k": b"v"})
    await second.close()
    assert await asyncio.wait_for(again, PATIENCE_S) > 0
    assert (await first.load()).records["k"] == b"v"


async def test_refencing_kills_a_transaction_that_is_still_on_its_way(etcd_bench: Bench, cluster: LocalEtcd) -> None:
    store = await leading(etcd_bench)
    await store.commit({"k": b"before"})
    old = (await store.load()).epoch
    # A follower: freezing etcd's own leader may cost us the lease, and then there is nothing to refence.
    frozen = next(i for i, member in enumerate((await store.status()).endpoints) if not member.leads)
    store._client.prefer(cluster.endpoints[frozen])
    cluster.pause(frozen)
    with pytest.raises(CommitUncertain, match="may or may not"):
        await store.commit({"k": b"delayed"})
    assert await store.refence() > old
    settled = dict((await store.load()).records)
    cluster.resume(frozen)
    await cluster.healthy()
    # Whether or not the thawed member still forwarded it: a transaction under the old fence finds it gone.
    client = EtcdClient(etcd_bench.endpoints)
    late = rpc_pb2.TxnRequest(
        compare=[unchanged(f"{etcd_bench.place}leader".encode(), old)],
        success=[put(f"{etcd_bench.place}ledger/k".encode(), b"late")],
    )
    assert not (await client.txn(late, repeatable=False)).succeeded
    await client.close()
    assert dict((await store.load()).records) == settled
    await store.commit({"k": b"after"})


async def test_commits_go_on_while_a_member_is_frozen(etcd_bench: Bench, cluster: LocalEtcd) -> None:
    store = await leading(etcd_bench)
    for index in range(3):
        async with ticking(store):
            cluster.pause(index)
        for i in range(5):
            await committed(store, {f"{index}/{i}": b"v"})
        cluster.resume(index)
    assert len(await whole_ledger(store)) == 15


async def test_commits_go_on_when_any_one_member_is_killed(etcd_bench: Bench, cluster: LocalEtcd) -> None:
    store = await leading(etcd_bench)
    for index in range(3):
        await committed(store, {f"{index}/before": b"v"})
        cluster.kill(index)
        for i in range(5):
            await committed(store, {f"{index}/{i}": b"v"})
        await cluster.restart(index)
    assert len((await store.load()).records) == 18


async def test_without_a_quorum_no_commit_succeeds_and_none_that_did_is_lost(
    etcd_bench: Bench, cluster: LocalEtcd
) -> None:
    store = await leading(etcd_bench)
    await store.commit({"k": b"kept"})
    survivor = index_in_use(store)
    for index in range(3):
        if index != survivor:
            cluster.kill(index)
    for _ in range(3):
        with pytest.raises((StoreUnavailable, CommitUncertain)):
            await store.commit({"k": b"doubtful"})
        with pytest.raises((StoreUnavailable, CommitUncertain)):
            await store.commit({})
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(store.refence(), 1.5)
    for index in range(3):
        if index != survivor:
            cluster.start_member(index)
    await cluster.healthy()
    try:
        await asyncio.wait_for(store.refence(), PATIENCE_S)
    except Fenced:  # The lease may have run out meanwhile.
        await asyncio.wait_for(store.lead(), PATIENCE_S)
    assert (await store.load()).records["k"] in (b"kept", b"doubtful")
    await store.commit({"k": b"later"})


async def test_an_etcd_that_is_down_at_the_start_is_waited_for_and_named(
    etcd_binary: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with LocalEtcd(1) as single:
        single.kill(0)
        store = EtcdStore(single.endpoints, prefix=fresh_prefix(), deadline_s=0.2)
        waiting = asyncio.create_task(store.lead())
        with caplog.at_level(logging.WARNING):
            done, _ = await asyncio.wait([waiting], timeout=1.5)
        assert not done
        (line,) = [r.getMessage() for r in caplog.records if "cannot lead yet" in r.getMessage()]
        assert single.endpoints[0] in line
        assert "Start etcd, or correct the endpoints" in line
        single.start_member(0)
        assert await asyncio.wait_for(waiting, PATIENCE_S) > 0
        await store.close()


async def test_an_etcd_out_of_space_says_what_to_do_and_the_ledger_is_whole_when_it_has_space_again(
    etcd_binary: Path,
) -> None:
    """The write that goes over the quota may have been kept though it was refused, so none may be taken for undone."""
    async with LocalEtcd(1, flags=["--quota-backend-bytes", "4000000"]) as cluster:
        store = EtcdStore(cluster.endpoints)
        await store.lead()
        await store.load()

        committed: list[str] = []

        async def fill() -> None:
            for i in range(100):  # etcd weighs its file now and then, not at every write
                # What the compaction leaves of two records, and of the journal, must leave room in the quota.
                await store.commit({f"k{i % 2}": f"{i} ".encode() + b"x" * 300_000})
                committed.append(f"k{i % 2}")

        with pytest.raises(CommitUncertain, match="quota is used up: run `etcdctl compact`"):
            await fill()
        waiting = asyncio.create_task(store.refence())
        while not store.trouble:  # noqa: ASYNC110 - set by the store, which tries on
            await asyncio.sleep(0.02)
        assert "alarm disarm" in store.trouble
        await make_space(cluster.endpoints)
        with suppress(Fenced):  # its lease may have run out meanwhile, for a lease cannot be renewed without commits
            await waiting
        await store.lead()
        assert set((await store.load()).records) >= set(committed)
        assert store.trouble == ""
        await store.close()


async def test_an_old_etcd_works_with_one_warning(etcd_bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    client = EtcdClient(etcd_bench.endpoints)
    version = (await client.statuses())[0].version
    await client.close()
    if not version.startswith("3.4."):
        pytest.skip(f"etcd {version} is installed; the warning is for older ones")
    with caplog.at_level(logging.WARNING):
        await leading(etcd_bench)
    (line,) = [r.getMessage() for r in caplog.records]
    assert f"etcd {version} at {etcd_bench.endpoints[0]}, " in line
    assert "works, but the production floor is 3.5.28 / 3.6.9" in line


async def test_the_leader_compacts_the_history_that_it_makes(etcd_bench: Bench) -> None:
    store = etcd_bench.open_etcd(compact_every=1_500)
    await store.lead()
    first = (await store.load()).revision
    for i in range(1_600):
        await store.commit({"k": str(i).encode()})
    client = EtcdClient(etcd_bench.endpoints)
    past = get_page(b"k", b"l", limit=1, revision=first)

    async def read_the_past_for_ever() -> None:
        while True:
            await client.txn(rpc_pb2.TxnRequest(success=[past]), repeatable=True)
            await asyncio.sleep(0.02)

    with pytest.raises(StoreUnavailable, match="compacted"):
        await asyncio.wait_for(read_the_past_for_ever(), PATIENCE_S)
    await client.close()
    assert (await store.load()).records["k"] == b"1599"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prefix": "spaces are bad/"}, "prefix 'spaces are bad/' must have"),
        ({"lease_ms": 100}, "lease_ms is 100, and must be 500 to 60000"),
        ({"endpoints": "nowhere"}, "'nowhere' is not host:port"),
    ],
)
def test_a_wrong_configuration_is_refused_at_once(options: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {"endpoints": "127.0.0.1:2379"} | options
    with pytest.raises(ValueError, match=message):
        EtcdStore(**arguments)  # type: ignore[arg-type]


class ScriptedLine:
    """A standby's stream to the leader, open or closed as the test says."""

    def __init__(self) -> None:
        self.closed = False
        self.handed_over = False
        self.yields_until_ms = 0
        self.followed: list[str] = []

    def follow(self, leader: LeaderSeen | None) -> None:
        self.followed.append(leader.name if leader is not None else "")


async def test_a_standby_hears_how_far_the_leaders_ledger_is(etcd_bench: Bench) -> None:
    """So that it knows an old copy for one, should it lead next."""
    first = await leading(etcd_bench, "first")
    first.newest_token = 4_711
    standby, heard = etcd_bench.open_etcd("standby"), asyncio.Queue[tuple[int, int, int]]()
    standby.on_progress.append(lambda *told: heard.put_nowait(told))
    async with ticking(first):
        waiting = asyncio.create_task(standby.lead())
        async with asyncio.timeout(PATIENCE_S):
            while (await heard.get())[2] != first.newest_token:
                pass
            before, after = await heard.get(), await heard.get()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert before[0] == after[0] == int((await standby.status()).epoch)
    assert before[1] < after[1]


async def test_a_leader_that_ticks_is_not_deposed_though_its_streams_have_closed(etcd_bench: Bench) -> None:
    first = await leading(etcd_bench, "first")
    fence = (await first.load()).epoch
    standby, line = etcd_bench.open_etcd("standby"), ScriptedLine()
    look = standby.follow_by(line)
    async with ticking(first):
        waiting = asyncio.create_task(standby.lead())
        while line.followed[-1:] != ["first"]:  # noqa: ASYNC110 - told by the store, which reads etcd
            await asyncio.sleep(0.01)
        line.closed = True
        look()
        done, _ = await asyncio.wait([waiting], timeout=(MIN_TENURE_MS + 5 * STALE_MS) / 1000)
        assert not done
        assert standby.heir
        await first.commit({"k": b"mine"})
    began = asyncio.get_running_loop().time()
    assert await asyncio.wait_for(waiting, PATIENCE_S) > fence
    assert asyncio.get_running_loop().time() - began < first.lease_ms / 1000, "it waited for the lease"
    assert line.followed[-1] == ""
    with pytest.raises(Fenced, match="standby leads now"):
        await first.commit({"k": b"late"})
    assert (await standby.load()).records["k"] == b"mine"


async def test_a_take_over_does_nothing_when_the_tick_has_moved_since_it_was_seen(
    etcd_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A watch that lags shows a tick that stands still; the transaction compares the real one."""
    monkeypatch.setattr(Succession, "saw_tick", lambda *_: None)
    first = await leading(etcd_bench, "first")
    standby, line = etcd_bench.open_etcd("standby"), ScriptedLine()
    line.closed = True
    standby.follow_by(line)
    async with ticking(first):
        waiting = asyncio.create_task(standby.lead())
        done, _ = await asyncio.wait([waiting], timeout=(MIN_TENURE_MS + 5 * STALE_MS) / 1000)
        assert not done
        await first.commit({"k": b"mine"})
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_a_leader_that_commits_nothing_falls_though_its_lease_lives_on(etcd_bench: Bench) -> None:
    """An election of etcd's own lets a frozen leader's lease live up to three seconds longer; here it never ends."""
    first = await leading(etcd_bench, "first")
    standby, client = etcd_bench.open_etcd("standby"), EtcdClient(etcd_bench.endpoints)
    standby.follow_by(ScriptedLine())
    fence = (await first.load()).epoch

    async def renew() -> None:
        while True:
            assert await client.keep_alive(first._lease) > 0
            await asyncio.sleep(TICK_S)

    renewing = asyncio.create_task(renew())
    assert await asyncio.wait_for(standby.lead(), PATIENCE_S) > fence
    assert not renewing.done()
    renewing.cancel()
    with suppress(asyncio.CancelledError):
        await renewing
    await client.close()
    with pytest.raises(Fenced, match="standby leads now"):
        await first.commit({"k": b"late"})


async def test_a_leader_that_ticks_is_not_deposed_by_a_standby_that_does_not_hear_it(
    etcd_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Succession, "saw_tick", lambda *_: None)
    first = await leading(etcd_bench, "first")
    standby, tries = etcd_bench.open_etcd("standby"), asyncio.Queue[Vacancy]()
    standby.follow_by(ScriptedLine())
    take_over = standby._take_over

    async def counted(vacancy: Vacancy) -> int:
        tries.put_nowait(vacancy)
        return await take_over(vacancy)

    monkeypatch.setattr(standby, "_take_over", counted)
    async with ticking(first), asyncio.timeout(PATIENCE_S):
        waiting = asyncio.create_task(standby.lead())
        for _ in range(2):
            await tries.get()
        await first.commit({"k": b"mine"})
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_a_leader_under_load_ticks_though_no_commit_of_its_is_empty(etcd_bench: Bench) -> None:
    first = await leading(etcd_bench, "first")
    client = EtcdClient(etcd_bench.endpoints)
    tick = f"{etcd_bench.place}tick".encode()
    await first.commit({})
    before, _ = await client.read_key(tick)
    await asyncio.sleep(TICK_AT_MOST_MS / 1000)
    await first.commit({"k": b"v"})
    after, _ = await client.read_key(tick)
    await client.close()
    assert before is not None and after is not None
    assert after.mod_revision > before.mod_revision


async def test_a_leader_that_folds_behind_every_commit_ticks_all_the_same(
    etcd_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(etcd_journal, "FOLD_ENTRIES", 1)
    first = await leading(etcd_bench, "first")
    client = EtcdClient(etcd_bench.endpoints)
    tick = f"{etcd_bench.place}tick".encode()
    await first.commit({})
    before, _ = await client.read_key(tick)
    until_s = time.monotonic() + 4 * TICK_AT_MOST_MS / 1000
    while time.monotonic() < until_s:
        await first.commit({"k": b"v"})
    await first.commit({"k": b"v"})
    after, _ = await client.read_key(tick)
    await client.close()
    assert before is not None and after is not None
    assert after.mod_revision > before.mod_revision


async def test_a_standby_leaves_the_first_try_to_the_named_successor_and_leads_where_that_does_not(
    etcd_bench: Bench,
) -> None:
    first = await leading(etcd_bench, "first")
    other, line = etcd_bench.open_etcd("other"), ScriptedLine()
    look = other.follow_by(line)
    changed = asyncio.Event()
    other.on_standing.append(changed.set)
    waiting = asyncio.create_task(other.lead())
    async with asyncio.timeout(PATIENCE_S):
        while other.leader is None:
            await changed.wait()
            changed.clear()
        line.yields_until_ms = boottime_ms() + 300
        look()
        await first.resign()
        await waiting
    assert boottime_ms() >= line.yields_until_ms


async def test_the_named_successor_takes_the_key_over_while_it_is_there(etcd_bench: Bench) -> None:
    """Whatever the tick does: the leader said that it decides nothing any more, and the fence holds if it does."""
    first = await leading(etcd_bench, "first")
    heir, line = etcd_bench.open_etcd("heir"), ScriptedLine()
    look, changed = heir.follow_by(line), asyncio.Event()
    heir.on_standing.append(changed.set)
    waiting = asyncio.create_task(heir.lead())
    async with asyncio.timeout(PATIENCE_S), ticking(first):
        while heir.leader is None:
            await changed.wait()
            changed.clear()
        line.closed = line.handed_over = True
        look()
        await waiting
        with pytest.raises(Fenced, match="heir leads now"):
            await first.commit({"n": b"1"})
    await first.resign()  # the lease that ends is not the key's any more
    await heir.load()
    await heir.commit({})

"""A ledger is not begun beside another by mistake: a misspelt prefix is named, with the one that was meant."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from etcd_cluster import local_etcd

from coordinator.store import siblings
from coordinator.store.etcd import EtcdStore
from coordinator.store.etcd_client import EtcdClient
from coordinator.store.etcd_txn import put
from coordinator.store.etcdpb import rpc_pb2
from coordinator.store.port import StoreError
from coordinator.store.siblings import LedgerElsewhere, ledgers


@pytest.fixture
def endpoints() -> Iterator[list[str]]:
    with local_etcd(1) as etcd:
        yield etcd.endpoints


async def begin(endpoints: list[str], prefix: str, name: str = "c1") -> EtcdStore:
    store = EtcdStore(endpoints, prefix=prefix, name=name, alone=True)
    try:
        await store.lead()
        await store.load()
        await store.commit({"meta/counter": b"{}", "unit/Z_01/0": b"{}"})
    except StoreError:
        await store.close()
        raise
    return store


async def test_a_misspelt_prefix_is_refused_with_both_names_and_what_to_do(endpoints: list[str]) -> None:
    first = await begin(endpoints, "/zonelock")
    with pytest.raises(LedgerElsewhere) as refused:
        await begin(endpoints, "/zonelok")
    for said in ("'/zonelok/'", "'/zonelock/' (c1 leads it)", "etcd_shared = true"):
        assert said in str(refused.value)
    await first.close()
    with pytest.raises(LedgerElsewhere, match="nobody leads it now"):
        await begin(endpoints, "/zonelok")


async def test_a_ledger_that_is_there_is_led_again_whatever_else_there_is(endpoints: list[str]) -> None:
    await (await begin(endpoints, "/a")).close()
    shared = EtcdStore(endpoints, prefix="/b")
    await shared.lead()
    await shared.load()
    await shared.commit({"meta/counter": b"{}"})
    await shared.close()
    for prefix in ("/a", "/b"):
        await (await begin(endpoints, prefix)).close()


async def test_coordinators_that_begin_a_ledger_at_once_do_not_take_each_other_for_another_site(
    endpoints: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await begin(endpoints, "/zonelock")
    client = EtcdClient(endpoints)

    async def not_yet(key: bytes) -> tuple[None, int]:
        monkeypatch.undo()  # the first look came before the other's first commit
        return None, 1

    monkeypatch.setattr(client, "read_key", not_yet)
    await siblings.refuse_second_ledger(client, "/zonelock/")
    await client.close()
    await first.close()


async def test_foreign_keys_are_no_ledger_and_are_looked_behind(
    endpoints: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(siblings, "PAGE_KEYS", 3)
    client = EtcdClient(endpoints)
    foreign = [f"/bank/ledger/{i}" for i in range(5)] + [f"/bank/{i}" for i in range(5)] + ["/bank/tick", "\0"]
    await client.txn(rpc_pb2.TxnRequest(success=[put(key.encode(), b"x") for key in foreign]), repeatable=True)
    assert await ledgers(client) == {}
    store = await begin(endpoints, "/zonelock")
    assert list(await ledgers(client)) == ["/zonelock/"]
    await store.close()
    await client.close()

"""Other ledgers in the same etcd, looked for before one is begun.

The hazard: a coordinator whose prefix is misspelt finds no leader and no ledger there, begins a second ledger, and
grants the same floor again. Rule owned: no ledger is begun beside another unless somebody said that it is meant to be.
Reads only. Never imports the core.
"""

from __future__ import annotations

import logging

from coordinator.store import etcd_txn
from coordinator.store.etcd_client import EtcdClient, Refused
from coordinator.store.etcdpb import rpc_pb2
from coordinator.store.lookout import leader_in, tick_in
from coordinator.store.port import StoreError

log = logging.getLogger(__name__)

PAGE_KEYS = 500
MAX_PAGES = 100
"""An etcd with more foreign keys than 50,000 is not searched to its end."""
LEDGER = b"/ledger/"


class LedgerElsewhere(StoreError):
    """This prefix holds no ledger, and another prefix in the same etcd does."""


async def refuse_second_ledger(client: EtcdClient, prefix: str) -> None:
    """`prefix` ends in a slash. Raises LedgerElsewhere, StoreUnavailable."""
    try:
        tick, _ = await client.read_key(f"{prefix}tick".encode())
        if tick is not None:
            return
        others = await ledgers(client)
    except Refused as error:
        if "permission denied" not in str(error):
            raise
        log.debug("other prefixes are not for this user to read, so it could not begin a ledger there: %s", error)
        return
    others.pop(prefix, None)  # begun by another coordinator of this site in this very moment
    if others:
        found = " and ".join(f"{other!r} ({who})" for other, who in sorted(others.items()))
        raise LedgerElsewhere(
            f"etcd_prefix = {prefix!r}: holds no ledger, and the same etcd holds one under {found}; a second one would "
            "grant the same floor again. Correct etcd_prefix; or, for a site of its own that shares this etcd, start "
            "with etcd_shared = true"
        )


async def ledgers(client: EtcdClient) -> dict[str, str]:
    """Every prefix that some coordinator has led, and who leads there now."""
    found: dict[str, str] = {}
    first = b"\0"
    for _ in range(MAX_PAGES):
        page = rpc_pb2.RangeRequest(key=first, range_end=b"\0", limit=PAGE_KEYS, keys_only=True)
        request = rpc_pb2.TxnRequest(success=[rpc_pb2.RequestOp(request_range=page)])
        reply = await client.txn(request, repeatable=True)
        keys = [kv.key for kv in etcd_txn.all_kvs(reply)]
        at = next((key[: key.index(LEDGER) + 1] for key in keys if LEDGER in key), None)
        if at is None:
            if not etcd_txn.more_pages(reply):
                return found
            first = keys[-1] + b"\0"
            continue
        first = etcd_txn.end_of(at + LEDGER[1:])
        tick, _ = await client.read_key(at + b"tick")
        if tick is not None and tick_in(tick.value)[0]:
            leader, _ = await client.read_key(at + b"leader")
            who = "nobody leads it now" if leader is None else f"{leader_in(leader).name} leads it"
            found[at.decode(errors="backslashreplace")] = who
    log.info("etcd holds very many keys: other ledgers were looked for among the first %d", MAX_PAGES * PAGE_KEYS)
    return found

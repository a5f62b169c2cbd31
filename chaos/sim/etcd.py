"""A simulated etcd: revisions, compares, leases, linearizable by construction; its faults are in its clients.

Speaks the same protobuf messages as the real one, so that `EtcdStore` (its compares, its fence, its lease rules) runs
unchanged on top of it. Knows nothing of what the keys mean.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from chaos.sim.loop import NS_PER_S, VirtualLoop
from coordinator.store.etcdpb import kv_pb2, rpc_pb2

MAX_TXN_OPERATIONS = 128


@dataclass(slots=True)
class Stored:
    value: bytes
    mod_revision: int
    lease: int


class EtcdRefused(Exception):
    """The cluster said no without executing anything."""


class SimEtcd:
    """One cluster. `on_change(key, value or None, revision)` sees every applied write, in order."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop
        self.revision = 1
        self.kvs: dict[bytes, Stored] = {}
        self.on_change: list[Callable[[bytes, bytes | None, int], None]] = []
        self.applied = self.touched = 0
        self._leases: dict[int, tuple[int, int]] = {}
        self._next_lease = 1

    # -- transactions --------------------------------------------------------------------------------------------

    def txn(self, request: rpc_pb2.TxnRequest) -> rpc_pb2.TxnResponse:
        """Applies a transaction now."""
        if max(len(request.compare), len(request.success)) > MAX_TXN_OPERATIONS:
            raise EtcdRefused("too many operations in one transaction")
        succeeded = all(self._holds(c) for c in request.compare)
        operations = request.success if succeeded else request.failure
        if any(o.request_put.lease and o.request_put.lease not in self._leases for o in operations):
            raise EtcdRefused("requested lease not found")
        response = rpc_pb2.TxnResponse(succeeded=succeeded)
        writes = [o for o in operations if o.WhichOneof("request") != "request_range"]
        if writes:
            self.revision += 1
        for operation in operations:
            kind = operation.WhichOneof("request")
            if kind == "request_put":
                put = operation.request_put
                self._put(put.key, put.value, put.lease)
                response.responses.add().response_put.SetInParent()
            elif kind == "request_delete_range":
                gone = operation.request_delete_range
                for key in self.between(gone.key, gone.range_end):
                    self._delete(key)
                response.responses.add().response_delete_range.SetInParent()
            else:
                self._range(operation.request_range, response.responses.add().response_range)
        response.header.revision = self.revision
        self.applied += succeeded
        return response

    def _holds(self, compare: rpc_pb2.Compare) -> bool:
        stored = self.kvs.get(compare.key)
        return (stored.mod_revision if stored is not None else 0) == compare.mod_revision

    def _put(self, key: bytes, value: bytes, lease: int) -> None:
        self.kvs[key] = Stored(value, self.revision, lease)
        for notice in self.on_change:
            notice(key, value, self.revision)

    def _delete(self, key: bytes) -> None:
        if self.kvs.pop(key, None) is None:
            return
        for notice in self.on_change:
            notice(key, None, self.revision)

    def _range(self, request: rpc_pb2.RangeRequest, response: rpc_pb2.RangeResponse) -> None:
        keys = self.between(request.key, request.range_end)
        if request.limit and len(keys) > request.limit:
            raise ValueError("the simulated etcd reads a ledger in one page")
        response.kvs.extend(self.read(key) for key in keys)  # type: ignore[misc]

    def between(self, first: bytes, end: bytes) -> list[bytes]:
        """The keys from `first` to before `end`; only `first` without one."""
        if end:
            return sorted(k for k in self.kvs if first <= k < end)
        return [first] if first in self.kvs else []

    def read(self, key: bytes) -> kv_pb2.KeyValue | None:
        stored = self.kvs.get(key)
        if stored is None:
            return None
        return kv_pb2.KeyValue(key=key, value=stored.value, mod_revision=stored.mod_revision, lease=stored.lease)

    def read_all(self) -> list[kv_pb2.KeyValue]:
        return [kv for kv in map(self.read, sorted(self.kvs)) if kv is not None]

    # -- people with a shell -------------------------------------------------------------------------------------

    def touch(self, key: bytes) -> bool:
        """Somebody writes a record anew, as it was; whether there was one."""
        stored = self.kvs.get(key)
        if stored is None:
            return False
        self.revision += 1
        self.touched += 1
        self._put(key, stored.value, stored.lease)
        return True

    def copy(self) -> tuple[int, dict[bytes, Stored]]:
        """A backup: everything that hangs on no lease."""
        return self.revision, {k: Stored(s.value, s.mod_revision, 0) for k, s in self.kvs.items() if not s.lease}

    def restore(self, backup: tuple[int, dict[bytes, Stored]]) -> None:
        """A backup in the place of everything; nobody's lease survives it."""
        self.revision, kvs = backup
        self.kvs = {k: Stored(s.value, s.mod_revision, 0) for k, s in kvs.items()}
        self._leases.clear()

    # -- leases --------------------------------------------------------------------------------------------------

    def grant_lease(self, ttl_s: int) -> int:
        lease = self._next_lease
        self._next_lease += 1
        self._arm(lease, ttl_s)
        return lease

    def keep_alive(self, lease: int) -> int:
        """Renews; the seconds it now has, 0 when it is gone."""
        known = self._leases.get(lease)
        if known is None:
            return 0
        self._arm(lease, known[1])
        return known[1]

    def revoke(self, lease: int) -> None:
        if self._leases.pop(lease, None) is None:
            return
        gone = sorted(k for k, s in self.kvs.items() if s.lease == lease)
        if gone:
            self.revision += 1
        for key in gone:
            self._delete(key)

    def _arm(self, lease: int, ttl_s: int) -> None:
        expires_ns = self.loop.true_ns + ttl_s * NS_PER_S
        self._leases[lease] = (expires_ns, ttl_s)
        self.loop.call_at_true(expires_ns, self._expire, lease, expires_ns)

    def _expire(self, lease: int, expires_ns: int) -> None:
        if self._leases.get(lease, (0, 0))[0] == expires_ns:
            self.revoke(lease)

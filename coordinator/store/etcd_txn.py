"""The pieces that the store's etcd transactions are made of. Builds and reads messages; does no I/O."""

from __future__ import annotations

from collections.abc import Iterable

from coordinator.store.etcdpb import kv_pb2, rpc_pb2


def unchanged(key: bytes, mod_revision: int) -> rpc_pb2.Compare:
    """True while nobody wrote the key since that revision; 0 means that it is absent."""
    return rpc_pb2.Compare(target=rpc_pb2.Compare.MOD, result=rpc_pb2.Compare.EQUAL, key=key, mod_revision=mod_revision)


def put(key: bytes, value: bytes, lease: int = 0) -> rpc_pb2.RequestOp:
    return rpc_pb2.RequestOp(request_put=rpc_pb2.PutRequest(key=key, value=value, lease=lease))


def delete(key: bytes) -> rpc_pb2.RequestOp:
    return rpc_pb2.RequestOp(request_delete_range=rpc_pb2.DeleteRangeRequest(key=key))


def delete_range(first: bytes, end: bytes) -> rpc_pb2.RequestOp:
    """Deletes every key from `first` to before `end`."""
    return rpc_pb2.RequestOp(request_delete_range=rpc_pb2.DeleteRangeRequest(key=first, range_end=end))


def add_compare(request: rpc_pb2.TxnRequest, key: bytes, mod_revision: int) -> None:
    """Adds the condition that nobody wrote the key since that revision; 0 means that it is absent."""
    request.compare.add(target=rpc_pb2.Compare.MOD, result=rpc_pb2.Compare.EQUAL, key=key, mod_revision=mod_revision)


def add_write(request: rpc_pb2.TxnRequest, key: bytes, mod_revision: int, value: bytes | None) -> None:
    """Adds a write (None deletes) under the condition that nobody wrote the key since that revision. Filled in place:
    messages that are made first and then listed are copied, which takes three times as long.
    """
    add_compare(request, key, mod_revision)
    operation = request.success.add()
    if value is None:
        operation.request_delete_range.key = key
    else:
        operation.request_put.key = key
        operation.request_put.value = value


def get(key: bytes) -> rpc_pb2.RequestOp:
    return rpc_pb2.RequestOp(request_range=rpc_pb2.RangeRequest(key=key))


def get_page(first: bytes, end: bytes, *, limit: int, revision: int) -> rpc_pb2.RequestOp:
    """Up to `limit` keys from `first` to before `end`, as they were at `revision` (0: now)."""
    return rpc_pb2.RequestOp(
        request_range=rpc_pb2.RangeRequest(key=first, range_end=end, limit=limit, revision=revision)
    )


def end_of(prefix: bytes) -> bytes:
    """The first key after all that begin with `prefix`, whose last byte is below 0xff."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


def first_kv(reply: rpc_pb2.TxnResponse) -> kv_pb2.KeyValue | None:
    """The key that the first `get` of the branch that ran found."""
    return next(iter(all_kvs(reply)), None)


def all_kvs(reply: rpc_pb2.TxnResponse) -> Iterable[kv_pb2.KeyValue]:
    """Every key found by the branch that ran, in the order of its operations."""
    for response in reply.responses:
        yield from response.response_range.kvs


def more_pages(reply: rpc_pb2.TxnResponse) -> bool:
    return any(response.response_range.more for response in reply.responses)

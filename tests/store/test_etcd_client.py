"""The client alone: endpoints as people write them, versions, and what each failure lets a caller conclude."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from etcd_cluster import fresh_prefix
from grpc.aio import AioRpcError, Metadata

from coordinator.store.etcd_client import EndpointError, EtcdClient, fit_for_production, parse_endpoints
from coordinator.store.etcd_faults import Fault, explain, judge
from coordinator.store.etcdpb import rpc_pb2
from coordinator.store.local_etcd import LocalEtcd
from coordinator.store.port import StoreUnavailable


def test_endpoints_are_read_as_people_write_them() -> None:
    assert parse_endpoints("a:1, http://b-2.example:2379/ ,[::1]:3") == ("a:1", "b-2.example:2379", "[::1]:3")
    assert parse_endpoints(["127.0.0.1:2379"]) == ("127.0.0.1:2379",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no etcd endpoint given: write host:port"),
        ("localhost", "'localhost' is not host:port: write e.g. 127.0.0.1:2379"),
        ("localhost:", "is not host:port"),
        ("localhost:0", "is not host:port"),
        ("localhost:70000", "is not host:port"),
        ("a:1,,b:1", "'' is not host:port"),
        ("a:1;b:1", "is not host:port"),
        ("unix:///x", "is not host:port"),
        ("https://a:1", "https:// wants etcd_ca"),
        ("a:1,a:1", "endpoint a:1 is given twice"),
    ],
)
def test_a_misspelt_endpoint_is_named_with_what_would_be_right(text: str, message: str) -> None:
    with pytest.raises(EndpointError, match=message):
        parse_endpoints(text)


@pytest.mark.parametrize(
    ("version", "fit"),
    [
        ("3.4.23", False),
        ("3.4.99", False),
        ("3.5.27", False),
        ("3.5.28", True),
        ("3.6.8", False),
        ("3.6.9", True),
        ("3.7.0", True),
        ("3.7.0-rc.1", True),
        ("4.0.0", True),
        ("", False),
        ("not a version", False),
    ],
)
def test_the_production_floor_is_per_line(version: str, fit: bool) -> None:
    assert fit_for_production(version) is fit


C = grpc.StatusCode


@pytest.mark.parametrize(
    ("code", "details", "fault"),
    [
        (C.UNAVAILABLE, "etcdserver: no leader", Fault.ELSEWHERE),
        (C.RESOURCE_EXHAUSTED, "etcdserver: too many requests", Fault.ELSEWHERE),
        (C.UNAVAILABLE, "failed to connect to all addresses; last error: refused", Fault.ELSEWHERE),
        (C.UNIMPLEMENTED, "unknown service etcdserverpb.KV", Fault.ELSEWHERE),
        (C.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded", Fault.UNCERTAIN),
        (C.INVALID_ARGUMENT, "etcdserver: request is too large", Fault.REFUSED),
        (C.INVALID_ARGUMENT, "etcdserver: too many operations in txn request", Fault.REFUSED),
        (C.NOT_FOUND, "etcdserver: requested lease not found", Fault.REFUSED),
        (C.PERMISSION_DENIED, "etcdserver: permission denied", Fault.REFUSED),
        (C.UNAUTHENTICATED, "etcdserver: invalid auth token", Fault.LOGIN),
        (C.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted", Fault.REFUSED),
        (C.DEADLINE_EXCEEDED, "Deadline Exceeded", Fault.UNCERTAIN),
        (C.UNAVAILABLE, "etcdserver: request timed out", Fault.UNCERTAIN),
        (C.UNAVAILABLE, "etcdserver: request timed out, possibly due to previous leader failure", Fault.UNCERTAIN),
        (C.UNAVAILABLE, "etcdserver: request timed out, possibly due to connection lost", Fault.UNCERTAIN),
        (C.UNAVAILABLE, "etcdserver: leader changed", Fault.UNCERTAIN),
        (C.UNAVAILABLE, "etcdserver: server stopped", Fault.UNCERTAIN),
        (C.UNAVAILABLE, "Socket closed", Fault.UNCERTAIN),
        (C.UNAVAILABLE, "recvmsg:Connection reset by peer", Fault.UNCERTAIN),
        (C.UNAVAILABLE, "", Fault.UNCERTAIN),
        (C.CANCELLED, "", Fault.UNCERTAIN),
        (C.INTERNAL, "RST_STREAM", Fault.UNCERTAIN),
        (C.UNKNOWN, "raft: proposal dropped", Fault.UNCERTAIN),
        (C.DATA_LOSS, "etcdserver: corrupt cluster", Fault.UNCERTAIN),
        # The reply to a committed transaction can be too large for us, and a proxy can say anything.
        (C.RESOURCE_EXHAUSTED, "Received message larger than max (9 vs. 4)", Fault.UNCERTAIN),
        (C.PERMISSION_DENIED, "Received http2 header with status: 403", Fault.UNCERTAIN),
        (C.FAILED_PRECONDITION, "proxy says no", Fault.UNCERTAIN),
    ],
)
def test_only_a_provably_unexecuted_write_counts_as_refused(code: C, details: str, fault: Fault) -> None:
    error = AioRpcError(code, Metadata(), Metadata(), details=details)
    assert judge(error) is fault
    assert explain("h:1", error).startswith("h:1")


async def test_a_server_that_is_not_etcd_is_named(free_port: int) -> None:
    server = grpc.aio.server()
    server.add_insecure_port(f"127.0.0.1:{free_port}")
    await server.start()
    client = EtcdClient(f"127.0.0.1:{free_port}")
    with pytest.raises(StoreUnavailable, match=r"is not an etcd v3 server.*check the address"):
        await client.read_key(b"k")
    await client.close()
    await server.stop(None)


async def test_endpoints_without_a_server_are_named(free_port: int) -> None:
    client = EtcdClient(f"127.0.0.1:{free_port}", deadline_s=0.2)
    with pytest.raises(StoreUnavailable, match=f"no etcd member could be used: no connection to 127.0.0.1:{free_port}"):
        await client.txn(rpc_pb2.TxnRequest(), repeatable=False)
    (status,) = await client.statuses()
    assert not status.reachable
    assert status.problem
    await client.close()


async def test_a_lease_lives_while_it_is_renewed_and_takes_its_keys_along(cluster: LocalEtcd) -> None:
    client = EtcdClient(cluster.endpoints)
    key = fresh_prefix().encode()
    lease, ttl_s = await client.grant_lease(1)
    assert ttl_s >= 1
    put = rpc_pb2.RequestOp(request_put=rpc_pb2.PutRequest(key=key, value=b"v", lease=lease))
    await client.txn(rpc_pb2.TxnRequest(success=[put]), repeatable=False)
    assert await client.keep_alive(lease) == ttl_s
    found, revision = await client.read_key(key)
    assert found is not None
    assert found.lease == lease
    await client.revoke_lease(lease)
    gone = asyncio.Event()
    watching = asyncio.create_task(
        client.watch([key], revision + 1, 10, lambda k, value, _: gone.set() if k == key and value is None else None)
    )
    await gone.wait()
    watching.cancel()
    assert (await client.read_key(key))[0] is None
    assert await client.keep_alive(lease) == 0
    await client.close()


async def test_statuses_tell_members_versions_and_their_leader(cluster: LocalEtcd) -> None:
    client = EtcdClient(cluster.endpoints)
    statuses = await client.statuses()
    assert [status.endpoint for status in statuses] == cluster.endpoints
    assert all(status.reachable and status.version for status in statuses)
    assert sum(status.leads for status in statuses) == 1
    await client.close()

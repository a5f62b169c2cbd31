"""The local cluster: it ends with whoever started it, keeps its data when asked to, and says what is missing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from coordinator.store.etcd_client import EtcdClient
from coordinator.store.etcdpb import rpc_pb2
from coordinator.store.local_etcd import LocalEtcd, LocalEtcdError

STARTER = """
import asyncio, sys, time
from coordinator.store.local_etcd import LocalEtcd
with LocalEtcd(1, sys.argv[1]) as cluster:
    print(*cluster.pids.values(), flush=True)
    time.sleep(600)
"""


def running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


def test_no_member_outlives_a_parent_that_was_killed(etcd_binary: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", STARTER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        (pid,) = map(int, parent.stdout.readline().split())
        assert running(pid)
        parent.send_signal(signal.SIGKILL)
    give_up = time.monotonic() + 10
    while running(pid) and time.monotonic() < give_up:
        time.sleep(0.01)
    assert not running(pid)


async def test_a_kept_cluster_comes_back_with_its_data(etcd_binary: Path, tmp_path: Path) -> None:
    for seen in (None, b"v"):
        async with LocalEtcd(1, tmp_path / "kept") as cluster:
            client = EtcdClient(cluster.endpoints)
            found, _ = await client.read_key(b"k")
            assert (found and found.value) == seen
            put = rpc_pb2.RequestOp(request_put=rpc_pb2.PutRequest(key=b"k", value=b"v"))
            await client.txn(rpc_pb2.TxnRequest(success=[put]), repeatable=False)
            await client.close()
    with pytest.raises(LocalEtcdError, match="holds a cluster of 1, not of 3: ask for 1 members"):
        await LocalEtcd(3, tmp_path / "kept").start()


async def test_a_paused_member_can_be_stopped(etcd_binary: Path) -> None:
    cluster = LocalEtcd(1)
    await cluster.start()
    (pid,) = cluster.pids.values()
    cluster.pause(0)
    await cluster.stop()
    await cluster.stop()
    assert not running(pid)
    assert cluster.pids == {}


async def test_a_missing_etcd_is_said_with_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(LocalEtcdError, match="etcd is not installed: `apt-get install etcd-server`"):
        await LocalEtcd(1).start()


async def test_a_member_that_cannot_start_is_shown_with_its_own_words(etcd_binary: Path) -> None:
    with pytest.raises(LocalEtcdError, match=r"(?s)etcd member 0 ended with code \d+.*no-such-flag"):
        await LocalEtcd(1, flags=["--no-such-flag"]).start()


@pytest.mark.parametrize("members", [0, -1, 10])
def test_a_cluster_of_an_impossible_size_is_refused(members: int) -> None:
    with pytest.raises(ValueError, match=f"members is {members}, and must be 1 to 9"):
        LocalEtcd(members)

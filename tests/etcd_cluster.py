"""What tests of several parts need to run over a real etcd: `from etcd_cluster import local_etcd`.

A test module makes its own fixture of it, so that importing this costs nothing where etcd is not wanted.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from coordinator.store.local_etcd import LocalEtcd


@contextmanager
def local_etcd(members: int = 3) -> Iterator[LocalEtcd]:
    """A running cluster that is gone afterwards; skips, with the remedy, where etcd is not installed."""
    if shutil.which("etcd") is None:
        pytest.skip("no etcd on PATH: apt-get install etcd-server etcd-client")
    with LocalEtcd(members) as cluster:
        yield cluster


async def make_space(endpoints: list[str]) -> None:
    """What the remedy for a used-up quota says: compact, defragment, disarm. Skips where etcdctl is not installed."""
    etcdctl = shutil.which("etcdctl")
    if etcdctl is None:
        pytest.skip("no etcdctl on PATH: apt-get install etcd-client")

    async def run(*arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *(etcdctl, "--endpoints", ",".join(endpoints), *arguments),
            env={**os.environ, "ETCDCTL_API": "3"},
            stdout=asyncio.subprocess.PIPE,
        )
        said, _ = await process.communicate()
        return said.decode()

    revision = json.loads(await run("endpoint", "status", "-w", "json"))[0]["Status"]["header"]["revision"]
    await run("compact", "--physical", str(revision))
    await run("defrag")
    await run("alarm", "disarm")


def fresh_prefix() -> str:
    """Tests that share a cluster do not share a ledger."""
    return f"test-{uuid.uuid4().hex[:12]}/"


def login_steps(prefix: str, password: str) -> tuple[tuple[str, ...], ...]:
    """What an administrator tells `etcdctl`, in order, so that `zonelock` alone may write under the prefix."""
    return (
        ("user", "add", "root:for-root"),
        ("user", "grant-role", "root", "root"),
        ("role", "add", "coordinator"),
        ("role", "grant-permission", "coordinator", "--prefix=true", "readwrite", prefix),
        ("user", "add", f"zonelock:{password}"),
        ("user", "grant-role", "zonelock", "coordinator"),
        ("auth", "enable"),
    )

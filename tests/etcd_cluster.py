"""What tests of several parts need to run over a real etcd: `from etcd_cluster import local_etcd`.

A test module makes its own fixture of it, so that importing this costs nothing where etcd is not wanted.
"""

from __future__ import annotations

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


def fresh_prefix() -> str:
    """Tests that share a cluster do not share a ledger."""
    return f"test-{uuid.uuid4().hex[:12]}/"

"""`zonelock cluster`: a canned cluster looked at, and a real one started, told apart and ended."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cli.conftest import Run, failed, said
from cli.fake import FakeCoordinator
from zonelock.v1 import cluster_service_pb2 as cpb


def canned_cluster() -> cpb.GetClusterResponse:
    told = cpb.GetClusterResponse(
        leader_name="c1",
        leader_address="10.0.0.2:7600",
        epoch=41,
        tick_age_ms=80,
        lease_ms=1_900,
        store="etcd:10.0.0.1:2379",
        store_quota_bytes=2 << 30,
        alarms=["etcd 10.0.0.1:2379 has used 81 % of its quota"],
    )
    told.coordinators.add(name="c1", address="10.0.0.2:7600", role=cpb.COORDINATOR_ROLE_LEADING, ready=True)
    told.coordinators.add(name="c2", address="10.0.0.3:7600", role=cpb.COORDINATOR_ROLE_STANDING_BY, ready=False)
    told.store_members.add(
        endpoint="10.0.0.1:2379", reachable=True, version="3.4.23", outdated=True, leads=True, db_bytes=20 << 20
    )
    told.store_members.add(endpoint="10.0.0.4:2379", problem="no answer")
    return told


def test_a_cluster_with_a_bad_floor_is_refused_before_anything_is_started(run: Run, tmp_path: Path) -> None:
    error = failed(run("cluster", "up", "--floor", str(tmp_path / "nope.yaml")))
    assert (error["exit"], error["reason"]) == (6, "INVALID_FLOOR")


def test_a_cluster_is_told_as_one_document(run: Run, fake: FakeCoordinator) -> None:
    fake.cluster = canned_cluster()
    told = said(run("cluster", "status", "--server", fake.target))
    assert (told["leader"], told["epoch"], told["tick_age_ms"]) == ("c1", 41, 80)
    assert [(c["name"], c["role"], c["ready"]) for c in told["coordinators"]] == [
        ("c1", "LEADING", True),
        ("c2", "STANDING_BY", False),
    ]
    assert [m["outdated"] for m in told["store_members"]] == [True, False]


def test_people_are_warned_of_an_old_etcd_a_member_that_is_down_and_alarms(run: Run, fake: FakeCoordinator) -> None:
    fake.cluster = canned_cluster()
    shown = run("cluster", "status", "--server", fake.target, "-o", "table").stdout
    assert "c1 at 10.0.0.2:7600, epoch 41, tick 80 ms ago" in shown
    assert "20.0 MiB of 2,048 MiB" in shown
    assert "older than 3.5.28 / 3.6.9" in shown
    assert "no answer" in shown
    assert "81 % of its quota" in shown


def test_nobody_leading_is_exit_code_three(run: Run, fake: FakeCoordinator) -> None:
    result = run("cluster", "status", "--server", fake.target)
    assert result.exit_code == 3
    assert json.loads(result.stdout)["leader"] == ""


@pytest.mark.timeout(120)
async def test_a_cluster_starts_says_where_it_listens_and_leaves_nothing_behind(
    etcd_binary: Path, tmp_path: Path, run: Run
) -> None:
    command = [sys.executable, "-m", "zonelock_cli", "cluster", "up", "--data", str(tmp_path / "data"), "-o", "json"]
    up = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert up.stdout is not None
        ready = json.loads(await asyncio.wait_for(up.stdout.readline(), 60))
        pids = [c["pid"] for c in (*ready["coordinators"], *ready["etcd"])]
        assert ready["target"] == ",".join(c["grpc"] for c in ready["coordinators"])
        assert len(set(pids)) == 6
        told = said(await asyncio.to_thread(run, "cluster", "status", "--server", ready["coordinators"][2]["grpc"]))
        assert told["leader"] in {c["name"] for c in ready["coordinators"]}
        assert len(told["store_members"]) == 3
        assert sorted(c["name"] for c in told["coordinators"]) == ["c0", "c1", "c2"]
        assert ready["logs"] == str(tmp_path / "data" / "logs")
    finally:
        up.send_signal(signal.SIGTERM)
        await asyncio.wait_for(up.communicate(), 60)
    assert up.returncode == 0
    logs = tmp_path / "data" / "logs"
    assert "leading, epoch" in "".join((logs / f"c{i}.log").read_text() for i in range(3))
    assert all((logs / name).stat().st_size for name in sorted(p.name for p in logs.iterdir()))
    assert len(list(logs.iterdir())) == 6
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)

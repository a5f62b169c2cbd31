"""`zonelock serve` as a process: what it says when it is ready, and how it refuses to start."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli.plant import FLOOR, Plant, error_of, eventually, zonelock


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plant]:
    for name in ("ZONELOCK_SERVER", "ZONELOCK_OUTPUT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ZONELOCK_OPERATOR", "mia")
    made = Plant(tmp_path)
    yield made
    if made.process is not None:
        made.end()


@pytest.fixture
def floor_file(tmp_path: Path) -> str:
    path = tmp_path / "floor.yaml"
    path.write_text(FLOOR)
    return str(path)


def refused(*args: str, code: int) -> dict[str, Any]:
    done = zonelock("serve", "-o", "json", "--web", "off", *args)
    assert done.returncode == code, (done.stdout, done.stderr)
    assert done.stdout == "", "nothing may look ready"
    return error_of(done)


def readiness(plant: Plant) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(f"{plant.ready['web']}readyz") as answer:
            told: dict[str, Any] = json.load(answer)
    except urllib.error.HTTPError as refusal:
        told = json.load(refusal)
    return told


def test_ready_is_one_line_with_addresses_that_answer(plant: Plant) -> None:
    plant.start("--web", "127.0.0.1:0")
    assert plant.ready["event"] == "ready"
    assert plant.ready["leading"] is True
    with urllib.request.urlopen(plant.ready["web"]) as page:
        assert page.status == 200
    assert plant.do("floor", "show")["floor"]["hash"] == plant.ready["floor_hash"]
    assert plant.process is not None
    assert plant.process.stdout is not None
    plant.process.send_signal(signal.SIGTERM)
    assert plant.process.stdout.read() == "", "ready is said once, and nothing after it"
    assert plant.end() == 0


def test_for_people_the_addresses_are_an_aligned_block(floor_file: str) -> None:
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "zonelock_cli", "serve", "-o", "table", "--store", "memory", "--floor", floor_file),
            *("--listen", "127.0.0.1:0", "--web", "off", "--log-level", "error"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    rest = process.stdout.read().splitlines()
    assert process.wait(20) == 0
    process.stdout.close()
    assert first.startswith("gRPC       127.0.0.1:")
    assert rest[0] == "floor map  off"
    assert rest[3] == "role       leading"


def test_a_new_ledger_is_unknown_until_an_operator_has_walked_the_floor(plant: Plant) -> None:
    plant.start()
    assert plant.do("status")["zones"]["UNKNOWN"] == 4
    assert plant.do("clear", "--all-unknown", "--reason", "walked")["cleared"] == ["Z_32", "Z_33", "Z_40", "Z_41"]
    assert plant.do("status")["zones"]["FREE"] == 4


def test_an_operator_s_stop_outlives_the_coordinator(plant: Plant) -> None:
    plant.start("--assume-empty")
    plant.do("stop", "--group", "east", "--stop-id", "drill", "--reason", "trying")
    plant.end(signal.SIGKILL)
    plant.start("--assume-empty")
    (stop,) = plant.do("status")["stops"]
    assert (stop["stop_id"], stop["reason"], stop["tripped_by"]) == ("drill", "trying", "mia")
    assert plant.zone("Z_32")["state"] == "STOPPED"
    plant.do("reset", "drill", "--reason", "safe")
    assert plant.zone("Z_32")["state"] == "FREE"


def test_safety_actions_on_what_the_floor_does_not_have_are_refused(plant: Plant) -> None:
    plant.start("--assume-empty")
    assert plant.do("stop", "--zone", "Z_99", "--reason", "r", code=4)["reason"] == "UNKNOWN_ZONE"
    assert plant.do("stop", "--group", "up", "--reason", "r", code=4)["reason"] == "UNKNOWN_STOP_GROUP"
    assert plant.do("clear", "Z_99", "--reason", "r", code=4)["reason"] == "UNKNOWN_ZONE"
    assert plant.do("clear", "Z_32", "--reason", "r", code=4)["reason"] == "NOTHING_TO_CLEAR"
    assert plant.do("reset", "none", "--reason", "r", code=4)["reason"] == "UNKNOWN_STOP"


def test_watch_streams_what_happens(plant: Plant) -> None:
    plant.start("--assume-empty")
    watcher = subprocess.Popen(
        [sys.executable, "-m", "zonelock_cli", "watch", "--server", plant.server, "-o", "json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert watcher.stdout is not None
    assert watcher.stderr is not None
    assert json.loads(watcher.stdout.readline())["event"] == "snapshot"
    plant.do("stop", "--zone", "Z_41", "--stop-id", "drill", "--reason", "trying")
    seen = [json.loads(watcher.stdout.readline()), json.loads(watcher.stdout.readline())]
    assert [e["event"] for e in seen] == ["stop", "zone"]
    assert (seen[0]["stop"]["stop_id"], seen[1]["zone"]["state"]) == ("drill", "STOPPED")
    plant.end()
    assert watcher.wait(20) == 3
    assert json.loads(watcher.stderr.read())["error"]["exit"] == 3
    watcher.stdout.close()
    watcher.stderr.close()


def test_two_coordinators_on_one_port(plant: Plant, floor_file: str) -> None:
    plant.start()
    error = refused("--store", "memory", "--floor", floor_file, "--listen", plant.server, code=3)
    assert plant.server in error["message"]
    assert "another process listens there" in error["message"]
    assert plant.do("status")["server"] == plant.server


def test_a_web_port_that_is_taken(floor_file: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        web = f"127.0.0.1:{taken.getsockname()[1]}"
        done = zonelock(
            "serve", "-o", "json", "--store", "memory", "--floor", floor_file, "--listen", "127.0.0.1:0", "--web", web
        )
    assert done.returncode == 3
    assert web in error_of(done)["message"]


def test_an_etcd_that_is_down(free_port: int, floor_file: str) -> None:
    member = f"127.0.0.1:{free_port}"
    error = refused(
        "--store", f"etcd:{member}", "--store-wait-s", "0.3", "--floor", floor_file, "--listen", "127.0.0.1:0", code=3
    )
    assert (error["reason"], member in error["problems"][0]) == ("STORE_UNAVAILABLE", True)
    assert "--store-wait-s" in error["remedy"]


async def test_on_etcd_the_first_coordinator_leads_and_a_second_says_that_it_stands_by(
    etcd_binary: Path, tmp_path: Path
) -> None:
    from coordinator.store.local_etcd import LocalEtcd

    etcd = LocalEtcd(members=1, data_dir=tmp_path / "etcd")
    await etcd.start()
    plants: list[Plant] = []
    try:
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            plant = Plant(tmp_path / name)
            await asyncio.to_thread(plant.start, "--assume-empty", "--store", f"etcd:{','.join(etcd.endpoints)}")
            plants.append(plant)
        assert [p.ready["leading"] for p in plants] == [True, False]
        assert (await asyncio.to_thread(plants[0].do, "status"))["zones"]["FREE"] == 4
        through = await asyncio.to_thread(plants[1].do, "status")
        assert (through["server"], through["zones"]["FREE"]) == (plants[0].server, 4), (
            "the standby sends on to the leader"
        )
        assert (await asyncio.to_thread(plants[1].zone, "Z_32"))["state"] == "FREE"
    finally:
        for plant in plants:
            await asyncio.to_thread(plant.end)
        await etcd.stop()


async def test_a_standby_with_another_floor_is_not_ready_and_says_so(etcd_binary: Path, tmp_path: Path) -> None:
    from coordinator.store.local_etcd import LocalEtcd

    other = tmp_path / "other.yaml"
    other.write_text(FLOOR.replace("version: 1", "version: 2"), encoding="utf-8")
    plants: list[Plant] = []
    async with LocalEtcd(1, tmp_path / "etcd") as etcd:
        store = ("--assume-empty", "--store", f"etcd:{','.join(etcd.endpoints)}")
        try:
            for name, more in (("one", ()), ("two", ("--floor", str(other), "--web", "127.0.0.1:0"))):
                (tmp_path / name).mkdir()
                plants.append(Plant(tmp_path / name))
                await asyncio.to_thread(plants[-1].start, *store, "--name", name, *more)
            told = await asyncio.to_thread(plants[1].do, "cluster", "status")
            shown = await asyncio.to_thread(plants[0].do, "cluster", "status")
            not_ready = await asyncio.to_thread(readiness, plants[1])
        finally:
            for plant in plants:
                await asyncio.to_thread(plant.end)
    assert {c["name"]: c["ready"] for c in told["coordinators"]} == {"one": True, "two": False}
    assert {c["name"]: c["ready"] for c in shown["coordinators"]} == {"one": True, "two": False}
    assert len({c["floor_hash"] for c in told["coordinators"]}) == 2
    assert "one leads with another floor" in not_ready["because"]
    assert len(told["alarms"]) == 1
    assert "one leads with floor" in told["alarms"][0]
    assert "same floor file" in told["alarms"][0]


async def test_a_coordinator_with_a_misspelt_prefix_does_not_start_beside_the_ledger_that_was_meant(
    etcd_binary: Path, tmp_path: Path
) -> None:
    from coordinator.store.local_etcd import LocalEtcd

    config = tmp_path / "two.yaml"
    config.write_text(f"floor: {tmp_path / 'floor.yaml'}\netcd_prefix: /zonelok\n", encoding="utf-8")
    async with LocalEtcd(1, tmp_path / "etcd") as etcd:
        store = ("--store", f"etcd:{','.join(etcd.endpoints)}")
        plant = await asyncio.to_thread(Plant(tmp_path).start, "--assume-empty", *store)
        try:
            misspelt = ("--config", str(config), *store, "--listen", "127.0.0.1:0")
            error = await asyncio.to_thread(lambda: refused(*misspelt, code=6))
        finally:
            await asyncio.to_thread(plant.end)
    assert "'/zonelok/'" in error["message"] and "'/zonelock/'" in error["message"]
    assert "etcd_shared" in error["remedy"]


async def test_a_coordinator_started_again_where_the_last_leader_died_is_ready_once_it_leads(
    etcd_binary: Path, tmp_path: Path
) -> None:
    from coordinator.store.local_etcd import LocalEtcd

    async with LocalEtcd(1, tmp_path / "etcd") as etcd:
        store = ("--assume-empty", "--store", f"etcd:{','.join(etcd.endpoints)}")
        plant = await asyncio.to_thread(Plant(tmp_path).start, *store)
        await asyncio.to_thread(plant.end, signal.SIGKILL)
        await asyncio.to_thread(plant.start, *store)  # the dead leader's key outlives it by its lease
        try:
            assert plant.ready["leading"] is True
        finally:
            await asyncio.to_thread(plant.end)


def test_a_misspelt_etcd_member(floor_file: str) -> None:
    error = refused("--store", "etcd:plant", "--floor", floor_file, code=6)
    assert "'plant' is not host:port" in error["problems"][0]


@pytest.mark.parametrize("store", ["mysql", "sqlite:"])
def test_a_store_that_does_not_exist(floor_file: str, store: str) -> None:
    error = refused("--store", store, "--floor", floor_file, code=6)
    assert "memory, sqlite:PATH, or etcd:HOST:PORT" in error["problems"][0]


def test_a_store_that_cannot_be_opened(floor_file: str, tmp_path: Path) -> None:
    error = refused(
        *("--store", f"sqlite:{tmp_path / 'no' / 'ledger.db'}", "--floor", floor_file, "--listen", "127.0.0.1:0"),
        code=3,
    )
    assert "create it" in error["message"]


def test_a_bad_floor_starts_nothing(tmp_path: Path) -> None:
    path = tmp_path / "floor.yaml"
    path.write_text(FLOOR.replace("Z_32: {", "Z_32: {capacity: 0, "))
    error = refused("--store", "memory", "--floor", str(path), "--listen", "127.0.0.1:0", code=6)
    assert "zones.Z_32.capacity = 0" in error["problems"][0]


def test_a_config_whose_times_contradict_each_other(tmp_path: Path, floor_file: str) -> None:
    path = tmp_path / "coordinator.yaml"
    path.write_text("floor: floor.yaml\nheartbeat_ms: 500\nsuspend_ms: 600\nlost_ms: 300\n")
    error = refused("--config", str(path), code=6)
    assert error["reason"] == "INVALID_CONFIG"
    assert [p.split(" =")[0] for p in error["problems"]] == ["suspend_ms", "lost_ms"]
    checked = zonelock("config", "check", str(path))
    assert (checked.returncode, error_of(checked)["problems"]) == (6, error["problems"])


def test_options_override_the_config_file(tmp_path: Path, plant: Plant) -> None:
    (tmp_path / "coordinator.yaml").write_text("floor: nowhere.yaml\nstore: memory\nheartbeat_ms: 250\n")
    plant.start("--config", str(tmp_path / "coordinator.yaml"))
    assert plant.ready["store"].startswith("sqlite:")
    assert eventually(lambda: plant.do("status"), "it serves")


def test_config_check_accepts_what_config_show_prints(tmp_path: Path, floor_file: str) -> None:
    shown = zonelock("config", "show", "-o", "table").stdout
    path = tmp_path / "coordinator.yaml"
    path.write_text(shown)
    answer = json.loads(zonelock("config", "check", str(path)).stdout)
    assert answer["valid"] is True
    assert answer["config"]["floor"] == floor_file
    assert json.loads(zonelock("config", "show", str(path)).stdout)["config"] == answer["config"]


def test_config_check_looks_into_the_floor_too(tmp_path: Path) -> None:
    path = tmp_path / "coordinator.yaml"
    path.write_text("floor: none.yaml\n")
    assert "does not exist" in error_of(zonelock("config", "check", str(path)))["problems"][0]


@pytest.mark.parametrize("text", ["- a list", "floor: [", "flor: x"])
def test_what_is_no_config_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "coordinator.yaml"
    path.write_text(text)
    assert error_of(zonelock("config", "show", str(path)))["exit"] == 6

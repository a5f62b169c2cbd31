"""Three ZooKeeper servers from Debian's packages, and kazoo's Lock on them: the peer that Python programs would use.

kazoo works with threads, so its load runs in a process of its own: `python -m benchmarks.zookeeper HOSTS AGENTS
SECONDS`. Without the packages or without kazoo the peer is left out, and the benchmark says so.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.streams import Window
from coordinator.store.local_etcd import free_ports

JAR = Path("/usr/share/java/zookeeper.jar")
MAIN = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
SERVERS = 3
START_S = 30.0
POLL_S = 0.1
HEAP = "-Xmx256m"
WIRED_SESSIONS = 16
"""Agents share this many sessions at most: a session is a connection and two threads."""


@dataclass(frozen=True, slots=True)
class Ensemble:
    """`hosts` as kazoo takes them: host:port,host:port,..."""

    hosts: str


def missing() -> str:
    """What has to be installed first; nothing when all is here."""
    if shutil.which("java") is None or not JAR.exists():
        return "ZooKeeper (apt-get install libzookeeper-java default-jre-headless)"
    if importlib.util.find_spec("kazoo") is None:
        return "kazoo (pip install 'zonelock[bench]')"
    return ""


@asynccontextmanager
async def ensemble(*, wanted: bool = True) -> AsyncIterator[Ensemble | None]:
    """Three servers with default timing and durable logs; None when not wanted or not installed."""
    lacking = missing() if wanted else "not asked for"
    if lacking:
        if wanted:
            print(f"zonelock: without the ZooKeeper peer, which needs {lacking}", file=sys.stderr)
        yield None
        return
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="zonelock-zookeeper-")))
        ports = free_ports(3 * SERVERS)
        members = [ports[3 * i : 3 * i + 3] for i in range(SERVERS)]
        for index, (client, _, _) in enumerate(members):
            process = _spawn(folder / f"zk{index}", index, client, members)
            stack.callback(_end, process)
        for client, _, _ in members:
            await _until_serving(client)
        yield Ensemble(",".join(f"127.0.0.1:{client}" for client, _, _ in members))


def _spawn(folder: Path, index: int, client: int, members: list[list[int]]) -> subprocess.Popen[bytes]:
    folder.mkdir()
    (folder / "myid").write_text(f"{index + 1}\n")
    quorum = [f"server.{i + 1}=127.0.0.1:{peer}:{election}" for i, (_, peer, election) in enumerate(members)]
    lines = [
        *("tickTime=2000", "initLimit=10", "syncLimit=5", "maxClientCnxns=0", "admin.enableServer=false"),
        *(f"dataDir={folder}", f"clientPort={client}", "clientPortAddress=127.0.0.1", "4lw.commands.whitelist=*"),
        *quorum,
    ]
    config = folder / "zoo.cfg"
    config.write_text("\n".join([*lines, ""]))
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(["java", HEAP, "-cp", str(JAR), MAIN, str(config)], stdout=log, stderr=log)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


async def _until_serving(client: int) -> None:
    give_up = time.monotonic() + START_S
    while time.monotonic() < give_up:
        if await asyncio.to_thread(_mode, client) in ("leader", "follower"):
            return
        await asyncio.sleep(POLL_S)
    raise TimeoutError(f"a ZooKeeper server was not ready within {START_S:g} s; is another Java limited in memory?")


def _mode(client: int) -> str:
    """The server's part in the quorum, by its `srvr` command; nothing while it does not serve."""
    try:
        with socket.create_connection(("127.0.0.1", client), timeout=1) as link:
            link.sendall(b"srvr")
            said = b"".join(iter(lambda: link.recv(4096), b"")).decode()
    except OSError:
        return ""
    return next((line.partition(": ")[2] for line in said.splitlines() if line.startswith("Mode: ")), "")


async def kazoo_locks(servers: Ensemble, agents: int, seconds: float) -> Window:
    """Every agent locks and unlocks its own name until the window is over, in a process of their own."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.zookeeper", servers.hosts, str(agents), str(seconds)),
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"the kazoo load ended with {process.returncode}; what it said is above")
    told = json.loads(said)
    window = Window(seconds)
    window.pairs, window.acquire_ms = told["pairs"], told["acquire_ms"]
    return window


def load(hosts: str, agents: int, seconds: float) -> Window:
    """A thread an agent, on shared sessions."""
    from kazoo.client import KazooClient

    clients = [KazooClient(hosts=hosts, timeout=30) for _ in range(min(agents, WIRED_SESSIONS))]
    for client in clients:
        client.start(timeout=START_S)
    locks = [clients[i % len(clients)].Lock(f"/bench/lock-{i}", f"agent-{i}") for i in range(agents)]
    for lock in locks:  # the first use makes the path
        lock.acquire()
        lock.release()
    window = Window(seconds)

    def work(index: int) -> None:
        while not window.over():
            asked = time.perf_counter()
            locks[index].acquire()
            took_ms = (time.perf_counter() - asked) * 1000
            locks[index].release()
            window.paired(took_ms)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(agents)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for client in clients:
        client.stop()
        client.close()
    return window


if __name__ == "__main__":
    measured = load(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
    print(json.dumps({"pairs": measured.pairs, "acquire_ms": measured.acquire_ms}))

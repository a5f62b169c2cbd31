"""A real etcd cluster on this machine, for tests, simulations and trying things out: `LocalEtcd(members=3)`.

Owns the rule that no etcd outlives the process that started it, however that ends: the kernel is asked to kill each
member with its parent. etcd's own safety is untouched (no unsafe options, fsync on). Never imports the store above it.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from coordinator.store.etcd_client import EtcdClient
from coordinator.store.etcd_login import EtcdAccess
from coordinator.store.port import StoreUnavailable
from coordinator.tls import TlsFiles

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0
POLL_S = 0.05
MAX_MEMBERS = 9
LOG_TAIL_BYTES = 2_000
_DIE_WITH_PARENT = """
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""
"""Runs in the child and becomes etcd. Not a `preexec_fn`: gRPC's threads forbid Python between fork and exec."""
_PORT_TAKEN = "address already in use"
_START_ATTEMPTS = 3


class LocalEtcdError(Exception):
    """The cluster cannot be started or did not become healthy. The message says what to try."""


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    client_port: int
    peer_port: int


class LocalEtcd:
    """Members 0 to n-1 on free loopback ports. Not bound to an event loop; a context manager, plain or async.

    With `data_dir` the cluster is the one that was kept there before, if any; without, it is thrown away at the end.
    """

    def __init__(
        self,
        members: int = 3,
        data_dir: str | os.PathLike[str] | None = None,
        *,
        flags: Sequence[str] = (),
        tls: TlsFiles | None = None,
        log_dir: Path | None = None,
    ) -> None:
        """`flags` are further etcd flags for every member; their logs go to `log_dir` (it exists), else beside their
        data. With `tls` the members speak nothing else, among themselves
        too, show its certificate (which must name 127.0.0.1) and want one of its authority from everybody.

        Raises ValueError.
        """
        if not 1 <= members <= MAX_MEMBERS:
            raise ValueError(f"members is {members}, and must be 1 to {MAX_MEMBERS}; 3 is usual")
        self._count = members
        self._flags = tuple(flags)
        self._tls, self._log_dir = tls, log_dir
        self._keep = data_dir is not None
        self._given_dir = None if data_dir is None else Path(data_dir)
        self._dir: Path | None = None
        self._members: list[_Member] = []
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    @property
    def endpoints(self) -> list[str]:
        """`host:port` of every member, running or not."""
        return [f"127.0.0.1:{member.client_port}" for member in self._members]

    @property
    def pids(self) -> dict[int, int]:
        """Process id by member, of the members that were started and not killed."""
        return {index: process.pid for index, process in sorted(self._processes.items())}

    async def start(self) -> None:
        """Starts every member and waits until each answers with a leader. Raises LocalEtcdError."""
        if self._processes:
            raise LocalEtcdError("this cluster is running already")
        self._dir = self._given_dir or Path(tempfile.mkdtemp(prefix="zonelock-etcd-"))
        for attempt in range(_START_ATTEMPTS):
            try:
                self._members = self._place()
                for index in range(self._count):
                    self._spawn(index)
                await self._until_healthy(range(self._count))
                return
            except LocalEtcdError as error:
                await self._end_all()
                # A port that was free a moment ago can be gone; a kept cluster cannot move to another.
                if _PORT_TAKEN in str(error) and not self._keep and attempt + 1 < _START_ATTEMPTS:
                    shutil.rmtree(self._dir, ignore_errors=True)
                    continue
                self._discard()
                raise
            except BaseException:
                await self._end_all()
                self._discard()
                raise

    async def stop(self) -> None:
        """Ends every member, paused ones too. Idempotent."""
        await self._end_all()
        self._discard()

    def kill(self, index: int) -> None:
        """SIGKILL, and waits for the end of the process."""
        process = self._processes.pop(index)
        process.kill()
        process.wait()

    async def restart(self, index: int) -> None:
        """Starts a killed member on its old data and waits until it answers with a leader."""
        self.start_member(index)
        await self._until_healthy([index])

    def start_member(self, index: int) -> None:
        """Starts a killed member and does not wait: alone, it will not find a quorum."""
        if index in self._processes:
            raise LocalEtcdError(f"member {index} is running already: kill it first")
        self._spawn(index)

    async def healthy(self) -> None:
        """Waits until every started member answers with a leader. Raises LocalEtcdError."""
        await self._until_healthy(sorted(self._processes))

    def pause(self, index: int) -> None:
        """SIGSTOP: the member's sockets stay open and answer nothing."""
        self._processes[index].send_signal(signal.SIGSTOP)

    def resume(self, index: int) -> None:
        self._processes[index].send_signal(signal.SIGCONT)

    async def __aenter__(self) -> LocalEtcd:
        await self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stop()

    def __enter__(self) -> LocalEtcd:
        _run(self.start)
        return self

    def __exit__(self, *error: object) -> None:
        _run(self.stop)

    def _place(self) -> list[_Member]:
        """The members' ports: those of the cluster kept in the directory, else free ones."""
        directory = self._require_dir()
        directory.mkdir(parents=True, exist_ok=True)
        kept = directory / "cluster.json"
        if kept.exists():
            members = [_Member(**fields) for fields in json.loads(kept.read_text())]
            if len(members) != self._count:
                raise LocalEtcdError(
                    f"{directory} holds a cluster of {len(members)}, not of {self._count}:"
                    f" ask for {len(members)} members, or name another directory"
                )
            return members
        ports = free_ports(2 * self._count)
        members = [_Member(f"m{i}", ports[2 * i], ports[2 * i + 1]) for i in range(self._count)]
        kept.write_text(json.dumps([asdict(member) for member in members]))
        return members

    def _spawn(self, index: int) -> None:
        member = self._members[index]
        here = "http://127.0.0.1" if self._tls is None else "https://127.0.0.1"
        client, peer = (f"{here}:{port}" for port in (member.client_port, member.peer_port))
        everyone = ",".join(f"{m.name}={here}:{m.peer_port}" for m in self._members)
        command = [
            *(sys.executable, "-SEc", _DIE_WITH_PARENT, str(os.getpid())),
            _find_etcd(),
            *("--name", member.name),
            *("--data-dir", str(self._require_dir() / member.name)),
            *("--listen-client-urls", client),
            *("--advertise-client-urls", client),
            *("--listen-peer-urls", peer),
            *("--initial-advertise-peer-urls", peer),
            *("--initial-cluster", everyone),
            *("--initial-cluster-state", "new"),
            *("--initial-cluster-token", f"zonelock-{self._members[0].peer_port}"),
            *("--logger", "zap"),
            *("--log-outputs", "stderr"),
            *_tls_flags(self._tls),
            *self._flags,
        ]
        with self._log_path(index).open("ab") as log:
            self._processes[index] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(),
                # A terminal's Ctrl-C is for the parent, which then ends the members in order.
                start_new_session=True,
            )

    async def _until_healthy(self, indexes: range | list[int]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        for index in indexes:
            client = EtcdClient([self.endpoints[index]], access=EtcdAccess(self._tls))
            try:
                while True:
                    process = self._processes[index]
                    if process.poll() is not None:
                        raise LocalEtcdError(
                            f"etcd member {index} ended with code {process.returncode}:\n{self._tail(index)}"
                        )
                    status = (await client.statuses())[0]
                    if status.reachable and status.leader_id:
                        # A member may name a leader that is gone: only a read through the quorum proves health.
                        try:
                            await client.read_key(b"zonelock-health")
                            break
                        except StoreUnavailable:
                            pass
                    if time.monotonic() > deadline:
                        raise LocalEtcdError(
                            f"etcd member {index} found no leader in {START_TIMEOUT_S:.0f} s:\n{self._tail(index)}"
                        )
                    await asyncio.sleep(POLL_S)
            finally:
                await client.close()

    async def _end_all(self) -> None:
        for process in self._processes.values():
            process.send_signal(signal.SIGCONT)
            if self._keep:
                process.terminate()
            else:  # Nobody needs the data: handing over the leadership first would only take seconds.
                process.kill()
        for process in self._processes.values():
            try:
                await asyncio.to_thread(process.wait, STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()

    def _discard(self) -> None:
        if self._dir is not None and not self._keep:
            shutil.rmtree(self._dir, ignore_errors=True)
        self._dir = None

    def _require_dir(self) -> Path:
        if self._dir is None:
            raise LocalEtcdError("this cluster is not started")
        return self._dir

    def _log_path(self, index: int) -> Path:
        return (self._log_dir or self._require_dir()) / f"{self._members[index].name}.log"

    def _tail(self, index: int) -> str:
        return self._log_path(index).read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")


def _run(work: Callable[[], Coroutine[object, object, None]]) -> None:
    """In a loop of its own, which leaves the current one alone; not in its own thread, with which members would die."""
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(work())
    finally:
        loop.close()


def _tls_flags(tls: TlsFiles | None) -> list[str]:
    if tls is None:
        return []
    flags = []
    for side in ("", "peer-"):
        files = ((f"{side}trusted-ca-file", tls.ca), (f"{side}cert-file", tls.cert), (f"{side}key-file", tls.key))
        flags += [f"--{side}client-cert-auth", *(f"--{flag}={path}" for flag, path in files)]
    return flags


def _find_etcd() -> str:
    found = shutil.which("etcd")
    if found is None:
        raise LocalEtcdError("etcd is not installed: `apt-get install etcd-server`, or use the sqlite or memory store")
    return found


def _environment() -> dict[str, str]:
    """etcd reads ETCD_* as flags: a stray one must not join this cluster to another."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ETCD_")}
    if platform.machine() == "aarch64":
        environment["ETCD_UNSUPPORTED_ARCH"] = "arm64"
    return environment


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]

"""Three coordinators on three etcd members on this machine: for trying out, for tests, for measuring.

Real processes and real sockets. The rule owned here is `processes`': what was started is stopped on every way out, dies
with this process, and nothing else is ever signalled. Never imports the SDK.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from zonelock_sim.options import SimError
from zonelock_sim.processes import ServeProcess, free_or_any

if TYPE_CHECKING:
    from coordinator.store.local_etcd import LocalEtcd

MAX_COORDINATORS = 9
FIRST_PORT = 7600
FIRST_WEB_PORT = 7680
NOT_READY_S = 30.0


@dataclass(slots=True, eq=False)
class Place:
    """One coordinator's addresses and, while it runs, its process. Its addresses outlive restarts."""

    name: str
    listen: str
    web: str
    config: Path
    process: ServeProcess | None = None
    web_url: str = ""


class LocalCluster:
    """`async with LocalCluster(floor) as cluster:`; coordinators are counted from 0, as etcd's members are.

    With `data_dir` ledger, addresses and pending stops stay there; without, all of it goes at the end. `etcd_of` may
    give a coordinator its own way to etcd (a proxy, for a test). Raises SimError, LocalEtcdError.
    """

    def __init__(
        self,
        floor: Path | None = None,
        *,
        coordinators: int = 3,
        etcd_members: int = 3,
        data_dir: Path | None = None,
        assume_empty: bool = True,
        settings: Sequence[str] = (),
        etcd_flags: Sequence[str] = (),
        fixed_ports: bool = False,
        history: Path | None = None,
        log_level: str = "warning",
        logs: Path | None = None,
    ) -> None:
        """`settings` are further lines of every coordinator's config file; `fixed_ports`: 7600 upwards if free;
        `history`: a folder where each coordinator writes down what happens, as `NAME.jsonl`; `logs`:
        a folder (made here) where every process's log goes, as `NAME.log`.
        """
        if not 1 <= coordinators <= MAX_COORDINATORS:
            raise SimError(f"coordinators is {coordinators}; use 1 to {MAX_COORDINATORS}, 3 is usual")
        self._floor, self._count, self._members = floor, coordinators, etcd_members
        self._given_dir, self._assume_empty = data_dir, assume_empty
        self._settings, self._etcd_flags = tuple(settings), tuple(etcd_flags)
        self._fixed_ports, self._history, self._log_level = fixed_ports, history, log_level
        self._logs = logs
        self._dir: Path | None = None
        self._etcd: LocalEtcd | None = None
        self.places: list[Place] = []
        self.ways_to_etcd: dict[int, list[str]] = {}

    @property
    def etcd(self) -> LocalEtcd:
        if self._etcd is None:
            raise SimError("the cluster was not started")
        return self._etcd

    @property
    def target(self) -> str:
        """For `connect`: every coordinator, separated by commas."""
        return ",".join(place.listen for place in self.places)

    def pid(self, index: int) -> int:
        process = self.places[index].process
        if process is None:
            raise SimError(f"{self.places[index].name} does not run")
        return process.pid

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Starts etcd, then every coordinator; returns when all serve and one of them leads."""
        if self._etcd is None:
            await self.start_etcd()
        try:
            await asyncio.gather(*(self.start_coordinator(index) for index in range(self._count)))
        except BaseException:
            await self.stop()
            raise

    async def start_etcd(self) -> None:
        """The members alone, for whoever puts something between them and the coordinators."""
        from coordinator.store.local_etcd import LocalEtcd

        self._dir = self._given_dir or Path(tempfile.mkdtemp(prefix="zonelock-cluster-"))
        self._dir.mkdir(parents=True, exist_ok=True)
        if self._logs is not None:
            self._logs.mkdir(parents=True, exist_ok=True)
        data = self._given_dir and self._dir / "etcd"
        self._etcd = LocalEtcd(self._members, data, flags=self._etcd_flags, log_dir=self._logs)
        try:
            await self._etcd.start()
            self.places = [self._place(index, self._dir) for index in range(self._count)]
        except BaseException:
            await self.stop()
            raise

    async def start_coordinator(self, index: int) -> None:
        """Starts one (again), on its old address."""
        place = self.places[index]
        ways = self.ways_to_etcd.get(index) or self.etcd.endpoints
        arguments = ["--config", str(place.config), "--listen", place.listen, "--web", place.web or "off"]
        arguments += ["--store", f"etcd:{','.join(ways)}", "-o", "json", "--log-level", self._log_level]
        if self._floor is not None:
            arguments += ["--floor", str(self._floor)]
        if self._history is not None:
            arguments += ["--history", str(self._history / f"{place.name}.jsonl")]
        if self._assume_empty:
            arguments.append("--assume-empty")
        process = ServeProcess(arguments, self._logs and self._logs / f"{place.name}.log")
        ready = await process.start(NOT_READY_S)
        place.process, place.web_url = process, str(ready.get("web") or "")

    async def stop_coordinator(self, index: int) -> None:
        """SIGTERM, and waits for its end."""
        place = self.places[index]
        process, place.process = place.process, None
        if process is not None:
            await process.stop()

    async def stop(self) -> None:
        """Everything, in order. Idempotent."""
        await asyncio.gather(*(self.stop_coordinator(index) for index in range(len(self.places))))
        if self._etcd is not None:
            await self._etcd.stop()
            self._etcd = None
        if self._dir is not None and self._given_dir is None:
            await asyncio.to_thread(shutil.rmtree, self._dir, ignore_errors=True)
        self._dir = None

    def _place(self, index: int, folder: Path) -> Place:
        name = f"c{index}"
        config = folder / f"{name}.yaml"
        kept = folder / f"{name}.listen"
        listen = kept.read_text().strip() if kept.exists() else self._address(FIRST_PORT + index)
        kept.write_text(listen)
        lines = [f"name: {name}", f"data_dir: {folder / name}", *self._settings]
        if self._floor is None:
            from coordinator.floor.examples import bundled

            self._floor = Path(bundled("machining"))
        config.write_text("\n".join([f"floor: {self._floor.resolve()}", *lines]) + "\n")
        web = self._address(FIRST_WEB_PORT + index) if self._fixed_ports else ""
        return Place(name, listen, web, config)

    def _address(self, port: int) -> str:
        """Fixed while somebody asked for it and the port is free; in any case one that a restart finds again."""
        wanted = free_or_any(f"127.0.0.1:{port if self._fixed_ports else 0}")
        return wanted if not wanted.endswith(":0") else f"127.0.0.1:{_free_port()}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

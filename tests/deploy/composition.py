"""docker-compose.yml without containers: every command that it and the Dockerfile name, as processes on this machine.

What a container would give is put in place by substitution and nothing else: host names and ports become free ports on
127.0.0.1, volumes and mounts become folders, the images' program paths become the programs of this machine. Every flag
stays as it is written.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import urlopen

import yaml

ROOT = Path(__file__).resolve().parents[2]
PORTS = {
    "etcd": (2379, 2380),
    "coordinator": (7600, 7680),
    "prometheus": (9090,),
    "agents": (),
    "edge": (),
    "grafana": (3000,),
}
UPSTREAM_ENTRYPOINTS = {"prom/prometheus": ["/bin/prometheus"], "quay.io/coreos/etcd": []}
"""What the upstream images run before `command`. Grafana is not on this machine: its files are checked instead."""
NOT_RUN = ("grafana",)
HEALTHY_S = 60.0
END_S = 15.0


def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
    return document


def instruction(name: str) -> list[str]:
    """The last stage's ENTRYPOINT, CMD or HEALTHCHECK command of the Dockerfile, in its JSON form."""
    text = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.startswith(f"{name} ")]
    words: list[str] = json.loads("[" + lines[-1].partition("[")[2])
    return words


@dataclass
class Composition:
    """Runs services of the compose file under `folder`, as a context manager. `scrape_s` replaces Prometheus' 5 s."""

    folder: Path
    scrape_s: int = 1
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)
    _ports: dict[tuple[str, int], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.services: dict[str, dict[str, Any]] = compose()["services"]
        wanted = [(name, port) for name in self.services for port in PORTS[name.rstrip("123")]]
        with contextlib.ExitStack() as stack:
            for key in wanted:
                probe = stack.enter_context(socket.socket())
                probe.bind(("127.0.0.1", 0))
                self._ports[key] = int(probe.getsockname()[1])

    def __enter__(self) -> Composition:
        return self

    def __exit__(self, *error: object) -> None:
        for name in reversed(list(self.processes)):
            self.end(name)

    def address(self, service: str, port: int) -> str:
        return f"127.0.0.1:{self._ports[service, port]}"

    def argv(self, service: str) -> list[str]:
        """Entrypoint and command as they would run in the container."""
        definition = self.services[service]
        if "build" in definition:
            return [*definition.get("entrypoint", instruction("ENTRYPOINT")), *definition["command"]]
        return [*UPSTREAM_ENTRYPOINTS[definition["image"].rpartition(":")[0]], *definition["command"]]

    def health(self, service: str) -> list[str]:
        """The health check's command; empty when it has none."""
        definition = self.services[service]
        check = definition.get("healthcheck", {})
        if check.get("disable"):
            return []
        words: list[str] = check.get(
            "test", ["CMD", *instruction("HEALTHCHECK")] if "build" in definition else ["NONE"]
        )
        return words[1:]

    def start(self, service: str) -> None:
        with (self.folder / f"{service}.log").open("ab") as log:
            self.processes[service] = subprocess.Popen(
                self.here(service, self.argv(service)),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(),
                start_new_session=True,
            )

    def end(self, service: str) -> int:
        """As `docker compose down` does: SIGTERM, then SIGKILL. Returns the exit code."""
        process = self.processes.pop(service)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self.ended[service] = process.returncode
        return process.returncode

    def kill(self, service: str) -> None:
        process = self.processes.pop(service)
        process.kill()
        process.wait()

    async def until_healthy(self, *services: str) -> None:
        """Runs each service's health check, over and over, until it exits with 0."""
        give_up = time.monotonic() + HEALTHY_S
        for service in services:
            command = self.here(service, self.health(service))
            while True:
                run = await asyncio.to_thread(
                    subprocess.run, command, capture_output=True, text=True, check=False, env=_environment(), timeout=30
                )
                if run.returncode == 0:
                    break
                process = self.processes[service]
                said = f"{service} is not healthy: {run.stdout}{run.stderr}\n{self.log(service)}"
                assert process.poll() is None, said
                assert time.monotonic() < give_up, said
                await asyncio.sleep(0.1)

    def log(self, service: str) -> str:
        return (self.folder / f"{service}.log").read_text("utf-8", "replace")[-3_000:]

    def here(self, service: str, argv: list[str]) -> list[str]:
        """The same command with this machine's programs, ports and folders."""
        program = {"zonelock": Path(sys.executable).parent / "zonelock", "python": Path(sys.executable)}.get(
            Path(argv[0]).name, shutil.which(Path(argv[0]).name)
        )
        return [str(program), *(self._substituted(service, word) for word in argv[1:])]

    def _substituted(self, service: str, text: str) -> str:
        for mount, folder in self._folders(service).items():
            text = re.sub(rf"(?<![\w/.]){re.escape(mount)}(?![\w-])", str(folder), text)

        def loopback(match: re.Match[str]) -> str:
            host = service if match["host"] in ("0.0.0.0", "127.0.0.1") else match["host"]
            port = self._ports.get((host, int(match["port"])))
            return match[0] if port is None else f"127.0.0.1:{port}"

        return re.sub(r"(?P<host>[a-z][a-z0-9]*|0\.0\.0\.0|127\.0\.0\.1):(?P<port>\d+)", loopback, text)

    def _folders(self, service: str) -> dict[str, Path]:
        """Where each mount of the service lies here; a folder of the repository as a copy with addresses replaced."""
        found = {}
        for mount in set(self.services[service].get("tmpfs", [])) - {"/tmp"}:
            found[mount] = self.folder / f"{service}-tmpfs{mount.replace('/', '-')}"
            found[mount].mkdir(mode=0o700, exist_ok=True)
        for volume in self.services[service].get("volumes", []):
            source, mount = volume.split(":")[:2]
            found[mount] = self.folder / source.removeprefix("./").replace("/", "-")
            if found[mount].exists():
                continue
            found[mount].mkdir(mode=0o700)
            if source.startswith("./"):
                for path in (ROOT / source).iterdir():
                    text = self._substituted(service, path.read_text("utf-8")) if path.is_file() else ""
                    if path.is_file():
                        text = re.sub(r"(_interval: )5s", rf"\g<1>{self.scrape_s}s", text)
                        (found[mount] / path.name).write_text(text, encoding="utf-8")
        return found

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """The instant vector that Prometheus answers with."""
        answer = await self.prometheus(f"query?query={quote(expression)}")
        result: list[dict[str, Any]] = answer["result"]
        return result

    async def prometheus(self, path: str) -> dict[str, Any]:
        url = f"http://{self.address('prometheus', 9090)}/api/v1/{path}"

        def get() -> dict[str, Any]:
            with urlopen(url, timeout=10) as response:
                data: dict[str, Any] = json.load(response)["data"]
                return data

        return await asyncio.to_thread(get)

    async def until_value(self, expression: str, holds: str) -> float:
        """Asks until the first sample satisfies e.g. "> 0"; fails with the last answer."""
        give_up = time.monotonic() + HEALTHY_S
        while True:
            with contextlib.suppress(OSError):
                found = await self.query(expression)
                if found and await self.query(f"({expression}) {holds}"):
                    return float(found[0]["value"][1])
            assert time.monotonic() < give_up, f"{expression} never became {holds}"
            await asyncio.sleep(0.2)


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("ETCD_", "ZONELOCK_"))}

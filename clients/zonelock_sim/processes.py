"""The processes that a run starts: a coordinator of its own and, where the store asks for it, three etcd members.

The coordinator is `zonelock serve` in a child process, so that what agents measure includes a real network and a real
scheduler. The rule owned here: what was started is stopped, on every way out, and dies with this process should this
process be killed; nothing else is ever signalled. Never imports the SDK.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from zonelock_sim.options import SimError, SimOptions

READY_S = 60.0
STOP_S = 8.0
KEPT_LINES = 40
MAX_LINE_BYTES = 1 << 20
LIFELINE = Path(__file__).with_name("lifeline.py")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a coordinator listens: `HOST:PORT` for gRPC, a URL (or nothing) for the page."""

    target: str
    web_url: str
    store: str
    process: ServeProcess | None = None

    async def died(self) -> str:
        """Returns the last words of the coordinator that was started here, when it ends; never for another's."""
        if self.process is None:
            never: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            return await never
        return await self.process.ended()


class ServeProcess:
    """One `zonelock serve` child. When ready it prints a line of JSON: {"event": "ready", "grpc": ..., "web": ...}."""

    def __init__(self, arguments: Sequence[str], log_file: Path | None = None) -> None:
        """What the child logs is appended to `log_file`, where there is one."""
        self._log_file = log_file
        self.command = (sys.executable, "-m", "zonelock_cli", "serve", *arguments)
        self._process: asyncio.subprocess.Process | None = None
        self._log: deque[str] = deque(maxlen=KEPT_LINES)
        self._readers: list[asyncio.Task[None]] = []
        self._ready: asyncio.Future[dict[str, object]] | None = None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise SimError("the coordinator was not started")
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        return self._process.returncode if self._process else None

    async def start(self, ready_s: float = READY_S) -> dict[str, object]:
        """Returns the ready line. Raises SimError with the child's last words when it ends, or is not ready in time."""
        self._ready = asyncio.get_running_loop().create_future()
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(LIFELINE),
            str(os.getpid()),
            *self.command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=MAX_LINE_BYTES,
        )
        self._readers = [asyncio.create_task(self._read_output()), asyncio.create_task(self._read_log())]
        try:
            return await asyncio.wait_for(asyncio.shield(self._ready), ready_s)
        except TimeoutError:
            await self.stop()
            raise SimError(
                f"the coordinator was not ready within {ready_s:g} s; it said:\n{self.last_words()}"
            ) from None
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL to a child that does not end. Idempotent."""
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), STOP_S)
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        await asyncio.gather(*self._readers, return_exceptions=True)
        if self._ready is not None and self._ready.done() and not self._ready.cancelled():
            self._ready.exception()  # seen: start() has told it already, or nobody waits any more

    async def ended(self) -> str:
        """Waits for the child's end; returns its last words."""
        process, _ = self._started()
        await process.wait()
        await asyncio.gather(*self._readers, return_exceptions=True)
        return self.last_words()

    def last_words(self) -> str:
        return "\n".join(self._log) or "(nothing)"

    async def _read_output(self) -> None:
        process, ready = self._started()
        stdout = process.stdout
        while stdout is not None and (line := await stdout.readline()):
            text = line.decode(errors="replace").rstrip()
            event = _json_object(text)
            if event.get("event") == "ready" and not ready.done():
                ready.set_result(event)
            else:
                self._log.append(text)
        code = await process.wait()
        if not ready.done():
            await asyncio.gather(*self._readers[1:], return_exceptions=True)
            ready.set_exception(
                SimError(
                    f"the coordinator ended with exit code {code} before it was ready; it said:\n{self.last_words()}"
                )
            )

    async def _read_log(self) -> None:
        process, _ = self._started()
        stderr = process.stderr
        with contextlib.ExitStack() as stack:
            kept = None if self._log_file is None else stack.enter_context(self._log_file.open("ab", buffering=0))
            while stderr is not None and (line := await stderr.readline()):
                self._log.append(line.decode(errors="replace").rstrip())
                if kept is not None:
                    with contextlib.suppress(OSError):  # a full disk costs lines of log, not the coordinator its pipe
                        kept.write(line)

    def _started(self) -> tuple[asyncio.subprocess.Process, asyncio.Future[dict[str, object]]]:
        if self._process is None or self._ready is None:
            raise SimError("the coordinator was not started")
        return self._process, self._ready


@contextlib.asynccontextmanager
async def coordinator(options: SimOptions, floor_yaml: str) -> AsyncIterator[Endpoint]:
    """Starts what `options.store` needs and a coordinator on top of it; stops all of it on the way out.

    The floor is given as text and written to a folder of the run's own, which goes with the run. Raises SimError.
    """
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="zonelock-sim-")))
        floor_path = folder / "floor.yaml"
        floor_path.write_text(floor_yaml, encoding="utf-8")
        store = await _store(options, folder, stack)
        child = ServeProcess(_serve_arguments(options, floor_path, store))
        stack.push_async_callback(child.stop)
        ready = await child.start()
        yield Endpoint(str(ready.get("grpc", "")), str(ready.get("web") or ""), store, child)


async def _store(options: SimOptions, folder: Path, stack: contextlib.AsyncExitStack) -> str:
    """The store in the words of `zonelock serve --store`; starts etcd when the run is to have one of its own."""
    if options.store == "sqlite":
        return f"sqlite:{folder / 'ledger.db'}"
    if options.store != "etcd":
        return options.store
    from coordinator.store.local_etcd import LocalEtcd

    etcd = LocalEtcd(members=3, data_dir=folder / "etcd")
    stack.push_async_callback(etcd.stop)
    await etcd.start()
    return "etcd:" + ",".join(etcd.endpoints)


def _serve_arguments(options: SimOptions, floor_path: Path, store: str) -> list[str]:
    listen, web = options.listen, options.web
    if options.fallback_ports:
        listen, web = free_or_any(listen), free_or_any(web)
    arguments = ["--floor", str(floor_path), "--store", store, "--listen", listen, "--web", web]
    if options.history is not None:
        arguments += ["--history", str(options.history / "coordinator.jsonl"), "--name", "coordinator"]
    return [*arguments, "--assume-empty", "-o", "json"]


def free_or_any(address: str) -> str:
    """`HOST:PORT` when nobody listens there now, else `HOST:0`."""
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError:
            return f"{host}:0"
    return address


def _json_object(text: str) -> dict[str, object]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}

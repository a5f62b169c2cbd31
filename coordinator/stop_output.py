"""Where a stop leaves the software: the plant's safety-rated chain, a beacon, a log.

An output is told of every stop at once, before the stop is durable, and of every reset only after it is. It is told
of active stops again after a take-over, so `stop` must be idempotent by `stop_id`. An output that fails is tried
again, and is an alarm; it holds up neither the other outputs nor the coordinator. These are software *requests*: the
chain itself decides.

To write one, implement `StopOutput` and hand it to the runtime's `StopOutputs`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Protocol

from coordinator.core.model import StopRecord

log = logging.getLogger("zonelock.stop_output")

MAX_QUEUED = 10_000
"""Orders that one output may be behind; beyond them the oldest is dropped, with an alarm."""

ATTEMPTS = 5
FIRST_PAUSE_S = 0.1


class OutputFailed(Exception):
    """The output could not pass the order on; the message says why."""


class StopOutput(Protocol):
    """One way out. Both methods raise OutputFailed."""

    @property
    def name(self) -> str:
        """For alarms."""

    async def stop(self, stop: StopRecord) -> None:
        """Requests the stop. Idempotent by `stop.stop_id`."""

    async def reset(self, stop: StopRecord) -> None:
        """The stop was reset by `stop.reset_by`. The plant's own chain still wants its own reset."""


class LogOutput:
    """Writes orders to the log."""

    name = "log"

    async def stop(self, stop: StopRecord) -> None:
        log.critical("STOP %s %s: %s", stop.stop_id, scope(stop), stop.reason)

    async def reset(self, stop: StopRecord) -> None:
        log.warning("RESET %s by %s: %s", stop.stop_id, stop.reset_by, stop.reset_reason)


class HookOutput:
    """Runs a command with the order as JSON on its standard input and ZONELOCK_ORDER (stop or reset) and
    ZONELOCK_STOP_ID in its environment. Exit code 0 within the time limit is success.
    """

    def __init__(self, command: Sequence[str], timeout_ms: int = 2_000) -> None:
        self._command, self._timeout_s = tuple(command), timeout_ms / 1_000

    @property
    def name(self) -> str:
        return f"hook {self._command[0]}"

    async def stop(self, stop: StopRecord) -> None:
        await self._run("stop", stop)

    async def reset(self, stop: StopRecord) -> None:
        await self._run("reset", stop)

    async def _run(self, order: str, stop: StopRecord) -> None:
        environment = {**os.environ, "ZONELOCK_ORDER": order, "ZONELOCK_STOP_ID": stop.stop_id}
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                env=environment,
            )
        except OSError as error:
            raise OutputFailed(f"{self._command[0]}: {error.strerror}") from error
        told = json.dumps({"order": order, **asdict(stop)}).encode()
        try:
            async with asyncio.timeout(self._timeout_s):
                _, complaint = await process.communicate(told)
        except TimeoutError:
            raise OutputFailed(f"{self._command[0]}: not done after {self._timeout_s:g} s") from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if process.returncode:
            said = complaint.decode(errors="replace").strip()[:200]
            raise OutputFailed(f"{self._command[0]}: exit code {process.returncode}: {said}")


class StopOutputs:
    """Every output with a queue and a worker of its own; `alarm` gets a sentence for whoever is on call."""

    def __init__(self, outputs: Sequence[StopOutput], alarm: Callable[[str], None]) -> None:
        self._outputs, self._alarm = tuple(outputs), alarm
        self._queues: list[asyncio.Queue[StopRecord]] = []
        self._workers: list[asyncio.Task[None]] = []

    def start(self) -> None:
        for output in self._outputs:
            queue: asyncio.Queue[StopRecord] = asyncio.Queue(MAX_QUEUED)
            self._queues.append(queue)
            self._workers.append(asyncio.create_task(self._work(output, queue), name=f"stop-output-{output.name}"))

    def order(self, stop: StopRecord) -> None:
        """Takes a tripped (`active`) or reset stop; returns at once."""
        for output, queue in zip(self._outputs, self._queues, strict=False):
            if queue.full():
                lost = queue.get_nowait()
                self._alarm(
                    f"stop output {output.name} is {MAX_QUEUED} orders behind; order {lost.stop_id} was dropped"
                )
            queue.put_nowait(stop)

    async def close(self) -> None:
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        self._workers.clear()
        self._queues.clear()

    async def _work(self, output: StopOutput, queue: asyncio.Queue[StopRecord]) -> None:
        while True:
            await self._pass_on(output, await queue.get())

    async def _pass_on(self, output: StopOutput, stop: StopRecord) -> None:
        pause_s = FIRST_PAUSE_S
        for attempt in range(1, ATTEMPTS + 1):
            try:
                await (output.stop(stop) if stop.active else output.reset(stop))
            except OutputFailed as failed:
                what = "stop" if stop.active else "reset"
                self._alarm(f"stop output {output.name} failed to {what} {stop.stop_id} (attempt {attempt}): {failed}")
            else:
                return
            await asyncio.sleep(pause_s)
            pause_s *= 2


def scope(stop: StopRecord) -> str:
    """The scope in words: the floor, or its stop groups."""
    return "the whole floor" if stop.floor else f"group {', '.join(stop.stop_groups) or 'none'}"

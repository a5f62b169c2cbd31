"""Where the product is cut open: its clocks, chance, threads and sockets are taken from the simulated world.

Everything else of the coordinator and the SDK runs as shipped. The seams are module attributes, put back when the world
ends; a seam that no longer exists fails at once instead of letting real time in.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any
from uuid import UUID

import zonelock_client.agent
import zonelock_client.clock
import zonelock_client.dead_man
import zonelock_client.fleet
import zonelock_client.grant
import zonelock_client.link
import zonelock_client.operators
import zonelock_client.standstill
from zonelock_client.dead_man import Alarm, DeadMan

import coordinator.rpc.leader_line
import coordinator.rpc.safety_service
import coordinator.runtime
import coordinator.safeguards
import coordinator.store.etcd
import coordinator.store.lookout
from chaos.sim.loop import NS_PER_MS, PROCESS, current_process

BOOTED = "1970-01-01T00:00:00.000+00:00"
"""The wall clock takes part in nothing, so it stands still."""

REAL_THREAD = "zonelock-dead-man"
"""The SDK's watchdog thread: one that an earlier part of this Python process left behind is not simulated."""

TICK_S = 0.1
"""How often an SDK looks at its clock by itself. It is the larger half of all task switches at the shipped 0.05."""

FILE_S = 0.002
"""What a small synced write takes."""

_CLOCKED = (
    zonelock_client.agent,
    zonelock_client.dead_man,
    zonelock_client.grant,
    zonelock_client.link,
    zonelock_client.standstill,
)


def boottime_ns() -> int:
    """The running process's CLOCK_BOOTTIME. A real thread, such as an earlier dead-man's, keeps real time."""
    if PROCESS.get() is None and threading.current_thread().name == REAL_THREAD:
        return zonelock_client.clock.boottime_ns()
    return current_process().now_ns


def boottime_ms() -> int:
    return current_process().now_ns // NS_PER_MS


class SimDeadMan(DeadMan):
    """The SDK's dead-man with its thread's turns on the virtual loop; stopped with its process, as the thread is."""

    def __init__(self) -> None:
        super().__init__()
        self._process = current_process()
        self._next_ns = 0

    def watch(self, alarm: Alarm) -> None:
        super().watch(alarm)
        self._schedule()

    def call(self, function: Callable[[], None]) -> Future[None]:
        future = super().call(function)
        self._process.call(self._turn)
        return future

    def _start(self) -> None:
        """There is no thread."""

    def _schedule(self) -> None:
        if not self._heap:
            return
        due_ns = max(self._process.true_ns(self._heap[0][0]), self._process.loop.true_ns)
        if self._next_ns <= self._process.loop.true_ns or due_ns < self._next_ns:
            self._next_ns = due_ns
            self._process.loop.call_at_true(due_ns, self._turn, context=self._process.context)

    def _turn(self) -> None:
        calls, due = self._take_calls(), self._take_due()
        for alarm in due:
            alarm.trip()
        for alarm in due:
            zonelock_client.dead_man._guard(alarm.halt)
        for function, future in calls:
            zonelock_client.dead_man._settle(function, future)
        self._next_ns = 0
        self._schedule()


class _Chance:
    """What the product takes from `random`, `secrets` and `uuid`."""

    def __init__(self, rng: random.Random, *, weak: bool) -> None:
        self._rng, self._weak = rng, weak

    def uniform(self, low: float, high: float) -> float:
        return self._rng.uniform(low, high)

    def token_hex(self, size: int) -> str:
        if self._weak:
            return "00" * size
        return self._rng.randbytes(size).hex()

    def token_bytes(self, size: int) -> bytes:
        return self._rng.randbytes(size)

    def uuid4(self) -> UUID:
        return UUID(bytes=self._rng.randbytes(16))


class _NoThreads:
    """`asyncio` for a module that hands file work to a thread: here it is done after a moment, on the loop."""

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    async def to_thread(self, function: Callable[..., Any], *args: Any) -> Any:
        await asyncio.sleep(FILE_S)
        return function(*args)


class _DeadMen:
    """One for each simulated process, as there is one for each real one."""

    def __init__(self) -> None:
        self._of: dict[int, SimDeadMan] = {}

    def __call__(self) -> SimDeadMan:
        process = current_process()
        found = self._of.get(id(process))
        if found is None:
            found = self._of[id(process)] = SimDeadMan()
        return found


@contextlib.contextmanager
def installed(
    rng: random.Random,
    weak_ids: bool,
    open_channel: Callable[..., Any],
    etcd_client: Callable[..., Any],
    machine: Callable[..., Any],
) -> Iterator[None]:
    """The product inside the simulated world."""
    chance = _Chance(rng, weak=weak_ids)
    seams: list[tuple[Any, str, Any]] = [(module, "boottime_ns", boottime_ns) for module in _CLOCKED]
    seams += [
        (zonelock_client.link, "random", chance),
        (zonelock_client.link, "TICK_S", TICK_S),
        (zonelock_client.link, "open_channel", open_channel),
        (zonelock_client.operators, "open_channel", open_channel),
        (coordinator.rpc.leader_line, "open_channel", open_channel),
        (zonelock_client.operators, "uuid", chance),
        (zonelock_client.fleet, "secrets", chance),
        (zonelock_client.fleet, "process_dead_man", _DeadMen()),
        (coordinator.store.etcd, "EtcdClient", etcd_client),
        (coordinator.store.etcd, "_now_ms", boottime_ms),
        (coordinator.store.lookout, "now_ms", boottime_ms),
        (coordinator.store.etcd, "uuid", chance),
        (coordinator.rpc.safety_service, "_wall_clock", lambda: BOOTED),
        (coordinator.rpc.safety_service, "uuid4", chance.uuid4),
        (coordinator.runtime, "Machine", machine),
        (coordinator.safeguards, "asyncio", _NoThreads()),
    ]
    kept = [(module, name, getattr(module, name)) for module, name, _ in seams]
    for module, name, value in seams:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in kept:
            setattr(module, name, value)

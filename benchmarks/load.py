"""A saturating load of grants in a process of its own: `python -m benchmarks.load TARGET AGENTS`.

Works until its standard input ends, then prints the pairs of acquire and release that it did in a second.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from benchmarks.streams import FleetStream, Window, zones_in_turn

WIDTH = 32
LONG_S = 3_600.0


class Endless(Window):
    """A window that closes when it is told to."""

    def __init__(self) -> None:
        super().__init__(LONG_S)
        self.told = False

    def over(self) -> bool:
        return self.told


async def work(target: str, agents: int) -> None:
    async with grpc.aio.insecure_channel(target) as channel:
        fleet = FleetStream(channel, {f"load-{i}": [zone] for i, zone in enumerate(zones_in_turn(agents, WIDTH))})
        await fleet.hello()
        window, began = Endless(), time.perf_counter()
        working = asyncio.create_task(fleet.work(window))
        print("working", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        took_s = time.perf_counter() - began
        window.told = True
        await working
        print(window.pairs / took_s, flush=True)


@asynccontextmanager
async def saturated(target: str, agents: int, told: list[float]) -> AsyncIterator[None]:
    """The load runs inside; afterwards `told` has its pairs a second."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.load", target, str(agents)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        if process.stdout is None or process.stdin is None:
            raise RuntimeError("the load has no pipes")
        if (await process.stdout.readline()).strip() != b"working":
            raise RuntimeError("the load did not begin; what it said is above")
        yield
        process.stdin.close()
        told.append(float(await process.stdout.readline()))
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], int(sys.argv[2])))

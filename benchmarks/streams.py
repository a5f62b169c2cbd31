"""The smallest clients there are: one stream an agent, or one stream for a whole fleet with batched frames.

They speak the protocol and nothing else (no SDK, no dead-man), so that what is measured is the coordinator. Every
agent asks for its own zones, gives them back when it gets them, and begins again, as long as its window is open.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from secrets import token_hex

import grpc
from zonelock.v1 import zone_service_pb2 as pb
from zonelock.v1 import zone_service_pb2_grpc as pb_grpc

from benchmarks.report import percentile

WARM_S = 0.2
EXPECTED_MS = 10_000
OPERATIONS_PER_FRAME = 256


class Window:
    """What happened between WARM_S after the beginning and the end: pairs of acquire and release, acquire times."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._opens = time.perf_counter() + WARM_S
        self._closes = self._opens + seconds
        self.pairs = 0
        self.acquire_ms: list[float] = []

    def over(self) -> bool:
        return time.perf_counter() >= self._closes

    def paired(self, acquire_ms: float) -> None:
        if self._opens <= time.perf_counter() < self._closes:
            self.pairs += 1
            self.acquire_ms.append(acquire_ms)

    def figures(self, name: str) -> dict[str, float]:
        return {
            f"{name}_pairs_per_s": self.pairs / self.seconds,
            f"{name}_acquire_p50_ms": percentile(self.acquire_ms, 0.5),
            f"{name}_acquire_p99_ms": percentile(self.acquire_ms, 0.99),
        }


class StreamEnded(ConnectionError):
    """The coordinator ended a stream, or refused an operation, that a benchmark relies on."""


def operation(agent: str, **kind: object) -> pb.Operation:
    return pb.Operation(agent_id=agent, **kind)  # type: ignore[arg-type]


def hello_of(agent: str) -> pb.Operation:
    return operation(agent, hello=pb.Hello(session_secret=agent.encode().ljust(16, b"-")[:64], vehicle_watchdog=True))


class StreamAgent:
    """One agent on a stream of its own, one operation a frame."""

    def __init__(self, channel: grpc.aio.Channel, name: str, zones: Sequence[str]) -> None:
        self._call = pb_grpc.ZoneServiceStub(channel).Session()
        self.name, self.zones, self._frame, self._asks = name, zones, 0, 0
        self._run = token_hex(4)
        self.token = 0
        self.stop_id = ""

    async def send(self, **kind: object) -> None:
        """One operation in a frame of its own; none for a heartbeat."""
        self._frame += 1
        said = [operation(self.name, **kind)] if kind else []
        await self._call.write(pb.SessionRequest(frame=self._frame, operations=said))

    async def ask(self, expected_ms: int = EXPECTED_MS) -> None:
        self._asks += 1
        await self.send(ask=pb.Ask(request_id=f"{self._run}.{self._asks}", zones=self.zones, expected_ms=expected_ms))

    async def next(self, kind: str) -> pb.Answer:
        """The next answer of this kind. Raises StreamEnded for the end of the stream, a refusal or a rejection."""
        while True:
            frame = await self._call.read()
            if not isinstance(frame, pb.SessionResponse):
                raise StreamEnded(f"the stream ended while {self.name} waited for {kind}")
            for answer in frame.answers:
                said = answer.WhichOneof("kind")
                if said == "granted":
                    self.token = answer.granted.token
                if said == kind:
                    return answer
                if said in ("failed", "rejected"):
                    raise StreamEnded(f"{self.name} waited for {kind} and got {answer}")

    async def hello(self) -> None:
        await self.send(hello=hello_of(self.name).hello)
        await self.next("welcome")

    async def pair(self) -> float:
        """One acquire and release; returns the acquire's milliseconds."""
        asked = time.perf_counter()
        await self.ask()
        await self.next("granted")
        took_ms = (time.perf_counter() - asked) * 1000
        await self.send(release=pb.Release(token=self.token))
        await self.next("released")
        return took_ms

    async def work(self, window: Window) -> None:
        while not window.over():
            window.paired(await self.pair())

    def end(self) -> None:
        self._call.cancel()


class FleetStream:
    """Many agents on one stream: what all of them have to say by the time an answer comes goes into one frame."""

    def __init__(self, channel: grpc.aio.Channel, zones_of: Mapping[str, Sequence[Sequence[str]]]) -> None:
        """`zones_of`: the sets of zones of each agent, asked for in turn."""
        self._call = pb_grpc.ZoneServiceStub(channel).Session()
        self._zones_of = zones_of
        self._run = token_hex(4)  # an agent's request ids never come twice, whatever ran before under its name
        self._turns: dict[str, int] = {}
        self._asked: dict[str, float] = {}
        self._took: dict[str, float] = {}
        self._frame, self._asks, self.done = 0, 0, 0

    async def hello(self) -> None:
        await self._write([hello_of(agent) for agent in self._zones_of])
        waiting = len(self._zones_of)
        while waiting:
            for answer in await self._read():
                if answer.WhichOneof("kind") == "failed":
                    raise StreamEnded(f"a fleet's agent was not welcomed: {answer.failed.message}")
                waiting -= answer.WhichOneof("kind") == "welcome"

    async def work(self, window: Window) -> None:
        """Returns when the window is over and every agent has given back what it had."""
        await self._write([self._ask(agent) for agent in self._zones_of])
        busy = len(self._zones_of)
        while busy:
            said: list[pb.Operation] = []
            for answer in await self._read():
                match answer.WhichOneof("kind"):
                    case "granted":
                        self._took[answer.agent_id] = (time.perf_counter() - self._asked[answer.agent_id]) * 1000
                        said.append(operation(answer.agent_id, release=pb.Release(token=answer.granted.token)))
                    case "released":
                        window.paired(self._took[answer.agent_id])
                        self.done += 1
                        if window.over():
                            busy -= 1
                        else:
                            said.append(self._ask(answer.agent_id))
                    case "failed" | "rejected":
                        raise StreamEnded(f"a fleet's agent was refused: {answer}")
            if said:
                await self._write(said)

    def _ask(self, agent: str) -> pb.Operation:
        self._asks += 1
        self._asked[agent] = time.perf_counter()
        turn = self._turns[agent] = self._turns.get(agent, -1) + 1
        zones = self._zones_of[agent][turn % len(self._zones_of[agent])]
        ask = pb.Ask(request_id=f"{self._run}.{self._asks}", zones=zones, expected_ms=EXPECTED_MS)
        return operation(agent, ask=ask)

    async def _write(self, operations: list[pb.Operation]) -> None:
        for start in range(0, len(operations), OPERATIONS_PER_FRAME):
            self._frame += 1
            said = operations[start : start + OPERATIONS_PER_FRAME]
            await self._call.write(pb.SessionRequest(frame=self._frame, operations=said))

    async def _read(self) -> Sequence[pb.Answer]:
        frame = await self._call.read()
        if not isinstance(frame, pb.SessionResponse):
            raise StreamEnded("the fleet's stream ended")
        return frame.answers

    def end(self) -> None:
        self._call.cancel()


def zones_in_turn(count: int, width: int, of_each: int = 1) -> Iterator[tuple[str, ...]]:
    """Disjoint sets of `of_each` zones of an `open_floor` of that width, one set an agent."""
    for i in range(count):
        yield tuple(f"c_{n % width}_{n // width}" for n in range(i * of_each, (i + 1) * of_each))

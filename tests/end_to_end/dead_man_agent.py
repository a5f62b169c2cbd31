"""A process that holds zones for vehicles and answers their asks over a radio (UDP on loopback) with permits.

Started as `python dead_man_agent.py TARGET MODE PLANT STOP_MS LANE=CAR...`. MODE "single": a stream for each car;
"gateway": one stream for all. Obeys one JSON object a line on its standard input: `go` (ask for the first three zones
of every lane), `block` (the event loop), `radio` (hold answers back), `settle` (wait until no stop latches any agent or
car). Writes what came of each ask, with its own D.

PLANT "receipt": counts D from the receipt of a grant, as nobody may.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from typing import Any

from zonelock.v1 import zone_service_pb2 as pb
from zonelock_client import Agent, Grant, RequestError, Stop, ZonelockError, connect, connect_fleet
from zonelock_client.clock import boottime_ns
from zonelock_client.session_core import AgentCore
from zonelock_client.session_core.values import holder_deadline_ns

ZONES_HELD = 3


def plant_receipt() -> None:
    """The bug: D counted from when the grant arrived, not from when the frame that it echoes was sent."""

    def deadline_ns(self: AgentCore, granted: pb.Granted | pb.Extended) -> int:
        now_ns, rho_ppm = boottime_ns(), self.stream.rho_ppm
        return holder_deadline_ns(now_ns, granted.remaining_ms, rho_ppm=rho_ppm, stop_ms=self.spec.stop_ms)

    AgentCore.deadline_ns = deadline_ns  # type: ignore[method-assign]


def say(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)


class Vehicle:
    """A car's agent, its newest grant, and what the car last said."""

    def __init__(self, name: str, lane: str) -> None:
        self.name = name
        self.zones = [f"{lane}_{n}" for n in range(ZONES_HELD)]
        self.stands = asyncio.Event()
        self.unlatched = asyncio.Event()
        self.grant: Grant | None = None
        self._agent: Agent | None = None

    @property
    def agent(self) -> Agent:
        if self._agent is None:
            raise RuntimeError(f"{self.name} is not connected")
        return self._agent

    def open(self, agent: Agent) -> None:
        self._agent = agent
        agent.on_stop(self.stopped)

    async def stopped(self, _: Stop) -> None:
        """A stop is acknowledged when the car itself says that it stands."""
        self.stands.clear()
        await self.stands.wait()

    async def go(self, expected_ms: int) -> None:
        try:
            grant = await self.agent.acquire(*self.zones, expected_ms=expected_ms)
        except ZonelockError as error:
            say(car=self.name, token=0, outcome=str(error))
            return
        self.grant = grant
        say(car=self.name, token=grant.token, deadline_ns=grant.held.deadline_ns, outcome="granted")

    def answer(self, ask: int) -> bytes:
        permit = None if self.grant is None else json.loads(self.grant.permit().to_json())
        stops = [stop.stop_id for stop in self.agent.active_stops]
        return json.dumps({"car": self.name, "ask": ask, "permit": permit, "stops": stops}).encode()


class Radio(asyncio.DatagramProtocol):
    """Answers asks, `late_s` after each was answered: the answer is as old then as a slow radio makes it."""

    def __init__(self, vehicles: dict[str, Vehicle]) -> None:
        self._vehicles = vehicles
        self._transport: asyncio.DatagramTransport | None = None
        self.late_s = 0.0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        said = json.loads(data)
        vehicle = self._vehicles[said["car"]]
        for event, is_so in ((vehicle.stands, said["stands"]), (vehicle.unlatched, not said["latched"])):
            if is_so:
                event.set()
            else:
                event.clear()
        if self._transport is None:
            return
        send, answer = self._transport.sendto, vehicle.answer(said["ask"])
        asyncio.get_running_loop().call_later(self.late_s, send, answer, addr)


async def obey(vehicles: dict[str, Vehicle], radio: Radio) -> None:
    """Carries out orders until the standard input ends."""
    loop = asyncio.get_running_loop()
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    going: set[asyncio.Task[None]] = set()
    while line := await orders.readline():
        order = json.loads(line)
        match order["do"]:
            case "go":
                for vehicle in vehicles.values():
                    task = asyncio.create_task(vehicle.go(order["expected_ms"]))
                    going.add(task)
                    task.add_done_callback(going.discard)
            case "block":
                time.sleep(order["ms"] / 1_000)  # noqa: ASYNC251 - a controller that blocks its event loop
            case "radio":
                radio.late_s = order["ms"] / 1_000
            case "settle":
                with contextlib.suppress(RequestError):
                    await asyncio.gather(*(v.agent.stop_cleared() for v in vehicles.values()))
                await asyncio.gather(*(v.unlatched.wait() for v in vehicles.values()))
                say(settled=True)
    for task in going:
        task.cancel()


async def main(argv: list[str]) -> None:
    target, mode, plant, stop_ms, *lanes = argv
    if plant == "receipt":
        plant_receipt()
    vehicles = {name: Vehicle(name, lane) for lane, _, name in (each.partition("=") for each in lanes)}
    loop = asyncio.get_running_loop()
    transport, radio = await loop.create_datagram_endpoint(lambda: Radio(vehicles), local_addr=("127.0.0.1", 0))
    async with contextlib.AsyncExitStack() as stack:
        if mode == "gateway":
            fleet = await stack.enter_async_context(connect_fleet(target, connect_timeout_s=60))
            for name, vehicle in vehicles.items():
                vehicle.open(await fleet.agent(name, vehicle_watchdog=True, stop_ms=int(stop_ms)))
        else:
            for name, vehicle in vehicles.items():
                agent = connect(target, agent_id=name, stop_ms=int(stop_ms), connect_timeout_s=60)
                vehicle.open(await stack.enter_async_context(agent))
        say(port=transport.get_extra_info("sockname")[1])
        await obey(vehicles, radio)
    transport.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))

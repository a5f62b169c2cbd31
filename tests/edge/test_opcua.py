"""Against a real OPC UA server in the same process, on its own port of 127.0.0.1."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import numpy as np
import pytest
from asyncua import ua
from asyncua.common.node import Node
from asyncua.server.server import Server
from asyncua.ua.status_codes import StatusCodes

from edge_node.channels import Channel, Quantity
from edge_node.sources import Block, SourceError
from edge_node.sources.opcua import OpcUaSource

TWO = (Channel("temp", Quantity.TEMPERATURE, "°C"), Channel("current", Quantity.CURRENT, "A"))
NODES = ("ns=2;s=Spindle.Temp", "ns=2;s=Spindle.Current")


@asynccontextmanager
async def plant(port: int) -> AsyncIterator[list[Node]]:
    """A server with the two nodes; yields them."""
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/plant")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    await server.register_namespace("urn:plant")
    nodes = []
    for node, value in zip(NODES, (20.5, 3.5), strict=True):
        nodes.append(await server.nodes.objects.add_variable(ua.NodeId.from_string(node), node, value))
    async with server:
        yield nodes


class Listening:
    """Takes a source's blocks in a thread, as the writer process does, and keeps the newest frame."""

    def __init__(self, source: OpcUaSource) -> None:
        self.source, self.newest, self.blocks = source, np.array([]), 0
        self.thread = threading.Thread(target=self.take)
        self.thread.start()

    def take(self) -> None:
        block: Block
        for block in self.source.blocks(2):
            self.newest = block.samples[-1]
            self.blocks += 1

    async def until(self, condition: Callable[[np.ndarray], bool]) -> np.ndarray:
        async with asyncio.timeout(30):
            # Another thread takes the blocks.
            while not (len(self.newest) and condition(self.newest)):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        return self.newest


@pytest.fixture
def listening(free_port: int) -> Iterator[Listening]:
    source = OpcUaSource(f"opc.tcp://127.0.0.1:{free_port}/plant", NODES, TWO, 50.0)
    found = Listening(source)
    yield found
    source.close()
    found.thread.join(10)


async def test_values_follow_the_servers_and_are_gone_while_it_is(listening: Listening, free_port: int) -> None:
    await listening.until(lambda frame: bool(np.isnan(frame).all()))
    async with plant(free_port) as (temperature, _):
        await listening.until(lambda frame: frame.tolist() == [20.5, 3.5])
        await temperature.write_value(21.25)
        await listening.until(lambda frame: frame.tolist() == [21.25, 3.5])
    await listening.until(lambda frame: bool(np.isnan(frame).all()))
    gone = listening.source.problems.counts["server_gone"]
    assert gone >= 1
    async with plant(free_port):
        await listening.until(lambda frame: frame.tolist() == [20.5, 3.5])
        assert listening.source.connections == 2


async def test_a_bad_status_is_no_value_until_it_is_good_again(listening: Listening, free_port: int) -> None:
    async with plant(free_port) as (temperature, _):
        await listening.until(lambda frame: frame.tolist() == [20.5, 3.5])
        bad = ua.DataValue(
            ua.Variant(99.0, ua.VariantType.Double), ua.StatusCode(ua.UInt32(StatusCodes.BadSensorFailure))
        )
        await temperature.write_value(bad)
        frame = await listening.until(lambda frame: bool(np.isnan(frame[0])))
        assert frame[1] == 3.5
        assert "BadSensorFailure" in listening.source.problems.first["bad_quality"]
        await temperature.write_value(22.0)
        await listening.until(lambda frame: frame[0] == 22.0)


async def test_a_node_that_the_server_lacks_is_named_and_the_others_go_on(free_port: int) -> None:
    source = OpcUaSource(f"opc.tcp://127.0.0.1:{free_port}/plant", (NODES[0], "ns=2;s=Nowhere"), TWO, 50.0)
    async with plant(free_port):
        listening = Listening(source)
        frame = await listening.until(lambda frame: frame[0] == 20.5)
        assert np.isnan(frame[1])
        assert "BadNodeIdUnknown" in source.problems.first["missing_channel"]
        # In a thread: the server runs in this loop, and closing talks to it.
        await asyncio.to_thread(source.close)
        listening.thread.join(10)


@pytest.mark.parametrize(
    ("nodes", "rate_hz", "message"),
    [
        (("ns=2;s=a",), 10.0, "1 of them for 2"),
        (("nonsense", "ns=2;i=1"), 10.0, "write them like"),
        (NODES, 1e6, "lower it"),
    ],
)
def test_a_source_that_cannot_work_is_refused(nodes: tuple[str, ...], rate_hz: float, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        OpcUaSource("opc.tcp://127.0.0.1:1/", nodes, TWO, rate_hz)

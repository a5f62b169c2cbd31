"""A live source over OPC UA: subscribes to one node per channel and holds each value until the next.

Rules owned: a value that is bad, or whose server is gone, is NaN from that moment on and not the last good one; the
source comes back by itself when the server does. OPC UA is for slow quantities (temperatures, currents, drives' own
figures): tens of samples a second. asyncua runs in a thread of its own; frames are taken from what it has heard.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from asyncua import ua
from asyncua.client.client import Client
from asyncua.common.node import Node
from asyncua.ua.uaerrors import UaError

from edge_node.channels import Channel
from edge_node.sources.base import Block, Nature, Problems, SourceError

RATE_MAX_HZ = 1_000.0
CALL_TIMEOUT_S = 4.0
CHECK_S = 0.5
RETRY_FIRST_S, RETRY_MOST_S = 0.2, 10.0
CLOSE_WITHIN_S = 10.0


class OpcUaSource:
    """`nodes[n]` ("ns=2;s=Spindle.Temp") feeds the n-th channel, in its unit. Raises SourceError for a wrong node id.

    The server need not be there yet: until it is, every sample is NaN and counted as `server_gone`.
    """

    nature = Nature.LIVE
    paced = True

    def __init__(self, url: str, nodes: Sequence[str], channels: Sequence[Channel], rate_hz: float) -> None:
        self.channels, self.rate_hz, self.problems = tuple(channels), rate_hz, Problems()
        self._url = url
        if not 0 < rate_hz <= RATE_MAX_HZ:
            raise SourceError(
                f"rate_hz = {rate_hz}: OPC UA values come at most {RATE_MAX_HZ:.0f} times a second; lower it"
            )
        if len(nodes) != len(self.channels):
            raise SourceError(f"nodes: {len(nodes)} of them for {len(self.channels)} channels; give one each")
        try:
            self._nodes = [ua.NodeId.from_string(node) for node in nodes]
        except (UaError, ValueError) as error:
            raise SourceError(f"nodes: {error}; write them like 'ns=2;s=Spindle.Temp' or 'ns=2;i=1001'") from None
        self._names = {node: n for n, node in enumerate(self._nodes)}
        self._values = np.full(len(self.channels), np.nan, np.float32)
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        self._lost = 0
        self.connections = 0
        """How often it has subscribed; 1 is the first."""

    def blocks(self, frames: int) -> Iterator[Block]:
        self._thread = threading.Thread(target=self._listen, name="opcua", daemon=True)
        self._thread.start()
        began, taken = time.monotonic(), 0
        while not self._closing.is_set():
            samples = np.empty((frames, len(self.channels)), np.float32)
            for row in range(frames):
                taken += 1
                wait = began + taken / self.rate_hz - time.monotonic()
                if wait > 0 and self._closing.wait(wait):
                    break
                samples[row] = self._values
            else:
                # A machine that slept does not send the frames of that time all at once: they are lost.
                behind = int((time.monotonic() - began) * self.rate_hz) - taken
                lost = behind if behind > frames else 0
                taken += lost
                yield Block(samples, self._lost)
                self._lost = lost

    def close(self) -> None:
        """Ends the subscription and its thread."""
        self._closing.set()
        if self._loop is not None:
            # A loop that has ended needs no waking.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._wake.set)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(CLOSE_WITHIN_S)

    def _listen(self) -> None:
        asyncio.run(self._stay_subscribed())

    async def _stay_subscribed(self) -> None:
        self._loop = asyncio.get_running_loop()
        retry_s = RETRY_FIRST_S
        while not self._closing.is_set():
            before = self.connections
            try:
                await self._subscribe_once()
            except (OSError, UaError, TimeoutError, asyncio.CancelledError, RuntimeError) as error:
                self.problems.note("server_gone", f"{self._url}: {error or type(error).__name__}; tries again")
            self._values[:] = np.nan
            retry_s = RETRY_FIRST_S if self.connections > before else min(2 * retry_s, RETRY_MOST_S)
            await self._pause(retry_s)

    async def _pause(self, for_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), for_s)

    async def _subscribe_once(self) -> None:
        """Connects, subscribes, and returns or raises when the connection is over."""
        client = Client(self._url, timeout=CALL_TIMEOUT_S)
        await client.connect()
        try:
            period_ms = 1_000 / self.rate_hz
            subscription = await client.create_subscription(period_ms, self)
            nodes = [client.get_node(node) for node in self._nodes]
            results = await subscription.subscribe_data_change(
                nodes, queuesize=1, sampling_interval=ua.Double(period_ms)
            )
            self._name_refused(results)
            self.connections += 1
            while not self._closing.is_set():
                await self._pause(CHECK_S)
                await client.check_connection()
                await asyncio.wait_for(client.nodes.server_state.read_value(), CALL_TIMEOUT_S)
        finally:
            # Of a connection that is gone already; the reason is on its way up.
            with contextlib.suppress(OSError, UaError, TimeoutError, RuntimeError):
                await asyncio.wait_for(client.disconnect(), CALL_TIMEOUT_S)

    def _name_refused(self, results: int | list[int | ua.StatusCode]) -> None:
        for channel, result in zip(self.channels, results if isinstance(results, list) else [results], strict=True):
            if isinstance(result, ua.StatusCode):
                self.problems.note("missing_channel", f"{channel.name}: the server says {result.name}")

    def datachange_notification(self, node: Node, val: Any, data: Any) -> None:
        """asyncua calls this for each value that changed."""
        at = self._names.get(node.nodeid)
        if at is None:
            return
        told: ua.DataValue = data.monitored_item.Value
        value = _number(val)
        if told.StatusCode is not None and not told.StatusCode.is_good():
            self.problems.note("bad_quality", f"{self.channels[at].name}: the server says {told.StatusCode.name}")
            value = math.nan
        elif math.isnan(value):
            self.problems.note("not_a_number", f"{self.channels[at].name}: {val!r}")
        self._values[at] = value


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan

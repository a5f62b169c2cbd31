"""A standby's line to the leader: what it tells of stops, whether its stream has closed, and what is passed on to it.

Rules owned here: the line counts as closed only after it was open to the very process that leads, and that stream
then ended; a stop that left here is handed to the leader as soon as there is one; what operators ask of a standby goes
to the leader once, never round in circles.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import grpc
from zonelock.v1 import cluster_service_pb2 as cpb
from zonelock.v1 import cluster_service_pb2_grpc as cgrpc
from zonelock.v1 import safety_service_pb2_grpc as sgrpc

from coordinator.core.model import StopRecord
from coordinator.rpc.port import LeaderSeen, Runtime
from coordinator.rpc.translate import stop_message, stop_record
from coordinator.tls import TlsFiles

log = logging.getLogger(__name__)

RECONNECT_S = 0.1
HAND_OVER_S = 2.0
"""How long the leader may take to make a stop durable, before it is sent again."""
FORWARD_S = 5.0
FORWARDED = ("zonelock-forwarded", "1")
"""Metadata of a call that another coordinator passed on: whoever gets it does not pass it on again."""

_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),  # in truth the time that a handshake may take
    ("grpc.max_reconnect_backoff_ms", 500),
)


def open_channel(address: str, credentials: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
    if credentials is None:
        return grpc.aio.insecure_channel(address, options=_OPTIONS)
    return grpc.aio.secure_channel(address, credentials, options=_OPTIONS)


class LeaderLine:
    """One coordinator's, for as long as it serves. Implements `store.port.LeaderLine`."""

    def __init__(self, runtime: Runtime, tls: TlsFiles | None = None) -> None:
        self._runtime, self._tls = runtime, tls
        self._me = cpb.FollowRequest()
        self._leader: LeaderSeen | None = None
        self._channel: grpc.aio.Channel | None = None
        self._task: asyncio.Task[None] | None = None
        self._opened = False
        self._up = False
        self._owed = asyncio.Event()
        self._recorded: dict[str, asyncio.Future[StopRecord]] = {}
        self.on_change: Callable[[], None] = lambda: None
        runtime.standby.on_change.append(self._owed.set)

    def introduce(self, name: str, address: str) -> None:
        """What this coordinator says of itself, once it knows where it listens."""
        self._me = cpb.FollowRequest(name=name, address=address, floor_hash=self._runtime.standby.floor_hash)

    # -- what the store asks -------------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        named = self._runtime.standby.successor
        return self._opened and (not self._up or (named is not None and named.ours))

    @property
    def handed_over(self) -> bool:
        named = self._runtime.standby.successor
        return self._opened and not self._up and named is not None and named.ours

    @property
    def yields_until_ms(self) -> int:
        named = self._runtime.standby.successor
        return 0 if named is None or named.ours else named.until_ms

    def follow(self, leader: LeaderSeen | None) -> None:
        before, self._leader = self._leader, leader
        if leader is not None and before is not None and leader.identity == before.identity:
            return
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._opened = self._up = self._runtime.standby.hears_leader = False
        self._runtime.standby.other_floor = ""
        if leader is not None:
            self._runtime.standby.name_successor("")  # somebody leads: whoever was to follow did, or did not
        if leader is not None and leader.address:
            self._task = asyncio.create_task(self._keep(leader), name="leader-line")

    async def close(self) -> None:
        self.follow(None)
        self._runtime.standby.on_change.remove(self._owed.set)

    # -- what operators ask --------------------------------------------------------------------------------------

    async def forward(self, method: str, request: Any) -> Any:
        """Passes a SafetyService call on to the leader; None when there is no leader to pass it to.

        Raises AioRpcError as the leader answered.
        """
        channel = self._channel
        if channel is None:
            return None
        call = getattr(sgrpc.SafetyServiceStub(channel), method)
        return await call(request, timeout=FORWARD_S, metadata=(FORWARDED,))

    async def recorded(self, stop_id: str, timeout_s: float = HAND_OVER_S) -> StopRecord | None:
        """The stop as the leader recorded it, once it has; None when it did not in time."""
        if (known := self._runtime.standby.heard(stop_id)) is not None:
            return known
        future = self._recorded.setdefault(stop_id, asyncio.get_running_loop().create_future())
        try:
            await asyncio.wait({future}, timeout=timeout_s)
            return future.result() if future.done() else None
        finally:
            self._recorded.pop(stop_id, None)

    # -- inside --------------------------------------------------------------------------------------------------

    async def _keep(self, leader: LeaderSeen) -> None:
        """A stream to this leader for as long as it is followed."""
        credentials = None if self._tls is None else self._tls.channel_credentials()
        async with open_channel(leader.address, credentials) as channel:
            try:
                while True:
                    try:
                        await self._follow(channel, leader)
                    except grpc.aio.AioRpcError as error:
                        log.debug("the line to %s ended: %s", leader.name, error.details())
                    self._set_up(up=False)
                    await asyncio.sleep(RECONNECT_S)
            finally:
                self._channel = None

    async def _follow(self, channel: grpc.aio.Channel, leader: LeaderSeen) -> None:
        stub = cgrpc.ClusterServiceStub(channel)
        call = stub.Follow(self._me)
        hand_over: asyncio.Task[None] | None = None
        try:
            while isinstance(told := await call.read(), cpb.FollowResponse):
                if told.leader_id != leader.identity:
                    return  # another process has the address by now
                self._channel = channel
                if told.snapshot:
                    self._runtime.standby.compare_floor(leader.name, told.floor_hash)
                self._runtime.standby.hear([stop_record(s) for s in told.stops], whole=told.snapshot)
                self._set_up(up=True)
                if told.successor:
                    self._runtime.standby.name_successor(told.successor, ours=told.successor == self._me.address)
                    self.on_change()
                hand_over = hand_over or asyncio.create_task(self._hand_over(stub), name="hand-over")
        finally:
            call.cancel()
            if hand_over is not None:
                hand_over.cancel()

    def _set_up(self, *, up: bool) -> None:
        if self._up != up:
            self._up, self._opened = up, True
            self._runtime.standby.hears_leader = up
            self.on_change()

    async def _hand_over(self, stub: Any) -> None:
        """Whatever left here and is not known to be recorded, as often as it takes."""
        while True:
            self._owed.clear()
            stops = self._runtime.standby.unrecorded()
            if not stops:
                await self._owed.wait()
                continue
            request = cpb.HandOverStopsRequest(stops=[stop_message(stop) for stop in stops])
            try:
                response = await stub.HandOverStops(request, timeout=HAND_OVER_S)
            except grpc.aio.AioRpcError as error:
                log.warning("%d stops are not handed over yet: %s", len(stops), error.details())
                await asyncio.sleep(RECONNECT_S)
                continue
            told = [stop_record(stop) for stop in response.stops]
            self._runtime.standby.recorded(told)
            for stop in told:
                future = self._recorded.get(stop.stop_id)
                if future is not None and not future.done():
                    future.set_result(stop)

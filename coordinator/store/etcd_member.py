"""The channels to etcd's members: one each, with the options and the certificates that they are dialled with.

Owns the rule that a member is never dialled with a certificate that has been replaced: a channel keeps what it was made
with, and an expired one would cut every coordinator off at its next reconnection. What is connected stays as it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import grpc

from coordinator.store.etcd_login import metadata
from coordinator.store.etcdpb import rpc_pb2_grpc
from coordinator.tls import Stamp, TlsFiles

RENEWAL_LOOK_S = 1.0
"""How often certificate files are looked at."""
RENEWAL_GRACE_S = 5.0
"""For calls that are still under way on a channel that is given up; without a connection they end long before."""

_CHANNEL_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.service_config_disable_resolution", 1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # etcd closes connections that ping more often than every 5 s, or without a call.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 3_000),
)


class Member:
    """One endpoint's channel and stubs, made inside the loop that uses them."""

    def __init__(self, endpoint: str, credentials: grpc.ChannelCredentials | None, stamp: Stamp = ()) -> None:
        """`stamp` is of the certificate files that the credentials were made of."""
        self.endpoint, self.stamp = endpoint, stamp
        self.token = ""
        target = f"dns:///{endpoint}"
        if credentials is None:
            self.channel = grpc.aio.insecure_channel(target, options=_CHANNEL_OPTIONS)
        else:
            self.channel = grpc.aio.secure_channel(target, credentials, options=_CHANNEL_OPTIONS)
        self.auth = rpc_pb2_grpc.AuthStub(self.channel)
        self.kv = rpc_pb2_grpc.KVStub(self.channel)
        self.lease = rpc_pb2_grpc.LeaseStub(self.channel)
        self.watch = rpc_pb2_grpc.WatchStub(self.channel)
        self.maintenance = rpc_pb2_grpc.MaintenanceStub(self.channel)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return metadata(self.token)

    def ready(self) -> bool:
        """Connected now. Asks the channel to connect when it is not."""
        return self.channel.get_state(try_to_connect=True) is grpc.ChannelConnectivity.READY


class Members:
    """One member per endpoint, in the endpoints' order, made at the first look inside the loop that uses them."""

    def __init__(self, endpoints: Sequence[str], tls: TlsFiles | None) -> None:
        self._endpoints, self._tls = tuple(endpoints), tls
        self._members: list[Member] = []
        self._looked_s = 0.0
        self._closing: set[asyncio.Task[None]] = set()

    def dialled(self) -> list[Member]:
        """Every member, connected or being dialled."""
        if not self._members:
            self._members = [self._dial(endpoint) for endpoint in self._endpoints]
        elif self._tls is not None:
            self._renew(self._tls)
        return list(self._members)

    async def close(self) -> None:
        """Closes every channel. Idempotent; the next look dials anew."""
        members, self._members = self._members, []
        for member in members:
            await member.channel.close()
        for task in self._closing:
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _dial(self, endpoint: str) -> Member:
        tls = self._tls
        member = Member(endpoint, None) if tls is None else Member(endpoint, tls.channel_credentials(), tls.stamp())
        member.ready()
        return member

    def _renew(self, tls: TlsFiles) -> None:
        """Gives up channels that are not connected and were made with other files than those of today."""
        now_s = asyncio.get_running_loop().time()
        if now_s - self._looked_s < RENEWAL_LOOK_S:
            return
        self._looked_s = now_s
        try:
            stamp = tls.stamp()
            stale = [i for i, member in enumerate(self._members) if member.stamp != stamp and not member.ready()]
            if not stale or not tls.agree():
                return
            for index in stale:
                closing = asyncio.create_task(self._members[index].channel.close(grace=RENEWAL_GRACE_S))
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)
                self._members[index] = self._dial(self._endpoints[index])
        except OSError:
            return  # in the middle of being replaced; the next look sees the whole

"""How etcd is told who we are: a user's password exchanged for a token that every call carries.

etcd's tokens end (after five minutes without use, or with their member when it restarts), so the rule here is: a call
whose token was refused provably did nothing, gets a new token, and is made once more. The password is never logged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from grpc.aio import AioRpcError

from coordinator.store.etcd_faults import Fault, explain, judge
from coordinator.store.etcdpb import rpc_pb2, rpc_pb2_grpc
from coordinator.store.port import StoreError
from coordinator.tls import TlsFiles

_Metadata = tuple[tuple[str, str], ...]

_HAS_LEADER: _Metadata = (("hasleader", "true"),)
"""Makes a member that sees no leader refuse at once, unexecuted, instead of holding the call until it times out."""


LOGIN_DEADLINE_S = 2.0
"""etcd hashes a password slowly on purpose: a tenth of a second on an idle machine, several times that on a busy."""


@dataclass(frozen=True, slots=True)
class EtcdAccess:
    """How the members are reached: plainly without `tls`; without a `user` etcd may take one from our certificate.

    `password` is asked for at every login, so that it can be changed under a running coordinator.
    """

    tls: TlsFiles | None = None
    user: str = ""
    password: Callable[[], str] = field(default=str, repr=False)


class LoginRefused(StoreError):
    """etcd does not take the user and password. Only a person can mend that."""


class LoginUnanswered(Exception):
    """The member gave no token for now; whatever was to be called with it was not called."""


class Login:
    """One client's token, shared by its calls and good at every member."""

    def __init__(self, access: EtcdAccess, deadline_s: float) -> None:
        self._access, self._deadline_s = access, max(deadline_s, LOGIN_DEADLINE_S)
        self.latest = ""
        self._asking = asyncio.Lock()

    async def token(self, endpoint: str, auth: rpc_pb2_grpc.AuthAsyncStub, refused: str | None = None) -> str:
        """A token other than `refused`; empty when there is nobody to log in. Raises LoginRefused, LoginUnanswered."""
        if not self._access.user:
            return ""
        async with self._asking:
            if not self.latest or self.latest == refused:
                self.latest = await self._ask(endpoint, auth)
            return self.latest

    async def _ask(self, endpoint: str, auth: rpc_pb2_grpc.AuthAsyncStub) -> str:
        request = rpc_pb2.AuthenticateRequest(name=self._access.user, password=self._access.password())
        try:
            reply = await auth.Authenticate(request, timeout=self._deadline_s, metadata=_HAS_LEADER)
        except AioRpcError as error:
            if judge(error) is Fault.REFUSED:
                raise LoginRefused(f"etcd_user = {self._access.user!r}: {explain(endpoint, error)}") from error
            raise LoginUnanswered(explain(endpoint, error)) from error
        return str(reply.token)


def metadata(token: str) -> _Metadata:
    """What every call carries."""
    return (*_HAS_LEADER, ("token", token)) if token else _HAS_LEADER

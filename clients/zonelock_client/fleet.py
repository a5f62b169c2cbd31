"""Connecting: one agent over a stream of its own, or many over one.

Rule: `connect` returns an agent that a coordinator has welcomed, or raises and leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Generator, Iterable
from dataclasses import replace
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

import grpc

from zonelock_client import arguments
from zonelock_client.agent import Agent
from zonelock_client.callbacks import GrantCallback, LinkCallback
from zonelock_client.dead_man import process_dead_man
from zonelock_client.errors import ArgumentError, LinkLost
from zonelock_client.link import Link
from zonelock_client.session_core.values import AgentSpec
from zonelock_client.standstill import HaltCallback, StopCallback


class _Closable(Protocol):
    async def close(self) -> None: ...


C = TypeVar("C", bound=_Closable)

CONNECT_TIMEOUT_S = 10.0
HALT_TIMEOUT_S = 2.0


class Connecting(Generic[C]):
    """Await it, or enter it: `agent = await connect(...)`, `async with connect(...) as agent:`, or both at once."""

    def __init__(self, make: Callable[[], Awaitable[C]]) -> None:
        self._make = make
        self._made: C | None = None

    def __await__(self) -> Generator[object, None, C]:
        return self._make().__await__()

    async def __aenter__(self) -> C:
        self._made = await self._make()
        return self._made

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._made is not None:
            await self._made.close()


class Fleet:
    """Many agents over one stream, for a fleet gateway. Made by `connect_fleet`.

    Rule: a gateway holds only for vehicles with a watchdog of their own; the dead-man here halts only what this process
    moves.
    """

    def __init__(self, link: Link, connect_timeout_s: float) -> None:
        self._link = link
        self._connect_timeout_s = connect_timeout_s
        self._agents: dict[str, Agent] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def agents(self) -> tuple[Agent, ...]:
        """Agents that are open, by id."""
        return tuple(self._agents[i] for i in sorted(self._agents) if i in self._link.core.agents)

    async def agent(
        self,
        agent_id: str,
        *,
        vehicle_watchdog: bool = False,
        agent_kind: str = "agv",
        session_secret: bytes | None = None,
        stop_ms: int = 200,
        floor_hash: str = "",
        standing_zones: Iterable[str] = (),
        highest_token: int = 0,
        auto_extend: bool = False,
        on_halt: HaltCallback | None = None,
        on_stop: StopCallback | None = None,
        on_link: LinkCallback | None = None,
        on_warned: GrantCallback | None = None,
        halt_timeout_s: float = HALT_TIMEOUT_S,
    ) -> Agent:
        """Opens an agent on this stream; the other arguments and errors as for `connect`.

        `vehicle_watchdog` must be True: it is your statement that the vehicle halts by itself when its permits run out
        (`grant.permit()` here, `zonelock_client.vehicle.PermitWatch` or its like there), or that this very process
        moves it. A gateway that freezes halts nobody.
        """
        if vehicle_watchdog is not True:
            raise ArgumentError(
                f"vehicle_watchdog={vehicle_watchdog!r} must be True for agent {agent_id}: a gateway may hold zones "
                "only for vehicles with a watchdog of their own, because a frozen gateway or a lost radio halts "
                "nobody; let the vehicle's controller run zonelock_client.vehicle.PermitWatch on grant.permit(), or "
                "let it connect(...) by itself"
            )
        spec = _spec(
            agent_id, agent_kind, session_secret, stop_ms, floor_hash, standing_zones, highest_token, auto_extend
        )
        spec = replace(spec, vehicle_watchdog=True)
        agent = await _open(
            self._link,
            spec,
            (on_halt, on_stop, on_link, on_warned),
            halt_timeout_s,
            self._connect_timeout_s,
            owns_link=False,
        )
        self._agents[agent_id] = agent
        return agent

    async def close(self) -> None:
        """Closes every agent, then the stream."""
        await asyncio.gather(*(agent.close() for agent in self.agents))
        await self._link.close()


def connect(
    target: str,
    *,
    agent_id: str,
    agent_kind: str = "agv",
    session_secret: bytes | None = None,
    stop_ms: int = 200,
    floor_hash: str = "",
    standing_zones: Iterable[str] = (),
    highest_token: int = 0,
    auto_extend: bool = False,
    on_halt: HaltCallback | None = None,
    on_stop: StopCallback | None = None,
    on_link: LinkCallback | None = None,
    on_warned: GrantCallback | None = None,
    halt_timeout_s: float = HALT_TIMEOUT_S,
    connect_timeout_s: float = CONNECT_TIMEOUT_S,
    credentials: grpc.ChannelCredentials | None = None,
) -> Connecting[Agent]:
    """Connects one agent: `async with connect("host:7600,host2:7600", agent_id="AGV_07") as agent:`, or `await` it.

    `target`: coordinators as host:port, separated by commas; they are tried in turn.
    `agent_kind`: a kind named by the floor; empty for what does not drive, such as a machine's observer.
    `session_secret`: 16 to 64 random bytes; made up when left out. The same secret resumes the agent's grants.
    `stop_ms`: what the machine needs from the command to a stand; D lies this much before the end of a grant.
    `floor_hash`: the floor the agent navigates by; another one is refused.
    `standing_zones`: zones the machine stands in without a grant; they become occupied (BLOCKED) by it.
    `highest_token`: the highest token an earlier process saw; an older ledger then stops the floor.
    `auto_extend`: extend a grant by itself when four fifths are over and the reported progress rose.
    `on_halt`: the motion stop, called from the dead-man's thread; see `Agent.on_halt`. Give one if anything moves.
    `on_stop`, `on_link`, `on_warned`: see the methods of the same names.
    `halt_timeout_s`: how long a halting callback may take before an error is logged.
    `connect_timeout_s`: how long to try for the first welcome.

    Raises ArgumentError, LinkLost (nobody answered), RequestError (refused: DUPLICATE_AGENT, UNKNOWN_AGENT_KIND,
    FLOOR_MISMATCH, ...).
    """

    async def make() -> Agent:
        spec = _spec(
            agent_id, agent_kind, session_secret, stop_ms, floor_hash, standing_zones, highest_token, auto_extend
        )
        link = _link(target, credentials)
        try:
            return await _open(
                link, spec, (on_halt, on_stop, on_link, on_warned), halt_timeout_s, connect_timeout_s, owns_link=True
            )
        except BaseException:
            await link.close()
            raise

    return Connecting(make)


def connect_fleet(
    target: str, *, connect_timeout_s: float = CONNECT_TIMEOUT_S, credentials: grpc.ChannelCredentials | None = None
) -> Connecting[Fleet]:
    """Opens a stream for many agents: `async with connect_fleet("host:7600") as fleet: agent = await
    fleet.agent("AGV_01", vehicle_watchdog=True)`."""

    async def make() -> Fleet:
        return Fleet(_link(target, credentials), connect_timeout_s)

    return Connecting(make)


def _link(target: str, credentials: grpc.ChannelCredentials | None) -> Link:
    link = Link(arguments.targets(target), credentials)
    link.start()
    return link


def _spec(
    agent_id: str,
    agent_kind: str,
    session_secret: bytes | None,
    stop_ms: int,
    floor_hash: str,
    standing_zones: Iterable[str],
    highest_token: int,
    auto_extend: bool,
) -> AgentSpec:
    return AgentSpec(
        agent_id=arguments.identifier("agent_id", agent_id),
        agent_kind=arguments.identifier("agent_kind", agent_kind) if agent_kind else "",
        session_secret=arguments.secret(secrets.token_bytes(32) if session_secret is None else session_secret),
        request_prefix=secrets.token_hex(4),
        stop_ms=arguments.whole("stop_ms", stop_ms, 0, arguments.MAX_STOP_MS),
        floor_hash=floor_hash,
        standing_zones=arguments.zone_names("standing_zones", standing_zones, most=arguments.MAX_INSIDE),
        highest_token=arguments.whole("highest_token", highest_token, 0, 2**64 - 1),
        auto_extend=auto_extend,
    )


async def _open(
    link: Link,
    spec: AgentSpec,
    callbacks: tuple[HaltCallback | None, StopCallback | None, LinkCallback | None, GrantCallback | None],
    halt_timeout_s: float,
    connect_timeout_s: float,
    *,
    owns_link: bool,
) -> Agent:
    arguments.seconds("halt_timeout_s", halt_timeout_s)
    arguments.seconds("connect_timeout_s", connect_timeout_s)
    if spec.agent_id in link.core.agents:
        raise ArgumentError(f"agent_id={spec.agent_id!r} is already open on this fleet's stream; use that agent")
    agent = Agent(link, spec, process_dead_man(), halt_timeout_s=halt_timeout_s, owns_link=owns_link)
    on_halt, on_stop, on_link, on_warned = callbacks
    if on_halt is not None:
        agent.on_halt(on_halt)
    if on_stop is not None:
        agent.on_stop(on_stop)
    if on_link is not None:
        agent.on_link(on_link)
    if on_warned is not None:
        agent.on_warned(on_warned)
    link.wake()
    try:
        async with asyncio.timeout(connect_timeout_s):
            await agent.welcomed()
    except TimeoutError as error:
        await agent.close(flush_s=0.01)
        last = f"; last answer: {link.last_error}" if link.last_error else ""
        raise LinkLost(
            f"no coordinator at {', '.join(sorted(link.targets))} welcomed agent {spec.agent_id} within "
            f"{connect_timeout_s:g} s{last}; check the address and `zonelock status`, or start one with "
            "`zonelock serve`"
        ) from error
    except BaseException:
        await agent.close(flush_s=0.01)
        raise
    return agent

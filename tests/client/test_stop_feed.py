"""Stops heard at every coordinator, leading or not: who is latched, how the leader learns of it, and what ends it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from client.floor_view import shown, until_acknowledged, until_waiting
from client.scripted import Conversation, scripted
from client.test_link import granted
from client.wire import Wire, grant, spec, stop
from etcd_cluster import local_etcd
from zonelock.v1 import floor_pb2
from zonelock.v1 import safety_service_pb2 as spb
from zonelock.v1 import zone_service_pb2 as pb
from zonelock_client import GrantRejected, Halt, Operator, Stop, connect
from zonelock_client.session_core import proofs, stop_news
from zonelock_client.session_core.values import AskEnded, GrantGone, StopLatched, StopLifted
from zonelock_client.testing import FLOOR, TestServer

from coordinator import config
from coordinator.app import Coordinator
from coordinator.floor import Floor
from coordinator.store.local_etcd import LocalEtcd

STANDBY = "standby:1"


def told(
    stop_id: str = "s1", *zones: str, floor: bool = False, active: bool = True, reset_by: str = ""
) -> floor_pb2.Stop:
    return floor_pb2.Stop(
        stop_id=stop_id, zones=zones, floor=floor, active=active, reset_by=reset_by, tripped_by="Ada", reason="smoke"
    )


# -- whom a stop latches ---------------------------------------------------------------------------------------------


def test_a_stop_over_a_held_zone_loses_every_grant_and_is_confirmed_with_a_hello() -> None:
    wire = Wire()
    wire.hold(7, "Z_1")
    wire.hold(8, "Z_9")
    wire.core.hear_stop(STANDBY, told("s1", "Z_1", "Z_2"))
    assert len(wire.of(GrantGone)) == 2
    assert len(wire.of(StopLatched)) == 1
    assert wire.operations() == []  # nothing is said before the machine stands
    wire.agent.acknowledge_stops(("s1",))
    hello, ack = wire.operations()
    assert hello.hello.latched_stop_ids == ["s1"]  # only a hello ends the grants of an agent that nobody stopped
    assert not hello.hello.held_tokens
    assert ack.stop_ack.stop_ids == ["s1"]


def test_repeats_on_either_path_latch_once() -> None:
    wire = Wire()
    wire.hold(7, "Z_1")
    for source in (STANDBY, "other:1", STANDBY):
        wire.core.hear_stop(source, told("s1", "Z_1"))
    wire.say(stop("s1"))
    wire.agent.acknowledge_stops(("s1",))
    wire.core.hear_stop(STANDBY, told("s1", "Z_1"))
    assert len(wire.of(StopLatched)) == 1
    assert wire.kinds() == ["stop_ack"]  # the leader stopped it itself: no hello is needed


def test_a_stop_that_the_session_raised_first_is_not_news() -> None:
    wire = Wire()
    wire.hold(7, "Z_1")
    wire.say(stop("s1"))
    wire.core.hear_stop(STANDBY, told("s1", "Z_1"))
    assert len(wire.of(StopLatched)) == 1
    wire.agent.acknowledge_stops(("s1",))
    assert wire.kinds() == ["stop_ack"]


def test_a_stop_elsewhere_latches_nobody() -> None:
    wire = Wire(spec("A"), spec("B"))
    wire.hold(7, "Z_1")
    wire.core.hear_stop(STANDBY, told("s1", "Z_7"))
    wire.core.hear_stop(STANDBY, told("", "Z_1"))
    assert not wire.agents[0].latched and not wire.agents[1].latched
    assert not wire.of(GrantGone)


def test_only_the_agents_of_a_fleet_that_it_concerns_are_latched_and_a_floor_stop_concerns_all() -> None:
    wire = Wire(spec("A"), spec("B"))
    wire.hold(7, "Z_1")
    wire.core.hear_stop(STANDBY, told("s1", "Z_1"))
    assert [list(a.latched) for a in wire.agents] == [["s1"], []]
    wire.core.hear_stop(STANDBY, told("s2", floor=True))
    assert [sorted(a.latched) for a in wire.agents] == [["s1", "s2"], ["s2"]]


def test_one_that_waits_there_is_latched_and_its_asks_end_here_and_there() -> None:
    wire = Wire()
    request_id = wire.agent.ask(("Z_1",), 8_000)
    wire.flush()
    wire.core.hear_stop(STANDBY, told("s1", "Z_1"))
    (ended,) = wire.of(AskEnded)
    assert isinstance(ended, AskEnded)
    assert (ended.request_id, getattr(ended.ending, "reason", "")) == (request_id, "STOPPED")
    assert wire.kinds() == ["cancel"]
    wire.say(wire.granted(7, "Z_1", request_id=request_id))
    assert wire.kinds() == ["decline"]


@pytest.mark.parametrize("how", ["standing", "welcomed", "abandoned", "expired", "reported"])
def test_one_that_stands_there_without_a_grant_is_latched(how: str) -> None:
    wire = Wire(welcome=how != "standing")
    zone = "Z_STAND" if how == "standing" else "Z_1"
    if how == "welcomed":
        wire.reconnect()
        welcome = pb.Welcome(heartbeat_ms=500, suspend_ms=1_500, lost_ms=5_000, blocked_zones=["Z_1"])
        wire.say(pb.Answer(welcome=welcome), ack=wire.newest)
    elif how == "reported":
        wire.agent.report(pb.Telemetry(inside_known=True, inside_zones=["Z_1"]), wire.now_ns)
    elif how != "standing":
        wire.hold(7, "Z_1")
    if how == "abandoned":
        wire.agent.abandon(wire.agent.grants[7])
        wire.flush()
        wire.say(pb.Answer(abandoned=pb.Abandoned(token=7)), ack=wire.newest)
    elif how == "expired":
        wire.say(pb.Answer(expired=pb.Expired(token=7, zones=["Z_1"])))
    assert not wire.agent.grants
    wire.core.hear_stop(STANDBY, told("s1", zone))
    assert list(wire.agent.latched) == ["s1"]


@pytest.mark.parametrize("how", ["released", "declined", "cancelled", "proven"])
def test_one_that_left_or_never_came_is_not_latched(how: str) -> None:
    wire = Wire()
    if how == "cancelled":
        wire.agent.cancel(wire.agent.ask(("Z_1",), 8_000))
    elif how == "declined":
        request_id = wire.agent.ask(("Z_1",), 8_000)
        wire.flush()
        wire.say(wire.granted(7, "Z_1", request_id=request_id, echo=1_000))
    else:
        wire.hold(7, "Z_1")
        wire.agent.release(wire.agent.grants[7])
        wire.flush()
        wire.say(pb.Answer(released=pb.Released(token=7)), ack=wire.newest)
    if how == "proven":
        wire.hold(9, "Z_1")
        wire.say(pb.Answer(expired=pb.Expired(token=9, zones=["Z_1"])))
        proofs.begin(wire.agent, 9, ("Z_1",))
        wire.say(pb.Answer(released=pb.Released(token=9, zones=["Z_1"])))
    wire.core.hear_stop(STANDBY, told("s1", "Z_1"))
    assert not wire.agent.latched


# -- what ends a latch -----------------------------------------------------------------------------------------------


def test_an_end_that_is_only_heard_ends_no_latch_the_leaders_does() -> None:
    wire = Wire()
    wire.hold(7, "Z_1")
    wire.core.hear_stop(STANDBY, told("s1", "Z_1"))
    wire.core.hear_stop(STANDBY, told("s1", "Z_1", active=False, reset_by="Ada"))
    assert list(wire.agent.latched) == ["s1"]
    wire.say(stop("s1", ended=True))
    assert not wire.agent.latched
    assert len(wire.of(StopLifted)) == 1


@pytest.mark.parametrize("by", ["session", "watch"])
def test_a_coordinator_that_missed_the_reset_latches_nobody_again(by: str) -> None:
    wire = Wire()
    if by == "session":
        wire.say(stop("s1", ended=True))
    else:
        wire.core.hear_stop("leader:1", told("s1", "Z_1", active=False, reset_by="Ada"))
    wire.hold(7, "Z_1")
    wire.core.hear_stop(STANDBY, told("s1", "Z_1"))
    assert not wire.agent.latched


def test_an_end_that_names_nobody_is_not_believed() -> None:
    wire = Wire()
    wire.hold(7, "Z_1")
    wire.core.hear_stop(STANDBY, told("s1", "Z_1", active=False))
    wire.core.hear_stop(STANDBY, told("s1", "Z_1"))
    assert list(wire.agent.latched) == ["s1"]


def test_a_coordinator_that_falls_silent_ends_and_starts_nothing() -> None:
    wire = Wire(spec("A"), spec("B"))
    wire.hold(7, "Z_1")
    wire.core.hear_stop(STANDBY, told("s1", "Z_1"))
    wire.core.stops_silent(STANDBY)
    wire.core.stops_silent("never:1")
    assert [list(a.latched) for a in wire.agents] == [["s1"], []]


# -- a leader that does not know ---------------------------------------------------------------------------------------


def test_a_grant_within_a_stop_that_its_leader_cannot_know_of_is_declined_and_the_agent_stands() -> None:
    wire = Wire()
    wire.core.hear_stop(STANDBY, told("s1", "Z_1"))
    assert not wire.agent.latched
    wire.hold(7, "Z_1")
    assert not wire.agent.grants
    assert list(wire.agent.latched) == ["s1"]
    assert wire.kinds() == ["decline"]
    wire.agent.acknowledge_stops(("s1",))
    assert wire.kinds() == ["hello", "stop_ack"]


def test_a_grant_is_used_when_the_stop_was_only_heard_of_where_nobody_answers_any_more() -> None:
    wire = Wire()
    wire.core.hear_stop(STANDBY, told("s1", "Z_1"))
    wire.core.stops_silent(STANDBY)
    wire.hold(7, "Z_1")
    assert list(wire.agent.grants) == [7]


def test_a_leader_that_welcomes_an_agent_into_a_stop_it_does_not_know_of_stops_it() -> None:
    wire = Wire()
    wire.core.hear_stop(STANDBY, told("s1", "Z_1"))
    wire.core.hear_stop(STANDBY, told("s2", "Z_1"))
    wire.reconnect()
    echo = wire.newest
    wire.welcome(grant(7, "Z_1", echo=echo), stops=("s2",))
    assert list(wire.agent.latched) == ["s1"]  # s2 is the leader's own: it stops whom it concerns


def test_what_is_remembered_is_bounded() -> None:
    wire = Wire()
    for n in range(stop_news.HEARD_REMEMBERED + 10):
        wire.core.hear_stop(STANDBY, told(f"s{n}", "Z_7"))
    wire.hold(7, "Z_1")
    assert list(wire.agent.grants) == [7]
    for n in range(stop_news.HEARD_REMEMBERED + 10):
        wire.core.hear_stop(STANDBY, told(f"e{n}", "Z_1", active=False, reset_by="Ada"))
    wire.core.hear_stop(STANDBY, told("e5", "Z_1"))
    assert list(wire.agent.latched) == ["e5"]  # forgotten: latched once more, and the leader says that it is over


# -- over the wire ---------------------------------------------------------------------------------------------------


class Board:
    """A coordinator that only tells of stops, as a script has it."""

    def __init__(self) -> None:
        self.news: asyncio.Queue[floor_pb2.Stop] = asyncio.Queue()
        self.watched = asyncio.Event()
        self._server: grpc.aio.Server | None = None
        self._port = 0

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self._port}"

    async def start(self) -> None:
        handlers = {
            "WatchStops": grpc.unary_stream_rpc_method_handler(
                self._watch,
                request_deserializer=spb.WatchStopsRequest.FromString,
                response_serializer=spb.WatchStopsResponse.SerializeToString,
            )
        }
        self.watched.clear()
        self._server = grpc.aio.server()
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("zonelock.v1.SafetyService", handlers),)
        )
        self._port = self._server.add_insecure_port(f"127.0.0.1:{self._port}")
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    async def _watch(self, _: object, context: Any) -> None:
        self.watched.set()
        while True:
            await context.write(spb.WatchStopsResponse(stop=await self.news.get()))


@pytest.fixture
async def board() -> AsyncIterator[Board]:
    board = Board()
    await board.start()
    yield board
    await board.stop()


async def test_a_stop_that_only_a_standby_tells_of_halts_the_agent_which_acks_it_on_its_session(board: Board) -> None:
    acked: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
    named: list[str] = []
    halts: list[Halt] = []
    stops: list[Stop] = []

    async def leader(talk: Conversation) -> None:
        await talk.welcome()
        await talk.say(granted(7, await talk.expect("ask"), talk.newest))
        named.extend((await talk.expect("hello")).hello.latched_stop_ids)
        acked.set_result(list((await talk.expect("stop_ack")).stop_ack.stop_ids))
        await talk.expect("goodbye")

    async with (
        scripted(leader) as target,
        connect(f"{target},{board.target}", agent_id="A", on_halt=halts.append, on_stop=stops.append) as agent,
    ):
        held = await agent.acquire("Z_31", expected_ms=60_000)
        await board.watched.wait()
        board.news.put_nowait(told("s0", "Z_99"))
        board.news.put_nowait(told("s1", "Z_31", "Z_32"))
        board.news.put_nowait(told("s1", "Z_31", "Z_32"))
        assert await held.lost == "stopped"
        assert not held.may_move()
        assert await acked == named == ["s1"]
        assert [s.stop_id for s in agent.active_stops] == ["s1"]
        with pytest.raises(GrantRejected, match="latched by s1"):
            await agent.acquire("Z_41", expected_ms=8_000)
    assert [h.reason for h in halts] == ["stopped"]
    assert [s.stop_id for s in stops] == ["s1"]


async def test_a_watch_that_breaks_halts_nobody_and_is_begun_again(board: Board) -> None:
    halts: list[Halt] = []

    async def leader(talk: Conversation) -> None:
        await talk.welcome()
        await talk.say(granted(7, await talk.expect("ask"), talk.newest))
        await talk.expect("goodbye")

    async with (
        scripted(leader) as target,
        connect(f"{target},{board.target}", agent_id="A", on_halt=halts.append) as agent,
    ):
        held = await agent.acquire("Z_31", expected_ms=60_000)
        await board.watched.wait()
        await board.stop()
        await asyncio.sleep(0.3)
        assert held.may_move() and not halts
        await board.start()
        await board.watched.wait()
        assert held.may_move() and not halts
        board.news.put_nowait(told("s1", floor=True))
        assert await held.lost == "stopped"


async def test_the_only_coordinator_is_not_watched_and_several_once_for_each_link(board: Board) -> None:
    async def leader(talk: Conversation) -> None:
        await talk.welcome()
        await talk.expect("goodbye")

    async with scripted(leader) as target:
        async with connect(target, agent_id="A"):
            assert not [t for t in asyncio.all_tasks() if t.get_name().startswith("zonelock-stops")]
        async with connect(f"{target},{board.target},{target}", agent_id="A"):
            watches = [t for t in asyncio.all_tasks() if t.get_name().startswith("zonelock-stops")]
            assert len(watches) == 2
        assert all(t.done() for t in watches)


# -- real coordinators -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def etcd() -> Iterator[LocalEtcd]:
    with local_etcd(1) as cluster:
        yield cluster


@contextlib.asynccontextmanager
async def standby_of(store: str, prefix: str, folder: Path) -> AsyncIterator[Coordinator]:
    path = Path("zonelock_client.testing.FLOOR")
    settings = {"store": store, "etcd_prefix": prefix, "listen": "127.0.0.1:0", "web": "", "data_dir": folder}
    standby = Coordinator(config.make({"floor": path, **settings}), Floor.parse(FLOOR, str(path)))
    await standby.start()
    try:
        yield standby
    finally:
        await standby.stop()


async def test_a_stop_asked_of_a_standby_halts_the_agent_and_the_leader_records_and_ends_it(
    etcd: LocalEtcd, tmp_path: Path
) -> None:
    store, prefix = f"etcd:{','.join(etcd.endpoints)}", "/feed"
    halted: list[str] = []
    async with (
        TestServer(store=store, etcd_prefix=prefix, data_dir=tmp_path / "leader") as leader,
        standby_of(store, prefix, tmp_path / "standby") as standby,
        connect(
            f"{leader.target},{standby.target}", agent_id="A", on_halt=lambda halt: halted.append(halt.reason)
        ) as agent,
        leader.operator() as operator,
        Operator(standby.target, operator="mara") as beside_the_standby,
    ):
        assert leader.coordinator.runtime.leading and not standby.runtime.leading
        held = await agent.acquire("Z_31", expected_ms=60_000)
        elsewhere = await agent.acquire("Z_41", expected_ms=60_000)
        async with asyncio.timeout(10):
            while not standby.runtime.on_stop:  # noqa: ASYNC110 - the watch is open when its list has one
                await asyncio.sleep(0.01)
        tripped = await beside_the_standby.trip_stop("smoke", zone="Z_32")  # answered when the leader has recorded it
        assert await held.lost == await elsewhere.lost == "stopped"
        (latched,) = agent.active_stops
        assert latched.tripped_by == "mara"
        async with asyncio.timeout(10):
            async for picture in operator.watch():
                if any(s.stop_id == latched.stop_id and "A" in s.acknowledged_by for s in picture.stops):
                    break
        assert "stopped" in halted
        (recorded,) = await operator.stops()
        assert recorded.stop_id == latched.stop_id == tripped.stop_id
        assert "west" in recorded.stop_groups
        assert [s.stop_id for s in standby.runtime.known_stops()] == [tripped.stop_id]
        for zone in await operator.zones("Z_31", "Z_41"):
            assert [o.cause for o in zone.occupants] == [floor_pb2.BLOCK_CAUSE_STOPPED]
        # An operator's reset reaches the leader by way of the standby, and the standby tells of the stop no longer.
        await beside_the_standby.reset([latched.stop_id], "looked: nothing burns")
        async with asyncio.timeout(10):
            await agent.stop_cleared()
            while standby.runtime.known_stops():  # noqa: ASYNC110 - told by the leader, some milliseconds later
                await asyncio.sleep(0.01)
        async with agent.hold("Z_31", "Z_41", expected_ms=8_000) as again:
            await again.cleared()
        assert agent.active_stops == ()


async def test_a_floor_stop_latches_an_agent_with_nothing_until_the_leader_lets_it_go(board: Board) -> None:
    async with (
        TestServer(check_invariants=True) as server,
        connect(f"{server.target},{board.target}", agent_id="A") as agent,
    ):
        async with asyncio.timeout(10):
            while not server.coordinator.runtime.on_stop:  # noqa: ASYNC110 - the watch is open when its list has one
                await asyncio.sleep(0.01)
        tripped = await server.stop_floor()
        await until_acknowledged(server, tripped.stop_id)
        assert [s.stop_id for s in agent.active_stops] == [tripped.stop_id]
        await server.reset(tripped.stop_id)
        async with asyncio.timeout(10):
            await agent.stop_cleared()
        await (await agent.acquire("Z_31", expected_ms=8_000)).cleared()


async def test_one_that_waits_in_the_scope_and_holds_elsewhere_is_stopped_as_a_whole(board: Board) -> None:
    """Told by another coordinator first; the leader itself only turned its ask away."""
    async with (
        TestServer(check_invariants=True) as server,
        connect(f"{server.target},{board.target}", agent_id="A") as agent,
        connect(server.target, agent_id="B") as other,
        server.operator() as operator,
    ):
        await other.acquire("Z_31", expected_ms=60_000)
        held = await agent.acquire("Z_41", expected_ms=60_000)
        waiting = asyncio.create_task(agent.acquire("Z_31", expected_ms=8_000))
        await until_waiting(server, "A")
        await board.watched.wait()
        board.news.put_nowait(told("s1", "Z_31", "Z_32"))
        with pytest.raises(GrantRejected, match="STOPPED"):
            await waiting
        assert await held.lost == "stopped"
        await until_acknowledged(server, "s1")
        assert await shown(server, "Z_41") == "STOPPED STOPPED"
        await operator.reset(["s1"], "looked")
        async with asyncio.timeout(10):
            await agent.stop_cleared()
        await (await agent.acquire("Z_41", expected_ms=8_000)).cleared()

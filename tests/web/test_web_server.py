"""What the floor map's server answers, and that no browser can hurt the coordinator through it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession
from web import fake_floor
from web.fake_feed import FakeFeed, FakeFloor
from zonelock.v1 import floor_pb2, zone_service_pb2

from coordinator.web import broadcast
from coordinator.web.server import WebListenError, WebServer, parse_listen

PATIENCE_S = 20.0


@asynccontextmanager
async def serving(feed: broadcast.Feed, **options: Any) -> AsyncIterator[tuple[str, ClientSession]]:
    server = WebServer(feed, fake_floor.floor_message(), "127.0.0.1:0", **options)
    port = await server.start()
    try:
        async with ClientSession() as session, asyncio.timeout(PATIENCE_S):
            yield f"http://127.0.0.1:{port}", session
    finally:
        await server.stop()


class Events:
    """Reads server-sent events off a response."""

    def __init__(self, response: ClientResponse) -> None:
        self.response = response
        self.last_id = ""

    async def next(self, kind: str = "message") -> Any:
        """The data of the next event of that kind."""
        while True:
            fields: dict[str, str] = {}
            while line := (await self._line()).rstrip("\n"):
                name, _, value = line.partition(": ")
                fields[name] = value
            self.last_id = fields.get("id", self.last_id)
            if "data" in fields and fields.get("event", "message") == kind:
                return json.loads(fields["data"])

    async def _line(self) -> str:
        line = await self.response.content.readuntil(b"\n")
        if not line:
            raise EOFError("the stream ended")
        return line.decode()

    async def retry_ms(self) -> int:
        line = await self.response.content.readuntil(b"\n\n")
        return int(line.decode().removeprefix("retry: "))


class ManualFeed:
    """Hands out what the test puts in; `subscribed` counts subscriptions ever made, `open` those that still run."""

    def __init__(self) -> None:
        self.updates: asyncio.Queue[zone_service_pb2.WatchFloorResponse | Exception | None] = asyncio.Queue()
        self.subscribed = 0
        self.open = 0
        self.left = asyncio.Event()

    def put(self, *, snapshot: bool = False, zones: int = 1, fill: str = "Z") -> None:
        views = [floor_pb2.ZoneView(name=f"{fill}_{n}", state=floor_pb2.ZONE_STATE_FREE) for n in range(zones)]
        self.updates.put_nowait(zone_service_pb2.WatchFloorResponse(snapshot=snapshot, epoch=5, zones=views))

    async def subscribe(self, min_interval_ms: int = 0) -> AsyncIterator[zone_service_pb2.WatchFloorResponse]:
        self.subscribed += 1
        self.open += 1
        try:
            while (update := await self.updates.get()) is not None:
                if isinstance(update, Exception):
                    raise update
                yield update
        finally:
            self.open -= 1
            self.left.set()


async def test_the_page_and_everything_it_loads_come_from_this_server_under_a_strict_policy() -> None:
    async with serving(FakeFeed(FakeFloor())) as (url, session):
        async with session.get(f"{url}/") as page:
            text = await page.text()
            assert page.status == 200
            assert page.headers["Content-Type"] == "text/html; charset=utf-8"
            assert page.headers["Content-Security-Policy"].startswith("default-src 'self';")
            assert page.headers["Cache-Control"] == "no-cache"
            assert page.headers["X-Content-Type-Options"] == "nosniff"
        assert "http://" not in text
        assert "https://" not in text
        for name in ("main.js", "theme.css", "icon.svg"):
            async with session.get(f"{url}/{name}") as part:
                assert part.status == 200, name
                assert "charset=utf-8" in part.headers["Content-Type"]


async def test_an_unchanged_file_is_not_sent_twice() -> None:
    async with serving(FakeFeed(FakeFloor())) as (url, session):
        async with session.get(f"{url}/main.js") as first:
            etag = first.headers["ETag"]
        async with session.get(f"{url}/main.js", headers={"If-None-Match": etag}) as second:
            assert second.status == 304
            assert await second.read() == b""


@pytest.mark.parametrize("path", ["/nothing.js", "/../server.py", "/static/main.js", "/server.py", "/%2e%2e/server.py"])
async def test_nothing_else_is_served(path: str) -> None:
    async with serving(FakeFeed(FakeFloor())) as (url, session), session.get(url + path) as answer:
        assert answer.status == 404
        assert "Content-Security-Policy" in answer.headers


async def test_the_map_cannot_change_anything() -> None:
    async with serving(FakeFeed(FakeFloor())) as (url, session):
        for path in ("/", "/api/floor", "/api/watch", "/healthz", "/readyz"):
            async with session.post(url + path, data=b"x" * 10) as answer:
                assert answer.status == 405, path


async def test_the_floor_is_json_with_snake_case_names() -> None:
    async with serving(FakeFeed(FakeFloor())) as (url, session), session.get(f"{url}/api/floor") as answer:
        floor = await answer.json()
    assert floor["cell_mm"] == 1_000
    assert {zone["name"] for zone in floor["zones"]} == set(fake_floor.ZONES)
    assert floor["zones"][0]["hold_max_ms"] == "60000"


async def test_a_watcher_gets_the_whole_picture_then_changes_in_order() -> None:
    feed = FakeFeed(FakeFloor())
    async with serving(feed) as (url, session), session.get(f"{url}/api/watch") as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert answer.headers["Cache-Control"] == "no-store"
        events = Events(answer)
        assert await events.retry_ms() == 1_000
        whole = await events.next()
        assert whole["snapshot"] is True
        assert whole["leading"] is True
        assert {zone["name"] for zone in whole["zones"]} == set(fake_floor.ZONES)
        ids = [events.last_id]
        for _ in range(3):
            update = await events.next()
            assert update["snapshot"] is False
            assert update["server_ms"] >= whole["server_ms"]
            ids.append(events.last_id)
    run, first = ids[0].split("-")
    assert ids == [f"{run}-{int(first) + n}" for n in range(4)]


async def test_the_feed_is_subscribed_once_for_all_browsers_and_not_at_all_without() -> None:
    feed = ManualFeed()
    feed.put(snapshot=True)
    async with serving(feed) as (url, session):
        assert feed.subscribed == 0
        async with session.get(f"{url}/api/watch") as one, session.get(f"{url}/api/watch") as two:
            assert (await Events(one).next())["snapshot"]
            assert (await Events(two).next())["snapshot"]
            assert feed.subscribed == feed.open == 1
        feed.put()  # a closed connection is noticed by the next write
        feed.put()
        await feed.left.wait()
        assert feed.open == 0


async def test_a_late_browser_gets_the_same_picture_as_an_early_one() -> None:
    feed = ManualFeed()
    feed.put(snapshot=True, zones=1_203)
    async with serving(feed) as (url, session), session.get(f"{url}/api/watch") as early:
        first = Events(early)
        assert len((await first.next())["zones"]) == 1_203
        feed.put(fill="Y", zones=2)
        assert len((await first.next())["zones"]) == 2
        async with session.get(f"{url}/api/watch") as late:
            whole = await Events(late).next()
    assert whole["snapshot"]
    assert len(whole["zones"]) == 1_205


async def test_a_browser_that_reconnects_at_once_carries_on_from_its_last_event() -> None:
    feed = ManualFeed()
    feed.put(snapshot=True)
    async with serving(feed) as (url, session), session.get(f"{url}/api/watch") as steady:
        keeping = Events(steady)
        await keeping.next()
        known = keeping.last_id
        feed.put(fill="A")
        feed.put(fill="B")
        await keeping.next()
        await keeping.next()
        async with session.get(f"{url}/api/watch", headers={"Last-Event-ID": known}) as again:
            events = Events(again)
            missed = [await events.next(), await events.next()]
        assert [update["zones"][0]["name"] for update in missed] == ["A_0", "B_0"]
        assert not any(update["snapshot"] for update in missed)


@pytest.mark.parametrize("odd", ["", "x", "-", "00000000-1", "run-99999999999999999999", "run-²", "run--1"])
async def test_an_event_id_of_another_run_gets_the_whole_picture(odd: str) -> None:
    feed = ManualFeed()
    feed.put(snapshot=True)
    known = {"Last-Event-ID": odd.encode().decode("latin-1")}
    async with serving(feed) as (url, session), session.get(f"{url}/api/watch", headers=known) as answer:
        assert (await Events(answer).next())["snapshot"]


async def test_a_browser_that_fell_behind_gets_a_snapshot_instead_of_the_backlog() -> None:
    feed = ManualFeed()
    feed.put(snapshot=True)
    async with serving(feed) as (url, session), session.get(f"{url}/api/watch") as steady:
        keeping = Events(steady)
        await keeping.next()
        known = keeping.last_id
        for n in range(broadcast.RING_UPDATES + 5):
            feed.put(fill=f"N{n}")
            await keeping.next()
        async with session.get(f"{url}/api/watch", headers={"Last-Event-ID": known}) as again:
            whole = await Events(again).next()
    assert whole["snapshot"]
    assert len(whole["zones"]) == 1 + broadcast.RING_UPDATES + 5


async def test_silence_is_filled_with_a_comment_and_an_alive_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broadcast, "ALIVE_S", 0.05)
    leads = True
    feed = ManualFeed()
    async with serving(feed, leading=lambda: leads) as (url, session), session.get(f"{url}/api/watch") as answer:
        events = Events(answer)
        assert (await events.next("alive"))["leading"] is True
        leads = False
        while (await events.next("alive"))["leading"]:
            pass
        async with session.get(f"{url}/healthz") as health:
            assert (await health.json())["leading"] is False


@pytest.mark.parametrize(("leads", "ready", "answers"), [(True, True, (200, 200)), (False, True, (200, 503))])
async def test_a_standby_is_ready_and_does_not_lead(leads: bool, ready: bool, answers: tuple[int, int]) -> None:
    async with serving(
        ManualFeed(), leading=lambda: leads, not_ready_because=lambda: "" if ready else "nobody leads"
    ) as (url, session):
        for query, status in zip(("", "?leading"), answers, strict=True):
            async with session.get(f"{url}/readyz{query}") as answer:
                assert answer.status == status
                assert await answer.json() == {
                    "ready": ready,
                    "leading": leads,
                    "because": "" if ready else "nobody leads",
                }


async def test_one_browser_too_many_is_told_so() -> None:
    feed = ManualFeed()
    feed.put(snapshot=True)
    async with serving(feed, max_watchers=2) as (url, session):
        async with session.get(f"{url}/api/watch") as one, session.get(f"{url}/api/watch") as two:
            await Events(one).next()
            await Events(two).next()
            async with session.get(f"{url}/api/watch") as third:
                assert third.status == 503
                assert third.headers["Retry-After"] == "5"
                problem = await third.json()
                assert problem["error"] == "TOO_MANY_WATCHERS"
                assert "zonelock watch" in problem["message"]
            async with session.get(f"{url}/healthz") as health:
                state = await health.json()
        assert state == {"status": "ok", "leading": True, "watchers": 2, "watchers_max": 2}


async def test_a_browser_that_never_reads_is_dropped_and_the_others_do_not_notice(
    caplog: pytest.LogCaptureFixture,
) -> None:
    feed = ManualFeed()
    feed.put(snapshot=True)
    async with serving(feed, write_timeout_s=0.3) as (url, session), session.get(f"{url}/api/watch") as answer:
        events = Events(answer)
        await events.next()
        port = int(url.rpartition(":")[2])
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            deaf.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(deaf, ("127.0.0.1", port))
            await loop.sock_sendall(deaf, b"GET /api/watch HTTP/1.1\r\nHost: x\r\n\r\n")
            while "read nothing" not in caplog.text:
                feed.put(zones=2_000, fill="zone_with_a_long_name_so_that_buffers_fill")
                assert len((await events.next())["zones"]) == 2_000
        async with session.get(f"{url}/healthz") as health:
            assert (await health.json())["watchers"] == 1


async def test_a_feed_that_fails_ends_the_streams_and_the_next_browser_starts_afresh(
    caplog: pytest.LogCaptureFixture,
) -> None:
    feed = ManualFeed()
    feed.put(snapshot=True)
    async with serving(feed) as (url, session):
        async with session.get(f"{url}/api/watch") as answer:
            events = Events(answer)
            await events.next()
            feed.updates.put_nowait(RuntimeError("planted"))
            with pytest.raises(EOFError):
                await events.next()
        assert "planted" in caplog.text
        feed.put(snapshot=True)
        async with session.get(f"{url}/api/watch", headers={"Last-Event-ID": events.last_id}) as again:
            assert (await Events(again).next())["snapshot"]


async def test_stopping_ends_every_stream_at_once() -> None:
    feed = ManualFeed()
    feed.put(snapshot=True)
    server = WebServer(feed, fake_floor.floor_message(), "127.0.0.1:0")
    port = await server.start()
    url = f"http://127.0.0.1:{port}/api/watch"
    async with asyncio.timeout(PATIENCE_S), ClientSession() as session, session.get(url) as answer:
        events = Events(answer)
        await events.next()
        await server.stop()
        with pytest.raises(EOFError):
            await events.next()
        await feed.left.wait()
    assert feed.open == 0
    await server.stop()


async def test_a_port_in_use_is_named_with_what_to_try() -> None:
    async with serving(FakeFeed(FakeFloor())) as (url, _):
        taken = url.removeprefix("http://")
        second = WebServer(FakeFeed(FakeFloor()), fake_floor.floor_message(), taken)
        with pytest.raises(WebListenError, match=rf"cannot listen on {taken}: .*in use.*--web HOST:PORT"):
            await second.start()


@pytest.mark.parametrize("wrong", ["", "7680", "localhost", "127.0.0.1:", "127.0.0.1:70000", "127.0.0.1:-1", "a:b"])
def test_an_address_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(WebListenError, match="write HOST:PORT"):
        parse_listen(wrong)


def test_an_address_may_be_of_ipv6() -> None:
    assert parse_listen("[::1]:7680") == ("::1", 7680)

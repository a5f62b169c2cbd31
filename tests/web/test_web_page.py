"""The page in a real browser: what the feed says arrives in it, stops shout, and a dead coordinator shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from web import fake_floor
from web.browser import Tab, chromium
from web.fake_feed import FakeFeed, FakeFloor
from zonelock.v1 import floor_pb2

from coordinator.web.server import WebServer

ZONES = len(fake_floor.ZONES)


def text(selector: str) -> str:
    return f"document.querySelector({selector!r}).innerText"


class Site:
    """A served fake floor, and a tab on it."""

    def __init__(self, floor: FakeFloor, feed: FakeFeed, server: WebServer, tab: Tab, url: str) -> None:
        self.floor, self.feed, self.server, self.tab, self.url = floor, feed, server, tab, url


@pytest.fixture
async def site(chromium_binary: Path, tmp_path: Path) -> Any:
    floor = FakeFloor()
    while not any(vehicle.waits for vehicle in floor.vehicles):
        floor.step(100)
    feed = FakeFeed(floor, playing=False)
    server = WebServer(feed, fake_floor.floor_message(), "127.0.0.1:0")
    url = f"http://127.0.0.1:{await server.start()}/"
    try:
        async with chromium(chromium_binary, tmp_path / "profile") as tab:
            await tab.view(width=1280, height=800)
            await tab.open(url)
            await tab.until("globalThis.zonelock && zonelock.connection.state === 'live'")
            yield Site(floor, feed, server, tab, url)
    finally:
        await server.stop()


async def test_what_the_feed_says_arrives_on_the_page(site: Site) -> None:
    tab, floor = site.tab, site.floor
    assert await tab.value("zonelock.state.zones.size") == ZONES
    assert await tab.value("zonelock.state.agents.size") == len(floor.vehicles) + 3
    waiter = next(vehicle for vehicle in floor.vehicles if vehicle.waits)
    await tab.until(f"{text('#waits')}.includes('{waiter.agent_id}') && {text('#waits')}.includes('{waiter.waits}')")
    assert await tab.value("zonelock.state.blockersOf(zonelock.state.waits[0]).length") >= 1

    before = await tab.value("zonelock.state.agents.get('AGV_01').view.x_mm")
    site.feed.playing = True
    await tab.until(f"zonelock.state.agents.get('AGV_01').view.x_mm !== '{before}'")
    await tab.until("Number(zonelock.state.totals.grants) > 0 && zonelock.state.rates.length > 0")
    await tab.until("document.querySelectorAll('#log li.grant').length > 0")

    assert await tab.value(text("#stops")) == "No stop is active."
    stop_id = floor.overstay("AGV_04")
    await tab.until(f"zonelock.state.stops.has('{stop_id}')")
    await tab.until(f"{text('#stops')}.includes('zonelock reset {stop_id} --reason')")
    assert "AGV_04" in await tab.value(text("#stops"))
    assert await tab.value("document.querySelector('#spoken').textContent.includes('Stop in')")
    await tab.until("document.title.includes('1 stop')")
    zone = floor.stops[stop_id].zones[0]
    assert await tab.value(f"zonelock.state.zones.get('{zone}').state") == "STOPPED"

    site.feed.ended.append(floor.reset(stop_id))
    await tab.until("zonelock.state.stops.size === 0")
    await tab.until(f"{text('#log')}.includes('maria reset {stop_id}: aisle walked')")

    assert tab.complaints == []
    foreign = [url for url in tab.requested if not url.startswith((site.url, "data:", "about:", "chrome"))]
    assert foreign == []


async def test_a_click_explains_a_zone_and_a_key_steps_to_an_agent(site: Site) -> None:
    tab = site.tab
    x, y = await tab.value(
        """(() => { const {x, y} = document.querySelector('#live').getBoundingClientRect();
            const at = zonelock.camera.toScreen(...zonelock.plan.zones.get('dock_a').heart);
            return [x + at[0], y + at[1]]; })()"""
    )
    for kind in ("mousePressed", "mouseReleased"):
        await tab.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
    await tab.until(f"{text('#card')}.includes('dock_a') && {text('#card')}.includes('UNKNOWN')")
    await tab.value("document.querySelector('#live').focus()")
    await tab.call("Input.dispatchKeyEvent", type="keyDown", key="a", text="a")
    await tab.until(f"{text('#card')}.includes('AGV_01') && {text('#card')}.includes('token 10995116')")
    await tab.call("Input.dispatchKeyEvent", type="keyDown", key="Escape")
    await tab.until("document.querySelector('#card').hidden")
    assert tab.complaints == []


async def test_a_dead_coordinator_shows_and_its_return_does_too(site: Site) -> None:
    tab = site.tab
    port = int(site.url.rstrip("/").rpartition(":")[2])
    await site.server.stop()
    await tab.until(f"{text('#link')}.includes('reconnecting')")
    await tab.until("document.body.classList.contains('stale') && !document.querySelector('#banner').hidden")
    assert "No contact for" in await tab.value(text("#banner"))
    assert await tab.value("document.title.includes('no contact')")
    again = WebServer(site.feed, fake_floor.floor_message(), f"127.0.0.1:{port}")
    await again.start()
    try:
        await tab.until("zonelock.connection.state === 'live' && !document.body.classList.contains('stale')")
        assert await tab.value("zonelock.state.zones.size") == ZONES
    finally:
        await again.stop()


async def test_a_coordinator_that_cannot_grant_says_so_and_names_cannot_inject_markup(
    chromium_binary: Path, tmp_path: Path
) -> None:
    floor = FakeFloor()
    feed = FakeFeed(floor, playing=False)
    hostile = "<img src=x onerror=alert(1)>"
    floor.vehicles[0].agent_id = hostile
    for slots in floor.slots.values():
        for slot in slots:
            slot.agent_id = hostile if slot.agent_id == "AGV_01" else slot.agent_id
    floor.stops["s'1"] = floor_pb2.Stop(
        stop_id="s'1",
        cause=floor_pb2.STOP_CAUSE_OPERATOR,
        floor=True,
        active=True,
        reason=hostile,
        unconfirmed=[hostile],
    )
    floor.stop_since["s'1"] = 0
    server = WebServer(feed, fake_floor.floor_message(), "127.0.0.1:0", leading=lambda: False)
    url = f"http://127.0.0.1:{await server.start()}/"
    try:
        async with chromium(chromium_binary, tmp_path / "profile") as tab:
            await tab.view(width=1024, height=768, dark=False)
            await tab.open(url)
            await tab.until("zonelock.connection.state === 'idle' && !document.querySelector('#banner').hidden")
            assert "cannot grant" in await tab.value(text("#banner"))
            await tab.until(f"{text('#stops')}.includes('<img')")
            assert r"zonelock reset 's'\''1' --reason" in await tab.value(text("#stops"))
            assert "zonelock clear --agent '<img src=x onerror=alert(1)>'" in await tab.value(text("#stops"))
            await tab.value(f"zonelock.choose({{kind: 'agent', name: {hostile!r}}}, true)")
            await tab.until(f"{text('#card')}.includes('<img')")
            assert await tab.value("document.querySelectorAll('aside img, section img').length") == 0
            assert tab.complaints == []
    finally:
        await server.stop()

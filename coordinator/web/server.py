"""The HTTP server of the live floor map: `/`, `/api/floor`, `/api/watch`; `/healthz`, `/readyz`; `/metrics`.

It only ever reads: there is no route that changes anything. Rule: no browser may hurt the coordinator. Watchers are
bounded, each has WRITE_TIMEOUT_S to take what it is sent, and what is sent is encoded once for all (see `broadcast`).
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from zonelock.v1 import floor_pb2

from coordinator.web.broadcast import Feed, FloorBroadcast
from coordinator.web.drawing import floor_json
from coordinator.web.pages import SECURITY_HEADERS, Resource, load_pages

MAX_WATCHERS = 64
RETRY_MS = 1_000
"""What browsers are told to wait before they reconnect."""
WRITE_TIMEOUT_S = 10.0
"""A browser that takes nothing for this long is dropped; it reconnects and gets a fresh picture."""
STOP_TIMEOUT_S = 2.0
MAX_REQUEST_BYTES = 1_024

_log = logging.getLogger(__name__)


class WebListenError(Exception):
    """The address cannot be listened on; the message says why and what to try."""


class WebServer:
    """Serves the live floor map on `listen` ("host:port"; port 0 picks a free one).

    `leading` says whether the coordinator can grant right now; the page shows a banner while it cannot. `ready` says
    whether it does what its role asks for, as a standby does that follows a leader. `metrics` gives
    the text of `/metrics` and its content type.
    """

    def __init__(
        self,
        feed: Feed,
        floor_pb: floor_pb2.Floor,
        listen: str,
        *,
        leading: Callable[[], bool] = lambda: True,
        not_ready_because: Callable[[], str] = lambda: "",
        metrics: Callable[[], Awaitable[tuple[bytes, str]]] | None = None,
        max_watchers: int = MAX_WATCHERS,
        write_timeout_s: float = WRITE_TIMEOUT_S,
    ) -> None:
        self._host, self._port = parse_listen(listen)
        self._listen = listen
        self._leading, self._not_ready_because = leading, not_ready_because
        self._metrics = metrics
        self._max_watchers = max_watchers
        self._write_timeout_s = write_timeout_s
        self._watchers = 0
        self._broadcast = FloorBroadcast(feed, clock_ms=_boot_ms, leading=leading)
        self._floor = Resource.of(_encode(floor_json(floor_pb)), "application/json")
        self._pages = load_pages()
        self._runner: web.AppRunner | None = None

    async def start(self) -> int:
        """Listens; returns the port. Raises WebListenError."""
        app = web.Application(middlewares=[_with_security_headers], client_max_size=MAX_REQUEST_BYTES)
        app.router.add_get("/api/floor", self._serve_floor)
        app.router.add_get("/api/watch", self._serve_watch, allow_head=False)
        app.router.add_get("/healthz", self._serve_health)
        app.router.add_get("/readyz", self._serve_readiness)
        if self._metrics is not None:
            app.router.add_get("/metrics", self._serve_metrics)
        app.router.add_get("/{name:[a-z_]*[.]?[a-z]*}", self._serve_page)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=STOP_TIMEOUT_S)
        await runner.setup()
        try:
            site = web.TCPSite(runner, self._host, self._port)
            await site.start()
        except (OSError, OverflowError) as error:
            await runner.cleanup()
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise WebListenError(
                f"web: cannot listen on {self._listen}: {reason}; give another address with --web HOST:PORT,"
                " or stop what uses this one"
            ) from error
        self._runner = runner
        return int(runner.addresses[0][1])

    async def stop(self) -> None:
        """Ends every browser's stream and stops listening. Idempotent."""
        self._broadcast.close()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _serve_page(self, request: web.Request) -> web.Response:
        page = self._pages.get(request.match_info["name"])
        if page is None:
            raise web.HTTPNotFound(text="not found; the floor map is at /\n")
        return page.respond(request)

    async def _serve_floor(self, request: web.Request) -> web.Response:
        return self._floor.respond(request)

    async def _serve_health(self, request: web.Request) -> web.Response:
        state = {
            "status": "ok",
            "leading": self._leading(),
            "watchers": self._watchers,
            "watchers_max": self._max_watchers,
        }
        return web.json_response(state, headers={hdrs.CACHE_CONTROL: "no-store"})

    async def _serve_metrics(self, request: web.Request) -> web.Response:
        if self._metrics is None:
            raise web.HTTPNotFound
        text, kind = await self._metrics()
        return web.Response(body=text, headers={hdrs.CONTENT_TYPE: kind, hdrs.CACHE_CONTROL: "no-store"})

    async def _serve_readiness(self, request: web.Request) -> web.Response:
        """200 while the coordinator does what its role asks for; with `?leading` only while it leads."""
        because = self._not_ready_because()
        state = {"ready": not because, "leading": self._leading(), "because": because}
        served = state["leading"] if "leading" in request.query else state["ready"]
        return web.json_response(state, status=200 if served else 503, headers={hdrs.CACHE_CONTROL: "no-store"})

    async def _serve_watch(self, request: web.Request) -> web.StreamResponse:
        if self._watchers >= self._max_watchers:
            return self._too_many()
        self._watchers += 1
        try:
            return await self._stream(request)
        finally:
            self._watchers -= 1

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={hdrs.CONTENT_TYPE: "text/event-stream", hdrs.CACHE_CONTROL: "no-store", "X-Accel-Buffering": "no"}
        )
        await response.prepare(request)
        frames = self._broadcast.frames(request.headers.get("Last-Event-ID", ""))
        try:
            async with aclosing(frames):
                await self._write(response, f"retry: {RETRY_MS}\n\n".encode())
                async for frame in frames:
                    await self._write(response, frame)
        except TimeoutError:
            _log.warning(
                "floor map: dropped a browser at %s that read nothing for %s s", request.remote, self._write_timeout_s
            )
            if request.transport is not None:
                request.transport.abort()
        except ConnectionError:  # the browser went away, which is how watching normally ends
            pass
        return response

    async def _write(self, response: web.StreamResponse, data: bytes) -> None:
        async with asyncio.timeout(self._write_timeout_s):
            await response.write(data)

    def _too_many(self) -> web.Response:
        problem = {
            "error": "TOO_MANY_WATCHERS",
            "message": f"{self._max_watchers} browsers watch this floor already, which is the limit;"
            " close one, or watch with `zonelock watch`",
        }
        return web.json_response(problem, status=503, headers={hdrs.RETRY_AFTER: "5", hdrs.CACHE_CONTROL: "no-store"})


@web.middleware
async def _with_security_headers(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        response = await handler(request)
    except web.HTTPException as refusal:
        refusal.headers.update(SECURITY_HEADERS)
        raise
    if not response.prepared:
        response.headers.update(SECURITY_HEADERS)
    return response


def parse_listen(listen: str) -> tuple[str, int]:
    """Splits "host:port" or "[v6]:port". Raises WebListenError."""
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65_535:
        raise WebListenError(f"web: {listen!r} is not an address; write HOST:PORT, such as 127.0.0.1:7680")
    return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)


def _encode(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _boot_ms() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000

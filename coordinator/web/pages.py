"""The page and the scripts beside it, read once from package data and served from memory.

Everything the page needs is here: no other host is ever asked. Files are revalidated by content hash, so a browser
never mixes the scripts of two releases and yet transfers each only once.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from importlib.resources import files

from aiohttp import hdrs, web

CONTENT_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
GZIP_ABOVE_BYTES = 1_000

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclass(frozen=True, slots=True)
class Resource:
    """One body that is the same for every browser."""

    body: bytes
    zipped: bytes | None
    content_type: str
    etag: str

    @staticmethod
    def of(body: bytes, content_type: str) -> Resource:
        zipped = gzip.compress(body, 6, mtime=0) if len(body) > GZIP_ABOVE_BYTES else None
        return Resource(body, zipped, content_type, hashlib.sha256(body).hexdigest()[:32])

    def respond(self, request: web.Request) -> web.Response:
        known = request.if_none_match or ()
        headers = {hdrs.CACHE_CONTROL: "no-cache", hdrs.ETAG: f'"{self.etag}"', hdrs.VARY: hdrs.ACCEPT_ENCODING}
        if any(tag.value in (self.etag, "*") for tag in known):
            return web.Response(status=304, headers=headers)
        body = self.body
        if self.zipped is not None and "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, ""):
            body = self.zipped
            headers[hdrs.CONTENT_ENCODING] = "gzip"
        return web.Response(body=body, headers=headers, content_type=self.content_type, charset="utf-8")


def load_pages() -> dict[str, Resource]:
    """Every file of the page by its path under `/`; the page itself under the empty name."""
    found = {}
    for entry in files("coordinator.web").joinpath("static").iterdir():
        content_type = CONTENT_TYPES.get("." + entry.name.rpartition(".")[2])
        if content_type is not None:
            name = "" if entry.name == "index.html" else entry.name
            found[name] = Resource.of(entry.read_bytes(), content_type)
    return found

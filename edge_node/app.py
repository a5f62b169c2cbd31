"""The whole edge node: clean-up, processes, sink, link. The only file that sees everything.

Rule owned: the sink gets every entry before the link acts on it. Ends by SIGTERM, SIGINT, or when every source has
ended.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from edge_node.alone import alone
from edge_node.config import EdgeConfig, load
from edge_node.entries import BadEntry, Entry, Kind, anomaly_of, incident
from edge_node.keeping import Bringing, start_bringing
from edge_node.link import Link
from edge_node.ring import remove_stale
from edge_node.sink import JsonLinesSink, Sink
from edge_node.supervisor import Supervisor

log = logging.getLogger(__name__)

LINK_RETRY_S = 1.0
ENDING = (signal.SIGTERM, signal.SIGINT)


@dataclass(slots=True)
class EdgeNode:
    """`also` sees every entry after the sink (for a terminal, for tests)."""

    config_path: Path
    config: EdgeConfig
    also: Callable[[Entry], None] = lambda entry: None
    sink: Sink = field(init=False)
    supervisor: Supervisor = field(init=False)
    link: Link | None = None

    def __post_init__(self) -> None:
        c = self.config
        self.sink = JsonLinesSink(c.sink.path, c.sink.bytes_max, c.sink.files_max)
        names = tuple(source.name for source in c.sources)
        replays = frozenset(source.name for source in c.sources if source.kind == "replay")
        stall_s = c.stall_ms / 1_000
        self.supervisor = Supervisor(self.config_path, names, c.ring.folder, stall_s, self.take, replays)
        if c.coordinator is not None:
            self.link = Link(c.coordinator, c.node, self.keep)

    @classmethod
    def load(cls, path: Path, also: Callable[[Entry], None] = lambda entry: None) -> EdgeNode:
        """Raises ConfigError."""
        return cls(path, load(path), also)

    def keep(self, entry: Entry) -> None:
        self.sink.write(entry)
        self.also(entry)

    def take(self, entry: Entry) -> None:
        """An entry of a child or of the supervisor."""
        self.keep(entry)
        if entry.kind is Kind.ANOMALY and self.link is not None:
            try:
                self.link.take(anomaly_of(entry))
            except BadEntry as error:
                log.error("an observer of %s hands on what cannot be read: %s", entry.source, error)

    async def _keep_link(self, link: Link) -> None:
        """A mistake in the link must not end the observing, nor go unnoticed."""
        while True:
            try:
                await link.run()
            except Exception as error:
                log.exception("the link to the coordinator failed; it starts again")
                self.keep(incident("node", "link_failed", repr(error)))
            await asyncio.sleep(LINK_RETRY_S)

    def _start_uploads(self) -> Callable[[], None]:
        """Returns what ends them."""
        config = self.config.snapshots
        if config is None or not config.url:
            return lambda: None
        loop = asyncio.get_running_loop()

        def say(entry: Entry) -> None:
            # After the loop's end there is nobody left to tell.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self.keep, entry)

        return start_bringing(Bringing(config, [source.name for source in self.config.sources], say)).set

    async def run(self) -> None:
        """Until SIGTERM or SIGINT, `supervisor.end()`, or the end of every source. Raises AlreadyRunning."""
        with alone(self.config.sink.path):
            await self._run()

    async def _run(self) -> None:
        for path in remove_stale(self.config.ring.folder):
            self.keep(incident("node", "stale_ring_removed", str(path)))
        loop = asyncio.get_running_loop()
        for number in ENDING:
            loop.add_signal_handler(number, self.supervisor.end)
        linked = asyncio.create_task(self._keep_link(self.link)) if self.link is not None else None
        end_uploads = self._start_uploads()
        try:
            await self.supervisor.run()
        finally:
            for number in ENDING:
                loop.remove_signal_handler(number)
            end_uploads()
            if linked is not None:
                linked.cancel()
                with suppress(asyncio.CancelledError):
                    await linked
            if self.link is not None:
                self.link.give_up()
            self.keep(incident("node", "ended", f"{self.sink.lost} entries lost"))
            self.sink.close()

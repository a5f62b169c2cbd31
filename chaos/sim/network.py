"""A simulated network of ordered byte streams: delay, loss, cuts of one or both ways, long stalls, resets.

What TCP gives is kept: within one direction nothing overtakes and nothing is lost without the connection ending. A cut
therefore *stalls*: what was sent arrives when it heals, long after both ends may have gone elsewhere, which is how old
and doubled frames come about. Never imports zonelock.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from chaos.sim.loop import NS_PER_MS, VirtualLoop

RETRANSMIT_MS = 200
"""A lost packet is sent again after this; the stream waits for it."""
KEEPALIVE_MS = 15_000
"""A direction that has stalled for this long ends the connection at both ends."""


@dataclass(slots=True)
class Way:
    """One direction between two hosts, and what is wrong with it. Shared by all connections between them."""

    loop: VirtualLoop
    rng: random.Random
    delay_us: tuple[int, int] = (200, 2_000)
    loss_permille: int = 0
    cuts: int = 0
    stalled_since_ns: int = 0
    pipes: list[Pipe] = field(default_factory=list)

    @property
    def cut(self) -> bool:
        return self.cuts > 0

    def block(self) -> None:
        if not self.cuts:
            self.stalled_since_ns = self.loop.true_ns
            self.loop.after_ms(KEEPALIVE_MS, self._give_up, self.loop.true_ns)
        self.cuts += 1

    def unblock(self) -> None:
        self.cuts -= 1
        if not self.cuts:
            for pipe in list(self.pipes):
                pipe.flush()

    def _give_up(self, since_ns: int) -> None:
        if self.cut and self.stalled_since_ns == since_ns:
            for pipe in list(self.pipes):
                pipe.on_dead()

    def delay_ns(self) -> int:
        delay = self.rng.randint(*self.delay_us) * 1_000
        while self.loss_permille and self.rng.randrange(1_000) < self.loss_permille:
            delay += RETRANSMIT_MS * NS_PER_MS
        return delay


class Pipe:
    """One direction of one connection. `deliver(item)` is called in order at the far end."""

    def __init__(self, way: Way, deliver: Callable[[Any], None], on_dead: Callable[[], None]) -> None:
        self._way, self._deliver, self.on_dead = way, deliver, on_dead
        self._under_way: deque[Any] = deque()
        self._flight = 0
        self._last_ns = 0
        self._closed = False
        way.pipes.append(self)

    @property
    def backlog(self) -> int:
        """Items that have not arrived."""
        return len(self._under_way)

    def send(self, item: Any) -> None:
        if self._closed:
            return
        self._under_way.append(item)
        if not self._way.cut:
            self._dispatch()

    def flush(self) -> None:
        """The way is open again: everything that waited leaves anew, in order."""
        self._flight += 1
        for _ in range(len(self._under_way)):
            self._dispatch()

    def close(self) -> None:
        """Nothing more arrives, not even what is under way."""
        self._closed = True
        self._under_way.clear()
        if self in self._way.pipes:
            self._way.pipes.remove(self)

    def _dispatch(self) -> None:
        loop = self._way.loop
        self._last_ns = max(self._last_ns + 1, loop.true_ns + self._way.delay_ns())
        loop.call_at_true(self._last_ns, self._arrive, self._flight)

    def _arrive(self, flight: int) -> None:
        if flight == self._flight and self._under_way and not self._way.cut:
            self._deliver(self._under_way.popleft())


class Network:
    """Ways between hosts, made when first used; each has its own stream of chance."""

    def __init__(
        self, loop: VirtualLoop, chance: Callable[[str], random.Random], delay_us: tuple[int, int] = (200, 2_000)
    ) -> None:
        self._loop, self._chance, self._delay_us = loop, chance, delay_us
        self._ways: dict[tuple[str, str], Way] = {}

    def way(self, sender: str, receiver: str) -> Way:
        way = self._ways.get((sender, receiver))
        if way is None:
            way = self._ways[sender, receiver] = Way(
                self._loop, self._chance(f"network {sender} {receiver}"), self._delay_us
            )
        return way

    def quicken(self, delay_us: tuple[int, int]) -> None:
        """From here on every way takes no longer than this."""
        self._delay_us = delay_us
        for way in self._ways.values():
            way.delay_us = delay_us

"""The streams and calls that answers leave by. Keeps the order of one stream's answers, and says of a frame that it was
handled at most once, with an answer where one goes anyway. Decides nothing, and never imports the runtime.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from coordinator.core import effects as fx
from coordinator.core.model import Mark
from coordinator.core.rejections import Refusal

ACKNOWLEDGE_MS = 50
"""How long an acknowledgement waits for an answer to go with; little beside the time after which an agent suspends."""

Metadata = tuple[tuple[str, str], ...]
"""What goes with a refusal, for programs: `("leader", address)`."""


class Outlet(Protocol):
    """A stream or a unary call, as the RPC layer implements it. Nothing here may block."""

    def deliver(self, sends: Sequence[fx.Send], *, stop: bool) -> None:
        """Takes answers; with `stop` they leave ahead of everything queued."""

    def acknowledge(self, frame: int, mark: Mark) -> None:
        """A fenced commit that began after `frame` was handled has succeeded; `mark` is where it left the ledger."""

    def fail(self, refusal: Refusal, message: str, metadata: Metadata = ()) -> None:
        """Ends the stream or call with this status; `metadata` may say where to go on."""


class Outlets:
    """Every open outlet by its number, and which frames of it are yet to be acknowledged."""

    def __init__(self) -> None:
        self._open: dict[int, Outlet] = {}
        self._next_conn = 1
        self._unsaid: dict[int, int] = {}
        self._said_ms = 0

    def __contains__(self, conn: int) -> bool:
        return conn in self._open

    def get(self, conn: int) -> Outlet | None:
        return self._open.get(conn)

    def attach(self, outlet: Outlet) -> int:
        conn = self._next_conn
        self._next_conn += 1
        self._open[conn] = outlet
        return conn

    def detach(self, conn: int) -> bool:
        """Whether it was open."""
        return self._open.pop(conn, None) is not None

    def let_go(self, stops: Sequence[fx.Send]) -> None:
        """Stops, ahead of everything queued. One by one: most go to a stream each, and sorting them would take time."""
        for send in stops:
            outlet = self._open.get(send.conn)
            if outlet is not None:
                outlet.deliver((send,), stop=True)

    def owe(self, handled: Mapping[int, int]) -> None:
        """Frames by stream that may be acknowledged from now on."""
        self._unsaid.update(handled)

    def deliver(self, answers: Sequence[fx.Send], mark: Mark) -> None:
        """Answers, each stream's with the acknowledgement that it is owed."""
        for conn, sends in _by_conn(answers).items():
            outlet = self._open.get(conn)
            if outlet is not None:
                outlet.deliver(sends, stop=False)
                frame = self._unsaid.pop(conn, 0)
                if frame:
                    outlet.acknowledge(frame, mark)

    def acknowledge(self, mark: Mark, now_ms: int, *, more_to_come: bool) -> None:
        """Acknowledgements without answers. While further answers wait for a commit, those that they could go with wait
        too, at most ACKNOWLEDGE_MS: a frame of its own costs as much as one with answers.
        """
        if more_to_come and now_ms - self._said_ms < ACKNOWLEDGE_MS:
            return
        self._said_ms = now_ms
        for conn, frame in self._unsaid.items():
            outlet = self._open.get(conn)
            if outlet is not None:
                outlet.acknowledge(frame, mark)
        self._unsaid.clear()

    def forget_owed(self) -> None:
        """What was handled is not known to be durable any more."""
        self._unsaid.clear()

    def fail_all(self, refusal: Refusal, message: str, metadata: Metadata = ()) -> None:
        """Ends every stream and call."""
        for conn in list(self._open):
            self._open.pop(conn).fail(refusal, message, metadata)


def _by_conn(sends: Sequence[fx.Send]) -> dict[int, list[fx.Send]]:
    found: dict[int, list[fx.Send]] = {}
    for send in sends:
        found.setdefault(send.conn, []).append(send)
    return found

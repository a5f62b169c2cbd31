"""How decided steps become one commit. Keeps their order, keeps a step whole where one transaction can take it, and
keeps what was heard with what was decided after it.

What is decided while a commit is under way gathers in the backlog; the next commit takes a batch of it. Never imports
the runtime.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from coordinator.core import effects as fx
from coordinator.store.port import MAX_OPERATIONS


@dataclass(frozen=True, slots=True)
class Batch:
    """What one commit makes durable, and what it lets go when it has."""

    steps: list[fx.Step]
    writes: dict[str, fx.Write]
    """The newest write of each record, in the order in which the records were first written."""
    heard: dict[int, int]
    """Stream -> its newest frame that was handled before this commit began."""

    def transactions(self) -> list[dict[str, fx.Write]]:
        """At most MAX_OPERATIONS each, in order; always at least one, for an empty commit is the tick."""
        items = list(self.writes.items())
        return [dict(items[i : i + MAX_OPERATIONS]) for i in range(0, max(1, len(items)), MAX_OPERATIONS)]


class Backlog:
    """What was decided and heard since the last batch was taken. True while steps wait in it."""

    def __init__(self) -> None:
        self._steps: deque[fx.Step] = deque()
        self._heard: dict[int, int] = {}

    def __len__(self) -> int:
        """Steps; none, and it is false."""
        return len(self._steps)

    def add(self, step: fx.Step) -> None:
        self._steps.append(step)

    def hear(self, conn: int, frame: int) -> None:
        self._heard[conn] = frame

    def take(self) -> Batch:
        """As many whole steps as fit in one transaction; a step that is larger than one comes alone."""
        steps: list[fx.Step] = []
        writes: dict[str, fx.Write] = {}
        while self._steps:
            step = self._steps[0]
            # Its writes may be of records that the batch writes anyway, which is looked at only when it matters.
            if steps and len(writes) + len(step.writes) > MAX_OPERATIONS:
                fresh = {write.key for write in step.writes} - writes.keys()
                if len(writes) + len(fresh) > MAX_OPERATIONS:
                    break
            steps.append(self._steps.popleft())
            for write in step.writes:
                writes[write.key] = write
        heard, self._heard = self._heard, {}
        return Batch(steps, writes, heard)

    def clear(self) -> None:
        self._steps.clear()
        self._heard.clear()

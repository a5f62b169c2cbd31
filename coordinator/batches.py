"""How decided steps are put together: their writes into transactions, their answers by stream. Keeps every order."""

from __future__ import annotations

from collections.abc import Sequence

from coordinator.core import effects as fx
from coordinator.store.port import MAX_OPERATIONS


def by_conn(sends: Sequence[fx.Send]) -> dict[int, list[fx.Send]]:
    found: dict[int, list[fx.Send]] = {}
    for send in sends:
        found.setdefault(send.conn, []).append(send)
    return found


def chunks(writes: dict[str, fx.Write]) -> list[dict[str, fx.Write]]:
    """Transactions of at most MAX_OPERATIONS in order; always at least one, for an empty commit is the tick."""
    items = list(writes.items())
    return [dict(items[i : i + MAX_OPERATIONS]) for i in range(0, max(1, len(items)), MAX_OPERATIONS)]

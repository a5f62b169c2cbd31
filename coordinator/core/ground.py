"""Which zone can be driven to from which, and ways from a place to where nobody is in the way. Imports nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

MAX_LOOK = 600
"""How many zones a search for a way looks at before it gives up."""


class Ground:
    """The floor's zones, by number, with the zones that can be driven to from each."""

    def __init__(self, zones: int, pairs: Iterable[tuple[int, int]]) -> None:
        ways: list[list[int]] = [[] for _ in range(zones)]
        for start, goal in pairs:
            ways[start].append(goal)
        self.ways = [tuple(sorted(set(beside))) for beside in ways]

    def ways_to(
        self, bit: Sequence[int], start: Iterable[int], shut: int, serves: int, look: int = MAX_LOOK
    ) -> Iterator[tuple[int, ...]]:
        """Shortest ways over zones that are not `shut` to zones that serve (both masks of `bit`), nearest first.

        `start` is left out of them. Looks at no more than `look` zones.
        """
        came = dict.fromkeys(sorted(start), -1)
        edge = deque(came)
        while edge and len(came) < look:
            current = edge.popleft()
            for zone in self.ways[current]:
                if zone in came or shut & bit[zone]:
                    continue
                came[zone] = current
                edge.append(zone)
                if serves & bit[zone]:
                    yield _back(came, zone)


def _back(came: dict[int, int], zone: int) -> tuple[int, ...]:
    way = [zone]
    while came[way[-1]] >= 0:
        way.append(came[way[-1]])
    return tuple(way[-2::-1])

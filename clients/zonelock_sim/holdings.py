"""What one agent holds: live grants by zone, and zones that it stands in without one.

The rule owned here: a zone is the agent's to move in only while its grant says so; once a grant is lost its zones are
*residue*, still occupied, until a new ask has converted them. Nothing is forgotten on silence. Imports nothing but the
shape of the SDK's grants.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

NEVER_ENTERED = frozenset({"late"})
"""Reasons of loss that leave nothing occupied: the SDK declined the grant before anyone moved on it."""


class Lost(Protocol):
    def is_set(self) -> bool: ...


class Grant(Protocol):
    """What the sim uses of `zonelock_client.Grant`."""

    @property
    def token(self) -> int: ...
    @property
    def zones(self) -> tuple[str, ...]: ...
    @property
    def lost(self) -> Lost: ...
    @property
    def lost_reason(self) -> str | None: ...
    def may_move(self) -> bool: ...
    def may_enter(self) -> bool: ...
    def remaining_ms(self) -> int: ...
    async def cleared(self, *zones: str) -> None: ...
    async def extend(self, expected_ms: int) -> int: ...
    async def park(self) -> None: ...
    async def standing(self) -> None: ...


class Holdings:
    def __init__(self) -> None:
        self._grants: dict[str, Grant] = {}
        self._leaving: set[str] = set()
        self._residue: set[str] = set()

    @property
    def occupied(self) -> frozenset[str]:
        """Everything the agent holds, gives back just now, or stands in without a grant."""
        return frozenset(self._grants.keys() | self._residue)

    @property
    def residue(self) -> frozenset[str]:
        return frozenset(self._residue)

    @property
    def leaving(self) -> frozenset[str]:
        return frozenset(self._leaving)

    def grant_of(self, zone: str) -> Grant | None:
        """The live grant to move in `zone` by; none for one that is being given back."""
        grant = self._grants.get(zone)
        if grant is None or zone in self._leaving or grant.lost.is_set():
            return None
        return grant

    def grants(self) -> list[Grant]:
        """Each grant once, by token."""
        return [grant for _, grant in sorted({grant.token: grant for grant in self._grants.values()}.items())]

    def zones_of(self, grant: Grant) -> tuple[str, ...]:
        """The zones of the grant that were not given back."""
        return tuple(sorted(zone for zone, held in self._grants.items() if held is grant))

    def allows(self, zones: Iterable[str]) -> bool:
        """The agent may move in all of these zones now. Asks each grant: this is the dead-man's question."""
        grants = {self._grants.get(zone) for zone in zones}
        return all(grant is not None and grant.may_move() for grant in grants)

    def covers(self, zones: Iterable[str]) -> bool:
        """A live grant, not being given back, for each of the zones."""
        return all(self.grant_of(zone) is not None for zone in zones)

    def add(self, grant: Grant) -> None:
        """A grant converts the agent's residue in its zones."""
        for zone in grant.zones:
            self._grants[zone] = grant
            self._residue.discard(zone)

    def stands_in(self, zones: Iterable[str]) -> None:
        """The agent occupies these zones without a grant."""
        for zone in zones:
            self._grants.pop(zone, None)
            self._residue.add(zone)

    def sweep(self) -> list[Grant]:
        """Takes out grants that were lost since the last time and returns them; what they covered becomes residue."""
        lost = [grant for grant in self.grants() if grant.lost.is_set()]
        for grant in lost:
            zones = self.zones_of(grant)
            if grant.lost_reason in NEVER_ENTERED:
                self.gone(zones)
            else:
                self.stands_in(zones)
        return lost

    def leave(self, zones: Iterable[str]) -> None:
        """These are being given back: not to be moved in any more, not to be asked for yet."""
        self._leaving.update(zones)

    def stay(self, zones: Iterable[str]) -> None:
        """Giving back did not work; they are still the agent's."""
        self._leaving.difference_update(zones)

    def gone(self, zones: Iterable[str]) -> None:
        """Given back, acknowledged."""
        for zone in zones:
            self._grants.pop(zone, None)
            self._leaving.discard(zone)
            self._residue.discard(zone)

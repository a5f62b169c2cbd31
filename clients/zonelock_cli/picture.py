"""The floor as a watcher knows it: a whole picture first, then every change laid over it.

Rule owned: `apply` is the only way a picture changes, and it mirrors what `WatchFloor` promises (a snapshot replaces, a
change overrides by name, waits replace as a whole when they changed). `plain` is the one translation of messages into
the JSON that docs/cli.md documents: every field present, enums without their prefix, integers as integers. Speaks to
nobody.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message
from zonelock.v1 import floor_pb2, zone_service_pb2


def plain(message: Message) -> dict[str, Any]:
    """A message as JSON values: all fields by their proto names, unset ones included, enum values without prefix."""
    result: dict[str, Any] = {}
    for descriptor in message.DESCRIPTOR.fields:
        value = getattr(message, descriptor.name)
        if descriptor.is_repeated:
            result[descriptor.name] = [_value(descriptor, item) for item in value]
        else:
            result[descriptor.name] = _value(descriptor, value)
    return result


def _value(descriptor: Any, value: Any) -> Any:
    if descriptor.message_type is not None:
        return plain(value)
    if descriptor.enum_type is not None:
        return enum_name(descriptor, value)
    return value


def enum_name(descriptor: Any, number: int) -> str:
    """`ZONE_STATE_FREE` as FREE, the unspecified value as the empty string, an unknown number as its digits."""
    kind = descriptor.enum_type
    known = kind.values_by_number.get(number) if kind is not None else None
    if kind is None or known is None:
        return str(number)
    prefix = kind.values_by_number[0].name.removesuffix("UNSPECIFIED")
    name: str = known.name.removeprefix(prefix)
    return "" if name == "UNSPECIFIED" else name


@dataclass(slots=True)
class Picture:
    """Everything `WatchFloor` has said so far, as plain JSON values keyed by name."""

    epoch: int = 0
    floor_hash: str = ""
    zones: dict[str, dict[str, Any]] = field(default_factory=dict)
    agents: dict[str, dict[str, Any]] = field(default_factory=dict)
    stops: dict[str, dict[str, Any]] = field(default_factory=dict)
    waits: list[dict[str, Any]] = field(default_factory=list)
    totals: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, response: zone_service_pb2.WatchFloorResponse) -> Picture:
        picture = cls()
        picture.apply(response)
        return picture

    def apply(self, response: zone_service_pb2.WatchFloorResponse) -> None:
        """Lays one response over the picture."""
        self.epoch, self.floor_hash = response.epoch, response.floor_hash or self.floor_hash
        if response.snapshot:
            self.zones, self.agents, self.stops, self.waits = {}, {}, {}, []
        self.zones.update((z.name, plain(z)) for z in response.zones)
        for agent in response.agents:
            if agent.removed:
                self.agents.pop(agent.agent_id, None)
            else:
                view = plain(agent)
                del view["removed"]
                self.agents[agent.agent_id] = view
        self.stops.update((s.stop_id, plain(s)) for s in response.stops)
        if response.snapshot or response.waits_changed:
            self.waits = [plain(w) for w in response.waits]
        if response.HasField("totals"):
            self.totals = plain(response.totals)

    def active_stops(self) -> list[dict[str, Any]]:
        return [self.stops[i] for i in sorted(self.stops) if self.stops[i]["active"]]

    def occupancies(self, agent_id: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Every (zone, occupant) that is this agent, by zone and slot."""
        return [
            (zone, occupant)
            for _, zone in sorted(self.zones.items())
            for occupant in sorted(zone["occupants"], key=lambda o: int(o["slot"]))
            if occupant["agent_id"] == agent_id and occupant["state"] != "FREE"
        ]

    def waits_of(self, agent_id: str) -> list[dict[str, Any]]:
        return [w for w in self.waits if w["agent_id"] == agent_id]

    def known_agents(self) -> list[str]:
        """Who has a session, waits, or occupies something. An occupant may have none since a restart."""
        occupants = (o["agent_id"] for z in self.zones.values() for o in z["occupants"] if o["agent_id"])
        return sorted({*self.agents, *(w["agent_id"] for w in self.waits), *occupants})


def counts(values: Iterable[str], names: Iterable[str]) -> dict[str, int]:
    """How often each of `names` occurs in `values`, zeros included, so that a shape is stable."""
    seen = list(values)
    return {name: seen.count(name) for name in names}


ZONE_STATES = tuple(n.removeprefix("ZONE_STATE_") for n in floor_pb2.ZoneState.keys()[1:])
LINK_STATES = tuple(n.removeprefix("LINK_STATE_") for n in floor_pb2.LinkState.keys()[1:])

"""The last known picture of the floor, kept as JSON objects so that it is converted once however many browsers watch.

Durations in it (`remaining_ms`, `since_ms`, `waiting_ms`, `age_ms`) were true when they arrived. A snapshot taken
later moves each of them on by the time that has passed since, or a browser that joins late would count down from an
old value. Objects handed in are never changed afterwards; a changed one is a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from coordinator.web.encode import Json


@dataclass(frozen=True, slots=True)
class _Seen:
    """One object and the clock's reading when it arrived."""

    value: Json
    at_ms: int


class Picture:
    """Folds updates (JSON of WatchFloorResponse) together; hands out the whole as one update."""

    def __init__(self) -> None:
        self._head: Json = {}
        self._zones: dict[str, _Seen] = {}
        self._agents: dict[str, _Seen] = {}
        self._stops: dict[str, _Seen] = {}
        self._waits = _Seen({"waits": []}, 0)

    def apply(self, update: Json, at_ms: int) -> None:
        if update["snapshot"]:
            self._zones.clear()
            self._agents.clear()
            self._stops.clear()
        self._head = {k: v for k, v in update.items() if k not in ("zones", "agents", "stops", "waits")}
        for zone in update["zones"]:
            self._zones[zone["name"]] = _Seen(zone, at_ms)
        for agent in update["agents"]:
            if agent["removed"]:
                self._agents.pop(agent["agent_id"], None)
            else:
                self._agents[agent["agent_id"]] = _Seen(agent, at_ms)
        for stop in update["stops"]:
            if stop["active"]:
                self._stops[stop["stop_id"]] = _Seen(stop, at_ms)
            else:
                self._stops.pop(stop["stop_id"], None)
        if update["snapshot"] or update["waits_changed"]:
            self._waits = _Seen({"waits": update["waits"]}, at_ms)

    def whole(self, now_ms: int) -> Json:
        """The picture as a snapshot that is true at `now_ms`. Ended stops are left out."""
        return {
            **self._head,
            "snapshot": True,
            "zones": _aged(self._zones.values(), now_ms, _age_zone),
            "agents": [seen.value for seen in self._agents.values()],
            "stops": _aged(self._stops.values(), now_ms, _age_stop),
            "waits": _age_waits(self._waits.value, now_ms - self._waits.at_ms)["waits"],
            "waits_changed": True,
        }


def _aged(seen: Iterable[_Seen], now_ms: int, age: Callable[[Json, int], Json]) -> list[Json]:
    return [age(one.value, now_ms - one.at_ms) for one in seen]


def _later(value: str, by_ms: int) -> str:
    return str(int(value) + by_ms)


def _age_zone(zone: Json, by_ms: int) -> Json:
    if not zone["occupants"] or not by_ms:
        return zone
    return {**zone, "occupants": [_age_occupant(occupant, by_ms) for occupant in zone["occupants"]]}


def _age_occupant(occupant: Json, by_ms: int) -> Json:
    """Only a live grant has a deadline that comes nearer; one that is not committed yet has no running times at all."""
    held = occupant["state"] == "SLOT_STATE_HELD"
    if held and occupant["since_ms"] == occupant["remaining_ms"] == "0":
        return occupant
    aged = {**occupant, "since_ms": _later(occupant["since_ms"], by_ms)}
    if held:
        aged["remaining_ms"] = _later(occupant["remaining_ms"], -by_ms)
    return aged


def _age_stop(stop: Json, by_ms: int) -> Json:
    return {**stop, "age_ms": _later(stop["age_ms"], by_ms)}


def _age_waits(waits: Json, by_ms: int) -> Json:
    return {
        "waits": [
            {
                **wait,
                "waiting_ms": _later(wait["waiting_ms"], by_ms),
                "blockers": [{**b, "since_ms": _later(b["since_ms"], by_ms)} for b in wait["blockers"]],
            }
            for wait in waits["waits"]
        ]
    }

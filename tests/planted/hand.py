"""Histories made by hand: a few words a line, for what a checker must refuse and what it must let pass."""

from __future__ import annotations

from typing import Any

from chaos.history import History, Line

RHO_PPM = 10_000


def unit(zone: str, state: str, agent: str = "", token: int = 0, slot: int = 0, **more: Any) -> dict[str, Any]:
    return {"zone": zone, "slot": slot, "state": state, "agent": agent, "token": token, **more}


def held(zone: str, agent: str, token: int, *, slot: int = 0, ms: int = 10_000, **more: Any) -> dict[str, Any]:
    return unit(zone, "HELD", agent, token, slot, remaining_ms=ms, **more)


class Hand:
    """A history with A and B (capacity 1, group west), C (group east) and X (capacity 2). Time is said by `at`."""

    def __init__(self, **floor: Any) -> None:
        self.history = History(origin="hand")
        self.t = 0
        self.seqs = 0
        zones = [
            {"name": name, "capacity": capacity, "group": group, "hold_max_ms": 60_000}
            for name, capacity, group in (("A", 1, "west"), ("B", 1, "west"), ("C", 1, "east"), ("X", 2, "east"))
        ]
        self.add("floor", "floor", zones=zones, rho_ppm=RHO_PPM, reattach_ms=2_000, **floor)
        self.add("nemesis", "phase", name="safety")

    @property
    def lines(self) -> list[Line]:
        return self.history.lines

    def at(self, t: int) -> Hand:
        self.t = t
        return self

    def add(self, source: str, kind: str, **fields: Any) -> Hand:
        self.history.add(self.t, source, kind, **fields)
        return self

    # -- the coordinator -------------------------------------------------------------------------------------------

    def leads(self, coord: str = "c1", epoch: int = 1, **more: Any) -> Hand:
        return self.add(coord, "takeover", coord=coord, epoch=epoch, **more)

    def event(self, event: str, agent: str = "", coord: str = "c1", seq: int | None = None, **fields: Any) -> Hand:
        return self.add(coord, "event", coord=coord, name=event, agent=agent or None, fields=fields, seq=seq)

    def step(self, *units: dict[str, Any], coord: str = "c1", **more: Any) -> Hand:
        self.seqs += 1
        more.setdefault("seq", self.seqs)
        return self.add(coord, "step", coord=coord, units=list(units) or None, **more)

    def commit(self, *units: dict[str, Any], coord: str = "c1", epoch: int = 1, **more: Any) -> Hand:
        more.setdefault("outcome", "ok")
        return self.add("store", "commit", coord=coord, epoch=epoch, units=list(units) or None, **more)

    def confirmed(self) -> Hand:
        """The floor is known to be empty."""
        return self.leads().event("Started", assume_empty=True).commit(confirmed=True, counter=1)

    def ticks(self, until: int, *, every: int = 100, coord: str = "c1", epoch: int = 1) -> Hand:
        while self.t + every <= until:
            self.at(self.t + every).commit(coord=coord, epoch=epoch)
        return self.at(until)

    def emit(self, agent: str, answer: str, coord: str = "c1", **more: Any) -> Hand:
        return self.add(coord, "emit", coord=coord, agent=agent, answer=answer, **more)

    def stop_record(self, stop_id: str, *, active: bool = True, **more: Any) -> dict[str, Any]:
        return {"stop_id": stop_id, "active": active, **more}

    # -- agents and the floor --------------------------------------------------------------------------------------

    def send(self, agent: str, op: str, **more: Any) -> Hand:
        return self.add(agent, "send", agent=agent, op=op, **more)

    def deliver(self, agent: str, answer: str, **more: Any) -> Hand:
        return self.add(agent, "deliver", agent=agent, answer=answer, **more)

    def granted(self, agent: str, token: int, *zones: str, **more: Any) -> Hand:
        """Committed, let go, and heard at one instant; without the commit when `zones` need none."""
        return self.emit(agent, "granted", token=token, zones=list(zones), **more).deliver(
            agent, "granted", token=token, zones=list(zones), **more
        )

    def grant(self, agent: str, token: int, zone: str, *, slot: int = 0, ms: int = 10_000, **more: Any) -> Hand:
        self.commit(held(zone, agent, token, slot=slot, ms=ms))
        return self.granted(agent, token, zone, slots=[slot], expected_ms=ms, remaining_ms=ms, **more)

    def body(self, agent: str, what: str, zone: str | None = None, by: str | None = None) -> Hand:
        return self.add("floor", "body", agent=agent, what=what, zone=zone, by=by)

    def agent(self, agent: str, what: str, **more: Any) -> Hand:
        return self.add(agent, "agent", agent=agent, what=what, **more)

    def hears_stop(self, agent: str, stop_id: str) -> Hand:
        return self.add(agent, "stop", agent=agent, stop_id=stop_id)

    def person(self, action: str, operator: str = "ann", reason: str = "looked", **more: Any) -> Hand:
        return self.add("operator", "operator", operator=operator, action=action, reason=reason, **more)

    def fault(self, what: str, **more: Any) -> Hand:
        return self.add("nemesis", "fault", what=what, **more)

    def liveness(self, bound_ms: int) -> Hand:
        return self.add("nemesis", "phase", name="liveness", bound_ms=bound_ms)

"""Drives a machine in tests: a clock by hand, a commit after every event, invariants and ground truth checked.

The ground truth is what a person on the floor would see, kept apart from the core's own books: an agent may be inside
a zone from the moment its grant reaches it until it says that it left, or until an operator who looked says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from coordinator.core import effects as fx
from coordinator.core import events as ev
from coordinator.core.invariants import check
from coordinator.core.machine import Machine
from coordinator.core.model import (
    FloorSpec,
    Ledger,
    SeenUnit,
    Timing,
    UnitRecord,
    UnitState,
    ZoneSpec,
)

ZONES = (
    ZoneSpec("A", stop_group="west"),
    ZoneSpec("B", stop_group="west"),
    ZoneSpec("C", stop_group="east"),
    ZoneSpec("X", capacity=2, stop_group="east"),
)
FLOOR = FloorSpec("test", 1, "floor-hash", ZONES, areas=(("all", ("A", "B", "C", "X")),), agent_kinds=("agv", "arm"))


class Broken(AssertionError):
    """An invariant or the ground truth was violated; the message tells the story."""


@dataclass
class Bench:
    """A machine with its store, its streams and the floor under it. `kept` is what a store would hold."""

    floor: FloorSpec = FLOOR
    timing: Timing = field(default_factory=Timing)
    assume_empty: bool = True
    stops_first: bool = False
    """As in the runtime: a stop is told in one step, and ends grants in the next."""
    now_ms: int = 1_000
    kept: dict[str, Any] = field(default_factory=dict)
    inside: dict[str, set[str]] = field(default_factory=dict)
    streams: dict[str, int] = field(default_factory=dict)
    latched: dict[str, set[str]] = field(default_factory=dict)
    highest: dict[tuple[str, int], int] = field(default_factory=dict)
    story: list[str] = field(default_factory=list)
    conns: int = 0
    requests: int = 0
    epoch: int = 0
    revision: int = 0

    def __post_init__(self) -> None:
        self.start()

    # -- life ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """A (new) coordinator takes the ledger over; every stream of the old one is gone."""
        ledger = Ledger.of(self.kept.values(), revision=self.revision, epoch=self.epoch + 1)
        self.epoch += 1
        self.streams.clear()
        self.machine = Machine(self.floor, ledger, self.timing, self.now_ms)
        self.do(ev.Started(now_ms=self.now_ms, assume_empty=self.assume_empty))

    def do(self, event: ev.Event, *, commit: bool = True) -> list[fx.Answer]:
        """Handles one event, commits it, delivers what follows; returns the answers, stops first."""
        self.story.append(repr(event))
        step = self.machine.handle(event, stops_first=self.stops_first)
        self._check()
        for send in step.stops:
            self._deliver(send)
        if not commit:
            return [s.answer for s in step.stops]
        sends = self._settle(step)
        self._check()
        return [s.answer for s in step.stops] + [s.answer for s in sends]

    def do_and_crash(self, event: ev.Event) -> None:
        """The event's first step becomes durable, its stops arrive, and the coordinator dies."""
        self.story.append(f"{event!r}, and dies")
        step = self.machine.handle(event, stops_first=self.stops_first)
        for send in step.stops:
            self._deliver(send)
        self._keep_all(step)
        self.start()

    def _settle(self, step: fx.Step) -> list[fx.Send]:
        """The step and what follows from its commit become durable; returns what leaves behind them."""
        self._keep_all(step)
        after = self.machine.handle(ev.Committed(now_ms=self.now_ms, upto=step.seq))
        if self.machine.winding_down:
            self.fail("a stop has not wound down by the commit of its own step")
        sends = [s for s in map(self.machine.as_of_now, step.sends) if s is not None]
        for send in sends:
            self._deliver(send)
        return [*sends, *(self._settle(after) if after.writes or after.sends else ())]

    def _keep_all(self, step: fx.Step) -> None:
        self.revision += bool(step.writes)
        for write in step.writes:
            if write.record is None:
                self.kept.pop(write.key, None)
            else:
                self._keep(write.key, write.record)

    def _check(self) -> None:
        violations = check(self.machine)
        if violations:
            self.fail("; ".join(violations))

    def fail(self, what: str) -> None:
        raise Broken(what + "\nafter:\n  " + "\n  ".join(self.story[-40:]))

    def _keep(self, key: str, record: Any) -> None:
        if isinstance(record, UnitRecord):
            unit = (record.zone, record.slot)
            if record.token < self.highest.get(unit, 0):
                self.fail(f"I3: {key} went from token {self.highest[unit]} to {record.token}")
            self.highest[unit] = record.token
        self.kept[key] = record

    def _deliver(self, send: fx.Send) -> None:
        """What the agent and the floor make of an answer that arrives."""
        answer = send.answer
        if isinstance(answer, fx.Granted):
            for zone in answer.zones:
                others = [a for a in sorted(self.inside) if a != send.agent_id and zone in self.inside[a]]
                capacity = next(z.capacity for z in self.floor.zones if z.name == zone)
                if len(others) >= capacity:
                    self.fail(f"ground truth: {send.agent_id} may enter {zone} while {', '.join(others)} may be inside")
            if self.latched.get(send.agent_id):
                self.fail(f"I5: {send.agent_id} was granted {answer.zones} while latched")
            self.inside.setdefault(send.agent_id, set()).update(answer.zones)
        elif isinstance(answer, fx.ZonesCleared):
            for places in self.inside.values():
                places.difference_update(answer.zones)
        elif isinstance(answer, fx.StopRaised):
            self.latched.setdefault(send.agent_id, set()).add(answer.stop.stop_id)
        elif isinstance(answer, fx.StopEnded):
            self.latched.get(send.agent_id, set()).discard(answer.stop.stop_id)

    # -- what agents and operators do ----------------------------------------------------------------------------

    def hello(self, agent: str, *, session: str = "", **more: Any) -> list[fx.Answer]:
        self.conns += 1
        self.streams[agent] = self.conns
        latched = tuple(sorted(self.latched.get(agent, ())))
        return self.do(
            ev.Hello(
                now_ms=self.now_ms,
                conn=self.conns,
                agent_id=agent,
                session=session or f"secret-{agent}",
                latched_stop_ids=latched,
                **more,
            )
        )

    def close(self, agent: str) -> None:
        self.do(ev.ConnClosed(now_ms=self.now_ms, conn=self.streams.pop(agent)))

    def ask(self, agent: str, *zones: str, ms: int = 10_000, request: str = "", **more: Any) -> list[fx.Answer]:
        self.requests += 1
        return self.do(
            ev.Asked(
                **self._who(agent),
                request_id=request or f"r{self.requests}",
                zones=zones,
                expected_ms=ms,
                payload=f"{zones}{ms}",
                **more,
            )
        )

    def release(self, agent: str, token: int, *zones: str) -> list[fx.Answer]:
        """The agent leaves first and says so after."""
        units = self.machine.units.with_token(token)
        left = zones or tuple(u.zone for u in units)
        before = set(self.inside.get(agent, ()))
        self.inside.get(agent, set()).difference_update(left)
        answers = self.do(ev.Released(**self._who(agent), token=token, zones=zones))
        if not any(isinstance(a, fx.Released) for a in answers):
            self.inside[agent] = before  # the test's agent stays where a refused release leaves it
        return answers

    def abandon(self, agent: str, token: int, **more: Any) -> list[fx.Answer]:
        return self.do(ev.Abandoned(**self._who(agent), token=token, **more))

    def report(self, agent: str, *inside: str) -> None:
        self.do(ev.Reported(**self._who(agent), inside=inside))

    def acknowledge(self, agent: str) -> None:
        self.do(ev.StopAcked(**self._who(agent), stop_ids=tuple(sorted(self.latched.get(agent, ())))))

    def wait(self, ms: int, *, heard: bool = True) -> list[fx.Answer]:
        """Time passes; agents with a stream keep sending heartbeats unless `heard` is False."""
        self.now_ms += ms
        if heard:
            for agent in sorted(self.streams):
                self.do(ev.Heard(now_ms=self.now_ms, conn=self.streams[agent]))
        return self.do(ev.Ticked(now_ms=self.now_ms))

    def stop(self, **scope: Any) -> list[fx.Answer]:
        return self.do(self.stop_asked(**scope))

    def stop_asked(self, **scope: Any) -> ev.StopAsked:
        self.requests += 1
        scope.setdefault("stop_id", f"stop-{self.requests}")
        return ev.StopAsked(now_ms=self.now_ms, conn=0, operator="ann", reason="test", **scope)

    def reset(self, *stop_ids: str, operator: str = "ann", reason: str = "looked") -> list[fx.Answer]:
        return self.do(
            ev.ResetAsked(now_ms=self.now_ms, conn=0, operator=operator, reason=reason, stop_ids=tuple(stop_ids))
        )

    def clear(self, *zones: str, operator: str = "ann", reason: str = "looked", **more: Any) -> list[fx.Answer]:
        """The operator looks first: whoever was blocked there has been taken away before the clearance is given."""
        before = {agent: set(places) for agent, places in self.inside.items()}
        self._take_away(tuple(zones), str(more.get("agent_id", "")))
        more.setdefault("seen", self.seen())
        answers = self.do(
            ev.ClearAsked(now_ms=self.now_ms, conn=0, operator=operator, reason=reason, zones=tuple(zones), **more)
        )
        if any(isinstance(answer, fx.Failed) for answer in answers):
            self.inside = before
        return answers

    def shut(self, *zones: str, operator: str = "ann", reason: str = "bearing", **more: Any) -> list[fx.Answer]:
        return self.do(ev.CloseAsked(now_ms=self.now_ms, conn=0, operator=operator, reason=reason, zones=zones, **more))

    def open(self, *zones: str, operator: str = "ann", reason: str = "mended") -> list[fx.Answer]:
        return self.do(ev.OpenAsked(now_ms=self.now_ms, conn=0, operator=operator, reason=reason, zones=zones))

    def seen(self) -> tuple[SeenUnit, ...]:
        """What an operator sees who looks now."""
        blocked = (u for u in self.machine.units if u.state is UnitState.BLOCKED)
        return tuple(SeenUnit(u.zone, u.slot, u.agent_id, u.token) for u in blocked)

    def _take_away(self, zones: tuple[str, ...], agent_id: str) -> None:
        areas = dict(self.floor.areas)
        named = {z for name in zones for z in areas.get(name, (name,))}
        for unit in list(self.machine.units):
            chosen = unit.zone in named if zones else unit.agent_id == agent_id
            if chosen and unit.state is UnitState.BLOCKED and agent_id in ("", unit.agent_id):
                self.inside.get(unit.agent_id, set()).discard(unit.zone)

    def _who(self, agent: str) -> dict[str, Any]:
        return {"now_ms": self.now_ms, "conn": self.streams.get(agent, -1), "agent_id": agent}


def only(answers: list[fx.Answer], kind: type) -> Any:
    """The one answer of this kind."""
    found = [a for a in answers if isinstance(a, kind)]
    if len(found) != 1:
        raise AssertionError(f"expected one {kind.__name__} among {answers}")
    return found[0]

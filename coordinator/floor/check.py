"""Can everything on this floor stop, cross and turn in the room and time that it has?

The stopping-distance budget of each agent kind, zone by zone:

    needed = speed * (detection + stop latency) + speed² / (2 * braking)

compared with the zone's `margin_mm`: the clear way past the point where the stop is due. `detection_ms` is how long an
overdue hold or a fault goes unseen; `stop_latency_ms` runs from there until the brakes bite, and should be *measured*
on the plant. The second term is uniform deceleration from the kind's top speed. Everything is rounded up to the
millimetre, so a budget that passes on paper passes. Pure functions over a Floor; printing is the CLI's business.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from coordinator.floor.model import AgentKind, Floor, Zone

LATE_MS = 100
"""The delay that `Budget.late_mm` prices: at 2.5 m/s it is 25 cm."""


@dataclass(frozen=True, slots=True)
class Budget:
    """One agent kind against all zones of one margin. Passes unless `slack_mm`, what is left of it, is negative."""

    kind: str
    zones: tuple[str, ...]
    margin_mm: int
    speed_mm_s: int
    detection_ms: int
    stop_latency_ms: int
    reaction_mm: int
    braking_mm: int
    late_mm: int

    @property
    def needed_mm(self) -> int:
        return self.reaction_mm + self.braking_mm

    @property
    def slack_mm(self) -> int:
        return self.margin_mm - self.needed_mm

    @property
    def passed(self) -> bool:
        return self.slack_mm >= 0

    @property
    def remedy(self) -> str:
        """What would make it pass; empty when it does."""
        if self.passed:
            return ""
        slower = _speed_for(self.margin_mm, self.detection_ms + self.stop_latency_ms, self.speed_mm_s, self.braking_mm)
        return (
            f"{-self.slack_mm} mm short: give margin_mm {self.needed_mm}, drive at most {slower} mm/s, or stop sooner"
        )


@dataclass(frozen=True, slots=True)
class Crossing:
    """The slowest kind that drives, against all zones of one size and hold_max_ms: is it through in time?"""

    kind: str
    zones: tuple[str, ...]
    crossing_ms: int
    hold_max_ms: int

    @property
    def passed(self) -> bool:
        return self.crossing_ms <= self.hold_max_ms

    @property
    def remedy(self) -> str:
        return "" if self.passed else f"Give hold_max_ms {self.crossing_ms} or more, or cut the zones smaller"


@dataclass(frozen=True, slots=True)
class Fit:
    """One kind that drives, against the cell: a body larger than a cell stands in neighbouring zones too."""

    kind: str
    length_mm: int
    width_mm: int
    cell_mm: int

    @property
    def passed(self) -> bool:
        return max(self.length_mm, self.width_mm) <= self.cell_mm

    @property
    def remedy(self) -> str:
        size = max(self.length_mm, self.width_mm)
        return "" if self.passed else f"Use cell_mm {size} or more, or hold every zone that the body touches"


@dataclass(frozen=True, slots=True)
class Report:
    """What `zonelock check` prints."""

    budgets: tuple[Budget, ...]
    crossings: tuple[Crossing, ...]
    fits: tuple[Fit, ...]

    @property
    def passed(self) -> bool:
        return not self.failures

    @property
    def failures(self) -> tuple[Budget | Crossing | Fit, ...]:
        """The rows that do not pass, each with its remedy."""
        rows: tuple[Budget | Crossing | Fit, ...] = (*self.budgets, *self.crossings, *self.fits)
        return tuple(row for row in rows if not row.passed)


def check(floor: Floor, *, detection_ms: int | None = None, stop_latency_ms: int | None = None) -> Report:
    """Every row for this floor; the two times, when given, replace those of every kind (measured on the plant).

    Raises ValueError for a negative time. Kinds that only arms have are checked against the zones of those arms.
    """
    for name, value in (("detection_ms", detection_ms), ("stop_latency_ms", stop_latency_ms)):
        if value is not None and value < 0:
            raise ValueError(f"{name} {value} must not be negative; give the measured milliseconds")
    return Report(
        budgets=tuple(_budgets(floor, detection_ms, stop_latency_ms)),
        crossings=tuple(_crossings(floor)),
        fits=tuple(Fit(k.name, k.length_mm, k.width_mm, floor.cell_mm) for k in driving_kinds(floor)),
    )


def reaction_mm(speed_mm_s: int, late_ms: int) -> int:
    """How far something runs on in `late_ms` at constant speed, rounded up: 2,500 mm/s and 100 ms make 250 mm."""
    return -(-speed_mm_s * late_ms // 1_000)


def braking_mm(speed_mm_s: int, braking_mm_s2: int) -> int:
    """Uniform deceleration to a stand, v² / (2a), rounded up."""
    return -(-speed_mm_s * speed_mm_s // (2 * braking_mm_s2))


def driving_kinds(floor: Floor) -> tuple[AgentKind, ...]:
    """Kinds that no arm has, sorted by name: those that may come into every zone."""
    fixed = {arm.kind for arm in floor.arms.values()}
    return tuple(kind for name, kind in sorted(floor.agent_kinds.items()) if name not in fixed)


def _reach(floor: Floor) -> Iterator[tuple[AgentKind, tuple[Zone, ...]]]:
    driving = set(driving_kinds(floor))
    for name, kind in sorted(floor.agent_kinds.items()):
        if kind in driving:
            yield kind, tuple(floor.zones.values())
        else:
            names = sorted({zone for arm in floor.arms.values() if arm.kind == name for zone in arm.zones})
            yield kind, tuple(floor.zones[zone] for zone in names)


def _budgets(floor: Floor, detection_ms: int | None, stop_latency_ms: int | None) -> Iterator[Budget]:
    for kind, zones in _reach(floor):
        detection = kind.detection_ms if detection_ms is None else detection_ms
        latency = kind.stop_latency_ms if stop_latency_ms is None else stop_latency_ms
        by_margin: dict[int, list[str]] = {}
        for zone in zones:
            by_margin.setdefault(zone.margin_mm, []).append(zone.name)
        for margin, names in sorted(by_margin.items()):
            yield Budget(
                kind=kind.name,
                zones=tuple(names),
                margin_mm=margin,
                speed_mm_s=kind.speed_mm_s,
                detection_ms=detection,
                stop_latency_ms=latency,
                reaction_mm=reaction_mm(kind.speed_mm_s, detection + latency),
                braking_mm=braking_mm(kind.speed_mm_s, kind.braking_mm_s2),
                late_mm=reaction_mm(kind.speed_mm_s, LATE_MS),
            )


def _crossings(floor: Floor) -> Iterator[Crossing]:
    """Through a zone and out of it: at most all of its cells and one more, with one stop and start on the way."""
    kinds = driving_kinds(floor)
    if not kinds:
        return
    slowest = min(kinds, key=lambda kind: (kind.speed_mm_s, kind.name))
    by_size: dict[tuple[int, int], list[str]] = {}
    for zone in floor.zones.values():
        by_size.setdefault((zone.hold_max_ms, len(zone.cells)), []).append(zone.name)
    ramp_ms = -(-1_000 * slowest.speed_mm_s // slowest.braking_mm_s2)
    for (hold_max_ms, size), names in sorted(by_size.items()):
        driving_ms = -(-(size + 1) * floor.cell_mm * 1_000 // slowest.speed_mm_s)
        yield Crossing(slowest.name, tuple(names), driving_ms + ramp_ms, hold_max_ms)


def _speed_for(margin_mm: int, late_ms: int, speed_mm_s: int, braking: int) -> int:
    """The highest speed whose budget fits `margin_mm`, by bisection over whole mm/s; braking distance grows with v²."""
    low, high = 0, speed_mm_s
    while low < high:
        middle = (low + high + 1) // 2
        needed = reaction_mm(middle, late_ms) + -(-braking * middle * middle // (speed_mm_s * speed_mm_s))
        low, high = (middle, high) if needed <= margin_mm else (low, middle - 1)
    return low

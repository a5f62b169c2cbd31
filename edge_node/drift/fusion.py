"""Which sensor to trust: flags, discounts and items to recalibrate, from what the filter knows.

The rules in words. A sensor whose relative bias lies beyond its tolerance, its 95 % interval included, is SUSPICIOUS:
its readings count less (noise times DISCOUNT, and its bias may be anything anew at each step) and an item to
recalibrate it is opened, once, until `recalibrated` closes it. One whose readings fall outside the gate OUTLIERS
times one after the other has jumped: doubt about its bias is widened, so that the filter learns where it is now, and
it is flagged by the same rule then. The mean of a group's biases is observable only through a reference sensor;
without one the group says so, and no number hides it.

The value of a quantity counts as `trusted` while at least two sensors, or a reference, are not suspicious.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_node.drift.kalman import Array, Filter, Innovation, Model
from edge_node.findings import Recalibration

INTERVAL_95 = 1.959964
"""Half the width of a Gaussian's 95 % interval, in standard deviations."""

DISCOUNT = 10.0
OUTLIERS = 5


@dataclass(frozen=True, slots=True)
class Group:
    """Sensors that measure one quantity. `tolerance`, in its unit, is the bias that calls for recalibration."""

    name: str
    sensors: tuple[str, ...]
    tolerance: float
    reference: str = ""

    def __post_init__(self) -> None:
        if not self.sensors or len(set(self.sensors)) != len(self.sensors):
            raise ValueError(f"sensors: {self.sensors} of {self.name}: name each sensor once, at least one")
        if not self.tolerance > 0:
            raise ValueError(f"tolerance: {self.tolerance} of {self.name} is not above 0")
        if self.reference and self.reference not in self.sensors:
            raise ValueError(f"reference: {self.reference} of {self.name} is none of {', '.join(self.sensors)}")


@dataclass(frozen=True, slots=True)
class Fused:
    """One group's value. `half_width` is of the 95 % interval; `common_bias_observable` says whether the value could be
    wrong by a bias that all sensors share without anything here noticing.
    """

    group: str
    value: float
    half_width: float
    trusted: bool
    suspicious: tuple[str, ...]
    common_bias_observable: bool


@dataclass(slots=True)
class Fusion:
    """Fuses groups of equal size; make one for each size."""

    groups: Sequence[Group]
    model: Model
    filter: Filter = field(init=False)
    outliers: NDArray[np.int64] = field(init=False)
    _suspicious: NDArray[np.bool_] = field(init=False)
    _outside: NDArray[np.int64] = field(init=False)
    _tolerance: Array = field(init=False)
    _open: dict[tuple[str, str], Recalibration] = field(default_factory=dict)

    def __post_init__(self) -> None:
        sizes = sorted({len(group.sensors) for group in self.groups})
        if len(sizes) != 1:
            raise ValueError(f"groups: of {sizes} sensors; one fusion takes groups of one size")
        shape = (len(self.groups), sizes[0])
        references = np.array([[s == g.reference for s in g.sensors] for g in self.groups], dtype=np.bool_)
        self.filter = Filter(self.model, *shape, references)
        self.outliers = np.zeros(shape, dtype=np.int64)
        self._suspicious = np.zeros(shape, dtype=np.bool_)
        self._outside = np.zeros(shape, dtype=np.int64)
        self._tolerance = np.array([group.tolerance for group in self.groups])

    def step(self, readings: Array, dt_s: float, t_ns: int) -> list[Recalibration]:
        """Takes in one reading of every sensor, shape (groups, sensors), NaN where there is none; dt_s seconds after
        the last. Returns the items opened by it.
        """
        self.filter.predict(dt_s)
        # Noise alone would not do: a bias that is believed to be steady drags the value along with it.
        self.filter.widen(self._suspicious, float(self._tolerance.max()))
        noise = np.where(self._suspicious, self.model.noise * DISCOUNT, self.model.noise)
        self._count(self.filter.update(readings, noise))
        bias, variance = self._observable_bias()
        half = INTERVAL_95 * np.sqrt(np.maximum(variance, 0.0))
        with np.errstate(invalid="ignore"):
            beyond = np.where(self._suspicious, False, np.abs(bias) - half > self._tolerance[:, None])
        opened = []
        for group in np.flatnonzero(beyond.any(axis=1)):
            # One at a time and the furthest first: the distance of the others may be its doing.
            sensor = int(np.argmax(np.where(beyond[group], np.abs(bias[group]), -1.0)))
            opened.append(
                self._suspect(int(group), sensor, float(bias[group, sensor]), float(half[group, sensor]), t_ns)
            )
        return opened

    def fused(self) -> list[Fused]:
        """The value of every group, in their order."""
        found = []
        for number, group in enumerate(self.groups):
            suspects = tuple(s for s, bad in zip(group.sensors, self._suspicious[number], strict=True) if bad)
            sound = len(group.sensors) - len(suspects)
            has_reference = bool(group.reference)
            found.append(
                Fused(
                    group=group.name,
                    value=float(self.filter.value[number]),
                    half_width=INTERVAL_95 * float(np.sqrt(self.filter.covariance[number, 0, 0])),
                    trusted=sound >= 2 or (has_reference and group.reference not in suspects),
                    suspicious=suspects,
                    common_bias_observable=has_reference,
                )
            )
        return found

    def items(self) -> list[Recalibration]:
        """The open items, by group and sensor."""
        return [self._open[key] for key in sorted(self._open)]

    def recalibrated(self, group: str, sensor: str) -> None:
        """A person recalibrated the sensor: closes its item and forgets its bias. KeyError: no such group or sensor."""
        for number, candidate in enumerate(self.groups):
            if candidate.name == group and sensor in candidate.sensors:
                place = candidate.sensors.index(sensor)
                self._open.pop((group, sensor), None)
                self._suspicious[number, place] = False
                self._outside[number, place] = 0
                self.filter.reset_bias(number, place)
                return
        raise KeyError(f"{group}/{sensor}: no such sensor; known groups: {', '.join(g.name for g in self.groups)}")

    def _count(self, innovation: Innovation) -> None:
        present = np.isfinite(innovation.normalized)
        outside = present & ~innovation.used
        self.outliers += outside
        self._outside = np.where(outside, self._outside + 1, np.where(present, 0, self._outside))
        jumped = self._outside >= OUTLIERS
        if jumped.any():
            self.filter.widen(jumped, max(self.model.first_bias, float(self._tolerance.max())))
            self._outside[jumped] = 0

    def _observable_bias(self) -> tuple[Array, Array]:
        """Where a group has a reference the biases themselves, else those relative to the others of the group."""
        bias, variance = self.filter.relative_bias(~self._suspicious)
        own = np.array([bool(group.reference) for group in self.groups])
        diagonal = np.diagonal(self.filter.covariance[:, 1::2, 1::2], axis1=1, axis2=2)
        return np.where(own[:, None], self.filter.bias, bias), np.where(own[:, None], diagonal, variance)

    def _suspect(self, group: int, sensor: int, bias: float, half_width: float, t_ns: int) -> Recalibration:
        own, name = self.groups[group], self.groups[group].sensors[sensor]
        self._suspicious[group, sensor] = True
        reason = f"bias {bias:+.4g} is beyond the tolerance of {own.tolerance:g}"
        if len(own.sensors) == 2 and not own.reference:
            other = own.sensors[1 - sensor]
            reason += f"; {name} and {other} differ and no third one tells which is right: recalibrate both"
        item = Recalibration(own.name, name, reason, bias, half_width, t_ns)
        return self._open.setdefault((own.name, name), item)

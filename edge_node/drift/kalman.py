"""An online Kalman filter of a quantity and of each sensor's bias, for many groups of sensors at once.

A group is m sensors that measure one quantity. Its state is (value, then bias and bias rate of each sensor):

    value'  = value + w_v                    w_v ~ N(0, value_drift² dt)
    bias'   = bias + rate dt + w_b           w_b ~ N(0, bias_drift² dt)
    rate'   = rate + w_r                     w_r ~ N(0, rate_drift² dt)
    reading = value + bias + e               e   ~ N(0, noise²)

Prediction and update are the textbook's (R. E. Kalman, J. Basic Eng. 82, 1960; Y. Bar-Shalom, X. R. Li, T. Kirubarajan,
"Estimation with Applications to Tracking and Navigation", Wiley 2001, section 5.2), with the readings of one time taken
in one after the other, which is the same as at once while their noises are independent (ibid., section 5.3) and needs
no inverse. The covariance update is Joseph's form, which stays symmetric and positive.

A reading that is too unlikely is not taken in: its squared innovation over the variance, chi-square with one degree of
freedom, is compared with `gate` (ibid., section 5.4). Without a reference sensor the mean of a group's biases cannot be
told from the value itself: see `fusion`. Owns the estimate; never decides what is suspicious.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

GATE = 15.137
"""The 99.99th percentile of chi-square with one degree of freedom."""


@dataclass(frozen=True, slots=True)
class Model:
    """Standard deviations, in the group's unit (u) and seconds.

    `noise` u; `value_drift` and `bias_drift` u/sqrt(s); `rate_drift` (u/s)/sqrt(s); the first beliefs `first_value`
    and `first_bias` u, `first_rate` u/s.
    """

    noise: float
    value_drift: float
    bias_drift: float = 0.0
    rate_drift: float = 0.0
    first_value: float = 1e3
    first_bias: float = 1.0
    first_rate: float = 0.0

    def __post_init__(self) -> None:
        if not self.noise > 0:
            raise ValueError(f"noise: {self.noise} is not above 0; give the sensors' standard deviation")
        for name in ("value_drift", "bias_drift", "rate_drift", "first_value", "first_bias", "first_rate"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: {getattr(self, name)} is below 0; give a standard deviation")


@dataclass(frozen=True, slots=True)
class Innovation:
    """What one step told of each sensor, shape (groups, sensors). NaN where a reading was absent.

    `normalized` is the squared innovation over its variance; `used` whether it was within the gate and taken in.
    """

    normalized: Array
    used: NDArray[np.bool_]


@dataclass(slots=True)
class Filter:
    """The estimate of `groups` groups of `sensors` sensors each.

    `mean` has the shape (groups, 1 + 2 sensors), `covariance` is square per group.

    `references` marks sensors, shape (groups, sensors), whose bias is known to be nothing.
    """

    model: Model
    groups: int
    sensors: int
    references: NDArray[np.bool_] | None = None
    gate: float = GATE
    mean: Array = field(init=False)
    covariance: Array = field(init=False)

    def __post_init__(self) -> None:
        if self.groups < 1 or self.sensors < 1:
            raise ValueError(f"groups, sensors: {self.groups}, {self.sensors}; at least one of each")
        if self.references is None:
            self.references = np.zeros((self.groups, self.sensors), dtype=np.bool_)
        if self.references.shape != (self.groups, self.sensors):
            raise ValueError(f"references: shape {self.references.shape} is not ({self.groups}, {self.sensors})")
        model, size = self.model, 1 + 2 * self.sensors
        self.mean = np.zeros((self.groups, size))
        self.covariance = np.zeros((self.groups, size, size))
        self.covariance[:, 0, 0] = model.first_value**2
        for sensor in range(self.sensors):
            free = ~self.references[:, sensor]
            self.covariance[:, 1 + 2 * sensor, 1 + 2 * sensor] = free * model.first_bias**2
            self.covariance[:, 2 + 2 * sensor, 2 + 2 * sensor] = free * model.first_rate**2

    @property
    def value(self) -> Array:
        """The estimate of the quantity, shape (groups,)."""
        return self.mean[:, 0]

    @property
    def bias(self) -> Array:
        """The estimated biases, shape (groups, sensors)."""
        return self.mean[:, 1::2]

    def predict(self, dt_s: float) -> None:
        """Moves the estimate on by dt_s seconds. ValueError: dt_s below 0."""
        if dt_s < 0:
            raise ValueError(f"dt_s: {dt_s} is below 0; time does not run back")
        mean, covariance, model = self.mean, self.covariance, self.model
        biases, rates = slice(1, None, 2), slice(2, None, 2)
        # F P F' with F = I but for the rate that feeds each bias: rows, then columns.
        mean[:, biases] += dt_s * mean[:, rates]
        covariance[:, biases, :] += dt_s * covariance[:, rates, :]
        covariance[:, :, biases] += dt_s * covariance[:, :, rates]
        covariance[:, 0, 0] += model.value_drift**2 * dt_s
        references = self._references
        for sensor in range(self.sensors):
            free = ~references[:, sensor]
            covariance[:, 1 + 2 * sensor, 1 + 2 * sensor] += free * (model.bias_drift**2 * dt_s)
            covariance[:, 2 + 2 * sensor, 2 + 2 * sensor] += free * (model.rate_drift**2 * dt_s)

    def update(self, readings: Array, noise: Array | None = None) -> Innovation:
        """Takes in one reading of every sensor, shape (groups, sensors); NaN: none this time.

        `noise` are standard deviations of the same shape where they differ from the model's (a discounted sensor).
        ValueError: another shape.
        """
        shape = (self.groups, self.sensors)
        if readings.shape != shape:
            raise ValueError(f"readings: shape {readings.shape} is not {shape}")
        variance = np.full(shape, self.model.noise**2) if noise is None else noise**2
        normalized = np.full(shape, np.nan)
        used = np.zeros(shape, dtype=np.bool_)
        for sensor in range(self.sensors):
            normalized[:, sensor], used[:, sensor] = self._take(sensor, readings[:, sensor], variance[:, sensor])
        return Innovation(normalized, used)

    def widen(self, sensor_mask: NDArray[np.bool_], deviation: float) -> None:
        """Adds doubt about the biases marked, shape (groups, sensors): so a step in a sensor can be learned anew."""
        for sensor in range(self.sensors):
            place = 1 + 2 * sensor
            self.covariance[:, place, place] += sensor_mask[:, sensor] * deviation**2

    def reset_bias(self, group: int, sensor: int) -> None:
        """A sensor was recalibrated: what was known of its bias is forgotten, the rest stays."""
        for place, deviation in ((1 + 2 * sensor, self.model.first_bias), (2 + 2 * sensor, self.model.first_rate)):
            self.mean[group, place] = 0.0
            self.covariance[group, place, :] = 0.0
            self.covariance[group, :, place] = 0.0
            self.covariance[group, place, place] = deviation**2

    def relative_bias(self, trusted: NDArray[np.bool_]) -> tuple[Array, Array]:
        """Each sensor's bias less the mean of the trusted others' in its group, and its variance.

        Unlike a bias itself this is observable without a reference. All shapes are (groups, sensors). Where no other
        is trusted the bias is NaN.
        """
        others = np.repeat(trusted[:, None, :], self.sensors, axis=1) & ~np.eye(self.sensors, dtype=np.bool_)
        count = others.sum(axis=2, keepdims=True)
        weights = np.eye(self.sensors) - np.divide(others, count, out=np.full(others.shape, np.nan), where=count > 0)
        biases = self.covariance[:, 1::2, 1::2]
        variance = np.einsum("gij,gjk,gik->gi", weights, biases, weights, optimize=True)
        return np.einsum("gij,gj->gi", weights, self.bias), variance

    @property
    def _references(self) -> NDArray[np.bool_]:
        if self.references is None:
            raise ValueError("references: none; make the filter first")
        return self.references

    def _take(self, sensor: int, reading: Array, variance: Array) -> tuple[Array, NDArray[np.bool_]]:
        mean, covariance, place = self.mean, self.covariance, 1 + 2 * sensor
        cross = covariance[:, :, 0] + covariance[:, :, place]  # P h', h = 1 at the value and at this bias
        total = cross[:, 0] + cross[:, place] + variance
        innovation = reading - mean[:, 0] - mean[:, place]
        normalized = innovation**2 / total
        with np.errstate(invalid="ignore"):
            used = normalized <= self.gate
        gain = np.where(used[:, None], cross / total[:, None], 0.0)
        mean += gain * np.where(used, innovation, 0.0)[:, None]
        # Joseph's form, written out for one reading: P - g c' - c g' + g g' s.
        outer = gain[:, :, None] * cross[:, None, :]
        covariance -= outer
        covariance -= outer.transpose(0, 2, 1)
        covariance += gain[:, :, None] * (gain * total[:, None])[:, None, :]
        return normalized, used

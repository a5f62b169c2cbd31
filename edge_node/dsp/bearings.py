"""Where a rolling bearing's faults show: the defect frequencies from its geometry.

Kinematics without slip, outer ring at rest: R. B. Randall and J. Antoni, "Rolling element bearing diagnostics: a
tutorial", Mech. Syst. Signal Process. 25, 2011, eqs. 1 to 4. Real bearings slip by 1 to 2 %, so lines are searched
for in a band around these.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """The part that is damaged. A damaged ball strikes both rings, so its line is twice the ball's spin (2 x BSF)."""

    OUTER = "outer"
    INNER = "inner"
    BALL = "ball"
    CAGE = "cage"


@dataclass(frozen=True, slots=True)
class Bearing:
    """Geometry of a rolling bearing: lengths in mm, the contact angle in degrees."""

    balls: int
    ball_mm: float
    pitch_mm: float
    contact_deg: float = 0.0

    def __post_init__(self) -> None:
        if self.balls < 3:
            raise ValueError(f"balls: {self.balls} is below 3; no bearing runs on fewer")
        if not 0 < self.ball_mm < self.pitch_mm:
            raise ValueError(f"ball_mm: {self.ball_mm} is not between 0 and pitch_mm {self.pitch_mm}")
        if not 0 <= self.contact_deg < 90:
            raise ValueError(f"contact_deg: {self.contact_deg} is not in 0 <= contact_deg < 90")

    @property
    def _ratio(self) -> float:
        return self.ball_mm / self.pitch_mm * math.cos(math.radians(self.contact_deg))

    def cage_hz(self, shaft_hz: float) -> float:
        """FTF, the fundamental train frequency: how often the cage turns."""
        return shaft_hz / 2 * (1 - self._ratio)

    def outer_hz(self, shaft_hz: float) -> float:
        """BPFO: how often balls pass one place of the outer ring."""
        return self.balls * self.cage_hz(shaft_hz)

    def inner_hz(self, shaft_hz: float) -> float:
        """BPFI: how often balls pass one place of the inner ring."""
        return self.balls * shaft_hz / 2 * (1 + self._ratio)

    def spin_hz(self, shaft_hz: float) -> float:
        """BSF: how often a ball turns about itself."""
        return self.pitch_mm / self.ball_mm * shaft_hz / 2 * (1 - self._ratio**2)

    def fault_hz(self, fault: Fault, shaft_hz: float) -> float:
        """The line at which the fault shows."""
        match fault:
            case Fault.OUTER:
                return self.outer_hz(shaft_hz)
            case Fault.INNER:
                return self.inner_hz(shaft_hz)
            case Fault.BALL:
                return 2 * self.spin_hz(shaft_hz)
            case Fault.CAGE:
                return self.cage_hz(shaft_hz)


BEARING_6205 = Bearing(balls=9, ball_mm=7.94, pitch_mm=39.04)
"""Deep-groove ball bearing 6205, the one of most public data sets."""

"""How grave a vibration is by its velocity: the zones of ISO 20816-3:2022 (table A.1), for 10 to 1,000 Hz.

A: as new. B: fit for unrestricted running. C: not for long. D: dangerous.
"""

from __future__ import annotations

from enum import StrEnum

VELOCITY_BAND_HZ = (10.0, 1000.0)


class Machine(StrEnum):
    """The machine's group (1: above 300 kW, 2: 15 to 300 kW) and its foundation."""

    LARGE_RIGID = "large-rigid"
    LARGE_FLEXIBLE = "large-flexible"
    MEDIUM_RIGID = "medium-rigid"
    MEDIUM_FLEXIBLE = "medium-flexible"


BOUNDARIES_MM_S: dict[Machine, tuple[float, float, float]] = {
    Machine.LARGE_RIGID: (2.3, 4.5, 7.1),
    Machine.LARGE_FLEXIBLE: (3.5, 7.1, 11.0),
    Machine.MEDIUM_RIGID: (1.4, 2.8, 4.5),
    Machine.MEDIUM_FLEXIBLE: (2.3, 4.5, 7.1),
}
"""Boundaries A/B, B/C and C/D in mm/s RMS."""


def zone(velocity_rms_mm_s: float, machine: Machine) -> str:
    """The zone A to D of a velocity in mm/s RMS; a value on a boundary belongs to the better zone."""
    for name, limit in zip("ABC", BOUNDARIES_MM_S[machine], strict=True):
        if velocity_rms_mm_s <= limit:
            return name
    return "D"

"""Floors from other people's formats: Moving AI maps and scenarios, VDMA LIF layouts.

Rule owned here: an importer either returns a floor that passed the whole survey or raises FloorError with everything
that is wrong; it never repairs in silence. What a format cannot say (braking, body size, margins) gets a stated
stand-in.
"""

from coordinator.floor.importers.lif import from_lif, lif_layouts
from coordinator.floor.importers.moving_ai import Task, from_moving_ai, read_scenario

__all__ = ["Task", "from_lif", "from_moving_ai", "lif_layouts", "read_scenario"]

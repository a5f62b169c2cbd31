"""The map: a grid whose open cells are partitioned into zones, and everything that is read from or computed over it.

The way in is `Floor.load`. A floor that loads is whole: zones partition the open cells, every cell can be reached,
every name is defined. `routing` plans over it, `check` computes stopping distances, `importers` make floors from other
formats, `examples` holds the bundled ones. Imports the core's model and nothing else of the coordinator.
"""

from coordinator.floor.model import AgentKind, Arm, Floor, Station, Zone
from coordinator.floor.problems import FloorError, Problem

__all__ = ["AgentKind", "Arm", "Floor", "FloorError", "Problem", "Station", "Zone"]

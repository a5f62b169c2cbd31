"""Where samples come from: a physical synthetic bearing, the plain mock of the field, files, and OPC UA servers.

Rule owned: bad input is named, counted and survived. A sample that is not there is NaN and never a made-up number; what
is lost before a block is said, so that sample numbers stay true. Never imports the ring, features or the coordinator.
"""

from edge_node.sources.base import Block, Problems, Source, SourceError

__all__ = ["Block", "Problems", "Source", "SourceError"]

"""Shared memory with one writer and many read-only readers; the newest records overwrite the oldest.

Rules owned: the writer never waits for a reader, never looks at one, and cannot be told that there is one (I10):
readers map the file with PROT_READ and leave no trace in it. A record that a reader accepts was written as a whole:
the sequence word names it before and after the copy, and a checksum over the copy catches a torn one on any
processor, whatever the order in which its memory lets stores be seen.

An mmap'd file rather than multiprocessing.shared_memory: there an attaching reader enters the segment in its resource
tracker, whose exit unlinks what others still use. The layout to the byte is in `layout` and docs/edge.md.

Never imports another part of the edge node than `channels`.
"""

from edge_node.ring.layout import Geometry, Origin, RingError
from edge_node.ring.reader import Record, RingReader, Tally
from edge_node.ring.segments import DEFAULT_FOLDER, Segment, list_segments, remove_stale
from edge_node.ring.writer import RingWriter

__all__ = [
    "DEFAULT_FOLDER",
    "Geometry",
    "Origin",
    "Record",
    "RingError",
    "RingReader",
    "RingWriter",
    "Segment",
    "Tally",
    "list_segments",
    "remove_stale",
]

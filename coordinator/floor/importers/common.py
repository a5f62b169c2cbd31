"""What every importer needs: names that the floor accepts, and hold times that its zones can be crossed in."""

from __future__ import annotations

import re

from coordinator.floor.document import MAX_MS

DEFAULT_HOLD_MS = 60_000
HOLD_SHARE = 3
"""A hold may last this many times the slowest drive through the zone: room for a wait at the far end."""
MAX_NAME_CHARS = 64


def usable_name(text: str, taken: set[str]) -> str:
    """`text` with strange characters as `_`, cut to length, numbered when taken. Adds it to `taken`."""
    base = re.sub(r"[^A-Za-z0-9_.:-]", "_", text)[:MAX_NAME_CHARS] or "_"
    name, number = base, 2
    while name in taken:
        suffix = f"_{number}"
        name, number = base[: MAX_NAME_CHARS - len(suffix)] + suffix, number + 1
    taken.add(name)
    return name


def hold_max_ms(cells: int, cell_mm: int, speed_mm_s: int) -> int:
    """How long a zone of `cells` may be held: HOLD_SHARE drives through it, whole seconds, at least a minute."""
    seconds = -(-HOLD_SHARE * (cells + 1) * cell_mm // speed_mm_s)
    return min(max(DEFAULT_HOLD_MS, seconds * 1_000), MAX_MS)

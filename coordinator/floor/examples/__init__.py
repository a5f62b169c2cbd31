"""The floors that come with zonelock, as package data.

Rule owned here: every bundled floor loads without problems and passes `check` (a test says so). Imports nothing of
zonelock.
"""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path


def names() -> tuple[str, ...]:
    """The bundled floors, sorted."""
    return tuple(
        sorted(item.name.removesuffix(".yaml") for item in files(__name__).iterdir() if item.name.endswith(".yaml"))
    )


def bundled(name: str) -> Path:
    """The path of a bundled floor's YAML. Raises KeyError for an unknown name."""
    if name not in names():
        raise KeyError(f"no bundled floor {name!r}; there are: {', '.join(names())}")
    with as_file(files(__name__) / f"{name}.yaml") as path:
        return path

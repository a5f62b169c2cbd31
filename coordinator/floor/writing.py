"""A floor document as the YAML its author would have written: the grid as a picture, one line per named thing.

Rule owned here: reading what was written gives an equal document. Defaults are left out. Never imports the core.
"""

from __future__ import annotations

from typing import Any

import yaml

from coordinator.floor.document import FloorDocument

_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_NAMED = ("zones", "areas", "agent_kinds", "stations", "parking", "arms", "machines")
_WIDE = 1_000_000
"""PyYAML folds lines at this width: never, so that one named thing is one line."""


def write(document: FloorDocument) -> str:
    """The whole file, ending in a newline."""
    said = document.model_dump(exclude_defaults=True, mode="json")
    header, sections = "", []
    for key in FloorDocument.model_fields:
        if key not in said:
            continue
        if key == "grid":
            sections.append("grid: |\n" + "".join(f"  {row}\n" for row in document.grid))
        elif key in _NAMED:
            sections.append(
                f"{key}:\n" + "".join(f"  {_flow(name)}: {_flow(value)}\n" for name, value in said[key].items())
            )
        elif key == "description":
            header += f"{key}: {_quoted(document.description)}\n"
        elif sections:
            sections.append(f"{key}: {_flow(said[key])}\n")
        else:
            header += f"{key}: {_flow(said[key])}\n"
    return "\n".join([header, *sections])


def _flow(value: Any) -> str:
    text: str = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, width=_WIDE, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")


def _quoted(value: str) -> str:
    text: str = yaml.dump(value, Dumper=_Dumper, default_style='"', width=_WIDE)
    return text.removesuffix("\n")

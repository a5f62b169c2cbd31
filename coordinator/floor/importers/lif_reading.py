"""From LIF text to layouts, or to every field that keeps it from being one.

The `vdma-lif` package refuses a file as a whole and does not say where; this module finds the place. Rule owned here:
what `layouts` returns has the types that LIF says, ids that are unique and references that exist.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import Any

from vdma_lif.models import Edge, Layout, MetaInformation, Node, Station
from vdma_lif.parser import LIFParser

from coordinator.floor.problems import FloorError, Problem, shown

MAX_COORDINATE = 1e8
MAX_PROBLEMS = 100

_Check = Callable[[Any], str]


def _text(value: Any) -> str:
    return "" if isinstance(value, str) and value else "text"


def _number(value: Any) -> str:
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return "" if usable and abs(value) <= MAX_COORDINATE else f"a number within ±{MAX_COORDINATE:g}"


def _list(value: Any) -> str:
    return "" if isinstance(value, list) else "a list"


def _object(value: Any) -> str:
    return "" if isinstance(value, dict) else "an object"


_PARTS: dict[str, tuple[Callable[[Any], object], dict[tuple[str, ...], _Check]]] = {
    "nodes": (
        Node.from_dict,
        {
            ("nodeId",): _text,
            ("nodePosition",): _object,
            ("nodePosition", "x"): _number,
            ("nodePosition", "y"): _number,
            ("vehicleTypeNodeProperties",): _list,
        },
    ),
    "edges": (
        Edge.from_dict,
        {
            ("edgeId",): _text,
            ("startNodeId",): _text,
            ("endNodeId",): _text,
            ("vehicleTypeEdgeProperties",): _list,
        },
    ),
    "stations": (Station.from_dict, {("stationId",): _text, ("interactionNodeIds",): _list}),
}


def layouts(text: str, source: str) -> list[Layout]:
    """Every layout of the file. Raises FloorError with all that is wrong in the file's form."""
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        field = f"column {error.colno}"
        remedy = "Export the layout again, or mend the syntax there"
        raise FloorError(source, [Problem(field, "", f"not JSON: {error.msg}", remedy, error.lineno)]) from None
    except RecursionError:
        raise FloorError(source, [Problem("file", "", "nested too deeply", "Export the layout again")]) from None
    problems = list(_form_problems(data))[:MAX_PROBLEMS]
    if not problems:
        try:
            collection = LIFParser.from_json(text)
        except Exception as error:  # vdma-lif lets whatever its checks raise escape
            problems = [
                Problem("file", type(error).__name__, "vdma-lif cannot read it", "Compare it with the LIF guideline")
            ]
        else:
            if collection is not None:
                return list(collection.layouts)
    raise FloorError(source, problems)


def _form_problems(data: Any) -> Iterator[Problem]:
    if not isinstance(data, dict) or not isinstance(data.get("layouts"), list):
        yield Problem("layouts", "", "not a LIF file: no list of layouts", "Export as VDMA LIF 1.0")
        return
    if not data["layouts"]:
        yield Problem("layouts", "[]", "the file has no layout", "Export at least one layout")
    try:
        MetaInformation.from_dict(data.get("metaInformation"))
    except Exception:  # as above: assertions, parser errors
        needed = "creator, exportTimestamp (ISO 8601), lifVersion, projectIdentification"
        yield Problem("metaInformation", shown(data.get("metaInformation")), "not as LIF has it", f"Give {needed}")
    empty: list[Problem] = []
    for index, layout in enumerate(data["layouts"]):
        field = f"layouts[{index}]"
        if not isinstance(layout, dict):
            yield Problem(field, shown(layout), "not an object", "Export the layout again")
            continue
        for key in ("layoutId", "layoutVersion"):
            if _text(layout.get(key)):
                yield Problem(f"{field}.{key}", shown(layout.get(key)), "must be text", f"Give the layout a {key}")
        for part, (parse, checks) in _PARTS.items():
            items = layout.get(part)
            if part == "nodes" and items == []:
                empty.append(_no_nodes(f"{field}.nodes", layout.get("layoutId")))
            if not isinstance(items, list):
                yield Problem(f"{field}.{part}", shown(items), "must be a list", f"Give {part}, [] when there are none")
                continue
            for number, item in enumerate(items):
                yield from _item_problems(f"{field}.{part}[{number}]", item, parse, checks)
    if len(empty) == len(data["layouts"]):  # otherwise the layout that is chosen decides
        yield from empty


def _no_nodes(field: str, layout_id: object) -> Problem:
    return Problem(field, "[]", f"layout {layout_id} has no nodes", "Choose another layout, or export its nodes")


def _item_problems(
    field: str, item: Any, parse: Callable[[Any], object], checks: dict[tuple[str, ...], _Check]
) -> Iterator[Problem]:
    if not isinstance(item, dict):
        yield Problem(field, shown(item), "must be an object", "Export the layout again")
        return
    found = False
    for path, check in checks.items():
        value: Any = item
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        wanted = check(value)
        if wanted:
            found = True
            message = "missing" if value is None else f"must be {wanted}"
            yield Problem(f"{field}.{'.'.join(path)}", shown(value), message, f"Give {wanted}")
    if not found:
        try:
            parse(item)
        except Exception:  # as above
            yield Problem(field, shown(item), "vdma-lif cannot read it", "Compare its fields with the LIF guideline")


def choose(found: list[Layout], layout_id: str | None, source: str) -> int:
    """The index of the layout to import: the one named, or the first. Raises FloorError."""
    if layout_id is None:
        return 0
    for index, layout in enumerate(found):
        if layout.layout_id == layout_id:
            return index
    known = ", ".join(layout.layout_id for layout in found)
    raise FloorError(source, [Problem("layoutId", layout_id, "the file has no such layout", f"It has: {known}")])


def reference_problems(layout: Layout, field: str) -> Iterator[Problem]:
    """No nodes, ids given twice, references to nothing."""
    if not layout.nodes:
        yield _no_nodes(f"{field}.nodes", layout.layout_id)
    for part, ids in (
        ("nodes", [node.node_id for node in layout.nodes]),
        ("edges", [edge.edge_id for edge in layout.edges]),
        ("stations", [station.station_id for station in layout.stations]),
    ):
        for index, name in enumerate(ids):
            if name in ids[:index]:
                yield Problem(f"{field}.{part}[{index}]", shown(name), "this id was given before", "Make ids unique")
    known = {node.node_id for node in layout.nodes}
    remedy = f"Nodes here: {', '.join(sorted(known)[:5]) or 'none'}{', ...' if len(known) > 5 else ''}"
    for index, edge in enumerate(layout.edges):
        place = f"{field}.edges[{index}]"
        for key, node_id in (("startNodeId", edge.start_node_id), ("endNodeId", edge.end_node_id)):
            if node_id not in known:
                yield Problem(f"{place}.{key}", shown(node_id), f"edge {edge.edge_id} names an unknown node", remedy)
        if edge.start_node_id == edge.end_node_id:
            yield Problem(
                place, shown(edge.edge_id), "starts and ends at the same node", "Remove it, or give it two nodes"
            )
    for index, station in enumerate(layout.stations):
        for node_id in station.interaction_node_ids:
            if node_id not in known:
                place = f"{field}.stations[{index}].interactionNodeIds"
                yield Problem(place, shown(node_id), f"station {station.station_id} names an unknown node", remedy)

"""From YAML text to a floor document, or to every problem that the text has.

Rule owned here: one reading reports everything. A field that fails on its own is reported, taken out, and the rest is
surveyed all the same, so that an author mends a file in one go. Duplicate keys are errors (plain YAML would keep the
last and drop a zone in silence). Never imports the core.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from coordinator.floor.document import FORMAT, FloorDocument
from coordinator.floor.problems import FloorError, Problem, shown
from coordinator.floor.survey import NOTHING, Omitted, Survey, survey

MAX_TEXT_CHARS = 16 * 1024 * 1024
MAX_NODES = 2_000_000
"""How large a file may be with its aliases written out: a few lines of nested aliases can stand for billions."""
MAX_MENDS = 8
"""Rounds of taking out what fails: a round can uncover what hid behind a failure, never more than a few levels deep."""

Path = tuple[Any, ...]
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PLACEHOLDERS: dict[str, Any] = {"format": FORMAT, "site": "unnamed", "version": 1, "cell_mm": 1_000}
_MERGE_TAG = "tag:yaml.org,2002:merge"
_MISSING = {
    "format": f"Write format: {FORMAT}",
    "site": "Write site: and a name for the factory, such as plant-1",
    "version": "Write version: 1, and raise it with every change",
    "cell_mm": "Write cell_mm: and the side of a cell in millimetres, such as 1000",
    "grid": "Write grid: | and below it the floor as rows of text, # blocked and . open",
    "cells": "Write cells: [[x, y], [x, y, width, height]]",
}


def read(text: str, source: str) -> tuple[FloorDocument, Survey]:
    """Reads one floor; raises FloorError with all its problems, each with its line where it has one."""
    node, raw = _parse_yaml(text, source)
    doubled = list(_doubled(node, ()))
    document, found, omitted = _document(raw)
    problems = doubled + found
    if any(problem.field.startswith("zones") for problem in doubled):
        omitted = replace(omitted, cells=True)
    surveyed = survey(document, omitted) if document is not None else None
    if surveyed is not None:
        problems += surveyed.problems
    if problems or document is None or surveyed is None:
        raise FloorError(source, _in_order(problems, dict(_lines(node, ()))))
    return document, surveyed


def _parse_yaml(text: str, source: str) -> tuple[yaml.Node, dict[Any, Any]]:
    if len(text) > MAX_TEXT_CHARS:
        remedy = f"Use at most {MAX_TEXT_CHARS:,}; zone_per_cell keeps large floors small"
        raise FloorError(source, [Problem("file", f"{len(text):,} characters", "too long", remedy)])
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None or not isinstance(node, yaml.MappingNode):
                remedy = f"Start with format: {FORMAT}; docs/floor.md shows a whole floor"
                raise FloorError(
                    source, [Problem("file", shown(text[:80]), "not a floor: no mapping of keys to values", remedy)]
                )
            _written_out(node, {})
            return node, loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        raise FloorError(source, [_syntax_problem(text, error)]) from None
    except yaml.YAMLError as error:
        remedy = "Save the file as plain UTF-8 text"
        raise FloorError(source, [Problem("file", "", f"not YAML: {' '.join(str(error).split())}", remedy)]) from None
    except RecursionError:
        raise FloorError(source, [Problem("file", "", "nested too deeply", "A floor needs four levels")]) from None


def _syntax_problem(text: str, error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    said = ", ".join(part for part in (error.context, error.problem) if part)
    if mark is None:
        return Problem("file", "", f"YAML syntax: {said}", "Mend the syntax")
    lines = text.splitlines() or [""]
    at = min(mark.line, len(lines) - 1)  # an unclosed bracket is noticed one line below the last
    row = lines[at]
    hint = (
        "Indent with spaces, not tabs"
        if "\t" in row
        else "Look at this line and the one above: brackets, quotes, colons, indentation"
    )
    return Problem(f"column {mark.column + 1}", shown(row.strip()), f"YAML syntax: {said}", hint, at + 1)


def _written_out(node: yaml.Node, sizes: dict[int, int]) -> int:
    """Counts nodes as if aliases were written out. Refuses what contains itself or grows past MAX_NODES."""
    known = sizes.get(id(node))
    if known == 0:
        raise yaml.MarkedYAMLError(problem="an alias contains itself", problem_mark=node.start_mark)
    if known is not None:
        return known
    sizes[id(node)] = 0
    size = 1
    if isinstance(node, yaml.SequenceNode):
        size += sum(_written_out(item, sizes) for item in node.value)
    elif isinstance(node, yaml.MappingNode):
        size += sum(_written_out(key, sizes) + _written_out(value, sizes) for key, value in node.value)
    if size > MAX_NODES:
        raise yaml.MarkedYAMLError(
            problem=f"more than {MAX_NODES:,} values once aliases are written out", problem_mark=node.start_mark
        )
    sizes[id(node)] = size
    return size


def _doubled(node: yaml.Node, path: Path) -> Iterator[Problem]:
    """Keys given twice in one mapping: YAML would keep the last and drop a zone in silence."""
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _doubled(item, (*path, index))
    elif isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for key, value in node.value:
            own = (*path, key.value)
            if key.tag != _MERGE_TAG and isinstance(key, yaml.ScalarNode):
                if key.value in first:
                    message = f"named twice, here and in line {first[key.value]}"
                    yield Problem(field_name(own), "", message, "Rename or remove one", key.start_mark.line + 1)
                first.setdefault(key.value, key.start_mark.line + 1)
            yield from _doubled(value, own)


def _document(raw: dict[Any, Any]) -> tuple[FloorDocument | None, list[Problem], Omitted]:
    """Validates field by field; takes out what fails and tries the rest again, so that there is something to survey."""
    problems: list[Problem] = []
    taken: set[Path] = set()
    left: Any = copy.deepcopy(raw)
    for _ in range(MAX_MENDS):
        try:
            return FloorDocument.model_validate(left), problems, _omitted(taken)
        except ValidationError as error:
            details = [(_path(detail), detail) for detail in error.errors()]
            problems += [
                _field_problem(d, path) for path, d in details if not any(t[: len(path)] == path for t in taken)
            ]
            for path in sorted({_item(path) for path, _ in details}, key=_deepest_last_first):
                if not _take_out(left, path):
                    return None, problems, NOTHING
                taken.add(path)
    return None, problems, NOTHING


def _omitted(taken: set[Path]) -> Omitted:
    def given(section: str) -> frozenset[str]:
        return frozenset(str(path[1]) for path in taken if path[0] == section and len(path) > 1)

    cells = any(
        path in (("zones",), ("zone_per_cell",)) or (path[0] == "zones" and _hides_cells(path)) for path in taken
    )
    return Omitted(zones=given("zones"), kinds=given("agent_kinds"), cells=cells)


def _hides_cells(path: Path) -> bool:
    return len(path) < 3 or path[2] == "cells"


def _path(detail: ErrorDetails) -> Path:
    return tuple(part for part in detail["loc"] if part != "[key]")


def _item(path: Path) -> Path:
    """The whole item that a failure lies in: a patch rather than one of its numbers."""
    return path[: {"zones": 4, "parking": 2}.get(str(path[0]), 3)]


def _deepest_last_first(path: Path) -> tuple[tuple[str, int], ...]:
    """Sorts list items from the end, so that taking one out moves no other."""
    return tuple((str(part), 0) if not isinstance(part, int) else ("", -part) for part in path)


def _take_out(raw: dict[Any, Any], path: Path) -> bool:
    """Removes what `path` names, or the entry that misses it. False when nothing usable is left."""
    if len(path) == 1 and path[0] in _PLACEHOLDERS:
        raw[path[0]] = _PLACEHOLDERS[path[0]]
        return True
    holder: Any = raw
    for step in path[:-1]:
        try:
            holder = holder[step]
        except (KeyError, IndexError, TypeError):
            return True  # an earlier problem took it out already
    if isinstance(holder, (dict, list)) and _has(holder, path[-1]):
        del holder[path[-1]]
        return True
    return len(path) > 2 and _take_out(raw, path[:2])


def _has(holder: dict[Any, Any] | list[Any], step: Any) -> bool:
    return step in holder if isinstance(holder, dict) else isinstance(step, int) and step < len(holder)


def _field_problem(detail: ErrorDetails, path: Path) -> Problem:
    kind, context = detail["type"], detail.get("ctx", {})
    field = field_name(path)
    value = shown(detail["input"])
    if kind == "missing":
        return Problem(field, "", "missing", _MISSING.get(str(path[-1]), f"Add {path[-1]}"))
    if kind == "extra_forbidden":
        return Problem(field, value, "unknown key", _known_keys(path))
    if kind == "string_pattern_mismatch" or (kind == "string_type" and detail["loc"][-1] == "[key]"):
        field = field_name(tuple(str(part) for part in path))
        message, remedy = (
            "not a usable name",
            "Use 1 to 64 of A-Z a-z 0-9 _ . : - (quote a name that YAML takes for a number)",
        )
        return Problem(field, value, message, remedy)
    if kind == "literal_error":
        return Problem(
            field, value, "not a format this version reads", f"Write {field}: {context.get('expected', FORMAT)}"
        )
    if kind in ("greater_than_equal", "less_than_equal"):
        bound = context.get("ge", context.get("le"))
        word = "at least" if "ge" in context else "at most"
        return Problem(
            field,
            value,
            f"must be {word} {bound:,}",
            f"Give {bound} or {'more' if 'ge' in context else 'less'}{_meaning(path)}",
        )
    if kind in ("int_type", "int_from_float", "int_parsing"):
        return Problem(
            field, value, "not a whole number", f"Write digits without quotes or a decimal point{_meaning(path)}"
        )
    remedy = str(context.get("remedy", "docs/floor.md shows the form"))
    return Problem(field, value, detail["msg"].lower() if kind != "patch" else detail["msg"], remedy)


def _meaning(path: Path) -> str:
    unit = {
        "ms": "milliseconds",
        "mm": "millimetres",
        "s": "millimetres per second",
        "s2": "millimetres per second squared",
    }
    last = str(path[-1])
    word = unit.get(last.rsplit("_", 1)[-1]) if "_" in last else None
    return f", in {word}" if word else ""


def _known_keys(path: Path) -> str:
    """The keys that the section at `path` has, the closest first when one is close."""
    model: Any = FloorDocument
    for part in path[:-1]:
        field = model.model_fields.get(part) if hasattr(model, "model_fields") else None
        inner = field.annotation if field is not None else model
        candidates = [inner, *getattr(inner, "__args__", ())]
        model = next((c for c in candidates if hasattr(c, "model_fields")), model)
    known = list(model.model_fields)
    close = difflib.get_close_matches(str(path[-1]), known, n=1)
    return f"Did you mean {close[0]}?" if close else f"Known here: {', '.join(known)}"


def field_name(path: Path) -> str:
    """("zones", "Z_1", "cells", 0) as `zones.Z_1.cells[0]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _lines(node: yaml.Node, path: Path) -> Iterator[tuple[str, int]]:
    """The line each field stands in, counted from 1."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            own = (*path, key.value)
            yield field_name(own), key.start_mark.line + 1
            yield from _lines(value, own)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield field_name((*path, index)), item.start_mark.line + 1
            yield from _lines(item, (*path, index))
    elif path == ("grid",) and isinstance(node, yaml.ScalarNode) and node.style == "|":
        for index in range(len(node.value.splitlines())):
            yield field_name(("grid", index)), node.start_mark.line + 2 + index


def _in_order(problems: list[Problem], lines: dict[str, int]) -> list[Problem]:
    """Each problem with its line, or that of the nearest field around it; sorted by line."""
    placed = []
    for problem in problems:
        field, line = problem.field, problem.line
        while not line and field:
            line = lines.get(field, 0)
            field = field[: max(field.rfind("."), field.rfind("["), 0)]
        placed.append(Problem(problem.field, problem.value, problem.message, problem.remedy, line))
    return sorted(dict.fromkeys(placed), key=lambda problem: problem.line)

"""VDMA LIF layouts: what they become, and how damaged ones are refused."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vdma_lif.models import Edge

from coordinator.floor import Floor, FloorError, Problem
from coordinator.floor.check import check
from coordinator.floor.importers import from_lif, lif_layouts
from coordinator.floor.importers.lif_paths import crossed_cells, edge_paths
from coordinator.floor.routing import Router

EXAMPLE = "lif/example.lif.json"


def node(node_id: str, x: float, y: float) -> dict[str, Any]:
    vehicles = [{"vehicleTypeId": "agv"}]
    return {"nodeId": node_id, "nodePosition": {"x": x, "y": y}, "vehicleTypeNodeProperties": vehicles}


def edge(edge_id: str, start: str, end: str, **properties: Any) -> dict[str, Any]:
    return {
        "edgeId": edge_id,
        "startNodeId": start,
        "endNodeId": end,
        "vehicleTypeEdgeProperties": [{"vehicleTypeId": "agv", "maxSpeed": 1.2, **properties}],
    }


Parts = list[dict[str, Any]]


def lif(nodes: Parts, edges: Parts, stations: Parts | None = None) -> dict[str, Any]:
    return {
        "metaInformation": {
            "projectIdentification": "p",
            "creator": "c",
            "exportTimestamp": "2026-01-01T00:00:00Z",
            "lifVersion": "1.0.0",
        },
        "layouts": [
            {"layoutId": "hall", "layoutVersion": "1", "nodes": nodes, "edges": edges, "stations": stations or []}
        ],
    }


SQUARE = [node("a", 0, 0), node("b", 6, 0), node("c", 6, 6), node("d", 0, 6)]
RING = [edge("ab", "a", "b"), edge("bc", "b", "c"), edge("cd", "c", "d"), edge("da", "d", "a")]


def problems_of(document: Any, **options: Any) -> tuple[Problem, ...]:
    text = document if isinstance(document, str) else json.dumps(document)
    with pytest.raises(FloorError) as caught:
        from_lif(text, source="x.json", **options)
    return caught.value.problems


def test_nodes_and_edges_become_zones_with_y_turned_over() -> None:
    floor = from_lif(json.dumps(lif(SQUARE, RING)), cell_mm=1_000)
    assert sorted(floor.zones) == ["a", "ab", "b", "bc", "c", "cd", "d", "da"]
    assert floor.zones["a"].cells == ((1, 7),), "LIF's origin is bottom left, a floor's top left"
    assert floor.zones["c"].cells == ((7, 1),)
    assert floor.zones["ab"].cells == tuple((x, 7) for x in range(2, 7))
    assert floor.site == "hall"
    assert floor.agent_kinds["agv"].speed_mm_s == 1_200
    assert Floor.parse(floor.to_yaml()) == floor


def test_an_edge_without_its_counter_edge_is_one_way() -> None:
    floor = from_lif(json.dumps(lif(SQUARE, RING)), cell_mm=1_000)
    assert floor.moves(3, 7) == ((4, 7),)
    assert Router(floor).zones((7, 7), (1, 7)) == ["b", "bc", "c", "cd", "d", "da", "a"]


def test_one_way_can_be_left_out() -> None:
    floor = from_lif(json.dumps(lif(SQUARE, RING)), cell_mm=1_000, one_way=False)
    assert Router(floor).zones((7, 7), (1, 7)) == ["b", "ab", "a"]


def test_an_edge_and_its_counter_edge_are_one_zone() -> None:
    floor = from_lif(json.dumps(lif(SQUARE[:2], [edge("ab", "a", "b"), edge("ba", "b", "a")])), cell_mm=1_000)
    assert sorted(floor.zones) == ["a", "ab", "b"]
    assert set(floor.moves(3, 1)) == {(2, 1), (4, 1)}


def test_cells_that_two_edges_cross_are_a_zone_of_their_own() -> None:
    both = [edge("ac", "a", "c"), edge("ca", "c", "a"), edge("bd", "b", "d"), edge("db", "d", "b")]
    floor = from_lif(json.dumps(lif(SQUARE, both)), cell_mm=1_000)
    assert floor.zone_at(4, 4) == "X_1"
    route = Router(floor).zones(floor.zones["a"].cells[0], floor.zones["c"].cells[0])
    assert route[:2] == ["a", "ac"]
    assert "X_1" in route
    assert "bd" not in route or route.index("bd") > 0


def test_stations_stand_on_their_interaction_nodes() -> None:
    stations = [{"stationId": "load", "interactionNodeIds": ["b", "c"]}]
    floor = from_lif(json.dumps(lif(SQUARE, RING, stations)), cell_mm=1_000)
    assert {name: station.cell for name, station in floor.stations.items()} == {"load": (7, 7), "load_2": (7, 1)}


def test_strange_ids_become_usable_names_that_stay_apart() -> None:
    nodes = [node("n/1", 0, 0), node("n 1", 6, 0)]
    floor = from_lif(json.dumps(lif(nodes, [edge("e", "n/1", "n 1"), edge("f", "n 1", "n/1")])))
    assert sorted(floor.zones) == ["e", "n_1", "n_1_2"]


def test_the_cell_size_follows_the_nearest_nodes() -> None:
    nodes = [node("a", 0, 0), node("b", 1, 0), node("c", 9, 0)]
    edges = [edge("ab", "a", "b"), edge("ba", "b", "a"), edge("bc", "b", "c"), edge("cb", "c", "b")]
    assert from_lif(json.dumps(lif(nodes, edges))).cell_mm == 500


def test_a_curve_takes_the_cells_that_it_crosses() -> None:
    quarter: dict[str, Any] = {
        "degree": 2,
        "knotVector": [0, 0, 0, 1, 1, 1],
        "controlPoints": [
            {"x": 0, "y": 0, "weight": 1},
            {"x": 10, "y": 0, "weight": math.sqrt(0.5)},
            {"x": 10, "y": 10, "weight": 1},
        ],
    }
    curve = Edge.from_dict(edge("e", "a", "b", trajectory=quarter))
    ((*points,),) = edge_paths(curve, (0.0, 0.0), (10.0, 10.0))
    assert all(math.isclose(math.dist(point, (0, 10)), 10) for point in points), "a rational quarter circle, exactly"
    nodes = [node("a", 0, 0), node("b", 10, 10)]
    back = {**quarter, "controlPoints": quarter["controlPoints"][::-1]}
    edges = [edge("ab", "a", "b", trajectory=quarter), edge("ba", "b", "a", trajectory=back)]
    floor = from_lif(json.dumps(lif(nodes, edges)), cell_mm=1_000)
    assert floor.zone_at(8, 8) == "ab", "on the arc"
    assert floor.zone_at(6, 6) is None, "on the chord"


def test_knots_that_do_not_fit_fall_back_to_the_control_points() -> None:
    broken = {"degree": 3, "knotVector": [0, 1], "controlPoints": [{"x": 0, "y": 5}, {"x": 5, "y": 5}]}
    curve = Edge.from_dict(edge("e", "a", "b", trajectory=broken))
    assert edge_paths(curve, (0.0, 0.0), (5.0, 0.0)) == [[(0.0, 0.0), (0.0, 5.0), (5.0, 5.0), (5.0, 0.0)]]


POINTS = st.tuples(st.floats(-50, 50), st.floats(-50, 50))


@given(st.lists(POINTS, min_size=2, max_size=6))
def test_crossed_cells_step_to_neighbours_and_are_the_same_there_and_back(points: list[tuple[float, float]]) -> None:
    there = crossed_cells(points, reverse=False)
    back = crossed_cells(points[::-1], reverse=True)
    assert there == back[::-1]
    assert all(abs(a[0] - b[0]) + abs(a[1] - b[1]) == 1 for a, b in pairwise(there))
    ends = [(math.floor(x + 0.5), math.floor(y + 0.5)) for x, y in (points[0], points[-1])]
    assert (there[0], there[-1]) == tuple(ends)


@given(POINTS, POINTS)
def test_crossed_cells_touch_the_line(a: tuple[float, float], b: tuple[float, float]) -> None:
    for x, y in crossed_cells([a, b], reverse=False):
        assert _distance((x, y), a, b) <= math.sqrt(0.5) + 1e-6


def _distance(p: tuple[float, float], a: tuple[float, float], b: tuple[float, float]) -> float:
    dx, dy = b[0] - a[0], b[1] - a[1]
    length = dx * dx + dy * dy
    share = 0.0 if length == 0 else min(1.0, max(0.0, ((p[0] - a[0]) * dx + (p[1] - a[1]) * dy) / length))
    return math.dist(p, (a[0] + share * dx, a[1] + share * dy))


def changed(path: list[str | int], value: Any) -> dict[str, Any]:
    """The ring with one field replaced, or removed for None."""
    document = copy.deepcopy(lif(SQUARE, RING, [{"stationId": "s", "interactionNodeIds": ["a"]}]))
    holder: Any = document
    for step in path[:-1]:
        holder = holder[step]
    if value is None:
        del holder[path[-1]]
    else:
        holder[path[-1]] = value
    return document


FIRST: list[str | int] = ["layouts", 0]
BAD: list[tuple[list[str | int], Any, str, str]] = [
    (["layouts"], [], "layouts", "no layout"),
    (["layouts"], None, "layouts", "not a LIF file"),
    (["layouts"], [3], "layouts[0]", "not an object"),
    (["metaInformation", "creator"], None, "metaInformation", "not as LIF has it"),
    ([*FIRST, "nodes"], [], "layouts[0].nodes", "layout hall has no nodes"),
    ([*FIRST, "nodes"], None, "layouts[0].nodes", "must be a list"),
    ([*FIRST, "edges"], {}, "layouts[0].edges", "must be a list"),
    ([*FIRST, "layoutVersion"], 3, "layouts[0].layoutVersion", "must be text"),
    ([*FIRST, "nodes", 1, "nodeId"], None, "layouts[0].nodes[1].nodeId", "missing"),
    ([*FIRST, "nodes", 1, "nodeId"], "a", "layouts[0].nodes[1]", "given before"),
    ([*FIRST, "nodes", 1, "nodePosition"], None, "layouts[0].nodes[1].nodePosition", "missing"),
    ([*FIRST, "nodes", 1, "nodePosition", "x"], "6", "layouts[0].nodes[1].nodePosition.x", "must be a number"),
    ([*FIRST, "nodes", 1, "nodePosition", "y"], math.nan, "layouts[0].nodes[1].nodePosition.y", "must be a number"),
    ([*FIRST, "nodes", 1, "nodePosition", "y"], 1e300, "layouts[0].nodes[1].nodePosition.y", "must be a number"),
    ([*FIRST, "nodes", 1], 7, "layouts[0].nodes[1]", "must be an object"),
    ([*FIRST, "nodes", 1, "vehicleTypeNodeProperties", 0], {}, "layouts[0].nodes[1]", "vdma-lif cannot read it"),
    ([*FIRST, "edges", 2, "endNodeId"], "zz", "layouts[0].edges[2].endNodeId", "edge cd names an unknown node"),
    ([*FIRST, "edges", 2, "startNodeId"], "d", "layouts[0].edges[2]", "same node"),
    ([*FIRST, "edges", 2, "edgeId"], "ab", "layouts[0].edges[2]", "given before"),
    ([*FIRST, "stations", 0, "interactionNodeIds"], ["q"], "layouts[0].stations[0].interactionNodeIds", "unknown node"),
]


@pytest.mark.parametrize(("path", "value", "field", "message"), BAD)
def test_a_damaged_layout_is_refused_where_it_is_damaged(
    path: list[str | int], value: Any, field: str, message: str
) -> None:
    found = [problem for problem in problems_of(changed(path, value)) if problem.field == field]
    assert found, problems_of(changed(path, value))
    assert message in found[0].message
    assert found[0].remedy


def test_invalid_json_is_told_with_its_place() -> None:
    (problem,) = problems_of('{"layouts": [\n  {"nodes" 3}\n]}')
    assert (problem.line, problem.field) == (2, "column 12")
    assert "not JSON" in problem.message


@pytest.mark.parametrize("text", ["[]", "3", "null", '"x"', ""])
def test_other_json_is_no_lif(text: str) -> None:
    assert problems_of(text)


def test_all_problems_of_a_layout_are_reported_together() -> None:
    document = changed([*FIRST, "edges", 0, "endNodeId"], "q")
    document["layouts"][0]["edges"][1]["startNodeId"] = "r"
    document["layouts"][0]["stations"][0]["interactionNodeIds"] = ["t"]
    assert [problem.value for problem in problems_of(document)] == ["'q'", "'r'", "'t'"]


def test_nodes_that_share_a_cell_are_both_named() -> None:
    (problem, *_) = problems_of(lif(SQUARE, RING), cell_mm=20_000)
    assert problem.value == "b"
    assert "with node a" in problem.message
    assert "smaller cell_mm" in problem.remedy


def test_a_cell_size_that_makes_too_many_cells_is_refused() -> None:
    far = [node("a", 0, 0), node("b", 90_000, 90_000)]
    (problem,) = problems_of(lif(far, [edge("ab", "a", "b"), edge("ba", "b", "a")]), cell_mm=1)
    assert "larger cell_mm" in problem.remedy


@pytest.mark.parametrize("options", [{"cell_mm": 0}, {"cell_mm": -1}, {"unit_mm": 0}])
def test_sizes_that_make_no_sense_are_refused(options: dict[str, int]) -> None:
    (problem,) = problems_of(lif(SQUARE, RING), **options)
    assert problem.field == next(iter(options))


def test_a_node_that_no_edge_reaches_is_refused() -> None:
    assert any("cannot be reached" in problem.message for problem in problems_of(lif(SQUARE, RING[:0])))


def test_a_one_way_edge_into_a_dead_end_is_refused() -> None:
    problems = problems_of(lif(SQUARE[:2], [edge("ab", "a", "b")]), cell_mm=1_000)
    assert any("can be entered but never left" in problem.message for problem in problems)


def test_an_unknown_layout_is_refused_with_the_known_ones() -> None:
    (problem,) = problems_of(lif(SQUARE, RING), layout_id="attic")
    assert problem.value == "attic"
    assert "hall" in problem.remedy


def test_the_example_imports_and_passes_check(shared_data: Callable[[str], Path]) -> None:
    floor = from_lif(shared_data(EXAMPLE).read_text())
    assert sorted(floor.zones) == ["edge-001", "node-001", "node-002"]
    assert floor.agent_kinds["vehicle-002"].speed_mm_s == 2_000
    assert sorted(floor.stations) == ["station-001", "station-001_2", "station-002"]
    assert check(floor).passed
    assert Floor.parse(floor.to_yaml()) == floor


def test_the_examples_second_layout_can_be_chosen(shared_data: Callable[[str], Path]) -> None:
    text = shared_data(EXAMPLE).read_text()
    assert [(layout.layout_id, layout.nodes) for layout in lif_layouts(text)] == [("layout-001", 2), ("layout-002", 1)]
    assert list(from_lif(text, layout_id="layout-002").zones) == ["node-003"]

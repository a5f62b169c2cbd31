"""Routes: allowed, shortest, the same every time."""

from __future__ import annotations

from itertools import pairwise

import networkx as nx
import pytest
from floor.builders import GOOD
from floor.test_roundtrip import documents
from hypothesis import given
from hypothesis import strategies as st

from coordinator.floor import Floor
from coordinator.floor.document import FloorDocument
from coordinator.floor.routing import Router
from coordinator.floor.survey import move_graph


@pytest.fixture(scope="module")
def router() -> Router:
    return Router(Floor.parse(GOOD))


def test_a_route_follows_the_arrows(router: Router) -> None:
    assert router.cells((2, 1), (1, 2)) == [(2, 1), (3, 1), (3, 2), (3, 3), (2, 3), (1, 3), (1, 2)]


def test_a_route_from_a_cell_to_itself_is_that_cell(router: Router) -> None:
    assert router.cells((1, 1), (1, 1)) == [(1, 1)]


def test_avoided_cells_and_zones_are_avoided(router: Router) -> None:
    round_about = router.cells((1, 1), (1, 3), avoid={(3, 2)})
    assert len(round_about) == 11
    assert router.cells((1, 1), (1, 3), avoid={"Z_02", (3, 2)}) == []


def test_where_a_vehicle_stands_is_never_avoided(router: Router) -> None:
    assert router.cells((4, 1), (5, 1), avoid={(4, 1)}) == [(4, 1), (5, 1)]


def test_an_avoided_goal_has_no_route(router: Router) -> None:
    assert router.cells((1, 1), (5, 1), avoid={"Z_02"}) == []


def test_zones_are_named_in_the_order_they_are_entered(router: Router) -> None:
    assert router.zones((4, 1), (2, 1)) == ["Z_02", "Z_03", "Z_01"]


def test_a_zone_entered_twice_stands_twice(router: Router) -> None:
    assert router.zones_along([(1, 1), (1, 2), (1, 1)]) == ["Z_01", "Z_03", "Z_01"]


def test_blocked_ends_and_unknown_zones_are_errors(router: Router) -> None:
    with pytest.raises(ValueError, match="goal \\(0, 0\\)"):
        router.cells((1, 1), (0, 0))
    with pytest.raises(ValueError, match="start"):
        router.cells((99, 1), (1, 1))
    with pytest.raises(KeyError):
        router.cells((1, 1), (2, 1), avoid={"Z_99"})
    with pytest.raises(KeyError):
        router.zones_along([(0, 0)])


@given(documents(), st.data())
def test_any_route_is_allowed_avoids_what_it_must_and_is_shortest(document: FloorDocument, data: st.DataObject) -> None:
    floor = Floor.from_document(document)
    cells = list(floor.grid.open_cells())
    start, goal = data.draw(st.sampled_from(cells)), data.draw(st.sampled_from(cells))
    avoid = frozenset(data.draw(st.sets(st.sampled_from(cells), max_size=4))) - {start}
    route = Router(floor).cells(start, goal, avoid)
    graph = move_graph(floor.grid)
    graph.remove_nodes_from(avoid)
    if goal in avoid or not nx.has_path(graph, start, goal):
        assert route == []
        return
    assert (route[0], route[-1]) == (start, goal)
    assert all(there in floor.moves(*here) for here, there in pairwise(route))
    assert not avoid & set(route)
    assert len(route) == nx.shortest_path_length(graph, start, goal) + 1
    assert route == Router(floor).cells(start, goal, avoid)

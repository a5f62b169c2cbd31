"""The bundled floors are sound, and roomy enough for the demo that drives on them."""

from __future__ import annotations

from itertools import permutations

import networkx as nx
import pytest

from coordinator.floor import Floor
from coordinator.floor.check import check
from coordinator.floor.examples import bundled, names
from coordinator.floor.routing import Router

DEMO_AGVS = 10


@pytest.fixture(scope="module")
def machining() -> Floor:
    return Floor.load(bundled("machining"))


@pytest.mark.parametrize("name", names())
def test_every_bundled_floor_loads_passes_check_and_round_trips(name: str) -> None:
    floor = Floor.load(bundled(name))
    assert check(floor).failures == ()
    assert Floor.parse(floor.to_yaml()) == floor


def test_an_unknown_example_is_named_with_the_known_ones() -> None:
    with pytest.raises(KeyError, match="machining"):
        bundled("nowhere")


def test_an_arm_and_agvs_share_the_loading_zone(machining: Floor) -> None:
    assert machining.arms["Arm_14"].zones == ("Z_32",)
    loading = machining.stations["loading"]
    assert machining.zone_at(*loading.cell) == "Z_32"
    assert machining.zones["Z_32"].capacity == 1
    assert machining.zones["Z_32"].stop_group == "loading"


def test_the_crossing_holds_two(machining: Floor) -> None:
    assert [name for name, zone in machining.zones.items() if zone.capacity > 1] == ["X_01"]
    assert machining.zones["X_01"].capacity == 2


def test_a_fault_in_one_hall_does_not_stop_the_other(machining: Floor) -> None:
    assert machining.stop_groups == ("east", "loading", "west")


def test_every_station_can_be_driven_to_from_every_place(machining: Floor) -> None:
    router = Router(machining)
    places = [station.cell for station in machining.stations.values()] + list(machining.parking.values())
    assert all(router.cells(a, b) for a, b in permutations(places, 2))


def test_each_parking_place_and_station_has_a_cell_of_its_own(machining: Floor) -> None:
    places = [station.cell for station in machining.stations.values()] + list(machining.parking.values())
    assert len(set(places)) == len(places)
    assert len({machining.zone_at(*cell) for cell in machining.parking.values()}) == len(machining.parking)


def test_no_loop_of_roads_is_so_short_that_the_demo_could_fill_it(machining: Floor) -> None:
    """AGVs that take the next zone before they leave the last lock up only where they fill a whole loop of zones."""
    graph: nx.DiGraph[str] = nx.DiGraph()
    for name, zone in machining.zones.items():
        ahead = (machining.zone_at(*there) for cell in zone.cells for there in machining.moves(*cell))
        graph.add_edges_from((name, other) for other in ahead if other is not None and other != name)
    shortest = min(nx.shortest_path_length(graph, b, a) + 1 for a, b in graph.edges)
    assert shortest > DEMO_AGVS

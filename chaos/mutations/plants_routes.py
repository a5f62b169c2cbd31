"""Mistakes in the safe-step rule. They need the route book, and matter once the machine decides by it."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from chaos.mutations.patching import Mutation, Patch, mutation

ROUTES: list[Mutation] = []

BOOK = "coordinator.core.routes"
ITINERARIES = "coordinator.core.itineraries"


@mutation(
    ROUTES,
    "unsafe_step",
    "a step is granted because its zones are free, whether or not anybody can arrive afterwards",
    "I9",
    needs=(f"{BOOK}:RouteBook._step", f"{BOOK}:Safe"),
)
def _unsafe_step(patch: Patch) -> None:
    routes: Any = importlib.import_module(BOOK)

    def step(self: Any, who: int, wanted: list[int], rest: tuple[int, ...] | None) -> Any:
        return routes.Safe()

    patch.wrap(routes.RouteBook, "_step", lambda _: step)


@mutation(
    ROUTES,
    "finished_last_zone_free",
    "an agent that has arrived is reckoned to give back the zone that it stands in",
    "I9",
    needs=(f"{ITINERARIES}:Itineraries._assign",),
)
def _finished_last_zone_free(patch: Patch) -> None:
    itineraries: Any = importlib.import_module(ITINERARIES)

    def make(original: Any) -> Any:
        def assign(self: Any, who: int, ahead: Sequence[int], keeps: Sequence[int], *, travels: bool) -> None:
            held = bool(self._tables.travellers[who].held)
            original(self, who, ahead, (), travels=travels or held)

        return assign

    patch.wrap(itineraries.Itineraries, "_assign", make)

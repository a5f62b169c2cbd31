"""Planted bugs: each turns one promise of the product off, so that a checker can show that it would notice.

    with planted("free_on_expiry"):
        ...   # the real code, with that one mistake in it

Rule: the product never knows of this package; a mutation replaces attributes of the real classes and puts them back. It
names the invariants of which at least one must object. A mutation whose code does not exist is *unavailable*, with the
reason, rather than silently harmless: `unavailable(name)`. Plant before the machine, runtime or store is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from chaos.mutations.patching import Mutation, Patch, Unavailable
from chaos.mutations.plants_core import CORE
from chaos.mutations.plants_routes import ROUTES
from chaos.mutations.plants_safety import SAFETY
from chaos.mutations.plants_shell import SHELL
from coordinator.compiled import COMPILED, PYTHON, SWITCH, in_use

MUTATIONS: dict[str, Mutation] = {m.name: m for m in (*CORE, *SAFETY, *ROUTES, *SHELL)}


def unavailable(name: str) -> str:
    """Why the mutation cannot be planted into this tree; empty when it can. Raises KeyError for an unknown name."""
    return MUTATIONS[name].unavailable()


@contextmanager
def planted(*names: str) -> Iterator[None]:
    """Plants mutations for the length of a block. Raises KeyError for an unknown name, Unavailable."""
    if in_use() == COMPILED:
        raise Unavailable(f"a compiled core takes no plants; run with {SWITCH}={PYTHON}")
    with Patch() as patch:
        for name in names:
            mutation = MUTATIONS[name]
            reason = mutation.unavailable()
            if reason:
                raise Unavailable(f"{name}: {reason}")
            mutation.plant(patch)
        yield


__all__ = ["MUTATIONS", "Mutation", "Unavailable", "planted", "unavailable"]

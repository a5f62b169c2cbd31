"""How a mutation is planted and taken out again. Nothing here knows what is mutated."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any


class Unavailable(RuntimeError):
    """The code that a mutation would break does not exist in this tree."""


class Patch:
    """Attributes replaced for a while; put back in reverse order, whatever happens."""

    def __init__(self) -> None:
        self._undo = ExitStack()

    def __enter__(self) -> Patch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()

    def wrap(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        """Replaces `owner.name` by what `make` builds around the original. Raises Unavailable when there is none."""
        if name not in vars(owner):
            raise Unavailable(f"{getattr(owner, '__name__', owner)} has no {name} of its own")
        original = vars(owner)[name]
        setattr(owner, name, make(original))
        self._undo.callback(setattr, owner, name, original)


@dataclass(frozen=True, slots=True)
class Mutation:
    """One mistake. `needs` are `module:attribute` paths that must exist; `caught_by` invariants that may object."""

    name: str
    description: str
    caught_by: tuple[str, ...]
    plant: Callable[[Patch], None]
    needs: tuple[str, ...] = ()

    def unavailable(self) -> str:
        """Why it cannot be planted; empty when it can."""
        for path in self.needs:
            module, _, attributes = path.partition(":")
            try:
                owner: Any = importlib.import_module(module)
                for attribute in attributes.split("."):
                    owner = getattr(owner, attribute)
            except (ImportError, AttributeError):
                return f"needs {path}, which does not exist here"
        return ""


def mutation(
    into: list[Mutation], name: str, description: str, *caught_by: str, needs: tuple[str, ...] = ()
) -> Callable[[Callable[[Patch], None]], Callable[[Patch], None]]:
    """Registers the function below it as a mutation's `plant`."""

    def register(plant: Callable[[Patch], None]) -> Callable[[Patch], None]:
        into.append(Mutation(name, description, caught_by, plant, needs))
        return plant

    return register

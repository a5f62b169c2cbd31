"""Which core this process runs: `coordinator.core` as it is written, or what mypyc compiled of it.

Rule owned: a compiled core is used only where it was made of exactly the sources at hand, by this Python. It lies in a
folder of its own, named after the fingerprint of both, so an edited source can never be shadowed by an old build; and
it is used only by a process that was told to: `zonelock serve` prefers it, everything else runs Python unless
ZONELOCK_CORE says otherwise. `compiling` makes the builds. Imports only the standard library.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec, PathFinder
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType

SWITCH = "ZONELOCK_CORE"
AUTO, COMPILED, PYTHON = "auto", "compiled", "python"

CORE = "coordinator.core"
GROUP = "zonelock_core"
LIBRARY = f"{GROUP}__mypyc"
"""The module that holds all of the compiled code; each compiled module of the core only points into it."""

OPTIONS = ("-O2", "one group")
"""How it is compiled; part of the fingerprint, so that a change here makes older builds unusable."""

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parent
CHECKOUT = (ROOT / "pyproject.toml").exists()
BUILDS = ROOT / "build" / "compiled" if CHECKOUT else PACKAGE / "compiled-core"
"""Where builds lie: of a checkout where `make clean` finds them, of an installed package inside it."""

RECORD = "build.json"


class CoreUnavailable(ImportError):
    """The core that ZONELOCK_CORE asks for cannot be had, or it asks for none that there is."""


def sources() -> dict[str, bytes]:
    """The core's files by name."""
    return {path.name: path.read_bytes() for path in sorted((PACKAGE / "core").glob("*.py"))}


def fingerprint(of: dict[str, bytes]) -> str:
    """One of these sources, of this Python and of how they are compiled, in hexadecimal."""
    said = hashlib.sha256(repr((sys.version, EXTENSION_SUFFIXES[0], OPTIONS, sorted(of.items()))).encode())
    return said.hexdigest()


def compiler_version() -> str:
    """mypyc's, which comes with mypy; empty where it is not installed, as where a finished build is only used."""
    try:
        return version("mypy")
    except PackageNotFoundError:
        return ""


def folder_of(mark: str) -> Path:
    """Where the build with this fingerprint lies, or would."""
    return BUILDS / mark[:16]


def matching_build() -> Path | None:
    """The folder of the build that was made of the sources at hand; None where there is none."""
    mark = fingerprint(sources())
    folder = folder_of(mark)
    try:
        made = json.loads((folder / RECORD).read_text("utf-8"))
        due = {"fingerprint": mark, "mypyc": compiler_version() or made.get("mypyc"), "files": sizes(folder)}
    except (OSError, ValueError, AttributeError):
        return None
    return folder if made == due else None


def sizes(folder: Path) -> dict[str, int]:
    """What a build consists of, in bytes: one that a power cut left in pieces is none. Raises OSError."""
    files = (path for path in sorted(folder.rglob("*")) if path.suffix == ".so")
    return {str(path.relative_to(folder)): path.stat().st_size for path in files}


def how_to_compile() -> str:
    """The command that makes a build for this installation."""
    return "make compiled" if CHECKOUT else f"{sys.executable} -m coordinator.compiling"


def prefer() -> None:
    """This process runs the compiled core if there is one; whoever set ZONELOCK_CORE chose."""
    os.environ.setdefault(SWITCH, AUTO)


def chosen() -> Path | None:
    """The build that this process is to run; None for Python. Raises CoreUnavailable."""
    choice = os.environ.get(SWITCH) or PYTHON
    if choice not in (AUTO, COMPILED, PYTHON):
        raise CoreUnavailable(f"{SWITCH} is {choice!r}; use {AUTO}, {COMPILED} or {PYTHON}")
    if choice == PYTHON:
        return None
    found = matching_build()
    if found is None and choice == COMPILED:
        raise CoreUnavailable(
            f"{SWITCH} is {COMPILED}, but no compiled core in {BUILDS} was made of these sources for this Python;"
            f" run `{how_to_compile()}`, or set {SWITCH}={AUTO}"
        )
    return found


def in_use() -> str:
    """Which core this process has imported, or would: `compiled` or `python`. Raises CoreUnavailable."""
    loaded = sys.modules.get(CORE)
    if loaded is None:
        return PYTHON if chosen() is None else COMPILED
    return PYTHON if (loaded.__file__ or "").endswith(".py") else COMPILED


def in_words() -> str:
    """Which core has been imported and, for Python where a compiled one was wanted, why: for a log."""
    core = in_use()
    if core == COMPILED:
        return f"{COMPILED} ({sys.modules[CORE].__file__})" if CORE in sys.modules else COMPILED
    why = f": no build matches these sources; `{how_to_compile()}` makes one"
    return core + (why if os.environ.get(SWITCH) == AUTO and matching_build() is None else "")


class CoreFinder(MetaPathFinder):
    """Finds the core in its build when that is chosen; what it does not find, Python finds as ever."""

    def __init__(self) -> None:
        self._build: Path | None = None

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == CORE:
            # The core's modules are then found through the package's own path, and are all of one build.
            self._build = chosen()
            inside = "coordinator"
        elif fullname == LIBRARY:
            inside = ""
        else:
            return None
        return None if self._build is None else PathFinder.find_spec(fullname, [str(self._build / inside)])


def offer() -> None:
    """From now on an import of the core asks here first."""
    if not any(isinstance(finder, CoreFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, CoreFinder())

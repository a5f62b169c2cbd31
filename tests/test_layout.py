"""Rules about files rather than behaviour: sizes, typed packages, locked versions, and a continuous integration that
stays a mere `make`.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
SOURCE_FOLDERS = (
    "coordinator",
    "edge_node",
    "clients",
    "protos",
    "chaos",
    "tests",
    "benchmarks",
    "deploy",
    "docs",
    ".ci",
)
SOURCE_ENDINGS = (".py", ".proto", ".html", ".css", ".js", ".sh")
MAX_LINES = 600
LOCKED = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[A-Za-z0-9.!+_-]+)")


def hand_written_files() -> list[Path]:
    found = [
        path
        for folder in SOURCE_FOLDERS
        for path in sorted((ROOT / folder).rglob("*"))
        if path.is_file() and path.suffix in SOURCE_ENDINGS and not path.stem.endswith(("_pb2", "_pb2_grpc"))
    ]
    # Copied interface definitions keep their authors' shape.
    return [path for path in found if not (path.suffix == ".proto" and path.is_relative_to(ROOT / "coordinator"))]


def pyproject() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def locked_versions() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text("utf-8").splitlines()
    matches = [LOCKED.fullmatch(line) for line in lines]
    return {canonicalize_name(match["name"]): match["version"] for match in matches if match}


def test_no_file_grows_past_the_limit() -> None:
    sizes = {path: len(path.read_text("utf-8").splitlines()) for path in hand_written_files()}
    too_long = [f"{path.relative_to(ROOT)}: {size} lines" for path, size in sizes.items() if size > MAX_LINES]
    assert not too_long, f"split at a seam of the domain, {MAX_LINES} lines is the limit:\n" + "\n".join(too_long)


def test_the_lock_names_exact_versions_and_no_addresses() -> None:
    lines = (ROOT / "requirements.lock").read_text("utf-8").splitlines()
    odd = [line for line in lines if line and not line.startswith("#") and not LOCKED.fullmatch(line)]
    assert not odd, "requirements.lock holds `name==version` lines only:\n" + "\n".join(odd)
    assert len(locked_versions()) > 20


def test_the_lock_satisfies_every_declared_dependency() -> None:
    locked = locked_versions()
    declared = pyproject()
    project = declared["project"]
    build = declared["build-system"]
    assert isinstance(project, dict)
    assert isinstance(build, dict)
    requirements = [*project["dependencies"], *project["optional-dependencies"]["dev"], *build["requires"]]
    unmet = []
    for requirement in map(Requirement, requirements):
        version = locked.get(canonicalize_name(requirement.name))
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            unmet.append(f"{requirement}: locked {version}")
    assert not unmet, "run `make lock` and commit requirements.lock:\n" + "\n".join(unmet)


def test_every_shipped_package_is_marked_as_typed() -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]["targets"]["wheel"]
    unmarked = [package for package in packages["packages"] if not (ROOT / package / "py.typed").exists()]
    assert not unmarked, f"users' type checkers ignore a package without an (empty) py.typed: {', '.join(unmarked)}"


def test_continuous_integration_runs_make_and_nothing_cleverer() -> None:
    run = ROOT / ".ci" / "run"
    commands = [line for line in run.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    assert commands == ["set -euo pipefail", 'cd "$(dirname "$0")/.."', "make check test"]


@pytest.mark.parametrize("script", sorted((ROOT / ".ci").iterdir()), ids=lambda path: path.name)
def test_scripts_are_executable_and_stop_at_the_first_surprise(script: Path) -> None:
    assert os.access(script, os.X_OK), f"chmod +x {script.relative_to(ROOT)}"
    assert "pipefail" in script.read_text("utf-8")

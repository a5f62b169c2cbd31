"""`python -m coordinator.compiling` (`make compiled`): compiles the core with mypyc, for `compiled` to find.

Rule owned: a build appears whole or not at all. It is made of a copy of the sources, whose fingerprint names it, in a
folder of its own that is renamed when everything is there. Needs mypy and setuptools, a C compiler and Python.h; takes
the better part of a minute. Imports nothing of the coordinator but `compiled`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from coordinator.compiled import BUILDS, GROUP, RECORD, compiler_version, fingerprint, folder_of, matching_build, sizes
from coordinator.compiled import sources as core_sources

KEPT = 4
"""Builds of other sources or Pythons that are kept, the newest."""

SHOWN_LINES = 30
COMPILES_MAX_S = 900

SETUP = f"""
from pathlib import Path
from mypyc.build import mypycify
from setuptools import setup

files = sorted(str(path) for path in Path("coordinator", "core").glob("*.py"))
compiled = mypycify(["--config-file=", *files], opt_level="2", debug_level="0", group_name="{GROUP}")
setup(name="zonelock-core", packages=[], ext_modules=compiled)
"""


class CannotCompile(Exception):
    """What is missing here, or what the compiler said; ends in what to do."""


def missing() -> str:
    """What this machine lacks to compile the core, and where it comes from; empty when it has everything."""
    for module, package in (("mypyc", "mypy"), ("setuptools", "setuptools")):
        if importlib.util.find_spec(module) is None:
            return f"{package} is not installed for {sys.executable}; run `pip install {package}`"
    command = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
    if shutil.which(command) is None:
        return f"there is no C compiler ({command}); install one (Debian: apt-get install gcc libc6-dev), or set $CC"
    header = Path(sysconfig.get_paths()["include"], "Python.h")
    if not header.exists():
        major, minor = sys.version_info[:2]
        return f"there is no {header}; install it (Debian: apt-get install python{major}.{minor}-dev)"
    return ""


def build() -> Path:
    """Compiles the core unless that has been done. Returns the build's folder. Raises CannotCompile, OSError."""
    found = matching_build()
    if found is not None:
        return found
    lacking = missing()
    if lacking:
        raise CannotCompile(lacking)
    sources = core_sources()
    mark = fingerprint(sources)
    BUILDS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="making-", dir=BUILDS) as making:
        work = Path(making)
        core = work / "coordinator" / "core"
        core.mkdir(parents=True)
        (core.parent / "__init__.py").touch()
        for name, content in sources.items():
            (core / name).write_bytes(content)
        (work / "setup.py").write_text(SETUP, encoding="utf-8")
        compile_in(work)
        made = work / "made"
        record = {"fingerprint": mark, "mypyc": compiler_version(), "files": sizes(made)}
        (made / RECORD).write_text(json.dumps(record) + "\n", encoding="utf-8")
        folder = folder_of(mark)
        if matching_build() is None:  # nobody else has made it meanwhile
            shutil.rmtree(folder, ignore_errors=True)
            try:
                made.rename(folder)
            except OSError:
                if matching_build() is None:
                    raise
    drop_old()
    return folder


def compile_in(work: Path) -> None:
    """Compiles what lies in `work/coordinator/core` into `work/made`. Raises CannotCompile."""
    jobs = str(os.cpu_count() or 1)
    command = [sys.executable, "setup.py", "-q", "build_ext", "--build-lib", "made", "--parallel", jobs]
    done = subprocess.run(
        command,
        cwd=work,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        timeout=COMPILES_MAX_S,
    )
    if done.returncode != 0:
        told = "\n".join(done.stdout.splitlines()[-SHOWN_LINES:])
        raise CannotCompile(f"mypyc or the C compiler failed:\n{told}\nMend what it names; `make check` shows types.")


def drop_old() -> None:
    """Keeps the newest builds only."""
    builds = [path.parent for path in BUILDS.glob(f"*/{RECORD}")]
    for old in sorted(builds, key=lambda path: path.stat().st_mtime, reverse=True)[KEPT:]:
        shutil.rmtree(old, ignore_errors=True)


def main() -> int:
    began = time.monotonic()
    try:
        folder = build()
    except (CannotCompile, OSError, subprocess.TimeoutExpired) as error:
        print(f"zonelock: the core was not compiled: {error}", file=sys.stderr)
        return 1
    print(f"zonelock: the compiled core is in {folder} ({time.monotonic() - began:.0f} s)", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())

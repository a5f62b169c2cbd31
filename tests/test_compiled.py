"""The core compiled by mypyc: it decides exactly as the one in Python, and is never used where it is of other sources.

The build takes the better part of a minute, so what needs one is skipped without: `make compiled`, or `make slow`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from zonelock_cli.exits import ExitCode
from zonelock_cli.failures import Failure
from zonelock_cli.serving import choose_core

from coordinator import compiled, compiling

HISTORIES = """
import json, sys
from chaos.sim.campaign import judged
from chaos.sim.plan import plan_of
from coordinator.core.machine import Machine

outcomes = [judged(plan_of(seed)) for seed in range(int(sys.argv[1]), int(sys.argv[2]))]
told = [{"digest": o.digest, "violations": o.violations, "counts": o.counts} for o in outcomes]
print(json.dumps({"machine": sys.modules[Machine.__module__].__file__, "told": told}))
"""

PLANT = """
from chaos.mutations import Unavailable, planted

try:
    with planted("free_on_expiry"):
        print("planted")
except Unavailable as refused:
    print(refused)
"""


@pytest.fixture
def build() -> Path:
    found = compiled.matching_build()
    if found is None:
        pytest.skip("no compiled core of these sources: make compiled")
    return found


@pytest.fixture
def no_builds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty place for builds."""
    monkeypatch.setattr(compiled, "BUILDS", tmp_path)
    monkeypatch.setattr(compiling, "BUILDS", tmp_path)
    return tmp_path


def python(script: str, *arguments: str, core: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, compiled.SWITCH: core},
        stdout=subprocess.PIPE,
        text=True,
    )


def same_histories(build: Path, seeds: range) -> None:
    """Each core runs the seeds in a process of its own, both at once."""
    bounds = (str(seeds.start), str(seeds.stop))
    running = [python(HISTORIES, *bounds, core=core) for core in (compiled.PYTHON, compiled.COMPILED)]
    in_python, in_c = (json.loads(process.communicate()[0]) for process in running)
    assert in_python["machine"].endswith("core/machine.py")
    assert Path(in_c["machine"]).is_relative_to(build) and in_c["machine"].endswith(".so")
    for seed, one, other in zip(seeds, in_python["told"], in_c["told"], strict=True):
        assert one == other, f"seed {seed}: a compiled core decides otherwise"


def test_both_cores_write_the_same_histories(build: Path) -> None:
    same_histories(build, range(3))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_both_cores_write_the_same_histories_over_many_seeds() -> None:
    lacking = compiling.missing()
    if lacking:
        pytest.skip(lacking)
    same_histories(compiling.build(), range(100, 200))


def test_serve_runs_it_and_says_so(build: Path, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != compiled.SWITCH}
    serving = subprocess.Popen(
        [
            *(sys.executable, "-m", "zonelock_cli", "serve", "-o", "json", "--store", "memory"),
            *("--listen", "127.0.0.1:0", "--web", "127.0.0.1:0", "--data-dir", str(tmp_path)),
        ],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert serving.stdout is not None
        ready = json.loads(serving.stdout.readline())
        with urllib.request.urlopen(f"{ready['web']}metrics", timeout=10) as page:
            metrics = page.read().decode()
    finally:
        serving.terminate()
        log = serving.communicate(timeout=20)[1]
    assert 'zonelock_core_info{core="compiled"} 1.0' in metrics and 'zonelock_core_info{core="python"} 0.0' in metrics
    assert f"the core is compiled ({build}" in log


@pytest.mark.parametrize("core", [compiled.PYTHON, compiled.COMPILED])
def test_the_benchmarks_say_which_core_was_measured(build: Path, core: str) -> None:
    told = python("from benchmarks.report import versions; print(versions()['core'])", core=core).communicate()[0]
    assert told.strip() == core


def test_nothing_can_be_planted_in_a_compiled_core(build: Path) -> None:
    told = python(PLANT, core=compiled.COMPILED).communicate()[0]
    assert told.strip() == "a compiled core takes no plants; run with ZONELOCK_CORE=python"


def planted_build(folder: Path) -> Path:
    """What a build of the sources at hand would leave as its record."""
    mark = compiled.fingerprint(compiled.sources())
    made = compiled.folder_of(mark)
    made.mkdir()
    (made / "core.so").write_bytes(b"code")
    record = {"fingerprint": mark, "mypyc": compiled.compiler_version(), "files": {"core.so": 4}}
    (made / compiled.RECORD).write_text(json.dumps(record))
    return made


def test_an_edited_source_makes_a_build_unusable(
    no_builds: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    edited = tmp_path_factory.mktemp("package")
    shutil.copytree(compiled.PACKAGE / "core", edited / "core", ignore=shutil.ignore_patterns("__pycache__"))
    made = planted_build(no_builds)
    monkeypatch.setattr(compiled, "PACKAGE", edited)
    assert compiled.matching_build() == made
    with (edited / "core" / "zones.py").open("a") as source:
        source.write("\n")
    assert compiled.matching_build() is None


@pytest.mark.parametrize("left", [None, b"", b"co"])
def test_a_build_that_a_power_cut_left_in_pieces_is_not_used(no_builds: Path, left: bytes | None) -> None:
    made = planted_build(no_builds)
    assert compiled.matching_build() == made
    if left is None:
        (made / "core.so").unlink()
    else:
        (made / "core.so").write_bytes(left)
    assert compiled.matching_build() is None


def test_a_new_file_makes_a_build_unusable(no_builds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted_build(no_builds)
    sources = compiled.sources()
    monkeypatch.setattr(compiled, "sources", lambda: {**sources, "newer.py": b""})
    assert compiled.matching_build() is None


def test_a_build_by_another_mypyc_is_not_used(no_builds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = planted_build(no_builds)
    monkeypatch.setattr(compiled, "compiler_version", lambda: "0.1")
    assert compiled.matching_build() is None
    monkeypatch.setattr(compiled, "compiler_version", lambda: "")
    assert compiled.matching_build() == made, "where mypy is not installed, what was built is good"


def test_a_build_for_another_python_is_not_used(no_builds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted_build(no_builds)
    monkeypatch.setattr(sys, "version", "3.99.0 (main)")
    assert compiled.matching_build() is None


def test_serve_prefers_the_compiled_core_and_everything_else_runs_python(
    no_builds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = planted_build(no_builds)
    monkeypatch.delenv(compiled.SWITCH, raising=False)
    assert compiled.chosen() is None
    monkeypatch.setenv(compiled.SWITCH, "")  # so that it is put back afterwards
    monkeypatch.delenv(compiled.SWITCH)
    choose_core()
    assert os.environ[compiled.SWITCH] == "auto"
    assert compiled.chosen() == made


def test_serve_runs_python_where_nothing_was_built(no_builds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(compiled.SWITCH, "auto")
    choose_core()
    assert compiled.chosen() is None
    assert "no build matches" in compiled.in_words() or compiled.in_use() == compiled.COMPILED


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ("fast", "ZONELOCK_CORE is 'fast'; use auto, compiled or python"),
        ("compiled", "run `make compiled`, or set ZONELOCK_CORE=auto"),
    ],
)
def test_a_core_that_cannot_be_had_is_refused_with_what_to_do(
    no_builds: Path, monkeypatch: pytest.MonkeyPatch, choice: str, told: str
) -> None:
    monkeypatch.setenv(compiled.SWITCH, choice)
    with pytest.raises(Failure) as refused:
        choose_core()
    assert told in refused.value.message and refused.value.exit_code == ExitCode.USAGE
    assert "make compiled" in refused.value.remedy


def test_serve_says_what_is_wrong_before_it_starts_anything() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "zonelock_cli", "serve", "-o", "json"],
        env={**os.environ, compiled.SWITCH: "fast"},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == ExitCode.USAGE
    assert "ZONELOCK_CORE is 'fast'" in json.loads(done.stderr)["error"]["message"]


@pytest.mark.usefixtures("no_builds")
def test_a_missing_compiler_is_named_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler -O1")
    assert compiling.main() == 1
    told = capsys.readouterr().err
    assert "no C compiler (no-such-compiler)" in told and "apt-get install gcc" in told


def test_a_build_that_fails_leaves_nothing_and_says_what_the_compiler_said(
    no_builds: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compiling, "missing", lambda: "")
    monkeypatch.setattr(compiling, "SETUP", "raise SystemExit('zones.py:1: error: nothing fits')")
    assert compiling.main() == 1
    assert "zones.py:1: error: nothing fits" in capsys.readouterr().err
    assert list(no_builds.iterdir()) == []


def test_only_the_newest_builds_are_kept(no_builds: Path) -> None:
    for age in range(compiling.KEPT + 2):
        folder = no_builds / f"build{age}"
        folder.mkdir()
        (folder / compiled.RECORD).write_text("{}")
        os.utime(folder, (1_000_000 - age, 1_000_000 - age))
    compiling.drop_old()
    assert sorted(path.name for path in no_builds.iterdir()) == [f"build{age}" for age in range(compiling.KEPT)]

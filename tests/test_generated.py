"""Committed generated code equals what its generator writes today: every directory with a `generate.py --out DIR`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
GENERATORS = sorted(
    path for top in ("protos", "coordinator", "clients", "edge_node") for path in (ROOT / top).rglob("generate.py")
)
GENERATED = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*_pb2_grpc.pyi")


def generated_under(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text("utf-8")
        for pattern in GENERATED
        for path in sorted(folder.rglob(pattern))
    }


@pytest.mark.parametrize("generator", GENERATORS, ids=lambda path: path.parent.relative_to(ROOT).as_posix())
def test_committed_code_equals_what_the_generator_writes(generator: Path, tmp_path: Path) -> None:
    # protoc finds its Python plugins on PATH, and they are installed beside this interpreter.
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    run = subprocess.run(
        [sys.executable, str(generator), "--out", str(tmp_path)],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    fresh, committed = generated_under(tmp_path), generated_under(generator.parent)
    assert fresh, f"{generator} wrote nothing under {tmp_path}"
    drifted = sorted(name for name in fresh.keys() | committed.keys() if fresh.get(name) != committed.get(name))
    assert not drifted, f"run `python {generator.relative_to(ROOT)}` and commit: {', '.join(drifted)}"

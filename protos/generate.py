"""Generates zonelock.v1 from the .proto sources beside it: `python protos/generate.py [--out DIR]`.

`make check` runs it into an empty directory and compares, so that generated code cannot drift from its source.
"""

from __future__ import annotations

import argparse
import sys
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent


def generate(out: Path) -> int:
    sources = sorted(p.relative_to(ROOT).as_posix() for p in ROOT.glob("zonelock/**/*.proto"))
    services = [s for s in sources if s.endswith("_service.proto")]
    include = str(files("grpc_tools") / "_proto")
    common = ["protoc", f"-I{ROOT}", f"-I{include}"]
    code = protoc.main([*common, f"--python_out={out}", f"--mypy_out={out}", *sources])
    code |= protoc.main([*common, f"--grpc_python_out={out}", f"--mypy_grpc_out={out}", *services])
    return int(code)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT)
    sys.exit(generate(parser.parse_args().out))

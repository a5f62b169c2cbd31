"""Generates the etcd stubs from the .proto files beside it: `python coordinator/store/etcdpb/generate.py [--out DIR]`.

DIR stands for this directory: a test generates into an empty one and compares, so that the code cannot drift.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
"""Where import paths begin: the generated modules import each other as `coordinator.store.etcdpb`."""


def generate(out: Path) -> int:
    sources = sorted(p.relative_to(ROOT).as_posix() for p in HERE.glob("*.proto"))
    services = [s for s in sources if s.endswith("rpc.proto")]
    with tempfile.TemporaryDirectory() as tree:
        common = ["protoc", f"-I{ROOT}"]
        code = protoc.main([*common, f"--python_out={tree}", f"--mypy_out={tree}", *sources])
        code |= protoc.main([*common, f"--grpc_python_out={tree}", f"--mypy_grpc_out={tree}", *services])
        for made in sorted((Path(tree) / HERE.relative_to(ROOT)).iterdir()):
            shutil.copyfile(made, out / made.name)
    return int(code)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE)
    sys.exit(generate(parser.parse_args().out))

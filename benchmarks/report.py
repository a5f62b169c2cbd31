"""What every benchmark hands back: raw figures, ratios to a peer of the same run, and the machine they hold for."""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Report:
    """`figures` carry their unit last in the name; every ratio is named for what it compares."""

    rounds: int
    figures: Mapping[str, float]
    ratios: Mapping[str, float]

    def as_json(self) -> dict[str, object]:
        return {"rounds": self.rounds, "figures": dict(self.figures), "ratios": dict(self.ratios)}


def machine() -> dict[str, object]:
    info = Path("/proc/cpuinfo")
    models = [line.partition(":")[2].strip() for line in _lines(info) if line.startswith("model name")]
    return {"cores": os.cpu_count(), "processor": models[0] if models else "unknown", "kernel": platform.release()}


def versions() -> dict[str, str]:
    found = {name: version(name) for name in ("zonelock", "grpcio", "protobuf")}
    found["python"] = platform.python_version()
    etcd = shutil.which("etcd")
    if etcd is not None:
        told = subprocess.run([etcd, "--version"], capture_output=True, text=True, check=True).stdout
        found["etcd"] = told.splitlines()[0].rpartition(" ")[2]
    return found


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile; `share` is 0 to 1."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def medians(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of each figure over the rounds."""
    return {key: statistics.median(r[key] for r in rounds) for key in rounds[0]}

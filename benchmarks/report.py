"""What every benchmark hands back: raw figures, ratios to a peer of the same run, and the machine they hold for."""

from __future__ import annotations

import math
import os
import platform
import shutil
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from coordinator import compiled

DIGITS = 4


@dataclass(frozen=True, slots=True)
class Effort:
    """How much to measure. `smoke`: just enough to see that the benchmark works; its figures mean nothing."""

    rounds: int = 3
    smoke: bool = False
    scale: float = 1.0
    """Of the whole length, for benchmarks that run long (`soak`, `scale`): 0.1 is a tenth."""
    only: tuple[str, ...] = ()
    """Which parts to measure, for benchmarks that have parts (`failover`); none named: all."""


@dataclass(frozen=True, slots=True)
class Report:
    """`figures` carry their unit last in the name; every ratio is named for what it compares."""

    rounds: int
    figures: Mapping[str, float]
    ratios: Mapping[str, float]

    def as_json(self) -> dict[str, object]:
        """The whole document: exactly `machine`, `versions`, `figures`, `ratios`."""
        figures = {"rounds": self.rounds, **{key: round(value, DIGITS) for key, value in self.figures.items()}}
        ratios = {key: round(value, DIGITS) for key, value in self.ratios.items()}
        return {"machine": machine(), "versions": versions(), "figures": figures, "ratios": ratios}


def machine() -> dict[str, object]:
    """Where and when; the load average tells how quiet it was."""
    models = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = [int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal:")]
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "processor": models[0] if models else "unknown",
        "memory_mb": memory[0] // 1024 if memory else 0,
        "kernel": platform.release(),
        "load_average_1_min": os.getloadavg()[0],
    }


def versions() -> dict[str, str]:
    """Of what is measured. `core`: as the coordinators run it that benchmarks start, and as this process does."""
    found = {name: version(name) for name in ("zonelock", "grpcio", "protobuf")}
    for optional in ("kazoo", "uvloop"):
        with suppress(PackageNotFoundError):
            found[optional] = version(optional)
    found["core"] = compiled.in_use()
    found["python"] = platform.python_version()
    etcd = shutil.which("etcd")
    if etcd is not None:
        told = subprocess.run([etcd, "--version"], capture_output=True, text=True, check=True).stdout
        found["etcd"] = told.splitlines()[0].rpartition(" ")[2]
    return found


def _lines(name: str) -> list[str]:
    path = Path(name)
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile; `share` is 0 to 1. NaN of nothing."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def medians(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of each figure over the rounds."""
    return {key: statistics.median(r[key] for r in rounds) for key in rounds[0]}


def worst(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The largest of each figure over the rounds."""
    return {key: max(r[key] for r in rounds) for key in rounds[0]}

"""Watches the groups of sensors of one source: each window's means are a reading of every sensor.

Owns which channel is which sensor, and the notes by which a person says that a sensor was recalibrated: small files
in a folder, written by `zonelock edge recalibrated`, taken by whichever observer watches that group.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_node.drift.fusion import Fused, Fusion, Group
from edge_node.drift.kalman import Model
from edge_node.findings import Recalibration

NOTES_MAX = 1_000
"""Notes looked at in one go; a folder with more is not ours."""

NOTE_BYTES_MAX = 4_096


@dataclass(frozen=True, slots=True)
class Recalibrated:
    """Somebody recalibrated a sensor."""

    group: str
    sensor: str
    by: str


@dataclass(slots=True)
class DriftWatch:
    """The groups of one source. `channels` are the source's, in the order of the means."""

    groups: Sequence[tuple[Group, Model]]
    channels: Sequence[str]
    _fusions: list[tuple[Fusion, NDArray[np.int64]]] = field(default_factory=list)
    _last_t_ns: int | None = None

    def __post_init__(self) -> None:
        place = {name: number for number, name in enumerate(self.channels)}
        alike: dict[tuple[int, Model], list[Group]] = {}
        for group, model in self.groups:
            missing = [sensor for sensor in group.sensors if sensor not in place]
            if missing:
                raise ValueError(f"sensors: {', '.join(missing)} of {group.name}: no such channel of this source")
            alike.setdefault((len(group.sensors), model), []).append(group)
        for (_, model), groups in alike.items():
            rows = np.array([[place[sensor] for sensor in group.sensors] for group in groups])
            self._fusions.append((Fusion(groups, model), rows))

    def take(self, means: NDArray[np.float32], t_ns: int) -> list[Recalibration]:
        """Means of shape (channels,), NaN where a channel cannot be trusted; the items that they open.

        A window from before the last one (a new writer's clock) counts as no time passed.
        """
        passed_s = 0.0 if self._last_t_ns is None else max(0.0, (t_ns - self._last_t_ns) / 1e9)
        self._last_t_ns = t_ns
        opened: list[Recalibration] = []
        for fusion, rows in self._fusions:
            opened += fusion.step(means.astype(np.float64)[rows], passed_s, t_ns)
        return opened

    def fused(self) -> list[Fused]:
        """Every group's value, by name."""
        return sorted((one for fusion, _ in self._fusions for one in fusion.fused()), key=lambda one: one.group)

    def recalibrated(self, note: Recalibrated) -> bool:
        """Closes the sensor's item; False when the sensor is none of this source's."""
        for fusion, _ in self._fusions:
            for group in fusion.groups:
                if group.name == note.group and note.sensor in group.sensors:
                    fusion.recalibrated(note.group, note.sensor)
                    return True
        return False


def leave_note(folder: Path, note: Recalibrated) -> Path:
    """Tells the node that a sensor was recalibrated. OSError when the folder cannot be written."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{uuid.uuid4().hex}.json"
    part = path.with_suffix(".part")
    part.write_text(json.dumps({"group": note.group, "sensor": note.sensor, "by": note.by}), encoding="utf-8")
    part.rename(path)
    return path


def take_notes(folder: Path, watch: DriftWatch) -> list[Recalibrated]:
    """Takes the notes that concern this watch's sensors, and removes them; others are left for their own."""
    taken = []
    for path in sorted(folder.glob("*.json"))[:NOTES_MAX]:
        note = _read(path)
        if note is not None and watch.recalibrated(note):
            path.unlink(missing_ok=True)
            taken.append(note)
    return taken


def _read(path: Path) -> Recalibrated | None:
    try:
        if os.stat(path).st_size > NOTE_BYTES_MAX:
            return None
        data = json.loads(path.read_text(encoding="utf-8"))
        return Recalibrated(str(data["group"]), str(data["sensor"]), str(data["by"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # not a note of ours: somebody else's file stays where it is

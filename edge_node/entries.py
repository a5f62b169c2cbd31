"""What the processes of an edge node hand each other and the sink: one JSON object a line.

Rules owned: a line stands for itself (kind, source, and everything needed to judge it); a value that does not apply is
null, since JSON knows no NaN. Knows findings; decides nothing.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from edge_node.drift.fusion import Fused
from edge_node.findings import Anomaly, FeatureBatch, Heartbeat, Provenance, Quality, Recalibration, Severity

LINE_BYTES_MAX = 64 << 20
"""A line of features of as many channels as a ring takes fits; what is longer is not one of ours."""


DETAIL_CHARS = 800
"""So that an incident's line fits into a pipe whole."""


class Kind(StrEnum):
    """What an entry is. INCIDENT: something of the node's own (a child restarted, a source in trouble)."""

    FEATURES = "features"
    ANOMALY = "anomaly"
    HEARTBEAT = "heartbeat"
    INCIDENT = "incident"
    ACTION = "action"
    SNAPSHOT = "snapshot"
    FUSED = "fused"
    RECALIBRATION = "recalibration"
    GAP = "gap"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line."""

    kind: Kind
    source: str
    data: Mapping[str, Any]

    def line(self) -> str:
        """Without the line's end."""
        return json.dumps({"kind": self.kind, "source": self.source, **self.data}, ensure_ascii=False, allow_nan=False)


class BadEntry(ValueError):
    """A line that is no entry."""


def parse(line: str | bytes) -> Entry:
    """The reverse of `Entry.line`. Raises BadEntry."""
    try:
        data = json.loads(line)
        return Entry(Kind(data.pop("kind")), str(data.pop("source")), data)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BadEntry(f"not an entry ({error!r}): {line[:80]!r}") from None


def plain(values: Sequence[float]) -> list[float | None]:
    """Six significant digits; None for what is not a number."""
    return [float(f"{v:.6g}") if math.isfinite(v) else None for v in values]


def of_anomaly(anomaly: Anomaly) -> Entry:
    data = asdict(anomaly)
    for name in ("value", "expected", "score", "confidence"):
        data[name] = plain([data[name]])[0]
    data["severity"] = anomaly.severity.name
    return Entry(Kind.ANOMALY, anomaly.provenance.source, data)


def anomaly_of(entry: Entry) -> Anomaly:
    """The reverse of `of_anomaly`. Raises BadEntry."""
    try:
        data = dict(entry.data)
        numbers = {n: math.nan if data[n] is None else float(data[n]) for n in ("value", "expected", "score")}
        return Anomaly(
            channel=str(data["channel"]),
            measure=str(data["measure"]),
            severity=Severity[data["severity"]],
            confidence=float(data["confidence"] or 0.0),
            provenance=Provenance(**data["provenance"]),
            suppressed=int(data["suppressed"]),
            **numbers,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BadEntry(f"not an anomaly: {error!r}") from None


def of_heartbeat(beat: Heartbeat, source: str) -> Entry:
    return Entry(Kind.HEARTBEAT, source, asdict(beat) | {"coverage": round(beat.coverage, 6)})


def of_features(batch: FeatureBatch, channels: Sequence[str], provenance: Provenance) -> Entry:
    bad = {name: quality for name, quality in zip(channels, batch.quality, strict=True) if quality is not Quality.OK}
    return Entry(
        Kind.FEATURES,
        provenance.source,
        {
            "provenance": asdict(provenance),
            "channels": list(channels),
            "rms": plain(batch.rms.tolist()),
            "peak_to_peak": plain(batch.peak_to_peak.tolist()),
            "crest": plain(batch.crest.tolist()),
            "kurtosis": plain(batch.kurtosis.tolist()),
            "velocity_rms_mm_s": plain(batch.velocity_rms_mm_s.tolist()),
            "band_energy": [plain(row) for row in batch.band_energy.tolist()],
            "envelope_score": [plain(row) for row in batch.envelope_score.tolist()],
            "bad": bad,
        },
    )


def snapshot(source: str, name: str, size_bytes: int, anomaly: Anomaly, lost: int) -> Entry:
    """A raw window was kept; `lost` counts those evicted before their upload since the observer started."""
    about = {"channel": anomaly.channel, "measure": anomaly.measure, "severity": anomaly.severity.name}
    return Entry(Kind.SNAPSHOT, source, {"name": name, "size_bytes": size_bytes, **about, "lost": lost})


def of_fused(source: str, values: Sequence[Fused]) -> Entry:
    """The value of every group of sensors."""
    groups = [asdict(one) | {"suspicious": list(one.suspicious)} for one in values]
    for group in groups:
        group["value"], group["half_width"] = plain([group["value"], group["half_width"]])
    return Entry(Kind.FUSED, source, {"groups": groups})


def of_recalibration(source: str, item: Recalibration) -> Entry:
    """An item to recalibrate a sensor was opened."""
    bias, half_width = plain([item.bias, item.half_width])
    about = {"group": item.group, "sensor": item.sensor, "reason": item.reason}
    return Entry(Kind.RECALIBRATION, source, {"what": "opened", **about, "bias": bias, "half_width": half_width})


def of_recalibrated(source: str, group: str, sensor: str, by: str) -> Entry:
    """Somebody recalibrated a sensor: its item is closed."""
    return Entry(Kind.RECALIBRATION, source, {"what": "closed", "group": group, "sensor": sensor, "by": by})


def incident(source: str, what: str, detail: str, **more: Any) -> Entry:
    return Entry(Kind.INCIDENT, source, {"what": what, "detail": detail[:DETAIL_CHARS], **more})


def say_if_heard(entry: Entry, fd: int = 1) -> bool:
    """Writes the entry's line if it can be written at once and whole; whether it was. For the writer, which must not
    wait for whoever reads what it says; `fd` must not block.
    """
    data = (entry.line() + "\n").encode()
    if len(data) > select.PIPE_BUF:
        return False
    try:
        # A pipe takes up to PIPE_BUF bytes whole or not at all (POSIX, write).
        return os.write(fd, data) == len(data)
    except (BlockingIOError, BrokenPipeError):
        return False


def say(entry: Entry) -> None:
    """Writes the entry's line to standard output at once."""
    # A supervisor that died reads no more; its death ends this process by another way.
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(entry.line() + "\n")
        sys.stdout.flush()

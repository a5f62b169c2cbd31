"""What a line's sensors cost in bytes: raw samples as JSON beside features and heartbeats, as messages and on disk.

The messages are what a node would send; today a node only keeps JSON lines on its own disk, so the lines are written by
the node's own sink and measured in its file, too.

Nothing is assumed but the number of sensors, their rate and how often features leave: each size is that of a message
that was really encoded, of values that were really computed, and the figures carry the terms of the sum (sensors x
samples/s x bytes). The field's round figure for a raw sample in JSON with its envelope is 256 bytes; it stands beside
the bytes of the sample that is encoded here.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import zstandard

from benchmarks.report import Effort, Report
from edge_node.channels import Channel, Quantity, Window
from edge_node.dsp.features import Extractor, Plan
from edge_node.entries import Entry, of_features, of_heartbeat
from edge_node.findings import Heartbeat, Provenance, State
from edge_node.messages import features_message, heartbeat_message
from edge_node.sink import JsonLinesSink
from edge_node.snapshots.encode import encode

SENSORS, RATE_HZ = 10_000, 100.0
NOMINAL_JSON_BYTES = 256
FEATURES_PER_S = (0.1, 1.0)
SAMPLES = 256
SECONDS_A_DAY = 86_400


def raw_json() -> int:
    """Bytes of one sample as a telemetry gateway would send it: names, time, value, unit, quality."""
    sample = {
        "site": "plant-1",
        "line": "line-03",
        "machine": "press-0017",
        "sensor": "main-bearing-drive-end-x",
        "quantity": "vibration",
        "timestamp": "2026-01-01T00:00:00.010000Z",
        "sequence": 1234567,
        "value": 0.0123456789,
        "unit": "g",
        "quality": "GOOD",
    }
    return len(json.dumps(sample).encode())


def written(entries: Sequence[Entry]) -> int:
    """Bytes in the sink's file after these entries, time stamps included."""
    with tempfile.TemporaryDirectory(prefix="zonelock-") as folder:
        path = Path(folder) / "findings.jsonl"
        sink = JsonLinesSink(path, bytes_max=1 << 30, files_max=1)
        for entry in entries:
            sink.write(entry)
        sink.close()
        return path.stat().st_size


async def run(effort: Effort) -> Report:
    sensors = 200 if effort.smoke else SENSORS
    data = np.random.default_rng(1).standard_normal((sensors, SAMPLES), dtype=np.float32)
    plan = Plan(RATE_HZ, SAMPLES, bands_hz=((0.0, 10.0), (10.0, 50.0)), acceleration_m_s2=0.0)
    origin = Provenance("line-03", 1, 0, SAMPLES, 0, RATE_HZ)
    window = Window(data, RATE_HZ, 0, 0)
    features, heartbeat = Extractor(plan).features(window), Heartbeat(1, State.OK, 1.0, 1, 0, 0, 0)
    message = features_message(features, origin).SerializeToString()
    beat = heartbeat_message(heartbeat, "line-03").SerializeToString()
    names = [f"press-{number // 10:04}-{number % 10}" for number in range(sensors)]
    line, beat_line = written([of_features(features, names, origin)]), written([of_heartbeat(heartbeat, "line-03")])
    channel = Channel("x", Quantity.VIBRATION, "g", full_scale=8.0)
    snapshot = encode(Window(data[:1], RATE_HZ, 0, 0), [channel], origin)
    sample_bytes = raw_json()
    raw, nominal = (sensors * RATE_HZ * size for size in (sample_bytes, NOMINAL_JSON_BYTES))
    figures = {
        "sensors": float(sensors),
        "samples_per_s_per_sensor": RATE_HZ,
        "raw_json_bytes_per_sample": float(sample_bytes),
        "raw_json_bytes_per_s": raw,
        "raw_json_gb_per_day": raw * SECONDS_A_DAY / 1e9,
        "raw_json_256_bytes_per_s": nominal,
        "raw_json_256_gb_per_day": nominal * SECONDS_A_DAY / 1e9,
        "features_bytes_per_message": float(len(message)),
        "features_bytes_per_sensor_and_message": len(message) / sensors,
        "features_zstd_bytes_per_message": float(len(zstandard.compress(message))),
        "heartbeat_bytes_per_message": float(len(beat)),
        "heartbeats_per_s": 1.0,
        "features_bytes_per_line": float(line),
        "features_bytes_per_sensor_and_line": line / sensors,
        "heartbeat_bytes_per_line": float(beat_line),
        "snapshot_bytes_per_raw_sample": len(snapshot) / SAMPLES,
    }
    ratios = {}
    for often in FEATURES_PER_S:
        name = f"{often:g}_per_s".replace(".", "_")
        sent = len(message) * often + len(beat)
        figures[f"features_{name}_and_heartbeat_bytes_per_s"] = sent
        figures[f"features_{name}_and_heartbeat_gb_per_day"] = sent * SECONDS_A_DAY / 1e9
        kept = line * often + beat_line
        figures[f"features_{name}_and_heartbeat_lines_bytes_per_s"] = kept
        figures[f"features_{name}_and_heartbeat_lines_gb_per_day"] = kept * SECONDS_A_DAY / 1e9
        ratios[f"raw_json_bytes_over_features_{name}"] = raw / sent
        ratios[f"raw_json_256_bytes_over_features_{name}"] = nominal / sent
        ratios[f"raw_json_256_bytes_over_lines_{name}"] = nominal / kept
    return Report(1, figures, ratios)

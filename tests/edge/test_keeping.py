"""What an observer does beside judging: raw windows of anomalies kept and uploaded, groups of sensors watched."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_node import keeping
from edge_node.build import channels_of
from edge_node.channels import Window
from edge_node.config import ConfigError, EdgeConfig, SnapshotsConfig, make
from edge_node.drift.watch import Recalibrated, leave_note
from edge_node.entries import Entry, Kind, parse
from edge_node.findings import Anomaly, Provenance, Severity
from edge_node.keeping import Bringing, Keeper, kept_path, spool_of, start_bringing
from edge_node.observer import Observer
from edge_node.ring import Origin, RingWriter
from edge_node.snapshots.encode import decode
from edge_node.snapshots.spool import Spool

RATE_HZ, FRAMES, SAMPLES = 1_000, 250, 250
SENSORS = ("t1", "t2", "t3")


def config(folder: Path, **changed: Any) -> EdgeConfig:
    source = {
        "name": "oven",
        "kind": "mock",
        "rate_hz": RATE_HZ,
        "channels": [{"name": name, "quantity": "temperature", "unit": "K"} for name in SENSORS],
    }
    given: dict[str, Any] = {
        "sources": [source],
        "ring": {"folder": str(folder / "rings"), "frames": FRAMES},
        "features": {"samples": SAMPLES, "overlap": 0, "acceleration_m_s2": 0, "report_every_s": 0},
        "rule": {"learning": 20, "quiet_s": 0},
        "sink": {"path": str(folder / "findings.jsonl")},
    }
    return make(given | changed)


class Oven:
    """A ring whose samples the test chooses, and its observer."""

    def __init__(self, made: EdgeConfig) -> None:
        self.said: list[Entry] = []
        channels = channels_of(made.sources[0])
        self.ring = RingWriter(
            "oven", channels, float(RATE_HZ), frames=FRAMES, capacity=8, folder=made.ring.folder, origin=Origin.LIVE
        )
        self.observer = Observer(made, "oven", self.said.append)
        self.observer.turn()
        self.rng = np.random.default_rng(1)
        self.windows = 0

    def run(self, windows: int, *, level: Any = 300.0, noise: float = 0.1) -> None:
        for _ in range(windows):
            at = level(self.windows) if callable(level) else level
            block = at + self.rng.normal(0, noise, (FRAMES, len(SENSORS)))
            self.ring.write(block.astype(np.float32), self.windows * FRAMES * 1_000_000)
            self.observer.turn()
            self.windows += 1

    def kind(self, kind: Kind) -> list[Entry]:
        return [entry for entry in self.said if entry.kind is kind]

    def close(self) -> None:
        self.observer.close()
        self.ring.close()


def test_the_raw_window_of_an_alarm_is_kept_once_and_is_what_the_ring_held(tmp_path: Path) -> None:
    made = config(tmp_path, snapshots={"folder": str(tmp_path / "kept"), "severity": "warn"})
    oven = Oven(made)
    oven.run(25)
    oven.run(4, noise=2.0)
    kept = oven.kind(Kind.SNAPSHOT)
    assert len({entry.data["name"] for entry in kept}) == len(kept) >= 1
    assert made.snapshots is not None
    path = kept_path(made.snapshots, "oven", kept[0].data["name"])
    assert path is not None
    message, samples = decode(path.read_bytes())
    assert samples.shape == (3, SAMPLES)
    assert 1.0 < samples.std(axis=1).mean() < 3.0
    assert message.anomaly.measure == kept[0].data["measure"]
    oven.close()


def test_a_window_with_two_anomalies_is_kept_once(tmp_path: Path) -> None:
    keeper = Keeper(SnapshotsConfig(folder=tmp_path, severity=Severity.WARN), "oven")
    channels = channels_of(config(tmp_path).sources[0])
    window = Window(np.zeros((len(SENSORS), SAMPLES), np.float32), RATE_HZ, 0, 0)

    def keep(channel: str, first_index: int) -> Entry | None:
        origin = Provenance("oven", 1, first_index, SAMPLES, 0, RATE_HZ)
        anomaly = Anomaly(channel, "deviation", 2.0, 1.0, 9.0, Severity.ALARM, 1.0, origin)
        return keeper.keep(window, channels, origin, anomaly)

    first, again, next_one = keep("t1", 0), keep("t2", 0), keep("t2", SAMPLES)
    assert first is not None and first.kind is Kind.SNAPSHOT
    assert again is None
    assert next_one is not None and next_one.data["name"] != first.data["name"]


def test_an_anomaly_below_the_configured_severity_leaves_no_snapshot(tmp_path: Path) -> None:
    oven = Oven(
        config(tmp_path, snapshots={"folder": str(tmp_path / "kept")}, rule={"learning": 20, "alarm_score": 1e9})
    )
    oven.run(25)
    oven.run(4, noise=2.0)
    assert oven.kind(Kind.ANOMALY) and not oven.kind(Kind.SNAPSHOT)
    oven.close()


def test_a_folder_that_cannot_be_written_is_said_and_survived(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("a file where the folder should be")
    oven = Oven(config(tmp_path, snapshots={"folder": str(tmp_path / "kept"), "severity": "WARN"}))
    oven.run(25)
    oven.run(4, noise=2.0)
    failures = [entry for entry in oven.kind(Kind.INCIDENT) if entry.data["what"] == "snapshot_failed"]
    assert failures and len(oven.kind(Kind.FEATURES)) == 29
    oven.close()


GROUP = {
    "name": "oven-wall",
    "source": "oven",
    "sensors": list(SENSORS),
    "tolerance": 1.0,
    "noise": 0.05,
    "value_drift": 0.05,
    "bias_drift": 0.05,
}


def test_a_drifting_sensor_opens_one_item_until_somebody_says_that_it_was_recalibrated(tmp_path: Path) -> None:
    made = config(tmp_path, groups=[GROUP])
    oven = Oven(made)
    oven.run(200, level=lambda window: np.array([300.0, 300.0, 300.0 + 0.03 * window]))
    items = oven.kind(Kind.RECALIBRATION)
    assert [(entry.data["what"], entry.data["sensor"]) for entry in items] == [("opened", "t3")]
    assert parse(items[0].line()) == items[0]
    fused = oven.kind(Kind.FUSED)[-1].data["groups"][0]
    assert fused["suspicious"] == ["t3"] and fused["trusted"] and not fused["common_bias_observable"]
    assert abs(fused["value"] - 300.0) < 1.0
    leave_note(made.notes_folder, Recalibrated("oven-wall", "t3", "alice"))
    leave_note(made.notes_folder, Recalibrated("another", "t3", "alice"))
    oven.observer._next_notes = 0.0
    oven.run(5)
    assert [(e.data["what"], e.data.get("by")) for e in oven.kind(Kind.RECALIBRATION)[1:]] == [("closed", "alice")]
    assert len(list(made.notes_folder.iterdir())) == 1  # the note for another group is somebody else's
    oven.close()


def test_a_channel_that_cannot_be_trusted_gives_no_reading(tmp_path: Path) -> None:
    oven = Oven(config(tmp_path, groups=[GROUP]))
    oven.run(60, level=np.array([300.0, 300.0, np.nan]))
    assert oven.kind(Kind.RECALIBRATION) == []
    assert abs(oven.kind(Kind.FUSED)[-1].data["groups"][0]["value"] - 300.0) < 0.5
    oven.close()


def test_uploads_begin_to_fail_and_work_again_and_are_said_once_each(tmp_path: Path) -> None:
    snapshots = SnapshotsConfig(folder=tmp_path / "kept", severity=Severity.WARN, url=f"file://{tmp_path}/store")
    said: list[Entry] = []
    bringing = Bringing(snapshots, ["oven"], said.append)
    oven = Oven(config(tmp_path, snapshots=snapshots.model_dump()))
    oven.run(25)
    oven.run(4, noise=2.0)
    oven.close()
    (tmp_path / "store").write_text("a file where the bucket should be")
    bringing.turn()
    bringing.turn()
    (tmp_path / "store").unlink()
    bringing.turn()
    assert [entry.data["what"] for entry in said] == ["upload_failing", "upload_works"]
    assert spool_of(snapshots, "oven").pending() == []


def test_a_store_that_hangs_does_not_keep_the_node_from_ending(tmp_path: Path) -> None:
    snapshots = SnapshotsConfig(folder=tmp_path, url=f"file://{tmp_path}/store")
    hanging, release = threading.Event(), threading.Event()

    class Hanging(Bringing):
        def turn(self) -> float:
            hanging.set()
            release.wait(30)
            return 0.0

    ending = start_bringing(Hanging(snapshots, ["oven"], lambda entry: None))
    assert hanging.wait(10)
    ending.set()
    workers = [thread for thread in threading.enumerate() if thread.name == "snapshot uploads"]
    assert all(thread.daemon for thread in workers)
    release.set()
    for thread in workers:
        thread.join(10)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"snapshots": {"severity": "loud"}}, "snapshots.severity = 'loud': must be one of NOTICE, WARN, ALARM"),
        ({"snapshots": {"url": "nowhere://x"}}, "snapshots.url = 'nowhere://x'"),
        ({"groups": [GROUP | {"source": "pump"}]}, "groups.source = 'pump': must be one of oven"),
        ({"groups": [GROUP | {"sensors": ["t9"]}]}, "groups.sensors = 't9': no channel of oven"),
        ({"groups": [GROUP | {"reference": "t9"}]}, "reference = 't9': must be one of t1, t2, t3"),
        ({"groups": [GROUP, GROUP]}, "'oven-wall' stands there twice"),
    ],
)
def test_mistakes_in_the_configuration_are_named(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as told:
        config(tmp_path, **changed)
    assert words in str(told.value)


def test_uploads_go_on_after_a_spool_that_could_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[Entry] = []
    told, again = threading.Event(), threading.Event()

    def say(entry: Entry) -> None:
        said.append(entry)
        told.set()

    bringing = Bringing(SnapshotsConfig(folder=tmp_path / "kept", url=f"file://{tmp_path}/store"), ["oven"], say)

    def pending(self: object) -> list[object]:
        if told.is_set():
            again.set()
            return []
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(keeping, "FAILED_WAIT_S", 0.0)
    monkeypatch.setattr(Spool, "pending", pending)
    ending = start_bringing(bringing)
    assert again.wait(20.0), "the thread ended with the first failure"
    ending.set()
    assert said[0].data["what"] == "upload_failing" and "Permission denied" in said[0].data["detail"]

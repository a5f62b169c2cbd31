"""`edge watch` and `edge plot` against a ring that a thread of the test writes."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from cli.conftest import Run, failed, said

from edge_node.acquire import Acquisition, ring_of
from edge_node.build import channels_of, source_of
from edge_node.channels import Window
from edge_node.config import load
from edge_node.findings import Provenance
from edge_node.keeping import spool_of
from edge_node.snapshots.encode import encode

CHANNELS = ["acc1", "acc2"]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "edge.yaml"
    values = {
        "ring": {"folder": str(tmp_path / "rings")},
        "features": {"samples": 1_024, "bearing": {}, "resonance_hz": [2_500, 4_500]},
        "sources": [{"name": "spindle", "kind": "bearing", "channels": [{"name": "acc", "count": 2}]}],
    }
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.fixture
def writing(config: Path) -> Iterator[None]:
    """A writer in a thread of its own, in real time."""
    made = load(config)
    source, ending = source_of(made.sources[0]), threading.Event()
    with ring_of(made, made.sources[0], source) as ring:
        thread = threading.Thread(target=Acquisition(source, ring, ending).run)
        thread.start()
        yield
        ending.set()
        thread.join()


@pytest.mark.usefixtures("writing")
def test_watch_prints_one_object_a_line_when_piped_with_what_it_saw_of_the_ring(run: Run, config: Path) -> None:
    result = run("edge", "watch", str(config), "--seconds", "1.5", "--every-s", "0.1")
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(lines) >= 2
    last = lines[-1]
    assert (last["source"], last["channels"], last["bad"]) == ("spindle", CHANNELS, {})
    assert len(last["rms"]) == 2 and len(last["envelope_score"][0]) == 4
    ring = last["ring"]
    assert ring["produced"] == ring["received"] + ring["lapped"] + ring["torn"] + ring["skipped"] > 0


@pytest.mark.usefixtures("writing")
def test_watch_draws_a_table_with_the_chosen_channels(run: Run, config: Path) -> None:
    result = run("edge", "watch", str(config), "--seconds", "1", "-o", "table", "--channel", "acc2")
    assert result.exit_code == 0, result.output
    assert "acc2" in result.stdout and "acc1" not in result.stdout
    assert "kurtosis" in result.stdout


@pytest.mark.usefixtures("writing")
def test_plot_writes_a_picture_of_the_chosen_channel(run: Run, config: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "spindle.png"
    told = said(run("edge", "plot", str(config), "--channel", "acc2", "--out", str(out)))
    assert (told["file"], told["source"], told["channel"]) == (str(out), "spindle", "acc2")
    assert out.read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("writing")
def test_plot_without_matplotlib_says_what_to_install(run: Run, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "edge_node.plotting", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib.axes", None)
    error = failed(run("edge", "plot", str(config)))
    assert "matplotlib is not installed" in error["message"] and "zonelock[plot]" in error["remedy"]


@pytest.mark.usefixtures("writing")
@pytest.mark.parametrize(
    ("args", "said_"),
    [
        (("watch", "--source", "pump"), "unknown source 'pump'"),
        (("plot", "--channel", "acc9"), "unknown channel 'acc9'"),
    ],
)
def test_unknown_names_are_told_with_those_there_are(run: Run, config: Path, args: tuple[str, ...], said_: str) -> None:
    command, *options = args
    error = failed(run("edge", command, str(config), *options))
    assert (error["exit"], error["message"]) == (6, said_)


def test_without_a_node_it_says_what_to_start(run: Run, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zonelock_cli.commands.edge.ATTACH_WITHIN_S", 0.0)
    error = failed(run("edge", "watch", str(config)))
    assert (error["exit"], error["reason"]) == (3, "NO_RING")
    assert "zonelock edge run" in error["remedy"]


@pytest.mark.parametrize("command", ["run", "watch", "plot"])
def test_a_wrong_configuration_is_told_field_by_field(run: Run, tmp_path: Path, command: str) -> None:
    path = tmp_path / "edge.yaml"
    path.write_text("{sources: [], stall_ms: 1}")
    error = failed(run("edge", command, str(path)))
    assert (error["exit"], error["reason"]) == (6, "INVALID_CONFIG")
    assert any("stall_ms = 1" in problem for problem in error["problems"])


@pytest.mark.usefixtures("writing")
def test_a_snapshot_taken_now_can_be_inspected_and_exported(run: Run, config: Path, tmp_path: Path) -> None:
    out, npy = tmp_path / "now.snap", tmp_path / "now.npy"
    told = said(run("edge", "snapshot", str(config), "--out", str(out)))
    assert (told["file"], told["samples"], told["channels"]) == (str(out), 1_024, 2)
    about = said(run("edge", "inspect", str(out), "--npy", str(npy)))
    assert about["verified"] and [c["name"] for c in about["channels"]] == CHANNELS
    assert np.load(npy).shape == (2, 1_024)
    for command in (("inspect", str(out), "--npy"), ("plot", str(config), "--out")):
        error = failed(run("edge", *command, str(tmp_path / "no folder" / "x.png")))
        assert error["exit"] == 1 and f"another file with {command[-1]}" in error["remedy"]
    out.write_bytes(out.read_bytes()[:-9])
    assert failed(run("edge", "inspect", str(out)))["exit"] == 6


def test_kept_snapshots_are_listed_and_fetched(run: Run, config: Path, tmp_path: Path) -> None:
    error = failed(run("edge", "snapshot", str(config), "--list"))
    assert "snapshots: not in the configuration" in error["message"]
    config.write_text(config.read_text() + "snapshots: {folder: kept}\n")
    made = load(config)
    assert made.snapshots is not None
    window = Window(np.ones((2, 64), dtype=np.float32), 1_000.0, 0, 0)
    data = encode(window, channels_of(made.sources[0]), Provenance("spindle", 1, 0, 64, 0, 1_000.0))
    path = spool_of(made.snapshots, "spindle").put(data)
    assert path is not None
    listed = said(run("edge", "snapshot", str(config), "--list"))["snapshots"]
    assert [(row["name"], row["uploaded"]) for row in listed] == [(path.name, False)]
    out = tmp_path / "fetched.snap"
    said(run("edge", "snapshot", str(config), "--get", path.name, "--out", str(out)))
    assert out.read_bytes() == data
    assert "List them with --list" in failed(run("edge", "snapshot", str(config), "--get", "x"))["remedy"]


def test_a_recalibration_is_noted_for_the_node(run: Run, config: Path) -> None:
    group = "{name: head, source: spindle, sensors: [acc1, acc2], tolerance: 1, noise: 1, value_drift: 1}"
    config.write_text(config.read_text() + f"groups: [{group}]\n")
    said(run("edge", "recalibrated", str(config), "head", "acc1", "--by", "alice"))
    assert len(list(load(config).notes_folder.glob("*.json"))) == 1
    for args, words in ((("tail", "acc1"), "unknown group 'tail'"), (("head", "acc9"), "unknown sensor 'acc9'")):
        assert failed(run("edge", "recalibrated", str(config), *args, "--by", "alice"))["message"] == words

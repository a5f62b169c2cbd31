from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_node.build import channels_of, source_of
from edge_node.config import EdgeConfig, make
from edge_node.entries import Entry, Kind
from edge_node.observer import Observer
from edge_node.ring import Origin, RingWriter
from edge_node.sources.bearing import BearingSource

RATE_HZ = 20_000
FRAMES = 512
SOURCE: dict[str, Any] = {
    "name": "spindle",
    "kind": "bearing",
    "rate_hz": RATE_HZ,
    "channels": [{"name": "acc", "count": 2}],
    "damage": {"place": "outer", "amplitude": 1.0, "after_s": 3.0},
}


def config(folder: Path, **changed: Any) -> EdgeConfig:
    given: dict[str, Any] = {
        "sources": [SOURCE],
        "ring": {"folder": str(folder), "frames": FRAMES, "capacity": 64},
        "features": {"samples": 2_048, "bearing": {}, "resonance_hz": [2_500, 4_500], "report_every_s": 0},
        "rule": {"learning": 30},
    }
    return make(given | changed)


class Bench:
    """A ring that is written as the test says, and an observer of it."""

    def __init__(self, made: EdgeConfig, **ring: Any) -> None:
        self.said: list[Entry] = []
        self.observer = Observer(made, "spindle", self.said.append)
        self.source = source_of(made.sources[0])
        self.made, self.given = made, ring
        self.ring = self.open()

    def open(self) -> RingWriter:
        channels = channels_of(self.made.sources[0])
        given: dict[str, Any] = {
            "frames": FRAMES,
            "capacity": 64,
            "folder": self.made.ring.folder,
            "origin": Origin.LIVE,
        } | self.given
        return RingWriter("spindle", channels, float(RATE_HZ), **given)

    def run(self, seconds: float, change: Any = lambda block: block) -> None:
        assert isinstance(self.source, BearingSource)
        for _ in range(round(seconds * RATE_HZ / FRAMES)):
            self.ring.write(change(self.source.take(FRAMES)), self.ring.produced * FRAMES * 50_000)
            self.observer.turn()

    def kind(self, kind: Kind) -> list[Entry]:
        return [entry for entry in self.said if entry.kind is kind]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(config(tmp_path))
    bench.observer.turn()
    yield bench
    bench.observer.close()
    bench.ring.close()


def test_a_fault_that_begins_is_found_with_where_it_comes_from(bench: Bench) -> None:
    bench.run(2.9)
    assert bench.kind(Kind.ANOMALY) == []
    bench.run(2.0)
    found = {(e.data["channel"], e.data["measure"]) for e in bench.kind(Kind.ANOMALY)}
    assert {("acc1", "envelope_outer"), ("acc2", "envelope_outer")} <= found
    provenance = bench.kind(Kind.ANOMALY)[0].data["provenance"]
    assert provenance["writer_epoch"] == bench.ring.epoch
    assert 3.0 * RATE_HZ - 2_048 < provenance["first_index"] < 4.0 * RATE_HZ
    assert provenance["rule"].startswith("learned-baseline/1") and not provenance["replayed"]


def test_alerts_are_throttled_and_what_was_held_back_is_told_at_the_end(bench: Bench) -> None:
    bench.run(6.0)
    told = [(e.data["channel"], e.data["measure"]) for e in bench.kind(Kind.ANOMALY)]
    assert len(told) == len(set(told)), "one alert of a kind within quiet_s"
    bench.observer.close()
    (last,) = [e for e in bench.kind(Kind.INCIDENT) if e.data["what"] == "suppressed"]
    assert "acc1 envelope_outer: " in last.data["detail"]


def test_bad_channels_are_named_once_when_they_turn_bad_and_good(bench: Bench) -> None:
    def dead(block: np.ndarray) -> np.ndarray:
        block[:, 0] = 0.5
        return block

    bench.run(0.5)
    bench.run(0.5, dead)
    bench.run(0.5)
    said = [(e.data["what"], e.data["detail"]) for e in bench.kind(Kind.INCIDENT)]
    assert said[1:] == [("channel_bad", "acc1: STUCK"), ("channel_good", "acc1: STUCK")]


def test_samples_that_are_no_numbers_are_bad_and_never_judged(bench: Bench) -> None:
    def broken(block: np.ndarray) -> np.ndarray:
        block[3, 1] = np.nan
        return block

    bench.run(3.5, broken)
    features = bench.kind(Kind.FEATURES)[-1]
    assert features.data["bad"] == {"acc2": "NOT_A_NUMBER"}
    assert not [e for e in bench.kind(Kind.ANOMALY) if e.data["channel"] == "acc2"]


def test_a_restarted_writer_is_observed_again_and_what_was_learned_stays(bench: Bench) -> None:
    bench.run(2.5)
    bench.ring.close()
    for _ in range(3):
        bench.observer.turn()
    bench.ring = bench.open()
    bench.observer.turn()
    bench.run(3.0)
    epochs = {e.data["provenance"]["writer_epoch"] for e in bench.kind(Kind.FEATURES)}
    assert len(epochs) == 2
    assert bench.kind(Kind.ANOMALY), "it need not learn anew, and the fault has begun meanwhile"


def test_a_fault_in_a_replay_is_found_and_marked_as_replayed(tmp_path: Path) -> None:
    bench = Bench(config(tmp_path), origin=Origin.REPLAYED)
    bench.observer.turn()
    bench.run(5.0)
    assert bench.kind(Kind.ANOMALY)
    assert all(e.data["provenance"]["replayed"] for e in bench.kind(Kind.ANOMALY))
    bench.observer.close()
    bench.ring.close()


def test_without_a_writer_it_says_so_once_and_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_node.observer.ATTACH_WITHIN_S", 0.0)
    said: list[Entry] = []
    observer = Observer(config(tmp_path), "spindle", said.append)
    observer.pulse.since_ns -= 2_000_000_000
    for _ in range(10):
        observer.turn()
    beats = [e for e in said if e.kind is Kind.HEARTBEAT]
    assert beats[0].data["coverage"] == 0.0
    assert [e.data["what"] for e in said if e.kind is Kind.INCIDENT] == ["cannot_observe"]


def test_a_rate_that_the_features_do_not_fit_is_named(tmp_path: Path) -> None:
    made = config(tmp_path)
    said: list[Entry] = []
    observer = Observer(made, "spindle", said.append)
    with RingWriter(
        "spindle", channels_of(made.sources[0]), 6_000.0, frames=FRAMES, capacity=64, folder=tmp_path
    ) as ring:
        observer.turn()
        for _ in range(30):
            ring.write(np.ones((FRAMES, 2), np.float32), 0)
            observer.turn()
        assert "resonance_hz" in said[-1].data["detail"], said
        observer.close()


def test_the_fixed_rule_can_be_chosen(tmp_path: Path) -> None:
    bench = Bench(config(tmp_path, rule={"kind": "fixed", "nominal_rms": 0.02}))
    bench.observer.turn()
    bench.run(0.5)
    assert {e.data["measure"] for e in bench.kind(Kind.ANOMALY)} == {"rms"}
    bench.observer.close()
    bench.ring.close()

from __future__ import annotations

import json
import math
import os
from dataclasses import replace

import numpy as np
import pytest
from edge.findings import anomaly, batch

from edge_node import entries
from edge_node.entries import BadEntry, Entry, Kind
from edge_node.findings import Heartbeat, Quality, State


def test_an_anomaly_survives_the_way_through_a_line() -> None:
    found = anomaly()
    entry = entries.parse(entries.of_anomaly(found).line())
    assert (entry.kind, entry.source) == (Kind.ANOMALY, "spindle")
    assert entries.anomaly_of(entry) == found


def test_what_does_not_apply_is_null_and_not_nan() -> None:
    found = replace(anomaly(), expected=math.nan)
    line = entries.of_anomaly(found).line()
    assert json.loads(line)["expected"] is None
    assert math.isnan(entries.anomaly_of(entries.parse(line)).expected)


def test_features_carry_their_channels_and_name_the_bad_ones() -> None:
    measured = batch(rms=[1.25, np.nan], quality=(Quality.OK, Quality.NOT_A_NUMBER))
    entry = entries.of_features(measured, ["de", "fe"], anomaly().provenance)
    data = json.loads(entry.line())
    assert data["rms"] == [1.25, None]
    assert data["bad"] == {"fe": "NOT_A_NUMBER"}
    assert data["channels"] == ["de", "fe"]


def test_a_heartbeat_says_its_state_and_coverage() -> None:
    data = json.loads(entries.of_heartbeat(Heartbeat(5, State.OK, 0.99, 3, 0, 1, 0), "spindle").line())
    assert (data["state"], data["coverage"], data["suppressed"]) == ("OK", 0.99, 1)


@pytest.mark.parametrize("line", ["", "[]", "{}", '{"kind": "poem", "source": "x"}', "not json", '{"kind": "gap"}'])
def test_a_line_that_is_no_entry_is_refused(line: str) -> None:
    with pytest.raises(BadEntry):
        entries.parse(line)


def test_an_anomaly_with_a_missing_field_is_refused() -> None:
    whole = entries.of_anomaly(anomaly())
    for name in ("channel", "severity", "provenance", "confidence"):
        with pytest.raises(BadEntry):
            entries.anomaly_of(Entry(whole.kind, whole.source, {k: v for k, v in whole.data.items() if k != name}))


def test_what_a_writer_says_never_waits_for_a_reader() -> None:
    """I10: a node that hangs fills the pipe, and the writer goes on."""
    reading, writing = os.pipe()
    try:
        os.set_blocking(writing, False)
        entry = entries.incident("press", "bad_quality", "x" * 10_000)
        heard = 0
        while entries.say_if_heard(entry, writing):
            heard += 1
        assert heard > 10, "until the pipe is full"
        assert not entries.say_if_heard(entry, writing)
        text = os.read(reading, 1 << 20)
        assert [entries.parse(line).data["what"] for line in text.splitlines()] == ["bad_quality"] * heard
        os.close(reading)
        assert not entries.say_if_heard(entry, writing), "nobody is left to hear it"
    finally:
        os.close(writing)

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from edge_node import config
from edge_node.config import ConfigError, EdgeConfig, load, make
from edge_node.findings import Severity
from edge_node.policy import Action

SOURCE: dict[str, Any] = {"name": "spindle", "kind": "mock", "channels": [{"name": "acc"}]}


def problems(**values: Any) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        make({"sources": [SOURCE]} | values)
    return raised.value.problems


def test_a_source_is_enough() -> None:
    made = make({"sources": [SOURCE]})
    assert made.source("spindle").kind == "mock"
    assert made.coordinator is None


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"sources": []}, ["sources"]),
        ({"sources": [SOURCE, SOURCE]}, ["'spindle' stands there twice"]),
        ({"sources": [SOURCE | {"kind": "radio"}]}, ["radio", "'bearing', 'mock', 'replay', 'opcua'"]),
        ({"sources": [SOURCE | {"name": "a/b"}]}, ["sources.0.name = 'a/b'", "must have 1 to 64 letters"]),
        ({"sources": [SOURCE | {"rate_hz": -1}]}, ["sources.0.rate_hz = -1", "greater than 0"]),
        ({"sources": [SOURCE | {"channels": [{"name": "a"}, {"name": "a"}]}]}, ["'a' stands there twice"]),
        (
            {"sources": [SOURCE | {"channels": [{"name": "a", "count": 40_000}, {"name": "b", "count": 40_000}]}]},
            ["80000"],
        ),
        ({"sources": [SOURCE | {"gain": 1}]}, ["sources.0.gain = 1", "no such field"]),
        ({"sources": [SOURCE | {"kind": "replay"}]}, ["sources.0.path: missing"]),
        ({"sources": [SOURCE | {"kind": "replay", "path": "x.npy", "acts": True}]}, ["never acts"]),
        ({"sources": [SOURCE | {"kind": "opcua", "url": "opc.tcp://plc:4840"}]}, ["acc without node"]),
        ({"sources": [SOURCE | {"kind": "opcua", "url": "http://plc"}]}, ["sources.0.url = 'http://plc'"]),
        (
            {"sources": [SOURCE | {"kind": "bearing", "rate_hz": 5_000}]},
            ["damage.resonance_hz = 3500.0", "below half of rate_hz = 5000.0"],
        ),
        ({"stall_ms": 10}, ["stall_ms = 10", "greater than or equal to 500"]),
        ({"ring": {"capacity": 1}}, ["ring.capacity = 1"]),
        ({"ring": {"format": "int8"}}, ["ring.format = 'int8'", "'int16' or 'float32'"]),
        (
            {"features": {"bearing": {}, "resonance_hz": [6_000, 2_000]}},
            ["features.resonance_hz = [6000.0, 2000.0]", "half the rate of spindle"],
        ),
        (
            {"features": {"bands_hz": [[10, 1_000], [90_000, 99_000]]}},
            ["features.bands_hz: [90000.0, 99000.0]", "half the rate of spindle"],
        ),
        ({"features": {"bands_hz": [[50, 10]]}}, ["features.bands_hz: [50.0, 10.0]", "must rise"]),
        ({"rule": {"warn_score": 9, "alarm_score": 3}}, ["warn_score = 9.0: above alarm_score = 3.0"]),
        ({"coordinator": {"target": "nowhere"}}, ["coordinator.target = 'nowhere'", "must be HOST:PORT"]),
        ({"coordinator": {"target": "a:1", "alarm": "stop"}}, ["zones: empty, but stop needs them"]),
        ({"coordinator": {"target": "a:1", "alarm": "explode"}}, ["coordinator.alarm = 'explode'", "'stop'"]),
    ],
)
def test_a_wrong_value_is_named_with_what_would_be_right(values: dict[str, Any], said: list[str]) -> None:
    found = "\n".join(problems(**values))
    for words in said:
        assert words in found, found


def test_all_problems_are_told_at_once() -> None:
    assert len(problems(stall_ms=1, node="a b", ring={"frames": 0})) == 3


def test_severities_have_actions_and_only_warnings_unless_said() -> None:
    given = {"target": "a:1", "zones": ["Z_1"], "alarm": "close"}
    coordinator = make({"sources": [SOURCE], "coordinator": given}).coordinator
    assert coordinator is not None
    assert [coordinator.action(s) for s in Severity] == [Action.LOG, Action.WARN, Action.CLOSE]


def test_relative_paths_count_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "edge.yaml"
    path.write_text(
        "sources: [{name: s, kind: replay, path: data/run.npy, rate_hz: 100, channels: [{name: a}]}]\n"
        "sink: {path: out/findings.jsonl}\n"
    )
    made: EdgeConfig = load(path)
    source = made.source("s")
    assert source.kind == "replay" and source.path == tmp_path / "data" / "run.npy"
    assert made.sink.path == tmp_path / "out" / "findings.jsonl"


@pytest.mark.parametrize(
    ("text", "said"),
    [(None, "No such file"), ("[1]", "must be a mapping"), ("a: [", "is not YAML")],
)
def test_a_file_that_is_no_configuration_says_so(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "edge.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        load(path)


def test_an_unknown_source_is_named_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="'pump': no such source; there are spindle"):
        make({"sources": [SOURCE]}).source("pump")


def test_the_documented_configuration_is_valid_and_every_field_is_documented(repository: Path, tmp_path: Path) -> None:
    text = (repository / "docs" / "edge.md").read_text("utf-8")
    chapter = text.partition("## Running a node")[2]
    path = tmp_path / "edge.yaml"
    path.write_text(chapter.partition("```yaml\n")[2].partition("```")[0])
    assert load(path).source("spindle").kind == "bearing"
    table = "\n".join(line for line in chapter.splitlines() if line.startswith("| "))
    models = [m for m in vars(config).values() if isinstance(m, type) and issubclass(m, config.Part)]
    fields = {name for model in models for name in model.model_fields}
    named = set(re.findall(r"\w+", table))
    assert fields <= named, f"docs/edge.md says nothing of {', '.join(sorted(fields - named))}"

"""A configuration that contradicts itself is refused whole, naming every field, its value and what would be right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from coordinator.config import ConfigError, load, make


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"suspend_ms": 600, "heartbeat_ms": 500}, ("suspend_ms = 600", "heartbeat_ms = 500", "1000")),
        ({"lost_ms": 1_000, "suspend_ms": 1_500}, ("lost_ms = 1000", "suspend_ms = 1500", "2000")),
        ({"telemetry_fresh_ms": 300}, ("telemetry_fresh_ms = 300", "heartbeat_ms = 500")),
        ({"store": "etcd:127.0.0.1:2379", "reattach_ms": 100}, ("reattach_ms = 100", "heartbeat_ms = 500")),
        ({"store": "postgres:x"}, ("store = 'postgres:x'", "memory, sqlite:PATH, or etcd:")),
        ({"store": "etcd:nowhere"}, ("store = 'etcd:nowhere'", "host:port")),
        ({"listen": "7600"}, ("listen = '7600'", "HOST:PORT")),
        ({"listen": "127.0.0.1:99999"}, ("listen = '127.0.0.1:99999'", "65535")),
        ({"lease_ms": 10}, ("lease_ms = 10", "500")),
        ({"hearbeat_ms": 10}, ("hearbeat_ms = 10", "no such field", "heartbeat_ms")),
        ({"rho_ppm": "fast"}, ("rho_ppm = 'fast'", "integer")),
    ],
)
def test_a_wrong_value_is_named_with_its_remedy(values: dict[str, Any], named: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as refused:
        make({"floor": "floor.yaml", **values})
    for part in named:
        assert part in str(refused.value)


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        make({"floor": "f.yaml", "lease_ms": 1, "listen": "x", "store": "y"})
    assert len(refused.value.problems) == 3


def test_a_missing_floor_says_what_it_is() -> None:
    with pytest.raises(ConfigError, match="floor: missing; The floor file"):
        make({})


def test_a_file_is_read_and_arguments_win(tmp_path: Path) -> None:
    path = tmp_path / "zonelock.yaml"
    path.write_text("floor: floors/a.yaml\nlisten: 0.0.0.0:7600\nheartbeat_ms: 200\n", encoding="utf-8")
    config = load(path, {"listen": "127.0.0.1:0"})
    assert config.floor == tmp_path / "floors" / "a.yaml"
    assert (config.listen, config.timing().heartbeat_ms) == ("127.0.0.1:0", 200)


@pytest.mark.parametrize(
    ("text", "said"), [("a: [", "is not YAML"), ("- 1", "must be a mapping"), ("floor: 3", "floor = 3")]
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "zonelock.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=said):
        load(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "absent.yaml")

"""A configuration that contradicts itself is refused whole, naming every field, its value and what would be right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from certificates import DAY, NOW, Authority

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


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def test_every_wrong_certificate_is_named_with_its_field(authority: Authority, tmp_path: Path) -> None:
    mine, other = authority.issue("mine"), authority.issue("other")
    old = authority.issue("old", begins=NOW - 3 * DAY, ends=NOW - DAY)
    wrong: dict[str, tuple[dict[str, Any], str]] = {
        "missing": ({"etcd_ca": tmp_path / "gone.pem"}, "gone.pem': cannot be read: no such file"),
        "mixed up": ({"tls_cert": mine.cert, "tls_key": other.key}, f"tls_key = {str(other.key)!r}: does not belong"),
        "expired": ({"tls_cert": old.cert, "tls_key": old.key}, f"tls_cert = {str(old.cert)!r}: expired on"),
        "no authority": ({"etcd_cert": mine.cert, "etcd_key": mine.key}, "given without etcd_ca"),
        "no certificate": ({"tls_client_ca": authority.ca}, "tls_client_ca = "),
        "https": ({"store": "etcd:https://a:2379"}, "store = 'etcd:https://a:2379': names an https:// member"),
        "http": ({"store": "etcd:http://a:2379", "etcd_ca": authority.ca}, "although etcd_ca is given"),
        "no password": ({"etcd_user": "zonelock"}, "etcd_user = 'zonelock': given without etcd_password_file"),
        "no user": ({"etcd_password_file": authority.ca}, "given without etcd_user"),
        "password gone": ({"etcd_user": "z", "etcd_password_file": tmp_path / "gone"}, "gone': cannot be read"),
        "two lines": ({"etcd_user": "z", "etcd_password_file": authority.ca}, "must hold one line"),
    }
    for case, (values, said) in wrong.items():
        with pytest.raises(ConfigError) as refused:
            make({"floor": "floor.yaml", **values})
        assert said in str(refused.value), case


def test_certificates_and_password_count_from_the_config_file(authority: Authority, tmp_path: Path) -> None:
    pair = authority.issue("coordinator")
    (tmp_path / "password").write_text("secret\n", encoding="utf-8")
    path = tmp_path / "zonelock.yaml"
    path.write_text(
        f"floor: f.yaml\nstore: etcd:https://a:2379\netcd_ca: {authority.ca.name}\netcd_cert: {pair.cert.name}\n"
        f"etcd_key: {pair.key.name}\netcd_user: zonelock\netcd_password_file: password\n"
        f"tls_cert: {pair.cert.name}\ntls_key: {pair.key.name}\n",
        encoding="utf-8",
    )
    config = load(path)
    assert config.etcd_tls() is not None and config.server_tls() is not None
    assert (config.etcd_user, config.etcd_password()) == ("zonelock", "secret")
    assert "secret" not in repr(config)


@pytest.mark.parametrize(
    ("values", "file"),
    [
        ({"store": "memory"}, None),
        ({"store": "sqlite:/var/lib/z/ledger.db"}, "/var/lib/z/127.0.0.1-7600.high-water.json"),
        ({"store": "etcd:a:2379"}, "zonelock-data/127.0.0.1-7600.high-water.json"),
        ({"store": "etcd:a:2379", "listen": "127.0.0.1:0"}, None),
        ({"store": "etcd:a:2379", "listen": "127.0.0.1:0", "name": "c1"}, "zonelock-data/c1.high-water.json"),
        ({"store": "etcd:a:2379", "data_dir": "/d"}, "/d/127.0.0.1-7600.high-water.json"),
    ],
)
def test_how_far_the_ledger_was_seen_is_kept_where_the_next_coordinator_of_that_name_looks(
    values: dict[str, str], file: str | None
) -> None:
    found = make({"floor": "f.yaml", "listen": "127.0.0.1:7600", **values}).high_water_file()
    assert (None if found is None else str(found)) == file

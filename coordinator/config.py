"""The coordinator's configuration: a YAML file or the same names as arguments, checked as a whole before it starts.

Times are checked against each other (in the manner of hashicorp/raft's ValidateConfig): a combination in which an
agent could not notice in time that its coordinator is gone is refused, naming both fields, their values and what
would be right.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from coordinator.core.model import Timing
from coordinator.tls import TlsFiles, TlsNames

PORT_MAX = 65_535
PASSWORD_MAX_BYTES = 4_096

FILE_FIELDS = (
    "floor",
    "etcd_ca",
    "etcd_cert",
    "etcd_key",
    "etcd_password_file",
    "tls_cert",
    "tls_key",
    "tls_client_ca",
    "tls_ca",
)
"""Paths that count from the config file's folder when they are relative."""


class ConfigError(ValueError):
    """A configuration that cannot be used; each line names a field, its value and the remedy."""

    def __init__(self, source: str, problems: list[str]) -> None:
        self.source, self.problems = source, problems
        super().__init__("\n".join([f"{source}: {len(problems)} problem(s)", *(f"  {p}" for p in problems)]))


class CoordinatorConfig(BaseModel):
    """Everything a coordinator can be told. Durations in milliseconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    floor: Path = Field(description="The floor file (zonelock.floor/1 YAML).")
    store: str = Field("sqlite:zonelock.sqlite", description="memory | sqlite:PATH | etcd:HOST:PORT,HOST:PORT,...")
    etcd_prefix: str = Field("/zonelock", description="Every key of this site lives under it.")
    etcd_shared: bool = Field(
        False, description="A ledger may be begun under etcd_prefix although etcd holds another site's elsewhere."
    )
    etcd_quota_bytes: int = Field(
        2 << 30, ge=1 << 20, description="What etcd's members may grow to (their --quota-backend-bytes), for alarms."
    )
    etcd_ca: Path | None = Field(
        None, description="PEM of the authority that signed etcd's certificates: turns TLS on."
    )
    etcd_cert: Path | None = Field(None, description="PEM certificate (with chain) that etcd asks of its clients.")
    etcd_key: Path | None = Field(None, description="PEM key of etcd_cert, not encrypted.")
    etcd_user: str = Field("", description="User for etcd's authentication; empty for none, or to use etcd_cert's CN.")
    etcd_password_file: Path | None = Field(None, description="File that holds etcd_user's password and nothing else.")
    tls_cert: Path | None = Field(
        None, description="PEM certificate (with chain) of the gRPC port: turns TLS on there."
    )
    tls_key: Path | None = Field(None, description="PEM key of tls_cert, not encrypted.")
    tls_client_ca: Path | None = Field(None, description="Serve only clients with a certificate of this authority.")
    tls_ca: Path | None = Field(
        None, description="Authority of the other coordinators' certificates; tls_client_ca when empty."
    )
    name: str = Field("", description="This coordinator's name for people; its listen address when empty.")
    listen: str = Field("127.0.0.1:7600", description="gRPC address; port 0 picks a free one.")
    advertise: str = Field(
        "", description="Where agents and other coordinators reach this one; made of listen when empty."
    )
    web: str = Field("127.0.0.1:7680", description="Address of the live floor map; empty for none.")
    assume_empty: bool = Field(False, description="Confirm a new ledger's floor without an operator (demonstrations).")
    check_invariants: bool = Field(False, description="Check I1 to I5 and I9 after every event (slow; for tests).")
    lease_ms: int = Field(2_000, ge=500, le=60_000, description="Leader lease in etcd.")
    heartbeat_ms: int = Field(500, ge=50, le=10_000, description="How often a client sends a frame at least.")
    suspend_ms: int = Field(1_500, ge=100, le=60_000, description="Without acknowledgement a client is SUSPENDED.")
    lost_ms: int = Field(5_000, ge=200, le=600_000, description="Without acknowledgement a client is LOST.")
    reattach_ms: int = Field(2_000, ge=0, le=60_000, description="Nothing inherited trips within this after take-over.")
    telemetry_fresh_ms: int = Field(2_000, ge=100, le=60_000, description="Telemetry no older than this can extend.")
    estop_ack_ms: int = Field(1_000, ge=50, le=60_000, description="A told agent that takes longer is an alarm.")
    data_dir: Path | None = Field(None, description="Folder for stops that are not yet durable; see docs/safety.md.")
    stop_hook: tuple[str, ...] = Field((), description="A command that passes stops on to the plant's safety chain.")
    stop_hook_timeout_ms: int = Field(2_000, ge=100, le=60_000, description="The hook is killed after this; an alarm.")
    rho_ppm: int = Field(10_000, ge=0, le=200_000, description="Clock-rate error that both sides allow for.")

    @field_validator("listen", "web", "advertise")
    @classmethod
    def _address(cls, value: str) -> str:
        if not value:
            return value
        host, colon, port = value.rpartition(":")
        if not (host and colon and port.isdigit() and int(port) <= PORT_MAX):
            raise ValueError(f"must be HOST:PORT with a port of 0 to {PORT_MAX}, such as 127.0.0.1:7600")
        return value

    @field_validator("store")
    @classmethod
    def _store(cls, value: str) -> str:
        kind, _, rest = value.partition(":")
        if kind == "etcd":
            for endpoint in rest.split(","):
                host, _, port = endpoint.strip().removeprefix("http://").removeprefix("https://").rpartition(":")
                if not (host and port.isdigit() and 0 < int(port) <= PORT_MAX):
                    raise ValueError(f"etcd endpoint {endpoint!r} is not host:port, such as 127.0.0.1:2379")
            return value
        if value == "memory" or (kind == "sqlite" and rest):
            return value
        raise ValueError("must be memory, sqlite:PATH, or etcd:HOST:PORT[,HOST:PORT...]")

    @model_validator(mode="after")
    def _times_agree(self) -> Self:
        problems = []
        if not self.listen:
            problems.append("listen = '': must be HOST:PORT; a coordinator without gRPC serves nobody")
        if self.suspend_ms < 2 * self.heartbeat_ms:
            problems.append(
                f"suspend_ms = {self.suspend_ms}: below twice heartbeat_ms = {self.heartbeat_ms}, so one lost "
                f"heartbeat would suspend an agent; use at least {2 * self.heartbeat_ms}"
            )
        if self.lost_ms <= self.suspend_ms:
            problems.append(
                f"lost_ms = {self.lost_ms}: not above suspend_ms = {self.suspend_ms}; "
                f"use at least {self.suspend_ms + self.heartbeat_ms}"
            )
        if self.store.startswith("etcd:") and self.reattach_ms < self.heartbeat_ms:
            problems.append(
                f"reattach_ms = {self.reattach_ms}: below heartbeat_ms = {self.heartbeat_ms}, so a take-over would "
                f"stop agents before they can come back; use at least {2 * self.heartbeat_ms}"
            )
        if self.telemetry_fresh_ms < self.heartbeat_ms:
            problems.append(
                f"telemetry_fresh_ms = {self.telemetry_fresh_ms}: below heartbeat_ms = {self.heartbeat_ms}, so no "
                f"agent could extend between heartbeats; use at least {self.heartbeat_ms}"
            )
        if problems:
            raise ValueError("\n".join(problems))
        return self

    @model_validator(mode="after")
    def _certificates_agree(self) -> Self:
        problems: list[str] = []
        etcd = TlsFiles(self.etcd_ca, self.etcd_cert, self.etcd_key)
        problems += etcd.problems(TlsNames("etcd_ca", "etcd_cert", "etcd_key"))
        if self.etcd_ca is None and (self.etcd_cert is not None or self.etcd_key is not None):
            field, value = ("etcd_cert", self.etcd_cert) if self.etcd_cert is not None else ("etcd_key", self.etcd_key)
            problems.append(
                f"{field} = {str(value)!r}: given without etcd_ca; give the authority of etcd's certificates"
            )
        secured = "https://" if self.etcd_ca is None else "http://"
        if self.store.startswith("etcd:") and secured in self.store:
            problems.append(
                f"store = {self.store!r}: names an https:// member, and etcd_ca is not given; give the PEM file of the "
                "authority that signed etcd's certificates"
                if self.etcd_ca is None
                else f"store = {self.store!r}: names an http:// member although etcd_ca is given; write https:// or "
                "plain host:port, or leave etcd_ca out"
            )
        if bool(self.etcd_user) != (self.etcd_password_file is not None):
            problems.append(
                f"etcd_user = {self.etcd_user!r}: given without etcd_password_file; give the file with its password"
                if self.etcd_user
                else f"etcd_password_file = {str(self.etcd_password_file)!r}: given without etcd_user; say whose it is"
            )
        own = TlsFiles(self.tls_client_ca, self.tls_cert, self.tls_key)
        problems += own.problems(TlsNames("tls_client_ca", "tls_cert", "tls_key"))
        problems += TlsFiles(self.tls_ca).problems(TlsNames("tls_ca", "tls_cert", "tls_key"))
        if self.tls_client_ca is not None and self.tls_cert is None:
            problems.append(
                f"tls_client_ca = {str(self.tls_client_ca)!r}: given without tls_cert; clients can only show "
                "certificates to a port that has its own"
            )
        _, objection = self._password()
        problems += [objection] if objection else []
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def etcd_tls(self) -> TlsFiles | None:
        """How etcd is dialled; None for plainly."""
        return None if self.etcd_ca is None else TlsFiles(self.etcd_ca, self.etcd_cert, self.etcd_key)

    def etcd_password(self) -> str:
        """Of `etcd_user`, as its file holds it now; empty for none."""
        return self._password()[0]

    def peer_tls(self) -> TlsFiles | None:
        """For dialling the other coordinators, which listen as this one does; None without TLS."""
        if self.tls_cert is None:
            return None
        return TlsFiles(self.tls_ca or self.tls_client_ca, self.tls_cert, self.tls_key)

    def server_tls(self) -> TlsFiles | None:
        """What the gRPC port shows and asks of clients; None for plain."""
        return None if self.tls_cert is None else TlsFiles(self.tls_client_ca, self.tls_cert, self.tls_key)

    def _password(self) -> tuple[str, str]:
        """What the file holds, and what is wrong with it."""
        path = self.etcd_password_file
        if path is None:
            return "", ""
        where = f"etcd_password_file = {str(path)!r}"
        try:
            text = path.read_text(encoding="utf-8").strip("\r\n")
        except OSError as error:
            return (
                "",
                f"{where}: cannot be read: {(error.strerror or str(error)).lower()}; check the path and its owner",
            )
        except UnicodeDecodeError:
            return "", f"{where}: is not UTF-8 text; it must hold the password and nothing else"
        if not text or "\n" in text or len(text) > PASSWORD_MAX_BYTES:
            return "", f"{where}: must hold one line, the password; it holds {len(text.splitlines())} lines"
        return text, ""

    def timing(self) -> Timing:
        """The times as the core takes them."""
        return Timing(
            rho_ppm=self.rho_ppm,
            heartbeat_ms=self.heartbeat_ms,
            suspend_ms=self.suspend_ms,
            lost_ms=self.lost_ms,
            reattach_ms=self.reattach_ms,
            telemetry_fresh_ms=self.telemetry_fresh_ms,
            estop_ack_ms=self.estop_ack_ms,
        )

    def pending_stops_file(self) -> Path | None:
        """Where stops that have left and are not yet durable are kept: `data_dir`, or beside the SQLite ledger, or
        `zonelock-data` for a coordinator on etcd; nowhere for one in memory.
        """
        return self._own_file("pending-stops")

    def audit_file(self) -> Path | None:
        """Likewise, for audit entries that the ledger has no room for any more."""
        path = self._own_file("audit")
        return None if path is None else path.with_suffix(".jsonl")

    def high_water_file(self) -> Path | None:
        """Likewise, for how far this coordinator has seen the ledger; but nowhere in the common folder for one whose
        port is left to chance, which shares its name with all of its kind.
        """
        nameless = not self.name and self.listen.endswith(":0")
        if nameless and self.data_dir is None and self.store.startswith("etcd:"):
            return None
        return self._own_file("high-water")

    def _own_file(self, what: str) -> Path | None:
        kind, _, rest = self.store.partition(":")
        folder = self.data_dir
        if folder is None and kind == "sqlite":
            folder = Path(rest).parent
        if folder is None and kind == "etcd":
            folder = Path("zonelock-data")
        name = (self.name or self.listen).replace(":", "-").replace("/", "-")
        return None if folder is None else folder / f"{name}.{what}.json"


def make(values: Mapping[str, Any], source: str = "arguments") -> CoordinatorConfig:
    """Raises ConfigError with every problem at once."""
    try:
        return CoordinatorConfig.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError(source, _problems(error)) from None


def load(path: Path, overrides: Mapping[str, Any] | None = None) -> CoordinatorConfig:
    """Reads a YAML file; `overrides` (command-line arguments) win. Relative paths count from the file."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(str(path), [f"cannot be read: {error.strerror}; check the path"]) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), [f"is not YAML: {' '.join(str(error).split())}"]) from None
    if not isinstance(values, dict):
        raise ConfigError(str(path), ["must be a mapping of field names to values; `zonelock config show` prints one"])
    for field in FILE_FIELDS:
        if isinstance(values.get(field), str):
            values[field] = str(path.parent / values[field])
    return make({**values, **(overrides or {})}, str(path))


def _problems(error: ValidationError) -> list[str]:
    found: list[str] = []
    for item in error.errors():
        field = ".".join(str(part) for part in item["loc"])
        message = item["msg"].removeprefix("Value error, ")
        if not field:
            found.extend(message.splitlines())
        elif item["type"] == "missing":
            found.append(f"{field}: missing; {CoordinatorConfig.model_fields[field].description}")
        elif item["type"] == "extra_forbidden":
            known = ", ".join(sorted(CoordinatorConfig.model_fields))
            found.append(f"{field} = {item['input']!r}: no such field; known: {known}")
        else:
            found.append(f"{field} = {item['input']!r}: {message}")
    return found

"""An edge node's configuration: one YAML file, checked as a whole before anything starts.

Rule owned: an error names the field, its value and what would be right; every problem is told at once. Never starts
anything; `build` makes what the processes are made of.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from edge_node.channels import Quantity
from edge_node.dsp.windows import MAX_SAMPLES, MIN_SAMPLES, Taper
from edge_node.findings import Severity
from edge_node.policy import Action
from edge_node.ring import DEFAULT_FOLDER
from edge_node.ring.segments import NAME
from edge_node.snapshots.spool import SPOOL_BYTES_MIN
from edge_node.snapshots.upload import known_store

PORT_MAX = 65_535
SOURCES_MAX = 64
CHANNELS_MAX = 65_536
NAME_FORM = "1 to 64 letters, digits, '-', '_' or '.', beginning with a letter or digit"


class ConfigError(ValueError):
    """A configuration that cannot be used; each line names a field, its value and the remedy."""

    def __init__(self, source: str, problems: list[str]) -> None:
        self.source, self.problems = source, problems
        super().__init__("\n".join([f"{source}: {len(problems)} problem(s)", *(f"  {p}" for p in problems)]))


class Part(BaseModel):
    """One mapping of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _name(value: str) -> str:
    if not NAME.fullmatch(value):
        raise ValueError(f"must have {NAME_FORM}, such as spindle-1")
    return value


class ChannelConfig(Part):
    """One channel, or `count` alike that are numbered from 1 (`acc1`, `acc2`, ...)."""

    name: str = Field(min_length=1, max_length=64, description="The channel's name.")
    count: int = Field(default=1, ge=1, le=CHANNELS_MAX, description="How many alike; above 1 they are numbered.")
    quantity: Quantity = Field(default=Quantity.VIBRATION, description="vibration, current, temperature or acoustic.")
    unit: str = Field(default="g", max_length=16, description="The unit of the values.")
    scale: float = Field(default=1.0, gt=0, description="Units per count, for rings of int16.")
    full_scale: float = Field(default=0.0, ge=0, description="The largest magnitude in units; 0: not known.")
    column: str = Field(default="", description="replay: the file's column; by default the one of the channel's name.")
    node: str = Field(default="", description="opcua: the node, such as ns=2;s=Spindle.Temp.")

    @field_validator("name", "unit")
    @classmethod
    def _printable(cls, value: str) -> str:
        if not value.isprintable():
            raise ValueError("must be printable text; leave control characters out")
        return value


class BearingConfig(Part):
    """A rolling bearing's geometry and speed."""

    balls: int = Field(default=9, ge=3, le=200)
    ball_mm: float = Field(default=7.94, gt=0)
    pitch_mm: float = Field(default=39.04, gt=0)
    contact_deg: float = Field(default=0.0, ge=0, lt=90)
    shaft_hz: float = Field(default=29.95, gt=0, description="The shaft's speed in turns a second.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.ball_mm >= self.pitch_mm:
            raise ValueError(f"ball_mm = {self.ball_mm}: must be below pitch_mm = {self.pitch_mm}")
        return self


class DamageConfig(Part):
    """What is wrong with the synthetic bearing."""

    place: Literal["healthy", "outer", "inner", "ball"] = "healthy"
    amplitude: float = Field(default=1.0, ge=0, description="Of a strike, in the channels' unit.")
    begin_amplitude: float = Field(default=0.0, ge=0)
    wear_s: float = Field(default=0.0, ge=0, description="How long it takes to grow; 0: it is there at once.")
    after_s: float = Field(default=0.0, ge=0, description="Healthy until then.")
    slip: float = Field(default=0.01, ge=0, lt=0.2)
    jitter: float = Field(default=0.01, ge=0, lt=0.2)
    resonance_hz: float = Field(default=3_500.0, gt=0)
    damping: float = Field(default=0.05, gt=0, lt=1)


class SourceBase(Part):
    name: str = Field(description="The source's and its ring's name.")
    channels: tuple[ChannelConfig, ...] = Field(min_length=1)
    acts: bool = Field(default=False, description="A synthetic source that stands for a machine: its anomalies act.")

    _check_name = field_validator("name")(_name)

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        seen: set[str] = set()
        total = 0
        for channel in self.channels:
            total += channel.count
            if channel.name in seen:
                raise ValueError(f"channels: {channel.name!r} stands there twice; give each its own name")
            seen.add(channel.name)
        if total > CHANNELS_MAX:
            raise ValueError(f"channels: {total} of them; a ring takes at most {CHANNELS_MAX}; make two sources")
        return self


class BearingSourceConfig(SourceBase):
    kind: Literal["bearing"]
    rate_hz: float = Field(default=20_000.0, gt=0, le=1e7)
    bearing: BearingConfig = BearingConfig()
    damage: DamageConfig = DamageConfig()
    imbalance: float = Field(default=0.1, ge=0)
    noise: float = Field(default=0.1, ge=0)
    seed: int = Field(default=0, ge=0)
    speed: float = Field(default=1.0, ge=0, description="1 is real time, 0 as fast as possible.")

    @model_validator(mode="after")
    def _resonance_fits(self) -> Self:
        if self.damage.resonance_hz >= self.rate_hz / 2:
            raise ValueError(
                f"damage.resonance_hz = {self.damage.resonance_hz}: must lie below half of rate_hz = {self.rate_hz}"
            )
        return self


class MockSourceConfig(SourceBase):
    kind: Literal["mock"]
    rate_hz: float = Field(default=10_000.0, gt=0, le=1e7)
    noise: float = Field(default=0.2, ge=0)
    shock: float = Field(default=5.0, ge=0)
    shocks_per_s: float = Field(default=1.0, ge=0)
    seed: int = Field(default=0, ge=0)
    speed: float = Field(default=1.0, ge=0, description="1 is real time, 0 as fast as possible.")


class ReplaySourceConfig(SourceBase):
    kind: Literal["replay"]
    path: Path = Field(description="npy, csv, wav or mat; relative paths count from this file.")
    rate_hz: float | None = Field(default=None, gt=0, description="Needed where the file says no rate.")
    variable: str = Field(default="", description="mat: the matrix to play.")
    repeat: bool = False
    speed: float = Field(default=1.0, ge=0, description="1 is as recorded, 0 as fast as possible.")

    @field_validator("acts")
    @classmethod
    def _never_acts(cls, value: bool) -> bool:
        if value:
            raise ValueError("a replayed source never acts on the plant; leave it out")
        return value


class OpcUaSourceConfig(SourceBase):
    kind: Literal["opcua"]
    url: str = Field(pattern=r"^opc\.tcp://", description="Such as opc.tcp://plc-7:4840.")
    rate_hz: float = Field(default=10.0, gt=0, le=1_000)

    @model_validator(mode="after")
    def _has_nodes(self) -> Self:
        missing = [channel.name for channel in self.channels if not channel.node]
        if missing:
            raise ValueError(f"channels: {', '.join(missing[:4])} without node; say which OPC UA node each one is")
        if any(channel.count > 1 for channel in self.channels):
            raise ValueError("channels: count = 1 for OPC UA, since each channel has its own node")
        return self


SourceConfig = Annotated[
    BearingSourceConfig | MockSourceConfig | ReplaySourceConfig | OpcUaSourceConfig, Field(discriminator="kind")
]


class RingConfig(Part):
    folder: Path = Field(default=DEFAULT_FOLDER, description="Shared memory; any folder that can be mapped.")
    format: Literal["int16", "float32"] = "float32"
    frames: int = Field(default=64, ge=1, le=1 << 20, description="Frames a record: the writer's step.")
    capacity: int = Field(default=1_024, ge=2, le=1 << 20, description="Records before the oldest is overwritten.")


class FeaturesConfig(Part):
    samples: int = Field(default=4_096, ge=MIN_SAMPLES, le=MAX_SAMPLES, description="Samples of a window.")
    taper: Taper = Taper.HANN
    overlap: float = Field(default=0.5, ge=0, lt=1)
    bands_hz: tuple[tuple[float, float], ...] = ()
    bearing: BearingConfig | None = Field(default=None, description="Look for this bearing's fault lines.")
    resonance_hz: tuple[float, float] = Field(default=(0.0, 0.0), description="The band that the envelope is taken of.")
    acceleration_m_s2: float = Field(default=9.80665, ge=0, description="m/s² per unit; 0: not an acceleration.")
    report_every_s: float = Field(default=1.0, ge=0, description="How often a window's features are handed on; 0: all.")


class RuleConfig(Part):
    kind: Literal["learned", "fixed"] = "learned"
    learning: int = Field(default=120, ge=20, le=10_000, description="learned: windows before it judges.")
    warn_score: float = Field(default=5.0, gt=0)
    alarm_score: float = Field(default=10.0, gt=0)
    confirm: int = Field(default=3, ge=1, le=1_000)
    nominal_rms: float = Field(default=1.0, gt=0, description="fixed: the usual RMS, in units.")
    kurtosis: float = Field(default=3.5, gt=0)
    rms_factor: float = Field(default=2.5, gt=0)
    quiet_s: float = Field(default=10.0, ge=0, description="Equal alerts within this are held back and counted.")

    @model_validator(mode="after")
    def _scores_rise(self) -> Self:
        if self.warn_score > self.alarm_score:
            raise ValueError(f"warn_score = {self.warn_score}: above alarm_score = {self.alarm_score}; swap them")
        return self


class SinkConfig(Part):
    path: Path = Field(default=Path("findings.jsonl"), description="JSON lines; relative paths count from this file.")
    bytes_max: int = Field(default=16 << 20, ge=4_096, description="A file that has grown to this is put aside.")
    files_max: int = Field(default=4, ge=1, le=1_000, description="Files kept, the current one included.")


class SnapshotsConfig(Part):
    folder: Path = Field(default=Path("snapshots"), description="Relative paths count from this file.")
    bytes_max: int = Field(default=256 << 20, ge=SPOOL_BYTES_MIN, description="Of each source's snapshots on site.")
    severity: Severity = Field(default=Severity.ALARM, description="NOTICE, WARN or ALARM: kept from there on.")
    url: str = Field(default="", description="An fsspec URL to upload to, such as s3://bucket/line-3; empty: none.")

    @field_validator("severity", mode="before")
    @classmethod
    def _by_name(cls, value: object) -> object:
        if isinstance(value, Severity):
            return value
        if not isinstance(value, str) or value.upper() not in Severity.__members__:
            raise ValueError(f"must be one of {', '.join(Severity.__members__)}")
        return Severity[value.upper()]

    @field_validator("url")
    @classmethod
    def _known(cls, value: str) -> str:
        if value:
            known_store(value)
        return value


class GroupConfig(Part):
    """Sensors of one source that measure the same quantity; deviations in its unit and seconds."""

    name: str
    source: str
    sensors: tuple[str, ...] = Field(min_length=1, description="Names of channels; numbered ones as acc1, acc2.")
    tolerance: float = Field(gt=0, description="The bias that calls for recalibration.")
    reference: str = Field(default="", description="The sensor whose bias is known to be nothing, if there is one.")
    noise: float = Field(gt=0, description="Standard deviation of one window's mean.")
    value_drift: float = Field(gt=0, description="How far the quantity itself wanders within a second.")
    bias_drift: float = Field(default=0.0, ge=0)
    rate_drift: float = Field(default=0.0, ge=0)
    first_bias: float = Field(default=1.0, ge=0, description="How large biases may be to begin with.")

    _check_name = field_validator("name")(_name)

    @model_validator(mode="after")
    def _reference_fits(self) -> Self:
        if self.reference and self.reference not in self.sensors:
            raise ValueError(f"reference = {self.reference!r}: must be one of {', '.join(self.sensors)}")
        if len(set(self.sensors)) != len(self.sensors):
            raise ValueError("sensors: one stands there twice; name each once")
        return self


class CoordinatorConfig(Part):
    target: str = Field(description="HOST:PORT of every coordinator, with commas between.")
    zones: tuple[str, ...] = Field(default=(), description="Closed by `close`; the first one's stop group is stopped.")
    agent_kind: str = Field(default="", description="A kind that the floor names, or empty.")
    notice: Action = Action.LOG
    warn: Action = Action.WARN
    alarm: Action = Action.WARN
    confidence_min: float = Field(default=0.5, ge=0, le=1, description="Below it, an anomaly at most warns.")
    rearm_s: float = Field(default=60.0, ge=1, description="The same action is not repeated within this.")

    @field_validator("target")
    @classmethod
    def _addresses(cls, value: str) -> str:
        for one in value.split(","):
            host, _, port = one.strip().rpartition(":")
            if not (host and port.isdigit() and 0 < int(port) <= PORT_MAX):
                raise ValueError("must be HOST:PORT[,HOST:PORT...], such as 127.0.0.1:7600")
        return value

    @model_validator(mode="after")
    def _actions_have_zones(self) -> Self:
        reach = {Action.CLOSE, Action.STOP} & {self.notice, self.warn, self.alarm}
        if reach and not self.zones:
            raise ValueError(f"zones: empty, but {', '.join(sorted(reach))} needs them; name the machine's zones")
        return self

    def action(self, severity: Severity) -> Action:
        return {Severity.NOTICE: self.notice, Severity.WARN: self.warn, Severity.ALARM: self.alarm}[severity]


class EdgeConfig(Part):
    """Everything an edge node can be told."""

    node: str = Field(default_factory=lambda: f"edge-{socket.gethostname()}"[:64], description="Its agent id.")
    sources: tuple[SourceConfig, ...] = Field(min_length=1, max_length=SOURCES_MAX)
    ring: RingConfig = RingConfig()
    features: FeaturesConfig = FeaturesConfig()
    rule: RuleConfig = RuleConfig()
    sink: SinkConfig = SinkConfig()
    snapshots: SnapshotsConfig | None = None
    groups: tuple[GroupConfig, ...] = ()
    coordinator: CoordinatorConfig | None = None
    stall_ms: int = Field(default=5_000, ge=500, le=600_000, description="A child without a sign of life is restarted.")

    _check_node = field_validator("node")(_name)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        seen: set[str] = set()
        for source in self.sources:
            if source.name in seen:
                raise ValueError(f"sources: {source.name!r} stands there twice; give each its own name")
            seen.add(source.name)
            rate = source.rate_hz
            f = self.features
            for band in f.bands_hz:
                if not 0 <= band[0] < band[1] or (rate is not None and band[0] >= rate / 2):
                    raise ValueError(
                        f"features.bands_hz: {list(band)} must rise from 0 or more, and begin below half the rate of "
                        f"{source.name}; give bands such as [10, 1000]"
                    )
            low, high = f.resonance_hz
            if rate is not None and f.bearing is not None and not 0 < low < high <= rate / 2:
                raise ValueError(
                    f"features.resonance_hz = {[low, high]}: must rise and lie within 0 to {rate / 2} Hz, half the "
                    f"rate of {source.name}; choose the band in which the bearing rings"
                )
        self._check_groups()
        return self

    def _check_groups(self) -> None:
        channels = {
            source.name: {f"{c.name}{n}" for c in source.channels if c.count > 1 for n in range(1, c.count + 1)}
            | {c.name for c in source.channels if c.count == 1}
            for source in self.sources
        }
        names = [group.name for group in self.groups]
        for group in self.groups:
            if names.count(group.name) > 1:
                raise ValueError(f"groups: {group.name!r} stands there twice; give each its own name")
            if group.source not in channels:
                raise ValueError(f"groups.source = {group.source!r}: must be one of {', '.join(sorted(channels))}")
            unknown = [sensor for sensor in group.sensors if sensor not in channels[group.source]]
            if unknown:
                raise ValueError(f"groups.sensors = {unknown[0]!r}: no channel of {group.source} has that name")

    @property
    def notes_folder(self) -> Path:
        """Where it is noted that a sensor was recalibrated."""
        return self.sink.path.parent / "recalibrated"

    def source(self, name: str) -> SourceConfig:
        """Raises ConfigError with the names that there are."""
        for source in self.sources:
            if source.name == name:
                return source
        raise ConfigError("sources", [f"{name!r}: no such source; there are {', '.join(s.name for s in self.sources)}"])


def make(values: Mapping[str, Any], source: str = "arguments") -> EdgeConfig:
    """Raises ConfigError with every problem at once."""
    try:
        return EdgeConfig.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError(source, _problems(error)) from None


def load(path: Path) -> EdgeConfig:
    """Reads a YAML file; relative paths in it count from its folder. Raises ConfigError."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(str(path), [f"cannot be read: {error.strerror}; check the path"]) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), [f"is not YAML: {' '.join(str(error).split())}"]) from None
    if not isinstance(values, dict):
        raise ConfigError(str(path), ["must be a mapping of field names to values; docs/edge.md shows one"])
    made = make(values, str(path))
    here = path.resolve().parent
    sources = [
        s.model_copy(update={"path": here / s.path}) if isinstance(s, ReplaySourceConfig) else s for s in made.sources
    ]
    sink = made.sink.model_copy(update={"path": here / made.sink.path})
    changed: dict[str, Any] = {"sources": tuple(sources), "sink": sink}
    if made.snapshots is not None:
        changed["snapshots"] = made.snapshots.model_copy(update={"folder": here / made.snapshots.folder})
    return made.model_copy(update=changed)


def _problems(error: ValidationError) -> list[str]:
    found: list[str] = []
    for item in error.errors():
        # A discriminated union puts the kind into the place; people do not write it there.
        parts = [
            str(part) for part in item["loc"] if part not in ("bearing", "mock", "replay", "opcua", "function-after")
        ]
        field, message = ".".join(parts), item["msg"].removeprefix("Value error, ")
        match item["type"]:
            case "missing":
                found.append(f"{field}: missing; give it a value (docs/edge.md lists the fields)")
            case "extra_forbidden":
                found.append(f"{field} = {item['input']!r:.80}: no such field; docs/edge.md lists those there are")
            case _ if isinstance(item["input"], dict | list | tuple) or not field:
                found.append(f"{field}: {message}" if field else message)
            case _:
                found.append(f"{field} = {item['input']!r:.80}: {message}")
    return found

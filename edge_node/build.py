"""From the configuration to what the processes are made of: channels, sources, rings, plans, rules.

Rule owned: the writer and its observers build from one file, so they agree. Never starts or opens anything but the
source that it is asked for.
"""

from __future__ import annotations

from typing import assert_never

from edge_node.channels import Channel
from edge_node.config import (
    BearingConfig,
    BearingSourceConfig,
    EdgeConfig,
    MockSourceConfig,
    OpcUaSourceConfig,
    ReplaySourceConfig,
    SourceConfig,
)
from edge_node.drift.fusion import Group
from edge_node.drift.kalman import Model
from edge_node.drift.watch import DriftWatch
from edge_node.dsp.baseline import LearnedBaseline
from edge_node.dsp.bearings import Bearing, Fault
from edge_node.dsp.features import Plan
from edge_node.dsp.rules import Measures, Rule
from edge_node.dsp.thresholds import FixedThresholds
from edge_node.sources.base import Source
from edge_node.sources.bearing import BearingSource, Damage
from edge_node.sources.mock import MockSource
from edge_node.sources.replay import ReplaySource


def channels_of(source: SourceConfig) -> tuple[Channel, ...]:
    found = []
    for c in source.channels:
        names = [c.name] if c.count == 1 else [f"{c.name}{n}" for n in range(1, c.count + 1)]
        found += [Channel(name, c.quantity, c.unit, c.scale, c.full_scale) for name in names]
    return tuple(found)


def source_of(config: SourceConfig) -> Source:
    """Raises SourceError when nothing can come of it."""
    channels = channels_of(config)
    match config:
        case BearingSourceConfig():
            return BearingSource(
                channels,
                config.rate_hz,
                damage_of(config),
                imbalance=config.imbalance,
                noise=config.noise,
                seed=config.seed,
            )
        case MockSourceConfig():
            return MockSource(
                channels,
                config.rate_hz,
                noise=config.noise,
                shock=config.shock,
                shocks_per_s=config.shocks_per_s,
                seed=config.seed,
            )
        case ReplaySourceConfig():
            columns = [c.column or c.name for c in config.channels]
            named = columns if any(c.column for c in config.channels) else []
            return ReplaySource(
                config.path, channels, config.rate_hz, columns=named, variable=config.variable, repeat=config.repeat
            )
        case OpcUaSourceConfig():
            # Its library takes half a second to import, and most nodes do without.
            from edge_node.sources.opcua import OpcUaSource

            return OpcUaSource(config.url, [c.node for c in config.channels], channels, config.rate_hz)
        case _:
            assert_never(config)


def bearing_of(config: BearingConfig) -> Bearing:
    return Bearing(config.balls, config.ball_mm, config.pitch_mm, config.contact_deg)


def damage_of(config: BearingSourceConfig) -> Damage:
    d, geometry, shaft_hz = config.damage, bearing_of(config.bearing), config.bearing.shaft_hz
    return Damage(
        place=d.place,
        fault_hz=0.0 if d.place == "healthy" else geometry.fault_hz(Fault(d.place), shaft_hz),
        amplitude=d.amplitude,
        begin_amplitude=d.begin_amplitude,
        wear_s=d.wear_s,
        after_s=d.after_s,
        slip=d.slip,
        jitter=d.jitter,
        resonance_hz=d.resonance_hz,
        damping=d.damping,
        shaft_hz=shaft_hz,
        cage_hz=geometry.cage_hz(shaft_hz),
    )


def plan_of(config: EdgeConfig, channels: tuple[Channel, ...], rate_hz: float) -> Plan:
    """Raises ValueError when the features do not fit the rate."""
    f = config.features
    full = {c.full_scale for c in channels}
    return Plan(
        rate_hz=rate_hz,
        samples=f.samples,
        taper=f.taper,
        overlap=f.overlap,
        bands_hz=f.bands_hz,
        bearing=bearing_of(f.bearing) if f.bearing else None,
        shaft_hz=f.bearing.shaft_hz if f.bearing else 0.0,
        resonance_hz=f.resonance_hz,
        acceleration_m_s2=f.acceleration_m_s2,
        full_scale=full.pop() if len(full) == 1 else 0.0,
    )


def drift_of(config: EdgeConfig, source: str, channels: tuple[Channel, ...]) -> DriftWatch | None:
    """The watch over the source's groups of sensors; None when it has none."""
    groups = [
        (
            Group(g.name, g.sensors, g.tolerance, g.reference),
            Model(
                noise=g.noise,
                value_drift=g.value_drift,
                bias_drift=g.bias_drift,
                rate_drift=g.rate_drift,
                first_bias=g.first_bias,
            ),
        )
        for g in config.groups
        if g.source == source
    ]
    return DriftWatch(groups, [c.name for c in channels]) if groups else None


def rule_of(config: EdgeConfig, channels: tuple[Channel, ...], plan: Plan) -> Rule:
    r = config.rule
    measures = Measures(tuple(c.name for c in channels), plan.faults if plan.bearing is not None else ())
    if r.kind == "fixed":
        return FixedThresholds(measures, r.nominal_rms, r.kurtosis, r.rms_factor)
    return LearnedBaseline(measures, r.learning, r.warn_score, r.alarm_score, r.confirm)

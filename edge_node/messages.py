"""Findings as protobuf messages, for sinks, snapshots and the link. Knows both sides; decides nothing."""

from __future__ import annotations

from zonelock.v1 import edge_pb2

from edge_node.findings import Anomaly, FeatureBatch, Heartbeat, Provenance


def provenance_message(provenance: Provenance) -> edge_pb2.EdgeProvenance:
    return edge_pb2.EdgeProvenance(
        source=provenance.source,
        writer_epoch=provenance.writer_epoch,
        first_index=provenance.first_index,
        samples=provenance.samples,
        t_ns=provenance.t_ns,
        rate_hz=provenance.rate_hz,
        rule=provenance.rule,
        replayed=provenance.replayed,
    )


def anomaly_message(anomaly: Anomaly) -> edge_pb2.EdgeAnomaly:
    return edge_pb2.EdgeAnomaly(
        provenance=provenance_message(anomaly.provenance),
        channel=anomaly.channel,
        measure=anomaly.measure,
        value=anomaly.value,
        expected=anomaly.expected,
        score=anomaly.score,
        severity=edge_pb2.EdgeSeverity.ValueType(anomaly.severity),
        confidence=anomaly.confidence,
        suppressed=anomaly.suppressed,
    )


def features_message(batch: FeatureBatch, provenance: Provenance) -> edge_pb2.EdgeFeatures:
    """One value per channel; the matrices row after row."""
    return edge_pb2.EdgeFeatures(
        provenance=provenance_message(provenance),
        rms=batch.rms.tolist(),
        peak_to_peak=batch.peak_to_peak.tolist(),
        crest=batch.crest.tolist(),
        kurtosis=batch.kurtosis.tolist(),
        velocity_rms_mm_s=batch.velocity_rms_mm_s.tolist(),
        band_energy=batch.band_energy.ravel().tolist(),
        envelope_score=batch.envelope_score.ravel().tolist(),
    )


def heartbeat_message(beat: Heartbeat, source: str) -> edge_pb2.EdgeHeartbeat:
    return edge_pb2.EdgeHeartbeat(
        source=source,
        t_ns=beat.t_ns,
        state=beat.state,
        coverage=beat.coverage,
        windows=beat.windows,
        anomalies=beat.anomalies,
        suppressed=beat.suppressed,
        bad_channels=beat.bad_channels,
    )

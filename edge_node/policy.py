"""What a finding may do to the plant. Pure: no clock, no I/O.

Rule owned: only samples of a live machine act. What was replayed or made up only ever warns, whatever the configuration
says of its severity, unless a synthetic source was declared to stand for a machine; a replay never does. A finding that
is not confident enough at most warns.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_node.findings import Anomaly


class Action(StrEnum):
    """From the mildest to the gravest. LOG: the sink only. WARN: people see it at the coordinator. CLOSE: the zones
    grant nothing new until an operator opens them. STOP: a latched stop of the zone's stop group.
    """

    LOG = "log"
    WARN = "warn"
    CLOSE = "close"
    STOP = "stop"


ACTS = frozenset({Action.CLOSE, Action.STOP})


def permitted(wanted: Action, anomaly: Anomaly, confidence_min: float) -> Action:
    """What is left of the action that the configuration wants for this severity."""
    if wanted not in ACTS:
        return wanted
    if anomaly.provenance.replayed or anomaly.confidence < confidence_min:
        return Action.WARN
    return wanted

"""The words that order an incident, and what is said of wrong ones."""

from __future__ import annotations

import pytest
from zonelock_sim.incidents import Incident, IncidentError, IncidentKind, check_incidents, parse_incident


@pytest.mark.parametrize(
    ("text", "incident"),
    [
        ("stall:AGV_03@Z_32+10s", Incident(IncidentKind.STALL, "AGV_03", "Z_32", delay_ms=10_000)),
        ("vanish:AGV_05+20s", Incident(IncidentKind.VANISH, "AGV_05", delay_ms=20_000)),
        ("overstay:AGV_02@Z_32", Incident(IncidentKind.OVERSTAY, "AGV_02", "Z_32")),
        ("STALL:AGV_1/1.5s", Incident(IncidentKind.STALL, "AGV_1", duration_ms=1_500)),
        ("late:AGV_01", Incident(IncidentKind.LATE, "AGV_01", late_ms=500)),
        (
            " late:AGV_01+5s~800ms/1m ",
            Incident(IncidentKind.LATE, "AGV_01", delay_ms=5_000, late_ms=800, duration_ms=60_000),
        ),
    ],
)
def test_reads_an_incident_and_writes_it_back(text: str, incident: Incident) -> None:
    assert parse_incident(text) == incident
    assert parse_incident(str(incident)) == incident


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stall", "no ':' after the kind"),
        ("explode:AGV_01", "kind 'explode' is none of stall, vanish, overstay, late"),
        ("stall:", "the agent is missing"),
        ("stall:@Z_32", "the agent is missing"),
        ("stall:AGV_01@+3s", "the zone after '@' is missing"),
        ("stall:AGV_01+3", "delay '3' needs a number and ms, s or m"),
        ("stall:AGV_01+-3s", "needs a number"),
        ("stall:AGV_01+3s+4s", "given twice"),
        ("stall:AGV_01~800ms", "only 'late' has"),
        ("vanish:AGV_01/3s", "takes no '/' duration"),
        ("late:AGV_01+2000m", "longer than a day"),
        ("", "no ':'"),
    ],
)
def test_refuses_bad_text_by_field_value_and_remedy(text: str, said: str) -> None:
    with pytest.raises(IncidentError) as caught:
        parse_incident(text)
    assert said in str(caught.value)
    assert repr(text) in str(caught.value)


def test_refuses_an_agent_or_a_zone_that_the_run_does_not_have() -> None:
    agents, zones = ["AGV_01", "AGV_02"], ["Z_32"]
    check_incidents([parse_incident("stall:AGV_01@Z_32")], agents, zones)
    with pytest.raises(IncidentError, match=r"no agent 'AGV_09' in this run; it has AGV_01, AGV_02"):
        check_incidents([parse_incident("stall:AGV_09")], agents, zones)
    with pytest.raises(IncidentError, match=r"no zone 'Z_99'; it has Z_32"):
        check_incidents([parse_incident("stall:AGV_01@Z_99")], agents, zones)

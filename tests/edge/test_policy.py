from __future__ import annotations

import pytest
from edge.findings import anomaly
from hypothesis import given
from hypothesis import strategies as st

from edge_node.policy import ACTS, Action, permitted


@given(
    wanted=st.sampled_from(Action),
    confidence=st.floats(0, 1),
    least=st.floats(0, 1),
    replayed=st.booleans(),
)
def test_only_a_confident_finding_of_live_samples_acts(
    wanted: Action, confidence: float, least: float, replayed: bool
) -> None:
    done = permitted(wanted, anomaly(confidence=confidence, replayed=replayed), least)
    if done in ACTS:
        assert done is wanted and not replayed and confidence >= least
    if wanted not in ACTS:
        assert done is wanted


@pytest.mark.parametrize("wanted", sorted(ACTS))
def test_what_may_not_act_still_warns(wanted: Action) -> None:
    assert permitted(wanted, anomaly(replayed=True), 0.0) is Action.WARN
    assert permitted(wanted, anomaly(confidence=0.1), 0.5) is Action.WARN
    assert permitted(wanted, anomaly(), 0.5) is wanted

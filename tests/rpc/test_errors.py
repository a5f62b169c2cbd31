from __future__ import annotations

import re

import grpc
import pytest
from google.rpc import error_details_pb2
from hypothesis import example, given
from hypothesis import strategies as st
from zonelock.v1 import floor_pb2 as fpb
from zonelock.v1 import zone_service_pb2 as zpb

from coordinator.core import effects as fx
from coordinator.core.model import BlockCause, StopCause, UnitState, ZoneState
from coordinator.core.rejections import REFUSALS, Code, Refusal, Rejection
from coordinator.rpc import picture, requests, translate
from coordinator.rpc.errors import DOMAIN, RequestRefused, problem, problem_of
from coordinator.runtime import NotLeading

MAX_TRAILER_BYTES = 8_192
"""What gRPC clients read of metadata by default."""


@pytest.mark.parametrize("refusal", Refusal)
def test_every_refusal_becomes_a_status_with_reason_domain_remedy_and_retry(refusal: Refusal) -> None:
    entry = REFUSALS[refusal]
    trouble = problem(refusal, "zones: empty", (("field", "zones"),))
    status = trouble.status()
    assert trouble.status_code is grpc.StatusCode[entry.code.value]
    assert status.code == trouble.status_code.value[0]
    assert status.message == f"zones: empty. {entry.remedy}"
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain) == (refusal.value, DOMAIN)
    assert dict(info.metadata) == {"remedy": entry.remedy, "field": "zones"}
    retry = error_details_pb2.RetryInfo()
    if entry.retry_ms:
        assert status.details[1].Unpack(retry)
        assert retry.retry_delay.ToMilliseconds() == entry.retry_ms
    else:
        assert len(status.details) == 1


@pytest.mark.parametrize("refusal", Refusal)
def test_a_failed_answer_on_a_stream_says_the_same_as_a_status_would(refusal: Refusal) -> None:
    failed = fx.Failed(refusal, "what was wrong", (("zone", "A"),))
    message = translate.failed_message(translate.problem_of_failed(failed))
    trouble = problem(refusal, "what was wrong", (("zone", "A"),))
    assert (message.code, message.reason, message.message, message.retry_ms) == (
        trouble.code,
        trouble.reason,
        trouble.message,
        trouble.retry_ms,
    )
    assert dict(message.metadata) == dict(trouble.metadata)


@pytest.mark.parametrize("code", Code)
def test_every_code_of_the_table_is_a_grpc_status_code(code: Code) -> None:
    assert grpc.StatusCode[code.value]


def names_of(enum: object, prefix: str) -> set[str]:
    return {name.removeprefix(f"{prefix}_") for name in list(enum.keys())} - {"UNSPECIFIED"}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("enum", "prefix", "members"),
    [
        (zpb.RejectReason, "REJECT_REASON", {r.value for r in Rejection}),
        (fpb.ZoneState, "ZONE_STATE", {s.value for s in ZoneState}),
        (fpb.SlotState, "SLOT_STATE", {s.value for s in UnitState}),
        (fpb.BlockCause, "BLOCK_CAUSE", {c.value for c in BlockCause} - {""}),
        (fpb.StopCause, "STOP_CAUSE", {c.value for c in StopCause}),
        (fpb.LinkState, "LINK_STATE", set(picture.LINK_STATES)),
        (fpb.BlockerKind, "BLOCKER_KIND", set(translate.BLOCKER_KINDS)),
    ],
)
def test_the_protocol_s_enums_and_the_core_s_have_the_same_names(enum: object, prefix: str, members: set[str]) -> None:
    assert names_of(enum, prefix) == members


def test_every_abandon_cause_of_the_protocol_has_a_meaning() -> None:
    values = {zpb.AbandonCause.Value(f"ABANDON_CAUSE_{n}") for n in names_of(zpb.AbandonCause, "ABANDON_CAUSE")}
    assert set(requests.BLOCKS) == values


def test_every_kind_of_operation_of_the_protocol_is_understood() -> None:
    kinds = {field.name for field in zpb.Operation.DESCRIPTOR.oneofs_by_name["kind"].fields}
    assert set(requests._OPERATIONS) == kinds


def test_the_runtime_s_refusals_are_told_from_bugs() -> None:
    trouble = problem_of(NotLeading("stands by"))
    assert trouble is not None
    assert trouble.reason == "NOT_LEADER"
    assert problem_of(RequestRefused(Refusal.BAD_FIELD, "x")) is not None
    assert problem_of(ValueError("x")) is None


def test_a_remedy_is_not_said_twice_and_every_one_ends_a_sentence() -> None:
    for refusal, entry in REFUSALS.items():
        assert problem(refusal, f"It is so. {entry.remedy}").message.count(entry.remedy) == 1
        assert re.search(r"[.)]$", entry.remedy), refusal


@given(
    refusal=st.sampled_from(Refusal),
    message=st.text(max_size=5_000),
    metadata=st.lists(st.tuples(st.text(max_size=500), st.text(max_size=5_000)), max_size=20),
)
@example(
    Refusal.OCCUPANT_UNCONFIRMED, "\U0001f916" * 5_000, [("\U0001f916" * i, "\U0001f916" * 500) for i in range(90, 99)]
)
def test_no_error_outgrows_the_trailer_that_carries_it(
    refusal: Refusal, message: str, metadata: list[tuple[str, str]]
) -> None:
    trouble = problem(refusal, message, metadata)
    base64_bytes = len(trouble.status().SerializeToString()) * 4 // 3
    percent_encoded = sum(1 if 32 <= b < 127 else 3 for b in trouble.message.encode())
    assert base64_bytes + percent_encoded < MAX_TRAILER_BYTES
    assert trouble.message.endswith(REFUSALS[refusal].remedy)
    assert dict(trouble.metadata)["remedy"] == REFUSALS[refusal].remedy

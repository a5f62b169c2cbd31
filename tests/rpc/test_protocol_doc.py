"""Holds docs/protocol.md to the code: its tables of errors, rejections and limits say what is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from zonelock.v1 import zone_service_pb2 as zpb

from coordinator.core.model import MAX_PRIORITY, MAX_ZONES_PER_ASK, Timing
from coordinator.core.rejections import REFUSALS, Rejection
from coordinator.rpc import limits as bounds
from coordinator.rpc.limits import RpcLimits

DOC = (Path(__file__).resolve().parents[2] / "docs" / "protocol.md").read_text("utf-8")


def row(first: str) -> str:
    found = re.search(rf"^\| {re.escape(first)} \|(.*)$", DOC, re.MULTILINE)
    assert found, f"docs/protocol.md has no row for {first}"
    return found.group(1)


@pytest.mark.parametrize("refusal", REFUSALS)
def test_the_error_table_says_what_the_code_s_table_says(refusal: str) -> None:
    entry = REFUSALS[refusal]  # type: ignore[index]
    retry = f"{entry.retry_ms:,} ms" if entry.retry_ms else ""
    assert row(f"`{refusal}`") == f" {entry.code.value} | {entry.meaning} {entry.remedy} | {retry} |".replace(
        "|  |", "| |"
    )


def test_no_error_is_documented_that_does_not_exist() -> None:
    documented = re.findall(r"^\| `([A-Z_]+)` \| [A-Z_]+ \|", DOC, re.MULTILINE)
    assert sorted(documented) == sorted(REFUSALS)


@pytest.mark.parametrize("rejection", Rejection)
def test_every_rejection_is_documented(rejection: Rejection) -> None:
    assert row(f"`{rejection.value}`").strip(" |")


@pytest.mark.parametrize("kind", [f.name for f in zpb.Operation.DESCRIPTOR.oneofs_by_name["kind"].fields])
def test_every_operation_has_its_row(kind: str) -> None:
    assert row(f"`{''.join(word.capitalize() for word in kind.split('_'))}`")


@pytest.mark.parametrize("kind", [f.name for f in zpb.Answer.DESCRIPTOR.oneofs_by_name["kind"].fields])
def test_every_answer_is_spoken_of(kind: str) -> None:
    assert f"`{''.join(word.capitalize() for word in kind.split('_'))}`" in DOC


LIMITS = RpcLimits()


@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("operations in a frame", LIMITS.operations_per_frame),
        ("bytes of a client frame", LIMITS.frame_bytes),
        ("zones in an ask", MAX_ZONES_PER_ASK),
        ("names or tokens in one list", bounds.MAX_NAMES),
        ("names in `ListZones`, `ClearZones`, `CloseZones`, `OpenZones`", bounds.MAX_CLEARED_NAMES),
        ("ids (agent, request, stop, kind)", bounds.MAX_ID_CHARS),
        ("zone and area names", bounds.MAX_NAME_CHARS),
        ("operator, reason, activity", bounds.MAX_TEXT_CHARS),
        ("`x_mm`, `y_mm`", bounds.MAX_COORDINATE_MM),
        ("`heading_mdeg`", bounds.MAX_HEADING_MDEG),
        ("answers you have not read", LIMITS.unread_answers),
        ("answers you have not read", LIMITS.unread_bytes),
        ("a write that your window holds up", LIMITS.write_stall_ms),
        ("operations on a stream not yet committed", LIMITS.uncommitted_operations),
        ("`Acquire.wait_ms`", LIMITS.acquire_wait_ms),
        ("watches at one coordinator", LIMITS.watchers),
    ],
)
def test_the_table_of_limits_names_the_bounds_of_the_code(what: str, value: int) -> None:
    assert f"{value:,}" in row(what)


def test_numbers_in_the_text_are_the_defaults_of_the_code() -> None:
    timing = Timing()
    assert timing.remembered_requests_max == 64 and "the last 64 are remembered" in DOC
    assert timing.telemetry_fresh_ms == 2_000 and "no older than 2 s" in DOC
    assert timing.warn_permille == 800 and "four fifths" in DOC
    assert MAX_PRIORITY == 9 and "`priority` 0 to 9" in DOC
    assert f"heartbeat_ms: {timing.heartbeat_ms}, suspend_ms: {timing.suspend_ms}, lost_ms: {timing.lost_ms}" in DOC
    assert 5_000_000 + 8_000 * (1_000_000 - timing.rho_ppm) // 1_000_000 - 200 == 5_007_720
    assert "5,007,720 ms" in DOC

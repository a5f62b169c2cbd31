"""Arguments checked before anything is sent. Each error names the field, the value and what would be right.

The bounds are the protocol's (zone_service.proto). Imports the protocol's messages and
the errors only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from zonelock.v1 import zone_service_pb2 as pb

from zonelock_client.errors import ArgumentError

MAX_ZONES = 32
MAX_CLAIM_ZONES = 2_000
MAX_INSIDE = 1_024
MAX_PRIORITY = 9
MAX_NAME_CHARS = 128
MAX_ID_CHARS = 64
MAX_STOP_MS = 60_000
MAX_TEXT_CHARS = 200
MAX_COORDINATE_MM = 1_000_000_000
MAX_HEADING_MDEG = 360_000
MAX_DURATION_MS = 86_400_000
MAX_TOKEN = 2**63 - 1
SECRET_BYTES = range(16, 65)

_IDENTIFIER = re.compile(rf"[A-Za-z0-9_.:-]{{1,{MAX_ID_CHARS}}}")


def name(field: str, value: str) -> str:
    if not 1 <= len(value) <= MAX_NAME_CHARS:
        raise ArgumentError(f"{field}={value!r} must be a string of 1 to {MAX_NAME_CHARS} characters")
    return value


def identifier(field: str, value: str) -> str:
    if not _IDENTIFIER.fullmatch(value):
        raise ArgumentError(
            f"{field}={value!r} must have 1 to {MAX_ID_CHARS} characters, of A-Z a-z 0-9 _ . : - only, such as AGV_07"
        )
    return value


def zone_names(field: str, values: Iterable[str], *, least: int = 0, most: int = MAX_ZONES) -> tuple[str, ...]:
    if isinstance(values, str):
        raise ArgumentError(f"{field}={values!r} is one string; give a sequence of zone names, such as [{values!r}]")
    zones = tuple(name(field, value) for value in values)
    if not least <= len(zones) <= most:
        raise ArgumentError(f"{field} names {len(zones)} zones; name {least} to {most}, and split longer routes")
    repeated = sorted({zone for zone in zones if zones.count(zone) > 1}) if len(set(zones)) < len(zones) else []
    if repeated:
        raise ArgumentError(f"{field} names {', '.join(repeated)} more than once; name each zone once")
    return zones


def route(values: Iterable[str]) -> tuple[str, ...]:
    """The zones of a claim; one entered twice stands twice."""
    zones = tuple(name("zones", value) for value in values)
    if len(zones) > MAX_CLAIM_ZONES:
        raise ArgumentError(
            f"zones names {len(zones)} zones; a claim has at most {MAX_CLAIM_ZONES}, claim the next part"
        )
    return zones


def whole(field: str, value: int, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ArgumentError(f"{field}={value!r} must be a whole number from {least} to {most}")
    return value


def expected_ms(value: int, stop_ms: int) -> int:
    """A hold must leave time to move: its D lies `stop_ms` before the end of `expected_ms`."""
    whole("expected_ms", value, 1, MAX_DURATION_MS)
    if value <= stop_ms:
        raise ArgumentError(
            f"expected_ms={value} leaves no time to move: the machine needs stop_ms={stop_ms} of it to stand still; "
            f"expect more than {stop_ms} ms"
        )
    return value


def seconds(field: str, value: float | None) -> float | None:
    if value is not None and not 0 < value < float("inf"):
        raise ArgumentError(f"{field}={value!r} must be a positive number of seconds, or None to wait without end")
    return value


def secret(value: bytes) -> bytes:
    if len(value) not in SECRET_BYTES:
        raise ArgumentError(
            f"session_secret must be {SECRET_BYTES.start} to {SECRET_BYTES.stop - 1} random bytes; "
            "leave it out to have one made, and keep agent.session_secret to resume after a restart"
        )
    return value


def targets(value: str) -> tuple[str, ...]:
    """ "host:7600,host2:7600" as a tuple of at least one target."""
    parts = tuple(part.strip() for part in value.split(","))
    if not parts or not all(part and " " not in part for part in parts):
        raise ArgumentError(f"target={value!r} must be host:port, or several separated by commas: host:7600,host2:7600")
    return parts


def telemetry(
    x_mm: int | None,
    y_mm: int | None,
    heading_mdeg: int,
    inside: Iterable[str] | None,
    progress_permille: int,
    activity: str,
) -> pb.Telemetry:
    """A report within the protocol's bounds. Activity is for people: cut and made printable rather than refused."""
    if (x_mm is None) != (y_mm is None):
        raise ArgumentError(f"x_mm={x_mm!r}, y_mm={y_mm!r}: give both or none")
    words = "".join(c if c.isprintable() else " " for c in activity[:MAX_TEXT_CHARS])
    return pb.Telemetry(
        has_position=x_mm is not None,
        x_mm=whole("x_mm", x_mm or 0, -MAX_COORDINATE_MM, MAX_COORDINATE_MM),
        y_mm=whole("y_mm", y_mm or 0, -MAX_COORDINATE_MM, MAX_COORDINATE_MM),
        heading_mdeg=whole("heading_mdeg", heading_mdeg, -MAX_HEADING_MDEG, MAX_HEADING_MDEG),
        inside_zones=zone_names("inside", inside or (), most=MAX_INSIDE),
        inside_known=inside is not None,
        progress_permille=whole("progress_permille", progress_permille, 0, 1_000),
        activity=words,
    )

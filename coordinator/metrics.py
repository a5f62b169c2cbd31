"""A coordinator's numbers as Prometheus families, and the table of them: name, kind, labels, meaning.

Rules: prefix `zonelock_`, base units, counters end in `_total`; a label takes its values from an enumeration of the
code, all of them exported from the start, and never an agent's, a zone's or a session's name. `docs/operations.md`
holds the same table, and a test compares the two with what a running process exports.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Protocol

from prometheus_client import ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from coordinator import compiled
from coordinator.core import effects as fx
from coordinator.core.model import StopCause, ZoneState
from coordinator.core.rejections import Refusal, Rejection
from coordinator.observe import Observation, Spread

FRESH_S = 0.1
"""How long one text serves every scraper; making it takes a few milliseconds."""

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"


class Tally(Protocol):
    """What is read of the gRPC server's counts (`coordinator.rpc.errors.Tally`)."""

    frames_in: int
    frames_out: int
    slow_readers: int
    internal_errors: int
    refusals: dict[str, int]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `read` gives the value, or a value for each value of the label, or a Spread."""

    name: str
    kind: str
    label: str
    meaning: str
    read: Callable[[Observation, Tally], float | Mapping[str, float] | Spread]


CERTIFICATE_USES = ("etcd", "grpc")
ENDINGS = {"released": fx.Released, "abandoned": fx.Abandoned, "expired": fx.Expired, "revoked": fx.Revoked}


def _refusals(o: Observation, t: Tally) -> dict[str, float]:
    return {r.value: t.refusals.get(r.value, 0) + o.failures[r.value] for r in Refusal}


def _tick_age_s(o: Observation, _: Tally) -> float:
    age_ms = None if o.runtime is None else o.runtime.tick_age_ms()
    return -1.0 if age_ms is None else age_ms / 1000


def _waiting(o: Observation) -> int:
    machine = o.machine()
    return 0 if machine is None else len(machine.queue)


def _live_grants(o: Observation) -> int:
    machine = o.machine()
    return 0 if machine is None else len(machine.grants)


@functools.cache
def _version() -> str:
    try:
        return version("zonelock")
    except PackageNotFoundError:
        return "unknown"


def _core() -> dict[str, float]:
    return {core: float(core == compiled.in_use()) for core in (compiled.COMPILED, compiled.PYTHON)}


TABLE: tuple[Row, ...] = (
    Row("build_info", GAUGE, "version", "1, with the version that runs.", lambda o, t: {_version(): 1}),
    Row("core_info", GAUGE, "core", "1 for the core that runs, compiled or Python.", lambda o, t: _core()),
    Row("is_leader", GAUGE, "", "1 while this coordinator leads and its store commits.", lambda o, t: _leads(o)),
    Row("leader_epoch", GAUGE, "", "The fence of this coordinator's last lead; 0 before it.", lambda o, t: _epoch(o)),
    Row("takeovers_total", COUNTER, "", "Times that this coordinator was given the lead.", lambda o, t: o.takeovers),
    Row(
        "tick_age_seconds",
        GAUGE,
        "",
        "Since the last commit that proved the lead began; -1 on a standby.",
        _tick_age_s,
    ),
    Row("grants_total", COUNTER, "", "Grants given.", lambda o, t: o.answers[fx.Granted]),
    Row("grants_live", GAUGE, "", "Grants that run now.", lambda o, t: _live_grants(o)),
    Row(
        "grants_ended_total",
        COUNTER,
        "how",
        "Grants that ended, by how.",
        lambda o, t: {how: o.answers[kind] for how, kind in ENDINGS.items()},
    ),
    Row("extensions_total", COUNTER, "", "Extensions given.", lambda o, t: o.answers[fx.Extended]),
    Row(
        "rejections_total",
        COUNTER,
        "reason",
        "Asks that the floor said no to, by reason.",
        lambda o, t: {r.value: o.rejections[r.value] for r in Rejection},
    ),
    Row("refusals_total", COUNTER, "reason", "Calls and operations refused as wrong, by reason.", _refusals),
    Row("queue_length", GAUGE, "", "Asks that wait now.", lambda o, t: _waiting(o)),
    Row("wait_seconds", HISTOGRAM, "", "From queued to granted, of asks that had to wait.", lambda o, t: o.wait),
    Row("decision_seconds", HISTOGRAM, "", "The core's time for one ask.", lambda o, t: o.decision),
    Row(
        "commit_seconds",
        HISTOGRAM,
        "",
        "Until a transaction with writes is durable, repeats included.",
        lambda o, t: o.commit,
    ),
    Row("tick_seconds", HISTOGRAM, "", "A transaction without writes, likewise.", lambda o, t: o.tick),
    Row("commit_writes", HISTOGRAM, "", "Writes in one transaction.", lambda o, t: o.batch),
    Row("stops_active", GAUGE, "", "Stops that are active now.", lambda o, t: o.stops_active()),
    Row("stops_pending", GAUGE, "", "Stops that left and are not known to be durable.", lambda o, t: _pending(o)),
    Row(
        "stops_raised_total",
        COUNTER,
        "cause",
        "Stops that this coordinator raised or learnt of, by cause.",
        lambda o, t: {c.value: o.stops_raised[c.value] for c in StopCause},
    ),
    Row(
        "stop_emission_seconds",
        HISTOGRAM,
        "",
        "From the event that decided a stop to its hand-over to every stream.",
        lambda o, t: o.emission,
    ),
    Row(
        "stop_ack_alarms_total",
        COUNTER,
        "",
        "Alarms because connected agents did not acknowledge a stop in time.",
        lambda o, t: o.ack_alarms,
    ),
    Row(
        "stop_unacknowledged_agents",
        GAUGE,
        "",
        "Connected agents that owe the acknowledgement of an active stop for too long.",
        lambda o, t: o.unacknowledged,
    ),
    Row("alarms_total", COUNTER, "", "Alarms of every kind; the log has their sentences.", lambda o, t: _alarms(o)),
    Row("sessions", GAUGE, "link", "Agents known, by link.", lambda o, t: o.sessions()),
    Row(
        "zones",
        GAUGE,
        "state",
        "Zones by the state that they are shown in; counted every 5 s or oftener, all 0 on a standby.",
        lambda o, t: {s.value: o.zones.get(s.value, 0) for s in ZoneState},
    ),
    Row(
        "quarantined_events_total",
        COUNTER,
        "",
        "Events that made the core raise and were dropped: each is a bug.",
        lambda o, t: _quarantined(o),
    ),
    Row(
        "internal_errors_total",
        COUNTER,
        "",
        "Calls answered INTERNAL by the gRPC layer: each is a bug.",
        lambda o, t: t.internal_errors,
    ),
    Row(
        "streams_overflowed_total",
        COUNTER,
        "",
        "Streams ended because their client did not read.",
        lambda o, t: t.slow_readers,
    ),
    Row(
        "frames_total",
        COUNTER,
        "direction",
        "Frames on agents' streams.",
        lambda o, t: {"in": t.frames_in, "out": t.frames_out},
    ),
    Row(
        "store_size_bytes",
        GAUGE,
        "",
        "Size of the store: etcd's largest database, or SQLite's file; measured every 5 s.",
        lambda o, t: o.store_bytes,
    ),
    Row(
        "certificate_expiry_timestamp_seconds",
        GAUGE,
        "use",
        "When this coordinator's certificates end, in Unix time; +Inf where it has none.",
        lambda o, t: {use: o.certificates.get(use, math.inf) for use in CERTIFICATE_USES},
    ),
    Row("loop_lag_seconds", HISTOGRAM, "", "How late a 100 ms timer comes on the event loop.", lambda o, t: o.lag),
    Row("gc_pause_seconds", HISTOGRAM, "", "Pauses by Python's cyclic garbage collector.", lambda o, t: o.gc_pause),
)


class Metrics(Collector):
    """Exports one coordinator, through no registry that others share: two in one process do not mix."""

    def __init__(self, observation: Observation, tally: Tally) -> None:
        self._observation, self._tally = observation, tally
        self._process = ProcessCollector(registry=None)
        self._making = asyncio.Lock()
        self._made: tuple[float, bytes] = (-math.inf, b"")

    async def exposition(self) -> tuple[bytes, str]:
        """The text and its content type. However many scrape, it is made once in a while."""
        async with self._making:
            loop = asyncio.get_running_loop()
            if loop.time() - self._made[0] >= FRESH_S:
                self._made = (loop.time(), await self._text())
            return self._made[1], CONTENT_TYPE_PLAIN_0_0_4

    async def _text(self) -> bytes:
        """Family by family, so that a scrape never holds the event loop for long."""
        parts = []
        for family in itertools.chain(self.collect(), self._process.collect()):
            parts.append(generate_latest(_One(family)))
            await asyncio.sleep(0)
        return b"".join(parts)

    def collect(self) -> Iterator[Metric]:
        for row in TABLE:
            yield _family(row, row.read(self._observation, self._tally))


class _One(Collector):
    """One family, for the formatter."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterator[Metric]:
        yield self._family


def _family(row: Row, value: float | Mapping[str, float] | Spread) -> Metric:
    name = f"zonelock_{row.name}"
    if isinstance(value, Spread):
        return HistogramMetricFamily(name, row.meaning, buckets=_cumulated(value), sum_value=value.total)
    family = CounterMetricFamily if row.kind == COUNTER else GaugeMetricFamily
    if not isinstance(value, Mapping):
        return family(name, row.meaning, value=value)
    made = family(name, row.meaning, labels=[row.label])
    for label, number in value.items():
        made.add_metric([label], number)
    return made


def _cumulated(spread: Spread) -> list[tuple[str, float]]:
    buckets, so_far = [], 0
    for bound, count in zip((*spread.bounds, float("inf")), spread.counts, strict=True):
        so_far += count
        buckets.append(("+Inf" if bound == float("inf") else repr(bound), float(so_far)))
    return buckets


def _leads(o: Observation) -> int:
    return int(o.runtime is not None and o.runtime.leading)


def _epoch(o: Observation) -> int:
    return 0 if o.runtime is None else o.runtime.epoch


def _pending(o: Observation) -> int:
    return 0 if o.runtime is None else len(o.runtime.safeguards.stops_in_flight())


def _alarms(o: Observation) -> int:
    return 0 if o.runtime is None else o.runtime.safeguards.alarms_raised


def _quarantined(o: Observation) -> int:
    return 0 if o.runtime is None else o.runtime.safeguards.quarantined

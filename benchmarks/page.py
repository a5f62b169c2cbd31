"""Puts measured figures into docs/performance.md: `python -m benchmarks.page FOLDER`.

FOLDER is what `make bench ARGS="--out FOLDER"` has written. Each part of the page between `<!-- measured: NAME -->` and
`<!-- end -->` is written from FOLDER/NAME.json, `goals` from all of them; charts go to docs/performance/. What FOLDER
has no file for stays as it is.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.charts import Chart, Span, Spans
from benchmarks.goals import GOALS

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "performance.md"
CHARTS = ROOT / "docs" / "performance"
PART = re.compile(r"(<!-- measured: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

Figures = Mapping[str, float]
Document = dict[str, dict[str, Any]]

FALLS = {
    "sigkill": "killed (SIGKILL)",
    "sigterm": "told to end (SIGTERM)",
    "sigstop": "frozen (SIGSTOP)",
    "cut_off": "cut off from etcd, one way",
    "etcd_election": "election on etcd with a lease of 2 s, killed",
}
SHORT = {"etcd_election": "etcd election, lease of 2 s"}
"""In charts, where there is less room."""
CONTENDERS = {
    "fleet_frames": "zonelock, fleet stream",
    "agent_streams": "zonelock, a stream an agent",
    "etcd_lock": "etcd Lock",
    "kazoo_lock": "kazoo Lock on ZooKeeper",
    "etcd_put": "two bare etcd puts",
    "grpc_echo": "two bare gRPC echoes",
}


def where(document: Document) -> str:
    """The line that says where, when and with what."""
    machine, versions = document["machine"], document["versions"]
    parts = [
        f"{machine['measured_at'][:10]}, {machine['cores']} cores ({machine['processor']}), Linux {machine['kernel']}",
        f"load average {machine['load_average_1_min']:.1f}",
        *(
            f"{name} {versions[name]}"
            for name in ("python", "core", "grpcio", "protobuf", "uvloop", "etcd")
            if name in versions
        ),
        f"rounds: {document['figures']['rounds']}",
    ]
    return f"*{'; '.join(parts)}*\n"


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---", *["---:"] * (len(head) - 1)], *rows)]
    return "\n".join(lines) + "\n"


def number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:,.1f}" if value >= 10 else f"{value:.2f}"


def count(number_of: int, noun: str) -> str:
    return f"{number_of:,} {noun}{'' if number_of == 1 else 's'}"


def sizes_of(figures: Figures, start: str, end: str) -> list[int]:
    """The numbers N for which there is a figure `<start>_N_<end>`."""
    found = (re.fullmatch(rf"{start}_(\d+)_{end}", key) for key in figures)
    return sorted(int(match[1]) for match in found if match)


def locks(document: Document) -> str:
    figures = document["figures"]
    sizes = sizes_of(figures, "fleet_frames", "pairs_per_s")
    parts = [where(document)]
    for what, title, chart in (
        ("pairs_per_s", "pairs of acquire and release a second", "locks-rate"),
        ("acquire_p50_ms", "median time of an acquire, ms", ""),
        ("acquire_p99_ms", "99th percentile of an acquire, ms", "locks-p99"),
    ):
        rows = []
        lines: dict[str, list[tuple[float, float]]] = {}
        for key, name in CONTENDERS.items():
            values = [figures.get(f"{key}_{size}_{what}") for size in sizes]
            if any(value is not None for value in values):
                rows.append([name, *(number(value) for value in values)])
                lines[name] = [(s, v) for s, v in zip(sizes, values, strict=True) if v is not None]
        parts.append(table([title, *(count(size, "agent") for size in sizes)], rows))
        if chart:
            parts.append(drawn(chart, Chart(title, "agents", "", lines)))
    return "\n".join(parts)


def stops(document: Document) -> str:
    figures = document["figures"]
    counts = sizes_of(figures, "operator", "idle_last_p50_ms")
    names = {"operator": "operator's stop", "deadline": "missed deadline", "bare_fan_out": "bare fan-out"}
    rows, lines = [], {}
    for mood in ("idle", "loaded"):
        for key, name in names.items():
            medians = [figures[f"{key}_{count}_{mood}_last_p50_ms"] for count in counts]
            highs = [figures[f"{key}_{count}_{mood}_last_p99_ms"] for count in counts]
            cm = [figures.get(f"{key}_{count}_{mood}_last_p50_cm_at_2500_mm_s") for count in counts]
            cells = [
                f"{number(m)} / {number(h)}" + (f" ({number(c)} cm)" if c is not None else "")
                for m, h, c in zip(medians, highs, cm, strict=True)
            ]
            rows.append([f"{name}, {mood}", *cells])
            lines[f"{name}, {mood}"] = list(zip(map(float, counts), medians, strict=True))
    title = "to the last receiver, ms"
    head = [f"{title}: p50 / p99 (p50 at 2.5 m/s)", *(f"{count:,} receivers" for count in counts)]
    return "\n".join([where(document), table(head, rows), drawn("stops", Chart(title, "receivers", "", lines))])


def wide(document: Document) -> str:
    figures = document["figures"]
    sets = sizes_of(figures, "fleet_frames_of", "zones_pairs_per_s")
    rows, lines = [], {}
    for key, name in (
        ("fleet_frames", "zonelock, fleet stream"),
        ("agent_streams", "zonelock, a stream an agent"),
        ("etcd_locks", "etcd Locks in turn"),
    ):
        for what, unit in (("pairs_per_s", "sets/s"), ("acquire_p50_ms", "p50 ms")):
            rows.append([f"{name}, {unit}", *(number(figures[f"{key}_of_{s}_zones_{what}"]) for s in sets)])
        lines[name] = [(float(s), figures[f"{key}_of_{s}_zones_pairs_per_s"]) for s in sets]
    head = ["16 agents", *(count(s, "zone") for s in sets)]
    chart = Chart("sets of zones a second, 16 agents", "zones in a set", "", lines)
    return "\n".join([where(document), table(head, rows), drawn("wide", chart)])


def contended(document: Document) -> str:
    figures = document["figures"]
    rows = [
        [name, *(number(figures[f"{key}_{what}"]) for key in ("zonelock", "etcd_lock"))]
        for what, name in (
            ("hand_over_p50_ms", "hand-over, median, ms"),
            ("hand_over_p99_ms", "hand-over, p99, ms"),
            ("grants", "grants in the window"),
            ("out_of_order_percent", "grants out of order of asking, %"),
            ("most_over_fewest_grants", "grants of the luckiest agent over the unluckiest's"),
        )
    ]
    spans = [
        Span(name, {what: figures[f"{key}_hand_over_{what}_ms"] for what in ("p50", "p99")}, peer=key != "zonelock")
        for key, name in (("zonelock", "zonelock"), ("etcd_lock", "etcd Lock"))
    ]
    head = ["32 agents, one zone", "zonelock", "etcd Lock"]
    chart = Spans("hand-over of one zone among 32 agents", "ms", spans)
    return "\n".join([where(document), table(head, rows), drawn("contended", chart)])


def soak(document: Document) -> str:
    figures = document["figures"]
    rows = [
        [key.replace("_", " "), number(value)]
        for key, value in figures.items()
        if key != "rounds" and not re.search(r"_at_\d+_percent_", key)
    ]
    parts = [where(document), table(["1,000 agents, 10,000 zones", ""], rows)]
    shares = sizes_of(figures, "resident_at", "percent_mb")
    if shares:
        memory = bound_of("resident_most_over_after_warm_up") * figures["resident_after_warm_up_mb"]
        pause = bound_of("worst_loop_pause_ms")
        lines = {
            name: [(float(share), figures[key.format(share)]) for share in shares]
            for key, name in (
                ("resident_at_{}_percent_mb", "resident memory, MB"),
                ("store_at_{}_percent_mb", "etcd's file, MB"),
                ("worst_loop_pause_at_{}_percent_ms", "worst pause of each tenth, ms"),
            )
        }
        bounds = {f"memory: at most {memory:.0f} MB": memory, f"pause: at most {pause:g} ms": pause}
        title, x_name = "memory, store and pauses over the run", "% of the grants; the first 20 are the warm-up"
        parts.append(drawn("soak", Chart(title, x_name, "", lines, bounds, even=True)))
    return "\n".join(parts)


def scale(document: Document) -> str:
    figures = document["figures"]
    sizes = sizes_of(figures, "coordinator_us_per_grant", "agents")
    rows = [
        [name, *(number(figures[key.format(size)]) for size in sizes)]
        for key, name in (
            ("coordinator_us_per_grant_{}_agents", "coordinator's processor time for a grant and its release, µs"),
            ("{}_agents_pairs_per_s", "pairs a second"),
            ("{}_agents_acquire_p50_ms", "median acquire, ms"),
            ("hello_of_all_{}_agents_ms", "until all have said hello, ms"),
            ("resident_{}_agents_mb", "resident memory, MB"),
        )
    ]
    key = "coordinator_us_per_grant_{}_agents"
    line = [(float(size), figures[key.format(size)]) for size in sizes]
    chart = Chart(
        "coordinator's processor time for a grant, µs", "agents (ten zones each)", "", {"fleet streams": line}
    )
    head = ["agents (ten zones each)", *(f"{size:,}" for size in sizes)]
    return "\n".join([where(document), table(head, rows), drawn("scale", chart)])


def failover(document: Document) -> str:
    figures = document["figures"]
    rows, spans = [], []
    for key, name in FALLS.items():
        if f"{key}_gap_p50_ms" in figures:
            judged = [figures.get(f"{key}_{what}") for what in ("history_lines_judged", "violations", "stops")]
            gaps = [number(figures[f"{key}_gap_{what}_ms"]) for what in ("p50", "p99")]
            rows.append([name, *gaps, *("" if each is None else f"{each:,.0f}" for each in judged)])
            spans.append(span(key, SHORT.get(key, name), figures))
    head = ["the leader is", "gap p50, ms", "gap p99, ms", "lines of history judged", "violations", "stops"]
    chart = Spans("gap without a grant when the leader falls", "ms", spans)
    return "\n".join([where(document), table(head, rows), drawn("failover", chart)])


def span(mode: str, name: str, figures: Figures) -> Span:
    """What is known of the mode's gaps, and the goals for them."""
    keys = {what: f"{mode}_gap_{what}_ms" for what in ("least", "p50", "p90", "p99", "most")}
    known = {what: figures[key] for what, key in keys.items() if key in figures}
    bounds = {what: bound_of(key) for what, key in keys.items() if any(goal.key == key for goal in GOALS)}
    return Span(name, known, bounds, peer=mode == "etcd_election")


def bound_of(key: str) -> float:
    """At most how much a goal allows. Raises KeyError when no goal is about it."""
    for goal in GOALS:
        if goal.key == key and goal.at_most is not None:
            return goal.at_most
    raise KeyError(key)


def goals(documents: Mapping[str, Document]) -> str:
    rows = []
    for goal in GOALS:
        value = goal.measured(documents[goal.benchmark]) if goal.benchmark in documents else None
        if value is not None:
            met = "yes" if goal.met(value) else "**no**"
            rows.append([f"`{goal.benchmark}`: {goal.says}", goal.bound(), number(value), met])
    return table(["goal", "bound", "measured", "met"], rows)


WRITERS: dict[str, Callable[[Document], str]] = {
    "locks": locks,
    "wide": wide,
    "contended": contended,
    "stops": stops,
    "soak": soak,
    "scale": scale,
    "failover": failover,
}


def drawn(name: str, chart: Chart | Spans) -> str:
    """The line that shows the chart, which is written."""
    CHARTS.mkdir(exist_ok=True)
    (CHARTS / f"{name}.svg").write_text(chart.svg(), encoding="utf-8")
    return f"![{chart.title}](performance/{name}.svg)\n"


def fill(page: str, documents: Mapping[str, Document]) -> str:
    """The page with every part that there are figures for."""

    def part(match: re.Match[str]) -> str:
        name = match[2]
        if name == "goals" and documents:
            return match[1] + goals(documents) + match[3]
        if name in WRITERS and name in documents:
            return match[1] + WRITERS[name](documents[name]) + match[3]
        return match[0]

    return PART.sub(part, page)


def main(folder: Path) -> None:
    documents = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8"), documents), encoding="utf-8")
    print(f"{PAGE}: {', '.join(documents) or 'nothing'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Charts as SVG, written by hand: nothing to install, and a difference of two runs is a difference of two texts.

`Chart` draws lines, `Spans` distributions. Axes are logarithmic, as costs and sizes here span decades. Each series has
a colour that differs in lightness too, and its name stands at its end. The ground is painted, so that a chart looks the
same on light pages and on dark ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 750, 380
LEFT, RIGHT, TOP, BOTTOM = 70, 200, 44, 50
COLOURS = ("#0b5394", "#d9730d", "#6a329f", "#38761d", "#990000", "#5b6770")
LABEL_GAP = 15
INK = "#222222"
GROUND, GRID = "#ffffff", "#dddddd"
OURS, PEER, BOUND = "#0b5394", "#5b6770", "#990000"
NAMES, VALUES = 220, 130
"""Room beside spans: on the left for what each is of, on the right for its figures."""
ROW = 46
TICK_GAP = 28
"""Two numbers of an axis stand at least so far apart."""
BOUND_GAP = 80
"""What the words of a goal take beside it."""


@dataclass(frozen=True, slots=True)
class Chart:
    """`series`: name to points (x, y), both above 0; points that are not finite are left out. `bounds`: name to a
    height that is drawn across. `even`: x goes by equal steps, for time and shares.
    """

    title: str
    x_name: str
    y_name: str
    series: Mapping[str, Sequence[tuple[float, float]]]
    bounds: Mapping[str, float] = field(default_factory=dict)
    even: bool = False

    def svg(self) -> str:
        points = {n: [(x, y) for x, y in line if y > 0 and math.isfinite(y)] for n, line in self.series.items()}
        points = {name: line for name, line in points.items() if line}
        xs = sorted({x for line in points.values() for x, _ in line})
        ys = [y for line in points.values() for _, y in line] + list(self.bounds.values())
        low, high = _decades(min(ys), max(ys))
        across = _Scale(xs[0], max(xs[-1], xs[0] * 1.01), LEFT, WIDTH - RIGHT, even=self.even)
        up = _Scale(low, high, HEIGHT - BOTTOM, TOP)
        parts = [
            *_begin(HEIGHT),
            _text(LEFT, 22, self.title, size=15, weight="bold"),
            _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, self.x_name, anchor="middle"),
            _text(LEFT - 56, TOP - 10, self.y_name),
        ]
        for tick in _ticks(low, high):
            y = up.place(tick)
            parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{GRID}"/>')
            parts.append(_text(LEFT - 8, y + 4, f"{tick:g}", anchor="end"))
        parts += [_text(across.place(x), HEIGHT - BOTTOM + 18, f"{x:,.0f}", anchor="middle") for x in xs]
        parts += self._lines(points, across, up)
        return "\n".join([*parts, "</svg>", ""])

    def _lines(self, points: Mapping[str, Sequence[tuple[float, float]]], across: _Scale, up: _Scale) -> list[str]:
        parts: list[str] = []
        ends: list[tuple[float, str, str]] = []
        for colour, (name, line) in zip(COLOURS * (1 + len(points) // len(COLOURS)), points.items(), strict=False):
            places = [(across.place(x), up.place(y)) for x, y in line]
            path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
            parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
            ends.append((places[-1][1], name, colour))
        for name, bound in self.bounds.items():
            y = up.place(bound)
            parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{BOUND}" stroke-dasharray="6 4"/>')
            ends.append((y, name, BOUND))
        lowest = -math.inf
        for y, name, colour in sorted(ends):
            lowest = max(y, lowest + LABEL_GAP)
            parts.append(_text(WIDTH - RIGHT + 10, lowest + 4, name, colour=colour))
        return parts


@dataclass(frozen=True, slots=True)
class Span:
    """What was measured of one thing, by name of the figure, all above 0: `p50` and `p99`, and whatever is known of
    `least`, `p90` and `most`. `bounds`: the goals for p50 and p99, where there are any.
    """

    name: str
    figures: Mapping[str, float]
    bounds: Mapping[str, float] = field(default_factory=dict)
    peer: bool = False

    def drawable(self) -> bool:
        finite = all(math.isfinite(value) and value > 0 for value in self.figures.values())
        return finite and {"p50", "p99"} <= set(self.figures)


@dataclass(frozen=True, slots=True)
class Spans:
    """A row for each span: a line from the least to the most that is known of it, with its marks; goals across. Spans
    without a finite p50 and p99 are left out.
    """

    title: str
    x_name: str
    rows: Sequence[Span]

    def svg(self) -> str:
        rows = [row for row in self.rows if row.drawable()]
        values = [value for row in rows for value in (*row.figures.values(), *row.bounds.values())] or [1.0]
        low, high = _around(min(values), max(values))
        across = _Scale(low, high, NAMES, WIDTH - VALUES)
        foot = TOP + ROW * len(rows)
        parts = [*_begin(foot + 64), _text(20, 22, self.title, size=15, weight="bold")]
        parts.append(_text(WIDTH - VALUES + 14, TOP, "p50 / p99"))
        last = -math.inf
        for tick in _ticks(low, high):
            x = across.place(tick)
            parts.append(f'<path d="M{x:.1f} {TOP}V{foot}" stroke="{GRID}"/>')
            if x >= last + TICK_GAP:
                parts.append(_text(x, foot + 16, f"{tick:,g}", anchor="middle"))
                last = x
        for number, row in enumerate(rows):
            parts += _row(row, across, TOP + ROW * number + ROW / 2 + 6)
        parts.append(_text((NAMES + WIDTH - VALUES) / 2, foot + 34, self.x_name, anchor="middle"))
        return "\n".join([*parts, *self._legend(foot + 52), "</svg>", ""])

    def _legend(self, y: float) -> list[str]:
        """Only of what is there."""
        known = {what for row in self.rows for what in row.figures}
        parts, x = [], float(NAMES)
        for what in ("p50", "p90", "p99"):
            if what in known:
                parts += [_mark(what, x, y, INK), _text(x + 10, y + 4, what)]
                x += 58
        if {"least", "most"} <= known:
            parts += [f'<path d="M{x - 6:.1f} {y}h18" stroke="{INK}"/>', _text(x + 17, y + 4, "least to most")]
            x += 112
        if any(row.bounds for row in self.rows):
            parts += [f'<path d="M{x:.1f} {y - 6}v12" stroke="{BOUND}" stroke-width="2"/>']
            parts.append(_text(x + 8, y + 4, "goal", colour=BOUND))
        return parts


def _row(row: Span, across: _Scale, y: float) -> list[str]:
    colour = PEER if row.peer else OURS
    begin, end = across.place(min(row.figures.values())), across.place(max(row.figures.values()))
    inner = [across.place(row.figures[what]) for what in ("p50", "p99")]
    parts = [_text(NAMES - 14, y + 4, row.name, anchor="end", colour=colour)]
    for what, bound in row.bounds.items():
        x = across.place(bound)
        left = what == "p50" or x + BOUND_GAP > WIDTH - VALUES
        parts.append(f'<path d="M{x:.1f} {y - 13}v24" stroke="{BOUND}" stroke-width="2"/>')
        words = f"{what} \u2264 {bound:,g}"
        parts.append(_text(x - 5 if left else x + 5, y - 8, words, anchor="end" if left else "start", colour=BOUND))
    parts.append(f'<path d="M{begin:.1f} {y}H{end:.1f}" stroke="{colour}"/>')
    parts.append(f'<path d="M{inner[0]:.1f} {y}H{inner[1]:.1f}" stroke="{colour}" stroke-width="4"/>')
    # The median last: where it is the 99th percentile too, it shows as a dot in a ring.
    order = sorted(row.figures, key=lambda what: (what == "p50", what))
    parts += [_mark(what, across.place(row.figures[what]), y, colour) for what in order]
    told = " / ".join(f"{row.figures[what]:,.{0 if row.figures[what] >= 100 else 1}f}" for what in ("p50", "p99"))
    return [*parts, _text(WIDTH - VALUES + 14, y + 4, told, colour=colour)]


def _mark(what: str, x: float, y: float, colour: str) -> str:
    """Filled for the median, hollow for p99, strokes for the rest: told apart without colour."""
    if what == "p50":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>'
    if what == "p99":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5.5" fill="{GROUND}" stroke="{colour}" stroke-width="2"/>'
    height = 6 if what == "p90" else 4
    return f'<path d="M{x:.1f} {y - height:.1f}v{2 * height}" stroke="{colour}" stroke-width="2"/>'


@dataclass(frozen=True, slots=True)
class _Scale:
    """From values to pixels, logarithmic unless `even`."""

    low: float
    high: float
    begin: float
    end: float
    even: bool = False

    def place(self, value: float) -> float:
        if self.even:
            share = (value - self.low) / (self.high - self.low)
        else:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.begin + share * (self.end - self.begin)


def _begin(height: float) -> list[str]:
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif"'
        ' font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="{GROUND}"/>',
    ]


def _around(low: float, high: float) -> tuple[float, float]:
    """The nearest steps of an axis outside."""
    steps = _ticks(*_decades(low, high))
    return max(s for s in steps if s < low or s == steps[0]), min(s for s in steps if s > high or s == steps[-1])


def _decades(low: float, high: float) -> tuple[float, float]:
    return 10.0 ** math.floor(math.log10(low)), 10.0 ** math.ceil(math.log10(high * 1.0001))


def _ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 of each decade."""
    first, last = round(math.log10(low)), round(math.log10(high))
    ticks = [step * 10.0**decade for decade in range(first, last + 1) for step in (1, 2, 5)]
    return [tick for tick in ticks if low <= tick <= high]


def _text(
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "start",
    size: int = 12,
    weight: str = "normal",
    colour: str = INK,
) -> str:
    style = f'text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" fill="{colour}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(text)}</text>'

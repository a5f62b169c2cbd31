"""Line charts as SVG, written by hand: nothing to install, and a difference of two runs is a difference of two texts.

Both axes are logarithmic, as costs and sizes here span decades. Each series has a colour that differs in lightness too,
and its name stands at its end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 720, 380
LEFT, RIGHT, TOP, BOTTOM = 70, 170, 44, 50
COLOURS = ("#0b5394", "#d9730d", "#6a329f", "#38761d", "#990000", "#5b6770")
LABEL_GAP = 15
INK = "#222222"


@dataclass(frozen=True, slots=True)
class Chart:
    """`series`: name to points (x, y), both above 0; points that are not finite are left out."""

    title: str
    x_name: str
    y_name: str
    series: Mapping[str, Sequence[tuple[float, float]]]

    def svg(self) -> str:
        points = {n: [(x, y) for x, y in line if y > 0 and math.isfinite(y)] for n, line in self.series.items()}
        points = {name: line for name, line in points.items() if line}
        xs = sorted({x for line in points.values() for x, _ in line})
        ys = [y for line in points.values() for _, y in line]
        low, high = _decades(min(ys), max(ys))
        across = _Scale(xs[0], max(xs[-1], xs[0] * 1.01), LEFT, WIDTH - RIGHT)
        up = _Scale(low, high, HEIGHT - BOTTOM, TOP)
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"'
            ' font-size="12">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
            _text(LEFT, 22, self.title, size=15, weight="bold"),
            _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, self.x_name, anchor="middle"),
            _text(LEFT - 56, TOP - 10, self.y_name),
        ]
        for tick in _ticks(low, high):
            y = up.place(tick)
            parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#dddddd"/>')
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
        lowest = -math.inf
        for y, name, colour in sorted(ends):
            lowest = max(y, lowest + LABEL_GAP)
            parts.append(_text(WIDTH - RIGHT + 10, lowest + 4, name, colour=colour))
        return parts


@dataclass(frozen=True, slots=True)
class _Scale:
    """Logarithmic, from values to pixels."""

    low: float
    high: float
    begin: float
    end: float

    def place(self, value: float) -> float:
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.begin + share * (self.end - self.begin)


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

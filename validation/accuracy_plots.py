"""Pictures of predictions against measurements, as SVG text: equal points, equal bytes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple


class Point(NamedTuple):
    source: str
    measured_s: float
    predicted_s: float


STYLE = """<style>
text { font: 11px system-ui, sans-serif; fill: #333 }
.title { font-weight: 600 }
.frame { fill: none; stroke: #bbb }
.grid { stroke: #e8e8e8 }
.even { stroke: #666 }
.band { fill: #dce8f5 }
.dots { stroke: #1f5fa8; stroke-width: 3; stroke-linecap: round; stroke-opacity: .45; fill: none }
.bar { fill: #1f5fa8 }
.end { fill: #a8481f }
</style>
"""
PANEL, GAP, LEFT, TOP = 200, 72, 52, 30


def svg(width: float, height: float, title: str, body: Iterable[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" role="img" aria-label="{title}">\n{STYLE}'
        f'<rect width="100%" height="100%" fill="#fff"/>\n' + "\n".join(body) + "\n</svg>\n"
    )


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def text(x: float, y: float, content: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{content}</text>'


def power_label(exponent: int) -> str:
    value = 10.0**exponent
    return f"{value:g} s" if value >= 1 else f"{value * 1e3:g} ms"


def by_source(points: list[Point]) -> dict[str, list[Point]]:
    """Most rows first."""
    sources: dict[str, list[Point]] = {}
    for point in points:
        sources.setdefault(point.source, []).append(point)
    return dict(sorted(sources.items(), key=lambda item: (-len(item[1]), item[0])))


def panel(source: str, points: list[Point], left: float, top: float) -> list[str]:
    values = [v for p in points for v in (p.measured_s, p.predicted_s)]
    low = math.floor(math.log10(min(values)) + 1e-9)
    high = max(math.ceil(math.log10(max(values)) - 1e-9), low + 1)

    def at(value: float) -> float:
        return (math.log10(value) - low) / (high - low) * PANEL

    def x(value: float) -> float:
        return left + at(value)

    def y(value: float) -> float:
        return top + PANEL - at(value)

    band = math.log10(1.2) / (high - low) * PANEL
    right, bottom = left + PANEL, top + PANEL
    name = f"clip-{source}"
    corners = [
        (left, bottom - band),
        (right, top - band),
        (right, top + band),
        (left, bottom + band),
    ]
    outline = " ".join(f"{cx:.1f},{cy:.1f}" for cx, cy in corners)
    body = [
        f'<clipPath id="{name}"><rect x="{left}" y="{top}" width="{PANEL}" height="{PANEL}"/>'
        "</clipPath>",
        f'<polygon class="band" clip-path="url(#{name})" points="{outline}"/>',
    ]
    for exponent in range(low, high + 1):
        value = 10.0**exponent
        body += [
            line(x(value), top, x(value), bottom, "grid"),
            line(left, y(value), right, y(value), "grid"),
            text(x(value), bottom + 14, power_label(exponent), anchor="middle"),
            text(left - 4, y(value) + 4, power_label(exponent), anchor="end"),
        ]
    dots = "".join(f"M{x(p.measured_s):.1f} {y(p.predicted_s):.1f}h0" for p in points)
    return [
        *body,
        line(left, bottom, right, top, "even"),
        f'<path class="dots" d="{dots}"/>',
        f'<rect x="{left}" y="{top}" width="{PANEL}" height="{PANEL}" class="frame"/>',
        text(left, top - 8, f"{source}, {len(points)} rows", "title"),
    ]


def scatter_svg(points: list[Point]) -> str:
    """A panel per source: measured across, predicted upward, both in powers of ten."""
    sources = by_source(points)
    columns = min(4, max(1, len(sources)))
    body: list[str] = []
    for i, (source, rows) in enumerate(sources.items()):
        left = LEFT + (i % columns) * (PANEL + GAP)
        body += panel(source, rows, left, TOP + (i // columns) * (PANEL + GAP))
    lines = math.ceil(len(sources) / columns)
    height = TOP + lines * (PANEL + GAP) + 4
    caption = "measured iteration time across, predicted upward; the band is 20 % either way"
    body.append(text(LEFT, height - 10, caption))
    width = LEFT + columns * (PANEL + GAP) - GAP + 24
    return svg(width, height, "Predicted against measured iteration time", body)


def histogram_svg(points: list[Point], limit: float = 0.6, bins: int = 60) -> str:
    """Relative errors of all rows; the outermost bars hold what lies beyond."""
    width, height = 760.0, 180.0
    counts = [0] * (bins + 2)
    for p in points:
        error = p.predicted_s / p.measured_s - 1
        slot = math.floor((error + limit) / (2 * limit) * bins) + 1
        counts[min(max(slot, 0), bins + 1)] += 1
    step = width / (bins + 2)
    most = max([1, *counts])
    bottom = TOP + height
    body = []
    for i, count in enumerate(counts):
        size = count / most * height
        kind = "end" if i in (0, bins + 1) else "bar"
        body.append(
            f'<rect x="{LEFT + i * step + 0.5:.1f}" y="{bottom - size:.1f}" '
            f'width="{step - 1:.1f}" height="{size:.1f}" class="{kind}"/>'
        )
    for percent in range(-60, 61, 20):
        at = LEFT + step + (percent / 100 + limit) / (2 * limit) * bins * step
        body += [
            line(at, TOP, at, bottom, "even" if percent == 0 else "grid"),
            text(at, bottom + 16, f"{percent:+d} %" if percent else "0", anchor="middle"),
        ]
    body += [
        line(LEFT, bottom, LEFT + width, bottom, "even"),
        text(LEFT, TOP - 10, f"predicted / measured - 1, {len(points)} rows", "title"),
        text(LEFT, bottom + 34, f"beyond: {counts[0]} below, {counts[-1]} above"),
        text(LEFT - 4, TOP + 8, str(most), anchor="end"),
    ]
    return svg(LEFT + width + 24, bottom + 44, "Relative errors of iteration time", body)

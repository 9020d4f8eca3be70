"""Size against speed as inline SVG: logarithmic speed, labels that keep clear of each other, a Pareto front.

Colours are CSS classes of the page (`page.css`), so that the drawing follows light, dark and print.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final, TypeAlias

from vdmcompress.measure.summary import pareto

WIDTH, HEIGHT = 440, 330
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 14, 40
LETTER, LINE = 6.3, 13.0
"""Size of a letter of a label, about, in the units of the drawing."""

FAMILIES: Final = ("vdmc", "JPEG XL", "WebP", "PNG", "JPEG-LS", "AVIF")


@dataclass(frozen=True)
class Point:
    """A format: bits per dimension and speed in Mpx/s."""

    title: str
    family: str
    bpd: float
    speed: float


def family_class(family: str) -> str:
    """CSS class of a family's colour."""
    return f"f{FAMILIES.index(family)}" if family in FAMILIES else "f9"


def scatter(points: Sequence[Point], way: str) -> str:
    """The plot: speed to the right, bits per dimension upwards; lower and further right is better."""
    points = [point for point in points if point.speed > 0]
    if not points:
        return ""
    x_low, x_high = _decades([point.speed for point in points])
    step = _step(max(p.bpd for p in points) - min(p.bpd for p in points))
    y_low = math.floor(min(p.bpd for p in points) / step - 0.3) * step
    y_high = math.ceil(max(p.bpd for p in points) / step + 0.1) * step

    def x(speed: float) -> float:
        share = (math.log10(speed) - x_low) / (x_high - x_low)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(bpd: float) -> float:
        return TOP + (y_high - bpd) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM)

    parts = [_axes(x, y, (x_low, x_high), (y_low, y_high, step), way)]
    front = pareto({point.title: (point.bpd, point.speed) for point in points})
    on = {point.title: point for point in points}
    line = " ".join(f"{x(on[title].speed):.1f},{y(on[title].bpd):.1f}" for title in front)
    parts.append(f'<polyline class="front" points="{line}"/>')
    places = {point.title: (x(point.speed), y(point.bpd)) for point in points}
    for point in points:
        px, py = places[point.title]
        tip = f"{point.title}: {point.bpd:.4f} bpd, {point.speed:g} Mpx/s"
        parts.append(
            f'<circle class="{family_class(point.family)}" cx="{px:.1f}" cy="{py:.1f}" '
            f'r="{5 if point.title in front else 3.5}"><title>{escape(tip)}</title></circle>'
        )
    parts += _labels(places, {point.title: family_class(point.family) for point in points})
    label = f"Bits per dimension against {way} speed; the line joins what nothing beats in both"
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )


def _axes(
    x: Callable[[float], float],
    y: Callable[[float], float],
    speeds: tuple[float, float],
    sizes: tuple[float, float, float],
    way: str,
) -> str:
    """Lines and numbers.  speeds: logarithms of the ends.  sizes: least, most, step."""
    low, high, step = sizes
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = []
    for i in range(round((high - low) / step) + 1):
        at, bpd = y(low + i * step), low + i * step
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(_text(LEFT - 6, at + 4, f"{bpd:.1f}", "end"))
    for decade in range(math.ceil(speeds[0]), math.floor(speeds[1]) + 1):
        at = x(10.0**decade)
        parts.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{bottom}"/>')
        parts.append(_text(at, bottom + 15, f"{10.0**decade:g}", "middle"))
    parts.append(_text((LEFT + right) / 2, HEIGHT - 6, f"{way} speed, Mpx/s", "middle"))
    parts.append(_text(LEFT + 4, TOP + 11, "bpd", "start"))
    return "".join(parts)


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text class="tick" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _labels(places: Mapping[str, tuple[float, float]], classes: Mapping[str, str]) -> list[str]:
    """Text beside each point, where it covers no other text and no point, if there is such a place."""
    taken = [(px - 5, py - 5, px + 5, py + 5) for px, py in places.values()]
    parts = []
    for title, (px, py) in sorted(places.items(), key=lambda item: item[1][1]):
        wide = LETTER * len(title)
        spots = [
            (px + 8, py + 4), (px - 8 - wide, py + 4), (px - wide / 2, py - 9), (px - wide / 2, py + 18),
            (px + 6, py - 8), (px + 6, py + 16), (px - 6 - wide, py - 8), (px - 6 - wide, py + 16),
            (px + 8, py - 16), (px + 8, py + 26), (px - 8 - wide, py + 26), (px - 8 - wide, py - 16),
        ]  # fmt: skip
        centre = px - wide / 2
        spots += [(centre + side, py + down) for down in (-22, 31, -35, 44, -48) for side in (0, 28, -28, 56)]
        boxes = [(left, base - LINE + 3, left + wide, base + 3) for left, base in spots]
        best = min(range(len(boxes)), key=lambda i: (_covered(boxes[i], taken), i))
        taken.append(boxes[best])
        left, base = spots[best]
        parts.append(f'<text class="{classes[title]}" x="{left:.1f}" y="{base:.1f}">{escape(title)}</text>')
    return parts


Box: TypeAlias = tuple[float, float, float, float]


def _covered(box: Box, taken: Sequence[Box]) -> float:
    """Area of other things under a label; what lies outside the drawing counts most."""
    left, top, right, bottom = box
    outside = (LEFT - left, right - WIDTH, TOP - 6 - top, bottom - HEIGHT + BOTTOM)
    total = 1000 * sum(max(0, beyond) for beyond in outside)
    for other in taken:
        across, down = min(right, other[2]) - max(left, other[0]), min(bottom, other[3]) - max(top, other[1])
        total += max(0, across) * max(0, down)
    return total


def _decades(speeds: Sequence[float]) -> tuple[float, float]:
    """Logarithms of the ends of the axis of speeds, with room for the points and at least one decade."""
    low, high = math.log10(min(speeds)) - 0.25, math.log10(max(speeds)) + 0.35
    return min(low, math.floor(low + 0.5)), max(high, math.floor(low + 0.5) + 1)


def _step(reach: float) -> float:
    """Distance of lines on the axis of sizes."""
    return next((step for step in (0.1, 0.2, 0.5, 1.0) if reach / step <= 7), 2.0)

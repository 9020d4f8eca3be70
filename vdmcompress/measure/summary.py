"""From figures of single images to those of a set: sums, speeds with their spread, ratios, a Pareto front."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

REFERENCES: Final = ("JPEG XL e7", "WebP", "PNG")
"""What sizes and speeds are compared with: the first of these that was measured."""


def counted(images: int) -> str:
    """How many images, in words."""
    return f"{images} image{'s' * (images != 1)}"


def megapixels(mpx: float) -> str:
    """Pixels of a set, in words: two decimals, of less than one megapixel three figures."""
    return f"{mpx:.2f} Mpx" if mpx >= 1 else f"{mpx:.3g} Mpx"


def reference_of(titles: Iterable[str]) -> str:
    """The format that ratios are of."""
    known = list(titles)
    return next((title for title in REFERENCES if title in known), known[0])


def totals(images: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Sums over a set of image records (`bench.run`) by format.

    Speeds in Mpx/s: all pixels over the sum of each image's median time.  low and high: had every repeat been
    the slowest, or the fastest.  peak_mib: the most that any image took.  ratio: bytes, and speeds, over
    those of the reference in the same run.
    """
    pixels = sum(image["width"] * image["height"] for image in images)
    values = sum(image["width"] * image["height"] * image["channels"] for image in images)
    titles = list(images[0]["formats"]) if images else []
    formats: dict[str, Any] = {}
    for title in titles:
        rows = [image["formats"][title] for image in images]
        size = sum(row["bytes"] for row in rows)
        found: dict[str, Any] = {"bytes": size, "bpd": round(8 * size / values, 4)}
        for way in ("encode", "decode"):
            found[f"{way}_mpx_s"] = _speed(pixels, [row[f"{way}_seconds"] for row in rows])
            repeats = [row.get(way, [row[f"{way}_seconds"]]) for row in rows]
            found[f"{way}_low"] = _speed(pixels, [max(times) for times in repeats])
            found[f"{way}_high"] = _speed(pixels, [min(times) for times in repeats])
            found[f"{way}_repeats"] = min(map(len, repeats))
            peaks = [row[f"{way}_peak_mib"] for row in rows if f"{way}_peak_mib" in row]
            if peaks:
                found[f"{way}_peak_mib"] = max(peaks)
        formats[title] = found
    reference = reference_of(titles) if titles else None
    for found in formats.values():
        base = formats[reference] if reference else found
        found["ratio"] = {
            key: round(found[key] / base[key], 4) if base[key] else None
            for key in ("bytes", "encode_mpx_s", "decode_mpx_s")
        }
    mpx = round(pixels / 1e6, 6)
    return {"images": len(images), "mpx": mpx, "values": values, "reference": reference, "formats": formats}


def median(times: Sequence[float]) -> float:
    """Median of seconds, to a tenth of a millisecond."""
    return round(statistics.median(times), 4)


def pareto(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Names of the (size, speed) points that no other beats in both, from the fastest to the smallest."""
    front: list[str] = []
    for name in sorted(points, key=lambda name: (-points[name][1], points[name][0])):
        if not front or points[name][0] < points[front[-1]][0]:
            front.append(name)
    return front


def _speed(pixels: int, seconds: Sequence[float]) -> float:
    total = sum(seconds)
    return round(pixels / 1e6 / total, 3) if total else 0.0

"""The part of a page that looks at one image: the map of its bits, and its levels from coarse to fine."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vdmcompress.measure.pictures import data_uri, heat, middle, photograph, ramp_css, signed
from vdmcompress.measure.views import BLOCK, LevelView, Views

SMALL: Final = 200
"""Bands with fewer columns are shown enlarged, square by square."""

SHOWN: Final = 32
"""Bands with fewer rows or columns than this are too coarse to look at."""


@dataclass(frozen=True)
class Sample:
    """An image that is looked at: its name, pixels uint8 (H, W) or (H, W, 3), and `views.look` of it."""

    name: str
    pixels: NDArray[np.uint8]
    views: Views


def bit_map(sample: Sample) -> str:
    """The image beside the heat map of its bits."""
    height, width = sample.pixels.shape[:2]
    channels = 1 if sample.pixels.ndim == 2 else 3
    bpd = sample.views.bits / (block_pixels(height, width) * channels)
    low, high = float(np.quantile(bpd, 0.01)), float(np.quantile(bpd, 0.99))
    picture, colours = data_uri(photograph(sample.pixels)), data_uri(heat(bpd, low, high))
    name = escape(sample.name)
    return (
        f'<h2>Where the bits go: {name}</h2><div class="side">'
        f'<figure><img src="{picture}" alt="{name}"><figcaption>{width}x{height}</figcaption></figure>'
        f'<figure><img class="pixels" style="aspect-ratio:{width}/{height}" src="{colours}" '
        f'alt="Map of bits spent in {name}"><figcaption><div class="legend">{low:.2f}'
        f'<span style="background:{ramp_css()}"></span>{high:.2f} bpd</div></figcaption></figure></div>'
        f'<p class="soft">Bits per dimension in blocks of {BLOCK}x{BLOCK} pixels, all scales together: the '
        "terms of the VLB, which sum to it.</p>"
    )


def block_pixels(height: int, width: int, block: int = BLOCK) -> NDArray[np.float64]:
    """Pixels of each block, (rows, columns); fewer at the lower and right edge."""
    rows, columns = (np.minimum(block, n - np.arange(0, n, block)) for n in (height, width))
    return np.asarray(rows[:, np.newaxis] * columns[np.newaxis], np.float64)


def levels(sample: Sample) -> str:
    """Each level of each band: what is coded, what the model expects, how sure it is; coarse to fine."""
    parts = []
    for view in sample.views.levels:
        if min(view.value.shape) >= SHOWN:
            parts.append(_level(view))
    if not parts:
        return ""
    return (
        f"<h2>Level by level: {escape(sample.name)}</h2>"
        "<p>As decoding goes: from coarse scales to fine, in each band from noise to the band itself. Left: "
        "what is coded, a latent z<sub>k</sub> or the band. Middle: what the model expects before it is "
        "decoded, given the level above and all that came before. Right: how far off it expects to be "
        '(standard deviation in grey levels, dark is sure).</p><div class="levels">'
        + "".join(parts)
        + "</div>"
    )


def _level(view: LevelView) -> str:
    value, mean, scale = (middle(x) for x in (view.value, view.mean, view.scale_map))
    reach = max(2.0, 2.5 * float(np.sqrt(np.mean(value**2))))
    what = "the band itself" if view.level == 0 else f"latent z{view.level}"
    title = f"scale {view.scale}, {view.band}, {what}"
    shown = (
        (signed(value, reach), what, f"{what} of {title}"),
        (signed(mean, reach), "expected", f"expectation, {title}"),
        (heat(np.log2(scale), -2.0, 5.0), f"± {np.median(scale):.1f} (median)", f"scale, {title}"),
    )
    small = ' class="pixels"' if view.value.shape[1] < SMALL else ""
    figures = "".join(
        f'<figure><img{small} src="{data_uri(pixels)}" alt="{escape(alt)}">'
        f"<figcaption>{escape(text)}</figcaption></figure>"
        for pixels, text, alt in shown
    )
    return f'<h3>{escape(title)} <span class="soft">{view.bpd:.4f} bpd</span></h3>{figures}'

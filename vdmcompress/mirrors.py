"""Views: a band's context as it lies, and its mirror images. A model may let its network look at all of them.

The mirror image of a photograph is a photograph, and the Haar pyramid goes with it: turned left to right HL
and HH change their signs, upside down LH and HH do. So every view predicts the same coefficients, and errors
that the network does not make alike in all views cancel when its outputs are averaged:

    mean      turned back, with the sign of the coefficient
    scale     turned back (the average of indices is that of logarithms)
    coupling  turned back; it joins components of one band, whose signs change together

One rounding has no symmetry. HL is the average, rounded down, of the differences of two rows, so that HL of
the image turned left to right is -HL or -HL - 1, by the parity of HH, which is not decoded yet. Its means lie
half a grey level lower (`HALF`); as a context -HL stands for both.

Outputs are integers. Sums are added, which their exponents make an average; linear predictions are averaged
and rounded half up.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vdmcompress.exact import LINEAR_BITS, PART
from vdmcompress.path import NoisePath

Array = NDArray[np.int32]
Outputs = tuple[Array, Array]
"""Head sums int32 (..., h, w, 12) and linear predictions int32 (3, ..., h, w), as an engine gives them."""

HALF: Final = 1 << (LINEAR_BITS - 3)
"""Half a grey level in the unit of linear predictions, which count four times (`conditionals.py`)."""

_HL, _LH, _HH = range(3)
_MEANS_TURNED = np.repeat(np.array([-1, 1], np.int32), (3, PART - 3))


@dataclass(frozen=True)
class View:
    """How the network sees a band.  across: turned left to right; down: upside down."""

    across: bool = False
    down: bool = False

    def turn(self, bands: NDArray[Any]) -> NDArray[Any]:
        """Bands (..., h, w) as this view has them, and back again; nothing is copied."""
        return bands[..., :: -1 if self.down else 1, :: -1 if self.across else 1]

    def sign(self, band: int) -> int:
        """By what the coefficients of a detail band (index into `path.BANDS`) are multiplied."""
        changes = (self.across and band in (_HL, _HH)) != (self.down and band in (_LH, _HH))
        return -1 if changes else 1

    def rows(self, rows: slice, height: int) -> slice:
        """Where rows of a band of that height lie in this view."""
        return slice(height - rows.stop, height - rows.start) if self.down else rows

    def back(self, outputs: Outputs, band: int) -> Outputs:
        """Outputs of this view for the coefficients as they lie."""
        sums, linear = outputs
        sums = sums[..., :: -1 if self.down else 1, :: -1 if self.across else 1, :]
        linear = self.turn(linear)
        if self.across and band == _HL:
            linear = linear + np.int32(HALF)
        if self.sign(band) < 0:
            sums, linear = sums * _MEANS_TURNED, -linear
        return sums, linear


VIEWS: Final = {
    1: (View(),),
    2: (View(), View(across=True)),
    4: (View(), View(across=True), View(down=True), View(across=True, down=True)),
}
"""Views of a model by their number, which its file tells (`model_file.py`)."""


def average(outputs: Iterable[tuple[View, Outputs]], band: int) -> Outputs:
    """Sums of all views, whose exponents grow by `exponent`, and averaged linear predictions.

    Sums stay below 2**26 (`exact.SUM_LIMIT`).
    """
    count, sums, linear = 0, np.zeros((), np.int32), np.zeros((), np.int64)
    for view, found in outputs:
        more, further = view.back(found, band)
        count, sums, linear = count + 1, sums + more, linear + further
    rounded = (linear + count // 2) >> exponent(count)
    return sums, rounded.astype(np.int32)


def exponent(count: int) -> int:
    """By how much the exponents of sums grow that stand for the average of so many views: log2(count)."""
    return count.bit_length() - 1


def check_views(count: int, path: NoisePath) -> None:
    """Raise ValueError unless a model with this noise path may have so many views.

    Latents lie on the stack as they are, and their bands have one view.
    """
    most = VIEWS if not any(band.levels for bands in path.scales for band in bands) else (1,)
    if type(count) is not int or count not in most:
        raise ValueError(f"views {count}, allowed are {', '.join(map(str, most))} with this noise path")

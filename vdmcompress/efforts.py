"""Efforts 1 to 9, as in cjxl: which model codes, with which latents, and what else is tried.

Decoding needs no effort: a file names its model and plan.  What an effort costs and gains on a machine is
measured by `python -m benchmarks.efforts FOLDER`.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Final

from vdmcompress.errors import UsageError
from vdmcompress.path import QUICK


@dataclass(frozen=True)
class Effort:
    """What the encoder does.

    model: name of the shipped model.  latents: keys of `path.ORDERS`, the smallest result is kept.
    careful: whether the classical methods are screened with care (`classical.may_beat`) or at a glance, and
    chroma is searched under clipped pixels (`clipped.py`).
    """

    model: str
    latents: tuple[str, ...]
    careful: bool

    def search(self, colour: str) -> str:
        """How colours are sought where a caller wants one of `path.COLOURS`."""
        return QUICK if colour == "auto" and not self.careful else colour


_FASTEST: Final = Effort("dart", ("none",), careful=False)
_FAST: Final = Effort("swift", ("none",), careful=False)
_USUAL: Final = Effort("photo", ("one",), careful=True)
_MOST: Final = Effort("photo", ("one", "all", "none"), careful=True)

EFFORTS: Final = (_FASTEST, *[_FAST] * 2, *[_USUAL] * 5, _MOST)
"""Efforts 1 to 9 in order."""

DEFAULT_EFFORT: Final = 7


def effort_of(number: object) -> Effort:
    """The effort of a number; UsageError for anything but 1..9."""
    if not (isinstance(number, Integral) and 1 <= int(number) <= len(EFFORTS)):
        raise UsageError(f"effort {number!r}, allowed are 1 (fastest) to {len(EFFORTS)} (smallest)")
    return EFFORTS[int(number) - 1]

"""What the run of a row of the papers' table gives: what was claimed, what was measured, whether it held."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

TEST_SECONDS = 5.0
"""Rows that take no longer are tests too (`tests/test_lab_rows.py` says where)."""


@dataclass(frozen=True)
class Curve:
    """Points of one line of a plot.

    x, y: of equal length.  error: half widths of y's error bars, or empty.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    error: tuple[float, ...] = ()


@dataclass(frozen=True)
class Plot:
    """One plot: its curves, titles of the axes, and whether an axis is logarithmic."""

    title: str
    x_label: str
    y_label: str
    curves: tuple[Curve, ...]
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True)
class Finding:
    """Outcome of a row.

    row: its id, such as V6.  claim: what the paper says.  measured: one or two sentences with the figures
    that decide.  passed: whether the claim held; an honest False is a valid outcome.  figures: by name, bits
    per dimension unless the name says otherwise.  plots: where a curve says more.
    """

    row: str
    claim: str
    measured: str
    passed: bool
    figures: dict[str, float] = field(default_factory=dict)
    plots: tuple[Plot, ...] = ()


@dataclass(frozen=True)
class Setting:
    """What a row may be run with.

    images: folder of 32x32 images (`vdm32.data`), or None.  checkpoint: of a vdm32, None for the one in the
    package.  scale: factor on the numbers of draws and training steps; 1 is what the documents report.
    seed: of everything drawn.
    """

    images: Path | None = None
    checkpoint: Path | None = None
    scale: float = 1.0
    seed: int = 0

    def times(self, n: int, least: int = 1) -> int:
        """n times the scale, at least `least`."""
        return max(least, round(n * self.scale))


@dataclass(frozen=True)
class Row:
    """A row of the table: title and claim, where its function is, and about how long it runs on two cores.

    target: 'module:function' in `vdmcompress.lab`; the function takes a `Setting` and gives a `Finding`.
    needs: what of the setting has to be there: 'images' or nothing.
    """

    title: str
    claim: str
    target: str
    seconds: float
    needs: tuple[str, ...] = ()

    @property
    def is_test(self) -> bool:
        """The row needs nothing and is short enough that the test suite runs it as it stands."""
        return not self.needs and self.seconds <= TEST_SECONDS

    def load(self) -> Callable[[Setting], Finding]:
        """The row's function; importing it imports torch."""
        module, name = self.target.split(":")
        function: Callable[[Setting], Finding] = getattr(import_module(f"vdmcompress.lab.{module}"), name)
        return function

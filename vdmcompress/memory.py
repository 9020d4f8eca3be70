"""How much memory an image takes, and the largest tiles that keep within a limit.

Tiles of the networks are all that a limit changes, so that no byte of a file depends on it.  The figures are
upper estimates of a process's peak, fitted to measurements (`python -m benchmarks.memory`).
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Final

from vdmcompress.errors import LimitError
from vdmcompress.model_file import Model
from vdmcompress.path import DIRECT_POSITIONS, DIRECT_STRIP, BatchShape

TILES: Final = (256, 128, 64, 32)
"""Rows and columns of the largest tile, in the order in which they are tried."""

PROCESS_BYTES: Final = 440 << 20
"""Interpreter, libraries, a model, what its networks compile to; 250 MiB less where torch is not needed."""

VALUE_BYTES: Final = 9
"""Of each value of an image: pixels, planes, bands, the stack."""

STRIP_BYTES: Final = 470
"""Of each position of a strip: features and network outputs of one, coder parameters and values of four, of
which an encoder makes three ahead."""

VIEW_BYTES: Final = 200
"""The same where a model has several views: outputs that are turned and added."""

CHANNEL_BYTES: Final = 12
"""Of each channel and position of a tile: two 8-bit activations, a stream, float32 outputs of two layers."""


def memory_needed(height: int, width: int, channels: int, model: Model, threads: int, tile: int) -> int:
    """Bytes that encoding or decoding an image takes at most."""
    strip = min(DIRECT_STRIP, height // 2 + 1) * (width // 2 + 1)
    return _needed(height * width * channels, strip, model, threads, tile)


def batch_memory_needed(shapes: Sequence[BatchShape], model: Model, threads: int, tile: int) -> int:
    """Bytes that encoding or decoding batches takes at most."""
    values = sum(shape.pixels * shape.channels for shape in shapes)
    strip = max(
        min(max(DIRECT_POSITIONS, DIRECT_STRIP * (shape.width // 2 + 1)), shape.pixels // 4 + shape.width)
        for shape in shapes
    )
    return _needed(values, strip, model, threads, tile)


def _needed(values: int, strip: int, model: Model, threads: int, tile: int) -> int:
    """For so many values of images, with strips of so many positions."""
    side = tile + 4 * model.blocks + 2
    return (
        PROCESS_BYTES
        + VALUE_BYTES * values
        + (STRIP_BYTES + (VIEW_BYTES if model.views > 1 else 0)) * strip
        + threads * CHANNEL_BYTES * model.width * min(side**2, 2 * strip)
    )


def choose_batch_tile(shapes: Sequence[BatchShape], model: Model, threads: int, limit: int | None) -> int:
    """`choose_tile` for batches."""
    if limit is None:
        return TILES[0]
    for tile in TILES:
        need = batch_memory_needed(shapes, model, threads, tile)
        if need <= limit:
            return tile
    raise LimitError(
        f"a group of {sum(shape.pixels for shape in shapes)} pixels takes up to {-(-need >> 20)} MiB, "
        f"allowed are {limit >> 20} MiB; allow more memory or fewer threads, or make smaller groups (--group)"
    )


def choose_tile(height: int, width: int, channels: int, model: Model, threads: int, limit: int | None) -> int:
    """The largest tile with which an image keeps within `limit` bytes; None is no limit.

    Raises LimitError where the smallest does not.
    """
    if limit is None:
        return TILES[0]
    for tile in TILES:
        need = memory_needed(height, width, channels, model, threads, tile)
        if need <= limit:
            return tile
    raise LimitError(
        f"an image of {width}x{height} takes up to {-(-need >> 20)} MiB, allowed are {limit >> 20} MiB; "
        "allow more memory or fewer threads, or cut it into parts"
    )


def give_back() -> None:
    """Hand memory that was freed, which the C library keeps for later, back to the system.

    What comes next may want large blocks, for which the kept pieces do not serve, so that its needs would add
    to those of what ended.  Only the GNU C library has to be asked; elsewhere nothing happens.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return
    trim(0)

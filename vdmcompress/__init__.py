"""Lossless image compression with a variational diffusion model and bits-back coding.

    data = vdmcompress.encode(pixels)        # uint8 (H, W) or (H, W, 3), or a Pillow image
    pixels = vdmcompress.decode(data)        # the same pixels
    header = vdmcompress.peek(data)          # what the file says of itself

All errors are children of VdmError; their tree stands in vdmcompress.errors.
"""

from typing import TYPE_CHECKING, Any

from vdmcompress.errors import (
    DamagedFileError,
    LimitError,
    MachineError,
    ModelMissingError,
    UnsupportedImageError,
    UsageError,
    VdmError,
)

if TYPE_CHECKING:
    from vdmcompress.api import decode, encode, peek
    from vdmcompress.container import Header

__all__ = [
    "DamagedFileError",
    "Header",
    "LimitError",
    "MachineError",
    "ModelMissingError",
    "UnsupportedImageError",
    "UsageError",
    "VdmError",
    "decode",
    "encode",
    "peek",
]

_LAZY = {"decode": "api", "encode": "api", "peek": "api", "Header": "container"}


def __getattr__(name: str) -> Any:
    """The functions of the public face, imported with what they need on first use."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)

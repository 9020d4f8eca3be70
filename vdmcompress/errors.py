"""Errors of the library, each with the exit code that the command line returns for it.

VdmError                        1
|-- codec.ShortStackError       3   a pop needs bits that are not there
|-- codec.StackFormatError      3   bytes that are no stack
|-- UsageError                  2   a call or a command that makes no sense
|-- UnsupportedImageError       2   an image of a kind that is not coded
|-- DamagedFileError            3   a file that was altered or cut
|-- ModelMissingError           4   the model is not there, or is another one
|-- LimitError                  5   a file or an image beyond a limit
|-- DefectError                 1   a failure that nobody foresaw
|-- WriteError                  1   the system does not let a file be written (disk full, no permission)
`-- MachineError                6   this machine computes differently
"""

import struct
import zlib
from typing import Final

from codec.errors import ShortStackError, StackFormatError, VdmError

__all__ = [
    "DECODER_ERRORS",
    "DamagedFileError",
    "DefectError",
    "LimitError",
    "MachineError",
    "ModelMissingError",
    "ShortStackError",
    "StackFormatError",
    "UnsupportedImageError",
    "UsageError",
    "VdmError",
    "WriteError",
    "damaged",
]


DECODER_ERRORS: Final = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    EOFError,
    struct.error,
    zlib.error,
)
"""What the libraries that decode images raise on damaged input."""


class UsageError(VdmError):
    """A call or a command that makes no sense as it stands."""

    exit_code = 2


class UnsupportedImageError(VdmError):
    """An image of a kind that is not coded (the message says which kinds are)."""

    exit_code = 2


class DamagedFileError(VdmError):
    """A file that was altered, cut, or never was what it says."""

    exit_code = 3


def damaged(met: str) -> DamagedFileError:
    """The error of a file in which something is met that no sound file holds."""
    return DamagedFileError(f"damaged file: {met}; get another copy of it")


class ModelMissingError(VdmError):
    """The model that a file or a command asks for is not there, or is another one."""

    exit_code = 4


class LimitError(VdmError):
    """A file or an image that is valid but beyond a limit."""

    exit_code = 5


class DefectError(VdmError):
    """A failure that nobody foresaw: a defect of this program, to be reported; the cause is chained to it."""


class WriteError(VdmError):
    """The system does not let a file be written: disk full, no permission, a limit of the file system."""


class MachineError(VdmError):
    """This machine computes differently: what it encoded or decoded is not trusted."""

    exit_code = 6

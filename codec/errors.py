"""Errors of the coder.

    VdmError                  1   anything that this project raises on purpose
    |- ShortStackError        3   a pop needs bits which the stack does not hold
    |- StackFormatError       3   bytes that are no stack
    |- BinsError              1   arrays of a wrong shape, type or range were handed to the coder
    |- ValueOutOfRange        1   a value to push lies outside the range of its distribution
    `- TableError             6   the table of the normal distribution is not the committed one

The number is the exit code with which the command line ends.
"""


class VdmError(Exception):
    """Root of all errors of the project; `exit_code` is what the command line ends with."""

    exit_code = 1


class ShortStackError(VdmError):
    """A pop needs bits which the stack does not hold; the stack's content is undefined afterwards."""

    exit_code = 3


class StackFormatError(VdmError):
    """Bytes of a lane that cannot be a stack."""

    exit_code = 3


class BinsError(VdmError):
    """Parameters of a distribution with a wrong shape, dtype or range."""


class ValueOutOfRange(VdmError):
    """A value to push lies outside the range of its distribution; the stack is left as it was."""


class TableError(VdmError):
    """The table of the normal distribution differs from the committed one."""

    exit_code = 6

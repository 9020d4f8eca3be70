"""The border of the library: whatever goes wrong inside leaves it as a VdmError.

What is foreseen is raised as such where it is met.  Here memory that runs out becomes a LimitError, and the
rest, which is a defect by definition, a DefectError with its cause.  Interrupts pass, and so does what the
caller's own progress callback raises.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from vdmcompress.errors import DefectError, LimitError, VdmError

__all__ = ["guarded"]

P = ParamSpec("P")
R = TypeVar("R")

_SPENT = ("alloc", "out of memory", "can't start new thread")
"""In the text of a RuntimeError: torch or the system has no memory left, or no threads."""


def guarded(function: Callable[P, R]) -> Callable[P, R]:
    """The function, with every failure turned into a VdmError; an argument `progress` is looked after."""

    @wraps(function)
    def inside(*arguments: P.args, **named: P.kwargs) -> R:
        own: list[BaseException] = []
        progress: Any = named.get("progress")

        def report(*step: Any) -> None:
            try:
                progress(*step)
            except BaseException as error:
                own.append(error)
                raise

        if progress is not None:
            named["progress"] = report
        try:
            return function(*arguments, **named)
        except VdmError:
            raise
        except Exception as error:
            if any(error is raised for raised in own):
                raise
            raise _translated(error) from error

    return inside


def _translated(error: Exception) -> VdmError:
    text = " ".join(str(error).split())
    spent = isinstance(error, RuntimeError) and any(words in text.lower() for words in _SPENT)
    if isinstance(error, MemoryError) or spent:
        detail = f" ({text})" if text else ""
        return LimitError(f"not enough memory or threads{detail}; free some, or take fewer threads")
    return DefectError(f"internal error: {type(error).__name__}: {text}; please report it with the file")

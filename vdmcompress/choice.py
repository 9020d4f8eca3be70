"""Which shipped model is tried for which images.

Small images are another world: a thumbnail has in 32 pixels what a photograph has in 500, so that a model of
its own serves them.  Where two models may serve, both are tried, which costs little for small images; larger
ones take the model of the effort.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from vdmcompress.efforts import Effort
from vdmcompress.model_file import SUFFIX
from vdmcompress.model_search import shipped_folder

__all__ = ["AUTO", "SMALL_MODEL", "SMALL_SIDE", "is_small", "models_for", "serves"]

AUTO: Final = "auto"
"""The name that stands for no model in particular."""

SMALL_SIDE: Final = 64
"""Most pixels a side of an image for which the small model is tried."""

SMALL_MODEL: Final = "tiny"


def is_small(height: int, width: int) -> bool:
    """Whether an image is small enough for the small model."""
    return max(height, width) <= SMALL_SIDE


def models_for(height: int, width: int, effort: Effort, wanted: str | None = None) -> tuple[str, ...]:
    """Names of the models to try for an image: the wanted one, else those that may serve its size best."""
    if wanted not in (None, AUTO):
        return (str(wanted),)
    if is_small(height, width) and shipped(SMALL_MODEL) is not None and effort.model != SMALL_MODEL:
        return str(shipped(SMALL_MODEL)), effort.model
    return (effort.model,)


def shipped(name: str) -> Path | None:
    """The file of a model that the package ships."""
    path = shipped_folder() / f"{name}{SUFFIX}"
    return path if path.is_file() else None


def serves(name: str) -> str:
    """What images a model of the package is for, in words; empty for other models."""
    return {
        "photo": "photographs and other images; efforts 4 to 9",
        "swift": "photographs and other images, several times faster; efforts 1 to 3",
        SMALL_MODEL: f"images of up to {SMALL_SIDE}x{SMALL_SIDE}",
    }.get(name, "")

"""Which shipped model is tried for which images.

Small images are another world: a thumbnail has in 32 pixels what a photograph has in 500, so that a model of
its own serves them.  Where two models may serve, both are tried, which costs little for small images; larger
ones take the model of the effort, or the one for luma and chroma if that is what their pixels once were.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from vdmcompress.efforts import Effort
from vdmcompress.model_file import SUFFIX
from vdmcompress.model_search import DEFAULT, shipped_folder
from vdmcompress.picture import Picture

__all__ = [
    "AUTO",
    "SMALL_MODEL",
    "SMALL_SIDE",
    "STORED_MODEL",
    "is_small",
    "models_for",
    "models_of",
    "serves",
]

AUTO: Final = "auto"
"""The name that stands for no model in particular."""

SMALL_SIDE: Final = 64
"""Most pixels a side of an image for which the small model is tried."""

SMALL_MODEL: Final = "tiny"

STORED_MODEL: Final = "ycc"
"""For pixels that a JPEG, a lossy WebP or a PhotoCD stored as YCC (`colour.py`), in place of `photo`."""


def is_small(height: int, width: int) -> bool:
    """Whether an image is small enough for the small model."""
    return max(height, width) <= SMALL_SIDE


def models_for(
    height: int, width: int, effort: Effort, wanted: str | None = None, stored: bool = False
) -> tuple[str, ...]:
    """Names of the models to try for an image: the wanted one, else those that may serve it best.

    stored: whether its pixels once were YCC.
    """
    if wanted not in (None, AUTO):
        return (str(wanted),)
    if is_small(height, width) and shipped(SMALL_MODEL) is not None and effort.model != SMALL_MODEL:
        return str(shipped(SMALL_MODEL)), effort.model
    if stored and effort.model == DEFAULT and shipped(STORED_MODEL) is not None:
        return (str(shipped(STORED_MODEL)),)
    return (effort.model,)


def models_of(
    picture: Picture, effort: Effort, wanted: str | None = None, colour: str = "auto"
) -> tuple[str, ...]:
    """`models_for` of a picture that diffusion serves; colour: of `path.COLOURS`."""
    from vdmcompress.colour import was_stored  # numba takes longer to import than many a file

    names = models_for(picture.height, picture.width, effort, wanted)
    if names == (DEFAULT,) and colour == "auto" and was_stored(picture.colour):
        return models_for(picture.height, picture.width, effort, wanted, stored=True)
    return names


def shipped(name: str) -> Path | None:
    """The file of a model that the package ships."""
    path = shipped_folder() / f"{name}{SUFFIX}"
    return path if path.is_file() else None


def serves(name: str) -> str:
    """What images a model of the package is for, in words; empty for other models."""
    return {
        "photo": "photographs and other images; efforts 4 to 9",
        "dart": "photographs and other images, as fast as can be; effort 1",
        "swift": "photographs and other images, several times faster; efforts 2 and 3",
        STORED_MODEL: "photographs whose pixels were in a JPEG or on a PhotoCD; efforts 4 to 9",
        SMALL_MODEL: f"images of up to {SMALL_SIDE}x{SMALL_SIDE}",
    }.get(name, "")

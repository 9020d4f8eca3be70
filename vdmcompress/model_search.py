"""Which model files there are: those of the package, then those in the folders of VDMC_MODEL_PATH."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from vdmcompress.errors import ModelMissingError
from vdmcompress.model_file import SIZE_LIMIT, SUFFIX, Model, read_model

DEFAULT = "photo"
SEARCH_VARIABLE = "VDMC_MODEL_PATH"


def model_paths() -> Iterator[Path]:
    """Model files in the package, then in the folders of VDMC_MODEL_PATH.

    What cannot be one is passed over: other than regular files, files beyond the limit, unreadable ones.
    """
    others = os.environ.get(SEARCH_VARIABLE, "").split(os.pathsep)
    folders = [shipped_folder(), *(Path(p) for p in others if p)]
    for folder in folders:
        if folder.is_dir():
            yield from filter(_readable, sorted(folder.glob(f"*{SUFFIX}")))


def shipped_folder() -> Path:
    """The folder of the package's models."""
    return Path(str(files("vdmcompress"))) / "models"


def _readable(path: Path) -> bool:
    try:
        return path.is_file() and path.stat().st_size <= SIZE_LIMIT and os.access(path, os.R_OK)
    except OSError:
        return False


def load_model(name: str | None = None) -> Model:
    """Load a model by name (default "photo"), by hash (16 hex digits) or by path.

    Raises ModelMissingError when there is none.
    """
    name = DEFAULT if name is None else name
    if os.sep in name or name.endswith(".safetensors"):
        return read_model(Path(name))
    for path in model_paths():
        if path.name == name + SUFFIX or file_hash(path).hex() == name:
            return read_model(path)
    known = ", ".join(p.name.removesuffix(SUFFIX) for p in model_paths()) or "none"
    raise ModelMissingError(
        f"no model {name!r}; found are: {known}; set {SEARCH_VARIABLE} to folders that hold others"
    )


def file_hash(path: Path) -> bytes:
    """Identity of a model file: first 8 bytes of its SHA-256."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").digest()[:8]


def find_model(hash8: bytes) -> Model:
    """Load the model that a file names by hash; ModelMissingError says hash and where was looked."""
    for path in model_paths():
        if file_hash(path) == hash8 and (model := read_model(path)).hash8 == hash8:
            return model
    raise ModelMissingError(
        f"model {hash8.hex()} is not in the package nor in {SEARCH_VARIABLE}; install the version of "
        f"vdmcompress that wrote the file, or put that model's file into a folder of {SEARCH_VARIABLE}"
    )


@dataclass(frozen=True)
class ModelInfo:
    """What `vdmc models` tells of a model file."""

    name: str
    hash: str
    path: str
    bytes: int


def list_models() -> list[ModelInfo]:
    """All model files found, the package's first."""
    return [
        ModelInfo(p.name.removesuffix(SUFFIX), file_hash(p).hex(), str(p), p.stat().st_size)
        for p in model_paths()
    ]

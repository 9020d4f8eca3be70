"""The tiny model of the tests, photographs for it, and how it is made (`python -m tests.model_support`)."""

import os
import subprocess
import sys
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file

from vdmcompress.model_file import Model, read_model
from vdmcompress.network import Denoiser
from vdmcompress.train.config import RunConfig, load_config

Pixels = NDArray[np.uint8]

DATA = Path(__file__).resolve().parent / "data"
SAMPLES = Path(__file__).resolve().parent.parent / "samples"
CONFIG, INTEGER, FLOAT = DATA / "tiny.toml", DATA / "tiny.vdm.safetensors", DATA / "tiny.float.safetensors"


FEW_STEPS = """
name = "few"
[network]
width = 8
blocks = 1
scales = 2
path = [[[[0, 32], [3, 33]], [[1, 35]], []]]
[train]
steps = 7
batch = 3
crop = 8
scales = [0.7, 0.3]
warmup = 2
grey = 0.3
held_back = 1
validate_every = 2
save_every = 3
valid_crop = 32
"""
"""Configuration of a run of a few steps on synthetic images."""


def words_of(code: str, **settings: str) -> list[str]:
    """What a process of its own prints that runs the code, with the tiny model's path as its argument.

    settings: environment variables.
    """
    run = subprocess.run(
        [sys.executable, "-c", code, str(INTEGER)],
        env=os.environ | {"PYTHONPATH": str(SAMPLES.parent)} | settings,
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout.split()


@lru_cache(maxsize=1)
def load_tiny() -> Model:
    """The exported tiny model."""
    return read_model(INTEGER)


@lru_cache(maxsize=1)
def tiny_config() -> RunConfig:
    """Its training configuration."""
    return load_config(CONFIG)


@lru_cache(maxsize=1)
def load_tiny_float() -> Denoiser:
    """The float model that it was exported from."""
    model = Denoiser(tiny_config().network)
    model.load_state_dict({k: v.to(torch.float32) for k, v in load_file(FLOAT).items()})
    return model.requires_grad_(False)


@pytest.fixture(scope="session")
def tiny_model() -> Model:
    """The exported tiny model: `tiny_model = model_support.tiny_model` in a test module."""
    return load_tiny()


@lru_cache(maxsize=8)
def _sample(index: int) -> Pixels:
    with Image.open(sorted(SAMPLES.glob("*.png"))[index]) as image:
        return np.asarray(image.convert("RGB"))


def photo(height: int, width: int, channels: int = 3, index: int = 0) -> Pixels:
    """The middle of a sample photograph, uint8 (height, width, 3) or, for one channel, (height, width)."""
    whole = _sample(index)
    if height > whole.shape[0] or width > whole.shape[1]:
        raise ValueError(f"sample {index} has {whole.shape[0]} rows and {whole.shape[1]} columns")
    top, left = (whole.shape[0] - height) // 2, (whole.shape[1] - width) // 2
    crop = whole[top : top + height, left : left + width]
    if channels == 1:
        crop = np.asarray(Image.fromarray(np.ascontiguousarray(crop)).convert("L"))
    return np.ascontiguousarray(crop)


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> Pixels:
    """Uniform noise."""
    shape = (height, width) if channels == 1 else (height, width, 3)
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def synthetic(index: int, height: int = 136, width: int = 150) -> Pixels:
    """A smooth colour image with some noise, another for each index."""
    rng = np.random.default_rng(index)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / (7 + index + c) + c) * 60 + np.cos(y / (9 + c)) * 40 + 120 for c in range(3)]
    return np.clip(np.stack(waves, 2) + rng.normal(0, 3, (height, width, 3)), 0, 255).astype(np.uint8)


def with_tensors(model: Model, **changes: NDArray[Any]) -> Model:
    """The model with other tensors; neither proved nor hashed again."""
    return replace(model, tensors=model.tensors | changes)


def make(photographs: Path, run: Path) -> None:
    """Train the tiny model into the folder `run` and write its two files."""
    from vdmcompress.train.export import export, load_float
    from vdmcompress.train.run import Job, train_direct

    torch.set_num_threads(1)
    config = tiny_config()
    train_direct(CONFIG, Job((photographs,), run, resume=True, device="cpu"))
    model = load_float(run / "last.pt", Denoiser(config.network))
    half = {k: v.to(torch.float16).contiguous() for k, v in model.state_dict().items()}
    save_file(half, FLOAT)
    model.load_state_dict({k: v.to(torch.float32) for k, v in half.items()})
    export(model, config.name, INTEGER)


if __name__ == "__main__":
    make(Path(sys.argv[1]), Path(sys.argv[2]))

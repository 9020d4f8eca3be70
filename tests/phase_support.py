"""What the tests of the phases share: a small configuration, runs, models at no special values."""

import pytest
import torch
from PIL import Image

from tests.model_support import synthetic
from vdmcompress.exact import FEATURES, LINEAR_INPUTS
from vdmcompress.train import phases, run
from vdmcompress.train.config import load_config
from vdmcompress.train.validate import ValidationSet

CONFIG = """
name = "few"
[network]
width = 8
blocks = 2
scales = 2
path = [[[[0, 32], [3, 33]], [[1, 35]], []], [[[1, 36], [3, 39]], [[2, 32]], []]]
[train]
steps = 6
batch = 3
crop = 8
scales = [0.7, 0.3]
warmup = 2
grey = 0.3
held_back = 2
validate_every = 100
save_every = 3
valid_crop = 32
[belief]
steps = 6
warmup = 2
per_octave = 1
most = 3
evaluations = [3, 2]
[experts]
steps = 6
warmup = 2
[rounding]
steps = 6
warmup = 2
"""
SLOTS = range(6)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Four synthetic images, the configuration, and a run in direct form."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("phases")
    (path / "images").mkdir()
    for i in range(4):
        Image.fromarray(synthetic(i)).save(path / "images" / f"{i}.png")
    (path / "few.toml").write_text(CONFIG)
    run.train_direct(path / "few.toml", run.Job((path / "images",), path / "direct", device="cpu"))
    torch.set_num_threads(threads)
    return path


@pytest.fixture(scope="session")
def config(folder):
    return load_config(folder / "few.toml")


@pytest.fixture(scope="session")
def crops():
    return ValidationSet.of([synthetic(i) for i in range(4)], 64)


def phase(name, folder, out, **more):
    more.setdefault("start", None if name == "belief" else folder / "direct" / "last.pt")
    job = run.Job((folder / "images",), out, device="cpu", **more)
    phases.PHASES[name](folder / "few.toml", job)
    return torch.load(out / f"{name}.pt", weights_only=True)


def shaken(model, seed=5, size=0.05):
    """The model with all parameters moved a little, so that none is at a special value."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=generator) * size)
    return model.requires_grad_(False)


def inputs(height=14, width=11, seed=1, spread=60):
    """Raw inputs int32 of one crop: noise, and LL around 120."""
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randn(1, FEATURES // 2, height, width, generator=generator) * spread
    raw[:, LINEAR_INPUTS:] += 120
    return raw.to(torch.int32)


def noisy_band(raw, band):
    """z_k int32 (1, 3, h, w) as it stands in the raw inputs: HL and LH come last in the linear predictor."""
    first = LINEAR_INPUTS - 6 + 3 * band
    return raw[:, first : first + 3].contiguous()

"""The float parent of a model: what is written can be continued from, at bfloat16's precision."""

from pathlib import Path

import pytest
import torch

from tests import model_support
from vdmcompress.errors import UsageError
from vdmcompress.train.config import load_config
from vdmcompress.train.parent import PARENT_SUFFIX, save_parent
from vdmcompress.train.start import load_graph


def test_a_parent_is_a_checkpoint_to_begin_with(tmp_path: Path) -> None:
    config = load_config(model_support.CONFIG).network
    from vdmcompress.network import Denoiser

    model, path = Denoiser(config), tmp_path / f"m{PARENT_SUFFIX}"
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1)
    save_parent(model, path)
    found = load_graph(path, config)
    for (name, a), (_, b) in zip(model.state_dict().items(), found.state_dict().items(), strict=True):
        assert b.dtype == torch.float32, name
        assert torch.allclose(a, b, rtol=2**-8, atol=0), name
    assert not torch.equal(model.head, found.head)


def test_anything_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / f"m{PARENT_SUFFIX}"
    with pytest.raises(UsageError, match="not a float parent"):
        load_graph(path, load_config(model_support.CONFIG).network)
    path.write_bytes(b"no tensors")
    with pytest.raises(UsageError, match="not a float parent"):
        load_graph(path, load_config(model_support.CONFIG).network)

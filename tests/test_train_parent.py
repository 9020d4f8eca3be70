"""The float parent of a model: what is written can be continued from, at 8 bits of precision."""

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
        for block in (*model.a, *model.b):
            block[0] = 0  # a channel without a scale
    save_parent(model, path)
    found = load_graph(path, config)
    for (name, a), (_, b) in zip(model.state_dict().items(), found.state_dict().items(), strict=True):
        assert b.dtype == torch.float32, name
        if name.startswith(("a.", "b.")):  # integers: half a step of the channel's largest weight
            step = a.abs().amax((1, 2, 3), keepdim=True) / 127
            assert ((a - b).abs() <= 0.501 * step).all(), name
            assert len(b[1].unique()) > 10
            assert not b[0].any()
        else:
            assert torch.allclose(a, b, rtol=2**-8, atol=0), name
    assert not torch.equal(model.head, found.head)


def test_anything_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / f"m{PARENT_SUFFIX}"
    with pytest.raises(UsageError, match="not a float parent"):
        load_graph(path, load_config(model_support.CONFIG).network)
    path.write_bytes(b"no tensors")
    with pytest.raises(UsageError, match="not a float parent"):
        load_graph(path, load_config(model_support.CONFIG).network)

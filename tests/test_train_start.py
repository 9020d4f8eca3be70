"""How a phase begins: a deeper or wider network that computes what the smaller one did."""

from dataclasses import replace

import pytest
import torch

from tests import model_support
from vdmcompress.errors import UsageError
from vdmcompress.network import Denoiser, NetworkConfig
from vdmcompress.train.experts import Experts
from vdmcompress.train.parent import save_parent
from vdmcompress.train.start import deepen, load_graph, widen


@pytest.fixture(params=[Denoiser, Experts])
def shallow(request: pytest.FixtureRequest) -> Denoiser:
    """A network with nothing left at zero, and no two experts alike."""
    model: Denoiser = request.param(model_support.tiny_config().network)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    return model


def deeper(config: NetworkConfig, more: int = 2) -> NetworkConfig:
    return replace(config, blocks=config.blocks + more)


def outputs(model: Denoiser) -> list[torch.Tensor]:
    raw = torch.randint(-60, 61, (1, 15, 9, 7), generator=torch.Generator().manual_seed(1), dtype=torch.int32)
    rows = range(model.config.scales * model.config.slots)
    return [model.evaluate(raw, *divmod(row, model.config.slots)) for row in rows]


def test_a_deepened_network_computes_the_same(shallow):
    made = deepen(shallow, shallow.config.blocks + 2)
    assert made.config == deeper(shallow.config)
    for found, wanted in zip(outputs(made), outputs(shallow), strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)


def test_the_new_blocks_learn(shallow):
    made = deepen(shallow, shallow.config.blocks + 1)
    sum(y.square().mean() for y in outputs(made)).backward()
    assert made.b[-1].grad.abs().max() > 0


def test_a_checkpoint_of_fewer_blocks_is_deepened(shallow, tmp_path):
    path = tmp_path / "shallow.float.safetensors"
    save_parent(shallow, path)
    config = shallow.config
    assert type(load_graph(path, config)) is type(shallow)
    made, same = load_graph(path, deeper(config)), load_graph(path, config)
    assert made.config.blocks == config.blocks + 2
    for found, wanted in zip(outputs(made), outputs(same), strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)
    save_parent(made, path)
    with pytest.raises(UsageError, match="another graph"):
        load_graph(path, config)
    with pytest.raises(UsageError, match="another graph"):
        load_graph(path, replace(deeper(config, 3), scales=config.scales + 1))


def test_a_widened_network_computes_the_same_and_its_new_channels_learn(shallow):
    n = shallow.config.width
    made = widen(shallow, n + 8)
    assert made.config == replace(shallow.config, width=n + 8)
    for found, wanted in zip(outputs(made), outputs(shallow), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    sum(y.square().mean() for y in outputs(made)).backward()
    assert all(b.grad[:n, n:].abs().max() > 0 for b in made.b)
    assert made.head.grad[..., n:].abs().max() > 0


def test_a_checkpoint_of_fewer_channels_and_blocks_is_widened_and_deepened(shallow, tmp_path):
    path, config = tmp_path / "narrow.float.safetensors", shallow.config
    save_parent(shallow, path)
    made = load_graph(path, replace(deeper(config), width=config.width + 8))
    assert (made.config.width, made.config.blocks) == (config.width + 8, config.blocks + 2)
    for found, wanted in zip(outputs(made), outputs(load_graph(path, config)), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)

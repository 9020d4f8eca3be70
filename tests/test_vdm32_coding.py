"""Bits-back coding of the isotropic chain, and sampling."""

import numpy as np
import pytest
import torch

from codec.errors import ShortStackError
from vdmcompress import lab
from vdmcompress.vdm32 import coding, steps, toys
from vdmcompress.vdm32.chain import ChainCoder, exact_scale, needed
from vdmcompress.vdm32.denoiser import Denoiser, DenoiserConfig
from vdmcompress.vdm32.schedule import Linear

SHAPE = (3, 4, 4)


@pytest.mark.parametrize("row", ["V14", "V19"])
def test_row_holds(row):
    finding = lab.run(row, lab.Setting(scale=0.34))
    assert finding.passed, finding.measured


def coder(order="bottom-up", count=8, **changes):
    toy = toys.two_humps(8)
    gammas = steps.even(Linear(-6.0), count)
    return ChainCoder(toy, gammas, order, shape=SHAPE, dtype=torch.float64, **changes)


def images(n=3):
    return toys.two_humps(8).sample((n, *SHAPE), torch.Generator().manual_seed(1))


@pytest.mark.parametrize("order", ["bottom-up", "top-down"])
@pytest.mark.parametrize(
    ("share", "variance"), [(0.25, "lower"), (1.0, "upper"), (1.5, "scalar"), (0.5, "lower")]
)
def test_images_and_stack_come_back(order, share, variance):
    chain = coder(order, share=share, variance=variance, mse=torch.full((8,), 0.2, dtype=torch.float64))
    stack = coding.filled(3, needed(chain), seed=2)
    before = stack.copy()
    coded = coding.encode(chain, images(), stack)
    assert stack.to_lanes() != before.to_lanes()
    assert np.allclose(coded.net, coding.content(stack) - coding.content(before))
    assert coded.ledger.bits == pytest.approx(coded.net.sum())
    assert (coded.initial > 0).all()
    assert torch.equal(coding.decode(chain, 3, stack), images())
    assert stack.to_lanes() == before.to_lanes()


@pytest.mark.parametrize("order", ["bottom-up", "top-down"])
def test_a_network_with_learned_variance_comes_back(order):
    torch.manual_seed(0)
    network = Denoiser(DenoiserConfig(width=(8,), depth=(1,), learned_variance=True)).eval()
    for parameter in network.parameters():
        parameter.requires_grad_(False).add_(0.02 * torch.randn(parameter.shape))
    chain = ChainCoder(network, steps.even(Linear(), 5), order, variance="learned", shape=SHAPE)
    stack = coding.filled(2, needed(chain), seed=3)
    before = stack.to_lanes()
    coding.encode(chain, images(2), stack)
    assert torch.equal(coding.decode(chain, 2, stack), images(2))
    assert stack.to_lanes() == before


def test_one_chain_borrows_once():
    chain = coder()
    stack = coding.filled(1, needed(chain), seed=4)
    start = coding.content(stack)
    parts = [coding.encode(chain, images(3)[i : i + 1], stack) for i in range(3)]
    assert coding.content(stack) - start == pytest.approx(sum(p.net for p in parts))
    for i in (2, 1, 0):
        assert torch.equal(coding.decode(chain, 1, stack), images(3)[i : i + 1])


def test_a_stack_without_bits_is_refused():
    with pytest.raises(ShortStackError):
        coding.encode(coder("top-down"), images(), coding.filled(3, 64, seed=1))


def test_scrambling_undoes_itself_and_leaves_the_rest():
    stack = coding.filled(2, 3200, seed=1)
    before = stack.copy()
    coding.scramble(stack, 20, key=7)
    assert (stack.words[:, :80] == before.words[:, :80]).all()
    assert (stack.words[:, 80:] != before.words[:, 80:]).mean() > 0.9
    assert (stack.heads >= 1 << 32).all()
    coding.scramble(stack, 20, key=7)
    assert stack.to_lanes() == before.to_lanes()


def test_scales_are_hit_closely():
    for deviation in np.exp(np.linspace(np.log(0.4), np.log(400.0), 50)):
        index, factor = exact_scale(float(deviation))
        assert 2.0 ** ((index - 32) / 8) * factor / 16 == pytest.approx(deviation, rel=4e-3)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="share is 2"):
        coder(share=2.0)
    toy = toys.two_humps(8)
    with pytest.raises(ValueError, match="rise"):
        ChainCoder(toy, torch.tensor([1.0, 0.0], dtype=torch.float64))

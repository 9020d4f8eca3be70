"""Belief form: the matrix formula, a bound that is tight where it must be, a direct form begun with it."""

import math

import numpy as np
import pytest
import torch

from tests import phase_support
from tests.model_support import synthetic
from tests.phase_support import CONFIG, inputs, noisy_band, phase, shaken
from vdmcompress.exact import PART
from vdmcompress.head import Belief
from vdmcompress.model_file import read_model
from vdmcompress.network import Denoiser, evaluate
from vdmcompress.train import run
from vdmcompress.train.belief import (
    BeliefDenoiser,
    BeliefTrainer,
    belief_loss,
    believed,
    conditional,
    noisy,
    path_table,
)
from vdmcompress.train.config import load_config
from vdmcompress.train.data import Crops, endless, stack_batch
from vdmcompress.train.export import export_tensors
from vdmcompress.train.objective import step_input
from vdmcompress.train.start import from_belief
from vdmcompress.train.step_grid import step_cost
from vdmcompress.train.validate import bits_table

folder, config, crops = phase_support.folder, phase_support.config, phase_support.crops


def matrices(b):
    """S of every position, float64 (n, 3, 3), by inverting the chain of residuals."""
    scale = torch.exp2(b.log2_scale.double()).movedim(1, -1).reshape(-1, 3).numpy()
    a, bb, c = b.coupling.double().movedim(1, -1).reshape(-1, 3).numpy().T
    chain = np.zeros((len(a), 3, 3)) + np.eye(3)
    chain[:, 1, 0], chain[:, 2, 0], chain[:, 2, 1] = -a, -bb, -c
    inverse = np.linalg.inv(chain)
    return inverse @ (np.eye(3) * scale[:, None] ** 2) @ inverse.transpose(0, 2, 1)


def some_belief(shape=(1, 3, 4, 5), seed=3):
    g = torch.Generator().manual_seed(seed)
    return Belief(
        torch.randn(shape, generator=g, dtype=torch.float64) * 5,
        torch.randn(shape, generator=g, dtype=torch.float64),
        torch.randn(shape, generator=g, dtype=torch.float64) * 0.6,
    )


@pytest.mark.parametrize(("r", "below"), [(0.0, 7.0), (0.4, 2.0), (0.95, 30.0), (0.3, 0.0)])
def test_the_conditional_is_the_matrix_formula(r, below):
    b = some_belief()
    z = torch.randn(b.mean.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64) * 9
    got = conditional(b, z, r, below)
    wanted = (1 - r) ** 2 * matrices(b) + below * (1 - r) * np.eye(3)
    np.testing.assert_allclose(matrices(got), wanted, rtol=1e-9)
    torch.testing.assert_close(got.mean, r * z + (1 - r) * b.mean)


def test_all_paths_of_a_perfect_belief_cost_the_entropy():
    """With d really Gaussian the terms of any path add up to the entropy of d: the VLB is tight."""
    generator = torch.Generator().manual_seed(8)
    prior = Belief(
        torch.zeros(1, 3, 1, 1, dtype=torch.float64),
        torch.tensor([3.5, 2.6, 2.2], dtype=torch.float64).view(1, 3, 1, 1),
        torch.tensor([0.8, -0.5, 0.7], dtype=torch.float64).view(1, 3, 1, 1),
    )
    covariance = torch.from_numpy(matrices(prior)[0])
    n = 40_000
    noise = torch.randn(n, 3, 1, 1, generator=generator, dtype=torch.float64)
    d = torch.einsum("ij,njhw->nihw", torch.linalg.cholesky(covariance), noise)
    entropy = 0.5 * math.log2((2 * math.pi * math.e) ** 3 * float(torch.det(covariance))) / 3

    def believe(sigma):
        """Posterior of d given z = d + N(0, sigma^2), in the network's form."""
        if sigma is None:
            s, z, gain = covariance, torch.zeros_like(d), torch.zeros(3, 3, dtype=torch.float64)
        else:
            z = d + sigma * torch.randn(d.shape, generator=generator, dtype=torch.float64)
            gain = covariance @ torch.linalg.inv(covariance + sigma**2 * torch.eye(3, dtype=torch.float64))
            s = covariance - gain @ covariance
        lower, d_scale = torch.linalg.cholesky(s), torch.linalg.cholesky(s).diagonal()
        unit = lower / d_scale
        a, c = float(unit[1, 0]), float(unit[2, 1])
        coupling = torch.tensor([a, float(unit[2, 0]) - c * a, c], dtype=torch.float64).view(1, 3, 1, 1)
        scale = torch.log2(d_scale).view(1, 3, 1, 1)
        mean = torch.einsum("ij,njhw->nihw", gain, z)
        return Belief(mean, scale.expand(n, -1, 1, 1), coupling.expand(n, -1, 1, 1)), z

    def density_bits(b):
        a, bb, c = b.coupling.unbind(1)
        y, co, cg = (d - b.mean).unbind(1)
        e = torch.stack((y, co - a * y, cg - bb * y - c * co), 1)
        nats = 0.5 * (e * torch.exp2(-b.log2_scale)) ** 2 + 0.5 * math.log(2 * math.pi)
        return float((nats / math.log(2) + b.log2_scale).mean())

    for levels in ((), (2.0,), (6.0,), (1.5, 12.0), (2.0, 5.0, 20.0)):
        total, below = 0.0, 0.0
        for sigma in (*levels, None):
            b, z = believe(sigma)
            noise = math.inf if sigma is None else sigma**2
            total += step_cost(b, d, z, noise, below, 3) if below else density_bits(b)
            below = noise
        assert total == pytest.approx(entropy, abs=0.02), levels


def test_noisy_bands_have_their_noise_on_the_grid():
    d = torch.full((1, 3, 200, 200), 17, dtype=torch.int32)
    noise = torch.randn(d.shape, generator=torch.Generator().manual_seed(2))
    for sigma in (0.75, 1.0, 3.3, 47.0):
        z = noisy(d, sigma, noise)
        assert float((z - 17).double().square().mean().sqrt()) == pytest.approx(sigma, rel=0.02)
        assert (z % 2 ** max(math.floor(math.log2(sigma)), 0) == 0).all()
    ahead, behind = noisy(d, 2.1, noise) - 17, noisy(d, 8.3, noise) - 17
    assert np.corrcoef(ahead.flatten(), behind.flatten())[0, 1] > 0.85  # common noise


def test_noise_levels_are_drawn_over_the_range_and_hh_is_clean(config):
    trainer = BeliefTrainer(config.scheduled(config.belief), torch.device("cpu"))
    drawn = []
    for step in range(300):
        trainer.step = step
        sigmas = trainer.sigmas([0, 1, 2])
        assert sigmas[2] is None
        drawn += sigmas[:2]
    finite = np.array([s for s in drawn if s is not None])
    assert len(finite) / len(drawn) == pytest.approx(1 - config.belief.top, abs=0.07)
    assert config.belief.sigma_low <= finite.min() < 1 < 40 < finite.max() <= config.belief.sigma_high
    middle = math.sqrt(config.belief.sigma_low * config.belief.sigma_high)
    assert np.mean(finite < middle) == pytest.approx(0.5, abs=0.08)


def test_training_a_belief_learns(folder, config, crops):
    """A few dozen steps, and the VLB of the path by the belief's conditionals falls."""
    longer = folder / "longer.toml"
    text = CONFIG.replace("[belief]\nsteps = 6", "[belief]\nsteps = 100\nlr_adam = 0.003")
    longer.write_text(text.replace("save_every = 3", "save_every = 100"))
    settings = load_config(longer)
    trainer = BeliefTrainer(settings.scheduled(settings.belief), torch.device("cpu"))
    before = trainer.tables("x", crops)["x"]
    source = endless(Crops([synthetic(i) for i in range(4)], 3, 24, (0.7, 0.3), 0.3, 1), 0)
    for _ in range(100):
        trainer.train_step(next(source))
    after = trainer.tables("x", crops)["x"]
    assert after["bpd"] < before["bpd"] - 0.1
    slots = {f"s{scale}.{slot}" for scale in (0, 1) for slot in range(6)}
    assert slots | {"s0.2d", "s0.4d", "s1.2d", "s1.4d"} == after["terms"].keys()


def test_the_mixtures_do_not_move_mean_and_scale(config):
    """The belief stays a mean and a covariance: the shape of the level-0 mixture is fitted beside it."""
    batch = stack_batch([synthetic(0)[:32, :32]], 0)
    met = []
    for value in (0.0, 3.0):
        model = BeliefDenoiser(config.network)
        with torch.no_grad():
            model.net.mixture[..., 0] += value
        generator = torch.Generator().manual_seed(1)
        belief_loss(model, batch, [0], [4.0], [1.0], generator, backward=True)
        met.append((model.net.head.grad.clone(), model.net.mixture.grad.clone()))
    assert met[0][0].abs().max() > 0
    assert torch.equal(met[0][0], met[1][0])
    assert not torch.equal(met[0][1], met[1][1])


def test_a_belief_at_one_level_is_a_deployable_graph(config):
    """Its weights at a noise level, put into a direct model, give the same head outputs; noise matters."""
    model = shaken(BeliefDenoiser(config.network))
    raw = inputs()
    one, other = (model.part(raw, 0, 1, sigma) for sigma in (2.0, 9.0))
    assert (one - other).abs().max() > 0.01
    assert torch.equal(evaluate(raw, model.weights(0, 1, 2.0))[:, :PART], one)
    z = noisy_band(raw, 1)
    b = believed(one, z, 2.0)
    prior = believed(torch.cat((one[:, :9], 0 * one[:, 9:]), 1), z, 2.0)
    torch.testing.assert_close(b.log2_scale, prior.log2_scale + one[:, 9:])


def test_the_direct_form_of_a_belief(config, crops):
    """Costs of its steps are the belief's own: the same where nothing is fitted, near where it is."""
    model = shaken(BeliefDenoiser(config.network), size=0.03)
    made = from_belief(model, config.network, crops)
    path = config.network.path
    for scale in (0, 1):
        batch = crops.batch(scale, 0)
        bands = tuple(torch.from_numpy(x) for x in (batch.ll, batch.hl, batch.lh, batch.hh))
        for step in path.steps:
            band = path.band(scale, step.band)
            seen = step_input(bands, step, band, 3, torch.Generator().manual_seed(1))
            sigma = None if step.top else math.sqrt(band.variance(step.k))
            wanted = model.part(seen.raw, scale, step.band, sigma)
            got = made.evaluate(seen.raw, scale, step.slot)
            part = got[:, PART:] if step.top else got[:, :PART]
            if step.top or step.k == 1:
                torch.testing.assert_close(part, wanted, atol=1e-4, rtol=1e-4)
            if step.k > 1:
                torch.testing.assert_close(got[:, :3], wanted[:, :3], atol=1e-4, rtol=1e-4)
    table, own = bits_table(made, crops, 2), path_table(model, path, crops, 2)
    assert table["terms"].keys() == own["terms"].keys()
    for key, bits in own["terms"].items():
        fitted = key[3:] in ("1", "2", "4")
        near = {"rel": 0.01} if fitted else {"abs": 2e-4}
        assert table["terms"][key] == pytest.approx(bits, **near), key


def test_a_direct_run_begins_with_a_belief(folder, tmp_path):
    phase("belief", folder, tmp_path)
    made = tmp_path / "made"
    start = tmp_path / "belief.pt"
    job = run.Job((folder / "images",), made, device="cpu", start=start, minutes=1e-9)
    run.train_direct(folder / "few.toml", job)
    state = torch.load(made / "last.pt", weights_only=True) if (made / "last.pt").exists() else None
    assert state is None  # no time for a step
    model = read_model(made / "few.vdm.safetensors")
    plain = export_tensors(Denoiser(load_config(folder / "few.toml").network))
    assert (model.tensors["stem_bias"] != plain["stem_bias"]).any()

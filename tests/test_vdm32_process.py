"""The Gaussian process, the outputs, the decoder, schedules: exact figures and identities."""

import math

import pytest
import torch

from vdmcompress import lab
from vdmcompress.vdm32 import decoder, parameterisation, process, schedule, toys
from vdmcompress.vdm32.process import Step

F64 = torch.float64
GAMMAS = torch.linspace(-13.0, 5.0, 37, dtype=F64)


@pytest.mark.parametrize("row", ["V1", "V2", "V12", "V13"])
def test_row_holds(row):
    finding = lab.run(row, lab.Setting(scale=0.1))
    assert finding.passed, finding.measured


def test_shrink_is_the_ratio_of_alphas_at_low_noise():
    step = Step(torch.tensor(-30.0, dtype=F64), torch.tensor(-29.0, dtype=F64))
    exact = -0.5 * (math.exp(-29) - math.exp(-30))  # log of the ratio, to first order in sigma^2
    assert math.log(float(step.shrink)) == pytest.approx(exact, rel=1e-3)


def test_a_wider_p_costs_what_the_gaussians_say_and_the_fitted_one_least():
    step = Step(torch.tensor(-3.0, dtype=F64), torch.tensor(-1.0, dtype=F64))
    mse = torch.tensor(0.3, dtype=F64)
    best = 1.0 + step.gain * mse
    costs = [float(step.kl(mse, best * factor)) for factor in (0.8, 1.0, 1.25)]
    assert costs[1] == pytest.approx(0.5 * math.log(float(best)))
    assert costs[1] < min(costs[0], costs[2])
    assert costs[1] < float(step.kl(mse))


@pytest.mark.parametrize("source", parameterisation.OUTPUTS)
@pytest.mark.parametrize("target", parameterisation.OUTPUTS)
def test_outputs_convert_there_and_back_with_equal_losses(source, target):
    generator = torch.Generator().manual_seed(1)
    x, eps, guess = torch.randn((3, *GAMMAS.shape), dtype=F64, generator=generator)
    z = process.diffuse(x, GAMMAS, eps)
    true, value = (parameterisation.from_noise(source, v, z, GAMMAS) for v in (eps, guess))
    other = parameterisation.convert(source, target, value, z, GAMMAS)
    torch.testing.assert_close(parameterisation.convert(target, source, other, z, GAMMAS), value)
    loss = parameterisation.error_weight(source, GAMMAS) * (value - true) ** 2
    torch.testing.assert_close(loss, (guess - eps) ** 2)


def test_velocity_and_image_of_the_true_noise():
    x, eps, gamma = torch.tensor([0.3]), torch.tensor([-1.2]), torch.tensor([-0.7])
    z = process.diffuse(x, gamma, eps)
    velocity = parameterisation.from_noise("velocity", eps, z, gamma)
    torch.testing.assert_close(velocity, process.alpha(gamma) * eps - process.sigma(gamma) * x)
    torch.testing.assert_close(parameterisation.from_noise("image", eps, z, gamma), x)


@pytest.mark.parametrize("kind", ["linear", "beta-linear", "cosine", "scalar", "network"])
def test_schedules_run_between_their_ends_and_know_their_rate(kind):
    made = schedule.make_schedule(kind, -10.0, 4.0).double()
    t = torch.linspace(0.02, 0.98, 25, dtype=F64, requires_grad=True)
    gamma = made.gamma(t)
    (slope,) = torch.autograd.grad(gamma.sum(), t)
    torch.testing.assert_close(slope, made.rate(t))
    assert (gamma.diff() > 0).all()
    ends = made.gamma(torch.tensor([0.0, 1.0], dtype=F64))
    torch.testing.assert_close(ends, torch.tensor([-10.0, 4.0], dtype=F64))


def test_published_forms_of_the_schedules():
    t = torch.linspace(0.01, 0.99, 50, dtype=F64)
    beta = torch.exp(-(1e-4 + 10 * t**2))
    torch.testing.assert_close(torch.sigmoid(-schedule.BetaLinear().gamma(t)), beta)
    cosine = torch.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2
    torch.testing.assert_close(torch.sigmoid(-schedule.Cosine(0.008, 1.0).gamma(t)), cosine)


def test_a_polygon_goes_through_its_points():
    made = schedule.Tabulated(torch.tensor([-3.0, 0.0, 1.0]), torch.tensor([0.0, 0.25, 1.0]))
    t = torch.tensor([0.0, 0.125, 0.25, 1.0])
    assert made.gamma(t).tolist() == [-3.0, -1.5, 0.0, 1.0]
    assert made.rate(torch.tensor([0.1, 0.5])).tolist() == pytest.approx([12.0, 4 / 3])


def test_levels_are_their_own_nearest():
    k = torch.arange(256)
    assert torch.equal(decoder.nearest(decoder.centres(k.double())), k)


def test_the_exact_denoiser_beats_its_neighbours():
    generator = torch.Generator().manual_seed(2)
    toy = toys.two_humps(8)
    assert toy.entropy == pytest.approx(4.52, abs=0.01)
    x = decoder.centres(toy.sample((64, 3, 8, 8), generator).double())
    gamma = torch.full((64,), -2.0, dtype=F64)
    eps = torch.randn(x.shape, dtype=F64, generator=generator)
    z = process.diffuse(x, process.per_image(gamma), eps)
    noise = toy(z, gamma).noise
    errors = [float(((eps - factor * noise) ** 2).mean()) for factor in (0.97, 1.0, 1.03)]
    assert errors[1] < min(errors[0], errors[2])


def test_gaussian_data_have_the_error_of_the_closed_form():
    generator = torch.Generator().manual_seed(3)
    toy = toys.GaussianData(0.5)
    x = toy.sample((256, 3, 8, 8), generator)
    gamma = torch.full((256,), -1.0, dtype=F64)
    eps = torch.randn(x.shape, dtype=F64, generator=generator)
    z = process.diffuse(x, process.per_image(gamma), eps)
    measured = float(((eps - toy(z, gamma).noise) ** 2).mean())
    assert measured == pytest.approx(float(toy.mse(gamma[:1])), rel=0.02)

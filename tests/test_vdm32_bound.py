"""The bound, weightings, times, steps and variances."""

import math

import pytest
import torch

from vdmcompress import lab
from vdmcompress.vdm32 import objective, schedule, steps, times, toys, variance, weighting
from vdmcompress.vdm32.parameterisation import Prediction
from vdmcompress.vdm32.process import Step

F64 = torch.float64


@pytest.mark.parametrize("row", ["V3", "V4", "V5", "V6", "V7", "V11", "V17"])
def test_row_holds(row):
    finding = lab.run(row, lab.Setting(scale=0.25))
    assert finding.passed, finding.measured


def test_a_hundred_updates_halve_the_variance_and_keep_the_mean():
    figures = lab.run("V8", lab.Setting(scale=0.1)).figures
    assert figures["high"] < 0.6
    assert abs(figures["mean learned"] - figures["mean linear"]) < 4 * figures["error"]


def test_gaussian_bound_is_the_closed_form():
    toy = toys.GaussianData(0.5)
    gammas = steps.even(schedule.Linear(), 30)
    generator = torch.Generator().manual_seed(0)
    levels = torch.zeros((1, 3, 8, 8), dtype=torch.int64)
    x = toy.sample((400, 3, 8, 8), generator)
    total = 0.0
    for low, high in zip(gammas[:-1], gammas[1:], strict=True):
        eps = torch.randn(x.shape, dtype=F64, generator=generator)
        total += float(objective.step_bits(toy, x, Step(low.expand(400), high.expand(400)), eps).mean())
    assert total == pytest.approx(steps.cost(gammas, toy.mse(gammas)), rel=0.01)
    assert float(objective.signal(levels).mean()) == pytest.approx(1 / 256 - 1)


def test_the_rule_to_train_an_inside_needs_no_second_pass():
    made = schedule.MonotoneNetwork(units=8)
    toy = toys.GaussianData(0.4)
    generator = torch.Generator().manual_seed(1)
    x = toy.sample((6, 3, 4, 4), generator).float()
    eps, t = torch.randn(x.shape, generator=generator), torch.rand(6, generator=generator)
    gamma, rate = made.gamma(t), made.rate(t)
    loss = objective.continuous(toy, x, gamma, rate, eps)
    inside = torch.autograd.grad((loss**2).mean(), made.inside(), retain_graph=True)
    ends = torch.autograd.grad(loss.mean(), [made.gamma_0, made.gamma_1])
    gamma, rate = made.gamma(t), made.rate(t)
    leaf, slope = gamma.detach().requires_grad_(), rate.detach().requires_grad_()
    again = objective.continuous(toy, x, leaf, slope, eps)
    again.mean().backward()
    objective.schedule_gradients(made, gamma, rate, (leaf.grad, slope.grad), again)
    torch.testing.assert_close([p.grad for p in made.inside()], list(inside))
    torch.testing.assert_close([made.gamma_0.grad, made.gamma_1.grad], list(ends))


def test_the_hybrid_loss_moves_the_mean_by_the_simple_part_alone():
    generator = torch.Generator().manual_seed(2)
    eps = torch.randn((4, 3, 4, 4), generator=generator)
    noise = torch.zeros_like(eps).requires_grad_()
    output = torch.zeros_like(eps).requires_grad_()
    wide = Step(torch.full((4, 1, 1, 1), -2.0), torch.full((4, 1, 1, 1), -1.5))
    objective.hybrid(Prediction(noise, output), eps, wide, 1000).mean().backward()
    torch.testing.assert_close(noise.grad, 2 * (noise - eps).detach() / eps.numel())
    assert float(output.grad.abs().min()) > 0
    with pytest.raises(ValueError, match="learned_variance"):
        objective.hybrid(Prediction(noise), eps, wide, 1000)


def test_an_interpolated_variance_has_the_fixed_ones_as_ends():
    step = Step(torch.tensor(-3.0, dtype=F64), torch.tensor(-1.0, dtype=F64))
    one = torch.ones((), dtype=F64)
    assert float(variance.interpolated(step, -one)) == pytest.approx(1.0)
    upper = float(step.forward_variance / step.posterior_variance)
    assert float(variance.interpolated(step, one)) == pytest.approx(upper)
    assert float(variance.ratio("upper", step)) == pytest.approx(upper)
    with pytest.raises(ValueError, match="mean squared errors"):
        variance.ratio("scalar", step)


def test_low_discrepancy_times_are_even_and_uniform():
    generator = torch.Generator().manual_seed(0)
    t = times.low_discrepancy(10, generator).sort().values
    torch.testing.assert_close(t.diff(), torch.full((9,), 0.1))
    first = torch.stack([times.low_discrepancy(10, generator)[0] for _ in range(500)])
    assert abs(float(first.mean()) - 0.5) < 0.06


@pytest.mark.parametrize("rule", times.RULES)
def test_every_rule_keeps_the_mean_and_lowers_the_variance(rule):
    generator = torch.Generator().manual_seed(4)

    def loss(t):
        return torch.exp(-0.5 * ((t - 0.3) / 0.08) ** 2) + 0.05

    sampler = times.NoiseSampler(rule, bins=50)
    assert sampler.density.tolist() == [1.0] * 50
    for _ in range(60):
        t, _ = sampler.draw(times.low_discrepancy(64, generator))
        sampler.update(t, loss(t))
    t, weight = sampler.draw(torch.rand(20000, generator=generator))
    plain = loss(torch.rand(20000, generator=generator))
    weighted = weight * loss(t)
    exact = 0.05 + 0.08 * math.sqrt(2 * math.pi)
    assert float(weighted.mean()) == pytest.approx(exact, rel=0.02)
    assert float(weighted.var()) < 0.1 * float(plain.var())
    copy = times.NoiseSampler(rule, bins=50)
    copy.load(sampler.table())
    assert torch.equal(copy.density, sampler.density)


def test_importance_sampling_stays_uniform_until_all_is_seen_ten_times():
    sampler = times.NoiseSampler("importance", bins=4)
    t = torch.tensor([0.1, 0.3, 0.6, 0.9])
    for _ in range(9):
        sampler.update(t, torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert sampler.density.tolist() == [1.0] * 4
    sampler.update(t, torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert sampler.density[3] / sampler.density[0] == pytest.approx(4.0, rel=0.01)


def test_strided_steps_keep_the_ends():
    gammas = torch.linspace(-13, 5, 101, dtype=F64)
    kept = steps.strided(gammas, 7)
    assert len(kept) == 8
    assert kept[0] == gammas[0]
    assert kept[-1] == gammas[-1]
    with pytest.raises(ValueError, match="allowed are 1 to 100"):
        steps.strided(gammas, 101)


@pytest.mark.parametrize("price", ["lower", "scalar"])
def test_dynamic_programming_finds_what_trying_all_finds(price):
    generator = torch.Generator().manual_seed(6)
    gammas = torch.linspace(-8, 4, 9, dtype=F64)
    mse = torch.rand(9, dtype=F64, generator=generator)
    best = {}
    for mask in range(1 << 7):
        inner = [i + 1 for i in range(7) if mask >> i & 1]
        chain = torch.tensor([0, *inner, 8])
        cost = steps.cost(gammas[chain], mse[chain], price)
        best[len(inner) + 1] = min(best.get(len(inner) + 1, math.inf), cost)
    for k, chain in enumerate(steps.cheapest(gammas, mse, 8, price), start=1):
        assert len(chain) == k + 1
        assert steps.cost(gammas[chain], mse[chain], price) == pytest.approx(best[k])


def test_which_weightings_are_monotone():
    monotone = {name for name, w in weighting.WEIGHTINGS.items() if weighting.is_monotone(w, -10.0, 10.0)}
    assert monotone == {"uniform", "velocity-cosine", "edm-monotone", "sigmoid"}

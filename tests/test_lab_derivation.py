"""The equations of docs/papers.md: a test each, by number, both sides computed in different ways."""

import math

import pytest

from vdmcompress.lab import derivation
from vdmcompress.lab.derivation import EQUATIONS, Sides


def test_bound_and_gap():
    sides = derivation.bound_and_gap()
    assert sides.holds
    assert sides.left > 0.5 * (math.log(2 * math.pi * 1.75) + 0.8**2 / 1.75)  # above -log p(x)


def test_bound_by_levels():
    assert derivation.bound_by_levels().holds


def test_chain_of_steps():
    assert derivation.chain_of_steps().holds


def test_posterior_by_bayes():
    assert derivation.posterior_by_bayes().holds


def test_kl_of_a_step():
    assert derivation.kl_of_a_step().holds


def test_bound_of_diffusion():
    sides = derivation.bound_of_diffusion()
    assert sides.holds
    assert sides.left > 7.0  # bits a value


def test_random_step():
    assert derivation.random_step().holds


def test_cost_of_steps():
    assert derivation.cost_of_steps().holds


def test_change_of_variable():
    assert derivation.change_of_variable().holds


def test_integral_over_snr():
    assert derivation.integral_over_snr().holds


def test_information_of_levels():
    assert derivation.information_of_levels().holds


def test_best_variance():
    assert derivation.best_variance().holds


def test_bits_back():
    assert derivation.bits_back().holds


def test_sides_that_differ_do_not_hold():
    assert not Sides(1.0, 1.1, 0.05).holds
    assert Sides(1.0, 1.1, 0.2).off == pytest.approx(0.1)


def test_every_equation_has_its_test():
    assert [int(number) for number in EQUATIONS] == list(range(1, len(EQUATIONS) + 1))
    for function in EQUATIONS.values():
        assert f"test_{function.__name__}" in globals()
        assert function.__doc__

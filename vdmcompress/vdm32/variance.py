"""The variance of p(z_s | z_t), as its ratio rho to the posterior's sigma_s^2 c.

VDM takes rho = 1, the lower end.  Improved DDPM (Nichol and Dhariwal 2021, section 3.1) also has the upper
end, the forward variance sigma_t^2 c, and a learned interpolation of the two logarithms.  One scalar a step
can be fitted in closed form: with mean squared error m of the noise the KL of a step is least, log(rho) / 2,
at rho = 1 + expm1(gamma_t - gamma_s) m.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from vdmcompress.vdm32.process import Step

VarianceKind = Literal["lower", "upper", "learned", "scalar"]


def log_ratio_upper(step: Step) -> Tensor:
    """log of sigma_t^2 / sigma_s^2, the largest sensible ratio: log sigmoid(gamma_t) - log
    sigmoid(gamma_s)."""
    return functional.logsigmoid(step.gamma_t) - functional.logsigmoid(step.gamma_s)


def interpolated(step: Step, output: Tensor) -> Tensor:
    """rho of the network's output: log rho = v log(upper ratio), v = (output + 1) / 2."""
    return torch.exp(0.5 * (output + 1.0) * log_ratio_upper(step))


def fitted(step: Step, mse: Tensor) -> Tensor:
    """The best rho for a step whose noise is predicted with the mean squared error `mse`."""
    return 1.0 + step.gain * mse


def ratio(kind: VarianceKind, step: Step, output: Tensor | None = None, mse: Tensor | None = None) -> Tensor:
    """rho of a choice; 'learned' needs the network's output, 'scalar' the measured error.

    Raises:
        ValueError: what the choice needs is not given.
    """
    if kind == "lower":
        return torch.ones_like(step.gamma_t)
    if kind == "upper":
        return torch.exp(log_ratio_upper(step))
    if kind == "learned":
        if output is None:
            raise ValueError("a learned variance needs a network with learned_variance = true")
        return interpolated(step, output)
    if mse is None:
        raise ValueError("a fitted variance needs the mean squared errors of the steps")
    return fitted(step, mse)
